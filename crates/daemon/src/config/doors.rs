//! What is said about the two front doors, the control API and NBD: who may connect, and how many.

use std::path::PathBuf;
use steadfast_nbd::ListenAddr;
use steadfast_sockets::Access;

/// The control API's socket.
#[derive(Clone, Debug, Default)]
pub struct Control {
    /// Path of the socket.
    pub socket: Option<PathBuf>,
    /// Its mode and group.
    pub access: Permissions,
    /// User ids, beside root and the daemon's own, that may change things.
    pub admins: Vec<u32>,
}

/// Where NBD clients connect.
#[derive(Clone, Debug, Default)]
pub struct Nbd {
    /// Addresses; a socket beside that of the control API when there is none.
    pub listen: Vec<ListenAddr>,
    /// Mode and group of the Unix sockets.
    pub access: Permissions,
}

/// Who may connect to a Unix socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Permission bits: 0600, 0660 or 0666. When missing: 0660 with a group, 0600 without.
    pub mode: Option<u32>,
    /// The group that the socket is given to.
    pub group: Option<u32>,
}

impl Permissions {
    /// With what holds where nothing is said.
    pub(crate) fn access(self) -> Access {
        let mode = self.mode.unwrap_or(if self.group.is_some() { 0o660 } else { 0o600 });
        Access { mode, group: self.group }
    }
}

/// Reads a socket's mode.
///
/// # Errors
/// What is allowed.
pub fn parse_socket_mode(text: &str) -> Result<u32, String> {
    match text {
        "0600" => Ok(0o600),
        "0660" => Ok(0o660),
        "0666" => Ok(0o666),
        _ => Err(format!("`{text}` is not allowed (\"0600\", \"0660\" or \"0666\")")),
    }
}

/// Reads a socket's group, a name or a number.
///
/// # Errors
/// There is no such group.
pub fn parse_socket_group(text: &str) -> Result<u32, String> {
    steadfast_sockets::group(text)
}

//! What is said about the two front doors, the control API and NBD: who may connect, and how many.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use steadfast_nbd::{ListenAddr, NbdOptions};
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
    /// Most connections at a time.
    pub max_connections: Option<usize>,
    /// Most of them of one user who may not change things.
    pub max_connections_per_user: Option<usize>,
    /// How long a connection may say nothing, or not finish the head of a request.
    pub idle_timeout: Option<Duration>,
    /// How long the body of a request may take.
    pub body_timeout: Option<Duration>,
    /// How long a client may take nothing of its answers.
    pub send_timeout: Option<Duration>,
}

/// Where NBD clients connect.
#[derive(Clone, Debug, Default)]
pub struct Nbd {
    /// Addresses; a socket beside that of the control API when there is none.
    pub listen: Vec<ListenAddr>,
    /// Mode and group of the Unix sockets.
    pub access: Permissions,
    /// Most clients at a time, and how long each may keep the server waiting.
    pub limits: NbdLimits,
}

/// Limits of the NBD server; what is missing is as in [`NbdOptions`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NbdLimits {
    /// Most clients at a time.
    pub max_clients: Option<usize>,
    /// Most of one user, through Unix sockets.
    pub max_clients_per_user: Option<usize>,
    /// Most of one process, through Unix sockets.
    pub max_clients_per_process: Option<usize>,
    /// Most of one host, over TCP.
    pub max_clients_per_address: Option<usize>,
    /// Time for a whole handshake.
    pub handshake_timeout: Option<Duration>,
    /// How long a client may take none of its replies.
    pub send_timeout: Option<Duration>,
}

impl NbdLimits {
    /// These limits where they are said, and those of `other` elsewhere.
    pub fn or(self, other: NbdLimits) -> NbdLimits {
        NbdLimits {
            max_clients: self.max_clients.or(other.max_clients),
            max_clients_per_user: self.max_clients_per_user.or(other.max_clients_per_user),
            max_clients_per_process: self.max_clients_per_process.or(other.max_clients_per_process),
            max_clients_per_address: self.max_clients_per_address.or(other.max_clients_per_address),
            handshake_timeout: self.handshake_timeout.or(other.handshake_timeout),
            send_timeout: self.send_timeout.or(other.send_timeout),
        }
    }

    /// With what holds where nothing is said. No part of the clients may be more than all.
    pub(crate) fn options(self) -> NbdOptions {
        let default = NbdOptions::default();
        let max_clients = self.max_clients.unwrap_or(default.max_clients);
        let part =
            |said: Option<usize>, of: usize| said.unwrap_or(of * max_clients / default.max_clients).max(1);
        NbdOptions {
            max_clients,
            max_clients_per_user: part(self.max_clients_per_user, default.max_clients_per_user),
            max_clients_per_process: part(self.max_clients_per_process, default.max_clients_per_process),
            max_clients_per_address: part(self.max_clients_per_address, default.max_clients_per_address),
            handshake_timeout: self.handshake_timeout.unwrap_or(default.handshake_timeout),
            send_timeout: self.send_timeout.unwrap_or(default.send_timeout),
        }
    }
}

/// Bounds of every number of clients and connections.
pub(super) const MAX_CLIENTS: RangeInclusive<u64> = 1..=100_000;
/// Bounds of the times that a client may take.
pub(super) const CLIENT_TIMES: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

/// Reads a number of clients.
///
/// # Errors
/// What is allowed.
pub fn parse_clients(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| MAX_CLIENTS.contains(number));
    let range = (MAX_CLIENTS.start(), MAX_CLIENTS.end());
    number.map(|n| n as usize).ok_or_else(|| format!("`{text}` is not allowed ({} to {})", range.0, range.1))
}

/// Reads a time that a client may take.
///
/// # Errors
/// What is allowed.
pub fn parse_client_time(text: &str) -> Result<Duration, String> {
    let time = super::parse_duration(text)?;
    if CLIENT_TIMES.contains(&time) {
        Ok(time)
    } else {
        Err(format!("`{text}` is not allowed (1 s to 24 h)"))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_clients_follow_the_whole_unless_they_are_said() {
        let said =
            NbdLimits { max_clients: Some(2048), max_clients_per_user: Some(5), ..NbdLimits::default() };
        let options = said.options();
        assert_eq!((options.max_clients, options.max_clients_per_user), (2048, 5));
        assert_eq!(options.max_clients_per_process, 2 * NbdOptions::default().max_clients_per_process);
        let few = NbdLimits { max_clients: Some(1), ..NbdLimits::default() }.options();
        assert_eq!((few.max_clients_per_process, few.max_clients_per_address), (1, 1), "never none");
        let line = NbdLimits { max_clients: Some(7), ..NbdLimits::default() };
        assert_eq!(line.or(said).max_clients, Some(7), "the first one wins");
    }
}

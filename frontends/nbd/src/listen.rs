//! Where clients connect.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// An address to listen on: `unix:PATH` or `tcp:HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddr {
    /// A Unix socket at this path.
    Unix(PathBuf),
    /// A TCP port; 0 lets the system choose.
    Tcp(SocketAddr),
}

/// What went wrong with the server as a whole.
#[derive(Debug, thiserror::Error)]
pub enum NbdError {
    /// The address can't be read.
    #[error("listen address {0:?}: {1} (allowed: unix:PATH, tcp:HOST:PORT)")]
    Address(String, String),
    /// The address can't be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(ListenAddr, io::Error),
    /// Somebody else serves there.
    #[error("cannot listen on {0}: another process is listening there")]
    InUse(ListenAddr),
    /// No address.
    #[error("no address to listen on (give at least one)")]
    NoAddress,
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddr::Unix(path) => write!(f, "unix:{}", path.display()),
            ListenAddr::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

impl FromStr for ListenAddr {
    type Err = NbdError;

    fn from_str(text: &str) -> Result<ListenAddr, NbdError> {
        let wrong = |why: &str| NbdError::Address(text.to_owned(), why.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(wrong("the path is missing"));
            }
            return Ok(ListenAddr::Unix(path.into()));
        }
        let Some(address) = text.strip_prefix("tcp:") else {
            return Err(wrong("neither unix: nor tcp:"));
        };
        let mut found = address.to_socket_addrs().map_err(|e| wrong(&e.to_string()))?;
        found.next().map(ListenAddr::Tcp).ok_or_else(|| wrong("the host has no address"))
    }
}

/// A bound socket. The path of a Unix socket is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: OwnedFd,
    pub(crate) address: ListenAddr,
}

impl Listener {
    /// Binds and listens.
    pub(crate) fn bind(address: &ListenAddr) -> Result<Listener, NbdError> {
        let failed = |e| NbdError::Listen(address.clone(), e);
        match address {
            ListenAddr::Unix(path) => {
                clear(path, address)?;
                let socket = UnixListener::bind(path).map_err(failed)?;
                Ok(Listener { socket: socket.into(), address: address.clone() })
            }
            ListenAddr::Tcp(at) => {
                let socket = TcpListener::bind(at).map_err(failed)?;
                let bound = socket.local_addr().map_err(failed)?;
                Ok(Listener { socket: socket.into(), address: ListenAddr::Tcp(bound) })
            }
        }
    }
}

/// Removes a socket that a process left behind when it died; anything else at the path stays.
fn clear(path: &Path, address: &ListenAddr) -> Result<(), NbdError> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        let why = io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is not a socket");
        return Err(NbdError::Listen(address.clone(), why));
    }
    match UnixStream::connect(path) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|e| NbdError::Listen(address.clone(), e))
        }
        Err(e) => Err(NbdError::Listen(address.clone(), e)),
        Ok(_) => Err(NbdError::InUse(address.clone())),
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let ListenAddr::Unix(path) = &self.address {
            // It may be gone already; then there is nothing to do.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_they_print() {
        for text in ["unix:/run/vol.sock", "unix:relative", "tcp:127.0.0.1:10809", "tcp:[::1]:0"] {
            assert_eq!(text.parse::<ListenAddr>().expect(text).to_string(), text);
        }
        for text in ["", "unix:", "tcp:", "tcp:127.0.0.1", "/run/vol.sock", "udp:127.0.0.1:1"] {
            let error = text.parse::<ListenAddr>().expect_err(text).to_string();
            assert!(error.contains("allowed: unix:PATH, tcp:HOST:PORT"), "{error}");
        }
    }

    #[test]
    fn a_left_behind_socket_is_replaced_and_a_live_one_is_not() {
        let path = std::env::temp_dir().join(format!("steadfast-listen-{}", std::process::id()));
        let address = ListenAddr::Unix(path.clone());
        drop(UnixListener::bind(&path).expect("bound"));
        let live = Listener::bind(&address).expect("the old socket is nobody's");
        assert!(matches!(Listener::bind(&address), Err(NbdError::InUse(_))));
        drop(live);
        assert!(!path.exists());
        std::fs::write(&path, "data").expect("written");
        assert!(matches!(Listener::bind(&address), Err(NbdError::Listen(..))));
        assert_eq!(std::fs::read(&path).expect("still there"), b"data");
        std::fs::remove_file(&path).expect("removed");
    }
}

//! Where clients connect.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use steadfast_sockets::{Access, BindError, UnixSocket, listen_tcp};

/// What to listen on: `unix:PATH` or `tcp:HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddr {
    /// A Unix socket at this path.
    Unix(PathBuf),
    /// A TCP port of a host.
    Tcp(TcpHost),
}

/// A TCP port of a host, and the addresses that the host has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpHost {
    /// As it was written, `HOST:PORT`.
    text: String,
    /// One at least. Port 0 lets the system choose.
    addresses: Vec<SocketAddr>,
}

/// What is listened on: one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundAddr {
    /// A Unix socket at this path.
    Unix(PathBuf),
    /// A TCP port.
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
    Listen(String, io::Error),
    /// A Unix socket's path can't be listened on.
    #[error("cannot listen on unix:{}: {error}", path.display())]
    Unix {
        /// The path.
        path: PathBuf,
        /// Why.
        error: BindError,
    },
    /// No address.
    #[error("no address to listen on (give at least one)")]
    NoAddress,
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddr::Unix(path) => write!(f, "unix:{}", path.display()),
            ListenAddr::Tcp(host) => write!(f, "tcp:{}", host.text),
        }
    }
}

impl fmt::Display for BoundAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BoundAddr::Unix(path) => write!(f, "unix:{}", path.display()),
            BoundAddr::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

impl ListenAddr {
    /// Is all of it listened on by these?
    pub(crate) fn is_among(&self, bound: &[Listener]) -> bool {
        let has = |wanted: &BoundAddr| bound.iter().any(|listener| listener.address == *wanted);
        match self {
            ListenAddr::Unix(path) => {
                let full = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                has(&BoundAddr::Unix(full))
            }
            ListenAddr::Tcp(host) => host.addresses.iter().all(|address| has(&BoundAddr::Tcp(*address))),
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
        let Some(host) = text.strip_prefix("tcp:") else {
            return Err(wrong("neither unix: nor tcp:"));
        };
        let found = host.to_socket_addrs().map_err(|e| wrong(&e.to_string()))?;
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in found {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(wrong("the host has no address"));
        }
        Ok(ListenAddr::Tcp(TcpHost { text: host.to_owned(), addresses }))
    }
}

/// A bound socket. The path of a Unix socket that was bound here is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: OwnedFd,
    pub(crate) address: BoundAddr,
    _name: Option<UnixSocket>,
}

impl Listener {
    /// Listens on everything of `wanted`, and on nothing if something of it can't be had. Unix sockets get `access`.
    pub(crate) fn bind_all(wanted: &[ListenAddr], access: Access) -> Result<Vec<Listener>, NbdError> {
        let mut bound = Vec::new();
        for address in wanted {
            match address {
                ListenAddr::Unix(path) => bound.push(Listener::unix(path, access)?),
                ListenAddr::Tcp(host) => host.bind(wanted, &mut bound)?,
            }
        }
        Ok(bound)
    }

    fn unix(path: &Path, access: Access) -> Result<Listener, NbdError> {
        let bound = UnixSocket::bind(path, access)
            .map_err(|error| NbdError::Unix { path: path.to_owned(), error })?;
        let address = BoundAddr::Unix(path.to_owned());
        Ok(Listener { socket: bound.1.into(), address, _name: Some(bound.0) })
    }

    /// A socket that somebody else has bound and listens on. Its name is not ours to remove.
    pub(crate) fn inherited(socket: OwnedFd) -> Result<Listener, NbdError> {
        let address = address_of(socket.as_fd())
            .map_err(|e| NbdError::Listen(format!("descriptor {}", socket.as_raw_fd()), e))?;
        Ok(Listener { socket, address, _name: None })
    }
}

impl TcpHost {
    /// Listens on every address that the host has on this machine: one at least.
    fn bind(&self, all: &[ListenAddr], bound: &mut Vec<Listener>) -> Result<(), NbdError> {
        let before = bound.len();
        let mut last = None;
        for at in &self.addresses {
            match listen_tcp(at, at.is_ipv6() && takes_v4(all, at.port())) {
                Ok(socket) => {
                    let address = socket.local_addr().map_err(|e| NbdError::Listen(at.to_string(), e))?;
                    let address = BoundAddr::Tcp(address);
                    bound.push(Listener { socket: socket.into(), address, _name: None });
                }
                // A name may have addresses of a family that this machine does without, or another machine's.
                Err(e) if absent(&e) && self.addresses.len() > 1 => {
                    tracing::warn!("tcp:{}: not on {at}: {e}", self.text);
                    last = Some(e);
                }
                Err(e) => return Err(NbdError::Listen(format!("tcp:{at}"), e)),
            }
        }
        match last {
            Some(e) if bound.len() == before => Err(NbdError::Listen(format!("tcp:{}", self.text), e)),
            _ => Ok(()),
        }
    }
}

/// The machine has no such address.
fn absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT))
}

/// Is that port of all IPv4 addresses listened on by itself? Then IPv6's must not have it too.
fn takes_v4(all: &[ListenAddr], port: u16) -> bool {
    let own = |address: &SocketAddr| address.port() == port && address.ip() == Ipv4Addr::UNSPECIFIED;
    all.iter().any(|wanted| matches!(wanted, ListenAddr::Tcp(host) if host.addresses.iter().any(own)))
}

fn address_of(socket: BorrowedFd<'_>) -> io::Result<BoundAddr> {
    let copy = socket.try_clone_to_owned()?;
    if let Ok(address) = std::net::TcpListener::from(copy.try_clone()?).local_addr() {
        return Ok(BoundAddr::Tcp(address));
    }
    let address = UnixListener::from(copy).local_addr()?;
    Ok(BoundAddr::Unix(address.as_pathname().map(Path::to_owned).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(text: &[&str]) -> Result<Vec<Listener>, NbdError> {
        let wanted = text.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>()?;
        Listener::bind_all(&wanted, Access::default())
    }

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
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("nbd.sock");
        let text = format!("unix:{}", path.display());
        drop(UnixListener::bind(&path).expect("bound"));
        let live = bind(&[&text]).expect("the old socket is nobody's");
        assert!(matches!(bind(&[&text]), Err(NbdError::Unix { error: BindError::InUse, .. })));
        drop(live);
        assert!(!path.exists());
        std::fs::write(&path, "data").expect("written");
        assert!(matches!(bind(&[&text]), Err(NbdError::Unix { error: BindError::NotASocket, .. })));
        assert_eq!(std::fs::read(&path).expect("still there"), b"data");
    }

    #[test]
    fn a_host_with_several_addresses_is_listened_on_at_each() {
        let (v4, v6) = ("127.0.0.1:0".parse().expect("v4"), "[::1]:0".parse().expect("v6"));
        // Addresses of networks for documentation: no machine has them.
        let elsewhere = "203.0.113.77:0".parse().expect("v4");
        let host = |addresses: &[SocketAddr]| {
            ListenAddr::Tcp(TcpHost { text: "host:0".to_owned(), addresses: addresses.to_vec() })
        };
        let all = Listener::bind_all(&[host(&[elsewhere, v6, v4])], Access::default()).expect("bound");
        assert!(all.iter().any(|l| matches!(&l.address, BoundAddr::Tcp(at) if at.is_ipv4())));
        if std::net::TcpListener::bind(v6).is_ok() {
            assert_eq!(all.len(), 2, "{all:?}");
        } else {
            println!("skipped: IPv6, which this machine does without");
        }
        assert!(Listener::bind_all(&[host(&[elsewhere])], Access::default()).is_err());
        let nowhere = "198.51.100.77:0".parse().expect("v4");
        assert!(Listener::bind_all(&[host(&[elsewhere, nowhere])], Access::default()).is_err());
    }

    #[test]
    fn the_wildcards_of_both_families_can_have_one_port() {
        let probe = std::net::TcpListener::bind("[::]:0");
        let Ok(port) = probe.and_then(|probe| probe.local_addr()).map(|at| at.port()) else {
            return println!("skipped: IPv6, which this machine does without");
        };
        let (v4, v6) = (format!("tcp:0.0.0.0:{port}"), format!("tcp:[::]:{port}"));
        assert_eq!(bind(&[&v6, &v4]).expect("both").len(), 2);
        let one = bind(&[&v6]).expect("one");
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok(), "IPv4 clients reach [::] alone");
        drop(one);
    }
}

//! Who a client is, as the kernel says it.

use crate::socket;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

/// A client, by its number and by who is at the other end.
#[derive(Clone, Debug)]
pub(crate) struct Peer(Arc<(u64, Origin)>);

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A process of this machine, through a Unix socket.
    Process {
        /// Its user.
        uid: u32,
        /// Its number when it connected; 0 where the kernel does not say.
        pid: i32,
    },
    /// Another machine, or this one, over TCP.
    Address(SocketAddr),
    /// The kernel does not say.
    Unknown,
}

/// What is counted together: connections of one user, of one process, of one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Group {
    /// All of a user's processes.
    User(u32),
    /// A process.
    Process(i32),
    /// A host: an IPv4 address, or the network that an IPv6 host has for itself (64 bits).
    Host(IpAddr),
}

impl Peer {
    /// The client at the other end of `socket`, the `number`th.
    pub(crate) fn of(socket: &impl AsFd, number: u64) -> Peer {
        let fd = socket.as_fd().as_raw_fd();
        let origin = match (socket::peer_address(fd), socket::peer_process(fd)) {
            (Some(address), _) => Origin::Address(address),
            (None, Some((uid, pid))) => Origin::Process { uid, pid },
            (None, None) => Origin::Unknown,
        };
        Peer(Arc::new((number, origin)))
    }

    /// Its number; never used twice while the server runs.
    pub(crate) fn number(&self) -> u64 {
        self.0.0
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.0.1
    }
}

impl Origin {
    /// With whom its connections are counted.
    pub(crate) fn groups(&self) -> impl Iterator<Item = Group> + use<> {
        let groups = match *self {
            Origin::Process { uid, pid } => {
                [Some(Group::User(uid)), (pid > 0).then_some(Group::Process(pid))]
            }
            Origin::Address(address) => [Some(Group::Host(host(address.ip()))), None],
            Origin::Unknown => [None, None],
        };
        groups.into_iter().flatten()
    }
}

fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        // Any host may have as many addresses of its network as it likes; the loopback address is no network.
        IpAddr::V6(v6) if v6.is_loopback() => IpAddr::V6(v6),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Process { pid, .. } if *pid > 0 => write!(f, "unix, process {pid}"),
            Origin::Process { uid, .. } => write!(f, "unix, user {uid}"),
            Origin::Address(address) => write!(f, "tcp:{address}"),
            Origin::Unknown => f.write_str("unix"),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} ({})", self.number(), self.origin())
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Group::User(uid) => write!(f, "user {uid}"),
            Group::Process(pid) => write!(f, "process {pid}"),
            Group::Host(address) => write!(f, "host {address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(address: &str) -> Vec<Group> {
        Origin::Address(address.parse().expect("an address")).groups().collect()
    }

    #[test]
    fn a_host_is_counted_once_whatever_address_it_chooses() {
        assert_eq!(groups("192.0.2.7:1"), groups("192.0.2.7:2"));
        assert_eq!(
            groups("192.0.2.7:1"),
            groups("[::ffff:192.0.2.7]:1"),
            "the same through a socket of both"
        );
        assert_ne!(groups("192.0.2.7:1"), groups("192.0.2.8:1"));
        assert_eq!(groups("[2001:db8::1]:1"), groups("[2001:db8::ffff:2]:1"));
        assert_ne!(groups("[2001:db8::1]:1"), groups("[2001:db8:0:1::1]:1"));
    }

    #[test]
    fn a_process_is_counted_by_itself_and_with_its_users() {
        let of = |uid, pid| Origin::Process { uid, pid }.groups().collect::<Vec<_>>();
        assert_eq!(of(7, 8), [Group::User(7), Group::Process(8)]);
        assert_eq!(of(7, 0), [Group::User(7)], "of another namespace");
    }
}

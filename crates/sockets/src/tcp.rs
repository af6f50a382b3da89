//! TCP sockets.

use crate::sys;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// How long a port of a process that is being ended is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often is looked meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// Listens on `at`. An IPv6 address takes IPv4 clients too where it is `[::]`, unless it is to be `v6_only`, because
/// the same port of `0.0.0.0` is listened on as well.
///
/// # Errors
/// The system's.
pub fn listen(at: &SocketAddr, v6_only: bool) -> io::Result<TcpListener> {
    let until = Instant::now() + PATIENCE;
    loop {
        match try_listen(at, v6_only) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                std::thread::sleep(LOOK);
            }
            result => return result,
        }
    }
}

fn try_listen(at: &SocketAddr, v6_only: bool) -> io::Result<TcpListener> {
    let family = if at.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET };
    let socket = sys::socket(family)?;
    // Connections of a server before, which the system keeps for a while, are no reason to wait.
    sys::set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if at.is_ipv6() {
        sys::set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, i32::from(v6_only))?;
    }
    sys::bind_tcp(&socket, at)?;
    sys::listen(&socket)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn a_port_is_listened_on_and_waited_for() {
        let first = listen(&"127.0.0.1:0".parse().expect("an address"), false).expect("bound");
        let at = first.local_addr().expect("an address");
        assert!(TcpStream::connect(at).is_ok());
        let ends = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            drop(first);
        });
        listen(&at, false).expect("free in a moment");
        ends.join().expect("no panic");
    }
}

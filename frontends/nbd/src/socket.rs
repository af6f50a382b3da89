//! The few calls on sockets that are not made through the ring.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Bytes that may wait in a socket, as asked for; the system may grant less.
const BUFFER_BYTES: libc::c_int = 1 << 20;
/// A TCP connection without traffic is asked whether its other end lives after so many seconds.
const QUIET_S: libc::c_int = 15;
/// And again after so many.
const AGAIN_S: libc::c_int = 5;
/// After so many questions without an answer it is over: 45 s from the last sign of life.
const QUESTIONS: libc::c_int = 6;
/// Longest that data on its way may be unanswered.
const UNANSWERED: Duration = Duration::from_secs(45);

/// The text of an errno.
pub(crate) fn text(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

/// Ends both directions: operations in flight complete.
pub(crate) fn shutdown(socket: &OwnedFd) {
    // SAFETY: a plain call on a descriptor that we own. That it may be shut down already is fine.
    unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) };
}

/// What waits in a socket for its other end to take it, in the kernel's own measure; none where it does not say.
pub(crate) fn waiting(fd: RawFd) -> Option<i32> {
    let mut count: libc::c_int = 0;
    // SAFETY: `count` is a place for the result, an int.
    let result = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut count) };
    (result == 0).then_some(count)
}

/// Takes the descriptor that an accept operation returned.
pub(crate) fn accepted(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel just made it for us; nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Sets what a connection wants: no delay, room for whole batches, and to learn within a minute that the other host
/// has died. `patience` is how long a client may take no replies.
pub(crate) fn tune(socket: &OwnedFd, tcp: bool, patience: Duration) {
    if tcp {
        set(socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
        set(socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
        set(socket, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, QUIET_S);
        set(socket, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, AGAIN_S);
        set(socket, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, QUESTIONS);
        // It counts for a live host that takes nothing too, so it must not be shorter than what that may take.
        let unanswered = patience.max(UNANSWERED).as_millis();
        set(
            socket,
            libc::IPPROTO_TCP,
            libc::TCP_USER_TIMEOUT,
            libc::c_int::try_from(unanswered).unwrap_or(libc::c_int::MAX),
        );
    } else {
        // TCP sizes its buffers by itself, and better.
        set(socket, libc::SOL_SOCKET, libc::SO_SNDBUF, BUFFER_BYTES);
        set(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, BUFFER_BYTES);
    }
}

fn set(socket: &OwnedFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) {
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` is a valid int of that size. Without the option everything works, slower.
    unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size) };
}

/// Address of the other end, when it is a TCP connection.
pub(crate) fn peer_address(fd: RawFd) -> Option<SocketAddr> {
    // SAFETY: the caller's descriptor is open for the length of this call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let stream = std::net::TcpStream::from(borrowed.try_clone_to_owned().ok()?);
    stream.peer_addr().ok()
}

/// User and process at the other end, when it is a Unix socket; process 0 where the kernel does not say.
pub(crate) fn peer_process(fd: RawFd) -> Option<(u32, i32)> {
    let mut cred = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `cred` is a place for the result, `size` its size.
    let result = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut cred).cast(), &raw mut size)
    };
    (result == 0 && cred.uid != u32::MAX).then_some((cred.uid, cred.pid))
}

/// Descriptors that this process may have open; more than any number of one when there is no limit.
pub(crate) fn descriptors() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a place for the result.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if result == 0 { limit.rlim_cur } else { u64::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(socket: &OwnedFd, name: libc::c_int) -> libc::c_int {
        let (mut value, mut size) = (0, size_of::<libc::c_int>() as libc::socklen_t);
        // SAFETY: `value` is a place for the result, `size` its size.
        let result = unsafe {
            let place = (&raw mut value).cast();
            libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, name, place, &raw mut size)
        };
        assert_eq!(result, 0);
        value
    }

    #[test]
    fn a_host_that_has_died_is_noticed_within_a_minute() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let socket = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let socket = OwnedFd::from(socket);
        tune(&socket, true, Duration::from_secs(30));
        let quiet = get(&socket, libc::TCP_KEEPIDLE);
        let asked = get(&socket, libc::TCP_KEEPINTVL) * get(&socket, libc::TCP_KEEPCNT);
        assert!(quiet + asked <= 60, "a quiet connection: {quiet} + {asked} s");
        let unanswered = get(&socket, libc::TCP_USER_TIMEOUT);
        assert!((30_000..=60_000).contains(&unanswered), "one with data on its way: {unanswered} ms");
        tune(&socket, true, Duration::from_secs(600));
        assert_eq!(get(&socket, libc::TCP_USER_TIMEOUT), 600_000, "as long as a client may take nothing");
    }
}

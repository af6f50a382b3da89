//! The few calls on sockets that are not made through the ring.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Bytes that may wait in a socket, as asked for; the system may grant less.
const BUFFER_BYTES: libc::c_int = 1 << 20;

/// The text of an errno.
pub(crate) fn text(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

/// Ends both directions: operations in flight complete.
pub(crate) fn shutdown(socket: &OwnedFd) {
    // SAFETY: a plain call on a descriptor that we own. That it may be shut down already is fine.
    unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) };
}

/// Takes the descriptor that an accept operation returned.
pub(crate) fn accepted(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel just made it for us; nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Sets what a connection wants: no delay, room for whole batches.
pub(crate) fn tune(socket: &OwnedFd, tcp: bool) {
    if tcp {
        set(socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
        set(socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
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

/// Process at the other end, when it is a Unix socket.
pub(crate) fn peer_pid(fd: RawFd) -> Option<i32> {
    let mut cred = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `cred` is a place for the result, `size` its size.
    let result = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut cred).cast(), &raw mut size)
    };
    (result == 0 && cred.pid != 0).then_some(cred.pid)
}

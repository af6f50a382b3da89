//! The system calls that the standard library does not have.

#![allow(unsafe_code)] // plain calls on descriptors and buffers of this module

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Connections that may wait to be accepted; the system may allow fewer.
const BACKLOG: libc::c_int = 1024;
/// Most bytes of a group's entry, its members included.
const MAX_GROUP_BYTES: usize = 1 << 20;

pub(crate) fn done(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A new stream socket of a family, closed on exec.
pub(crate) fn socket(family: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: it takes no pointer; the descriptor is new, and nobody else's.
    unsafe {
        let fd = done(libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Sets a socket's own mode, which its name gets when it is bound, less the umask.
pub(crate) fn set_mode(socket: &OwnedFd, mode: u32) -> io::Result<()> {
    // SAFETY: the descriptor is open.
    done(unsafe { libc::fchmod(socket.as_raw_fd(), mode) }).map(drop)
}

/// The address of a path. The caller has looked at its length.
fn address(path: &Path) -> (libc::sockaddr_un, libc::socklen_t) {
    // SAFETY: integers and an array of them, for which zeroes are valid.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, from) in address.sun_path.iter_mut().zip(path.as_os_str().as_bytes()) {
        *to = *from as libc::c_char;
    }
    (address, size_of::<libc::sockaddr_un>() as libc::socklen_t)
}

/// Gives a socket the name `path`, which must be free.
pub(crate) fn bind(socket: &OwnedFd, path: &Path) -> io::Result<()> {
    let (address, size) = address(path);
    // SAFETY: the address is valid for `size` bytes.
    done(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) }).map(drop)
}

/// Connects without waiting: a full queue of the listener is `WouldBlock`.
pub(crate) fn connect(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket(libc::AF_UNIX)?;
    let (address, size) = address(path);
    // SAFETY: the descriptor is open; the address is valid for `size` bytes.
    unsafe {
        done(libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK))?;
        done(libc::connect(socket.as_raw_fd(), (&raw const address).cast(), size))?;
    }
    Ok(socket)
}

/// Begins to listen.
pub(crate) fn listen(socket: &OwnedFd) -> io::Result<()> {
    // SAFETY: it takes no pointer; the descriptor is open.
    done(unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) }).map(drop)
}

/// An option of a socket, an int.
pub(crate) fn option(fd: RawFd, level: libc::c_int, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` is a place for the result, `size` its size.
    done(unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut size) })?;
    Ok(value)
}

/// Sets an option of a socket, an int.
pub(crate) fn set_option(
    socket: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` is a valid int of that size.
    done(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size) })
        .map(drop)
}

/// The process at the other end of a Unix socket: whoever began to listen there. None where the kernel does not say,
/// as for one in another namespace.
pub(crate) fn peer_process(socket: &OwnedFd) -> Option<i32> {
    let mut cred = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `cred` is a place for the result, `size` its size.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut cred).cast(),
            &raw mut size,
        )
    };
    (result == 0 && cred.pid > 0).then_some(cred.pid)
}

/// Binds a TCP socket to an address.
pub(crate) fn bind_tcp(socket: &OwnedFd, at: &SocketAddr) -> io::Result<()> {
    match at {
        SocketAddr::V4(at) => {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: at.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(at.ip().octets()) },
                sin_zero: [0; 8],
            };
            let size = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            // SAFETY: the address is valid for `size` bytes.
            done(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) })
        }
        SocketAddr::V6(at) => {
            let address = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: at.port().to_be(),
                sin6_flowinfo: at.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: at.ip().octets() },
                sin6_scope_id: at.scope_id(),
            };
            let size = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            // SAFETY: the address is valid for `size` bytes.
            done(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) })
        }
    }
    .map(drop)
}

/// Takes a descriptor over that this process was started with; none where it is not open. From now on it is closed on
/// exec.
pub(crate) fn inherit(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: it takes no pointer; a number that is not open is an error.
    done(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and by the protocol of whoever started this process it is this process's to use; the caller
    // takes each number once.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A socket's own address family.
pub(crate) fn family(socket: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_DOMAIN)
}

/// The number of a group of this name.
pub(crate) fn group(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    let mut bytes = 4096;
    while bytes <= MAX_GROUP_BYTES {
        let mut buffer: Vec<libc::c_char> = vec![0; bytes];
        // SAFETY: integers and pointers, for which zeroes are valid.
        let mut entry: libc::group = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        // SAFETY: `name` ends in a NUL; `entry`, `buffer` and `found` are places for the result, of the sizes given.
        let errno = unsafe {
            libc::getgrnam_r(name.as_ptr(), &raw mut entry, buffer.as_mut_ptr(), buffer.len(), &raw mut found)
        };
        match errno {
            libc::ERANGE => bytes *= 4,
            _ => return (errno == 0 && !found.is_null()).then_some(entry.gr_gid),
        }
    }
    None
}

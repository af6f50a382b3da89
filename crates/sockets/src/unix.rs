//! Unix sockets: bound, guarded, and removed.

use crate::{Access, sys};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest path that a socket can have, bytes; the kernel's `sun_path` without its NUL.
pub const MAX_PATH: usize = 107;
/// How long a socket of a process that is being ended is waited for. The kernel closes the descriptors of one that was
/// killed in its own time, those that a ring still holds after the process itself has gone.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often is looked meanwhile.
const LOOK: Duration = Duration::from_millis(10);

/// Why a path can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A live process listens there.
    #[error("another process is listening there")]
    InUse,
    /// Something else has that name.
    #[error("there is a file that is not a socket")]
    NotASocket,
    /// The kernel has no room for such a path.
    #[error("the path has {0} bytes (at most {MAX_PATH})")]
    TooLong(usize),
    /// A system call failed.
    #[error("cannot {what}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: io::Error,
    },
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> BindError {
    move |error| BindError::Io { what, error }
}

/// The name of a socket that this process bound. When it is dropped the name is removed, if it is still that socket's:
/// somebody may have removed it, and somebody else may serve there since.
#[derive(Debug)]
pub struct UnixSocket {
    path: PathBuf,
    inode: (u64, u64),
}

impl UnixSocket {
    /// Listens on `path`. What a dead process left there is replaced; nobody can connect before the socket has its
    /// mode and group.
    ///
    /// # Errors
    /// [`BindError`]; nothing at `path` was changed.
    pub fn bind(path: &Path, access: Access) -> Result<(UnixSocket, UnixListener), BindError> {
        let bytes = path.as_os_str().as_bytes();
        if bytes.len() > MAX_PATH {
            return Err(BindError::TooLong(bytes.len()));
        }
        if bytes.is_empty() || bytes.contains(&0) {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "a path without NULs is needed");
            return Err(failed("bind")(error));
        }
        let socket = sys::socket(libc::AF_UNIX).map_err(failed("make a socket"))?;
        // Until it has the permissions that it is to have, it has hardly any; and nobody listens yet.
        sys::set_mode(&socket, 0o600).map_err(failed("set its mode"))?;
        let until = Instant::now() + PATIENCE;
        loop {
            match sys::bind(&socket, path) {
                Ok(()) => break,
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => clear(path, until)?,
                Err(e) => return Err(failed("bind")(e)),
            }
        }
        // From here on it goes with this, whatever fails.
        let meta = fs::symlink_metadata(path).map_err(failed("look at it"))?;
        let bound = UnixSocket { path: path.to_owned(), inode: inode(&meta) };
        if let Some(group) = access.group {
            std::os::unix::fs::lchown(path, None, Some(group)).map_err(failed("give it to its group"))?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(access.mode)).map_err(failed("set its mode"))?;
        sys::listen(&socket).map_err(failed("listen"))?;
        Ok((bound, socket.into()))
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| inode(&meta) == self.inode) {
            // It may be gone by now; then there is nothing to do.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn inode(meta: &fs::Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// Who is at a path.
#[derive(Debug, PartialEq, Eq)]
enum Listener {
    /// Nobody: the name is not there, or nothing listens.
    Nobody,
    /// A process that has ended, or is about to.
    Dead,
    /// Somebody.
    Alive,
    /// Somebody, or one that is dead: the kernel does not say.
    Unknown,
}

/// Does a live process listen on the socket `path`? Asks without waiting.
pub fn answers(path: &Path) -> bool {
    matches!(listener(path), Ok(Listener::Alive))
}

fn listener(path: &Path) -> io::Result<Listener> {
    if path.as_os_str().as_bytes().len() > MAX_PATH {
        return Ok(Listener::Nobody);
    }
    let socket = match sys::connect(path) {
        Ok(socket) => socket,
        Err(e) => {
            return match e.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Ok(Listener::Nobody),
                // As many wait to be accepted as may.
                io::ErrorKind::WouldBlock => Ok(Listener::Unknown),
                _ => Err(e),
            };
        }
    };
    Ok(match sys::peer_process(&socket) {
        None => Listener::Unknown,
        Some(pid) if is_ending(pid) => Listener::Dead,
        Some(_) => Listener::Alive,
    })
}

/// Whether a process has ended, or has begun to.
fn is_ending(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return !Path::new(&format!("/proc/{pid}")).exists();
    };
    // "pid (name) state ...": a name may have anything in it, also brackets.
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    matches!(state, Some('Z' | 'X' | 'x'))
}

/// Removes the socket that a process left at `path` when it died; whatever else is there stays. Waits until `until`
/// for one that is on its way out.
fn clear(path: &Path, until: Instant) -> Result<(), BindError> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed("look at what is there")(e)),
    };
    if !meta.file_type().is_socket() {
        return Err(BindError::NotASocket);
    }
    loop {
        match listener(path).map_err(failed("look who listens there"))? {
            Listener::Nobody | Listener::Dead => return remove(path, inode(&meta)),
            _ if Instant::now() >= until => return Err(BindError::InUse),
            // Between the signal that ends a process and its end there is nothing to tell it by.
            Listener::Alive | Listener::Unknown => std::thread::sleep(LOOK),
        }
    }
}

/// Removes a name, if it is still the one of that inode: another daemon may have been quicker.
fn remove(path: &Path, expected: (u64, u64)) -> Result<(), BindError> {
    match fs::symlink_metadata(path) {
        Ok(meta) if inode(&meta) == expected => {
            fs::remove_file(path).map_err(failed("remove what a dead process left"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn path(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("a.sock")
    }

    fn bind(path: &Path) -> Result<(UnixSocket, UnixListener), BindError> {
        UnixSocket::bind(path, Access::default())
    }

    #[test]
    fn what_a_dead_process_left_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = path(&folder);
        drop(UnixListener::bind(&path).expect("bound"));
        let (_name, _listener) = bind(&path).expect("nobody's");
        assert!(matches!(bind(&path), Err(BindError::InUse)));
        assert!(UnixStream::connect(&path).is_ok(), "the first one still answers");
        assert!(answers(&path));
    }

    #[test]
    fn a_listener_whose_process_is_dead_is_replaced_although_it_answers() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = path(&folder);
        // A child listens and dies; its descriptor lives on here, as one in a ring lives on in the kernel.
        let (kept, given) = std::os::unix::net::UnixDatagram::pair().expect("a pair");
        let status = sys_tests::listen_in_a_child(&path, &given);
        let _listener = sys_tests::receive(&kept);
        assert!(status, "the child listened");
        assert!(UnixStream::connect(&path).is_ok(), "it answers although its process is dead");
        assert!(!answers(&path), "nobody lives there");
        bind(&path).expect("a dead process's socket is nobody's");
    }

    #[test]
    fn only_what_was_bound_here_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = path(&folder);
        let (first, _first_listener) = bind(&path).expect("bound");
        fs::remove_file(&path).expect("removed by hand");
        let (second, _second_listener) = bind(&path).expect("bound by another");
        drop(first);
        assert!(UnixStream::connect(&path).is_ok(), "the second one's name is still there");
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_is_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = path(&folder);
        fs::write(&path, "data").expect("written");
        assert!(matches!(bind(&path), Err(BindError::NotASocket)));
        assert_eq!(fs::read(&path).expect("still there"), b"data");
    }

    #[test]
    fn the_mode_is_as_said_whatever_the_umask() {
        let folder = tempfile::tempdir().expect("a folder");
        for mode in [0o600, 0o660, 0o666] {
            let path = folder.path().join(format!("{mode:o}"));
            let access = Access { mode, group: None };
            let _bound = UnixSocket::bind(&path, access).expect("bound");
            assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, mode);
        }
    }

    #[test]
    fn a_path_that_is_too_long_is_named() {
        let error = bind(&Path::new("/tmp").join("x".repeat(120))).expect_err("too long").to_string();
        assert!(error.contains("125 bytes (at most 107)"), "{error}");
    }

    mod sys_tests {
        #![allow(unsafe_code)] // a child that listens and dies

        use super::super::sys;
        use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
        use std::os::unix::net::UnixDatagram;
        use std::path::Path;

        fn message(fd: i32, send: bool, over: &UnixDatagram) -> i32 {
            let mut byte = 0_u8;
            let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
            let mut room = [0_u64; 8];
            // SAFETY: all of the message's pointers are to locals that outlive the call, with their sizes; the control
            // message fits the room and is aligned.
            unsafe {
                let mut message: libc::msghdr = std::mem::zeroed();
                message.msg_iov = &raw mut part;
                message.msg_iovlen = 1;
                message.msg_control = room.as_mut_ptr().cast();
                message.msg_controllen = libc::CMSG_SPACE(4) as usize;
                let head = libc::CMSG_FIRSTHDR(&raw const message);
                if send {
                    (*head).cmsg_level = libc::SOL_SOCKET;
                    (*head).cmsg_type = libc::SCM_RIGHTS;
                    (*head).cmsg_len = libc::CMSG_LEN(4) as usize;
                    libc::CMSG_DATA(head).cast::<i32>().write_unaligned(fd);
                    return libc::sendmsg(over.as_raw_fd(), &raw const message, 0) as i32;
                }
                libc::recvmsg(over.as_raw_fd(), &raw mut message, 0);
                libc::CMSG_DATA(head).cast::<i32>().read_unaligned()
            }
        }

        /// A child listens on `path`, sends the descriptor away and dies.
        pub(super) fn listen_in_a_child(path: &Path, over: &UnixDatagram) -> bool {
            let socket = sys::socket(libc::AF_UNIX).expect("a socket");
            sys::bind(&socket, path).expect("bound");
            // SAFETY: the child makes system calls only, and ends without unwinding.
            unsafe {
                let child = libc::fork();
                if child == 0 {
                    let good = libc::listen(socket.as_raw_fd(), 8) == 0;
                    let sent = message(socket.as_raw_fd(), true, over) == 1;
                    libc::_exit(i32::from(!(good && sent)));
                }
                let mut status = 0;
                libc::waitpid(child, &raw mut status, 0) == child && status == 0
            }
        }

        /// The descriptor that was sent.
        pub(super) fn receive(from: &UnixDatagram) -> OwnedFd {
            let fd = message(0, false, from);
            // SAFETY: the kernel has just made it for this process.
            unsafe { OwnedFd::from_raw_fd(fd) }
        }
    }
}

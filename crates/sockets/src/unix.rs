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
/// How long a socket is waited for whose process may be about to end: between the signal and the end nothing tells.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one is waited for whose process has ended: the kernel closes what a ring still holds in its own time.
const PATIENCE_WITH_THE_DEAD: Duration = Duration::from_secs(5);
/// How often is looked meanwhile: first, and later on. Each look is a connection that its server has to accept.
const LOOK: Duration = Duration::from_millis(10);
const SELDOM: Duration = Duration::from_millis(250);

/// Why a path can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody listens there.
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
        let begun = Instant::now();
        loop {
            match sys::bind(&socket, path) {
                Ok(()) => break,
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => clear(path, begun)?,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Nobody: the name is not there, or nothing listens.
    Nobody,
    /// The process that began to listen has ended, or is about to, and the socket still takes connections: either the
    /// kernel is still closing it, or it was left to a child, as servers do that go to the background.
    Orphan,
    /// A process that lives began to listen.
    Alive,
    /// Somebody; the kernel does not say who.
    Unknown,
}

/// Who listens on the socket `path`. Asks without waiting.
///
/// # Errors
/// It can't be asked: the path is not allowed to this user, say.
pub fn listener(path: &Path) -> io::Result<Listener> {
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
        Some(pid) if is_ending(pid) => Listener::Orphan,
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

/// Removes the socket that a process left at `path` when it died; whatever else is there stays. One that still takes
/// connections is waited for, as it may be on its way out, and stays if it goes on to.
fn clear(path: &Path, begun: Instant) -> Result<(), BindError> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed("look at what is there")(e)),
    };
    if !meta.file_type().is_socket() {
        return Err(BindError::NotASocket);
    }
    loop {
        let patience = match listener(path).map_err(failed("look who listens there"))? {
            Listener::Nobody => return remove(path, inode(&meta)),
            Listener::Orphan => PATIENCE_WITH_THE_DEAD,
            Listener::Alive | Listener::Unknown => PATIENCE,
        };
        let waited = begun.elapsed();
        if waited >= patience {
            return Err(BindError::InUse);
        }
        std::thread::sleep((waited / 4).clamp(LOOK, SELDOM));
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
        assert_eq!(listener(&path).expect("asked"), Listener::Alive);
    }

    /// A socket on which a process began to listen that has ended since; it is open here, as in the child of a server
    /// that went to the background.
    fn orphan(path: &Path) -> UnixListener {
        let served = UnixListener::bind(path).expect("bound");
        sys_tests::listen_in_a_child(&served);
        assert_eq!(listener(path).expect("asked"), Listener::Orphan, "it takes connections");
        served
    }

    #[test]
    fn what_is_served_is_not_taken_although_the_process_that_listened_has_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = path(&folder);
        let served = orphan(&path);
        assert!(matches!(bind(&path), Err(BindError::InUse)));
        let _client = UnixStream::connect(&path).expect("it is still its name");
        served.accept().expect("and it is served");
    }

    #[test]
    fn a_listener_that_its_dead_process_leaves_open_is_replaced_once_it_is_closed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = path(&folder);
        let held = orphan(&path);
        // As the kernel closes what a ring holds of a process that was killed.
        let closing = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(held);
        });
        bind(&path).expect("a dead process's socket is nobody's");
        closing.join().expect("closed");
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
        #![allow(unsafe_code)] // a child that listens and ends

        use std::os::fd::AsRawFd;
        use std::os::unix::net::UnixListener;
        use std::os::unix::process::CommandExt;
        use std::process::Command;

        /// A child begins to listen on `socket`, and ends.
        pub(super) fn listen_in_a_child(socket: &UnixListener) {
            let fd = socket.as_raw_fd();
            let mut child = Command::new("true");
            // SAFETY: between fork and exec it makes one system call, on a number.
            unsafe { child.pre_exec(move || super::super::sys::done(libc::listen(fd, 128)).map(drop)) };
            assert!(child.status().expect("a child").success());
        }
    }
}

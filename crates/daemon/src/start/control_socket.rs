//! The control socket: never stolen from a daemon that lives, never blocked by one that died, or by a stranger.
//!
//! A lock file beside the socket, held as long as the daemon lives, decides who owns the path; the
//! kernel lets it go however the daemon ends. Only the daemon's own user can open it.

use crate::files::lock_file::{is_locked, is_named, open_lock, try_lock};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use steadfast_sockets::{Access, BindError, Listener, MAX_PATH, UnixSocket, listener};

/// How long a daemon that is being ended is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often is looked meanwhile.
const LOOK: Duration = Duration::from_millis(10);

/// Why the control socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers there.
    #[error("control socket {}: a daemon already serves it (stop it, or choose another with --control)", .0.display())]
    InUse(PathBuf),
    /// Something else has that name.
    #[error("control socket {}: a file that is not a socket is there", .0.display())]
    NotASocket(PathBuf),
    /// The kernel has no room for such a path.
    #[error("control socket {}: the path has {} bytes (at most {MAX_PATH})", .0.display(), .0.as_os_str().len())]
    TooLong(PathBuf),
    /// A system call failed.
    #[error("control socket {}: cannot {what}: {error}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: io::Error,
    },
}

impl SocketError {
    fn of(path: &Path, error: BindError) -> SocketError {
        let path = path.to_owned();
        match error {
            BindError::InUse => SocketError::InUse(path),
            BindError::NotASocket => SocketError::NotASocket(path),
            BindError::TooLong(_) => SocketError::TooLong(path),
            BindError::Io { what, error } => SocketError::Io { path, what, error },
        }
    }
}

/// A bound control socket. Its path goes away when it is dropped, if it is still this socket's.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    _name: UnixSocket,
    _lock: File,
}

impl ControlSocket {
    /// Binds `path` with the given permissions, non-blocking.
    pub(crate) fn bind(path: &Path, access: Access) -> Result<(ControlSocket, UnixListener), SocketError> {
        let failed = |what| move |error| SocketError::Io { path: path.to_owned(), what, error };
        let length = path.as_os_str().len();
        if length > MAX_PATH {
            return Err(SocketError::TooLong(path.to_owned()));
        }
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let open = if access.mode & 0o070 == 0 { 0o700 } else { 0o755 };
        fs::DirBuilder::new().recursive(true).mode(open).create(folder).map_err(failed("make its folder"))?;
        let lock = lock(path)?;
        let (name, listener) = UnixSocket::bind(path, access).map_err(|e| SocketError::of(path, e))?;
        listener.set_nonblocking(true).map_err(failed("make it non-blocking"))?;
        Ok((ControlSocket { _name: name, _lock: lock }, listener))
    }
}

fn lock_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// Whether a daemon has the socket of this path, also where it does not answer there any more: it stops then. False where
/// that cannot be told, as by other users.
pub fn daemon_holds(socket: &Path) -> bool {
    is_locked(&lock_name(socket))
}

/// Takes the lock that says whose the path is.
fn lock(path: &Path) -> Result<File, SocketError> {
    let failed = |what| move |error| SocketError::Io { path: path.to_owned(), what, error };
    let name = lock_name(path);
    let until = Instant::now() + PATIENCE;
    let mut opened = open_lock(&name).map_err(failed("open its lock file"))?;
    loop {
        let (file, open_to_others) = &opened;
        let taken = try_lock(file).map_err(failed("lock"))?;
        // Another starter may have made the file anew meanwhile: then this one says nothing any more.
        if !is_named(file, &name).map_err(failed("look at its lock file"))? {
            opened = open_lock(&name).map_err(failed("open its lock file"))?;
            continue;
        }
        if taken {
            return Ok(opened.0);
        }
        // A daemon that was killed may be on its way out; one that lives answers.
        let there = listener(path).unwrap_or(Listener::Unknown);
        if there == Listener::Alive {
            return Err(SocketError::InUse(path.to_owned()));
        }
        if Instant::now() < until {
            std::thread::sleep(LOOK);
            continue;
        }
        if !open_to_others || there != Listener::Nobody {
            return Err(SocketError::InUse(path.to_owned()));
        }
        // Another user has got at it while that was possible, and no daemon answers.
        tracing::warn!("{}: somebody else holds it, and nobody serves; it is made anew", name.display());
        remove_named(file, &name).map_err(failed("replace its lock file"))?;
    }
}

/// Removes the name of an open file, unless it is another's by now.
fn remove_named(file: &File, name: &Path) -> io::Result<()> {
    if is_named(file, name)? { fs::remove_file(name) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_live_daemon_keeps_its_socket() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run/control.sock");
        let (_socket, _listener) = ControlSocket::bind(&path, Access::default()).expect("the first one");
        let error = ControlSocket::bind(&path, Access::default()).expect_err("the second one");
        assert!(matches!(error, SocketError::InUse(_)), "{error}");
        assert!(UnixStream::connect(&path).is_ok(), "the first one still answers");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_dead_daemons_socket_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.sock");
        drop(UnixListener::bind(&path).expect("left behind"));
        assert!(path.exists());
        let (_socket, _listener) =
            ControlSocket::bind(&path, Access { mode: 0o660, group: None }).expect("replaces it");
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn a_socket_without_lock_that_answers_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.sock");
        let _other = UnixListener::bind(&path).expect("somebody else's");
        assert!(matches!(ControlSocket::bind(&path, Access::default()), Err(SocketError::InUse(_))));
    }

    /// A lock file as it must not be, held by somebody who serves nothing.
    fn stranger(path: &Path) -> File {
        let name = lock_name(path);
        let file = File::create(&name).expect("made");
        fs::set_permissions(&name, fs::Permissions::from_mode(0o666)).expect("open to all");
        assert!(try_lock(&file).expect("asked"));
        file
    }

    #[test]
    fn of_two_that_wait_behind_a_strangers_lock_one_gets_the_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.sock");
        let _held = stranger(&path);
        let both = [(), ()].map(|()| {
            let path = path.clone();
            std::thread::spawn(move || ControlSocket::bind(&path, Access::default()))
        });
        let both = both.map(|one| one.join().expect("no panic"));
        assert_eq!(both.iter().filter(|one| one.is_ok()).count(), 1, "{both:?}");
        for one in both.iter().flatten() {
            let (socket, _) = one;
            assert!(is_named(&socket._lock, &lock_name(&path)).expect("there"));
        }
    }

    #[test]
    fn a_lock_file_that_was_made_anew_is_not_removed_in_the_name_of_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.sock");
        let old = stranger(&path);
        let name = lock_name(&path);
        fs::remove_file(&name).expect("the first starter's");
        let lock = lock(&path).expect("the first one has it");
        remove_named(&old, &name).expect("the second one comes late");
        assert!(is_named(&lock, &name).expect("asked"), "it is still the first one's");
    }

    #[test]
    fn a_file_is_not_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("precious");
        fs::write(&path, "data").expect("written");
        assert!(matches!(ControlSocket::bind(&path, Access::default()), Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read(&path).expect("there"), b"data");
    }

    #[test]
    fn a_path_that_is_too_long_is_named() {
        let path = Path::new("/tmp").join("x".repeat(120));
        let error = ControlSocket::bind(&path, Access::default()).expect_err("too long").to_string();
        assert!(error.contains("125 bytes (at most 107)"), "{error}");
    }

    #[test]
    fn the_path_goes_with_the_daemon() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.sock");
        drop(ControlSocket::bind(&path, Access::default()).expect("bound"));
        assert!(!path.exists());
    }
}

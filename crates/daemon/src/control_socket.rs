//! The control socket: never stolen from a daemon that lives, never blocked by one that died.
//!
//! A lock file beside the socket, held as long as the daemon lives, decides who owns the path; the
//! kernel lets it go however the daemon ends. The socket is bound under a name of its own, given its
//! permissions, and moved into place, so that no client ever meets it with others.

use crate::lock_file::try_lock;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;

/// Longest path that a socket can have, bytes; the kernel's `sun_path` without its NUL.
const MAX_PATH: usize = 107;

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

/// A bound control socket. Its path goes away when it is dropped.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    path: PathBuf,
    inode: (u64, u64),
    _lock: File,
}

impl ControlSocket {
    /// Binds `path` with the given permissions, non-blocking.
    pub(crate) fn bind(path: &Path, mode: u32) -> Result<(ControlSocket, UnixListener), SocketError> {
        let failed = |what| move |error| SocketError::Io { path: path.to_owned(), what, error };
        if path.as_os_str().as_bytes().len() > MAX_PATH {
            return Err(SocketError::TooLong(path.to_owned()));
        }
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let open = if mode & 0o070 == 0 { 0o700 } else { 0o755 };
        fs::DirBuilder::new().recursive(true).mode(open).create(folder).map_err(failed("make its folder"))?;
        let lock = lock(path)?;
        refuse_others(path)?;

        let name = folder.join(format!(".sf{}", process::id()));
        if name.as_os_str().as_bytes().len() > MAX_PATH {
            return Err(SocketError::TooLong(path.to_owned()));
        }
        let _ = fs::remove_file(&name);
        let listener = UnixListener::bind(&name).map_err(failed("bind"))?;
        let placed = fs::set_permissions(&name, fs::Permissions::from_mode(mode))
            .and_then(|()| fs::symlink_metadata(&name))
            .and_then(|meta| fs::rename(&name, path).map(|()| (meta.dev(), meta.ino())))
            .and_then(|inode| listener.set_nonblocking(true).map(|()| inode));
        match placed {
            Ok(inode) => Ok((ControlSocket { path: path.to_owned(), inode, _lock: lock }, listener)),
            Err(e) => {
                let _ = fs::remove_file(&name);
                Err(failed("put it into place")(e))
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Only what is still ours is removed: the path may have been given to something else.
        let same = |meta: &fs::Metadata| (meta.dev(), meta.ino()) == self.inode;
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| same(&meta)) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn lock(path: &Path) -> Result<File, SocketError> {
    let failed = |what| move |error| SocketError::Io { path: path.to_owned(), what, error };
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(PathBuf::from(name))
        .map_err(failed("open its lock file"))?;
    if try_lock(&file).map_err(failed("lock"))? { Ok(file) } else { Err(SocketError::InUse(path.to_owned())) }
}

/// Looks at what is at `path` now. A socket that nobody answers was left by a daemon that died.
fn refuse_others(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) if UnixStream::connect(path).is_ok() => Err(SocketError::InUse(path.to_owned())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_daemon_keeps_its_socket() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run/control.sock");
        let (_socket, _listener) = ControlSocket::bind(&path, 0o600).expect("the first one");
        let error = ControlSocket::bind(&path, 0o600).expect_err("the second one");
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
        let (_socket, _listener) = ControlSocket::bind(&path, 0o660).expect("replaces it");
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn a_socket_without_lock_that_answers_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.sock");
        let _other = UnixListener::bind(&path).expect("somebody else's");
        assert!(matches!(ControlSocket::bind(&path, 0o600), Err(SocketError::InUse(_))));
    }

    #[test]
    fn a_file_is_not_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("precious");
        fs::write(&path, "data").expect("written");
        assert!(matches!(ControlSocket::bind(&path, 0o600), Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read(&path).expect("there"), b"data");
    }

    #[test]
    fn a_path_that_is_too_long_is_named() {
        let path = Path::new("/tmp").join("x".repeat(120));
        let error = ControlSocket::bind(&path, 0o600).expect_err("too long").to_string();
        assert!(error.contains("125 bytes (at most 107)"), "{error}");
    }

    #[test]
    fn the_path_goes_with_the_daemon() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.sock");
        drop(ControlSocket::bind(&path, 0o600).expect("bound"));
        assert!(!path.exists());
    }
}

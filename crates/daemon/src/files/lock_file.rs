//! Locks on files that say whose something is. The kernel lets one go however its process ends.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Opens the file of a lock, which is made when it is not there: this user's, and nobody else's to open. True when it
/// had been open to others before, so that one of them may hold it.
///
/// # Errors
/// The system's; also where the name is a symbolic link.
pub(crate) fn open_lock(path: &Path) -> io::Result<(File, bool)> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true).mode(0o600).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let foreign = meta.uid() != crate::files::user::effective_uid();
    let wide = meta.mode() & 0o077 != 0;
    if wide && !foreign {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok((file, wide || foreign))
}

/// Locks a file for this process alone, as long as it is open; false where another one has it. Does not wait.
///
/// It is a lock of the open file, for writing: whoever can't open the file to write can't be in the way of it, unlike
/// with `flock(2)`, for which reading is enough.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    // SAFETY: integers, for which zeroes are valid.
    let mut whole: libc::flock = unsafe { std::mem::zeroed() };
    whole.l_type = libc::F_WRLCK as libc::c_short;
    whole.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is open; `whole` outlives the call.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const whole) } == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        e if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        e => Err(e),
    }
}

/// Whether `path` is still the name of an open file: whoever removes it and makes another has a lock of their own.
///
/// # Errors
/// The system's, other than that there is no such name.
pub(crate) fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether another one has the lock of a file; false where that cannot be told.
pub(crate) fn is_locked(path: &Path) -> bool {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
    let Ok(file) = File::options().read(true).custom_flags(flags).open(path) else { return false };
    // SAFETY: integers, for which zeroes are valid.
    let mut whole: libc::flock = unsafe { std::mem::zeroed() };
    whole.l_type = libc::F_WRLCK as libc::c_short;
    whole.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is open; `whole` outlives the call.
    let told = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut whole) } == 0;
    told && whole.l_type != libc::F_UNLCK as libc::c_short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_can_only_read_the_file_is_in_nobodys_way() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.lock");
        std::fs::write(&path, "").expect("an older daemon's file");
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("open to all");
        let reader = File::open(&path).expect("anybody can");
        // SAFETY: `flock` takes no pointer; the descriptor is open.
        assert_eq!(unsafe { libc::flock(reader.as_raw_fd(), libc::LOCK_EX) }, 0);
        let (file, open_to_others) = open_lock(&path).expect("opened");
        assert!(open_to_others);
        assert!(try_lock(&file).expect("locked"), "a reader's lock is not in the way");
        assert_eq!(
            std::fs::metadata(&path).expect("there").mode() & 0o777,
            0o600,
            "and from now on there is none"
        );
        let (second, open_to_others) = open_lock(&path).expect("opened");
        assert!(!open_to_others && !try_lock(&second).expect("asked"), "one at a time");
        drop(file);
        assert!(try_lock(&second).expect("asked"));
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.lock");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).expect("a link");
        assert!(open_lock(&path).is_err());
        assert!(!folder.path().join("elsewhere").exists());
    }
}

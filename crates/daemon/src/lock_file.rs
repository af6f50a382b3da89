//! Locks on files that say whose something is. The kernel lets one go however its process ends.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Locks a file for this process alone, as long as it is open; false where another one has it. Does not wait.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    // SAFETY: `flock` takes no pointer; the descriptor is open.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        e if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
        e => Err(e),
    }
}

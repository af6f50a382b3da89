//! Waits for a folder to change. The kernel's notice only shortens the wait: where there is none, as
//! on network file systems, a look is taken again and again all the same.

use inotify::{Inotify, WatchMask};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// Events of one reading; what does not fit is read next.
const ROOM: usize = 4096;

/// Waits, on one thread.
#[derive(Debug)]
pub(crate) struct Watcher {
    inotify: Option<Inotify>,
    wake: UnixStream,
}

/// Ends a wait, from any thread.
#[derive(Debug)]
pub(crate) struct Waker(UnixStream);

impl Waker {
    pub(crate) fn wake(&self) {
        // A full socket wakes as well as one more byte.
        let _ = (&self.0).write(&[1]);
    }
}

impl Watcher {
    pub(crate) fn new() -> io::Result<(Watcher, Waker)> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let inotify = Inotify::init();
        if let Err(e) = &inotify {
            tracing::warn!("inotify: {e}; watched folders are only looked at from time to time");
        }
        Ok((Watcher { inotify: inotify.ok(), wake }, Waker(waker)))
    }

    /// Watches these folders; those that are not there are tried again at the next call.
    pub(crate) fn watch(&self, folders: &[PathBuf]) {
        let Some(inotify) = &self.inotify else { return };
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE
            | WatchMask::ATTRIB
            | WatchMask::ONLYDIR;
        for folder in folders {
            // A folder that is watched already stays so. One that cannot be is looked at all the same.
            let _ = inotify.watches().add(folder, mask);
        }
    }

    /// Waits until something happens in a folder, a waker wakes, or the time is over.
    pub(crate) fn wait(&mut self, longest: Duration) {
        let inotify = self.inotify.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        poll(&[inotify, self.wake.as_raw_fd()], longest);
        let mut room = [0; ROOM];
        while self.wake.read(&mut room).is_ok_and(|n| n > 0) {}
        if let Some(inotify) = &mut self.inotify {
            // What happened is seen by looking.
            while inotify.read_events(&mut room).is_ok() {}
        }
    }
}

/// Waits until one of the descriptors can be read; negative ones are passed over.
fn poll(fds: &[RawFd; 2], longest: Duration) {
    let mut fds = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    let timeout = i32::try_from(longest.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `fds` is an array of as many entries as are named, and lives through the call.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// Far longer than anything here takes.
    const FOREVER: Duration = Duration::from_secs(60);

    #[test]
    fn a_new_file_and_a_waker_end_the_wait() {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut watcher, waker) = Watcher::new().expect("made");
        watcher.watch(&[dir.path().to_owned(), "/nonexistent".into()]);
        let begin = Instant::now();
        std::fs::write(dir.path().join("a.so"), "x").expect("written");
        watcher.wait(FOREVER);
        waker.wake();
        watcher.wait(FOREVER);
        assert!(begin.elapsed() < FOREVER);
        // All that happened has been read.
        watcher.wait(Duration::from_millis(1));
    }
}

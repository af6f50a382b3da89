//! Locks on the files that ports have open.
//!
//! While one driver takes over from another, a port may have one file open twice, in two ways: past the page
//! cache and not, for writing and not. `flock(2)` takes the two for strangers. So what locks a file belongs to
//! the port: one of its handles on the file holds the lock, and each has a [`Share`] of it. The lock is
//! exclusive while any of them may write, and goes with the last of them.
//!
//! It must not lapse while one comes and the other goes. Linux makes a shared lock of an exclusive one, or the
//! other way, in one step, but for the case that an exclusive one cannot be had: then the shared one is gone
//! with the attempt, and is taken again at once. So that is not even tried while others are known to share it.

#![allow(unsafe_code)] // system calls without a safe wrapper

use crate::handle::contents::Contents;
use crate::handle::foreign_locks::Guard;
use crate::handle::overlap::Ground;
use crate::helpers::close::PortFile;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use steadfast_shell::sync::lock;

/// How long a lock is waited for: the kernel takes a ring down in the background, and with it lets go
/// of the files of a process that was killed a moment ago.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

/// A file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl FileId {
    pub(crate) fn of(meta: &std::fs::Metadata) -> FileId {
        FileId { device: meta.dev(), inode: meta.ino() }
    }

    /// Whether more than one has the file locked, as far as the kernel says it: not across containers, nor on
    /// file systems that number their files in another way there.
    fn is_shared(self) -> bool {
        (0..LOOKS).any(|_| self.locks().len() > 1)
    }

    /// The processes that have it locked, likewise. The kernel shows its list in parts: while others come and go, one may
    /// be missed.
    fn locks(self) -> Vec<i32> {
        let (major, minor) = (libc::major(self.device), libc::minor(self.device));
        let place = format!("{major:02x}:{minor:02x}:{}", self.inode);
        let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
        // `12: FLOCK  ADVISORY  WRITE 4711 fd:01:1234 0 EOF`
        let on_it = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let held = words.get(1) == Some(&"FLOCK") && words.get(5) == Some(&place.as_str());
            held.then(|| words[4].parse().unwrap_or(0))
        };
        locks.lines().filter_map(on_it).collect()
    }

    /// Who has it locked, for people.
    pub(crate) fn holders(self) -> String {
        let said = "another process has it locked";
        let other = |pid: &i32| *pid > 0 && *pid != std::process::id() as i32;
        let others = || self.locks().into_iter().filter(other).take(MOST_NAMED).collect::<Vec<_>>();
        let others = (0..LOOKS).map(|_| others()).find(|others| !others.is_empty()).unwrap_or_default();
        let named: Vec<String> = others.into_iter().map(named).collect();
        if named.is_empty() { said.to_owned() } else { format!("{said} ({})", named.join("; ")) }
    }
}

/// How often the list of locks is looked at before something is not in it.
const LOOKS: usize = 3;
/// Holders of a lock that are named.
const MOST_NAMED: usize = 3;

/// The name of a process; empty when it has ended.
pub fn process_name(pid: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    // A process names itself, with any bytes.
    name.trim_end().chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A process, by its name where it is known.
fn named(pid: i32) -> String {
    let name = process_name(pid);
    if name.is_empty() { format!("process {pid}") } else { format!("{name}, process {pid}") }
}

/// What locks one file for one port.
#[derive(Debug)]
pub(crate) struct FileLock {
    id: FileId,
    ground: Ground,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    /// What keeps those away who do not look at this lock.
    guard: Guard,
    /// The lock is this one's in the kernel. It stays open for it, even if its own handle has gone.
    holder: Arc<PortFile>,
    exclusive: bool,
    /// The files of the handles that share it, and whether each may write.
    shares: Vec<(Arc<PortFile>, bool)>,
}

/// A handle's part in a lock.
#[derive(Debug)]
pub(crate) struct Share {
    lock: Arc<FileLock>,
    file: Arc<PortFile>,
}

impl Share {
    /// What is locked, and what it lies on.
    pub(crate) fn ground(&self) -> &Ground {
        &self.lock.ground
    }

    /// The lock, where it is on this file or block device, by whatever node.
    pub(crate) fn on(&self, contents: &Contents) -> Option<Arc<FileLock>> {
        self.lock.ground.is_of(contents).then(|| self.lock.clone())
    }
}

/// Locks a file for a port that has no lock on it.
///
/// # Errors
/// `EWOULDBLOCK`: another process, or another port, has it locked.
pub(crate) fn take(
    id: FileId,
    contents: &Contents,
    file: &Arc<PortFile>,
    exclusive: bool,
) -> io::Result<Share> {
    with_patience(|| flock(file, kind(exclusive)))?;
    let mut guard = None;
    with_patience(|| Guard::take(file, exclusive).map(|got| guard = Some(got)))?;
    let guard = guard.ok_or_else(taken)?;
    let held = Held { guard, holder: file.clone(), exclusive, shares: vec![(file.clone(), exclusive)] };
    Ok(Share {
        lock: Arc::new(FileLock { id, ground: Ground::of(contents), held: Mutex::new(held) }),
        file: file.clone(),
    })
}

/// Shares a lock that the port has on the file with another handle.
///
/// # Errors
/// As for [`take`], where it must become exclusive; it is as it was.
pub(crate) fn share(known: Arc<FileLock>, file: &Arc<PortFile>, exclusive: bool) -> io::Result<Share> {
    {
        let mut held = lock(&known.held);
        if exclusive && !held.exclusive {
            with_patience(|| if known.id.is_shared() { Err(taken()) } else { Ok(()) })?;
            let Held { guard, .. } = &mut *held;
            // Who has locked it as QEMU does too is known by this lock.
            let theirs = |e: io::Error| if is_busy(&e) && known.id.is_shared() { taken() } else { e };
            with_patience(|| guard.become_exclusive(file)).map_err(theirs)?;
            held.become_exclusive(file).inspect_err(|_| held.guard.become_shared())?;
        }
        held.shares.push((file.clone(), exclusive));
    }
    Ok(Share { lock: known, file: file.clone() })
}

impl Held {
    /// With a file that may write, since on some file systems only such a one can have an exclusive lock.
    fn become_exclusive(&mut self, file: &Arc<PortFile>) -> io::Result<()> {
        // Beside a shared lock there can be another, and so it is handed on.
        flock(file, libc::LOCK_SH)?;
        flock(&self.holder, libc::LOCK_UN)?;
        // A process that ends lets go of one lock after the other.
        let Err(e) = with_patience(|| flock(file, libc::LOCK_EX)) else {
            self.holder = file.clone();
            self.exclusive = true;
            return Ok(());
        };
        if let Err(lost) = with_patience(|| flock(&self.holder, libc::LOCK_SH)) {
            tracing::error!("a file that a port has open is not locked any more: {lost}");
        }
        Err(e)
    }

    /// None of those that are left may write.
    fn become_shared(&mut self) {
        if let Err(e) = flock(&self.holder, libc::LOCK_SH) {
            tracing::warn!("a file that a port reads stays locked for itself alone: {e}");
            return;
        }
        self.exclusive = false;
        self.guard.become_shared();
    }

    /// A shared lock moves to a handle that is left, so that none stays open for it alone.
    fn move_on(&mut self) {
        let Some((next, _)) = self.shares.first().cloned() else { return };
        let stays = self.shares.iter().any(|(file, _)| Arc::ptr_eq(file, &self.holder));
        if !stays && flock(&next, libc::LOCK_SH).is_ok() {
            // The file that goes may be open a little longer, for what is in flight on it.
            let _ = flock(&self.holder, libc::LOCK_UN);
            self.holder = next;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = lock(&self.lock.held);
        held.shares.retain(|(file, _)| !Arc::ptr_eq(file, &self.file));
        if held.shares.is_empty() {
            // The lock goes with the file, and that with the last operation on it.
            return;
        }
        if held.exclusive && !held.shares.iter().any(|(_, writes)| *writes) {
            held.become_shared();
        }
        if !held.exclusive {
            held.move_on();
        }
    }
}

fn kind(exclusive: bool) -> libc::c_int {
    if exclusive { libc::LOCK_EX } else { libc::LOCK_SH }
}

/// Does not wait.
fn flock(file: &OwnedFd, how: libc::c_int) -> io::Result<()> {
    // SAFETY: plain call on an open descriptor.
    if unsafe { libc::flock(file.as_raw_fd(), how | libc::LOCK_NB) } == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

fn taken() -> io::Error {
    io::Error::from_raw_os_error(libc::EWOULDBLOCK)
}

/// Somebody is in the way, who may go.
pub(crate) fn is_busy(e: &io::Error) -> bool {
    e.raw_os_error() == Some(libc::EWOULDBLOCK) || e.kind() == io::ErrorKind::ResourceBusy
}

fn with_patience(mut attempt: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(e) if is_busy(&e) && Instant::now() < until => {
                std::thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::path::Path;

    fn opened(path: &Path, write: bool) -> (FileId, Arc<PortFile>) {
        let file = File::options().read(true).write(write).open(path).expect("opened");
        (FileId::of(&file.metadata().expect("metadata")), Arc::new(PortFile::new(file)))
    }

    /// A port's first handle on a file.
    fn first(path: &Path, write: bool) -> Share {
        let (id, file) = opened(path, write);
        take(id, &Contents::File(id), &file, write).expect("nobody is in the way")
    }

    /// Another handle of the port that has `known`.
    fn another(path: &Path, known: &Share, write: bool) -> io::Result<Share> {
        let (id, file) = opened(path, write);
        share(known.on(&Contents::File(id)).expect("the same file"), &file, write)
    }

    /// Who else could have the file locked now.
    fn free_for(path: &Path) -> &'static str {
        let (_, stranger) = opened(path, true);
        let can = |how| flock(&stranger, how).is_ok();
        match (can(libc::LOCK_EX), can(libc::LOCK_SH)) {
            (true, _) => "writers",
            (false, true) => "readers",
            (false, false) => "nobody",
        }
    }

    #[test]
    fn handles_of_one_port_share_a_lock_that_goes_with_the_last_of_them() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path();
        for first_goes in [true, false] {
            let one = first(path, true);
            let two = another(path, &one, true).expect("shared");
            assert_eq!(free_for(path), "nobody");
            let (goes, stays) = if first_goes { (one, two) } else { (two, one) };
            drop(goes);
            assert_eq!(free_for(path), "nobody");
            drop(stays);
            assert_eq!(free_for(path), "writers");
        }
    }

    #[test]
    fn a_lock_is_exclusive_while_one_of_them_may_write() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path();
        let reads = first(path, false);
        assert_eq!(free_for(path), "readers");
        let writes = another(path, &reads, true).expect("shared");
        assert_eq!(free_for(path), "nobody");
        // The one that writes goes, as where a change is taken back, and comes again.
        drop(writes);
        assert_eq!(free_for(path), "readers");
        let writes = another(path, &reads, true).expect("shared");
        drop(reads);
        assert_eq!(free_for(path), "nobody");
        let reads = another(path, &writes, false).expect("shared");
        assert_eq!(free_for(path), "nobody");
        drop(writes);
        assert_eq!(free_for(path), "readers");
        drop(reads);
        assert_eq!(free_for(path), "writers");
    }

    #[test]
    fn what_another_reads_does_not_become_exclusive_and_stays_locked() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path();
        let (stranger, reads) = (first(path, false), first(path, false));
        let refused = another(path, &reads, true).expect_err("it is read");
        assert!(is_busy(&refused), "{refused}");
        // Nor where the kernel does not tell beforehand who shares it.
        let (_, file) = opened(path, true);
        lock(&reads.lock.held).become_exclusive(&file).expect_err("it is read");
        drop(file);
        drop(stranger);
        assert_eq!(free_for(path), "readers");
        drop(reads);
        assert_eq!(free_for(path), "writers");
    }
}

//! What keeps others away who do not look at `flock(2)`: QEMU's locks, and the kernel's own of block devices.
//!
//! QEMU locks bytes of a file, one for each thing that it does (from 100 on) and one for each that nobody else
//! may do meanwhile (from 200 on); see `block/file-posix.c` there. All are shared locks, so that several may do
//! what none minds; who finds a lock where it wants the opposite goes away again.
//!
//! A block device can be claimed (`O_EXCL`): then it is not mounted, nor claimed by another, nor a partition of
//! it, nor the disk that it is a partition of, whatever node it was opened by.
//!
//! Both belong to open files of their own, so that those which a port has beside each other do not meet.

#![allow(unsafe_code)] // system calls without a safe wrapper

use crate::handle::{overlap, with_file};
use crate::helpers::close::PortFile;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What somebody does, by QEMU's numbers.
const READS: libc::off_t = 0;
const WRITES: libc::off_t = 1;
const RESIZES: libc::off_t = 3;
/// Where the bytes for what is done, and for what nobody else may do, begin.
const DOES: libc::off_t = 100;
const FORBIDS: libc::off_t = 200;

/// Holds a file or block device for one port.
#[derive(Debug)]
pub(crate) struct Guard {
    /// `None` where it cannot be opened once more, or its file system has no such locks.
    bytes: Option<PortFile>,
    /// The claim of a block device that is written to.
    claim: Option<PortFile>,
    block: bool,
}

impl Guard {
    /// # Errors
    /// `EBUSY`, with who is in the way; it is not held then.
    pub(crate) fn take(file: &OwnedFd, exclusive: bool) -> io::Result<Guard> {
        let block = with_file(file, File::metadata)?.file_type().is_block_device();
        let mut guard = Guard { bytes: again(file, 0).ok(), claim: None, block };
        guard.hold(READS, DOES)?;
        guard.hold(WRITES, FORBIDS)?;
        guard.hold(RESIZES, FORBIDS)?;
        guard.look(READS, FORBIDS)?;
        guard.look(WRITES, DOES)?;
        guard.look(RESIZES, DOES)?;
        if exclusive {
            guard.become_exclusive(file)?;
        }
        Ok(guard)
    }

    /// From here on it is written to.
    ///
    /// # Errors
    /// As for [`Guard::take`]; it is held as before.
    pub(crate) fn become_exclusive(&mut self, file: &OwnedFd) -> io::Result<()> {
        let held = self.hold(WRITES, DOES).and_then(|()| self.hold(READS, FORBIDS));
        let alone = held.and_then(|()| self.look(WRITES, FORBIDS)).and_then(|()| self.look(READS, DOES));
        let claimed = alone.and_then(|()| {
            if self.block && self.claim.is_none() {
                self.claim = Some(again(file, libc::O_EXCL).map_err(|e| in_use(file, e))?);
            }
            Ok(())
        });
        claimed.inspect_err(|_| self.become_shared())
    }

    /// It is only read from here on.
    pub(crate) fn become_shared(&mut self) {
        self.claim = None;
        let _ = self.set(WRITES, DOES, libc::F_UNLCK);
        let _ = self.set(READS, FORBIDS, libc::F_UNLCK);
    }

    fn hold(&mut self, what: libc::off_t, base: libc::off_t) -> io::Result<()> {
        match self.set(what, base, libc::F_RDLCK) {
            Err(e) if !is_taken(&e) => {
                tracing::debug!("no locks that QEMU would see: {e}");
                self.bytes = None;
                Ok(())
            }
            Err(_) => Err(taken_by_qemu()),
            Ok(()) => Ok(()),
        }
    }

    fn set(&self, what: libc::off_t, base: libc::off_t, kind: libc::c_int) -> io::Result<()> {
        let Some(file) = &self.bytes else { return Ok(()) };
        let lock = byte(base + what, kind);
        // SAFETY: an open descriptor, and a lock that the call reads.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &lock) } == 0 {
            return Ok(());
        }
        Err(io::Error::last_os_error())
    }

    /// Nobody else has the byte locked.
    fn look(&self, what: libc::off_t, base: libc::off_t) -> io::Result<()> {
        let Some(file) = &self.bytes else { return Ok(()) };
        let mut lock = byte(base + what, libc::F_WRLCK);
        // SAFETY: an open descriptor, and a lock that the call reads and writes.
        let asked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &mut lock) } == 0;
        if asked && libc::c_int::from(lock.l_type) != libc::F_UNLCK { Err(taken_by_qemu()) } else { Ok(()) }
    }
}

fn byte(at: libc::off_t, kind: libc::c_int) -> libc::flock {
    // SAFETY: all-zero is a valid `flock`.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    (lock.l_start, lock.l_len) = (at, 1);
    lock
}

/// The same file, open once more.
fn again(file: &OwnedFd, flags: libc::c_int) -> io::Result<PortFile> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::options()
        .read(true)
        .custom_flags(flags | libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(path)
        .map(PortFile::new)
}

fn is_taken(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES))
}

fn taken_by_qemu() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "QEMU, or who locks as it does, has it open")
}

/// Who has a block device, as far as the kernel says it.
fn in_use(file: &OwnedFd, e: io::Error) -> io::Error {
    if e.raw_os_error() != Some(libc::EBUSY) {
        return e;
    }
    let number = with_file(file, File::metadata).map_or(0, |m| m.rdev());
    let who = users(number);
    let what = match &who[..] {
        [] => {
            "it, its disk or a partition of it is in use: mounted, claimed by a program, or served".to_owned()
        }
        _ => format!("it is in use: {}", who.join(", ")),
    };
    io::Error::new(io::ErrorKind::ResourceBusy, what)
}

/// Mounts, swap and devices over a block device, or over a partition of it, or over its disk.
fn users(number: u64) -> Vec<String> {
    let name = |n: u64| format!("{}:{}", libc::major(n), libc::minor(n));
    let all: Vec<String> = overlap::related(number).into_iter().map(name).collect();
    let mut found = Vec::new();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for line in mounts.lines() {
        let mut words = line.split(' ');
        if let (Some(number), Some(at)) = (words.nth(2), words.nth(1))
            && all.iter().any(|known| known == number)
        {
            found.push(format!("mounted at {at}"));
        }
    }
    for number in &all {
        let holders = std::fs::read_dir(sysfs(number).join("holders")).into_iter().flatten().flatten();
        found.extend(holders.map(|holder| format!("{} lies over it", holder.file_name().display())));
    }
    found.truncate(4);
    found
}

fn sysfs(number: &str) -> PathBuf {
    Path::new("/sys/dev/block").join(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(path: &Path, exclusive: bool) -> io::Result<Guard> {
        let file = File::options().read(true).write(exclusive).open(path).expect("opened");
        Guard::take(&file.into(), exclusive)
    }

    #[test]
    fn one_writes_or_many_read() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path();
        let writes = guard(path, true).expect("nobody is there");
        for exclusive in [true, false] {
            let why = guard(path, exclusive).expect_err("somebody writes").to_string();
            assert!(why.contains("QEMU"), "{why}");
        }
        drop(writes);
        let (mut reads, _reads_too) =
            (guard(path, false).expect("free"), guard(path, false).expect("shared"));
        guard(path, true).expect_err("it is read");
        let own = File::options().read(true).write(true).open(path).expect("opened").into();
        reads.become_exclusive(&own).expect_err("somebody else reads");
        guard(path, false).expect("it is read, and no more, still");
    }
}

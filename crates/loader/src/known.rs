//! Modules whose bytes this process has read and verified: they are not read again while their files are as they were.
//!
//! A file is as it was when its device, inode, size and both its times are, to the nanosecond. That tells of every
//! write only where the last one lies back long enough (another within the same tick of the clock has the same
//! times), and on file systems that keep these times themselves: others are not remembered, and read each time.
//! What is used are the bytes in memory, which nobody else can write to. So whoever deceives the times of a file has
//! the module of before used, which was verified; nothing that was not.

use std::fs::{File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use steadfast_shell::check::Libraries;
use steadfast_shell::manifest::Manifest;

use crate::file;

/// Most modules that are remembered, those that were used last.
const MOST: usize = 4;
/// Longest of them, bytes.
const MOST_BYTES: usize = 4 << 20;
/// How long ago the last write to a file must be.
const SETTLED: Duration = Duration::from_secs(1);

/// What changes when somebody writes to a file, or puts another one in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(data: &Metadata) -> Stamp {
        Stamp {
            device: data.dev(),
            inode: data.ino(),
            bytes: data.len(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        }
    }

    /// Nobody has written to the file for a while before `now`.
    fn is_settled(&self, now: SystemTime) -> bool {
        let until = now.checked_sub(SETTLED).and_then(|until| until.duration_since(UNIX_EPOCH).ok());
        let Some(until) = until else { return false };
        let until = (i64::try_from(until.as_secs()).unwrap_or(0), i64::from(until.subsec_nanos()));
        self.modified <= until && self.changed <= until
    }
}

/// Whether the times of this file tell of every write: it is on a file system of this machine that keeps them itself.
fn keeps_times(file: &File) -> bool {
    // SAFETY: `statfs` is plain numbers, for which zero is a value.
    let mut info: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open as long as `file` is borrowed; `info` is writable.
    if unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut info) } != 0 {
        return false;
    }
    let (ext, xfs, btrfs, tmpfs, f2fs) = (0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0xf2f5_2010);
    [ext, xfs, btrfs, tmpfs, f2fs].contains(&(info.f_type as u64 & 0xffff_ffff))
}

/// The bytes of a file, and which they are.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) bytes: Arc<Vec<u8>>,
    /// None where the file may change without showing it.
    stamp: Option<Stamp>,
}

impl Read {
    /// Of a file that was open from before `begun`, and has had this stamp from then on.
    pub(crate) fn new(bytes: Vec<u8>, file: &File, stamp: Stamp, begun: SystemTime) -> Read {
        let stamp = Some(stamp).filter(|stamp| stamp.is_settled(begun) && keeps_times(file));
        Read { bytes: Arc::new(bytes), stamp }
    }
}

/// A module that was read from its file, stored, and is known.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) hash: String,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) libraries: Libraries,
    pub(crate) bytes: Arc<Vec<u8>>,
    /// The file in the store, and as what it was read.
    stored: (PathBuf, Stamp),
    /// As what the file was read that it was staged from.
    source: Option<Stamp>,
}

/// Those of one store, the one that was used last at the end.
#[derive(Debug, Default)]
pub(crate) struct KnownModules(Mutex<Vec<Known>>);

impl KnownModules {
    /// Remembers a module whose file in the store was read as `stored`, and which came from a file with the
    /// same bytes, `source`.
    pub(crate) fn remember(
        &self,
        (hash, manifest, libraries): (&str, &Arc<Manifest>, &Libraries),
        (path, stored): (&Path, &Read),
        source: Option<&Read>,
    ) {
        let Some(stamp) = stored.stamp.filter(|_| stored.bytes.len() <= MOST_BYTES) else { return };
        let known = Known {
            hash: hash.to_owned(),
            manifest: Arc::clone(manifest),
            libraries: libraries.clone(),
            bytes: Arc::clone(&stored.bytes),
            stored: (path.to_owned(), stamp),
            source: source.and_then(|source| source.stamp),
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| other.hash != known.hash);
        if all.len() >= MOST {
            all.remove(0);
        }
        all.push(known);
    }

    /// The module that was staged from this file, if neither it nor the one in the store has changed since.
    pub(crate) fn staged_from(&self, path: &Path) -> Option<Known> {
        let stamp = stamp_of(path)?;
        self.find(|known| known.source == Some(stamp))
    }

    /// The module of that hash, if its file in the store has not changed since it was read.
    pub(crate) fn of_hash(&self, hash: &str) -> Option<Known> {
        self.find(|known| known.hash == hash)
    }

    fn find(&self, meant: impl Fn(&Known) -> bool) -> Option<Known> {
        let known = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let place = all.iter().position(meant)?;
            let known = all.remove(place);
            all.push(known.clone());
            known
        };
        (stamp_of(&known.stored.0)? == known.stored.1).then_some(known)
    }
}

/// By opening it: where it lies on another machine after all, that asks there.
fn stamp_of(path: &Path) -> Option<Stamp> {
    let (file, _) = file::open(path).ok()?;
    file.metadata().ok().map(|data| Stamp::of(&data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_settled_once_its_last_write_lies_back() {
        let now = SystemTime::now();
        let seconds = now.duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64;
        let at = |modified, changed| {
            let (modified, changed) = ((seconds + modified, 0), (seconds + changed, 0));
            Stamp { device: 1, inode: 1, bytes: 1, modified, changed }.is_settled(now)
        };
        assert!(at(-10, -2));
        assert!(!at(-10, 0), "times that were set back do not hide the write");
        assert!(!at(0, -10) && !at(3600, 3600), "a clock that was set back proves nothing");
    }

    #[test]
    fn whatever_changes_a_file_is_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m.so");
        let stamp = || stamp_of(&path).expect("a file");
        std::fs::write(&path, "one").expect("written");
        let first = stamp();
        assert_eq!(first, stamp());
        std::thread::sleep(Duration::from_millis(20));
        std::fs::write(&path, "two").expect("written");
        let second = stamp();
        assert_ne!(first, second, "as long, in the same file");
        let times = std::fs::FileTimes::new().set_modified(UNIX_EPOCH);
        File::options().write(true).open(&path).and_then(|f| f.set_times(times)).expect("set back");
        assert_ne!(second, stamp());
        let third = stamp();
        std::fs::write(folder.path().join("n"), "two").expect("written");
        std::fs::rename(folder.path().join("n"), &path).expect("renamed");
        assert_ne!(third, stamp(), "another file in its place");
    }
}

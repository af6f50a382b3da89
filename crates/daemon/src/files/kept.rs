//! A file in the state folder that is to say what is so, whenever the daemon ends.
//!
//! It is written whole by a thread of its own. As with receipts, a disk can fail or delay nothing: it is waited for,
//! but not for longer than [`PATIENCE`], and not at all once it was found slow, until the daemon stops. What could not be
//! written is known in memory, told, and tried again.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use steadfast_shell::sync::lock;

/// Longest that the disk is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// How soon a disk that refused is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// What is in the file, as it is to be.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    path: PathBuf,
    /// What it means that the file says something else, for people.
    otherwise: &'static str,
    now: Mutex<T>,
    /// Counts changes.
    version: AtomicU64,
    /// Why the file could not be read at the start; empty when it could be.
    unread: String,
    disk: Arc<Disk>,
}

/// What is on disk, and how the disk is.
#[derive(Debug, Default)]
struct Disk {
    written: Mutex<Written>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Written {
    /// The change that is on disk.
    version: u64,
    /// The one that is to be.
    wanted: Option<u64>,
    error: String,
    /// It was waited for in vain.
    slow: bool,
}

impl<T: Clone + Default + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static> Kept<T> {
    /// What the file says. One that cannot be read counts for nothing: [`unread`](Kept::unread) says why.
    pub(crate) fn open(path: PathBuf, otherwise: &'static str) -> Kept<T> {
        let read = match steadfast_settings::read_bytes(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| e.to_string()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(T::default()),
            Err(e) => Err(e.to_string()),
        };
        let (now, unread) = match read {
            Ok(now) => (now, String::new()),
            Err(e) => (T::default(), e),
        };
        let (now, version) = (Mutex::new(now), AtomicU64::new(0));
        Kept { path, otherwise, now, version, unread, disk: Arc::default() }
    }

    /// Why the file could not be read at the start; empty when it could be.
    pub(crate) fn unread(&self) -> &str {
        &self.unread
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What is so now.
    pub(crate) fn now(&self) -> MutexGuard<'_, T> {
        lock(&self.now)
    }

    /// Changes it. [`save`](Kept::save) brings it to the disk.
    pub(crate) fn change(&self, change: impl FnOnce(&mut T)) {
        let mut now = lock(&self.now);
        let before = now.clone();
        change(&mut now);
        if *now != before {
            self.version.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Has it written soon, and waits for nothing.
    pub(crate) fn save_soon(&self) {
        self.want();
    }

    /// The change that is to be on disk, and what is there; none where that is the same.
    fn want(&self) -> Option<(u64, MutexGuard<'_, Written>)> {
        let version = self.version.load(Ordering::SeqCst);
        let mut written = lock(&self.disk.written);
        if written.version == version {
            return None;
        }
        written.wanted = Some(version);
        self.disk.changed.notify_all();
        Some((version, written))
    }

    /// Waits until what was changed is on the disk, where that can be done at once.
    pub(crate) fn save(&self) {
        let Some((version, written)) = self.want() else { return };
        if written.slow {
            return;
        }
        let pending = |written: &mut Written| written.version < version && written.error.is_empty();
        let (mut written, waited) = self
            .disk
            .changed
            .wait_timeout_while(written, PATIENCE, pending)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() && pending(&mut written) {
            written.slow = true;
            tracing::warn!("{}: the disk is slow; it is not waited for meanwhile", self.path.display());
        }
    }

    /// The last time: what is not on the disk yet is waited for as long as that may take at most, however the disk
    /// was, and tried again where it could not be written.
    pub(crate) fn close(&self) {
        let version = self.version.load(Ordering::SeqCst);
        {
            let mut written = lock(&self.disk.written);
            written.slow = false;
            written.error.clear();
        }
        self.save();
        let written = lock(&self.disk.written);
        if written.version < version {
            let (path, why) = (self.path.display(), &written.error);
            tracing::error!("{path}: not written before the daemon ended: {}; {why}", self.otherwise);
        }
    }

    /// The thread that writes, as long as the daemon runs.
    pub(crate) fn write_from_now_on(self: &Arc<Kept<T>>, thread: &str) {
        let (kept, disk) = (Arc::downgrade(self), Arc::clone(&self.disk));
        let body = move || {
            loop {
                let idle = |written: &mut Written| written.wanted.is_none();
                let written = disk.changed.wait_timeout_while(lock(&disk.written), AGAIN, idle);
                let mut written = written.unwrap_or_else(PoisonError::into_inner).0;
                let again = !written.error.is_empty();
                if written.wanted.take().is_none() && !again {
                    drop(written);
                    if kept.strong_count() == 0 {
                        return;
                    }
                    continue;
                }
                drop(written);
                let Some(kept) = kept.upgrade() else { return };
                kept.write();
            }
        };
        if let Err(e) = std::thread::Builder::new().name(thread.to_owned()).spawn(body) {
            tracing::error!("thread: {e}: {}", self.otherwise);
        }
    }

    fn write(&self) {
        let version = self.version.load(Ordering::SeqCst);
        let now = lock(&self.now).clone();
        let done = serde_json::to_vec_pretty(&now).map_err(|e| e.to_string()).and_then(|bytes| {
            steadfast_settings::replace_file(&self.path, &bytes).map_err(|e| e.to_string())
        });
        let mut written = lock(&self.disk.written);
        match done {
            Ok(()) => *written = Written { version, wanted: written.wanted, ..Written::default() },
            Err(e) => {
                if written.error != e {
                    tracing::error!("{}: {e}: {}", self.path.display(), self.otherwise);
                }
                written.error = e;
            }
        }
        self.disk.changed.notify_all();
    }

    /// What is wrong with the disk; empty when nothing is.
    pub(crate) fn problem(&self) -> String {
        let error = lock(&self.disk.written).error.clone();
        if error.is_empty() { error } else { format!("{}: {error}", self.path.display()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_waits_for_a_disk_that_was_slow_or_full() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kept.json");
        let open = || Arc::new(Kept::<Vec<u64>>::open(path.clone(), "it is another"));
        let kept = open();
        kept.change(|numbers| numbers.push(1));
        lock(&kept.disk.written).slow = true;
        kept.save();
        assert!(!path.exists(), "nobody waits for it");
        let late = Arc::clone(&kept);
        let comes = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            late.write_from_now_on("kept");
        });
        kept.close();
        assert_eq!(*open().now(), [1], "written at the stop");
        comes.join().expect("started");
        // What could not be written is tried once more.
        kept.change(|numbers| numbers.push(2));
        lock(&kept.disk.written).error = "it was full".to_owned();
        kept.close();
        assert_eq!(*open().now(), [1, 2], "there was room again");
    }
}

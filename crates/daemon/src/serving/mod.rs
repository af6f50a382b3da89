//! Who served each port last, on disk, so that a port comes up with that and not with what it began with.
//!
//! One file, `serving.json` in the state folder, written whole by a thread of its own. As with receipts, a disk can
//! fail or delay no update: it is waited for, but not for longer than [`PATIENCE`], and not at all once it was found
//! slow. What could not be written is known in memory, told, and tried again.

mod comeback;
mod needs;
mod pin;

pub(crate) use comeback::Comes;
pub(crate) use needs::Needs;

use crate::config::DeviceConfig;
use crate::probation::lock;
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use steadfast_api::{Cause, Receipt};
use steadfast_shell::comeback::{Changes, Served, WhenUnproven};

const FILE: &str = "serving.json";
/// Longest that the disk is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// How soon a disk that refused is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// The records of all ports.
#[derive(Debug)]
pub(crate) struct Serving {
    path: PathBuf,
    /// What holds for a port that does not say otherwise.
    policy: WhenUnproven,
    records: Mutex<BTreeMap<String, Served>>,
    /// Counts changes.
    version: AtomicU64,
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

impl Serving {
    /// Those in the state folder. A file that cannot be read is told, and counts for nothing.
    pub(crate) fn open(state: &Path, policy: WhenUnproven) -> Serving {
        let path = state.join(FILE);
        let read = || -> Result<BTreeMap<String, Served>, String> {
            match fs::read(&path) {
                Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| e.to_string()),
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
                Err(e) => Err(e.to_string()),
            }
        };
        let records = read().unwrap_or_else(|e| {
            tracing::error!("{}: {e}: ports come up with what their configuration names", path.display());
            BTreeMap::new()
        });
        let (records, version) = (Mutex::new(records), AtomicU64::new(0));
        Serving { path, policy, records, version, disk: Arc::default() }
    }

    /// What a port comes up with whose driver was on probation.
    pub(crate) fn policy(&self, config: &DeviceConfig) -> WhenUnproven {
        config.unproven.unwrap_or(self.policy)
    }

    pub(crate) fn of(&self, port: &str) -> Option<Served> {
        lock(&self.records).get(port).cloned()
    }

    /// All of them, those of ports that are not there among them.
    pub(crate) fn all(&self) -> Vec<Served> {
        lock(&self.records).values().cloned().collect()
    }

    /// A port is gone for good, or comes for the first time.
    pub(crate) fn forget(&self, port: &str) {
        if lock(&self.records).remove(port).is_some() {
            self.version.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Changes what is known of a port. [`save`](Serving::save) brings it to the disk.
    pub(crate) fn change(&self, port: &str, change: impl FnOnce(&mut Served)) {
        let mut records = lock(&self.records);
        let Some(record) = records.get_mut(port) else { return };
        let before = record.clone();
        change(record);
        if *record != before {
            self.version.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What is known of a port that had nothing.
    pub(crate) fn begin(&self, port: &str, record: Served) {
        lock(&self.records).insert(port.to_owned(), record);
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    /// An update was done: with these changes of parameters, on probation or not.
    pub(crate) fn updated(&self, receipt: &Receipt, changes: &Changes, on_probation: bool) {
        let Some(to) = &receipt.to else { return };
        let back = receipt.went_back_by_itself() || receipt.by.cause == Cause::Revert;
        let of = on_probation.then_some(receipt.id);
        self.change(&receipt.port, |served| served.updated(&receipt.from, to, changes, back, of));
        self.save();
    }

    /// Waits until what was changed is on the disk, where that can be done at once.
    pub(crate) fn save(&self) {
        let version = self.version.load(Ordering::SeqCst);
        let mut written = lock(&self.disk.written);
        if written.version == version {
            return;
        }
        written.wanted = Some(version);
        self.disk.changed.notify_all();
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

    /// The thread that writes, as long as the daemon runs.
    pub(crate) fn write_from_now_on(self: &Arc<Serving>) {
        let (serving, disk) = (Arc::downgrade(self), Arc::clone(&self.disk));
        let body = move || {
            loop {
                let idle = |written: &mut Written| written.wanted.is_none();
                let written = disk.changed.wait_timeout_while(lock(&disk.written), AGAIN, idle);
                let mut written = written.unwrap_or_else(PoisonError::into_inner).0;
                let again = !written.error.is_empty();
                if written.wanted.take().is_none() && !again {
                    continue;
                }
                drop(written);
                let Some(serving) = serving.upgrade() else { return };
                serving.write();
            }
        };
        if let Err(e) = std::thread::Builder::new().name("serving".to_owned()).spawn(body) {
            tracing::error!("thread: {e}: what serves now is not what would serve after a crash");
        }
    }

    fn write(&self) {
        let version = self.version.load(Ordering::SeqCst);
        let records = lock(&self.records).clone();
        let done = serde_json::to_vec_pretty(&records).map_err(|e| e.to_string()).and_then(|bytes| {
            steadfast_settings::replace_file(&self.path, &bytes).map_err(|e| e.to_string())
        });
        let mut written = lock(&self.disk.written);
        match done {
            Ok(()) => *written = Written { version, wanted: written.wanted, ..Written::default() },
            Err(e) => {
                if written.error != e {
                    let path = self.path.display();
                    tracing::error!("{path}: {e}: what serves now is not what would serve after a crash");
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
    use steadfast_api::Release;

    #[test]
    fn what_is_noted_is_read_again_and_a_broken_file_counts_for_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let release = Release { driver: "file".into(), version: "1.0.0".into(), hash: "a".into() };
        let open = || {
            let serving = Arc::new(Serving::open(folder.path(), WhenUnproven::Back));
            serving.write_from_now_on();
            serving
        };
        let serving = open();
        serving.begin("vol0", Served::first(release.clone(), "file", None));
        serving.save();
        assert_eq!(serving.problem(), "");
        let again = open();
        assert_eq!(again.of("vol0").map(|served| served.module), Some(release));
        again.forget("vol0");
        again.save();
        assert!(Serving::open(folder.path(), WhenUnproven::Back).all().is_empty());
        fs::write(folder.path().join(FILE), "{ no json").expect("written");
        assert!(Serving::open(folder.path(), WhenUnproven::Back).all().is_empty());
        let nowhere = Arc::new(Serving::open(&folder.path().join(FILE), WhenUnproven::Back));
        nowhere.write_from_now_on();
        nowhere.begin(
            "vol0",
            Served::first(
                Release { driver: "x".into(), version: "1.0.0".into(), hash: "b".into() },
                "x",
                None,
            ),
        );
        nowhere.save();
        assert!(nowhere.problem().contains(FILE), "it is told");
    }
}

//! Who served each port last, on disk, so that a port comes up with that and not with what it began with.
//!
//! One file, `serving.json` in the state folder.

mod comeback;
mod in_force;
mod needs;
mod pin;

pub(crate) use comeback::Comes;
pub(crate) use in_force::{Last, weigh};
pub(crate) use needs::Needs;
pub(crate) use pin::Keep;

use crate::config::DeviceConfig;
use crate::files::kept::Kept;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use steadfast_api::{Cause, Receipt};
use steadfast_shell::comeback::{Changes, Served, WhenUnproven};

const FILE: &str = "serving.json";
/// What it means that the file is not as it should be.
const OTHERWISE: &str = "what serves now is not what would serve after a crash";

/// The records of all ports.
#[derive(Debug)]
pub(crate) struct Serving {
    /// What holds for a port that does not say otherwise.
    policy: WhenUnproven,
    records: Arc<Kept<BTreeMap<String, Served>>>,
}

impl Serving {
    /// Those in the state folder. A file that cannot be read is told, and counts for nothing.
    pub(crate) fn open(state: &Path, policy: WhenUnproven) -> Serving {
        let records = Kept::open(state.join(FILE), OTHERWISE);
        if !records.unread().is_empty() {
            let (path, e) = (records.path().display(), records.unread());
            tracing::error!("{path}: {e}: ports come up with what their configuration names");
        }
        Serving { policy, records: Arc::new(records) }
    }

    /// What a port comes up with whose driver was on probation.
    pub(crate) fn policy(&self, config: &DeviceConfig) -> WhenUnproven {
        config.unproven.unwrap_or(self.policy)
    }

    pub(crate) fn of(&self, port: &str) -> Option<Served> {
        self.records.now().get(port).cloned()
    }

    /// All of them, those of ports that are not there among them.
    pub(crate) fn all(&self) -> Vec<Served> {
        self.records.now().values().cloned().collect()
    }

    /// A port is gone for good, or comes for the first time.
    pub(crate) fn forget(&self, port: &str) {
        self.records.change(|records| drop(records.remove(port)));
    }

    /// Changes what is known of a port. [`save`](Serving::save) brings it to the disk.
    pub(crate) fn change(&self, port: &str, change: impl FnOnce(&mut Served)) {
        self.records.change(|records| {
            if let Some(record) = records.get_mut(port) {
                change(record);
            }
        });
    }

    /// What is known of a port that had nothing.
    pub(crate) fn begin(&self, port: &str, record: Served) {
        self.records.change(|records| drop(records.insert(port.to_owned(), record)));
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
        self.records.save();
    }

    /// The last time, at the stop.
    pub(crate) fn close(&self) {
        self.records.close();
    }

    /// Has it written soon, and waits for nothing.
    pub(crate) fn save_soon(&self) {
        self.records.save_soon();
    }

    /// The thread that writes, as long as the daemon runs.
    pub(crate) fn write_from_now_on(&self) {
        self.records.write_from_now_on("serving");
    }

    /// What is wrong with the disk; empty when nothing is.
    pub(crate) fn problem(&self) -> String {
        self.records.problem()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
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

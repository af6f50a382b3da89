//! Which modules are needed: those stay in the store, and can be loaded although their files have gone. The others
//! go.

use crate::app::App;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast_loader::{Collected, LoadError, StagedModule};
use steadfast_shell::sync::lock;

/// How soon after something has changed the store is looked through.
const SOON: Duration = Duration::from_millis(200);

/// What is held of the store, and whether it is to be looked through.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// Modules that a way back may need, by hash, each with its file open.
    held: Mutex<BTreeMap<String, StagedModule>>,
    wanted: AtomicBool,
    running: AtomicBool,
}

impl App {
    /// A module that was staged before: from the store, or as it is held where the store has lost it.
    pub(crate) fn stored_module(&self, hash: &str) -> Result<StagedModule, LoadError> {
        let held = || lock(&self.needs.held).get(hash).cloned();
        match self.store.get(hash) {
            Ok(staged) => Ok(held().filter(|held| held.signature == staged.signature).unwrap_or(staged)),
            Err(e) => held().ok_or(e),
        }
    }

    /// What is needed may have changed: looks through the store soon, on a thread of its own.
    pub(crate) fn look_through_store(self: &Arc<App>) {
        self.needs.wanted.store(true, Ordering::SeqCst);
        if self.needs.running.swap(true, Ordering::SeqCst) {
            return;
        }
        let app = Arc::clone(self);
        let body = move || {
            while app.needs.wanted.swap(false, Ordering::SeqCst) {
                std::thread::sleep(SOON);
                app.keep_what_is_needed();
            }
            app.needs.running.store(false, Ordering::SeqCst);
            if app.needs.wanted.load(Ordering::SeqCst) {
                app.look_through_store();
            }
        };
        if std::thread::Builder::new().name("store".to_owned()).spawn(body).is_err() {
            self.needs.running.store(false, Ordering::SeqCst);
        }
    }

    /// Removes what nobody needs from the store, now.
    pub(crate) fn keep_what_is_needed(&self) {
        if let Some(serving) = self.serving() {
            // What could not be written may be by now.
            serving.save();
        }
        let needed = self.hashes_needed();
        let mut held = lock(&self.needs.held);
        held.retain(|hash, _| needed.contains(hash));
        for hash in &needed {
            if !held.contains_key(hash)
                && let Ok(staged) = self.store.get(hash).and_then(|staged| staged.hold())
            {
                held.insert(hash.clone(), staged);
            }
        }
        drop(held);
        match self.store.keep_only(&self.state, &needed) {
            Ok(collected) => tell(&collected),
            Err(e) => tracing::warn!("module store: not looked through: {e}"),
        }
    }

    /// Ports that served before anybody noted it have their way back in the receipts.
    pub(crate) fn know_ways_back(self: &Arc<App>) {
        let Some(serving) = self.serving() else { return };
        for port in self.engine.ports() {
            if serving.of(&port.name).is_some_and(|served| served.before.is_none())
                && let Ok((before, _)) = self.way_back(&port.name, None)
            {
                serving.change(&port.name, |served| served.before = Some(before));
            }
        }
        serving.save();
        self.look_through_store();
    }

    /// Hashes of what runs, is kept, what a start or a way back may need.
    fn hashes_needed(&self) -> BTreeSet<String> {
        let ports = self.engine.ports().into_iter().filter_map(|port| Some(port.module?.hash));
        let mut needed: BTreeSet<String> = ports.chain(self.topology.kept_hashes()).collect();
        needed.extend(self.probations.hashes());
        if let Some(serving) = self.serving() {
            needed.extend(
                serving
                    .all()
                    .iter()
                    .flat_map(|served| served.hashes().map(str::to_owned).collect::<Vec<_>>()),
            );
        }
        needed.retain(|hash| !hash.is_empty());
        needed
    }
}

fn tell(collected: &Collected) {
    for owner in &collected.forgotten {
        let owner = owner.display();
        tracing::warn!(
            "module store: {owner} has been missing for 30 days: what it needed is not kept for it any more"
        );
    }
    for error in &collected.failed {
        tracing::warn!("module store: {error}");
    }
    if !collected.removed.is_empty() {
        let count = collected.removed.len();
        tracing::info!("module store: {count} modules that nobody needs are removed");
    }
}

//! What is known without the disk: the newest receipts, those not written yet, and how the disk is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use steadfast_shell::receipt::Receipt;

use crate::{Filter, Status};

/// Receipts that stay in memory although they are on disk.
const RECENT: usize = 256;
/// Most receipts in memory, when the disk takes none.
const MOST: usize = 4096;

#[derive(Debug)]
pub(crate) struct Memory {
    path: Option<PathBuf>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// In the order of their numbers.
    recent: VecDeque<Receipt>,
    /// Newest of each port, by number.
    last: BTreeMap<String, Receipt>,
    /// The numbers, of those in `recent`, of all that are not on disk as they are here. A set and not a mark
    /// up to which all is written: receipts come in the order in which things end, not in that of their numbers.
    unsaved: BTreeSet<u64>,
    last_id: u64,
    /// What had begun when the daemon before ended; taken once.
    attempts: Vec<Receipt>,
    opened: bool,
    stored: u64,
    dropped: u64,
    error: String,
    /// The disk was waited for in vain, and has not answered since.
    slow: bool,
    ended: bool,
}

impl Memory {
    pub(crate) fn new(path: Option<PathBuf>) -> Memory {
        Memory { path, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Keeps a receipt. Says whether it is worth waiting until it is written.
    pub(crate) fn push(&self, receipt: Receipt) -> bool {
        let mut state = self.lock();
        state.last_id = state.last_id.max(receipt.id);
        // What began later and ended sooner, such as a refusal, is newer.
        if state.last.get(&receipt.port).is_none_or(|last| last.id <= receipt.id) {
            state.last.insert(receipt.port.clone(), receipt.clone());
        }
        self.keep(state, receipt)
    }

    /// Keeps a receipt in place of the one of that number.
    pub(crate) fn amend(&self, receipt: Receipt) -> bool {
        let mut state = self.lock();
        // It is not the port's newest only because it was changed last.
        if state.last.get(&receipt.port).is_none_or(|last| last.id == receipt.id) {
            state.last.insert(receipt.port.clone(), receipt.clone());
        }
        self.keep(state, receipt)
    }

    fn keep(&self, mut state: MutexGuard<'_, State>, receipt: Receipt) -> bool {
        // Two updates that end at once may come in either order.
        let at = state.recent.partition_point(|other| other.id < receipt.id);
        if self.path.is_some() {
            state.unsaved.insert(receipt.id);
        }
        match state.recent.get_mut(at).filter(|other| other.id == receipt.id) {
            Some(other) => *other = receipt,
            None => state.recent.insert(at, receipt),
        }
        let bound = if self.path.is_some() { MOST } else { RECENT };
        while state.recent.len() > bound {
            state.make_room();
        }
        !state.slow && state.error.is_empty()
    }

    pub(crate) fn last_of(&self, port: &str) -> Option<Receipt> {
        self.lock().last.get(port).cloned()
    }

    pub(crate) fn get(&self, id: u64) -> Option<Receipt> {
        self.lock().find(id).cloned()
    }

    pub(crate) fn last_id(&self) -> u64 {
        self.lock().last_id
    }

    /// What is on disk and what is here, each receipt once, the newest last.
    pub(crate) fn join(&self, stored: Vec<Receipt>, filter: &Filter) -> Vec<Receipt> {
        let mut all: BTreeMap<u64, Receipt> = stored.into_iter().map(|r| (r.id, r)).collect();
        let state = self.lock();
        let here = state.recent.iter().filter(|receipt| filter.takes(receipt));
        all.extend(here.map(|receipt| (receipt.id, receipt.clone())));
        drop(state);
        let limit = filter.limit.unwrap_or(usize::MAX);
        let surplus = all.len().saturating_sub(limit);
        all.into_values().skip(surplus).collect()
    }

    /// The receipts that are not on disk.
    pub(crate) fn unsaved(&self) -> Vec<Receipt> {
        self.lock().unsaved().cloned().collect()
    }

    /// What the database said when it was opened: its last number, and the newest receipt of each port.
    pub(crate) fn opened(&self, last_id: u64, stored: u64, last: Vec<Receipt>, attempts: Vec<Receipt>) {
        let mut state = self.lock();
        // Opened again, it has this process's own attempts.
        if !state.opened {
            state.attempts = attempts;
        }
        state.last_id = state.last_id.max(last_id);
        state.opened = true;
        for receipt in last {
            state.last.entry(receipt.port.clone()).or_insert(receipt);
        }
        self.well(state, stored);
    }

    /// These are on disk, and no others.
    pub(crate) fn saved(&self, receipts: &[Receipt], stored: u64) {
        let mut state = self.lock();
        for receipt in receipts {
            // What was changed meanwhile is to be written once more.
            if state.find(receipt.id).is_none_or(|now| now == receipt) {
                state.unsaved.remove(&receipt.id);
            }
        }
        while state.recent.len() > RECENT && state.recent.len() > state.unsaved.len() {
            state.make_room();
        }
        self.well(state, stored);
    }

    fn well(&self, mut state: MutexGuard<'_, State>, stored: u64) {
        if !state.error.is_empty() {
            tracing::info!("history {}: written again", self.shown());
        }
        state.error.clear();
        state.slow = false;
        state.stored = stored;
        drop(state);
        self.changed.notify_all();
    }

    /// The file was taken away under the daemon: what is still in memory is to be written once more.
    pub(crate) fn gone(&self) {
        {
            let mut state = self.lock();
            let all: Vec<u64> = state.recent.iter().map(|receipt| receipt.id).collect();
            state.unsaved.extend(all);
        }
        self.broken("the file was deleted or replaced under the daemon; older receipts are gone with it");
    }

    /// What had begun when the daemon before ended, once.
    pub(crate) fn take_attempts(&self) -> Vec<Receipt> {
        std::mem::take(&mut self.lock().attempts)
    }

    /// Whether it is worth waiting for the disk.
    pub(crate) fn is_well(&self) -> bool {
        let state = self.lock();
        state.opened && !state.slow && state.error.is_empty()
    }

    /// Whether something is wrong with the disk, as far as is known.
    pub(crate) fn is_ill(&self) -> bool {
        let state = self.lock();
        state.slow || !state.error.is_empty()
    }

    /// The disk takes what is written again.
    pub(crate) fn recovered(&self) {
        let state = self.lock();
        let stored = state.stored;
        self.well(state, stored);
    }

    /// The disk does not answer in time; it is not waited for until it does.
    pub(crate) fn was_slow(&self) {
        self.lock().slow = true;
        tracing::warn!("history {}: the disk is slow; receipts are not waited for meanwhile", self.shown());
    }

    /// The disk refuses.
    pub(crate) fn broken(&self, what: &str) {
        let mut state = self.lock();
        if state.error != what {
            let unsaved = state.unsaved.len();
            let path = self.shown();
            tracing::warn!("history {path}: {what}; receipts kept in memory meanwhile: {unsaved}");
            what.clone_into(&mut state.error);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The disk does not answer.
    pub(crate) fn slow(&self, what: &str) {
        self.lock().slow = true;
        self.broken(what);
    }

    /// Numbers to begin with when the database could not be asked for its own.
    pub(crate) fn settle_ids(&self) {
        let mut state = self.lock();
        if !state.opened {
            // Milliseconds, so that no daemon gives more numbers than the time that it runs.
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            state.last_id = state.last_id.max(u64::try_from(now).unwrap_or(u64::MAX / 2));
        }
    }

    /// Waits until that receipt is written, or cannot be.
    pub(crate) fn wait_saved(&self, id: u64, patience: Duration) {
        let pending = |state: &mut State| state.unsaved.contains(&id) && state.error.is_empty();
        let (mut state, waited) = self
            .changed
            .wait_timeout_while(self.lock(), patience, pending)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() && pending(&mut state) {
            state.slow = true;
            let path = self.shown();
            tracing::warn!("history {path}: the disk is slow; receipts are not waited for meanwhile");
        }
    }

    /// Whether there is more than memory.
    pub(crate) fn has_disk(&self) -> bool {
        self.path.is_some()
    }

    /// Whether questions to the disk are likely to be answered.
    pub(crate) fn answers(&self) -> bool {
        let state = self.lock();
        state.opened && !state.slow
    }

    pub(crate) fn ended(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    pub(crate) fn wait_ended(&self, patience: Duration) -> bool {
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock(), patience, |state| !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        state.ended
    }

    pub(crate) fn status(&self) -> Status {
        let state = self.lock();
        let mut error = state.error.clone();
        if error.is_empty() && state.slow {
            "the disk is slow: receipts are not waited for".clone_into(&mut error);
        }
        Status {
            path: self.path.clone(),
            stored: state.stored,
            unsaved: state.unsaved.len() as u64,
            dropped: state.dropped,
            error,
        }
    }

    fn shown(&self) -> String {
        self.path.as_ref().map_or_else(|| "in memory".to_owned(), |path| path.display().to_string())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic is done under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn unsaved(&self) -> impl Iterator<Item = &Receipt> {
        self.recent.iter().filter(|receipt| self.unsaved.contains(&receipt.id))
    }

    fn find(&self, id: u64) -> Option<&Receipt> {
        let at = self.recent.partition_point(|receipt| receipt.id < id);
        self.recent.get(at).filter(|receipt| receipt.id == id)
    }

    /// Forgets the oldest that is on disk too; where there is none, the oldest, which is counted.
    fn make_room(&mut self) {
        let saved = self.recent.iter().position(|receipt| !self.unsaved.contains(&receipt.id));
        if let Some(oldest) = self.recent.remove(saved.unwrap_or(0)) {
            self.dropped += u64::from(self.unsaved.remove(&oldest.id));
        }
    }
}

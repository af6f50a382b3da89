use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use steadfast_api::{CallTimes, HistoryHealth, Kind, Outcome, ProbationOutcome, Receipt};
use steadfast_history::{Filter, History};
use steadfast_shell::sync::lock;
use tokio::sync::broadcast;

/// How many of those that were told are remembered for whoever listens again.
const REMEMBERED: usize = 256;

/// Receipts that a daemon learns from which drivers are quick.
const LEARNED: usize = 512;

/// The receipts, on disk and in memory; whoever listens is told of new ones.
pub(crate) struct Receipts {
    history: History,
    listeners: broadcast::Sender<(u64, Receipt)>,
    /// What was told last, each with its number, for those who listen again.
    told: Mutex<VecDeque<(u64, Receipt)>>,
    /// Counts every change.
    version: AtomicU64,
    /// The last number of the daemons before.
    before: u64,
    /// What they left open is dealt with.
    settled: Mutex<bool>,
}

impl Receipts {
    /// The history in `folder`. What is wrong with it is told by [`health`](Receipts::health).
    pub(crate) fn open(folder: &Path, keep: u32) -> Receipts {
        let history = History::open(folder, keep);
        let before = history.last_id();
        let (listeners, version) = (broadcast::Sender::new(64), AtomicU64::new(0));
        let (settled, told) = (Mutex::default(), Mutex::default());
        let receipts = Receipts { history, listeners, told, version, before, settled };
        receipts.settle();
        receipts
    }

    /// The number of the last receipt that was ever written.
    pub(crate) fn last_id(&self) -> u64 {
        self.history.last_id()
    }

    /// What the newest receipts say of drivers' calls, the oldest first.
    pub(crate) fn calls(&self) -> Vec<CallTimes> {
        let newest = Filter { limit: Some(LEARNED), ..Filter::default() };
        let newest = self.history.try_list(&newest).unwrap_or_default();
        newest.into_iter().flat_map(|receipt| receipt.calls).collect()
    }

    /// Keeps a receipt. Called on control threads, once per attempt; waits for the disk for a moment at
    /// most.
    pub(crate) fn add(&self, receipt: Receipt) {
        self.history.add(&receipt);
        self.tell(receipt);
    }

    /// Changes a receipt: what follows an update is only known later.
    pub(crate) fn amend(&self, id: u64, change: impl FnOnce(&mut Receipt)) {
        self.amend_while(id, change, || ());
    }

    /// The same, while what `hold` gives is held: nobody who waits for that sees the receipt as it was.
    pub(crate) fn amend_while<G>(
        &self,
        id: u64,
        change: impl FnOnce(&mut Receipt),
        hold: impl FnOnce() -> G,
    ) {
        let receipt = self.history.get(id);
        let held = hold();
        let Some(mut receipt) = receipt else {
            return tracing::warn!("receipt {id} is not kept any more, so what follows it is not either");
        };
        change(&mut receipt);
        let amended = self.history.amend(&receipt);
        drop(held);
        self.history.wait_amended(amended);
        self.tell(receipt);
    }

    /// An activation was confirmed, or was not and goes back.
    pub(crate) fn say_confirmed(&self, id: u64, confirmed: bool) {
        self.amend(id, |receipt| {
            if let Some(report) = &mut receipt.properties {
                report.confirmed = Some(confirmed);
            }
        });
    }

    /// Notes an update that begins, so that it leaves a receipt whatever becomes of the daemon.
    pub(crate) fn note(&self, attempt: &Receipt) {
        self.history.note(attempt);
    }

    /// What the end of the daemon before cut short: updates get their receipts, and probations are over.
    /// Says whether that is done; where the history does not answer it is not, and is tried again.
    pub(crate) fn settle(&self) -> bool {
        let mut settled = lock(&self.settled);
        if *settled {
            return true;
        }
        for mut attempt in self.history.take_attempts() {
            attempt.outcome = Outcome::Interrupted;
            attempt.reason = "the daemon ended in the midst of it, killed or crashed; what served before \
                              serves again"
                .to_owned();
            let (id, port) = (attempt.id, &attempt.port);
            tracing::warn!("port {port}: update {id} was cut short when the daemon ended");
            self.add(attempt);
        }
        let running = Filter { on_probation: true, ..Filter::default() };
        let Some(running) = self.history.try_list(&running) else { return false };
        // Those that came since are this daemon's own.
        for mut receipt in running.into_iter().filter(|receipt| receipt.id <= self.before) {
            if let Some(report) = &mut receipt.probation {
                report.outcome = ProbationOutcome::Killed;
                report.reason = "the daemon ended without a stop".to_owned();
                self.history.wait_amended(self.history.amend(&receipt));
            }
        }
        *settled = true;
        true
    }

    /// Writes what is not written yet, for as long as that takes at most, and names what is lost.
    pub(crate) fn close(&self) {
        self.history.close();
    }

    /// Another number after every change.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    fn tell(&self, receipt: Receipt) {
        let mut told = lock(&self.told);
        let number = self.version.fetch_add(1, Ordering::Relaxed) + 1;
        if told.len() >= REMEMBERED {
            told.pop_front();
        }
        told.push_back((number, receipt.clone()));
        // Nobody listening is no error. In the order of their numbers, so under the lock.
        let _ = self.listeners.send((number, receipt));
    }

    /// What was told after `number`, with numbers of its own. `None`: that is not known any more, or never was.
    pub(crate) fn told_after(&self, number: u64) -> Option<Vec<(u64, Receipt)>> {
        let told = lock(&self.told);
        let first = told.front().map_or(self.version() + 1, |(first, _)| *first);
        let known = number + 1 >= first && number <= self.version();
        known.then(|| told.iter().filter(|(told, _)| *told > number).cloned().collect())
    }

    /// The newest receipts that are meant, the newest last.
    pub(crate) fn list(&self, filter: &Filter) -> Vec<Receipt> {
        self.history.list(filter)
    }

    /// The same, and whether these are all: when the disk does not answer there may be older ones.
    pub(crate) fn known(&self, filter: &Filter) -> (Vec<Receipt>, bool) {
        self.history.known(filter)
    }

    /// The newest receipts of updates that were tried, `limit` of each outcome, the newest last. Of each
    /// by itself, so that no number of refusals hides what was done; and none of what was busy, of which
    /// there may be any number. `None` when the disk does not answer, so that there may be more.
    pub(crate) fn tried(&self, limit: usize) -> Option<Vec<Receipt>> {
        if !self.settle() {
            return None;
        }
        let outcomes =
            [Outcome::Done, Outcome::Refused, Outcome::RolledBack, Outcome::Stranded, Outcome::Interrupted];
        let mut all = Vec::new();
        for outcome in outcomes {
            let kinds = vec![Kind::Update];
            let filter = Filter { outcome: Some(outcome), kinds, limit: Some(limit), ..Filter::default() };
            all.extend(self.history.try_list(&filter)?);
        }
        all.sort_by_key(|receipt| receipt.id);
        Some(all)
    }

    pub(crate) fn get(&self, id: u64) -> Option<Receipt> {
        self.history.get(id)
    }

    pub(crate) fn last_of(&self, port: &str) -> Option<Receipt> {
        self.history.last_of(port)
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<(u64, Receipt)> {
        self.listeners.subscribe()
    }

    /// Why receipts may be lost, in words; empty when none is at risk any more.
    pub(crate) fn degraded(&self) -> String {
        let status = self.history.status();
        if status.error.is_empty() {
            return String::new();
        }
        let (unsaved, dropped) = (status.unsaved, status.dropped);
        format!(
            "history: receipts in memory only, lost when the daemon stops: {unsaved}; dropped: {dropped}; {}",
            status.error
        )
    }

    pub(crate) fn health(&self) -> HistoryHealth {
        let status = self.history.status();
        HistoryHealth {
            path: status.path.map(|path| path.display().to_string()).unwrap_or_default(),
            stored: status.stored,
            unsaved: status.unsaved,
            dropped: status.dropped,
            error: status.error,
        }
    }
}

//! Activations that go back by themselves unless somebody confirms them.
//!
//! What goes back is what the activation changed; what was saved meanwhile beside it stays. Until it has gone
//! back, or somebody confirms it after all, it is never forgotten: where it cannot go back it is tried again,
//! and the next start of the daemon tries it first of all.

use super::activate::options;
use crate::app::App;
use crate::params::confirm_notes::{Note, Notes, waiting};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use steadfast_api::{
    Cause, Kind, Outcome, Problem, ProblemKind, Receipt, Requester, RollbackRequest, Unconfirmed,
};
use steadfast_runtime::ActivateOptions;
use steadfast_shell::sync::lock;

/// First and longest time between two tries to go back.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// An activation that waits to be confirmed.
#[derive(Clone, Debug)]
pub(super) struct Open {
    /// Its receipt.
    pub(super) receipt: u64,
    /// What was in force before it, and with it.
    pub(super) note: Note,
    /// When it goes back, or is tried again.
    due: Instant,
    /// The same by the wall clock.
    until_unix_ms: u64,
    /// Why it has not gone back, since it was to; empty before that.
    problem: String,
    again: Duration,
}

impl Open {
    pub(super) fn new(receipt: u64, note: Note, within: Duration, until_unix_ms: u64) -> Open {
        let due = Instant::now() + within;
        Open { receipt, note, due, until_unix_ms, problem: String::new(), again: AGAIN.0 }
    }
}

#[derive(Clone, Debug)]
enum State {
    /// The activation is under way.
    Begins,
    Waits(Open),
    /// It is being reverted.
    GoesBack(Open),
}

/// Those that wait, by port.
#[derive(Debug)]
pub(crate) struct Confirms {
    /// The same on disk.
    pub(super) notes: Notes,
    open: Mutex<BTreeMap<String, State>>,
    changed: Condvar,
}

impl Confirms {
    pub(crate) fn new(notes: Notes) -> Confirms {
        Confirms { notes, open: Mutex::default(), changed: Condvar::new() }
    }

    /// # Errors
    /// `Busy`: something of the port waits to be confirmed, or is about to.
    pub(super) fn free(&self, port: &str) -> Result<(), Problem> {
        match lock(&self.open).get(port) {
            None => Ok(()),
            Some(state) => Err(busy(port, state)),
        }
    }

    /// An activation begins that is to be confirmed.
    ///
    /// # Errors
    /// As for [`free`](Confirms::free).
    pub(super) fn begin(&self, port: &str) -> Result<(), Problem> {
        match lock(&self.open).entry(port.to_owned()) {
            Entry::Vacant(free) => {
                free.insert(State::Begins);
                Ok(())
            }
            Entry::Occupied(open) => Err(busy(port, open.get())),
        }
    }

    /// What began has come to nothing.
    pub(super) fn give_up(&self, port: &str) {
        lock(&self.open).remove(port);
    }

    pub(super) fn open(&self, app: &Arc<App>, port: &str, open: Open) {
        let receipt = open.receipt;
        lock(&self.open).insert(port.to_owned(), State::Waits(open));
        let (of, name) = (Arc::clone(app), port.to_owned());
        let watch = move || of.edits.confirms.watch(&of, &name, receipt);
        if let Err(e) = std::thread::Builder::new().name("confirm".into()).spawn(watch) {
            // Nobody would see to it that it goes back in time.
            tracing::error!(port, "thread: {e}: what was to be confirmed goes back at once");
            if let Some(open) = self.take_back(port) {
                drop(app.unconfirmed(port, open, None));
            }
        }
    }

    /// Goes on with what was to go back when the daemon started, and could not.
    pub(crate) fn resume(&self, app: &Arc<App>) {
        for (port, note) in self.notes.read() {
            if app.topology.config_of(&port).is_none() {
                // There is no such device any more: another one of its name is not meant.
                self.notes.remove(&port);
                continue;
            }
            let receipt = waiting(&port, &app.receipts);
            let until = receipt.as_ref().and_then(|r| r.properties.as_ref()?.confirm_until_unix_ms);
            let receipt = receipt.map_or(0, |receipt| receipt.id);
            self.open(app, &port, Open::new(receipt, note, AGAIN.0, until.unwrap_or_default()));
        }
    }

    /// Lets an activation go back when it is due, and again until it has.
    fn watch(&self, app: &Arc<App>, port: &str, receipt: u64) {
        while self.wait_due(port, receipt) {
            // Somebody else may have been sooner; then there is nothing to wait for, or to wait again.
            if let Some(open) = self.take_back(port) {
                drop(app.unconfirmed(port, open, None));
            }
        }
    }

    /// Waits until it is due; false when it is not waited for any more.
    fn wait_due(&self, port: &str, receipt: u64) -> bool {
        let mut all = lock(&self.open);
        loop {
            let left = match all.get(port) {
                Some(State::Waits(open)) if open.receipt == receipt => {
                    open.due.saturating_duration_since(Instant::now())
                }
                Some(State::GoesBack(open)) if open.receipt == receipt => AGAIN.1,
                _ => return false,
            };
            if left.is_zero() {
                return true;
            }
            all = self.changed.wait_timeout(all, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// It is to go back now. None where nothing waits.
    fn take_back(&self, port: &str) -> Option<Open> {
        let mut all = lock(&self.open);
        let Some(State::Waits(open)) = all.get(port) else { return None };
        let open = open.clone();
        all.insert(port.to_owned(), State::GoesBack(open.clone()));
        Some(open)
    }

    /// It is not waited for any more. None where nothing waits.
    fn take(&self, port: &str) -> Option<Open> {
        let mut all = lock(&self.open);
        let Some(State::Waits(open)) = all.get(port).cloned() else { return None };
        all.remove(port);
        self.changed.notify_all();
        Some(open)
    }

    /// It has gone back.
    fn gone_back(&self, port: &str) {
        self.notes.remove(port);
        lock(&self.open).remove(port);
        self.changed.notify_all();
    }

    /// It has not, and waits on.
    fn wait_on(&self, port: &str, open: Open) {
        if let Some(state) = lock(&self.open).get_mut(port) {
            *state = State::Waits(open);
        }
        self.changed.notify_all();
    }

    /// What would go back on a port.
    pub(super) fn note(&self, port: &str) -> Option<Note> {
        match lock(&self.open).get(port)? {
            State::Begins => None,
            State::Waits(open) | State::GoesBack(open) => Some(open.note.clone()),
        }
    }

    /// What waits to be confirmed on a port.
    pub(crate) fn shown(&self, port: &str) -> Option<Unconfirmed> {
        match lock(&self.open).get(port)? {
            State::Begins => None,
            State::Waits(open) | State::GoesBack(open) => Some(Unconfirmed {
                receipt: open.receipt,
                until_unix_ms: open.until_unix_ms,
                problem: open.problem.clone(),
            }),
        }
    }

    /// The port is taken away: nothing of it can go back.
    pub(crate) fn forget(&self, port: &str) {
        lock(&self.open).remove(port);
        self.changed.notify_all();
        self.notes.remove(port);
    }

    /// The daemon stops: who was to confirm cannot any more.
    pub(crate) fn stop(&self, app: &Arc<App>) {
        let ports: Vec<String> = lock(&self.open).keys().cloned().collect();
        for port in ports {
            if let Some(open) = self.take_back(&port) {
                drop(app.unconfirmed(&port, open, None));
            }
        }
        // Nobody waits on; what has not gone back does at the next start.
        lock(&self.open).clear();
        self.changed.notify_all();
    }
}

fn busy(port: &str, state: &State) -> Problem {
    let what = match state {
        State::Begins => "an activation that is to be confirmed is under way".to_owned(),
        State::Waits(open) => format!("what receipt {} activated waits to be confirmed", open.receipt),
        State::GoesBack(open) => format!("what receipt {} activated is being reverted", open.receipt),
    };
    let problem = Problem::new(ProblemKind::Busy, format!("port {port} is busy: {what}"));
    match state {
        State::Waits(_) => problem
            .hint(format!("`steadfast confirm {port}` keeps it, `steadfast rollback {port}` takes it back")),
        _ => problem,
    }
}

impl App {
    /// Keeps what was activated.
    pub(crate) fn confirm(&self, name: &str) -> Result<Receipt, Problem> {
        let port = self.port_named(name)?.name;
        let Some(open) = self.edits.confirms.take(&port) else {
            // Something may be about to wait, or go back already.
            self.edits.confirms.free(&port)?;
            let what = format!("port {port}: nothing waits to be confirmed");
            return Err(Problem::new(ProblemKind::Refused, what));
        };
        self.edits.confirms.notes.remove(&port);
        self.receipts.say_confirmed(open.receipt, true);
        self.receipts.get(open.receipt).ok_or_else(|| {
            let what = format!("port {port}: confirmed, but receipt {} is not kept any more", open.receipt);
            Problem::new(ProblemKind::Internal, what)
        })
    }

    /// Takes back what waits to be confirmed, where something does.
    pub(super) fn roll_back_unconfirmed(
        &self,
        port: &str,
        request: &RollbackRequest,
        who: &str,
    ) -> Option<Result<Receipt, Problem>> {
        let open = request.to.is_none().then(|| self.edits.confirms.take_back(port)).flatten()?;
        Some(self.unconfirmed(port, open, Some((request, who))))
    }

    /// Nobody has confirmed, or somebody wants it back: what was before comes back, in force and saved.
    fn unconfirmed(
        &self,
        port: &str,
        mut open: Open,
        asked: Option<(&RollbackRequest, &str)>,
    ) -> Result<Receipt, Problem> {
        let opts = match asked {
            Some((request, who)) => {
                let by = Requester { cause: Cause::Rollback, who: who.to_owned() };
                let source = format!("rollback of receipt {}", open.receipt);
                let opts = options(request.idle_only, 0, request.drain_timeout_ms, by, &source);
                ActivateOptions { force: request.force, ..opts }
            }
            None => {
                let by = Requester { cause: Cause::Unconfirmed, who: String::new() };
                options(false, 0, None, by, &format!("receipt {} was not confirmed", open.receipt))
            }
        };
        let opts = ActivateOptions { goes_back: true, ..opts };
        let back = self.go_back_to(port, |view| open.note.undone(&view.saved), &open.note.temporary(), &opts);
        let problem = match &back {
            Ok(receipt) if receipt.outcome == Outcome::Done => None,
            Ok(receipt) => Some(receipt.reason.clone()),
            Err(problem) => Some(problem.message.clone()),
        };
        // A try that says nothing new leaves no receipt.
        if asked.is_some() || problem.as_ref() != Some(&open.problem) {
            self.keep_properties(back.clone().unwrap_or_else(|problem| {
                let mut receipt = self.engine.begin_receipt(port, Kind::Activation, &opts.by, &opts.source);
                receipt.reason = problem.message;
                receipt
            }));
        }
        let confirms = &self.edits.confirms;
        match problem {
            None => {
                self.receipts.say_confirmed(open.receipt, false);
                confirms.gone_back(port);
            }
            Some(_) if asked.is_some() => confirms.wait_on(port, open),
            Some(why) => {
                tracing::error!(port, "{}, and it does not go back: {why}", opts.source);
                open.due = Instant::now() + open.again;
                (open.again, open.problem) = ((open.again * 2).min(AGAIN.1), why);
                confirms.wait_on(port, open);
            }
        }
        back
    }
}

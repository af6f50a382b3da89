//! Activations that go back by themselves unless somebody confirms them.

use super::activate::options;
use super::unconfirmed::Notes;
use crate::app::App;
use crate::probation::lock;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use steadfast_api::{Cause, Outcome, Problem, ProblemKind, Receipt, Requester};
use steadfast_runtime::ActivateOptions;
use steadfast_shell::properties::Definitions;

/// An activation that waits to be confirmed.
#[derive(Clone, Debug)]
pub(super) struct Open {
    /// Its receipt.
    pub(super) receipt: u64,
    /// What was in force before it.
    pub(super) before: Definitions,
}

/// Those that wait, by port.
#[derive(Debug)]
pub(crate) struct Confirms {
    /// The same on disk.
    pub(super) notes: Notes,
    /// None while the activation is under way.
    open: Mutex<BTreeMap<String, Option<Open>>>,
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
            Some(open) => Err(busy(port, open.as_ref())),
        }
    }

    /// An activation begins that is to be confirmed.
    ///
    /// # Errors
    /// As for [`free`](Confirms::free).
    pub(super) fn begin(&self, port: &str) -> Result<(), Problem> {
        match lock(&self.open).entry(port.to_owned()) {
            Entry::Vacant(free) => {
                free.insert(None);
                Ok(())
            }
            Entry::Occupied(open) => Err(busy(port, open.get().as_ref())),
        }
    }

    /// What began has come to nothing.
    pub(super) fn give_up(&self, port: &str) {
        lock(&self.open).remove(port);
    }

    pub(super) fn open(&self, app: &Arc<App>, port: &str, open: Open, within: Duration) {
        let receipt = open.receipt;
        lock(&self.open).insert(port.to_owned(), Some(open));
        let (app, port) = (Arc::clone(app), port.to_owned());
        let watch = move || app.edits.confirms.watch(&app, &port, receipt, within);
        if let Err(e) = std::thread::Builder::new().name("confirm".into()).spawn(watch) {
            tracing::error!("thread: {e}: an activation does not go back by itself");
        }
    }

    fn watch(&self, app: &Arc<App>, port: &str, receipt: u64, within: Duration) {
        let until = Instant::now() + within;
        let mut open = lock(&self.open);
        loop {
            let waits = open.get(port).and_then(Option::as_ref).is_some_and(|o| o.receipt == receipt);
            if !waits {
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            open = self.changed.wait_timeout(open, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let gone = open.remove(port).flatten();
        drop(open);
        if let Some(gone) = gone {
            app.unconfirmed(port, &gone);
        }
    }

    fn take(&self, port: &str) -> Option<Open> {
        let taken = match lock(&self.open).entry(port.to_owned()) {
            Entry::Occupied(open) if open.get().is_some() => open.remove(),
            _ => None,
        };
        self.changed.notify_all();
        taken
    }

    /// The port is taken away: nothing of it can go back.
    pub(crate) fn forget(&self, port: &str) {
        self.take(port);
        self.notes.remove(port);
    }

    /// The daemon stops: who was to confirm cannot any more.
    pub(crate) fn stop(&self, app: &Arc<App>) {
        let open = std::mem::take(&mut *lock(&self.open));
        self.changed.notify_all();
        for (port, open) in open {
            if let Some(open) = open {
                app.unconfirmed(&port, &open);
            }
        }
    }
}

fn busy(port: &str, open: Option<&Open>) -> Problem {
    let what = match open {
        Some(open) => format!("what receipt {} activated waits to be confirmed", open.receipt),
        None => "an activation that is to be confirmed is under way".to_owned(),
    };
    let problem = Problem::new(ProblemKind::Busy, format!("port {port} is busy: {what}"));
    match open {
        Some(_) => problem.hint(format!("`steadfast confirm {port}` keeps it")),
        None => problem,
    }
}

impl App {
    /// Keeps what was activated.
    pub(crate) fn confirm(&self, name: &str) -> Result<Receipt, Problem> {
        let port = self.port_named(name)?.name;
        let open = self.edits.confirms.take(&port).ok_or_else(|| {
            Problem::new(ProblemKind::Refused, format!("port {port}: nothing waits to be confirmed"))
        })?;
        self.edits.confirms.notes.remove(&port);
        self.receipts.say_confirmed(open.receipt, true);
        self.receipts.get(open.receipt).ok_or_else(|| {
            let what = format!("port {port}: confirmed, but receipt {} is not kept any more", open.receipt);
            Problem::new(ProblemKind::Internal, what)
        })
    }

    /// Nobody has confirmed: what was before comes back, in force and saved.
    fn unconfirmed(&self, port: &str, open: &Open) {
        let by = Requester { cause: Cause::Unconfirmed, who: String::new() };
        let source = format!("receipt {} was not confirmed", open.receipt);
        let opts = ActivateOptions { goes_back: true, ..options(false, 0, None, by, &source) };
        self.receipts.say_confirmed(open.receipt, false);
        match self.go_back_to(port, &open.before, &opts) {
            Ok(receipt) if receipt.outcome == Outcome::Done => self.edits.confirms.notes.remove(port),
            // The note stays: at the next start it can be done.
            Ok(receipt) => tracing::error!(port, "{source}, and it does not go back: {}", receipt.reason),
            Err(e) => tracing::error!(port, "{source}, and it does not go back: {e}"),
        }
    }
}

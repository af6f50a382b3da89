//! Activations that go back by themselves unless somebody confirms them.

use super::activate::options;
use crate::app::App;
use crate::probation::lock;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use steadfast_api::{Cause, Problem, ProblemKind, Receipt, Requester};
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
#[derive(Debug, Default)]
pub(crate) struct Confirms {
    open: Mutex<BTreeMap<String, Open>>,
    changed: Condvar,
}

impl Confirms {
    /// # Errors
    /// `Busy`: something of the port waits to be confirmed.
    pub(super) fn free(&self, port: &str) -> Result<(), Problem> {
        match lock(&self.open).get(port) {
            None => Ok(()),
            Some(open) => {
                let what = format!(
                    "port {port} is busy: what receipt {} activated waits to be confirmed",
                    open.receipt
                );
                Err(Problem::new(ProblemKind::Busy, what)
                    .hint(format!("`steadfast confirm {port}` keeps it")))
            }
        }
    }

    pub(super) fn open(&self, app: &Arc<App>, port: &str, open: Open, within: Duration) {
        let receipt = open.receipt;
        lock(&self.open).insert(port.to_owned(), open);
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
            if open.get(port).is_none_or(|o| o.receipt != receipt) {
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            open = self.changed.wait_timeout(open, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let gone = open.remove(port);
        drop(open);
        if let Some(gone) = gone {
            app.unconfirmed(port, &gone);
        }
    }

    fn take(&self, port: &str) -> Option<Open> {
        let taken = lock(&self.open).remove(port);
        self.changed.notify_all();
        taken
    }

    /// The daemon stops: who was to confirm cannot any more.
    pub(crate) fn stop(&self, app: &Arc<App>) {
        let open = std::mem::take(&mut *lock(&self.open));
        self.changed.notify_all();
        for (port, open) in open {
            app.unconfirmed(&port, &open);
        }
    }
}

impl App {
    /// Keeps what was activated.
    pub(crate) fn confirm(&self, name: &str) -> Result<Receipt, Problem> {
        let port = self.port_named(name)?.name;
        let open = self.edits.confirms.take(&port).ok_or_else(|| {
            Problem::new(ProblemKind::Refused, format!("port {port}: nothing waits to be confirmed"))
        })?;
        self.say_confirmed(open.receipt, true);
        self.receipts.get(open.receipt).ok_or_else(|| {
            let what = format!("port {port}: confirmed, but receipt {} is not kept any more", open.receipt);
            Problem::new(ProblemKind::Internal, what)
        })
    }

    fn say_confirmed(&self, receipt: u64, confirmed: bool) {
        self.receipts.amend(receipt, |receipt| {
            if let Some(report) = &mut receipt.properties {
                report.confirmed = Some(confirmed);
            }
        });
    }

    /// Nobody has confirmed: what was before comes back, in force and saved.
    fn unconfirmed(&self, port: &str, open: &Open) {
        let by = Requester { cause: Cause::Unconfirmed, who: String::new() };
        let source = format!("receipt {} was not confirmed", open.receipt);
        let opts = options(false, 0, None, by, &source);
        self.say_confirmed(open.receipt, false);
        if let Err(e) = self.go_back_to(port, &open.before, &opts) {
            tracing::error!(port, "{source}, and it does not go back: {e}");
        }
    }
}

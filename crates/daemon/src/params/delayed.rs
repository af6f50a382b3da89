//! Activations that let time pass first: one of a port at most, and it can be called off.

use crate::app::App;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use steadfast_api::{Activating, Delayed, Missed, Outcome, Problem, ProblemKind, Receipt};
use steadfast_runtime::CallOff;
use steadfast_shell::sync::lock;

/// How long who calls one off waits for its receipt.
const FAREWELL: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Waits {
    shown: Delayed,
    call_off: Arc<CallOff>,
}

/// Those that are to come, by port.
#[derive(Debug, Default)]
pub(crate) struct Delays {
    waiting: Mutex<BTreeMap<String, Waits>>,
    changed: Condvar,
    /// Those that came to their time and could not be carried out, until one can be.
    missed: Mutex<BTreeMap<String, Missed>>,
}

impl Delays {
    /// One more.
    ///
    /// # Errors
    /// `Busy`: there is one of that port.
    pub(super) fn begin(&self, port: &str, shown: Delayed) -> Result<Arc<CallOff>, Problem> {
        let mut waiting = lock(&self.waiting);
        if let Some(other) = waiting.get(port) {
            let who = &other.shown.who;
            let what = format!("port {port} is busy: an activation that {who} asked for is to come");
            return Err(Problem::new(ProblemKind::Busy, what)
                .hint(format!("`steadfast activate --call-off {port}` calls it off")));
        }
        let call_off = Arc::new(CallOff::default());
        waiting.insert(port.to_owned(), Waits { shown, call_off: Arc::clone(&call_off) });
        Ok(call_off)
    }

    /// It has ended, however that was.
    pub(super) fn end(&self, port: &str) {
        lock(&self.waiting).remove(port);
        self.changed.notify_all();
    }

    /// An activation of a port is over; `call_off` of one that had let time pass.
    pub(super) fn note(&self, port: &str, receipt: &Receipt, call_off: Option<&CallOff>) {
        let mut missed = lock(&self.missed);
        if receipt.outcome == Outcome::Done {
            missed.remove(port);
        } else if call_off.is_some_and(|call_off| !call_off.is_ordered()) {
            let reason = receipt.reason.clone();
            tracing::warn!(port, reason, "the activation that was to come could not be carried out");
            missed.insert(port.to_owned(), Missed { receipt: receipt.id, reason });
        }
    }

    /// The one of a port that could not be carried out.
    pub(crate) fn missed(&self, port: &str) -> Option<Missed> {
        lock(&self.missed).get(port).cloned()
    }

    /// The one of a port.
    pub(crate) fn shown(&self, port: &str) -> Option<Delayed> {
        lock(&self.waiting).get(port).map(|waits| waits.shown.clone())
    }

    /// The daemon stops: none of them comes any more, and their receipts say so.
    pub(crate) fn stop(&self) {
        let waiting = lock(&self.waiting);
        waiting.values().for_each(|waits| waits.call_off.order("the daemon stops"));
        let left = self.changed.wait_timeout_while(waiting, FAREWELL, |waiting| !waiting.is_empty());
        drop(left.unwrap_or_else(PoisonError::into_inner));
    }
}

impl App {
    /// Calls the activation of a port off that is to come. Where it has begun already it goes on.
    pub(crate) fn call_off(&self, name: &str, who: &str) -> Result<Activating, Problem> {
        let port = self.port_named(name)?.name;
        let delays = &self.edits.delayed;
        let waiting = lock(&delays.waiting);
        let Some(waits) = waiting.get(&port) else {
            let what = format!("port {port}: no activation is to come");
            return Err(Problem::new(ProblemKind::Refused, what));
        };
        let why = format!("{who} called it off");
        waits.call_off.order(&why);
        let left = delays.changed.wait_timeout_while(waiting, FAREWELL, |all| all.contains_key(&port));
        drop(left.unwrap_or_else(PoisonError::into_inner));
        let receipt = self.receipts.last_of(&port);
        match receipt.filter(|receipt| receipt.reason.ends_with(&why)) {
            Some(receipt) => {
                Ok(Activating { port, wait_ms: 0, estimate_ms: None, receipt: Some(receipt), would: None })
            }
            None => {
                let what = format!("port {port}: the activation had begun already");
                Err(Problem::new(ProblemKind::Busy, what)
                    .hint(format!("`steadfast history {port}` says how it went")))
            }
        }
    }
}

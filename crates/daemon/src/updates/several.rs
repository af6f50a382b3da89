//! Something that is done to several ports, one after the other: what is next, and what a failure leads
//! to, is decided by `steadfast_shell::rolling`.

use crate::app::App;
use std::sync::MutexGuard;
use steadfast_api::{
    Outcome, PortFate, Problem, ProblemKind, Receipt, RolledPort, RollingOutcome, RollingReport,
};
use steadfast_shell::rolling::{self, Action, Fate, Input, Rolling};

/// What is known of it so far.
pub(crate) struct Several {
    /// What joins the receipts.
    pub(crate) name: String,
    pub(crate) ports: Vec<RolledPort>,
    pub(crate) reason: String,
    busy: bool,
}

/// What is done to each port, by its place.
pub(crate) trait InTurn {
    /// What is known so far.
    fn several(&mut self) -> &mut Several;
    /// Everything that can be known before the first one is touched.
    fn check(&mut self, at: usize) -> Input;
    /// Does it.
    fn change(&mut self, at: usize) -> Input;
    /// Puts back what was there before, unless somebody has changed it since.
    fn take_back(&mut self, at: usize) -> Input;
}

impl Several {
    pub(crate) fn new(name: String, ports: impl IntoIterator<Item = String>) -> Several {
        let untouched = |port| RolledPort { port, fate: PortFate::Untouched, receipt: None, back: None };
        let ports = ports.into_iter().map(untouched).collect();
        Several { name, ports, reason: String::new(), busy: false }
    }

    /// A check has failed; the reason, for its receipt.
    pub(crate) fn refuse(&mut self, at: usize, outcome: Outcome, why: &str) -> String {
        self.busy = outcome == Outcome::Busy;
        self.reason = format!("{}: {why}; no port was touched", self.ports[at].port);
        self.reason.clone()
    }

    /// A port was taken back, or could not be.
    pub(crate) fn taken_back(&mut self, at: usize, back: Receipt) -> Input {
        let input = input(&back);
        if input != Input::Ok {
            self.reason.push_str(&format!("; {} does not go back: {}", back.port, back.reason));
        }
        self.ports[at].back = Some(back);
        input
    }
}

impl App {
    /// Nothing else is done to several ports as long as what is returned lives.
    ///
    /// # Errors
    /// `Busy`: something is.
    pub(crate) fn alone(&self) -> Result<MutexGuard<'_, ()>, Problem> {
        self.topology
            .rolling
            .try_lock()
            .map_err(|_| Problem::new(ProblemKind::Busy, "another change of several ports is under way"))
    }
}

/// Does it to all of them. After a failure those before it go back if `goes_back`.
pub(crate) fn carry_out(run: &mut impl InTurn, goes_back: bool) -> RollingReport {
    let mut rolling = Rolling::new(run.several().ports.len(), goes_back);
    let outcome = loop {
        let input = match rolling.action() {
            Action::Check(at) => run.check(at),
            Action::Update(at) => run.change(at),
            Action::TakeBack(at) => run.take_back(at),
            Action::Done(outcome) => break outcome,
        };
        rolling.step(input);
    };
    let several = run.several();
    for (port, fate) in several.ports.iter_mut().zip(rolling.fates()) {
        port.fate = shown(*fate);
    }
    let outcome = match outcome {
        rolling::Outcome::Done => RollingOutcome::Done,
        rolling::Outcome::Refused if several.busy => RollingOutcome::Busy,
        rolling::Outcome::Refused => RollingOutcome::Refused,
        rolling::Outcome::RolledBack => RollingOutcome::RolledBack,
        rolling::Outcome::Stopped => RollingOutcome::Stopped,
        rolling::Outcome::Mixed => RollingOutcome::Mixed,
    };
    let (name, reason) = (&several.name, &several.reason);
    tracing::info!(?outcome, reason, "{name}: {} ports, one after the other", several.ports.len());
    RollingReport {
        outcome,
        reason: std::mem::take(&mut several.reason),
        name: std::mem::take(&mut several.name),
        ports: std::mem::take(&mut several.ports),
    }
}

/// How it went with one port, by its receipt.
pub(crate) fn input(receipt: &Receipt) -> Input {
    match receipt.outcome {
        Outcome::Done => Input::Ok,
        Outcome::Stranded => Input::Stranded,
        Outcome::Refused | Outcome::Busy | Outcome::RolledBack | Outcome::Tried | Outcome::Interrupted => {
            Input::Failed
        }
    }
}

/// A fate as the control API has it.
fn shown(fate: Fate) -> PortFate {
    match fate {
        Fate::Untouched => PortFate::Untouched,
        Fate::Updated => PortFate::Updated,
        Fate::Failed => PortFate::Failed,
        Fate::TakenBack => PortFate::TakenBack,
        Fate::NotTakenBack => PortFate::NotTakenBack,
        Fate::Stranded => PortFate::Stranded,
    }
}

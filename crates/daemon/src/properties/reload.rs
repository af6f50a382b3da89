//! Activations of every port that runs a module, one after the other: for parameters of the class *reload*.
//! What is next, and what a failure leads to, is decided by `steadfast_shell::rolling`.

use super::activate::options;
use crate::app::App;
use std::sync::Arc;
use steadfast_api::{
    Cause, Kind, Outcome, PortFate, Problem, ProblemKind, Receipt, ReloadRequest, Requester, RolledPort,
    RollingOutcome, RollingReport,
};
use steadfast_runtime::ActivateOptions;
use steadfast_shell::reload::Reach;
use steadfast_shell::rolling::{self, Action, Input, Rolling};

/// One that is under way.
struct Run<'a> {
    app: &'a Arc<App>,
    opts: ActivateOptions,
    /// What joins the receipts.
    name: String,
    ports: Vec<RolledPort>,
    reason: String,
    busy: bool,
}

impl App {
    /// Initialises every port that runs a port's module anew with what is saved for it: all of them, or none.
    pub(crate) fn reload(
        self: &Arc<App>,
        name: &str,
        request: &ReloadRequest,
        who: String,
    ) -> Result<RollingReport, Problem> {
        let Ok(_alone) = self.topology.rolling.try_lock() else {
            let what = "another change of several ports is under way";
            return Err(Problem::new(ProblemKind::Busy, what));
        };
        let port = self.port_named(name)?;
        let module = port.module.ok_or_else(|| {
            Problem::new(ProblemKind::Busy, format!("port {}: nobody serves it", port.name))
        })?;
        let users = self.engine.ports_of(&module.hash);
        let meant = self.ports().into_iter().map(|port| port.name).filter(|name| users.contains(name));
        let name = format!("reload-{}", self.receipts.last_id() + 1);
        let by = Requester { cause: Cause::Operator, who };
        let source = format!("activate --reload ({name})");
        let mut opts = options(request.idle_only, 0, request.drain_timeout_ms, by, &source);
        (opts.force, opts.reach) = (request.force, Reach::Module);
        let untouched =
            |port: String| RolledPort { port, fate: PortFate::Untouched, receipt: None, back: None };
        let ports = meant.map(untouched).collect();
        Ok(Run { app: self, opts, name, ports, reason: String::new(), busy: false }.carry_out())
    }
}

impl Run<'_> {
    fn carry_out(mut self) -> RollingReport {
        let mut rolling = Rolling::new(self.ports.len(), true);
        let outcome = loop {
            let input = match rolling.action() {
                Action::Check(at) => self.check(at),
                Action::Update(at) => self.activate(at),
                Action::TakeBack(at) => self.take_back(at),
                Action::Done(outcome) => break outcome,
            };
            rolling.step(input);
        };
        for (port, fate) in self.ports.iter_mut().zip(rolling.fates()) {
            port.fate = crate::topology::shown(*fate);
        }
        let outcome = match outcome {
            rolling::Outcome::Done => RollingOutcome::Done,
            rolling::Outcome::Refused if self.busy => RollingOutcome::Busy,
            rolling::Outcome::Refused => RollingOutcome::Refused,
            rolling::Outcome::RolledBack => RollingOutcome::RolledBack,
            rolling::Outcome::Stopped => RollingOutcome::Stopped,
            rolling::Outcome::Mixed => RollingOutcome::Mixed,
        };
        let (name, reason) = (&self.name, &self.reason);
        tracing::info!(?outcome, reason, "{name}: {} ports are initialised anew", self.ports.len());
        RollingReport { outcome, reason: self.reason, name: self.name, ports: self.ports }
    }

    /// What can be known before the first one is touched: its set will do, and nobody is at it.
    fn check(&mut self, at: usize) -> Input {
        let port = self.ports[at].port.clone();
        let busy = self.app.engine.under_way(&port).map(|what| format!("{what} is under way"));
        let busy = busy.or_else(|| self.app.edits.confirms.free(&port).err().map(|e| e.message));
        let (outcome, why) = match busy {
            Some(why) => (Outcome::Busy, why),
            None => match self.app.saved_and_good(&port) {
                Ok(_) => return Input::Ok,
                Err(why) => (Outcome::Refused, why),
            },
        };
        self.busy = outcome == Outcome::Busy;
        self.reason = format!("{port}: {why}; no port was touched");
        let mut receipt =
            self.app.engine.begin_receipt(&port, Kind::Activation, &self.opts.by, &self.opts.source);
        (receipt.outcome, receipt.reason) = (outcome, self.reason.clone());
        self.app.keep_properties(receipt.clone());
        self.ports[at].receipt = Some(receipt);
        Input::Failed
    }

    fn activate(&mut self, at: usize) -> Input {
        let port = self.ports[at].port.clone();
        if self.app.probations.are_stopping() {
            self.reason = format!("{port}: the daemon stops");
            return Input::Failed;
        }
        let receipt = self.app.carry_out_activation(&port, &self.opts, None);
        let input = input(&receipt);
        if input != Input::Ok {
            self.reason = format!("{port}: {}", receipt.reason);
        }
        self.ports[at].receipt = Some(receipt);
        input
    }

    /// Puts back what was in force for a port before, unless somebody has changed it since. What is saved
    /// stays, and is pending again.
    fn take_back(&mut self, at: usize) -> Input {
        let Some(receipt) = self.ports[at].receipt.clone() else { return Input::Failed };
        let port = receipt.port.clone();
        if self.app.engine.port(&port).is_none_or(|port| port.generation != receipt.generation_after) {
            self.reason.push_str(&format!("; {port} is left alone: somebody has changed it since"));
            return Input::Failed;
        }
        let before = receipt.properties.map(|report| report.before).unwrap_or_default();
        let by = Requester { cause: Cause::Rollback, who: self.opts.by.who.clone() };
        let opts = ActivateOptions { by, ..self.opts.clone() };
        let back = self.app.engine.activate(&port, || Ok(before), &opts);
        self.app.keep_properties(back.clone());
        let input = input(&back);
        if input != Input::Ok {
            self.reason.push_str(&format!("; {port} does not go back: {}", back.reason));
        }
        self.ports[at].back = Some(back);
        input
    }
}

fn input(receipt: &Receipt) -> Input {
    match receipt.outcome {
        Outcome::Done => Input::Ok,
        Outcome::Stranded => Input::Stranded,
        Outcome::Refused | Outcome::Busy | Outcome::RolledBack => Input::Failed,
    }
}

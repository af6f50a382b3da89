//! Activations of several ports, one after the other: those that are named, those of an adapter, or every port that
//! runs a module (for parameters of the class *reload*).

use super::activate::{bounded, options};
use crate::app::App;
use crate::params::view::unserved;
use crate::updates::rolling::Meant;
use crate::updates::several::{self, InTurn, Several};
use std::sync::Arc;
use steadfast_api::{
    ActivateSeveralRequest, Cause, Kind, Outcome, PlannedChange, PortPlan, Problem, ReloadRequest, Requester,
    RollingReport,
};
use steadfast_runtime::ActivateOptions;
use steadfast_shell::reload::Reach;
use steadfast_shell::rolling::Input;

/// One that is under way.
struct Run<'a> {
    app: &'a Arc<App>,
    opts: ActivateOptions,
    several: Several,
}

impl App {
    /// Initialises every port that runs a port's module anew with what is saved for it: all of them, or none.
    pub(crate) fn reload(
        self: &Arc<App>,
        name: &str,
        request: &ReloadRequest,
        who: String,
    ) -> Result<RollingReport, Problem> {
        let _alone = self.alone()?;
        let port = self.port_named(name)?;
        let module = port.module.ok_or_else(|| unserved(&port.name))?;
        let users = self.engine.ports_of(&module.hash);
        let meant = self.ports().into_iter().map(|port| port.name).filter(|name| users.contains(name));
        let name = format!("reload-{}", self.receipts.last_id() + 1);
        let by = Requester { cause: Cause::Operator, who };
        let source = format!("activate --reload ({name})");
        let mut opts = options(request.idle_only, 0, request.drain_timeout_ms, by, &source);
        (opts.force, opts.reach) = (request.force, Reach::Module);
        let mut run = Run { app: self, opts, several: Several::new(name, meant) };
        Ok(several::carry_out(&mut run, true))
    }

    /// Initialises several ports anew with what is saved for each, in turn. Of all of them everything is looked at that
    /// can be known before the first one is touched.
    pub(crate) fn activate_several(
        self: &Arc<App>,
        request: &ActivateSeveralRequest,
        who: String,
    ) -> Result<RollingReport, Problem> {
        let _alone = self.alone()?;
        bounded("drain_timeout_ms", request.drain_timeout_ms.unwrap_or(0))?;
        let meant = Meant { names: &request.ports, adapter: &request.adapter, all_of: &request.all_of };
        let meant = self.meant_ports(meant)?;
        let name = format!("rolling-{}", self.receipts.last_id() + 1);
        let by = Requester { cause: Cause::Operator, who };
        let source = format!("activate ({name})");
        let mut opts = options(request.idle_only, 0, request.drain_timeout_ms, by, &source);
        opts.force = request.force;
        (opts.accept_loss, opts.abandon) = (request.accept_loss, request.abandon);
        let mut run = Run { app: self, opts, several: Several::new(name, meant) };
        Ok(several::carry_out(&mut run, request.rolling))
    }
}

impl Run<'_> {
    /// What the plan would do to clients, where that takes force.
    fn under_clients(&self, plan: &PortPlan) -> Option<String> {
        if self.opts.force {
            return None;
        }
        if let Some(exchange) = self.app.planned_exchange(plan).filter(|exchange| exchange.clients > 0) {
            return Some(exchange.why());
        }
        let down =
            |change: &PlannedChange| change.name == "admin_state" && change.saved.as_deref() == Some("down");
        let used = plan.changes.iter().any(down).then(|| self.app.engine.used(&plan.port)).flatten();
        used.map(|used| format!("{used}, whose requests would fail"))
    }
}

impl InTurn for Run<'_> {
    fn several(&mut self) -> &mut Several {
        &mut self.several
    }

    /// What can be known before the first one is touched: its set will do, and nobody is at it.
    fn check(&mut self, at: usize) -> Input {
        let port = self.several.ports[at].port.clone();
        let busy = self.app.engine.under_way(&port).map(|what| format!("{what} is under way"));
        let busy = busy.or_else(|| self.app.edits.confirms.free(&port).err().map(|e| e.message));
        let (outcome, why) = match busy {
            Some(why) => (Outcome::Busy, why),
            None => match self.app.plan(&port) {
                Ok(plan) => match self.under_clients(&plan) {
                    Some(why) => (Outcome::Busy, why),
                    None => return Input::Ok,
                },
                Err(problem) => (Outcome::Refused, problem.message),
            },
        };
        let mut receipt =
            self.app.engine.begin_receipt(&port, Kind::Activation, &self.opts.by, &self.opts.source);
        (receipt.outcome, receipt.reason) = (outcome, self.several.refuse(at, outcome, &why));
        self.app.keep_properties(receipt.clone());
        self.several.ports[at].receipt = Some(receipt);
        Input::Failed
    }

    fn change(&mut self, at: usize) -> Input {
        let port = self.several.ports[at].port.clone();
        if self.app.probations.are_stopping() {
            self.several.reason = format!("{port}: the daemon stops");
            return Input::Failed;
        }
        let receipt = self.app.carry_out_activation(&port, &self.opts, None);
        let input = several::input(&receipt);
        if input != Input::Ok {
            self.several.reason = format!("{port}: {}", receipt.reason);
        }
        self.several.ports[at].receipt = Some(receipt);
        input
    }

    /// Puts back what was in force for a port before, unless somebody has changed it since. What is saved
    /// stays, and is pending again.
    fn take_back(&mut self, at: usize) -> Input {
        let Some(receipt) = self.several.ports[at].receipt.clone() else { return Input::Failed };
        let port = receipt.port.clone();
        if self.app.engine.port(&port).is_none_or(|port| port.generation != receipt.generation_after) {
            self.several.reason.push_str(&format!("; {port} is left alone: somebody has changed it since"));
            return Input::Failed;
        }
        let before = receipt.properties.map(|report| report.before).unwrap_or_default();
        let by = Requester { cause: Cause::Rollback, who: self.opts.by.who.clone() };
        let opts = ActivateOptions { by, goes_back: true, ..self.opts.clone() };
        let mut back = self.app.engine.activate(&port, || Ok(before), &opts);
        back.by_itself = true;
        self.app.keep_properties(back.clone());
        self.several.taken_back(at, back)
    }
}

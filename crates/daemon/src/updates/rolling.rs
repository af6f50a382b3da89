//! Updates of several ports, one after the other.

use crate::app::App;
use crate::config::module_path::load_problem;
use crate::updates::several::{self, InTurn, Several};
use crate::updates::{Work, probation, trial};
use std::sync::Arc;
use std::time::Duration;
use steadfast_api::{
    Outcome, ProbationOutcome, Problem, ProblemKind, Receipt, Release, RollingReport, RollingRequest,
};
use steadfast_loader::StagedModule;
use steadfast_runtime::UpdateOptions;
use steadfast_shell::check;
use steadfast_shell::probation::Terms;
use steadfast_shell::receipt::{Cause, Requester};
use steadfast_shell::rolling::Input;

/// How often a probation is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// An update of several ports that is under way.
struct Run<'a> {
    app: &'a Arc<App>,
    request: &'a RollingRequest,
    who: String,
    staged: StagedModule,
    terms: Option<Terms>,
    several: Several,
}

/// Which ports are meant: one of the three is given.
#[derive(Clone, Copy)]
pub(crate) struct Meant<'a> {
    /// Ports or devices, in this order.
    pub(crate) names: &'a [String],
    /// Every port of this adapter, by number.
    pub(crate) adapter: &'a Option<String>,
    /// Every port that runs this driver.
    pub(crate) all_of: &'a Option<String>,
}

impl App {
    /// Updates several ports. The answer says what was done to each.
    pub(crate) fn update_several(
        self: &Arc<App>,
        request: &RollingRequest,
        who: String,
    ) -> Result<RollingReport, Problem> {
        trial::sound(&request.update)?;
        if request.update.save {
            let what = "save: it is about the configuration of one device; update each by itself for that";
            return Err(Problem::new(ProblemKind::BadRequest, what));
        }
        let _alone = self.alone()?;
        let meant = Meant { names: &request.devices, adapter: &request.adapter, all_of: &request.all_of };
        let ports = self.meant_ports(meant)?;
        let terms = request.update.probation.as_ref().map(probation::terms).transpose()?;
        // Once for all of them: every port gets the same bytes, whatever becomes of the file.
        let path = self.locate(&request.update.module)?;
        let staged = self.store.stage(&path).map_err(|e| load_problem(&e))?;
        if request.update.hash.as_ref().is_some_and(|hash| *hash != staged.hash) {
            let text = format!("{}: its contents differ from those that were asked for", path.display());
            return Err(Problem::new(ProblemKind::BadModule, text));
        }
        let several = Several::new(format!("rolling-{}", self.receipts.last_id() + 1), ports);
        let mut run = Run { app: self, request, who, staged, terms, several };
        Ok(several::carry_out(&mut run, request.rolling))
    }

    /// The ports that are meant, each once.
    pub(crate) fn meant_ports(&self, meant: Meant) -> Result<Vec<String>, Problem> {
        let malformed = |what: String| Problem::new(ProblemKind::BadRequest, what);
        let given = [!meant.names.is_empty(), meant.adapter.is_some(), meant.all_of.is_some()];
        if given.iter().filter(|given| **given).count() != 1 {
            return Err(malformed("give either ports, an adapter, or a driver that ports run".into()));
        }
        if let Some(adapter) = meant.adapter {
            return Ok(self.adapter(adapter)?.ports.into_iter().map(|port| port.name).collect());
        }
        if let Some(driver) = meant.all_of {
            let runs = |port: &steadfast_api::Port| port.driver.as_ref().is_some_and(|r| r.driver == *driver);
            let ports: Vec<String> = self.ports().into_iter().filter(runs).map(|port| port.name).collect();
            if ports.is_empty() {
                return Err(Problem::new(ProblemKind::NotFound, format!("no port runs driver `{driver}`"))
                    .hint("`steadfast port list` shows what each runs"));
            }
            return Ok(ports);
        }
        let mut ports: Vec<String> = Vec::new();
        for name in meant.names {
            let port = match self.engine.port(name) {
                Some(port) => port.name,
                None => self.device_info(name)?.port,
            };
            if ports.contains(&port) {
                return Err(malformed(format!("port {port} is named twice")));
            }
            ports.push(port);
        }
        Ok(ports)
    }
}

impl Run<'_> {
    fn options(&self) -> UpdateOptions {
        let update = &self.request.update;
        let source = format!("{} ({})", update.module, self.several.name);
        let by = Requester { cause: Cause::Operator, who: self.who.clone() };
        crate::updates::options(update, by, source)
    }

    /// How an update went, once its probation is over.
    fn judge(&self, receipt: Receipt) -> (Receipt, Input) {
        let input = several::input(&receipt);
        if input != Input::Ok {
            return (receipt, input);
        }
        while let Some(watch) = self.app.probations.of(&receipt.port).filter(|w| w.receipt == receipt.id) {
            watch.wait_over(LOOK);
        }
        let receipt = self.app.receipts.get(receipt.id).unwrap_or(receipt);
        let outcome = receipt.probation.as_ref().map(|p| p.outcome);
        let input = match outcome {
            None
            | Some(ProbationOutcome::Passed | ProbationOutcome::Unjudged | ProbationOutcome::Running) => {
                Input::Ok
            }
            Some(ProbationOutcome::Reverted) => Input::Failed,
            // It was not judged to the end, or could not go back by itself: it is not to stay.
            Some(
                ProbationOutcome::NotReverted
                | ProbationOutcome::Ended
                | ProbationOutcome::Stopped
                | ProbationOutcome::Killed,
            ) => {
                let runs = self.app.engine.port(&receipt.port).and_then(|port| port.driver);
                if runs.is_some_and(|r| r.hash == self.staged.hash) { Input::Abandon } else { Input::Failed }
            }
        };
        (receipt, input)
    }
}

impl InTurn for Run<'_> {
    fn several(&mut self) -> &mut Several {
        &mut self.several
    }

    /// Every check that can be made without touching anything.
    fn check(&mut self, at: usize) -> Input {
        let port = self.several.ports[at].port.clone();
        let options = self.options();
        let busy = self.app.engine.under_way(&port).map(|what| format!("{what} is under way"));
        let on_probation = || {
            let on = self.app.probations.of(&port).is_some() && !self.request.update.end_probation;
            on.then(|| "its driver is on probation".to_owned())
        };
        let exchanges = || {
            let exchange = self.app.engine.exchange(&port, &options.params)?;
            (exchange.clients > 0 && !options.force).then(|| exchange.why())
        };
        let (outcome, why) = match busy.or_else(on_probation).or_else(exchanges) {
            Some(why) => (Outcome::Busy, why),
            None => match self.app.engine.check(&port, &self.staged, &options) {
                Ok(found) if found.ok => return Input::Ok,
                Ok(found) if check::waits_for_clients(&found.rows) => {
                    (Outcome::Busy, check::refusals(&found.rows))
                }
                Ok(found) if !check::passed(&found.rows) => (Outcome::Refused, check::refusals(&found.rows)),
                Ok(_) => {
                    (Outcome::Refused, "it can not be updated in the mode that was asked for".to_owned())
                }
                Err(e) => (Outcome::Refused, e.to_string()),
            },
        };
        let reason = self.several.refuse(at, outcome, &why);
        self.several.ports[at].receipt = Some(self.app.turn_away(&port, outcome, reason, &options));
        Input::Failed
    }

    fn change(&mut self, at: usize) -> Input {
        let port = self.several.ports[at].port.clone();
        if self.app.probations.are_stopping() {
            self.several.reason = format!("{port}: the daemon stops");
            return Input::Failed;
        }
        let ends = format!("an update of several ports ({}) was asked for", self.several.name);
        let work = Work {
            options: self.options(),
            probation: self.terms,
            ends_probation: self.request.update.end_probation.then_some(ends),
            by_itself: false,
            save: None,
        };
        let receipt = self.app.update_stored(&port, &self.staged.hash, work);
        let (receipt, input) = self.judge(receipt);
        if input != Input::Ok {
            let why = if receipt.reason.is_empty() {
                receipt.probation.as_ref().map_or("", |p| p.reason.as_str())
            } else {
                receipt.reason.as_str()
            };
            self.several.reason = format!("{port}: {why}");
        }
        // Where its probation took it back that is done, and has its receipt.
        let back = receipt.probation.as_ref().and_then(|report| report.revert_receipt);
        self.several.ports[at].back = back.and_then(|id| self.app.receipts.get(id));
        self.several.ports[at].receipt = Some(receipt);
        input
    }

    /// Puts back what a port ran before, unless somebody has changed it since.
    fn take_back(&mut self, at: usize) -> Input {
        let Some(receipt) = self.several.ports[at].receipt.clone() else { return Input::Failed };
        let port = receipt.port.clone();
        let running = self.app.engine.port(&port).and_then(|port| port.driver);
        if running.as_ref().is_none_or(|running| running.hash != self.staged.hash) {
            let now = running.map_or("nothing".to_owned(), |r| release(&r));
            self.several
                .reason
                .push_str(&format!("; {port} is left alone: somebody has put {now} there since"));
            return Input::Failed;
        }
        let by = Requester { cause: Cause::Revert, who: self.who.clone() };
        let undo = receipt.params_before.clone().into_iter().collect();
        let deadline = self.options().deadline;
        let back = self.app.go_back(&port, &receipt.from, undo, by, deadline, &self.several.name);
        self.several.taken_back(at, back)
    }
}

fn release(release: &Release) -> String {
    format!("{} {}", release.driver, release.version)
}

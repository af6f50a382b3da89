//! Activations, and the way back to what was.

use super::confirm::Open;
use crate::app::App;
use crate::params::confirm_notes::{Note, temporary};
use crate::params::save::restore;
use crate::params::view::{View, file_problem};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use steadfast_api::{
    ActivateRequest, Activating, Cause, Delayed, Kind, Outcome, PortPlan, Problem, ProblemKind, Receipt,
    Requester, RollbackRequest,
};
use steadfast_history::Filter;
use steadfast_runtime::ActivateOptions;
use steadfast_settings::DriverFile;
use steadfast_shell::activation::{Step, StepTime};
use steadfast_shell::params::ShellParams;
use steadfast_shell::properties::Definitions;
use steadfast_shell::sync::lock;

/// Longest delay, and longest time to confirm: a day.
const MOST_MS: u64 = 24 * 3600 * 1000;
/// Time beside delay and drain that an activation may take, for programs, which are told how long to wait at most: for
/// who is inside to leave, for a driver that does not return from a call, and for the one before to come back.
const BESIDE_MS: u64 = 20_000;
/// What one takes beside its delay, for people, where none has been carried out yet.
const USUAL_MS: u64 = 100;
/// Receipts that are looked through for those of a port's properties.
const LOOK_BACK: usize = 1000;

impl App {
    /// Initialises a port anew with what is saved.
    pub(crate) fn activate(
        self: &Arc<App>,
        name: &str,
        request: &ActivateRequest,
        who: String,
    ) -> Result<Activating, Problem> {
        let port = self.port_named(name)?.name;
        for (what, ms) in [
            ("delay_ms", request.delay_ms),
            ("drain_timeout_ms", request.drain_timeout_ms.unwrap_or(0)),
            ("confirm_within_ms", request.confirm_within_ms.unwrap_or(0)),
        ] {
            bounded(what, ms)?;
        }
        if let Some(fingerprint) = &request.fingerprint
            && self.plan(&port)?.fingerprint != *fingerprint
        {
            let what = format!("port {port}: the plan is stale: what it was made from has changed since");
            return Err(Problem::new(ProblemKind::Stale, what));
        }
        let confirm = request.confirm_within_ms;
        self.edits.confirms.free(&port)?;
        let by = Requester { cause: Cause::Operator, who };
        let mut opts = options(request.idle_only, request.delay_ms, request.drain_timeout_ms, by, "activate");
        opts.force = request.force;
        (opts.accept_loss, opts.abandon) = (request.accept_loss, request.abandon);
        if request.delay_ms > 0 {
            let due_unix_ms = now_unix_ms().saturating_add(request.delay_ms);
            let shown = Delayed { due_unix_ms, who: opts.by.who.clone() };
            opts.call_off = Some(self.edits.delayed.begin(&port, shown)?);
        }
        if confirm.is_some()
            && let Err(busy) = self.edits.confirms.begin(&port)
        {
            self.no_more_delayed(&port, &opts);
            return Err(busy);
        }
        if request.delay_ms == 0 || request.wait {
            let receipt = self.carry_out_activation(&port, &opts, confirm);
            self.no_more_delayed(&port, &opts);
            return Ok(Activating {
                port,
                wait_ms: 0,
                estimate_ms: None,
                receipt: Some(receipt),
                would: None,
            });
        }
        let drain_ms = request.drain_timeout_ms.unwrap_or_else(|| self.drain_timeout_ms(&port));
        let wait_ms = request.delay_ms + drain_ms + BESIDE_MS;
        let estimate_ms = Some(request.delay_ms + self.usual_ms(&port));
        let (app, of, of_opts) = (Arc::clone(self), port.clone(), opts.clone());
        let thread = std::thread::Builder::new().name("activation".into());
        let body = move || {
            app.carry_out_activation(&of, &of_opts, confirm);
            app.no_more_delayed(&of, &of_opts);
        };
        thread.spawn(body).map_err(|e| {
            if confirm.is_some() {
                self.edits.confirms.give_up(&port);
            }
            self.no_more_delayed(&port, &opts);
            Problem::new(ProblemKind::Internal, format!("thread: {e}"))
        })?;
        Ok(Activating { port, wait_ms, estimate_ms, receipt: None, would: None })
    }

    fn no_more_delayed(&self, port: &str, opts: &ActivateOptions) {
        if opts.call_off.is_some() {
            self.edits.delayed.end(port);
        }
    }

    /// What the last activation of the port took beside its delay.
    fn usual_ms(&self, port: &str) -> u64 {
        let last = self.receipts.list(&Filter {
            port: Some(port.to_owned()),
            outcome: Some(Outcome::Done),
            kinds: vec![Kind::Activation],
            limit: Some(1),
            ..Filter::default()
        });
        let steps = last.last().and_then(|receipt| receipt.properties.as_ref()).map(|report| &report.steps);
        let beside = |steps: &Vec<StepTime>| -> u64 {
            steps.iter().filter(|step| step.step != Step::Delay).map(|step| step.ns).sum()
        };
        steps.map_or(USUAL_MS, |steps| beside(steps).div_ceil(1_000_000).max(1))
    }

    /// How long the port waits for requests in flight where nothing else is asked for.
    fn drain_timeout_ms(&self, port: &str) -> u64 {
        let (_, values) = self.engine.parameters(port).unwrap_or_default();
        u64::from(ShellParams::from_values(&values, self.topology.settings.defaults).drain_timeout_s) * 1000
    }

    pub(super) fn carry_out_activation(
        self: &Arc<App>,
        port: &str,
        opts: &ActivateOptions,
        confirm_ms: Option<u64>,
    ) -> Receipt {
        let mut noted = false;
        let parse = || {
            let saved = self.saved_and_good(port)?;
            if confirm_ms.is_some() {
                let before = self.port_named(port).map_err(|e| e.message)?.properties;
                let note = Note { before, after: saved.clone() };
                self.edits.confirms.notes.write(port, &note)?;
                noted = true;
            }
            Ok(saved)
        };
        let mut receipt = self.engine.activate(port, parse, opts);
        let confirm = confirm_ms.filter(|_| receipt.outcome == Outcome::Done);
        if let (Some(ms), Some(report)) = (confirm, &mut receipt.properties) {
            report.confirm_until_unix_ms = Some(now_unix_ms().saturating_add(ms));
        }
        self.keep_properties(receipt.clone());
        self.edits.delayed.note(port, &receipt, opts.call_off.as_deref());
        if let (Some(ms), Some(report)) = (confirm, &receipt.properties) {
            let note = Note { before: report.before.clone(), after: report.after.clone() };
            let until = report.confirm_until_unix_ms.unwrap_or_default();
            let open = Open::new(receipt.id, note, Duration::from_millis(ms), until);
            self.edits.confirms.open(self, port, open);
        } else if confirm_ms.is_some() {
            if noted {
                self.edits.confirms.notes.remove(port);
            }
            self.edits.confirms.give_up(port);
        }
        receipt
    }

    /// What is saved, if it will do.
    pub(super) fn saved_and_good(&self, port: &str) -> Result<Definitions, String> {
        let view = self.view(port).map_err(|e| e.message)?;
        let definitions = view.saved.clone();
        view.judge(&definitions).map_err(|e| e.message)?;
        Ok(definitions)
    }

    /// Goes back to what was in force before the last activation, or after a receipt.
    pub(crate) fn rollback(
        self: &Arc<App>,
        name: &str,
        request: &RollbackRequest,
        who: String,
    ) -> Result<Activating, Problem> {
        let port = self.port_named(name)?.name;
        if request.dry_run {
            let plan = self.rollback_plan(&port, request)?;
            return Ok(Activating { port, wait_ms: 0, estimate_ms: None, receipt: None, would: Some(plan) });
        }
        let receipt = match self.roll_back_unconfirmed(&port, request, &who) {
            Some(back) => back?,
            None => {
                self.edits.confirms.free(&port)?;
                let (target, temporary, source) = self.target(&port, request.to)?;
                let by = Requester { cause: Cause::Rollback, who };
                let mut opts = options(request.idle_only, 0, request.drain_timeout_ms, by, &source);
                (opts.force, opts.goes_back) = (request.force, true);
                let receipt = self.go_back_to(&port, |_| target, &temporary, &opts)?;
                self.keep_properties(receipt.clone());
                receipt
            }
        };
        Ok(Activating { port, wait_ms: 0, estimate_ms: None, receipt: Some(receipt), would: None })
    }

    /// What going back would change.
    fn rollback_plan(&self, port: &str, request: &RollbackRequest) -> Result<PortPlan, Problem> {
        let view = self.view(port)?;
        let open = request.to.is_none().then(|| self.edits.confirms.note(port)).flatten();
        let target = match open {
            Some(note) => note.undone(&view.saved),
            None => self.target(port, request.to)?.0,
        };
        self.plan_of(&view, &target)
    }

    /// Where going back leads: the set, what of it was in force and never saved, and what is said of it.
    fn target(&self, port: &str, to: Option<u64>) -> Result<(Definitions, Definitions, String), Problem> {
        let nothing = |what: String| Problem::new(ProblemKind::Refused, format!("port {port}: {what}"));
        let came = self.came(port);
        match to {
            Some(id) => {
                let receipt = self.receipts.get(id).filter(|r| r.port == port);
                let receipt = receipt.ok_or_else(|| nothing(format!("there is no receipt {id} of it")))?;
                if id < came {
                    let what =
                        format!("receipt {id} is of another port of that name, which went before this came");
                    return Err(nothing(what));
                }
                let done = receipt.properties.filter(|_| receipt.outcome == Outcome::Done);
                let report =
                    done.ok_or_else(|| nothing(format!("receipt {id} put no parameters in force")))?;
                Ok((report.after, Definitions::new(), format!("rollback to receipt {id}")))
            }
            None => {
                let history = self.history_of(port, LOOK_BACK);
                // One that changed nothing is nothing to go back from.
                let changed = |r: &Receipt| r.properties.as_ref().is_some_and(|p| !p.changes.is_empty());
                let done = |r: &&Receipt| {
                    r.kind == Kind::Activation && r.outcome == Outcome::Done && r.id > came && changed(r)
                };
                let last = history.iter().rev().find(done);
                let last = last.ok_or_else(|| nothing("nothing was activated yet".to_owned()))?;
                if last.went_back_by_itself() {
                    return Err(self.gone_back_already(port, last, &history));
                }
                let report = last.properties.clone().unwrap_or_default();
                let temporary = temporary(&report.before, &report.after);
                Ok((report.before, temporary, format!("rollback of receipt {}", last.id)))
            }
        }
    }

    /// What went back by itself is not gone forward to by a way back.
    fn gone_back_already(&self, port: &str, back: &Receipt, history: &[Receipt]) -> Problem {
        let rejected = |r: &&Receipt| {
            let report = r.properties.as_ref();
            r.id < back.id
                && r.outcome == Outcome::Done
                && report.zip(back.properties.as_ref()).is_some_and(|(up, back)| {
                    up.confirmed == Some(false) || (!up.changes.is_empty() && up.after == back.before)
                })
        };
        let what = format!(
            "port {port}: it has gone back by itself already (receipt {}: {}); once more would be forward, to the \
             values that it went back from",
            back.id, back.source
        );
        let problem = Problem::new(ProblemKind::Refused, what);
        match history.iter().rev().find(rejected) {
            Some(up) => problem.hint(format!(
                "`steadfast rollback {port} --to {}` puts them in force again if that is meant; --dry-run says \
                 first what would change",
                up.id
            )),
            None => problem.hint(format!("`steadfast history {port}` says what was in force when")),
        }
    }

    /// The receipt with which the port came, or one of its name went; 0 where it has been there ever since
    /// there are receipts. What is older is about another port.
    pub(crate) fn came(&self, port: &str) -> u64 {
        let kinds = vec![Kind::Attach, Kind::Detach];
        let filter = Filter {
            port: Some(port.to_owned()),
            outcome: Some(Outcome::Done),
            kinds,
            limit: Some(1),
            ..Filter::default()
        };
        self.receipts.list(&filter).last().map_or(0, |receipt| receipt.id)
    }

    /// Saves a set for a port and activates it. When that fails, what is saved is as it was. What is `temporary` of it
    /// comes in force, and what is saved beside it stays.
    pub(super) fn go_back_to(
        &self,
        port: &str,
        target: impl FnOnce(&View) -> Definitions,
        temporary: &Definitions,
        opts: &ActivateOptions,
    ) -> Result<Receipt, Problem> {
        let (before, saved) = {
            let _editing = lock(&self.edits.editing);
            let view = self.view(port)?;
            let mut target = target(&view);
            for name in temporary.keys() {
                match view.saved.get(name) {
                    Some(saved) => drop(target.insert(name.clone(), saved.clone())),
                    None => drop(target.remove(name)),
                }
            }
            let mut file = view.file.clone();
            view.save_as(&mut file, &target)?;
            view.judge(&view.saved_by(&file)?)?;
            file.save().map_err(|e| file_problem(&e))?;
            (view, file)
        };
        // Requests in flight may take long, and nobody else who saves something has to wait for them.
        let set = || {
            let mut set = self.saved_and_good(port)?;
            set.extend(temporary.clone());
            Ok(set)
        };
        let mut receipt = self.engine.activate(port, set, opts);
        if receipt.outcome != Outcome::Done
            && let Err(e) = self.put_back(port, &before, &saved)
        {
            let path = saved.path().display();
            receipt.reason.push_str(&format!("; and {path} does not say again what it said: {e}"));
        }
        Ok(receipt)
    }

    /// What is saved for a port is again what it was before `saved`.
    fn put_back(&self, port: &str, before: &View, saved: &DriverFile) -> Result<(), Problem> {
        let _editing = lock(&self.edits.editing);
        if restore(saved, &before.file).is_ok() {
            return Ok(());
        }
        // Somebody has changed the file since: of this port it says again what it said.
        let mut file = self.view(port)?.file;
        before.save_as(&mut file, &before.saved)?;
        file.save().map(drop).map_err(|e| file_problem(&e))
    }

    /// What was done about the parameters of a port, the newest last.
    fn history_of(&self, port: &str, limit: usize) -> Vec<Receipt> {
        self.receipts_of(port, vec![Kind::Activation, Kind::Live], limit)
    }

    /// The same, for whoever asks by the name of a port or device. One that has gone has a history too, which ends with
    /// that.
    ///
    /// # Errors
    /// There is no such port, and no receipt of one.
    pub(crate) fn history_of_one(&self, name: &str, limit: usize) -> Result<Vec<Receipt>, Problem> {
        let gone = match self.port_named(name) {
            Ok(port) => return Ok(self.history_of(&port.name, limit)),
            Err(gone) => gone,
        };
        let known =
            self.receipts_of(name, vec![Kind::Activation, Kind::Live, Kind::Attach, Kind::Detach], limit);
        if known.is_empty() { Err(gone) } else { Ok(known) }
    }

    fn receipts_of(&self, port: &str, kinds: Vec<Kind>, limit: usize) -> Vec<Receipt> {
        let (port, limit) = (Some(port.to_owned()), Some(limit));
        self.receipts.list(&Filter { port, kinds, limit, ..Filter::default() })
    }

    /// Keeps the receipt of a change of properties.
    pub(super) fn keep_properties(&self, receipt: Receipt) {
        let (port, by, reason) = (&receipt.port, &receipt.by.who, &receipt.reason);
        let changes: Vec<String> = receipt
            .properties
            .iter()
            .flat_map(|r| &r.changes)
            .map(|c| {
                let or = |v: &Option<String>| v.clone().unwrap_or_else(|| "undefined".to_owned());
                format!("{} {} -> {}", c.name, or(&c.before), or(&c.after))
            })
            .collect();
        let changes = changes.join(", ");
        if receipt.kind == Kind::Activation {
            self.note_put_away(port, receipt.started_unix_ms);
        }
        if receipt.outcome == Outcome::Done
            && let Some(serving) = self.serving()
        {
            if receipt.kind == Kind::Activation {
                serving.change(port, |served| served.activated());
            }
            self.note_in_force(port);
            match receipt.kind {
                Kind::Activation => serving.save(),
                _ => serving.save_soon(),
            }
        }
        let (what, outcome) = (receipt.kind.name(), receipt.outcome);
        tracing::info!(port, by, changes, ?outcome, reason, "{what} {}", receipt.id);
        self.receipts.add(receipt);
    }
}

/// A time that was asked for is within a day.
pub(super) fn bounded(what: &str, ms: u64) -> Result<(), Problem> {
    if ms <= MOST_MS {
        return Ok(());
    }
    let message = format!("{what}: {ms} is out of range (allowed 0 to {MOST_MS})");
    Err(Problem::new(ProblemKind::BadRequest, message))
}

pub(super) fn options(
    idle_only: bool,
    delay_ms: u64,
    drain_timeout_ms: Option<u64>,
    by: Requester,
    source: &str,
) -> ActivateOptions {
    let mut opts = ActivateOptions {
        idle_only,
        delay: Duration::from_millis(delay_ms),
        by,
        source: source.to_owned(),
        ..ActivateOptions::default()
    };
    if let Some(ms) = drain_timeout_ms {
        opts.drain_timeout = Some(Duration::from_millis(ms));
    }
    opts
}

fn now_unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_millis() as u64
}

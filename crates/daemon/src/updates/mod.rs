//! Updates, whoever asks for them: a person, a probation, a watched folder.

pub(crate) mod probation;
pub(crate) mod rolling;
pub(crate) mod several;
pub(crate) mod trial;
pub(crate) mod watched_folder;

use crate::app::App;
use crate::config::module_path::load_problem;
use crate::serving::Keep;
use crate::updates::probation::{Begin, Probations, Watch};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use steadfast_api::{
    CheckReport, IfBusy, Outcome, ProbationOutcome, ProbationReport, Problem, ProblemKind, Receipt, Release,
    RevertRequest, UpdateRequest,
};
use steadfast_history::Filter;
use steadfast_loader::{LoadedModule, StagedModule};
use steadfast_runtime::{Begins, UpdateOptions};
use steadfast_shell::params::is_shells;
use steadfast_shell::probation::{Probation, Sample, Terms};
use steadfast_shell::receipt::{Cause, Kind, Requester};
use steadfast_shell::{auto, update};

/// Receipts that are looked through for the module that ran before.
const LOOK_BACK: usize = 1000;

/// Parameters as they were; none of a name where it was undefined.
type Undo = Vec<(String, Option<String>)>;

/// An update, apart from its module.
pub(crate) struct Work {
    pub(crate) options: UpdateOptions,
    /// Watch the driver afterwards.
    pub(crate) probation: Option<Terms>,
    /// What a probation that runs is ended with; without, it is in the way.
    pub(crate) ends_probation: Option<String>,
    /// It is a way back that nobody asked for.
    pub(crate) by_itself: bool,
    /// The configuration is to name the new driver: as it was asked for.
    pub(crate) save: Option<Keep>,
}

/// Where the module comes from.
enum Module<'a> {
    File(PathBuf),
    /// A module of the store, by its hash.
    Stored(&'a str),
    /// A module that is read, and in memory perhaps.
    Staged(Box<StagedModule>),
}

impl App {
    pub(crate) fn update(
        self: &Arc<App>,
        name: &str,
        request: &UpdateRequest,
        who: String,
        unwanted: Arc<AtomicBool>,
    ) -> Result<Receipt, Problem> {
        let device = self.device_info(name)?;
        let cause = if request.watch { Cause::Watch } else { Cause::Operator };
        let options = options(request, Requester { cause, who }, request.module.clone());
        let options = UpdateOptions { unwanted, ..options };
        let asked = || -> Result<_, Problem> {
            trial::sound(request)?;
            let path = self.locate(&request.module)?;
            let probation = request.probation.as_ref().map(probation::terms).transpose()?;
            let module = match &request.hash {
                None => Module::File(path),
                Some(hash) => self.meant(path, hash)?,
            };
            Ok((module, probation))
        };
        let (module, probation) =
            asked().inspect_err(|problem| self.remember(&device.port, problem, &options))?;
        let ends = || format!("an update to {} was asked for", request.module);
        let ends_probation = request.end_probation.then(ends);
        if request.save
            && let Err(why) = self.can_save(&device.port)
        {
            let problem = Problem::new(ProblemKind::Refused, format!("--save: {why}"));
            self.remember(&device.port, &problem, &options);
            return Err(problem);
        }
        let save = request.save.then(|| Keep {
            asked: request.module.clone(),
            params: options.params.clone(),
            who: options.by.who.clone(),
        });
        let work = Work { options, probation, ends_probation, by_itself: false, save };
        let receipt = self.carry_out(&device.port, &module, work);
        if request.watch {
            // Builds come one upon the other, and do not pile up.
            self.keep_what_is_needed();
        }
        Ok(receipt)
    }

    /// The module in a file, if it is the one that was meant and nobody has written to it since.
    fn meant(&self, path: PathBuf, hash: &str) -> Result<Module<'static>, Problem> {
        let staged = self.store.stage(&path).map_err(|e| load_problem(&e))?;
        if staged.hash == hash {
            // What policy keeps out of the store is refused, with the reason, as any other file is.
            let stored = self.store.get(hash).ok();
            return Ok(stored.map_or(Module::File(path), |staged| Module::Staged(Box::new(staged))));
        }
        let text = format!("{}: its contents differ from those that were asked for", path.display());
        Err(Problem::new(ProblemKind::BadModule, text))
    }

    /// Goes back to the module that ran before the one that runs now.
    pub(crate) fn revert(
        self: &Arc<App>,
        name: &str,
        request: &RevertRequest,
        who: String,
    ) -> Result<Receipt, Problem> {
        let port = self.device_info(name)?.port;
        let mut options = UpdateOptions {
            mode: request.mode,
            deadline: request.deadline_ms.map(Duration::from_millis),
            if_busy: if_busy(request.if_busy),
            by: Requester { cause: Cause::Revert, who },
            ..UpdateOptions::default()
        };
        let probation = request.probation.as_ref().map(probation::terms).transpose();
        let probation = probation.inspect_err(|problem| self.remember(&port, problem, &options))?;
        let (before, undo) = match self.way_back(&port, request.to) {
            Ok(found) => found,
            Err(why) => {
                return Ok(self.turn_away(&port, Outcome::Refused, format!("port {port}: {why}"), &options));
            }
        };
        self.allow_back(&port, &before, undo, &mut options);
        let ends = Some("somebody went back".to_owned());
        let work = Work { options, probation, ends_probation: ends, by_itself: false, save: None };
        Ok(self.carry_out(&port, &Module::Stored(&before.hash), work))
    }

    /// What going back would do: every check, and nothing is touched.
    pub(crate) fn try_revert(&self, name: &str, request: &RevertRequest) -> Result<CheckReport, Problem> {
        let port = self.device_info(name)?.port;
        let refused = |why: String| Problem::new(ProblemKind::Refused, format!("port {port}: {why}"));
        let (before, undo) = self.way_back(&port, request.to).map_err(refused)?;
        let mut options = UpdateOptions { mode: request.mode, ..UpdateOptions::default() };
        self.allow_back(&port, &before, undo, &mut options);
        let staged = self.stored_module(&before.hash).map_err(|e| load_problem(&e))?;
        self.checked(&port, &staged, &options)
    }

    /// Where going back leads, with what undoes the parameters that came with what runs now.
    pub(crate) fn way_back(&self, port: &str, to: Option<u64>) -> Result<(Release, Undo), String> {
        // A name may have had another life: what ran there is nothing to go back to.
        let came = self.came(port);
        if let Some(id) = to {
            let receipt = self.receipts.get(id).filter(|r| r.port == port);
            let receipt = receipt.ok_or_else(|| format!("there is no receipt {id} of it"))?;
            if id < came {
                return Err(format!(
                    "receipt {id} is of another port of that name, which went before this came"
                ));
            }
            let brought =
                receipt.to.filter(|_| receipt.outcome == Outcome::Done && receipt.kind == Kind::Update);
            let release = brought.ok_or_else(|| format!("receipt {id} brought no driver"))?;
            return Ok((release, Undo::new()));
        }
        // Of those alone, so that no number of attempts that came to nothing hides what ran.
        let (mut receipts, all) = self.receipts.known(&Filter {
            port: Some(port.to_owned()),
            outcome: Some(Outcome::Done),
            // What was done about its parameters says nothing of its drivers.
            kinds: vec![Kind::Update],
            limit: Some(LOOK_BACK),
            ..Filter::default()
        });
        let running = self.engine.glance(port).and_then(|port| port.driver);
        let nothing = || Release { driver: String::new(), version: String::new(), hash: String::new() };
        let running = running.unwrap_or_else(nothing);
        receipts.retain(|receipt| receipt.id > came);
        let newest_first: Vec<&Receipt> = receipts.iter().rev().collect();
        let mut before = auto::back(&newest_first, &running, all)?.clone();
        let served = self.serving().and_then(|serving| serving.of(port));
        let put_away =
            |release: &Release| served.as_ref().is_some_and(|served| served.put_away.contains(&release.hash));
        if put_away(&before) && running.hash.is_empty() {
            // Nobody serves because it was put away: before it, another one did.
            before = auto::back(&newest_first, &before, all)?.clone();
        }
        if put_away(&before) {
            let Release { driver, version, hash } = &before;
            let brought = receipts.iter().rev().find(|r| r.to.as_ref().is_some_and(|to| to.hash == *hash));
            let meant = match brought {
                Some(receipt) => format!("`steadfast update --revert {port} --to {}`", receipt.id),
                None => "`steadfast update` with the module's name".to_owned(),
            };
            return Err(format!(
                "what ran before, {driver} {version}, was put away because it did not let go; {meant} goes there if that \
                 is meant"
            ));
        }
        Ok((before, undo(&receipts, &running.hash)))
    }

    /// The driver on probation is worse than the one before.
    pub(crate) fn go_back_from(self: &Arc<App>, watch: &Watch, report: &ProbationReport) -> Receipt {
        let by = Requester { cause: Cause::Probation, who: String::new() };
        // Going back may hold requests for as long as the update was to hold them, and no longer.
        let mut options = UpdateOptions { by, deadline: watch.deadline, ..UpdateOptions::default() };
        self.allow_back(&watch.port, &watch.before, watch.undo.clone(), &mut options);
        let report = ProbationReport { of_receipt: Some(watch.receipt), ..report.clone() };
        let mapped = watch.mapped();
        let staged = mapped.as_ref().and_then(|module| module.staged().cloned());
        options.mapped = mapped;
        let module = match staged {
            Some(staged) => Module::Staged(Box::new(staged)),
            None => Module::Stored(&watch.before.hash),
        };
        self.counted(&watch.port, &module, &options, |receipt| {
            (receipt.probation, receipt.by_itself) = (Some(report), true);
            self.note_served(receipt, &options, None);
        })
    }

    /// Puts a port's driver back to what ran before an update that is taken back with others.
    pub(crate) fn go_back(
        self: &Arc<App>,
        port: &str,
        to: &Release,
        undo: Undo,
        by: Requester,
        deadline: Option<Duration>,
        with: &str,
    ) -> Receipt {
        let mut options = UpdateOptions { by, deadline, ..UpdateOptions::default() };
        self.allow_back(port, to, undo, &mut options);
        options.source.push_str(&format!(" ({with}, back)"));
        let ends_probation = Some(format!("{with} goes back"));
        let work = Work { options, probation: None, ends_probation, by_itself: true, save: None };
        self.carry_out(port, &Module::Stored(&to.hash), work)
    }

    /// An update to a module of the store.
    pub(crate) fn update_stored(self: &Arc<App>, port: &str, hash: &str, work: Work) -> Receipt {
        self.carry_out(port, &Module::Stored(hash), work)
    }

    /// Going back is asked for, so what is older, of another name or has been here before is all right.
    /// Parameters become what they were; those that the older driver does not know, or whose values it does
    /// not take, are left out: it serves with its defaults for them, and the receipt says so.
    fn allow_back(&self, port: &str, to: &Release, undo: Undo, options: &mut UpdateOptions) {
        options.allow_older = true;
        options.allow_again = true;
        options.allow_skip = true;
        options.force = true;
        options.allow_other =
            self.engine.glance(port).and_then(|p| p.driver).is_some_and(|now| now.driver != to.driver);
        options.source = format!("{} {}", to.driver, to.version);
        options.params = undo.into_iter().collect();
        let (Ok(staged), Some(info)) = (self.stored_module(&to.hash), self.engine.glance(port)) else {
            return;
        };
        let known =
            |name: &String| is_shells(name) || staged.manifest.params.iter().any(|spec| spec.name == *name);
        for name in info.params.keys().filter(|name| !known(name)) {
            options.params.insert(name.clone(), None);
        }
        options.params.retain(|name, value| value.is_none() || known(name));
        let mut given = info.params.clone();
        for (name, value) in &options.params {
            match value {
                Some(value) => given.insert(name.clone(), value.clone()),
                None => given.remove(name),
            };
        }
        for name in self.engine.refused_params(&staged.manifest, &given) {
            options.params.insert(name, None);
        }
    }

    fn carry_out(self: &Arc<App>, port: &str, module: &Module<'_>, work: Work) -> Receipt {
        let Work { options, probation, ends_probation, by_itself, save } = work;
        if let Err(why) = self.probations.make_way(port, ends_probation.as_deref()) {
            return self.turn_away(port, Outcome::Busy, why, &options);
        }
        let begin = probation.and_then(|terms| {
            let now = self.sample(port)?;
            Some((terms, self.baselines.until(port, &now)))
        });
        let mut machine = None;
        // It stays mapped as long as a probation may put it back: that needs no room, no memory and no file.
        let mapped = begin.as_ref().and_then(|_| self.running_module(port));
        let receipt = self.counted(port, module, &options, |receipt| {
            receipt.by_itself = by_itself;
            machine = begin.filter(|_| receipt.outcome == Outcome::Done).and_then(|(terms, baseline)| {
                Some((terms, Probation::new(terms, baseline, self.sample(port)?)))
            });
            receipt.probation =
                machine.as_ref().map(|(_, machine)| machine.report(ProbationOutcome::Running, String::new()));
            self.note_served(receipt, &options, save.as_ref().filter(|_| machine.is_none()));
        });
        if let (Some((terms, machine)), Some(driver)) = (machine, receipt.to.clone()) {
            let watch = Watch::new(Begin {
                receipt: receipt.id,
                port: port.to_owned(),
                driver,
                before: receipt.from.clone(),
                undo: receipt.params_before.clone().into_iter().collect(),
                deadline: options.deadline,
                length_ns: terms.length_ns,
                interval_ns: terms.interval_ns(),
                report: receipt.probation.clone().unwrap_or_default(),
                mapped,
                save,
            });
            Probations::begin(self, Arc::new(watch), machine);
        }
        self.look_through_store();
        receipt
    }

    fn running_module(&self, port: &str) -> Option<Arc<LoadedModule>> {
        self.engine.running_module(&self.engine.glance(port)?.driver?.hash)
    }

    /// An update was done: who served last is another one, and what the next start does is said.
    fn note_served(&self, receipt: &mut Receipt, options: &UpdateOptions, save: Option<&Keep>) {
        if receipt.outcome != Outcome::Done {
            return;
        }
        if let Some(serving) = self.serving() {
            self.note_in_force(&receipt.port);
            serving.updated(receipt, &options.params, receipt.probation.as_ref().is_some_and(runs));
        }
        if let (Some(keep), Some(to)) = (save, &receipt.to) {
            receipt.notes.extend(self.keep_update(&receipt.port, keep, to));
        }
        receipt.notes.extend(self.next_module(&receipt.port));
    }

    /// Carries an update out and keeps its receipt, to which `finish` may add.
    fn counted(
        self: &Arc<App>,
        port: &str,
        module: &Module<'_>,
        options: &UpdateOptions,
        finish: impl FnOnce(&mut Receipt),
    ) -> Receipt {
        self.updates.fetch_add(1, Ordering::Relaxed);
        let given = self.engine.glance(port).map(|port| port.params).unwrap_or_default();
        let app = Arc::clone(self);
        let begins = Some(Begins(Arc::new(move |receipt| app.receipts.note(receipt))));
        let options = &UpdateOptions { begins, ..options.clone() };
        let mut receipt = match module {
            Module::File(path) => self.engine.update_file(port, &self.store, path, options),
            Module::Staged(staged) => self.engine.update(port, staged, options),
            Module::Stored(hash) => {
                let stored = || self.stored_module(hash).map_err(|e| e.to_string());
                self.engine.update_staged(port, stored, options)
            }
        };
        if receipt.outcome == Outcome::Done {
            let before = options.params.keys().map(|name| (name.clone(), given.get(name).cloned()));
            receipt.params_before = before.collect();
            if let Some(sample) = self.sample(port) {
                self.baselines.restart(port, sample);
            }
        }
        finish(&mut receipt);
        self.keep(&receipt);
        self.updates.fetch_sub(1, Ordering::Relaxed);
        receipt
    }

    /// The receipt of an update that does not even begin.
    pub(crate) fn turn_away(
        &self,
        port: &str,
        outcome: Outcome,
        why: String,
        options: &UpdateOptions,
    ) -> Receipt {
        let receipt = self.engine.turn_away(port, outcome, why, options);
        self.keep(&receipt);
        receipt
    }

    /// The receipt of an update that could not be asked for: it answers nobody, and is kept all the same.
    fn remember(&self, port: &str, problem: &Problem, options: &UpdateOptions) {
        self.turn_away(port, Outcome::Refused, problem.message.clone(), options);
    }

    /// Whoever was put away since then has not served well, also for the next start.
    pub(crate) fn note_put_away(&self, port: &str, since_unix_ms: u64) {
        let (Some(info), Some(serving)) = (self.engine.glance(port), self.serving()) else { return };
        let serves = info.driver.as_ref().map(|driver| &driver.hash);
        let gone = |left: &&steadfast_runtime::Abandoned| {
            left.since_unix_ms >= since_unix_ms && Some(&left.release.hash) != serves
        };
        for left in info.abandoned.iter().filter(gone) {
            serving.change(port, |served| served.put_away(&left.release.hash));
        }
        serving.save();
    }

    fn keep(&self, receipt: &Receipt) {
        self.note_put_away(&receipt.port, receipt.started_unix_ms);
        tracing::info!(
            port = receipt.port,
            cause = receipt.by.cause.name(),
            by = receipt.by.who,
            outcome = ?receipt.outcome,
            reason = receipt.reason,
            pause_us = receipt.pause_ns / 1000,
            "update {} to {}",
            receipt.id,
            receipt.source
        );
        self.receipts.add(receipt.clone());
    }

    /// A port's counters as they are now; `None` where there is no such port.
    pub(crate) fn sample(&self, port: &str) -> Option<Sample> {
        let metrics = self.engine.metrics(port)?;
        let faults = self.engine.glance(port)?.driver_faults;
        Some(Sample {
            at_ns: self.started.elapsed().as_nanos() as u64,
            requests: metrics.requests,
            errors: metrics.errors,
            faults,
            latency: metrics.latency,
            oldest_ns: metrics.oldest_ns,
            responsive: metrics.silent_queues == 0,
        })
    }
}

/// What a request asks for, as the engine takes it.
pub(crate) fn options(request: &UpdateRequest, by: Requester, source: String) -> UpdateOptions {
    UpdateOptions {
        mode: request.mode,
        deadline: request.deadline_ms.map(Duration::from_millis),
        if_busy: if_busy(request.if_busy),
        allow_older: request.allow_older,
        allow_other: request.allow_other,
        allow_skip: request.allow_skip,
        allow_again: request.allow_again,
        force: request.force,
        abandon: request.abandon,
        by,
        params: request.params.clone(),
        source,
        shadow: request.shadow.as_ref().map(trial::asked),
        ..UpdateOptions::default()
    }
}

/// What undoes the parameters that changed when the running module came.
fn undo(receipts: &[Receipt], running: &str) -> Undo {
    let came = |receipt: &&Receipt| {
        receipt.outcome == Outcome::Done
            && receipt.to.as_ref().is_some_and(|to| to.hash == running)
            && receipt.from.hash != running
    };
    let params = receipts.iter().rev().find(came).map(|receipt| receipt.params_before.clone());
    params.unwrap_or_default().into_iter().collect()
}

fn runs(report: &ProbationReport) -> bool {
    report.outcome == ProbationOutcome::Running
}

fn if_busy(asked: IfBusy) -> update::IfBusy {
    match asked {
        IfBusy::Wait => update::IfBusy::Wait,
        IfBusy::Fail => update::IfBusy::Fail,
    }
}

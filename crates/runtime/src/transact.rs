//! Attach, update and detach: what the control thread does of them.

use crate::LaneId;
use crate::arena::MOST;
use crate::core::now_ns;
use crate::engine::{Engine, PortSpec, Remote};
use crate::error::{EngineError, ErrorKind};
use crate::handle::lock;
use crate::info::CheckReport;
use crate::instance::Instance;
use crate::job::{Handling, Job, Verdict, unix_ms};
use crate::ops::TIMER_ROOM;
use crate::port::{PDU_STRIDE, PROMISES, Port};
use crate::rules::{HardwareId, PortRules};
use crate::shadow::Shadow;
use crate::turn::Turn;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::{Duration, Instant};
use steadfast_loader::{LoadedModule, ModuleStore, StagedModule};
use steadfast_shell::check::{self, CheckInput, CheckRow, Limits, PendingSide, Policy, PortSide, Side};
use steadfast_shell::manifest::Manifest;
use steadfast_shell::params::{self, Value};
use steadfast_shell::receipt::{Mode, Outcome, Receipt, Requester, Unload};
use steadfast_shell::update::{Action, IfBusy, Input, Plan, Update};

/// How long past its deadline a transaction may take before its port's queues are called stuck.
const STUCK: Duration = Duration::from_secs(5);
const STUCK_DRIVER: &str = "a driver does not return from a call; the port's requests stay held";
/// How long a queue that has taken part to the end may take to let go of the transaction.
const LET_GO: Duration = Duration::from_secs(2);

/// How an update is to be done.
#[derive(Clone, Debug)]
pub struct UpdateOptions {
    /// Adopt, split or drain; `None`: the first of these that both drivers can do.
    pub mode: Option<Mode>,
    /// Longest wait for requests in flight.
    pub deadline: Duration,
    /// Wait for requests that must be drained, or answer *busy*.
    pub if_busy: IfBusy,
    /// Allow a version older than the running one.
    pub allow_older: bool,
    /// Allow a driver of another name.
    pub allow_other: bool,
    /// Allow a second change of driver where policy allows one per start.
    pub allow_again: bool,
    /// Allow versions to be skipped that the candidate wants to come from.
    pub allow_skip: bool,
    /// Parameters that change together with the driver, and only if it comes to serve; `None` makes one
    /// undefined.
    pub params: BTreeMap<String, Option<String>>,
    /// Who asks, for the receipt.
    pub by: Requester,
    /// What was asked for, for the receipt.
    pub source: String,
    /// Try the candidate beside the driver that serves first; go on only when nothing speaks against it.
    pub shadow: Option<Shadow>,
}

impl Default for UpdateOptions {
    fn default() -> UpdateOptions {
        UpdateOptions {
            mode: None,
            deadline: Duration::from_secs(45),
            if_busy: IfBusy::Wait,
            allow_older: false,
            allow_other: false,
            allow_again: false,
            allow_skip: false,
            params: BTreeMap::new(),
            by: Requester::default(),
            source: String::new(),
            shadow: None,
        }
    }
}

impl Engine {
    /// Makes a port and connects its first driver.
    ///
    /// # Errors
    /// `Exists`, `Invalid` (name, parameters), `Driver` (it refused, with its reason).
    pub fn attach(&self, spec: PortSpec) -> Result<(), EngineError> {
        self.attach_under(spec, PortRules::default())
    }

    /// The same for a port that rules are given for.
    ///
    /// # Errors
    /// As [`attach`](Engine::attach).
    pub fn attach_under(&self, spec: PortSpec, rules: PortRules) -> Result<(), EngineError> {
        let name = spec.name.clone();
        if self.find(&name).is_some() {
            return Err(EngineError::new(ErrorKind::Exists, format!("port {name} exists already")));
        }
        let given = &spec.params;
        let params = resolve(spec.module.manifest(), given)
            .map_err(|e| EngineError::new(ErrorKind::Invalid, format!("port {name}: {e}")))?;
        let candidate = Side { manifest: spec.module.manifest(), hash: spec.module.hash() };
        let input = CheckInput {
            hardware: rules.hardware.as_ref().map(HardwareId::side),
            ..self.check_sides(None, candidate, given)
        };
        let rows = check::check(&input);
        if !check::passed(&rows) {
            let what = format!("port {name}: {}", check::refusals(&rows));
            return Err(EngineError::new(ErrorKind::Invalid, what));
        }
        let port = self.make_first(&spec, &params, &rules)?;
        let mut ports = self.inner.ports.write().unwrap_or_else(PoisonError::into_inner);
        if ports.contains_key(&name) {
            drop(ports);
            let _ = self.disconnect_last(&port, Duration::from_secs(1));
            return Err(EngineError::new(ErrorKind::Exists, format!("port {name} exists already")));
        }
        ports.insert(name, port);
        Ok(())
    }

    /// A port with its first driver. Where that wants to open a device that is not on all of the port's
    /// queues, it is made anew on queues that the device is on.
    fn make_first(
        &self,
        spec: &PortSpec,
        params: &BTreeMap<String, Value>,
        rules: &PortRules,
    ) -> Result<Arc<Port>, EngineError> {
        let mut within: Vec<usize> = (0..self.queues()).collect();
        loop {
            let port = self.make_port(spec, rules, &within)?;
            let Err(e) = self.connect_first(&port, spec.module.clone(), params.clone()) else {
                return Ok(port);
            };
            self.remove_lanes(&port);
            port.close_all_but(&[]);
            let suits = lock(&port.inner).suits.take().unwrap_or_default();
            let fewer = suits.len() < within.len() && suits.len() >= spec.queues.unwrap_or(1).max(1);
            if !fewer {
                return Err(e);
            }
            within.retain(|queue| suits.contains(queue));
        }
    }

    fn connect_first(
        &self,
        port: &Arc<Port>,
        module: Arc<LoadedModule>,
        params: BTreeMap<String, Value>,
    ) -> Result<(), EngineError> {
        let failed =
            |what: String| EngineError::new(ErrorKind::Driver, format!("port {}: {what}", port.name));
        crate::instance::probe(&module, port).map_err(failed)?;
        let instance = new_instance(port, module, params).map_err(failed)?;
        port.arenas.started();
        for (index, remote) in port.remotes.iter().enumerate() {
            let (port, ops) = (port.clone(), ops_room(instance.module.manifest(), &port.memory[index]));
            remote.call(move |rt| rt.add_lane(port, index, ops));
        }
        if let Err(e) = instance.prepare() {
            instance.release();
            return Err(failed(e));
        }
        // Only now is it known what the port has, where nobody said it.
        if let Some(hardware) = port.hardware() {
            let row = check::hardware(instance.module.manifest(), hardware.side());
            if !row.ok {
                instance.release();
                return Err(failed(row.detail));
            }
        }
        let plan = Plan {
            mode: Mode::Drain,
            if_busy: IfBusy::Wait,
            deadline_ns: u64::MAX / 2,
            has_old: false,
            has_new: true,
        };
        let update = Update::prepared(plan, now_ns());
        let done =
            run(port, None, Some(instance.clone()), (Mode::Drain, None), update, Duration::from_secs(10));
        if done.job.verdict() == Verdict::New {
            return Ok(());
        }
        if done.answered {
            instance.release();
        }
        Err(failed(done.reason()))
    }

    /// Takes a port away. With clients it is refused, unless forced: then their requests in flight
    /// finish, and the next ones fail.
    ///
    /// # Errors
    /// `NotFound`, `Busy` (says how many clients, or that a transaction is under way), `Driver`.
    pub fn detach(&self, name: &str, force: bool) -> Result<(), EngineError> {
        let port = self.find(name).ok_or_else(|| self.not_found(name))?;
        let clients: u32 = lock(&port.inner).offers.values().map(|o| o.clients).sum();
        if clients > 0 && !force {
            let uppers = self.uppers(&port).join(", ");
            let over =
                if uppers.is_empty() { uppers } else { format!("; devices that lie over it: {uppers}") };
            let what = format!("port {name} is in use by {clients} clients{over}");
            return Err(EngineError::new(ErrorKind::Busy, what));
        }
        let patience = Duration::from_secs(if force { 5 } else { 45 });
        if force {
            self.end_trial(&port, "the device is taken away", patience);
        }
        self.take_away(&port, patience)
    }

    pub(crate) fn take_away(&self, port: &Arc<Port>, patience: Duration) -> Result<(), EngineError> {
        let _turn = self.turn(port, "its removal")?;
        self.disconnect_last(port, patience)?;
        let mut ports = self.inner.ports.write().unwrap_or_else(PoisonError::into_inner);
        ports.remove(&port.name);
        Ok(())
    }

    fn disconnect_last(&self, port: &Arc<Port>, patience: Duration) -> Result<(), EngineError> {
        let old = lock(&port.inner).serving.clone();
        if let Some(old) = old {
            let deadline_ns = patience.as_nanos() as u64;
            let plan =
                Plan { mode: Mode::Drain, if_busy: IfBusy::Wait, deadline_ns, has_old: true, has_new: false };
            let update = Update::prepared(plan, now_ns());
            let done = run(port, Some(old.clone()), None, (Mode::Drain, None), update, patience);
            if !done.answered {
                lock(&port.inner).unfinished = Some(done.job.clone());
            }
            if !done.answered || done.job.verdict() != Verdict::New {
                let what = format!("port {}: not detached: {}", port.name, done.reason());
                return Err(EngineError::new(ErrorKind::Driver, what));
            }
            old.release();
        }
        self.remove_lanes(port);
        port.close_all_but(&[]);
        Ok(())
    }

    /// The right to change a port, for one transaction.
    pub(crate) fn turn<'a>(&self, port: &'a Arc<Port>, what: &str) -> Result<Turn<'a>, EngineError> {
        let turn = port.turns.take(what).map_err(|doing| busy(port, &doing))?;
        // It may have been taken away, and its name be another's, since it was looked up.
        if !self.find(&port.name).is_some_and(|known| Arc::ptr_eq(&known, port)) {
            return Err(self.not_found(&port.name));
        }
        let visit = lock(&port.inner).visit.clone();
        if visit.is_some_and(|visit| !visit.is_over()) {
            let what = format!("port {} is busy: a driver has not returned from `param_changed`", port.name);
            return Err(EngineError::new(ErrorKind::Busy, what));
        }
        lock(&port.inner).visit = None;
        let unfinished = lock(&port.inner).unfinished.take();
        if let Some(job) = unfinished {
            if !job.is_over() {
                lock(&port.inner).unfinished = Some(job);
                let what = format!("port {} is busy: a driver has not returned from a call", port.name);
                return Err(EngineError::new(ErrorKind::Busy, what));
            }
            let _ = end(port, &job);
        }
        Ok(turn)
    }

    fn remove_lanes(&self, port: &Arc<Port>) {
        let id = LaneId(port.id.0);
        for remote in &port.remotes {
            let (tx, rx) = mpsc::sync_channel(1);
            let done = Box::new(move || {
                let _ = tx.try_send(());
            });
            remote.post(Box::new(move |rt| rt.remove_lane(id, done)));
            if rx.recv_timeout(STUCK).is_err() {
                tracing::error!(port = port.name, "a frontend keeps slots of a port that is gone");
            }
        }
    }

    pub(crate) fn not_found(&self, name: &str) -> EngineError {
        let known: Vec<String> = self.all_ports().iter().map(|p| p.name.clone()).collect();
        let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
        EngineError::new(ErrorKind::NotFound, format!("no device {name} (devices: {known})"))
    }

    fn check_sides<'a>(
        &self,
        running: Option<Side<'a>>,
        candidate: Side<'a>,
        properties: &'a BTreeMap<String, String>,
    ) -> CheckInput<'a> {
        CheckInput {
            running,
            candidate,
            offered_features: 0,
            limits: Limits { pdu_bytes: PDU_STRIDE as u32, port_bytes: MOST, queue_bytes: MOST },
            properties,
            hardware: None,
            port: PortSide::default(),
            signature: None,
            policy: Policy::default(),
        }
    }

    fn check_rows(&self, port: &Port, candidate: &StagedModule, opts: &UpdateOptions) -> Vec<CheckRow> {
        let inner = lock(&port.inner);
        let serving = inner.serving.as_ref();
        let running = serving.map(|i| Side { manifest: i.module.manifest(), hash: i.module.hash() });
        // Where nobody serves, what the last driver left must suit the candidate.
        let left = inner.left.as_ref().map(|l| Side { manifest: &l.manifest, hash: &l.release.hash });
        let offers = inner.offers.values();
        let (hardware, devices) = (inner.hardware(), inner.device_sides(&port.name));
        let (properties, room) = (changed(&inner.given, &opts.params), port.arenas.room());
        let side = Side { manifest: &candidate.manifest, hash: &candidate.hash };
        check::check(&CheckInput {
            offered_features: offers.fold(0, |all, o| all | o.relied_on() & PROMISES),
            hardware: hardware.as_ref().map(HardwareId::side),
            port: PortSide {
                swaps: inner.swaps,
                devices: &devices,
                pending: serving.map(|i| PendingSide {
                    hands_back: i.module.driver().hand_back.is_some(),
                    wanted: opts.mode,
                }),
            },
            signature: Some((&candidate.signature, &candidate.source)),
            policy: policy(&inner.rules, opts),
            limits: Limits { pdu_bytes: PDU_STRIDE as u32, port_bytes: room.port, queue_bytes: room.queue },
            ..self.check_sides(running.or(left), side, &properties)
        })
    }

    /// Every check that an update would make, without touching anything.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn check(
        &self,
        name: &str,
        staged: &StagedModule,
        opts: &UpdateOptions,
    ) -> Result<CheckReport, EngineError> {
        let port = self.find(name).ok_or_else(|| self.not_found(name))?;
        let rows = self.check_rows(&port, staged, opts);
        let running = lock(&port.inner).serving.as_ref().map(|i| i.module.clone());
        let from = running.as_ref().map_or(&*staged.manifest, |m| m.manifest());
        let hands_back = running.as_ref().is_some_and(|m| m.driver().hand_back.is_some());
        let mode = check::choose_mode(from, hands_back, &staged.manifest, opts.mode).ok();
        Ok(CheckReport {
            port: port.name.clone(),
            running: running.map(|m| m.release()),
            candidate: staged.release(),
            ok: check::passed(&rows) && mode.is_some(),
            rows,
            mode,
        })
    }

    /// Replaces the driver of a port by a staged module.
    pub fn update(&self, name: &str, staged: &StagedModule, opts: &UpdateOptions) -> Receipt {
        self.update_from(name, || Ok(staged.clone()), opts)
    }

    /// Replaces the driver of a port by the module in a file, which is copied into the store first.
    pub fn update_file(&self, name: &str, store: &ModuleStore, path: &Path, opts: &UpdateOptions) -> Receipt {
        self.update_from(name, || store.stage(path).map_err(|e| e.to_string()), opts)
    }

    /// Replaces the driver of a port by a module that the store has, by its hash.
    pub fn update_stored(
        &self,
        name: &str,
        store: &ModuleStore,
        hash: &str,
        opts: &UpdateOptions,
    ) -> Receipt {
        self.update_from(name, || store.get(hash).map_err(|e| e.to_string()), opts)
    }

    /// The receipt of an update that was turned away before it began.
    pub fn turn_away(&self, name: &str, outcome: Outcome, reason: String, opts: &UpdateOptions) -> Receipt {
        let mut receipt = self.blank_receipt(name, opts);
        (receipt.outcome, receipt.reason) = (outcome, reason);
        if let Some(port) = self.find(name) {
            if let Some(serving) = &lock(&port.inner).serving {
                receipt.from = serving.module.release();
            }
            receipt.generation_before = port.generation();
            receipt.generation_after = receipt.generation_before;
        }
        receipt
    }

    fn update_from(
        &self,
        name: &str,
        stage: impl FnOnce() -> Result<StagedModule, String>,
        opts: &UpdateOptions,
    ) -> Receipt {
        let mut receipt = self.blank_receipt(name, opts);
        let Some(port) = self.find(name) else {
            receipt.reason = self.not_found(name).to_string();
            return receipt;
        };
        // Also an update that finds the port busy says what it found there.
        if let Some(serving) = &lock(&port.inner).serving {
            receipt.from = serving.module.release();
        }
        let turn = match self.turn(&port, &format!("update {}", receipt.id)) {
            Ok(turn) => turn,
            Err(e) => {
                let busy = e.kind() == ErrorKind::Busy;
                receipt.outcome = if busy { Outcome::Busy } else { Outcome::Refused };
                receipt.reason = e.to_string();
                return receipt;
            }
        };
        self.replace(&port, &turn, stage, opts, &mut receipt);
        drop(turn);
        receipt.generation_after = port.generation();
        lock(&port.inner).last_receipt = Some(receipt.clone());
        receipt
    }

    fn blank_receipt(&self, name: &str, opts: &UpdateOptions) -> Receipt {
        let id = self.inner.receipts.fetch_add(1, Ordering::Relaxed) + 1;
        let mut receipt = Receipt::blank(id, name, unix_ms());
        receipt.by.clone_from(&opts.by);
        receipt.source.clone_from(&opts.source);
        receipt
    }

    fn replace(
        &self,
        port: &Arc<Port>,
        turn: &Turn<'_>,
        stage: impl FnOnce() -> Result<StagedModule, String>,
        opts: &UpdateOptions,
        receipt: &mut Receipt,
    ) {
        let old = lock(&port.inner).serving.clone();
        receipt.generation_before = port.generation();
        if let Some(old) = &old {
            receipt.from = old.module.release();
        } else if let Some(left) = &lock(&port.inner).left {
            receipt.from = left.release.clone();
        }
        let plan = Plan {
            mode: Mode::Drain,
            if_busy: opts.if_busy,
            deadline_ns: u64::try_from(opts.deadline.as_nanos()).unwrap_or(u64::MAX / 2),
            has_old: old.is_some(),
            has_new: true,
        };
        let mut update = Update::new(plan, now_ns());
        let id = receipt.id;
        let stage = || {
            let staged = stage()?;
            turn.tell(&format!("update {id} to {} {}", staged.manifest.name, staged.manifest.version));
            Ok(staged)
        };
        match self.get_ready(port, &mut update, stage, opts, old.as_deref(), receipt) {
            Some((instance, mode)) => {
                let done = run(port, old, Some(instance), mode, update, opts.deadline);
                // The transaction is this thread's: nobody has changed them since they were checked.
                if done.job.verdict() == Verdict::New {
                    receipt.reduced =
                        done.job.new.as_ref().map(|new| lock(&new.reduced).clone()).unwrap_or_default();
                    let mut inner = lock(&port.inner);
                    inner.given = changed(&inner.given, &opts.params);
                }
                conclude(port, done, receipt);
            }
            None => close(&update, receipt),
        }
    }

    /// The phases before the pause. `None`: refused, and everything is as it was.
    fn get_ready(
        &self,
        port: &Arc<Port>,
        update: &mut Update,
        stage: impl FnOnce() -> Result<StagedModule, String>,
        opts: &UpdateOptions,
        old: Option<&Instance>,
        receipt: &mut Receipt,
    ) -> Option<(Arc<Instance>, Handling)> {
        let staged = step(update, stage())?;
        receipt.to = Some(staged.release());
        let checked = self.decide(port, &staged, opts, old, &mut receipt.checks);
        let (mode, params) = step(update, checked)?;
        receipt.mode = Some(mode.0);
        update.set_mode(mode.0);
        if let Some(shadow) = &opts.shadow {
            let tried = self.try_first(port, &staged, &params, shadow, receipt);
            // The time of a trial is no phase's.
            update.restart_clock(now_ns());
            if let Err(why) = tried {
                update.step(Input::Failed(why), now_ns());
                return None;
            }
        }
        let loaded = load(&staged, port);
        let module = step(update, loaded)?;
        let prepared = prepare(port, old, module, params);
        let instance = match prepared {
            Ok(instance) => instance,
            Err((why, module)) => {
                update.step(Input::Failed(why), now_ns());
                receipt.unload = module.map_or(Unload::None, unload);
                update.step(Input::Ok, now_ns());
                return None;
            }
        };
        update.step(Input::Ok, now_ns());
        Some((instance, mode))
    }

    /// The trial before the commit; an error when there is to be none.
    fn try_first(
        &self,
        port: &Arc<Port>,
        staged: &StagedModule,
        params: &BTreeMap<String, Value>,
        how: &Shadow,
        receipt: &mut Receipt,
    ) -> Result<(), String> {
        let old = lock(&port.inner).serving.clone();
        let old = old.ok_or("nobody serves the port, so there is nothing to compare a candidate with")?;
        let report = self.try_out(port, staged, params.clone(), &old, how);
        let (equal, against) = (report.equal, report.against.join("; "));
        receipt.unload = report.unload;
        receipt.shadow = Some(report);
        if !equal {
            return Err(format!("the trial speaks against it: {against}"));
        }
        if how.only {
            Err("only a trial was asked for; nothing speaks against the candidate".to_owned())
        } else {
            Ok(())
        }
    }

    /// The checks, how to treat requests in flight, and the candidate's parameters.
    fn decide(
        &self,
        port: &Port,
        staged: &StagedModule,
        opts: &UpdateOptions,
        old: Option<&Instance>,
        checks: &mut Vec<CheckRow>,
    ) -> Result<(Handling, BTreeMap<String, Value>), String> {
        let rows = self.check_rows(port, staged, opts);
        let (passed, refusals) = (check::passed(&rows), check::refusals(&rows));
        *checks = rows;
        if !passed {
            return Err(refusals);
        }
        let candidate = &staged.manifest;
        let params = resolve(candidate, &changed(&lock(&port.inner).given, &opts.params))?;
        let handling = match old {
            Some(old) => {
                let hands_back = old.module.driver().hand_back.is_some();
                handling(old.module.manifest(), hands_back, candidate, opts.mode)?
            }
            None => inherit(port, candidate)?,
        };
        Ok((handling, params))
    }
}

fn policy(rules: &PortRules, opts: &UpdateOptions) -> Policy {
    Policy {
        allow_older: opts.allow_older,
        allow_other: opts.allow_other,
        allow_skip: opts.allow_skip,
        once_per_start: rules.once_per_start,
        allow_again: opts.allow_again,
        ..Policy::default()
    }
}

/// Properties after some were changed; `None` makes one undefined.
fn changed(
    given: &BTreeMap<String, String>,
    changes: &BTreeMap<String, Option<String>>,
) -> BTreeMap<String, String> {
    let mut properties = given.clone();
    for (name, value) in changes {
        match value {
            Some(value) => properties.insert(name.clone(), value.clone()),
            None => properties.remove(name),
        };
    }
    properties
}

fn handling(
    running: &Manifest,
    hands_back: bool,
    candidate: &Manifest,
    wanted: Option<Mode>,
) -> Result<Handling, String> {
    let mode = check::choose_mode(running, hands_back, candidate, wanted)?;
    let own = |m: &Manifest| m.pdu.as_ref().map(|p| p.schema.to_string());
    let convert = if mode == Mode::Adopt && own(running) != own(candidate) { own(running) } else { None };
    Ok((mode, convert))
}

/// Nobody serves the port: requests that the last driver left in flight can only be adopted.
fn inherit(port: &Port, candidate: &Manifest) -> Result<Handling, String> {
    let id = LaneId(port.id.0);
    let issued = |r: &Arc<Remote>| r.call(move |rt| rt.inspect_lane(id, |l| l.slots.issued())).flatten();
    let issued: u32 = port.remotes.iter().filter_map(issued).sum();
    let inner = lock(&port.inner);
    match &inner.left {
        Some(left) if issued > 0 => handling(&left.manifest, false, candidate, Some(Mode::Adopt))
            .map_err(|e| format!("{issued} requests are in flight without a driver: {e}")),
        _ => Ok((Mode::Drain, None)),
    }
}

/// Tells the machine how a step went; `None` when that was the end of it.
fn step<T>(update: &mut Update, result: Result<T, String>) -> Option<T> {
    let (input, value) = match result {
        Ok(value) => (Input::Ok, Some(value)),
        Err(why) => (Input::Failed(why), None),
    };
    update.step(input, now_ns());
    value
}

pub(crate) fn load(staged: &StagedModule, port: &Port) -> Result<Arc<LoadedModule>, String> {
    let module = Arc::new(staged.load().map_err(|e| e.to_string())?);
    crate::instance::probe(&module, port).map(|()| module)
}

type Failed = (String, Option<Arc<LoadedModule>>);

fn prepare(
    port: &Arc<Port>,
    old: Option<&Instance>,
    module: Arc<LoadedModule>,
    params: BTreeMap<String, Value>,
) -> Result<Arc<Instance>, Failed> {
    // Waits of requests that were handed back keep their places until the ring has ended them.
    let waits = old.map_or(0, |old| handed_back_room(old.module.manifest(), &port.memory));
    for (index, remote) in port.remotes.iter().enumerate() {
        // Whichever of the two goes on has its own beside those.
        let of = |manifest: &Manifest| ops_room(manifest, &port.memory[index]);
        let most = of(module.manifest()).max(old.map_or(0, |old| of(old.module.manifest())));
        let (id, ops) = (LaneId(port.id.0), most + waits);
        let known = remote.ask(STUCK, move |rt| rt.ensure_ops(id, ops));
        if known.is_none() {
            let queue = port.queues[index];
            let why = format!("queue {queue} does not answer: a driver may be stuck in it");
            return Err((why, Some(module)));
        }
    }
    let instance = new_instance(port, module, params).map_err(|e| (e, None))?;
    if let Err(e) = instance.prepare() {
        instance.release();
        port.take_back(&lock(&instance.made));
        return Err((e, Arc::into_inner(instance).map(|i| i.module)));
    }
    Ok(instance)
}

fn new_instance(
    port: &Arc<Port>,
    module: Arc<LoadedModule>,
    params: BTreeMap<String, Value>,
) -> Result<Arc<Instance>, String> {
    Instance::new(port.clone(), module, params).map_err(|e| format!("memory for the driver: {e}"))
}

/// Places in the table of operations for the waits that the running driver may leave in one lane.
fn handed_back_room(running: &Manifest, memory: &[crate::port::SlotMemory]) -> u32 {
    running.ops.saturating_mul(memory.iter().map(|m| m.count).max().unwrap_or(0))
}

/// Places in the table of operations for one lane under a driver.
pub(crate) fn ops_room(manifest: &Manifest, memory: &crate::port::SlotMemory) -> u32 {
    manifest.ops.saturating_mul(memory.count) + manifest.port_ops + TIMER_ROOM
}

fn resolve(manifest: &Manifest, given: &BTreeMap<String, String>) -> Result<BTreeMap<String, Value>, String> {
    params::resolve(&manifest.params, given).map_err(|errors| {
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        all.join("; ")
    })
}

fn busy(port: &Port, doing: &str) -> EngineError {
    let trial = lock(&port.inner).trial.clone();
    let more = trial.map_or_else(String::new, |trial| format!(" ({})", trial.describe()));
    EngineError::new(ErrorKind::Busy, format!("port {} is busy: {doing} is under way{more}", port.name))
}

struct Finished {
    job: Arc<Job>,
    /// Every queue has taken part to the end.
    answered: bool,
}

impl Finished {
    /// Why it went as it did. Does not wait for a driver that does not return.
    fn reason(&self) -> String {
        if !self.answered && self.job.verdict() == Verdict::Undecided {
            return STUCK_DRIVER.to_owned();
        }
        self.job.meeting.update().reason().to_owned()
    }
}

/// The pause: posts the job to the port's queues and waits for its end.
fn run(
    port: &Arc<Port>,
    old: Option<Arc<Instance>>,
    new: Option<Arc<Instance>>,
    mode: Handling,
    update: Update,
    deadline: Duration,
) -> Finished {
    let (tx, rx) = mpsc::sync_channel(1);
    let job = Arc::new(Job::new(port.clone(), old, new, mode, update, tx));
    for remote in &port.remotes {
        let job = job.clone();
        remote.post(Box::new(move |rt| rt.join(job)));
    }
    let mut answered = rx.recv_timeout(deadline.saturating_add(STUCK)).is_ok();
    if !answered {
        job.abandon("a queue's thread does not answer: a driver may be stuck in it");
        answered = rx.recv_timeout(Duration::from_secs(1)).is_ok();
    }
    Finished { job, answered }
}

/// After the pause: gives back what is not needed any more and writes the receipt.
fn conclude(port: &Arc<Port>, done: Finished, receipt: &mut Receipt) {
    let Finished { job, answered } = done;
    count(&job, receipt);
    receipt.unload = Unload::InUse;
    if !answered {
        // Some queue may still be inside: what it could touch stays.
        lock(&port.inner).unfinished = Some(job.clone());
        if job.verdict() == Verdict::Undecided {
            receipt.outcome = Outcome::Stranded;
            receipt.reason = STUCK_DRIVER.to_owned();
        } else {
            finish(&mut job.meeting.update(), receipt);
        }
        return;
    }
    let gone = end(port, &job);
    match sole(job) {
        Ok(mut update) => {
            receipt.unload = gone.and_then(Arc::into_inner).map_or(Unload::InUse, |i| unload(i.module));
            finish(&mut update, receipt);
        }
        Err(job) => finish(&mut job.meeting.update(), receipt),
    }
}

/// Every queue has released: closes what nobody uses, and lets the driver go that does not serve;
/// returns it.
fn end(port: &Port, job: &Job) -> Option<Arc<Instance>> {
    let verdict = job.verdict();
    let gone = match (verdict, &job.new) {
        (Verdict::New, Some(new)) => {
            let keep = lock(&new.handles).clone();
            port.close_all_but(&keep);
            job.old.clone()
        }
        (Verdict::New, None) => job.old.clone(),
        (_, new) => new.clone().inspect(|new| port.take_back(&lock(&new.made))),
    };
    let stranded = job.old.clone().filter(|_| verdict == Verdict::Nobody);
    for instance in gone.iter().chain(stranded.iter()) {
        lock(&port.inner).driver_faults += instance.faults.load(Ordering::Relaxed);
        instance.release();
    }
    gone
}

/// The state machine of a transaction that nobody else knows any more; with the job goes what it
/// knows of the two drivers.
fn sole(job: Arc<Job>) -> Result<Update, Arc<Job>> {
    let (mut job, until) = (job, Instant::now() + LET_GO);
    loop {
        match Arc::try_unwrap(job) {
            Ok(job) => return Ok(job.meeting.into_update()),
            // A queue has said that it is done and is about to let go.
            Err(shared) if Instant::now() < until => job = shared,
            Err(shared) => return Err(shared),
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}

fn finish(update: &mut Update, receipt: &mut Receipt) {
    while !matches!(update.action(), Action::Done(_)) {
        let before = update.action();
        if update.step(Input::Ok, now_ns()) == before {
            break;
        }
    }
    close(update, receipt);
}

fn close(update: &Update, receipt: &mut Receipt) {
    if let Action::Done(outcome) = update.action() {
        receipt.outcome = outcome;
    }
    update.reason().clone_into(&mut receipt.reason);
    receipt.phases = update.phases().to_vec();
}

fn count(job: &Job, receipt: &mut Receipt) {
    for part in &job.parts {
        let part = lock(part);
        receipt.held += part.held;
        receipt.drained += part.drained;
        receipt.adopted += part.adopted;
        receipt.handed_back += part.handed_back;
        receipt.pause_ns = receipt.pause_ns.max(part.release_ns.saturating_sub(part.hold_ns));
        receipt.longest_stall_ns = receipt.longest_stall_ns.max(part.longest_stall_ns);
    }
    if job.verdict() != Verdict::New {
        receipt.adopted = 0;
    }
}

/// Unmaps a module, unless another port uses it too.
pub(crate) fn unload(module: Arc<LoadedModule>) -> Unload {
    Arc::into_inner(module).map_or(Unload::InUse, LoadedModule::unload)
}

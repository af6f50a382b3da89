//! Before the pause: what is checked, and how a candidate gets ready while the old driver serves.

use crate::change::down::is_down;
use crate::change::options::TrialOptions;
use crate::change::other_driver::Other;
use crate::change::swap::Handling;
use crate::change::time_limit::probe_within;
use crate::change::update::{Begins, STUCK, UpdateOptions, unload};
use crate::clock::now_ns;
use crate::control::Control;
use crate::driver::instance::Instance;
use crate::error::{EngineError, ErrorKind};
use crate::ids::LaneId;
use crate::info::CheckReport;
use crate::lane::in_flight::TIMER_ROOM;
use crate::port::rules::{HardwareId, PortRules};
use crate::port::{PROMISES, Port};
use crate::queue::remote::Remote;
use crate::resources::arena::MOST;
use crate::resources::headroom;
use crate::resources::slot_memory::PDU_STRIDE;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use steadfast_loader::{LoadedModule, StagedModule};
use steadfast_shell::check::{
    self, CheckInput, CheckRow, ContentsSide, Limits, PendingSide, Policy, PortSide, Side,
};
use steadfast_shell::manifest::Manifest;
use steadfast_shell::params::{self, ShellDefaults, ShellParams, Value};
use steadfast_shell::receipt::{Mode, Receipt, Unload};
use steadfast_shell::sync::lock;
use steadfast_shell::update::{Input, Update};

impl Control {
    pub(crate) fn check_sides<'a>(
        &self,
        running: Option<Side<'a>>,
        candidate: Side<'a>,
        properties: &'a BTreeMap<String, String>,
    ) -> CheckInput<'a> {
        CheckInput {
            running,
            candidate,
            offered_features: 0,
            limits: Limits {
                pdu_bytes: PDU_STRIDE as u32,
                port_bytes: MOST,
                queue_bytes: MOST,
                ..Limits::NONE
            },
            properties,
            shell: self.directory.config.shell_defaults(),
            hardware: None,
            port: PortSide::default(),
            signature: None,
            libraries: None,
            policy: Policy::default(),
        }
    }

    pub(crate) fn check_rows(
        &self,
        port: &Port,
        candidate: &StagedModule,
        opts: &UpdateOptions,
    ) -> Vec<CheckRow> {
        self.directory.look_at_files(Some(&port.name));
        let shrinks = port.shrinks(&opts.params);
        let limits = port.arenas.limits(headroom::left());
        let contents = self.foresee(port, &candidate.manifest, &opts.params);
        let used = contents.as_ref().map_or_else(String::new, |c| port.used_by(c.clients));
        let inner = lock(&port.inner);
        let serving = inner.serving.as_ref();
        let running = serving.map(|i| Side { manifest: i.module.manifest(), hash: i.module.hash() });
        // Where nobody serves, what the last driver left must suit the candidate.
        let left = inner.left.as_ref().map(|l| Side { manifest: &l.manifest, hash: &l.release.hash });
        let offers = inner.offers.values();
        let (hardware, devices) = (inner.hardware(), inner.device_sides(&port.name, shrinks.as_ref()));
        let properties = changed(&inner.properties.given(), &opts.params);
        let side = Side { manifest: &candidate.manifest, hash: &candidate.hash };
        let mut rows = check::check(&CheckInput {
            offered_features: offers.fold(0, |all, o| all | o.relied_on() & PROMISES),
            hardware: hardware.as_ref().map(HardwareId::side),
            port: PortSide {
                swaps: inner.swaps,
                devices: &devices,
                contents: contents.as_ref().map(|contents| ContentsSide {
                    known: contents.known,
                    what: &contents.what,
                    clients: contents.clients,
                    used: &used,
                    forced: opts.force || opts.by.cause.goes_back(),
                }),
                pending: serving.map(|i| PendingSide {
                    hands_back: i.module.driver().hand_back.is_some(),
                    wanted: opts.mode,
                }),
            },
            signature: Some((&candidate.signature, &candidate.source)),
            libraries: Some(&candidate.libraries),
            policy: policy(&inner.rules, opts),
            limits,
            ..self.check_sides(running.or(left), side, &properties)
        });
        let now = running.or(left).map(|side| side.manifest.name.clone());
        let opened = inner.opened();
        drop(inner);
        let same = now.as_ref() == Some(&candidate.manifest.name);
        let gone = port.gone(same, &properties, &opts.params);
        if !gone.is_empty() {
            let ok = opts.force || opts.by.cause.goes_back();
            rows.push(CheckRow { name: "file".to_owned(), ok, detail: gone.join("; ") });
        }
        if now.is_some_and(|now| now != candidate.manifest.name) {
            let other =
                Other { port: &port.name, candidate, opts, opened: &opened, contents: contents.as_ref() };
            other.tell(&mut rows, &properties, self.directory.config.shell_defaults());
        }
        rows
    }

    /// As [`Engine::check`](crate::Engine::check).
    pub(crate) fn check(
        &self,
        name: &str,
        staged: &StagedModule,
        opts: &UpdateOptions,
    ) -> Result<CheckReport, EngineError> {
        let port = self.find(name).ok_or_else(|| self.not_found(name))?;
        if port.waiting_module().is_some() {
            return Err(EngineError::new(ErrorKind::Invalid, port.no_driver()));
        }
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

    /// As [`Engine::refused_params`](crate::Engine::refused_params).
    pub(crate) fn refused_params(
        &self,
        manifest: &Manifest,
        given: &BTreeMap<String, String>,
    ) -> Vec<String> {
        let table = params::table(&manifest.params, self.directory.config.shell_defaults());
        let errors = params::resolve(&table, given).err().unwrap_or_default();
        let names = errors.iter().flat_map(|error| error.names());
        names.filter(|name| given.contains_key(*name)).map(str::to_owned).collect()
    }

    /// The phases before the pause. `None`: refused, and everything is as it was.
    pub(crate) fn get_ready(
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
        // What only its clients keep from being done can be done when they have gone.
        let (mode, params) = match checked {
            Err(why) if check::waits_for_clients(&receipt.checks) => {
                update.step(Input::Busy(why), now_ns());
                return None;
            }
            checked => step(update, checked)?,
        };
        receipt.mode = Some(mode.0);
        if let Some(Begins(begins)) = &opts.begins {
            begins(receipt);
            // Nobody's time is that of a disk.
            update.restart_clock(now_ns());
        }
        update.set_mode(mode.0);
        if let Some(shadow) = &opts.shadow {
            let tried = self.try_first(port, &staged, &params, shadow, &opts.unwanted, receipt);
            // The time of a trial is no phase's.
            update.restart_clock(now_ns());
            if let Err(why) = tried {
                update.step(Input::Failed(why), now_ns());
                return None;
            }
        }
        let limit = opts.deadline.unwrap_or_else(|| port.limits.drain_timeout());
        let loaded = match opts.mapped.as_ref().filter(|module| module.hash() == staged.hash) {
            Some(module) => probe_within(module, port, limit).map(|()| Arc::clone(module)),
            None => load(&staged, port, limit),
        };
        let module = step(update, loaded)?;
        port.look_before_opening(opts.force && !opts.by.cause.goes_back());
        let prepared = prepare(port, old, module, params, limit);
        let instance = match prepared {
            Ok(instance) => instance,
            Err(not) => {
                let why = not.why.clone();
                update.step(if not.busy { Input::Busy(why) } else { Input::Failed(why) }, now_ns());
                receipt.unload = not.unload(port);
                update.step(Input::Ok, now_ns());
                return None;
            }
        };
        let force = opts.force || opts.by.cause.goes_back();
        if let Err(why) = port.may_go_on(&instance, force) {
            receipt.unload = discard(instance).map_or(Unload::None, |module| unload(port, module));
            update.step(Input::Failed(why), now_ns());
            update.step(Input::Ok, now_ns());
            return None;
        }
        if let Err(why) = port.begin_exchange(&instance, force) {
            receipt.unload = discard(instance).map_or(Unload::None, |module| unload(port, module));
            update.step(Input::Busy(why), now_ns());
            update.step(Input::Ok, now_ns());
            return None;
        }
        update.step(Input::Ok, now_ns());
        Some((instance, mode))
    }

    /// The trial before the commit; an error when there is to be none.
    fn try_first(
        &self,
        port: &Arc<Port>,
        staged: &StagedModule,
        params: &BTreeMap<String, Value>,
        how: &TrialOptions,
        unwanted: &AtomicBool,
        receipt: &mut Receipt,
    ) -> Result<(), String> {
        let old = lock(&port.inner).serving.clone();
        let old = old.ok_or("nobody serves the port, so there is nothing to compare a candidate with")?;
        let report = self.try_out(port, staged, params.clone(), &old, how, unwanted);
        let (equal, against) = (report.equal, report.against.join("; "));
        let cut_short = report.cut_short.clone();
        receipt.unload = report.unload;
        receipt.shadow = Some(report);
        if !cut_short.is_empty() {
            return Err(format!("the trial was cut short, and nothing was replaced: {cut_short}"));
        }
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
        let given = changed(&lock(&port.inner).properties.given(), &opts.params);
        let params = resolve(candidate, port.shell, &given)?;
        if is_down(&params, port.shell) {
            return Err(
                "admin_state=down: a port is taken down by an activation, not by an update".to_owned()
            );
        }
        let handling = match old {
            Some(old) => {
                let hands_back = old.module.driver().hand_back.is_some();
                handling(old.module.manifest(), hands_back, candidate, opts.mode)?
            }
            None => match inherit(port, candidate) {
                Err(why) if opts.abandon => {
                    tracing::error!(port = port.name, "{why}: they fail");
                    port.fail_left();
                    (Mode::Drain, None)
                }
                inherited => inherited?,
            },
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
        allow_smaller: opts.force || opts.by.cause.goes_back(),
        require_min_from: rules.require_min_from,
    }
}

/// Properties after some were changed; `None` makes one undefined.
pub(crate) fn changed(
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

/// How requests in flight are treated when a driver comes after another.
pub(crate) fn handling(
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

impl Port {
    /// Requests that the last driver left in flight fail.
    fn fail_left(&self) {
        let id = LaneId(self.id.0);
        for remote in &self.remotes {
            remote.call(move |rt| rt.fail_left(id));
        }
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

pub(crate) fn load(
    staged: &StagedModule,
    port: &Arc<Port>,
    limit: Duration,
) -> Result<Arc<LoadedModule>, String> {
    let module = Arc::new(staged.load().map_err(|e| e.to_string())?);
    probe_within(&module, port, limit).map(|()| module)
}

/// A driver that did not get ready.
pub(crate) struct NotReady {
    pub(crate) why: String,
    /// The port is in the way, and not the driver: it can be tried again.
    pub(crate) busy: bool,
    /// It is left to itself in a call, and its module stays.
    pub(crate) pinned: bool,
    /// Its module, where nobody else has it.
    pub(crate) module: Option<Arc<LoadedModule>>,
}

impl NotReady {
    fn refused(why: String, module: Option<Arc<LoadedModule>>) -> NotReady {
        NotReady { why, busy: false, pinned: false, module }
    }

    /// What becomes of its module.
    pub(crate) fn unload(self, port: &Port) -> Unload {
        let nobody_has_it = if self.pinned { Unload::Pinned } else { Unload::None };
        self.module.map_or(nobody_has_it, |module| unload(port, module))
    }
}

pub(crate) fn prepare(
    port: &Arc<Port>,
    old: Option<&Instance>,
    module: Arc<LoadedModule>,
    params: BTreeMap<String, Value>,
    limit: Duration,
) -> Result<Arc<Instance>, NotReady> {
    if let Some(why) = port.too_many_abandoned() {
        return Err(NotReady::refused(why, Some(module)));
    }
    let slots = match port.room_for(&ShellParams::from_values(&params, port.shell)) {
        Ok(slots) => slots,
        Err(why) => return Err(NotReady::refused(why, Some(module))),
    };
    let needs = |module: &LoadedModule| (module.manifest().ops, module.manifest().port_ops);
    let (next, last) = (needs(&module), old.map_or((0, 0), |old| needs(&old.module)));
    let mut reach = Vec::with_capacity(port.queues.len());
    for (index, remote) in port.remotes.iter().enumerate() {
        let id = LaneId(port.id.0);
        // Whichever of the two goes on has its own beside the waits of requests that were handed back, which
        // keep their places until the ring has ended them.
        let ops = move |slots: u32| {
            let most = ops_of(next, slots).max(ops_of(last, slots));
            most.saturating_add(last.0.saturating_mul(slots))
        };
        let Some(known) = remote.ask(STUCK, move |rt| rt.make_room(id, slots, ops)) else {
            let queue = port.queues[index];
            let why = format!("busy: queue {queue} does not answer: a driver may be stuck in it");
            return Err(NotReady { why, busy: true, pinned: false, module: Some(module) });
        };
        reach.push(known);
    }
    let instance = new_instance(port, module, params, &reach).map_err(|e| NotReady::refused(e, None))?;
    if let Err(e) = instance.prepare(limit) {
        return Err(NotReady::of(e, instance));
    }
    Ok(instance)
}

/// Lets a driver go that is not to serve; returns its module, where nobody else has it.
pub(crate) fn discard(instance: Arc<Instance>) -> Option<Arc<LoadedModule>> {
    instance.release();
    instance.port.take_back(&lock(&instance.made));
    Arc::into_inner(instance).map(|i| i.module)
}

pub(crate) fn new_instance(
    port: &Arc<Port>,
    module: Arc<LoadedModule>,
    params: BTreeMap<String, Value>,
    reach: &[u32],
) -> Result<Arc<Instance>, String> {
    Instance::new(port.clone(), module, params, reach).map_err(|e| format!("memory for the driver: {e}"))
}

/// Places in the table of operations for one lane of `slots` slots under a driver.
pub(crate) fn ops_room(manifest: &Manifest, slots: u32) -> u32 {
    ops_of((manifest.ops, manifest.port_ops), slots)
}

/// The same for one that has so many for each request, and so many beside.
fn ops_of((each, beside): (u32, u32), slots: u32) -> u32 {
    each.saturating_mul(slots).saturating_add(beside).saturating_add(TIMER_ROOM)
}

/// Values of every parameter of a port under a driver: the driver's own, and the shell's.
pub(crate) fn resolve(
    manifest: &Manifest,
    shell: ShellDefaults,
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Value>, String> {
    params::resolve(&params::table(&manifest.params, shell), given).map_err(|errors| {
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        all.join("; ")
    })
}

//! Ports that are kept without a driver: `admin_state=down`.
//!
//! A port is down from its start on, or by an activation. It keeps its name, its memory and what its last
//! driver left, and the module that is attached when it comes up again. Nothing of that module runs, none of
//! its handles is open, and requests of clients that are there end with `ENODEV`.

use crate::change::prepare::{discard, ops_room, prepare, resolve};
use crate::change::time_limit::probe_within;
use crate::change::update::{conclude, run_with};
use crate::clock::{now_ns, unix_ms};
use crate::control::Control;
use crate::driver::instance::Instance;
use crate::error::{EngineError, ErrorKind};
use crate::ids::LaneId;
use crate::info::DeviceInfo;
use crate::port::Port;
use crate::port::config::{ClientNames, PortSpec};
use crate::port::rules::{HardwareId, PortRules};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use steadfast_loader::LoadedModule;
use steadfast_shell::activation::Came;
use steadfast_shell::check;
use steadfast_shell::params::{AdminState, ParamKind, ShellDefaults, ShellParams, Value};
use steadfast_shell::properties::Properties;
use steadfast_shell::receipt::{Mode, Outcome, Receipt};
use steadfast_shell::sync::lock;
use steadfast_shell::update::{IfBusy, Plan, Update};

/// How long queues may take to take a driver in that comes up.
const COMES_UP: Duration = Duration::from_secs(10);

/// Whether a port with these values is to have no driver.
pub(crate) fn is_down(values: &BTreeMap<String, Value>, defaults: ShellDefaults) -> bool {
    ShellParams::from_values(values, defaults).admin_state == AdminState::Down
}

impl Port {
    /// The module that is attached when the port comes up; `None` unless it is down.
    pub(crate) fn waiting_module(&self) -> Option<Arc<LoadedModule>> {
        lock(&self.inner).down.clone()
    }

    /// The module of the driver that serves, or is to serve once the port comes up.
    pub(crate) fn module(&self) -> Option<Arc<LoadedModule>> {
        let inner = lock(&self.inner);
        inner.serving.as_ref().map(|i| i.module.clone()).or_else(|| inner.down.clone())
    }

    /// The values that a port which is down has.
    pub(crate) fn values_down(&self, module: &LoadedModule) -> BTreeMap<String, Value> {
        let given = lock(&self.inner).properties.given();
        resolve(module.manifest(), self.shell, &given).unwrap_or_default()
    }

    /// Clients that have devices of the port open, in words; `None` without any.
    pub(crate) fn in_use(&self) -> Option<String> {
        let clients = lock(&self.inner).clients();
        (clients > 0).then(|| self.used_by(clients))
    }

    /// Nobody gets a device of the port from here on, so that it can go down. Clients that have one keep it
    /// up, unless forced; another port that lies over it does in any case.
    ///
    /// # Errors
    /// Who uses it; nothing has changed.
    pub(crate) fn begin_going_down(&self, engine: &Control, force: bool) -> Result<(), String> {
        let _one_by_one = lock(&engine.directory.stacking);
        let (name, uppers) = (&self.name, engine.directory.uppers(self));
        if !uppers.is_empty() {
            let uppers = uppers.join(", ");
            return Err(format!(
                "port {name} is in use by ports that lie over it, to be taken down first: {uppers}"
            ));
        }
        let clients = {
            let mut inner = lock(&self.inner);
            let clients = inner.clients();
            if clients == 0 || force {
                inner.shut = true;
                return Ok(());
            }
            clients
        };
        Err(format!("{}, whose requests would fail", self.used_by(clients)))
    }

    /// What is to be said to who wants something of a driver that a port does not have.
    pub(crate) fn no_driver(&self) -> String {
        let name = &self.name;
        if self.waiting_module().is_some() {
            format!(
                "port {name} is down (admin_state): it has no driver until it is activated with admin_state=up"
            )
        } else {
            format!("port {name} has no driver: parameters can be given with an update")
        }
    }
}

/// Clients of a port that are named at most; the others are counted.
const MOST_NAMED: usize = 3;

/// That a port is in use; `names` says by whom, as far as it is known.
pub(crate) fn used_by(port: &str, clients: u32, names: &[String]) -> String {
    let plural = if clients == 1 { "client" } else { "clients" };
    let mut used = format!("port {port} is in use by {clients} {plural}");
    if !names.is_empty() {
        let more = (names.len() > MOST_NAMED).then(|| format!("{} more", names.len() - MOST_NAMED));
        let said: Vec<String> = names.iter().take(MOST_NAMED).cloned().chain(more).collect();
        used.push_str(&format!(" ({})", said.join("; ")));
    }
    used
}

impl Port {
    /// That it is in use by so many clients, and who they are. No lock is to be held.
    pub(crate) fn used_by(&self, clients: u32) -> String {
        used_by(&self.name, clients, &self.client_names())
    }

    pub(crate) fn client_names(&self) -> Vec<String> {
        self.directory
            .upgrade()
            .and_then(|directory| Some(directory.client_names.get()?.of(&self.name)))
            .unwrap_or_default()
    }
}

impl Control {
    /// As [`Engine::name_clients`](crate::Engine::name_clients).
    pub(crate) fn name_clients(&self, names: ClientNames) {
        let _ = self.directory.client_names.set(names);
    }

    /// As [`Engine::used_by`](crate::Engine::used_by).
    pub(crate) fn used_by(&self, port: &str, clients: u32) -> String {
        match self.find(port) {
            Some(port) => port.used_by(clients),
            None => used_by(port, clients, &[]),
        }
    }

    /// As [`Engine::first_device`](crate::Engine::first_device).
    pub(crate) fn first_device(&self) -> Option<DeviceInfo> {
        let ports = self.directory.ports.read().unwrap_or_else(PoisonError::into_inner);
        for port in ports.values() {
            let inner = lock(&port.inner);
            if inner.down.is_some() {
                return None;
            }
            if let Some(device) = inner.devices.first().cloned() {
                drop(inner);
                return Some(port.device_info(&device));
            }
        }
        None
    }

    /// Makes a port that begins without a driver; nothing of its module runs.
    pub(crate) fn make_down(
        &self,
        spec: &PortSpec,
        params: &BTreeMap<String, Value>,
        rules: &PortRules,
    ) -> Result<Arc<Port>, EngineError> {
        let shell = ShellParams::from_values(params, self.directory.config.shell_defaults());
        let port = self.make_port(spec, rules, &shell, &self.queues_below(spec))?;
        let ops = ops_room(spec.module.manifest(), port.limits.slots());
        for (index, remote) in port.remotes.iter().enumerate() {
            let (id, own) = (LaneId(port.id.0), port.clone());
            let made = remote.call(move |rt| {
                rt.add_lane(own, index, ops);
                rt.take_lane_down(id);
            });
            if made.is_none() {
                self.remove_lanes(&port);
                port.seat.leave();
                return Err(EngineError::new(ErrorKind::Unresponsive, "a queue's thread does not answer"));
            }
        }
        lock(&port.inner).down = Some(spec.module.clone());
        Ok(port)
    }

    /// The queues for a port that nobody asks yet what it opens: where it names a device, that device's.
    fn queues_below(&self, spec: &PortSpec) -> Vec<usize> {
        let mut within: Vec<usize> = (0..self.queues.remotes.len()).collect();
        let text = |name: &String| {
            let params = &spec.module.manifest().params;
            params.iter().any(|p| p.name == *name && p.kind == ParamKind::Str)
        };
        for (_, value) in spec.params.iter().filter(|(name, _)| text(name)) {
            let Some((lower, _)) = self.directory.resolve(value) else { continue };
            let on = |queue: &&usize| lower.queues.contains(queue);
            let fewer: Vec<usize> = within.iter().filter(on).copied().collect();
            if fewer.len() >= spec.queues.unwrap_or(1).max(1) {
                within = fewer;
            }
        }
        within
    }

    /// A port that is down gets its driver, under these values and properties. If it cannot it stays down,
    /// unless a driver does not return from a call.
    pub(crate) fn bring_up(
        &self,
        port: &Arc<Port>,
        module: Arc<LoadedModule>,
        values: BTreeMap<String, Value>,
        next: Properties,
        force: bool,
        receipt: &mut Receipt,
    ) -> Result<(), Came> {
        probe_within(&module, port, COMES_UP).map_err(Came::Failed)?;
        let instance = prepare(port, None, module, values, COMES_UP).map_err(|not| match not.busy {
            true => Came::Busy(not.why),
            false => Came::Failed(not.why),
        })?;
        port.arenas.started();
        let hardware = port.hardware();
        let row =
            hardware.as_ref().map(|h: &HardwareId| check::hardware(instance.module.manifest(), h.side()));
        if let Some(row) = row.filter(|row| !row.ok) {
            discard(instance);
            return Err(Came::Failed(row.detail));
        }
        if let Err(why) = port.begin_exchange(&instance, force) {
            discard(instance);
            return Err(Came::Busy(why));
        }
        let deadline_ns = COMES_UP.as_nanos() as u64;
        let plan =
            Plan { mode: Mode::Drain, if_busy: IfBusy::Wait, deadline_ns, has_old: false, has_new: true };
        let update = Update::prepared(plan, now_ns());
        let handling = (Mode::Drain, None);
        let before = lock(&port.inner).properties.clone();
        let done = run_with(port, None, Some(instance), handling, update, COMES_UP, Some(next));
        if let (Some(why), Some(now)) = (done.job.trouble(), done.job.new.clone()) {
            conclude(port, done, receipt);
            port.reopen();
            return Err(go_down_again(port, now, before, why, receipt));
        }
        let answered = done.answered;
        conclude(port, done, receipt);
        port.reopen();
        match receipt.outcome {
            Outcome::Done => Ok(()),
            _ if answered => Err(Came::Failed(receipt.reason.clone())),
            _ => Err(Came::Stranded(receipt.reason.clone())),
        }
    }
}

/// A driver that came up, and failed with its first steps, lets go again.
fn go_down_again(
    port: &Arc<Port>,
    now: Arc<Instance>,
    before: Properties,
    why: String,
    receipt: &mut Receipt,
) -> Came {
    let deadline_ns = COMES_UP.as_nanos() as u64;
    let plan = Plan { mode: Mode::Adopt, if_busy: IfBusy::Wait, deadline_ns, has_old: true, has_new: false };
    let mut update = Update::prepared(plan, now_ns());
    if now.is_abandoned() {
        update.without_consent();
    }
    let done = run_with(port, Some(now), None, (Mode::Adopt, None), update, COMES_UP, Some(before));
    conclude(port, done, receipt);
    match receipt.outcome {
        Outcome::Done => {
            port.close_all_but(&[]);
            Came::Failed(why)
        }
        _ => Came::Stranded(format!("{why}; and it did not let go: {}", receipt.reason)),
    }
}

impl Port {
    /// Other values for a port that is down and stays so.
    pub(crate) fn stay_down(&self, values: &BTreeMap<String, Value>, next: Properties) {
        let mut inner = lock(&self.inner);
        inner.properties = next;
        self.limits.apply(&ShellParams::from_values(values, self.shell));
        self.count_attach();
    }

    /// The port was initialised anew: its generation and its epoch say so.
    pub(crate) fn count_attach(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.epoch_unix_ms.store(unix_ms(), Ordering::Release);
    }
}

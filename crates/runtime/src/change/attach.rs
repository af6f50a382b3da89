//! The first driver of a port comes, and the last one goes.

use crate::change::down::is_down;
use crate::change::prepare::{new_instance, ops_room, resolve};
use crate::change::swap::Verdict;
use crate::change::time_limit::probe_within;
use crate::change::update::{STUCK, run};
use crate::clock::now_ns;
use crate::control::Control;
use crate::driver::instance::Instance;
use crate::error::{EngineError, ErrorKind};
use crate::ids::LaneId;
use crate::port::Port;
use crate::port::config::PortSpec;
use crate::port::rules::{HardwareId, PortRules};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::Duration;
use steadfast_loader::LoadedModule;
use steadfast_shell::check::{self, CheckInput, Side};
use steadfast_shell::params::{ShellParams, Value};
use steadfast_shell::receipt::Mode;
use steadfast_shell::sync::lock;
use steadfast_shell::update::{IfBusy, Plan, Update};

/// How long a first driver may take to connect.
const FIRST: Duration = Duration::from_secs(10);

impl Control {
    /// As [`Engine::attach`](crate::Engine::attach).
    pub(crate) fn attach(&self, spec: PortSpec) -> Result<(), EngineError> {
        self.attach_under(spec, PortRules::default())
    }

    /// As [`Engine::attach_under`](crate::Engine::attach_under).
    pub(crate) fn attach_under(&self, spec: PortSpec, rules: PortRules) -> Result<(), EngineError> {
        let name = spec.name.clone();
        if self.find(&name).is_some() {
            return Err(EngineError::new(ErrorKind::Exists, format!("port {name} exists already")));
        }
        let given = &spec.params;
        let params = resolve(spec.module.manifest(), self.directory.config.shell_defaults(), given)
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
        let down = is_down(&params, self.directory.config.shell_defaults());
        let made = if down { Control::make_down } else { Control::make_first };
        let port = made(self, &spec, &params, &rules)?;
        let too_small = port.too_small(&rules.at_least);
        if !too_small.is_empty() {
            let _ = self.disconnect_last(&port, Duration::from_secs(1), true);
            port.seat.leave();
            return Err(EngineError::new(ErrorKind::Smaller, too_small.join("; ")));
        }
        let mut ports = self.directory.ports.write().unwrap_or_else(PoisonError::into_inner);
        if ports.contains_key(&name) {
            drop(ports);
            if let Err(e) = self.disconnect_last(&port, Duration::from_secs(1), true) {
                tracing::error!(port = name, "the one that came second does not let go: {e}");
            }
            port.seat.leave();
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
        let shell = ShellParams::from_values(params, self.directory.config.shell_defaults());
        let mut within: Vec<usize> = (0..self.queues.remotes.len()).collect();
        loop {
            let port = self.make_port(spec, rules, &shell, &within)?;
            let Err(e) = self.connect_first(&port, spec.module.clone(), params.clone()) else {
                return Ok(port);
            };
            self.remove_lanes(&port);
            port.close_all_but(&[]);
            port.seat.leave();
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
        let limit = port.limits.drain_timeout().max(FIRST);
        probe_within(&module, port, limit).map_err(failed)?;
        let instance = new_instance(port, module, params, &[]).map_err(failed)?;
        port.arenas.started();
        for (index, remote) in port.remotes.iter().enumerate() {
            let ops = ops_room(instance.module.manifest(), instance.slot_count(index));
            let port = port.clone();
            remote.call(move |rt| rt.add_lane(port, index, ops));
        }
        if let Err(e) = instance.prepare(limit) {
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
            deadline_ns: FIRST.as_nanos() as u64,
            has_old: false,
            has_new: true,
        };
        let update = Update::prepared(plan, now_ns());
        let done = run(port, None, Some(instance.clone()), (Mode::Drain, None), update, FIRST);
        if let Some(why) = done.job.trouble() {
            drop(done);
            let_go(port, &instance, Mode::Adopt, STUCK, true).map_err(|_| failed(why.clone()))?;
            instance.release();
            return Err(failed(why));
        }
        if done.job.verdict() == Verdict::New {
            return Ok(());
        }
        if done.answered {
            instance.release();
        }
        Err(failed(done.reason()))
    }

    /// As [`Engine::detach`](crate::Engine::detach).
    pub(crate) fn detach(&self, name: &str, force: bool) -> Result<(), EngineError> {
        let port = self.find(name).ok_or_else(|| self.not_found(name))?;
        if let Some(used) = port.in_use().filter(|_| !force) {
            let uppers = self.directory.uppers(&port).join(", ");
            let over =
                if uppers.is_empty() { uppers } else { format!("; devices that lie over it: {uppers}") };
            return Err(EngineError::new(ErrorKind::Busy, format!("{used}{over}")));
        }
        let patience = if force { Duration::from_secs(5) } else { port.limits.drain_timeout() };
        if force {
            self.end_trial(&port, "the device is taken away", patience);
        }
        self.take_away(&port, patience, force)
    }

    /// Takes a port away; by force, it goes even if its driver does not finish what it has.
    pub(crate) fn take_away(
        &self,
        port: &Arc<Port>,
        patience: Duration,
        force: bool,
    ) -> Result<(), EngineError> {
        if force {
            self.give_up_calls(port);
        }
        let _turn = self.turn(port, "its removal")?;
        self.disconnect_last(port, patience, force)?;
        lock(&self.directory.generations).insert(port.name.clone(), port.generation());
        let mut ports = self.directory.ports.write().unwrap_or_else(PoisonError::into_inner);
        ports.remove(&port.name);
        port.seat.leave();
        Ok(())
    }

    fn disconnect_last(&self, port: &Arc<Port>, patience: Duration, force: bool) -> Result<(), EngineError> {
        let old = lock(&port.inner).serving.clone();
        if let Some(old) = old {
            let let_go = |mode| let_go(port, &old, mode, patience, force);
            let gone = let_go(Mode::Drain).or_else(|why| match why {
                // What it has in flight ends with an error once its lanes go.
                NotGone::Serves(why) if force => {
                    tracing::warn!(port = port.name, "taken away by force: {why}");
                    let_go(Mode::Adopt)
                }
                why => Err(why),
            });
            if let Err(NotGone::Serves(why) | NotGone::Stuck(why)) = gone {
                let what = format!("port {}: not detached: {why}", port.name);
                return Err(EngineError::new(ErrorKind::Driver, what));
            }
            old.release();
        }
        self.remove_lanes(port);
        port.close_all_but(&[]);
        // What was kept for drivers that are in no call goes with the port.
        drop(std::mem::take(&mut lock(&port.inner).abandoned));
        Ok(())
    }

    pub(crate) fn remove_lanes(&self, port: &Arc<Port>) {
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
}

/// Why a driver has not let go of its port.
enum NotGone {
    /// It serves as before.
    Serves(String),
    /// It does not return from a call.
    Stuck(String),
}

/// Has the last driver let go of its port: with what it has finished (`Drain`), or as it is (`Adopt`).
fn let_go(
    port: &Arc<Port>,
    old: &Arc<Instance>,
    mode: Mode,
    patience: Duration,
    force: bool,
) -> Result<(), NotGone> {
    let deadline_ns = patience.as_nanos() as u64;
    let plan = Plan { mode, if_busy: IfBusy::Wait, deadline_ns, has_old: true, has_new: false };
    let mut update = Update::prepared(plan, now_ns());
    if force {
        update.without_consent();
    }
    let done = run(port, Some(old.clone()), None, (mode, None), update, patience);
    if !done.answered {
        lock(&port.inner).unfinished = Some(done.job.clone());
        return Err(NotGone::Stuck(done.reason()));
    }
    if done.job.verdict() == Verdict::New { Ok(()) } else { Err(NotGone::Serves(done.reason())) }
}

//! Parameters that change while the port runs.
//!
//! Every queue of the port holds its requests; the last one to arrive tells the driver, value by
//! value; then all go on. A value that the driver refuses is taken back together with those before it,
//! so that a set of changes is made whole or not at all. With one queue all of that is one function
//! call on its thread; with several, a queue that has arrived goes on with its other ports until it is
//! told to release.

#![allow(unsafe_code)] // lanes, see `Lane`

use crate::core::now_ns;
use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use crate::handle::lock;
use crate::instance::Instance;
use crate::lane::Lane;
use crate::port::Port;
use crate::reactor::Reactor;
use crate::{LaneId, ParamInfo};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast_shell::params::{Change, ParamSpec, Value, live_change};

/// How long the port's queues may take to arrive, and the driver to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// One value that has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParamChange {
    /// Name.
    pub name: String,
    /// Value before; `None` where it was undefined.
    pub before: Option<String>,
    /// Value since.
    pub after: Option<String>,
}

/// What a set of changes has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParamReport {
    /// Port.
    pub port: String,
    /// Values that are others than before.
    pub changed: Vec<ParamChange>,
    /// How long requests were held, nanoseconds.
    pub pause_ns: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// Queues hold; so many are still to come.
    Gathering(usize),
    /// The driver is told.
    Telling,
    /// Given up before all had come: whoever comes now does not hold.
    GivenUp,
    Over,
}

/// A set of changes under way on one port.
#[derive(Debug)]
pub(crate) struct Changing {
    port: Arc<Port>,
    instance: Arc<Instance>,
    change: Change,
    progress: Mutex<Progress>,
    finished: SyncSender<Result<u64, String>>,
}

#[derive(Debug)]
struct Progress {
    phase: Phase,
    /// Places of the queues that hold.
    holding: Vec<usize>,
    hold_ns: u64,
}

impl Changing {
    /// The driver does not run any more on behalf of it, and no queue will hold for it.
    pub(crate) fn is_over(&self) -> bool {
        matches!(lock(&self.progress).phase, Phase::Over | Phase::GivenUp)
    }

    /// A queue holds the port; the last one tells the driver.
    fn arrive(self: &Arc<Changing>, rt: &mut Reactor) {
        let Some(lane) = rt.lane_of(LaneId(self.port.id.0)) else { return };
        let last = {
            let mut progress = lock(&self.progress);
            let Phase::Gathering(left) = progress.phase else { return };
            // SAFETY: this thread's lane, and nobody is inside its driver: tasks run in the loop.
            unsafe {
                Lane::close(lane.as_ptr(), true);
                (*lane.as_ptr()).seal();
                progress.holding.push((*lane.as_ptr()).index);
            }
            if progress.hold_ns == 0 {
                progress.hold_ns = now_ns();
            }
            progress.phase = if left == 1 { Phase::Telling } else { Phase::Gathering(left - 1) };
            left == 1
        };
        if !last {
            return;
        }
        let told = self.tell();
        if told.is_ok() {
            lock(&self.port.inner).given.clone_from(&self.change.given);
        }
        // SAFETY: as above.
        let own = unsafe { (*lane.as_ptr()).index };
        let (others, pause_ns) = {
            let mut progress = lock(&self.progress);
            progress.phase = Phase::Over;
            (std::mem::take(&mut progress.holding), now_ns().saturating_sub(progress.hold_ns))
        };
        self.release_at(others.into_iter().filter(|index| *index != own));
        rt.release_lane(LaneId(self.port.id.0));
        let _ = self.finished.try_send(told.map(|()| pause_ns));
    }

    fn release_at(&self, places: impl Iterator<Item = usize>) {
        let id = LaneId(self.port.id.0);
        places.for_each(|index| self.port.remotes[index].post(Box::new(move |rt| rt.release_lane(id))));
    }

    /// Gives every new value to the driver, or none.
    fn tell(&self) -> Result<(), String> {
        let mut told: Vec<(&str, Option<Value>)> = Vec::new();
        for name in &self.change.changed {
            let before = self.instance.set_param(name, self.change.values.get(name).cloned());
            let result = self.instance.param_changed(name);
            told.push((name, before));
            let Err(why) = result else { continue };
            let mut why = format!("{name}={} is refused: {why}", self.wanted(name));
            for (name, before) in told.into_iter().rev() {
                self.instance.set_param(name, before);
                if let Err(e) = self.instance.param_changed(name) {
                    why.push_str(&format!("; and {name} does not go back to what it was: {e}"));
                }
            }
            return Err(why);
        }
        Ok(())
    }

    fn wanted(&self, name: &str) -> String {
        self.change.values.get(name).map_or("undefined".to_owned(), ToString::to_string)
    }

    /// Gives it up, unless every queue has arrived; true when it did.
    fn give_up(&self) -> bool {
        let mut progress = lock(&self.progress);
        if !matches!(progress.phase, Phase::Gathering(_)) {
            return false;
        }
        progress.phase = Phase::GivenUp;
        let holding = std::mem::take(&mut progress.holding);
        drop(progress);
        self.release_at(holding.into_iter());
        true
    }
}

impl Instance {
    /// Every parameter of the driver, as it is now.
    pub(crate) fn parameters(&self, given: &BTreeMap<String, String>) -> Vec<ParamInfo> {
        let info = |spec: &ParamSpec| ParamInfo {
            name: spec.name.clone(),
            value: self.param(&spec.name).map(|v| v.to_string()),
            given: given.contains_key(&spec.name),
            default: spec.default.as_ref().map(ToString::to_string),
            allowed: spec.allowed(),
            unit: spec.unit.clone(),
            class: spec.class,
            help: spec.help.clone(),
        };
        self.module.manifest().params.iter().map(info).collect()
    }
}

impl Reactor {
    /// A port goes on after its parameters have changed, or not.
    fn release_lane(&mut self, id: LaneId) {
        let Some(lane) = self.lane_of(id) else { return };
        // SAFETY: this thread's lane, sealed by `arrive`; nobody is inside its driver: tasks run in the
        // loop.
        unsafe {
            Lane::open(lane.as_ptr(), false);
            Lane::commit(lane.as_ptr());
        }
    }
}

impl Engine {
    /// Changes live parameters of a port while it runs; `None` goes back to the default. All of the
    /// changes are made or none, between two requests of the driver; they stay through updates.
    ///
    /// # Errors
    /// `NotFound`; `Invalid`: unknown, out of range or not live, each named with what is allowed;
    /// `Busy`: an update is under way, or nobody serves the port; `Driver`: the driver refused a value,
    /// and has the old ones again; `Unresponsive`: a queue does not answer.
    pub fn set_param(
        &self,
        name: &str,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<ParamReport, EngineError> {
        let port = self.find(name).ok_or_else(|| self.not_found(name))?;
        let _turn = self.turn(&port, "a change of parameters")?;
        let Some(instance) = lock(&port.inner).serving.clone() else {
            let what = format!("port {name} has no driver: parameters can be given with an update");
            return Err(EngineError::new(ErrorKind::Busy, what));
        };
        let given = lock(&port.inner).given.clone();
        let change = live_change(&instance.module.manifest().params, &given, changes).map_err(|faults| {
            let all: Vec<String> = faults.iter().map(ToString::to_string).collect();
            EngineError::new(ErrorKind::Invalid, format!("port {name}: {}", all.join("; ")))
        })?;
        let changed = change.changed.iter().map(|name| ParamChange {
            name: name.clone(),
            before: instance.param(name).map(|v| v.to_string()),
            after: change.values.get(name).map(ToString::to_string),
        });
        let changed: Vec<ParamChange> = changed.collect();
        let report = |pause_ns| ParamReport { port: name.to_owned(), changed, pause_ns };
        if change.changed.is_empty() {
            lock(&port.inner).given = change.given;
            return Ok(report(0));
        }
        self.make_change(&port, instance, change).map(report)
    }

    fn make_change(
        &self,
        port: &Arc<Port>,
        instance: Arc<Instance>,
        change: Change,
    ) -> Result<u64, EngineError> {
        let (finished, answer) = sync_channel(1);
        let phase = Phase::Gathering(port.queues.len());
        let progress = Mutex::new(Progress { phase, holding: Vec::new(), hold_ns: 0 });
        let changing = Arc::new(Changing { port: port.clone(), instance, change, progress, finished });
        for remote in &port.remotes {
            let changing = changing.clone();
            remote.post(Box::new(move |rt| changing.arrive(rt)));
        }
        let name = &port.name;
        let failed = |kind, what: String| Err(EngineError::new(kind, format!("port {name}: {what}")));
        let stuck = |what| failed(ErrorKind::Unresponsive, format!("a driver may be stuck: {what}"));
        match answer.recv_timeout(PATIENCE) {
            Ok(Ok(pause_ns)) => Ok(pause_ns),
            Ok(Err(why)) => failed(ErrorKind::Driver, why),
            Err(_) if changing.give_up() => stuck("one of its queues does not answer; nothing was changed"),
            Err(_) => {
                lock(&port.inner).changing = Some(changing);
                stuck("it does not return from `param_changed`; requests stay held until it does")
            }
        }
    }
}

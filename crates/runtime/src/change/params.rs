//! Parameters that change while the port runs.
//!
//! The driver is told value by value while the port is held, see [`visit`]. A value that it refuses is
//! taken back together with those before it, so that a set of changes is made whole or not at all. What
//! is the shell's own comes last; without anything for the driver, the port is not held for it.

use crate::change::hold::visit;
use crate::control::Control;
use crate::driver::instance::Instance;
use crate::error::{EngineError, ErrorKind};
use crate::ids::LaneId;
use crate::info::ParamInfo;
use crate::port::Port;
use crate::port::config::ANSWER;
use crate::queue::Reactor;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use steadfast_loader::LoadedModule;
use steadfast_shell::params::{Change, ParamSpec, Value, is_shells, live_change, table};
use steadfast_shell::properties::Definitions;
use steadfast_shell::sync::lock;

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
    /// Values that differ from before.
    pub changed: Vec<ParamChange>,
    /// How long requests were held, nanoseconds.
    pub pause_ns: u64,
    /// Everything that was defined before.
    pub defined_before: Definitions,
    /// Everything that is since.
    pub defined: Definitions,
}

/// A set of changes for one driver.
#[derive(Debug)]
struct Changing {
    port: Arc<Port>,
    instance: Arc<Instance>,
    change: Change,
}

impl Changing {
    /// Gives every new value to the driver, or none.
    fn tell(&self) -> Result<(), String> {
        let mut told: Vec<(&str, Option<Value>)> = Vec::new();
        for name in self.change.changed.iter().filter(|name| !is_shells(name)) {
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
        if self.instance.is_abandoned() {
            return Err("it returned too late".to_owned());
        }
        self.carry_out();
        Ok(())
    }

    /// What is the shell's it carries out itself: there is nobody to refuse it.
    fn carry_out(&self) {
        for name in self.change.changed.iter().filter(|name| is_shells(name)) {
            self.instance.set_param(name, self.change.values.get(name).cloned());
        }
        self.port.limits.apply(&self.instance.shell_params());
    }

    fn wanted(&self, name: &str) -> String {
        self.change.values.get(name).map_or("undefined".to_owned(), ToString::to_string)
    }
}

impl Instance {
    /// Every parameter of the port under this driver.
    pub(crate) fn table(&self) -> Vec<ParamSpec> {
        table(&self.module.manifest().params, self.port.shell)
    }

    /// The same, as they are now.
    pub(crate) fn parameters(&self, given: &BTreeMap<String, String>) -> Vec<ParamInfo> {
        self.table().iter().map(|spec| info(spec, self.param(&spec.name), given)).collect()
    }
}

impl Port {
    /// Every parameter of a port that is down, as it is once the port comes up.
    pub(crate) fn parameters_down(&self, module: &LoadedModule) -> Vec<ParamInfo> {
        let (values, given) = (self.values_down(module), lock(&self.inner).properties.given());
        let table = table(&module.manifest().params, self.shell);
        table.iter().map(|spec| info(spec, values.get(&spec.name).cloned(), &given)).collect()
    }
}

fn info(spec: &ParamSpec, value: Option<Value>, given: &BTreeMap<String, String>) -> ParamInfo {
    ParamInfo {
        name: spec.name.clone(),
        value: value.map(|v| v.to_string()),
        given: given.contains_key(&spec.name),
        default: spec.default.as_ref().map(ToString::to_string),
        allowed: spec.allowed(),
        unit: spec.unit.clone(),
        class: spec.class,
        help: spec.help.clone(),
    }
}

/// Has every queue do something with its lane of a port; one that does not answer does so once it can.
fn on_all(port: &Port, what: fn(&mut Reactor, LaneId)) {
    let id = LaneId(port.id.0);
    for remote in &port.remotes {
        remote.ask(ANSWER, move |rt| what(rt, id));
    }
}

impl Control {
    /// As [`Engine::parameters`](crate::Engine::parameters).
    pub(crate) fn parameters(&self, name: &str) -> Option<(Vec<ParamSpec>, BTreeMap<String, Value>)> {
        let port = self.find(name)?;
        let serving = lock(&port.inner).serving.clone();
        if let Some(serving) = serving {
            return Some((serving.table(), serving.values()));
        }
        let module = port.waiting_module()?;
        Some((table(&module.manifest().params, port.shell), port.values_down(&module)))
    }

    /// As [`Engine::set_param`](crate::Engine::set_param).
    pub(crate) fn set_param(
        &self,
        name: &str,
        changes: &BTreeMap<String, Option<String>>,
        who: &str,
    ) -> Result<ParamReport, EngineError> {
        let port = self.find(name).ok_or_else(|| self.not_found(name))?;
        let _turn = self.turn(&port, "a change of parameters")?;
        let Some(instance) = lock(&port.inner).serving.clone() else {
            return Err(EngineError::new(ErrorKind::Busy, port.no_driver()));
        };
        let given = lock(&port.inner).properties.given();
        let change = live_change(&instance.table(), &given, changes).map_err(|faults| {
            let all: Vec<String> = faults.iter().map(ToString::to_string).collect();
            EngineError::new(ErrorKind::Invalid, format!("port {name}: {}", all.join("; ")))
        })?;
        let changed = change.changed.iter().map(|name| ParamChange {
            name: name.clone(),
            before: instance.param(name).map(|v| v.to_string()),
            after: change.values.get(name).map(ToString::to_string),
        });
        let changed: Vec<ParamChange> = changed.collect();
        let defined_before = lock(&port.inner).properties.in_force();
        let report = |pause_ns| {
            let defined = lock(&port.inner).properties.in_force();
            ParamReport { port: name.to_owned(), changed, pause_ns, defined_before, defined }
        };
        if change.changed.is_empty() {
            crate::change::update::change(&mut lock(&port.inner).properties, changes, who);
            return Ok(report(0));
        }
        let (changes, who) = (changes.clone(), who.to_owned());
        let changing = Changing { port: port.clone(), instance, change };
        let only_shells = changing.change.changed.iter().all(|name| is_shells(name));
        let make = move || {
            changing.tell()?;
            crate::change::update::change(&mut lock(&changing.port.inner).properties, &changes, &who);
            Ok(())
        };
        if only_shells {
            on_all(&port, Reactor::count_lane_in);
            let made = make();
            on_all(&port, Reactor::take_limits_over);
            return made.map(|()| report(0)).map_err(|why: String| EngineError::new(ErrorKind::Driver, why));
        }
        visit(&port, "param_changed", make).map(report)
    }
}

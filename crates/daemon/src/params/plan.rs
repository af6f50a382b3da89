//! What an activation would change.

use super::show::is_unsaved;
use crate::app::App;
use crate::params::save::is_to_be_down;
use crate::params::view::View;
use std::collections::BTreeMap;
use steadfast_api::{PlannedChange, PortPlan, Problem};
use steadfast_runtime::Exchange;
use steadfast_shell::params::{ActivationClass, ParamSpec, Value};
use steadfast_shell::properties::Definitions;

impl App {
    /// What an activation of a port would change.
    ///
    /// # Errors
    /// As for [`view`](App::view); the saved set will not do.
    pub(crate) fn plan(&self, name: &str) -> Result<PortPlan, Problem> {
        let view = self.view(name)?;
        let mut plan = self.plan_of(&view, &view.saved.clone())?;
        let changed = plan.changes.iter().map(|change| (change.name.clone(), change.saved.clone()));
        plan.refusals = self.engine.gone_behind(&plan.port, &changed.collect());
        Ok(plan)
    }

    /// The same for any set.
    pub(super) fn plan_of(&self, view: &View, definitions: &Definitions) -> Result<PortPlan, Problem> {
        let judged = view.judge(definitions)?;
        let port = view.info.name.clone();
        let turn = Turn::of(view.is_down(), &judged);
        let users = view.info.module.as_ref().map(|m| self.engine.ports_of(&m.hash)).unwrap_or_default();
        let alone = users.iter().all(|user| *user == port);
        let changed = changes(&view.values, &judged);
        let (exchange, shrinks) =
            (self.engine.exchange(&port, &changed), self.engine.shrinks(&port, &changed));
        let effect = |name: &str, after: Option<&Value>| {
            let mut effect = turn.effect(&port);
            match &exchange {
                Some(exchange) if after.is_some_and(|after| after.to_string() == exchange.to) => {
                    effect.push_str(&format!(", {}", other_contents(exchange.clients)));
                }
                _ => {}
            }
            if let Some(shrink) = shrinks.as_ref().filter(|shrink| shrink.param == name) {
                effect.push_str(&format!(
                    ", and makes the device smaller, {} bytes in the place of {}: takes --force",
                    shrink.to, shrink.from
                ));
            }
            effect
        };
        let change = |spec: &ParamSpec| {
            let (current, saved) = (view.values.get(&spec.name), judged.get(&spec.name));
            let undone = is_unsaved(view.info.properties.get(&spec.name));
            (current != saved).then(|| PlannedChange {
                undone,
                name: spec.name.clone(),
                current: current.map(ToString::to_string),
                saved: saved.map(ToString::to_string),
                source: definitions.get(&spec.name).map(|d| d.source.to_string()).unwrap_or_default(),
                class: spec.class.name().to_owned(),
                effect: {
                    let what = match spec.class {
                        ActivationClass::Live | ActivationClass::Reinit => effect(&spec.name, saved),
                        ActivationClass::Reload if alone => effect(&spec.name, saved),
                        ActivationClass::Reload => format!("`activate --reload`: {}", users.join(", ")),
                    };
                    let shown = || current.map_or("undefined".to_owned(), ToString::to_string);
                    match undone {
                        true => {
                            format!("{what}, and undoes {}={}, which was never saved", spec.name, shown())
                        }
                        false => what,
                    }
                },
            })
        };
        Ok(PortPlan {
            fingerprint: fingerprint(view),
            generation: view.info.generation,
            changes: view.table.iter().filter_map(change).collect(),
            refusals: Vec::new(),
            port: port.clone(),
        })
    }

    /// Other contents that a plan puts under a port's clients.
    pub(super) fn planned_exchange(&self, plan: &PortPlan) -> Option<Exchange> {
        let saved = plan.changes.iter().map(|change| (change.name.clone(), change.saved.clone()));
        self.engine.exchange(&plan.port, &saved.collect())
    }
}

/// Values that would differ from now.
fn changes(
    now: &BTreeMap<String, Value>,
    next: &BTreeMap<String, Value>,
) -> BTreeMap<String, Option<String>> {
    let changed = next.iter().filter(|(name, value)| now.get(*name) != Some(*value));
    changed.map(|(name, value)| (name.clone(), Some(value.to_string()))).collect()
}

fn other_contents(clients: u32) -> String {
    match clients {
        0 => "with other contents".to_owned(),
        1 => "with other contents under 1 client: takes --force".to_owned(),
        n => format!("with other contents under {n} clients: takes --force"),
    }
}

/// What becomes of the port as a whole.
#[derive(Clone, Copy)]
enum Turn {
    Anew,
    Down,
    Up,
    StaysDown,
}

impl Turn {
    fn of(down: bool, values: &BTreeMap<String, Value>) -> Turn {
        match (down, is_to_be_down(values)) {
            (false, false) => Turn::Anew,
            (false, true) => Turn::Down,
            (true, false) => Turn::Up,
            (true, true) => Turn::StaysDown,
        }
    }

    fn effect(self, port: &str) -> String {
        match self {
            Turn::Anew => format!("initialises {port} anew"),
            Turn::Down => format!("takes {port} down"),
            Turn::Up => format!("brings {port} up"),
            Turn::StaysDown => format!("{port} stays down"),
        }
    }
}

/// Another one where anything is different that a plan was made from.
fn fingerprint(view: &View) -> String {
    let mut hash = blake3::Hasher::new();
    let mut say = |text: &str| {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    say(&view.info.name);
    say(&view.info.generation.to_string());
    say(view.info.module.as_ref().map_or("", |driver| &driver.hash));
    for (name, value) in &view.values {
        say(name);
        say(&value.to_string());
    }
    say("");
    for (name, definition) in &view.saved.clone() {
        say(name);
        say(&definition.value);
    }
    hash.finalize().to_hex()[..32].to_owned()
}

//! Parameters as the control API shows them.

use crate::app::App;
use crate::params::view::{InForce, judge};
use std::collections::BTreeMap;
use steadfast_api::{Problem, Properties, Property};
use steadfast_shell::params::{ParamSpec, Value, is_shells, resolve};
use steadfast_shell::properties::{Definition, Definitions, Source, values_of};

impl App {
    /// Every parameter of a port.
    pub(crate) fn properties(&self, name: &str) -> Result<Properties, Problem> {
        let port = self.in_force(name)?;
        // What is in force needs no file, and is shown also where one has a fault.
        let (definitions, saved_known, mut faults) = match port.saved() {
            Ok((_, definitions)) => (definitions, true, Vec::new()),
            Err(faults) => (Definitions::new(), false, faults),
        };
        let saved = match judge(&port.table, &definitions) {
            _ if !saved_known => port.values.clone(),
            Ok(values) => values,
            // What can be shown of a set that will not do is what of it is right by itself.
            Err(problem) => {
                faults.push(problem.message);
                alone(&port.table, &definitions)
            }
        };
        let property = |spec: &ParamSpec| {
            let shown = describe(&port, spec, &saved, &definitions);
            let unknown = |shown| Property { saved: None, saved_source: None, undone: false, ..shown };
            if saved_known { shown } else { unknown(shown) }
        };
        Ok(Properties {
            port: port.info.name.clone(),
            driver: port.info.module.clone(),
            generation: port.info.generation,
            properties: port.table.iter().map(property).collect(),
            saved_known,
            faults,
            file: port.path().display().to_string(),
        })
    }
}

fn alone(table: &[ParamSpec], definitions: &Definitions) -> BTreeMap<String, Value> {
    let value = |spec: &ParamSpec| match definitions.get(&spec.name) {
        Some(definition) => Some((spec.name.clone(), spec.parse_value(&definition.value).ok()?)),
        None => Some((spec.name.clone(), spec.default.clone()?)),
    };
    table.iter().filter_map(value).collect()
}

/// Whether a value in force comes from a command, and from no file.
pub(super) fn is_unsaved(in_force: Option<&Definition>) -> bool {
    in_force.is_some_and(|definition| matches!(definition.source, Source::Command { .. }))
}

fn describe(
    port: &InForce,
    spec: &ParamSpec,
    saved: &BTreeMap<String, Value>,
    definitions: &Definitions,
) -> Property {
    let name = &spec.name;
    let current = port.values.get(name);
    let in_force = port.info.properties.get(name);
    let wanted = definitions.get(name);
    // A value that will not do is shown as it stands, and differs from every value that does.
    let text = saved.get(name).map(ToString::to_string).or_else(|| wanted.map(|d| d.value.clone()));
    let layer = match in_force {
        None => "default",
        Some(definition) if port.info.load_time.get(name) == Some(definition) => "load-time",
        Some(_) => "driver",
    };
    Property {
        name: name.clone(),
        current: current.map(ToString::to_string),
        source: in_force.map(|d| d.source.to_string()),
        layer: layer.to_owned(),
        pending: saved.get(name) != current,
        undone: saved.get(name) != current && is_unsaved(in_force),
        saved: text,
        saved_source: wanted.map(|d| d.source.to_string()),
        load_time: port.info.load_time.get(name).map(|d| d.value.clone()),
        default: spec.default.as_ref().map(ToString::to_string),
        kind: spec.kind.to_string(),
        allowed: spec.allowed(),
        unit: spec.unit.clone(),
        class: spec.class.name().to_owned(),
        scope: port.scope(spec).to_owned(),
        by: if is_shells(name) { "shell" } else { "driver" }.to_owned(),
        help: spec.help.clone(),
    }
}

/// The value that a set of definitions gives each parameter; none when it will not do.
pub(super) fn values(table: &[ParamSpec], definitions: &Definitions) -> Option<BTreeMap<String, Value>> {
    resolve(table, &values_of(definitions)).ok()
}

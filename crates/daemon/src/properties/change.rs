//! Changes of what is saved. Live parameters take effect with it.

use super::saved::{View, file_problem};
use super::show::values;
use crate::app::App;
use crate::probation::lock;
use std::collections::{BTreeMap, BTreeSet};
use steadfast_api::{Problem, ProblemKind, SaveReport, SaveRequest, Saved};
use steadfast_settings::{DriverFile, Section};
use steadfast_shell::params::{ActivationClass, ParamKind, ParamSpec, Value};
use steadfast_shell::properties::Definitions;

impl App {
    /// Changes saved values of a port, or of all ports of its driver: all of those named, or none. Live
    /// ones are put in force; where the driver refuses them, the file is as it was.
    pub(crate) fn save_params(
        &self,
        name: &str,
        request: &SaveRequest,
        who: &str,
    ) -> Result<SaveReport, Problem> {
        let _editing = lock(&self.edits.editing);
        let first = self.view(name)?;
        let names = names(request)?;
        let mut file = first.file.clone();
        let section = if request.global { Section::Global } else { Section::port(&first.info.name) };
        edit(&mut file, &section, &first, request)?;
        let views = if request.global { self.views_of(file.driver(), first)? } else { vec![first] };
        let mut changed = Vec::new();
        let mut sets = Vec::new();
        // All ports are judged before anything is written.
        for view in &views {
            let after = view.saved_by(&file)?;
            let judged = view.judge(&after)?;
            changed.extend(differences(view, &names, &judged));
            sets.push((after, judged));
        }
        let path = file.path().display().to_string();
        let report = |changed| SaveReport { file: path.clone(), dry_run: request.dry_run, changed };
        if request.dry_run {
            return Ok(report(changed));
        }
        file.save().map_err(|e| file_problem(&e))?;
        for (done, (view, (after, judged))) in views.iter().zip(&sets).enumerate() {
            if let Err(problem) = self.put_in_force(view, &names, after, judged, who) {
                // What took effect on other ports before stays in force there, and shows as pending.
                let mut problem = problem;
                if let Err(e) = restore(&file, &views[0].file) {
                    problem.message.push_str(&format!("; and {path} is not as it was: {e}"));
                } else if done > 0 {
                    problem
                        .message
                        .push_str(&format!("; {path} is as it was, {done} ports have the new values"));
                }
                return Err(problem);
            }
        }
        Ok(report(changed))
    }

    /// Every port of a driver that is served, that of `first` first.
    fn views_of(&self, driver: &str, first: View) -> Result<Vec<View>, Problem> {
        let runs = |p: &steadfast_runtime::PortInfo| p.driver.as_ref().is_some_and(|r| r.driver == driver);
        let own = first.info.name.clone();
        let mut views = vec![first];
        for port in self.engine.ports().iter().filter(|p| runs(p) && p.name != own) {
            views.push(self.view(&port.name)?);
        }
        Ok(views)
    }

    /// Gives the driver the live ones of `names`, as they are saved now.
    fn put_in_force(
        &self,
        view: &View,
        names: &BTreeSet<String>,
        after: &Definitions,
        judged: &BTreeMap<String, Value>,
        who: &str,
    ) -> Result<(), Problem> {
        let live = |spec: &&ParamSpec| {
            spec.class == ActivationClass::Live
                && names.contains(&spec.name)
                && view.values.get(&spec.name) != judged.get(&spec.name)
        };
        let change = |spec: &ParamSpec| {
            (spec.name.clone(), after.get(&spec.name).map(|definition| definition.value.clone()))
        };
        let changes: BTreeMap<_, _> = view.table.iter().filter(live).map(change).collect();
        if changes.is_empty() {
            return Ok(());
        }
        self.change_live(&view.info.name, &changes, who).map(drop)
    }
}

/// The parameters that a request names, each once.
fn names(request: &SaveRequest) -> Result<BTreeSet<String>, Problem> {
    let mut names = BTreeSet::new();
    for name in request.set.keys().chain(&request.unset).chain(&request.undefine) {
        if !names.insert(name.clone()) {
            return Err(Problem::new(ProblemKind::BadRequest, format!("parameter `{name}` is named twice")));
        }
    }
    if names.is_empty() {
        return Err(Problem::new(ProblemKind::BadRequest, "no parameter is named"));
    }
    Ok(names)
}

fn edit(file: &mut DriverFile, section: &Section, view: &View, request: &SaveRequest) -> Result<(), Problem> {
    for (name, value) in &request.set {
        let spec = view.spec(name)?;
        if spec.kind == ParamKind::Path && !value.starts_with('/') {
            let what = format!("not absolute: {name}={value} (allowed a path that begins with /)");
            return Err(Problem::new(ProblemKind::Refused, what));
        }
        file.set(section, name, value, Some(spec)).map_err(|e| file_problem(&e))?;
    }
    for name in &request.undefine {
        view.spec(name)?;
        file.undefine(section, name).map_err(|e| file_problem(&e))?;
    }
    // Also what the driver does not know any more can be taken back.
    for name in &request.unset {
        if file.entry(section, name).is_none() {
            view.spec(name)?;
        }
        file.unset(section, name).map_err(|e| file_problem(&e))?;
    }
    Ok(())
}

/// Puts a driver's file back.
pub(super) fn restore(written: &DriverFile, before: &DriverFile) -> Result<(), Problem> {
    written.clone().restore(before).map_err(|e| file_problem(&e))
}

fn differences(view: &View, names: &BTreeSet<String>, judged: &BTreeMap<String, Value>) -> Vec<Saved> {
    let before = values(&view.table, &view.saved.clone());
    let port = &view.info.name;
    let difference = |spec: &ParamSpec| {
        let after = judged.get(&spec.name);
        let before = match &before {
            Some(before) => before.get(&spec.name),
            None => view.values.get(&spec.name),
        };
        let in_force = spec.class == ActivationClass::Live || view.values.get(&spec.name) == after;
        let waits_for = match spec.class {
            _ if in_force => String::new(),
            ActivationClass::Reload => format!("an update of the driver of port {port}"),
            _ => format!("`steadfast activate {port}`"),
        };
        (before != after || !in_force).then(|| Saved {
            port: port.clone(),
            name: spec.name.clone(),
            before: before.map(ToString::to_string),
            after: after.map(ToString::to_string),
            class: spec.class.name().to_owned(),
            in_force,
            waits_for,
        })
    };
    view.table.iter().filter(|spec| names.contains(&spec.name)).filter_map(difference).collect()
}

//! The one way in which what is saved changes: files of drivers are edited, all that they then save is
//! judged, and only then they are written, and what is live of it is put in force. All of it, or none.

use super::show::values;
use crate::app::App;
use crate::params::view::{View, file_problem};
use std::collections::{BTreeMap, BTreeSet};
use steadfast_api::{Problem, ProblemKind, Saved};
use steadfast_settings::{DriverFile, Section};
use steadfast_shell::params::{ActivationClass, AdminState, ParamSpec, ShellDefaults, ShellParams, Value};
use steadfast_shell::properties::{Definitions, Source};

/// A driver's file that is to change.
pub(super) struct Staged {
    /// As it is to become.
    pub(super) file: DriverFile,
    before: DriverFile,
    /// The ports that it is to change for, each with the parameters that are named.
    pub(super) ports: Vec<(View, BTreeSet<String>)>,
    /// Where the values are said that are to be written; of others it is the command.
    pub(super) said: Said,
}

/// Sources of values by section and parameter.
pub(super) type Said = BTreeMap<(Section, String), Source>;

impl Staged {
    pub(super) fn of(before: &DriverFile) -> Staged {
        Staged { file: before.clone(), before: before.clone(), ports: Vec::new(), said: Said::new() }
    }

    /// What the file is to say that it does not say yet, an entry each.
    pub(super) fn written(&self) -> Vec<String> {
        let sections: BTreeSet<&Section> = self.before.sections().chain(self.file.sections()).collect();
        let mut written = Vec::new();
        for section in sections {
            let entries = self.before.entries(section).iter().chain(self.file.entries(section));
            let names: BTreeSet<&str> = entries.map(|entry| entry.name.as_str()).collect();
            for name in names {
                let says = |file: &DriverFile| file.entry(section, name).map(|entry| entry.value.clone());
                let now = says(&self.file);
                if now == says(&self.before) {
                    continue;
                }
                written.push(match now {
                    Some(Some(value)) => format!("[{section}] {name} = {value}"),
                    Some(None) => format!("[{section}] {name} is undefined"),
                    None => format!("[{section}] says no more of {name}"),
                });
            }
        }
        written
    }
}

/// What would be saved for a port with a driver's file that is not written yet. What it says anew is blamed
/// on whoever says it, and what was there before on the line that it has on disk.
pub(super) fn saved_now(
    view: &View,
    file: &DriverFile,
    before: &DriverFile,
    said: &Said,
) -> Result<Definitions, Problem> {
    let mut after = view.saved_by(file)?;
    let (path, port) = (file.path().display().to_string(), Section::port(&view.info.name));
    for (name, definition) in &mut after {
        if !matches!(&definition.source, Source::File { path: of, .. } if *of == path) {
            continue;
        }
        let section = if file.entry(&port, name).is_some() { &port } else { &Section::Global };
        let value = file.entry(section, name).map(|entry| &entry.value);
        let stood = before.entry(section, name).filter(|entry| Some(&entry.value) == value);
        let by = || said.get(&(section.clone(), name.clone())).cloned();
        let command = || Source::Option { text: "the command".to_owned() };
        definition.source = stood.map_or_else(|| by().unwrap_or_else(command), |e| before.source(e.line));
    }
    Ok(after)
}

/// What would be saved for a port, and is allowed.
struct Judged<'s> {
    view: &'s View,
    names: &'s BTreeSet<String>,
    after: Definitions,
    values: BTreeMap<String, Value>,
}

impl App {
    /// Writes the files and puts in force what is live. Says which values differ from before. Whoever
    /// calls holds the lock of edits.
    ///
    /// # Errors
    /// What is wrong, on any of the ports; what could not be written; a driver that refuses a value. Files
    /// and values in force are then as they were, or the message says which are not.
    pub(super) fn save_all(
        &self,
        mut staged: Vec<Staged>,
        dry_run: bool,
        who: &str,
    ) -> Result<Vec<Saved>, Problem> {
        let mut changed = Vec::new();
        let mut files = Vec::new();
        let mut judged = Vec::new();
        for Staged { file, before, ports, said } in &mut staged {
            for (view, names) in &*ports {
                let after = saved_now(view, file, before, said)?;
                let values = view.judge(&after)?;
                changed.extend(differences(view, names, &values));
                judged.push(Judged { view, names, after, values });
            }
            files.push((file, &*before));
        }
        self.nobody_over_down(&judged)?;
        if dry_run {
            return Ok(changed);
        }
        for written in 0..files.len() {
            if let Err(e) = files[written].0.save() {
                return Err(self.taken_back(file_problem(&e), &files[..written], &[], who));
            }
        }
        for done in 0..judged.len() {
            if let Err(problem) = self.put_in_force(&judged[done], who) {
                return Err(self.taken_back(problem, &files, &judged[..done], who));
            }
        }
        Ok(changed)
    }

    /// No port that is to be down carries one that is not: neither would an activation take it down, nor
    /// could the upper one attach when the daemon starts.
    fn nobody_over_down(&self, judged: &[Judged<'_>]) -> Result<(), Problem> {
        let to_be_down = |port: &String| match judged.iter().find(|j| j.view.info.name == *port) {
            Some(staged) => Ok(is_to_be_down(&staged.values)),
            None => {
                let view = self.view(port)?;
                Ok(values(&view.table, &view.saved).is_some_and(|values| is_to_be_down(&values)))
            }
        };
        for j in judged.iter().filter(|j| j.names.contains("admin_state")) {
            let name = &j.view.info.name;
            let over = self.engine.over_it(name).into_iter().map(|upper| (name.clone(), upper));
            let under = j.view.info.over.iter().map(|device| (self.port_of(device), name.clone()));
            for (lower, upper) in over.chain(under) {
                if to_be_down(&lower)? && !to_be_down(&upper)? {
                    let what =
                        format!("port {lower}: admin_state=down, but port {upper} lies over it and is up");
                    let hint = format!("`steadfast param set {upper} admin_state=down` comes first");
                    return Err(Problem::new(ProblemKind::Refused, what).hint(hint));
                }
            }
        }
        Ok(())
    }

    /// Gives the driver the live ones of the names, as they are saved now.
    fn put_in_force(&self, judged: &Judged<'_>, who: &str) -> Result<(), Problem> {
        let after = |name: &str| judged.after.get(name).map(|definition| definition.value.clone());
        self.change_all(judged, after, who)
    }

    fn change_all(
        &self,
        judged: &Judged<'_>,
        value: impl Fn(&str) -> Option<String>,
        who: &str,
    ) -> Result<(), Problem> {
        let Judged { view, names, values, .. } = judged;
        let live = |spec: &&ParamSpec| {
            spec.class == ActivationClass::Live
                && names.contains(&spec.name)
                && view.values.get(&spec.name) != values.get(&spec.name)
        };
        let live = view.table.iter().filter(live);
        let changes: BTreeMap<_, _> = live.map(|spec| (spec.name.clone(), value(&spec.name))).collect();
        // A port that is down has no driver to tell: it waits for the activation that brings it up.
        if changes.is_empty() || view.is_down() {
            return Ok(());
        }
        self.change_live(&view.info.name, &changes, who).map(drop)
    }

    /// The problem, when what was done before it is taken back; it says what could not be.
    fn taken_back(
        &self,
        mut problem: Problem,
        files: &[(&mut DriverFile, &DriverFile)],
        in_force: &[Judged<'_>],
        who: &str,
    ) -> Problem {
        for judged in in_force.iter().rev() {
            let port = &judged.view.info;
            let before = |name: &str| port.properties.get(name).map(|definition| definition.value.clone());
            if let Err(e) = self.change_all(judged, before, who) {
                problem.message.push_str(&format!("; and port {} keeps the new values: {e}", port.name));
            }
        }
        for (file, before) in files.iter().rev() {
            if let Err(e) = restore(file, before) {
                let path = file.path().display();
                problem.message.push_str(&format!("; and {path} is not as it was: {e}"));
            }
        }
        problem
    }
}

/// Whether a port with these values is to have no driver.
pub(super) fn is_to_be_down(values: &BTreeMap<String, Value>) -> bool {
    ShellParams::from_values(values, ShellDefaults::default()).admin_state == AdminState::Down
}

/// Puts a driver's file back.
pub(super) fn restore(written: &DriverFile, before: &DriverFile) -> Result<(), Problem> {
    written.clone().restore(before).map_err(|e| file_problem(&e))
}

fn differences(view: &View, names: &BTreeSet<String>, judged: &BTreeMap<String, Value>) -> Vec<Saved> {
    let before = values(&view.table, &view.saved);
    let port = &view.info.name;
    let difference = |spec: &ParamSpec| {
        let after = judged.get(&spec.name);
        let before = match &before {
            Some(before) => before.get(&spec.name),
            None => view.values.get(&spec.name),
        };
        let at_once = spec.class == ActivationClass::Live && !view.is_down();
        let is_there = view.values.get(&spec.name) == after;
        let in_force = at_once || is_there;
        (before != after || !is_there).then(|| Saved {
            port: port.clone(),
            name: spec.name.clone(),
            before: before.map(ToString::to_string),
            after: after.map(ToString::to_string),
            class: spec.class.name().to_owned(),
            in_force,
            waits_for: if in_force { String::new() } else { waits_for(spec, port) },
        })
    };
    view.table.iter().filter(|spec| names.contains(&spec.name)).filter_map(difference).collect()
}

/// What a saved value that is not in force waits for.
pub(super) fn waits_for(spec: &ParamSpec, port: &str) -> String {
    match spec.class {
        ActivationClass::Reload => format!("`steadfast activate --reload {port}`"),
        _ => format!("`steadfast activate {port}`"),
    }
}

//! Changes of what is saved for a port, or for all ports of a driver.

use crate::app::App;
use crate::params::save::Staged;
use crate::params::view::{View, file_problem};
use std::collections::BTreeSet;
use steadfast_api::{Problem, ProblemKind, SaveReport, SaveRequest};
use steadfast_runtime::PortInfo;
use steadfast_settings::{DriverFile, Section};
use steadfast_shell::params::ParamKind;
use steadfast_shell::sync::lock;

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
        let mut staged = Staged::of(&first.file);
        let section = if request.global { Section::Global } else { Section::port(&first.info.name) };
        if request.global {
            for_every_port(&first, request)?;
        }
        edit(&mut staged.file, &section, &first, request)?;
        let views = if request.global { self.views_of(staged.file.driver(), first)? } else { vec![first] };
        staged.ports.extend(views.into_iter().map(|view| (view, names.clone())));
        let file = staged.file.path().display().to_string();
        let written = staged.written();
        let changed = self.save_all(vec![staged], request.dry_run, who)?;
        Ok(SaveReport { file, dry_run: request.dry_run, changed, written })
    }

    /// Every port of a driver that is served, that of `first` first.
    fn views_of(&self, driver: &str, first: View) -> Result<Vec<View>, Problem> {
        let own = first.info.name.clone();
        let mut views = vec![first];
        for port in self.ports_of(driver).iter().filter(|port| **port != own) {
            views.push(self.view(port)?);
        }
        Ok(views)
    }

    /// The ports that a driver serves.
    pub(super) fn ports_of(&self, driver: &str) -> Vec<String> {
        let runs = |p: &PortInfo| p.module.as_ref().is_some_and(|r| r.driver == driver);
        self.engine.ports().into_iter().filter(runs).map(|port| port.name).collect()
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

/// Refuses to say for every port what only one can have.
fn for_every_port(view: &View, request: &SaveRequest) -> Result<(), Problem> {
    for name in request.set.keys().chain(&request.undefine) {
        if view.names_its_own(view.spec(name)?) {
            let what = format!("{name} names what is behind one port (scope own): it is not for every port");
            let hint = format!("without --global it is for {} alone", view.info.name);
            return Err(Problem::new(ProblemKind::Refused, what).hint(hint));
        }
    }
    Ok(())
}

/// Makes the changes of a request in a section of a driver's file.
pub(super) fn edit(
    file: &mut DriverFile,
    section: &Section,
    view: &View,
    request: &SaveRequest,
) -> Result<(), Problem> {
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

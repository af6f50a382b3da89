//! Profiles: shown, compared with a port, applied to ports, and made of a port's saved values.

use super::show::values;
use crate::app::App;
use crate::config::module_path::target_param;
use crate::params::save::{Said, Staged, saved_now, waits_for};
use crate::params::set::edit;
use crate::params::view::{View, file_problem, refused};
use crate::updates::rolling::Meant;
use std::collections::BTreeMap;
use steadfast_api::{
    Problem, ProblemKind, Profile, ProfileApplied, ProfileApplyRequest, ProfileChange, ProfileDiff,
    ProfileMissing, ProfileParam, ProfileSaveRequest, ProfileSaved, ProfileSummary, Profiles, SaveRequest,
};
use steadfast_settings::lint::Known;
use steadfast_settings::{self as settings, Faults, NewProfile, ProfileValue, Section, SettingsError};
use steadfast_shell::params::{ActivationClass, ParamSpec, is_shells};
use steadfast_shell::sync::lock;

impl App {
    fn stored(&self) -> settings::Profiles {
        settings::Profiles::of(&self.topology.settings.folder)
    }

    /// All profiles.
    pub(crate) fn profiles(&self) -> Result<Profiles, Problem> {
        let stored = self.stored();
        let names = stored.names().map_err(|e| file_problem(&e))?;
        let known = self.known();
        let profiles = names.iter().map(|name| self.summary(&stored, name, &known)).collect();
        Ok(Profiles { profiles, folder: stored.folder().display().to_string() })
    }

    fn summary(&self, stored: &settings::Profiles, name: &str, known: &Known) -> ProfileSummary {
        let built_in = settings::profile::BUILT_IN.contains(&name);
        let path = stored.path(name);
        let file = (!built_in || path.exists()).then(|| path.display().to_string());
        let mut summary = ProfileSummary {
            name: name.to_owned(),
            about: String::new(),
            built_in,
            extends: None,
            file,
            params: 0,
            not_here: 0,
            faults: Vec::new(),
        };
        match self.good(stored, name) {
            Ok(profile) => {
                summary.params = profile.values.len() as u32;
                let of_nobody = profile.values.keys().filter(|name| drivers_with(known, name).is_empty());
                summary.not_here = of_nobody.count() as u32;
                (summary.about, summary.extends) = (profile.about, profile.extends);
            }
            Err(e) => summary.faults = e.to_string().lines().map(str::to_owned).collect(),
        }
        summary
    }

    /// A profile that names no parameter that nobody has.
    fn good(&self, stored: &settings::Profiles, name: &str) -> Result<settings::Profile, SettingsError> {
        let profile = stored.get(name)?;
        let of_ports: Vec<String> = self
            .engine
            .ports()
            .iter()
            .filter_map(|port| self.engine.parameters(&port.name))
            .flat_map(|(table, _)| table.into_iter().map(|spec| spec.name))
            .collect();
        if profile.unknown_names(of_ports.iter().map(String::as_str)).is_empty() {
            return Ok(profile);
        }
        // Perhaps it is of a driver that serves nobody now: every module is looked at only then.
        let modules = self.modules.manifests();
        let of_modules = modules.iter().flat_map(|m| &m.params).map(|spec| spec.name.as_str());
        let faults = profile.unknown_names(of_ports.iter().map(String::as_str).chain(of_modules));
        if faults.is_empty() { Ok(profile) } else { Err(Faults(faults).into()) }
    }

    fn profile_named(&self, name: &str) -> Result<settings::Profile, Problem> {
        self.good(&self.stored(), name).map_err(|e| profile_problem(&e))
    }

    /// One profile.
    pub(crate) fn profile(&self, name: &str) -> Result<Profile, Problem> {
        Ok(shown(&self.profile_named(name)?, &self.known()))
    }

    /// What applying a profile would change on a port.
    pub(crate) fn profile_diff(&self, name: &str, port: &str) -> Result<ProfileDiff, Problem> {
        let profile = self.profile_named(name)?;
        let view = self.view(port)?;
        let fit = profile.for_table(&view.table);
        let known = self.known();
        let mut diff = ProfileDiff {
            profile: profile.name.clone(),
            port: view.info.name.clone(),
            changes: Vec::new(),
            same: Vec::new(),
            missing: fit.missing.iter().map(|name| param(name, &profile.values[*name], &known)).collect(),
            faults: Vec::new(),
        };
        let mut file = view.file.clone();
        let section = Section::port(&view.info.name);
        let after = request(&view, &fit.values)
            .and_then(|request| edit(&mut file, &section, &view, &request))
            .and_then(|()| view.judge(&saved_now(&view, &file, &view.file, &said(&section, &fit.values))?));
        let after = after.map_err(|e| diff.faults = vec![e.message]).ok();
        let saved = values(&view.table, &view.saved);
        for spec in &view.table {
            let Some(value) = fit.values.get(spec.name.as_str()) else { continue };
            let current = view.values.get(&spec.name);
            let saved = saved.as_ref().map_or(current, |saved| saved.get(&spec.name));
            let would_be = spec.parse_value(&value.value).ok();
            if after.is_some() && would_be.as_ref() == saved && saved == current {
                diff.same.push(spec.name.clone());
                continue;
            }
            diff.changes.push(ProfileChange {
                name: spec.name.clone(),
                current: current.map(ToString::to_string),
                saved: saved.map(ToString::to_string),
                effect: effect(spec, &view, would_be.as_ref() == current),
                would_be: Some(would_be.map_or_else(|| value.value.clone(), |value| value.to_string())),
                class: spec.class.name().to_owned(),
                why: value.why.clone(),
                source: value.source.to_string(),
            });
        }
        Ok(diff)
    }

    /// Saves a profile's values for ports, of one driver or of several: for all of those ports, or for none.
    pub(crate) fn apply_profile(
        &self,
        name: &str,
        asked: &ProfileApplyRequest,
        who: &str,
    ) -> Result<ProfileApplied, Problem> {
        let profile = self.profile_named(name)?;
        let meant = Meant { names: &asked.ports, adapter: &asked.adapter, all_of: &asked.all_of };
        let ports = self.meant_ports(meant)?;
        let _editing = lock(&self.edits.editing);
        let mut staged: BTreeMap<String, Staged> = BTreeMap::new();
        let (mut missing, mut faults) = (Vec::new(), Vec::new());
        for port in &ports {
            let view = self.view(port)?;
            let port = view.info.name.clone();
            let fit = profile.for_table(&view.table);
            if !fit.missing.is_empty() {
                let params = fit.missing.iter().map(|name| (*name).to_owned()).collect();
                missing.push(ProfileMissing { port: port.clone(), params });
            }
            if fit.values.is_empty() {
                faults.push(format!("port {port} has none of the parameters of profile {name}"));
                continue;
            }
            let driver = view.file.driver().to_owned();
            let of_driver = staged.entry(driver).or_insert_with(|| Staged::of(&view.file));
            let done = request(&view, &fit.values)
                .and_then(|request| edit(&mut of_driver.file, &Section::port(&port), &view, &request));
            match done {
                Ok(()) => {
                    of_driver.said.extend(said(&Section::port(&port), &fit.values));
                    let names = fit.values.keys().map(|name| (*name).to_owned()).collect();
                    of_driver.ports.push((view, names));
                }
                Err(e) => faults.push(e.message),
            }
        }
        if !faults.is_empty() {
            return Err(refused(&faults));
        }
        let staged: Vec<Staged> = staged.into_values().collect();
        let files = staged.iter().map(|staged| staged.file.path().display().to_string()).collect();
        let changed = self.save_all(staged, asked.dry_run, who)?;
        tracing::info!(profile = name, ports = ports.join(", "), who, "profile applied");
        Ok(ProfileApplied { profile: profile.name.clone(), files, dry_run: asked.dry_run, changed, missing })
    }

    /// Makes a profile of what is saved for a port. What belongs to that port alone is left out.
    pub(crate) fn save_profile(
        &self,
        name: &str,
        request: &ProfileSaveRequest,
    ) -> Result<ProfileSaved, Problem> {
        let _editing = lock(&self.edits.editing);
        let view = self.view(&request.port)?;
        view.judge(&view.saved)?;
        let release =
            view.info.module.as_ref().map_or_else(String::new, |r| format!("{} {}", r.driver, r.version));
        let mut new = NewProfile {
            name: name.to_owned(),
            about: request.about.clone(),
            from: format!(
                "Saved from port {} (driver {release}) by `steadfast profile save`.",
                view.info.name
            ),
            values: Vec::new(),
        };
        let mut left_out = Vec::new();
        let section = Section::port(&view.info.name);
        for spec in &view.table {
            let said = match (view.saved.get(&spec.name), view.file.entry(&section, &spec.name)) {
                (Some(definition), _) => Some(definition.value.clone()),
                // Where the port wants the default and not what is said for all, that is its value.
                (None, Some(_)) => spec.default.as_ref().map(ToString::to_string),
                (None, None) => None,
            };
            match said {
                Some(_) if view.is_its_own(spec) => left_out.push(spec.name.clone()),
                Some(value) => new.values.push((spec.name.clone(), value, Some(spec.clone()))),
                None => {}
            }
        }
        if new.values.is_empty() {
            let what = format!("port {}: no value is saved for it that a profile could have", view.info.name);
            return Err(Problem::new(ProblemKind::Refused, what)
                .hint("`steadfast param set` saves one; defaults need no profile"));
        }
        let stored = self.stored();
        stored.save(&new, request.replace).map_err(|e| profile_problem(&e))?;
        let saved = stored.get(name).map_err(|e| profile_problem(&e))?;
        Ok(ProfileSaved { profile: shown(&saved, &self.known()), left_out })
    }
}

impl View {
    /// Whether a parameter is left out of a profile: another port cannot have the same, or is not meant to.
    fn is_its_own(&self, spec: &ParamSpec) -> bool {
        let target = target_param(self.manifest());
        let is_target = !is_shells(&spec.name) && target.is_some_and(|target| target.name == spec.name);
        is_target || spec.required || self.names_its_own(spec) || spec.name == "admin_state"
    }
}

/// A profile's values as a change of what is saved.
///
/// # Errors
/// Every value that the port does not take, with where the profile says it.
fn request(view: &View, values: &BTreeMap<&str, &ProfileValue>) -> Result<SaveRequest, Problem> {
    let mut faults = Vec::new();
    for (name, value) in values {
        if let Err(e) = view.spec(name)?.parse_value(&value.value) {
            faults.push(format!("{}: port {}: {e}", value.source, view.info.name));
        }
    }
    if !faults.is_empty() {
        return Err(refused(&faults));
    }
    let set = values.iter().map(|(name, value)| ((*name).to_owned(), value.value.clone())).collect();
    Ok(SaveRequest { set, ..SaveRequest::default() })
}

/// Where the values of a section are said: in the profile.
fn said(section: &Section, values: &BTreeMap<&str, &ProfileValue>) -> Said {
    values.iter().map(|(name, v)| ((section.clone(), (*name).to_owned()), v.source.clone())).collect()
}

fn effect(spec: &ParamSpec, view: &View, in_force: bool) -> String {
    match spec.class {
        _ if in_force => "is in force already".to_owned(),
        ActivationClass::Live if !view.is_down() => "takes effect at once".to_owned(),
        _ => format!("waits for {}", waits_for(spec, &view.info.name)),
    }
}

fn shown(profile: &settings::Profile, known: &Known) -> Profile {
    Profile {
        name: profile.name.clone(),
        about: profile.about.clone(),
        built_in: profile.path.is_none(),
        extends: profile.extends.clone(),
        file: profile.path.as_ref().map(|path| path.display().to_string()),
        params: profile.values.iter().map(|(name, value)| param(name, value, known)).collect(),
    }
}

/// Drivers that have a parameter; `*` for those that the shell carries out under every driver.
fn drivers_with(known: &Known, name: &str) -> Vec<String> {
    if is_shells(name) {
        return vec!["*".to_owned()];
    }
    let has = known.iter().filter(|(_, driver)| driver.table.iter().any(|spec| spec.name == name));
    has.map(|(driver, _)| driver.clone()).collect()
}

fn param(name: &str, value: &ProfileValue, known: &Known) -> ProfileParam {
    ProfileParam {
        drivers: drivers_with(known, name),
        name: name.to_owned(),
        value: value.value.clone(),
        why: value.why.clone(),
        source: value.source.to_string(),
    }
}

fn profile_problem(error: &SettingsError) -> Problem {
    let of = |kind| Problem::new(kind, error.to_string());
    match error {
        SettingsError::NoProfile { name, hint } => {
            Problem::new(ProblemKind::NotFound, format!("no profile `{name}`")).hint(hint.clone())
        }
        SettingsError::ProfileExists { .. } => {
            of(ProblemKind::Refused).hint("--replace puts this one in its place")
        }
        SettingsError::Name { .. } => of(ProblemKind::BadRequest),
        _ => of(ProblemKind::Refused),
    }
}

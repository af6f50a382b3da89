//! What is saved for a port.

use crate::app::App;
use crate::config::module_path::target_param;
use crate::config::{ConfigError, DeviceConfig};
use crate::params::saved_set::Settings;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::path::PathBuf;
use steadfast_api::{Problem, ProblemKind, suggest};
use steadfast_runtime::{PortInfo, PortState};
use steadfast_settings::{DriverFile, Section, SettingsError, validate};
use steadfast_shell::manifest::Manifest;
use steadfast_shell::params::{ActivationClass, ParamKind, ParamSpec, Scope, Value, is_shells};
use steadfast_shell::properties::Definitions;

/// A port with what is in force. No file is needed to know that.
pub(crate) struct InForce {
    pub(crate) info: PortInfo,
    /// Every parameter under the driver that serves the port, or is to once it comes up.
    pub(crate) table: Vec<ParamSpec>,
    /// Values in force.
    pub(crate) values: BTreeMap<String, Value>,
    config: DeviceConfig,
    /// What is wrong with the daemon's configuration by now.
    faults: Vec<String>,
    manifest: Manifest,
    settings: Settings,
}

impl InForce {
    /// Where the driver's file is, or would be.
    pub(crate) fn path(&self) -> PathBuf {
        DriverFile::path_in(&self.settings.folder, &self.manifest.name)
    }

    fn saving(&self) -> Saving<'_> {
        Saving { settings: &self.settings, config: &self.config, manifest: &self.manifest }
    }

    /// The driver's file, and what is saved for the port, as the driver is to see it.
    ///
    /// # Errors
    /// Everything that keeps it from being known, each with its place.
    pub(crate) fn saved(&self) -> Result<(DriverFile, Definitions), Vec<String>> {
        if !self.faults.is_empty() {
            return Err(self.faults.clone());
        }
        let said = |e: &ConfigError| e.to_string();
        let file = self.settings.file(&self.manifest.name);
        let file = file.map_err(|e| e.0.iter().map(said).collect::<Vec<_>>())?;
        let saved = self.saving().set_in(&file).map_err(|problem| vec![problem.message])?;
        Ok((file, saved))
    }
}

/// A port with what is in force, and what is saved for it.
pub(crate) struct View {
    port: InForce,
    pub(crate) file: DriverFile,
    /// What is saved, as the driver is to see it.
    pub(crate) saved: Definitions,
}

impl Deref for View {
    type Target = InForce;

    fn deref(&self) -> &InForce {
        &self.port
    }
}

impl View {
    /// It is to have no driver, until it is activated with `admin_state=up`.
    pub(crate) fn is_down(&self) -> bool {
        self.info.state == PortState::Down
    }

    /// What would be saved with another state of the driver's file.
    pub(crate) fn saved_by(&self, file: &DriverFile) -> Result<Definitions, Problem> {
        self.saving().set_in(file)
    }

    /// Changes a driver's file so that `target` is what is saved for the port.
    pub(crate) fn save_as(&self, file: &mut DriverFile, target: &Definitions) -> Result<(), Problem> {
        self.saving().save_as(file, &self.table, target)
    }

    /// Judges a set as a whole.
    pub(crate) fn judge(&self, definitions: &Definitions) -> Result<BTreeMap<String, Value>, Problem> {
        judge(&self.table, definitions)
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether a parameter names what is this port's own, what is behind it: no other port can have the same.
    pub(crate) fn names_its_own(&self, spec: &ParamSpec) -> bool {
        names_its_own(&self.manifest, spec)
    }

    pub(crate) fn spec(&self, name: &str) -> Result<&ParamSpec, Problem> {
        self.table.iter().find(|spec| spec.name == name).ok_or_else(|| {
            let names = self.table.iter().map(|spec| spec.name.as_str());
            let what = format!("port {}: no parameter `{name}`", self.info.name);
            Problem::new(ProblemKind::Refused, what).hint(suggest::hint(name, names))
        })
    }
}

pub(crate) fn refused(all: &[String]) -> Problem {
    Problem::new(ProblemKind::Refused, all.join("; "))
}

/// What is wrong with a driver's file.
pub(crate) fn file_problem(error: &SettingsError) -> Problem {
    Problem::new(ProblemKind::Refused, error.to_string())
}

impl App {
    /// A port, by its own name or by that of a device of it.
    pub(crate) fn port_named(&self, name: &str) -> Result<PortInfo, Problem> {
        let port = self.port_of(name);
        self.engine.port(&port).ok_or_else(|| self.no_port(name))
    }

    /// A port with what is in force.
    ///
    /// # Errors
    /// There is no such port; nobody serves it although somebody is to.
    pub(crate) fn in_force(&self, name: &str) -> Result<InForce, Problem> {
        let info = self.port_named(name)?;
        let (table, values) = self.engine.parameters(&info.name).ok_or_else(|| unserved(&info.name))?;
        let missing = || {
            let what = format!("port {}: its driver, or where it is defined, is not known", info.name);
            Problem::new(ProblemKind::Internal, what)
        };
        let settings = self.topology.settings.clone();
        let manifest = self.engine.module_of(&info.name).map(|module| module.manifest().clone());
        let manifest = manifest.ok_or_else(missing)?;
        let config = self.topology.config_of(&info.name).ok_or_else(missing)?;
        let (config, faults) = match self.topology.config_now(&info.name) {
            Some(Ok(now)) => (now, Vec::new()),
            Some(Err(faults)) => (config, faults),
            None => (config, Vec::new()),
        };
        Ok(InForce { info, table, values, config, faults, manifest, settings })
    }

    /// A port with what is in force and what is saved for it.
    ///
    /// # Errors
    /// As for [`in_force`](App::in_force); what is saved is not known.
    pub(crate) fn view(&self, name: &str) -> Result<View, Problem> {
        let port = self.in_force(name)?;
        let (file, saved) = port.saved().map_err(|faults| refused(&faults))?;
        Ok(View { port, file, saved })
    }
}

/// Nobody serves a port, and so nobody knows its parameters.
pub(crate) fn unserved(port: &str) -> Problem {
    let what =
        format!("port {port}: it is stranded, nobody serves it, so what parameters it has is not known");
    Problem::new(ProblemKind::Refused, what).hint(format!(
        "`steadfast update {port} MODULE` puts a driver under it again; requests are held till then"
    ))
}

impl InForce {
    /// What one value of a parameter is for: `own`, `port`, `adapter` or `module`.
    pub(crate) fn scope(&self, spec: &ParamSpec) -> &'static str {
        match (spec.class, spec.scope) {
            _ if names_its_own(&self.manifest, spec) => "own",
            (ActivationClass::Reload, _) => "module",
            (_, Scope::Adapter) => "adapter",
            (_, Scope::Port) => "port",
        }
    }
}

fn names_its_own(manifest: &Manifest, spec: &ParamSpec) -> bool {
    let target = target_param(manifest).filter(|target| target.required);
    let is_target = target.is_some_and(|target| target.name == spec.name);
    !is_shells(&spec.name) && (is_target || spec.kind == ParamKind::Path)
}

/// Judges a set as a whole.
pub(crate) fn judge(table: &[ParamSpec], set: &Definitions) -> Result<BTreeMap<String, Value>, Problem> {
    validate(table, set)
        .map_err(|faults| refused(&faults.iter().map(ToString::to_string).collect::<Vec<_>>()))
}

/// What a driver's file is read and changed for: one port.
#[derive(Clone, Copy)]
pub(crate) struct Saving<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) config: &'a DeviceConfig,
    pub(crate) manifest: &'a Manifest,
}

impl Saving<'_> {
    /// What a driver's file, and what else is said, come to for the port.
    pub(crate) fn set_in(&self, file: &DriverFile) -> Result<Definitions, Problem> {
        let saved = self.settings.saved(self.config, self.manifest, file);
        let saved = saved.map_err(|e| Problem::new(ProblemKind::Refused, e.to_string()))?;
        Ok(self.settings.absolute(self.config, self.manifest, &saved))
    }

    /// Changes a driver's file so that `target` is what is saved for the port.
    pub(crate) fn save_as(
        &self,
        file: &mut DriverFile,
        table: &[ParamSpec],
        target: &Definitions,
    ) -> Result<(), Problem> {
        let section = Section::port(&self.config.name);
        let mut below = file.clone();
        let own: Vec<String> = below.entries(&section).iter().map(|entry| entry.name.clone()).collect();
        for name in &own {
            below.unset(&section, name).map_err(|e| file_problem(&e))?;
        }
        let below = self.set_in(&below)?;
        let names: BTreeSet<&String> = own.iter().chain(below.keys()).chain(target.keys()).collect();
        for name in names {
            let (wanted, shows) = (target.get(name).map(|d| &d.value), below.get(name).map(|d| &d.value));
            let spec = table.iter().find(|spec| spec.name == *name);
            match wanted {
                _ if wanted == shows => file.unset(&section, name),
                Some(value) => file.set(&section, name, value, spec),
                None => file.undefine(&section, name),
            }
            .map_err(|e| file_problem(&e))?;
        }
        Ok(())
    }
}

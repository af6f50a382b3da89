//! What is saved for a port.

use crate::app::App;
use crate::config::DeviceConfig;
use crate::settings::Settings;
use std::collections::BTreeMap;
use steadfast_api::{Problem, ProblemKind, suggest};
use steadfast_runtime::PortInfo;
use steadfast_settings::{DriverFile, SettingsError, validate};
use steadfast_shell::manifest::Manifest;
use steadfast_shell::params::{ParamSpec, Value};
use steadfast_shell::properties::Definitions;

/// A port with what is saved for it and what is in force.
pub(crate) struct View {
    pub(crate) info: PortInfo,
    pub(crate) file: DriverFile,
    /// What is saved, as the driver is to see it.
    pub(crate) saved: Definitions,
    /// Every parameter under the driver that serves the port.
    pub(crate) table: Vec<ParamSpec>,
    /// Values in force.
    pub(crate) values: BTreeMap<String, Value>,
    config: DeviceConfig,
    manifest: Manifest,
    settings: Settings,
}

impl View {
    /// What would be saved with another state of the driver's file.
    pub(crate) fn saved_by(&self, file: &DriverFile) -> Result<Definitions, Problem> {
        saved_set(&self.settings, &self.config, &self.manifest, file)
    }

    /// Judges a set as a whole.
    pub(crate) fn judge(&self, definitions: &Definitions) -> Result<BTreeMap<String, Value>, Problem> {
        validate(&self.table, definitions)
            .map_err(|faults| refused(&faults.iter().map(ToString::to_string).collect::<Vec<_>>()))
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
        self.engine.port(&port).ok_or_else(|| {
            let ports = self.engine.port_names();
            let problem = Problem::new(ProblemKind::NotFound, format!("no port `{name}`"));
            problem.hint(suggest::hint(name, ports.iter().map(String::as_str)))
        })
    }

    /// A port with what is saved for it.
    ///
    /// # Errors
    /// There is no such port; nobody serves it; the driver's file cannot be read.
    pub(crate) fn view(&self, name: &str) -> Result<View, Problem> {
        let info = self.port_named(name)?;
        let (table, values) = self.engine.parameters(&info.name).ok_or_else(|| {
            let what =
                format!("port {}: nobody serves it, so what parameters it has is not known", info.name);
            Problem::new(ProblemKind::Busy, what)
        })?;
        let driver = info.driver.as_ref().map(|r| r.driver.clone()).unwrap_or_default();
        let missing = || {
            let what = format!("port {}: its driver, or where it is defined, is not known", info.name);
            Problem::new(ProblemKind::Internal, what)
        };
        let settings = self.topology.settings.clone();
        let manifest = self.engine.module_of(&info.name).map(|module| module.manifest().clone());
        let manifest = manifest.ok_or_else(missing)?;
        let config = self.topology.config_of(&info.name).ok_or_else(missing)?;
        let file = settings.file(&driver).map_err(|e| Problem::new(ProblemKind::Refused, e.to_string()))?;
        let saved = saved_set(&settings, &config, &manifest, &file)?;
        Ok(View { info, file, saved, table, values, config, manifest, settings })
    }
}

fn saved_set(
    settings: &Settings,
    config: &DeviceConfig,
    manifest: &Manifest,
    file: &DriverFile,
) -> Result<Definitions, Problem> {
    let saved = settings.saved(config, manifest, file);
    let saved = saved.map_err(|e| Problem::new(ProblemKind::Refused, e.to_string()))?;
    Ok(settings.absolute(config, manifest, &saved))
}

//! What is saved for a port.

use super::saved_set;
use crate::app::App;
use crate::config::{ConfigError, DeviceConfig};
use crate::modules::target_param;
use std::collections::BTreeMap;
use std::path::Path;
use steadfast_api::{Problem, ProblemKind, suggest};
use steadfast_runtime::PortInfo;
use steadfast_settings::{DriverFile, Saved, SettingsError, validate};
use steadfast_shell::params::{ParamKind, ParamSpec, Value, is_shells};
use steadfast_shell::properties::{Definitions, Said};

/// A port with what is saved for it and what is in force.
pub(crate) struct View {
    pub(crate) info: PortInfo,
    pub(crate) file: DriverFile,
    pub(crate) saved: Saved,
    /// Every parameter under the driver that serves the port.
    pub(crate) table: Vec<ParamSpec>,
    /// Values in force.
    pub(crate) values: BTreeMap<String, Value>,
    config: Option<DeviceConfig>,
}

impl View {
    /// What is saved, as another file of the driver would have it.
    pub(crate) fn saved_by(&self, file: &DriverFile) -> Result<Saved, Problem> {
        match &self.config {
            Some(config) => saved_set(file, config, &self.table).map_err(|e| refused(&[e.to_string()])),
            None => Ok(Saved::of(file, &[], &self.info.name)),
        }
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
            let ports = self.engine.ports();
            let problem = Problem::new(ProblemKind::NotFound, format!("no port `{name}`"));
            problem.hint(suggest::hint(name, ports.iter().map(|p| p.name.as_str())))
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
        let folder = &self.settings.parameters.folder;
        let file = DriverFile::load(folder, &driver).map_err(|e| file_problem(&e))?;
        let config = self.topology.config_of(&info.name);
        let saved = match &config {
            Some(config) => saved_set(&file, config, &table).map_err(|e| refused(&[e.to_string()]))?,
            None => Saved::of(&file, &[], &info.name),
        };
        Ok(View { info, file, saved, table, values, config })
    }
}

/// What the daemon's own configuration says of a device's parameters: the target under its own name, paths
/// absolute.
///
/// # Errors
/// The driver takes no target, or it is given twice.
pub(crate) fn given(config: &DeviceConfig, specs: &[ParamSpec]) -> Result<Vec<Said>, ConfigError> {
    let own: Vec<&ParamSpec> = specs.iter().filter(|spec| !is_shells(&spec.name)).collect();
    let target = target_param(own.iter().copied()).map(|spec| spec.name.as_str());
    if let (Some(value), None) = (&config.target, target) {
        let message = format!("target `{value}`: the driver has no parameters");
        return Err(ConfigError::new(config.place.clone(), message));
    }
    let mut given = config.given(target)?;
    for (name, definition) in &mut given {
        let is_path = own.iter().any(|spec| spec.name == *name && spec.kind == ParamKind::Path);
        if let Some(path) = definition.as_mut().filter(|path| is_path && !path.value.is_empty()) {
            path.value = absolute(&config.base, &path.value);
        }
    }
    Ok(given)
}

fn absolute(base: &Path, path: &str) -> String {
    base.join(path).into_os_string().into_string().unwrap_or_else(|_| path.to_owned())
}

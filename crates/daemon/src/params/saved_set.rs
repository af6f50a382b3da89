//! The saved set of each port: what the driver's file and the daemon's own configuration come to.

use crate::config::module_path::target_param;
use crate::config::{Config, ConfigError, ConfigErrors, DeviceConfig, Place};
use crate::serving::Serving;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use steadfast_settings::{DriverFile, Fault, Faults, Origin, Saved, SetFault, SettingsError, validate};
use steadfast_shell::comeback::Changes;
use steadfast_shell::manifest::Manifest;
use steadfast_shell::params::{ParamKind, ParamSpec, ShellDefaults, table};
use steadfast_shell::properties::{Definition, Definitions, Said, Source};

/// Where parameters are saved, and the defaults that are the daemon's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// The parameters folder.
    pub(crate) folder: PathBuf,
    pub(crate) defaults: ShellDefaults,
    /// Who served each port last; none where nothing is to come up.
    pub(crate) serving: Option<Arc<Serving>>,
}

impl Settings {
    /// As a daemon with that configuration, whose history is in `state`, has them.
    pub(crate) fn of(config: &Config, state: &Path) -> Settings {
        let usual = ShellDefaults::default();
        let folder = config.parameters.clone().unwrap_or_else(|| state.join("parameters"));
        Settings {
            folder: std::path::absolute(&folder).unwrap_or(folder),
            defaults: ShellDefaults {
                io_slots: config.slots.unwrap_or(usual.io_slots),
                max_transfer: config.max_transfer.unwrap_or(usual.max_transfer),
            },
            serving: None,
        }
    }

    /// Every parameter of a port with that driver.
    pub(crate) fn table(&self, manifest: &Manifest) -> Vec<ParamSpec> {
        table(&manifest.params, self.defaults)
    }

    /// A driver's file; one that is not there is empty.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub(crate) fn file(&self, driver: &str) -> Result<DriverFile, ConfigErrors> {
        DriverFile::load(&self.folder, driver).map_err(|error| match error {
            SettingsError::Faults(Faults(faults)) => ConfigErrors(faults.iter().map(config_error).collect()),
            other => {
                let path = self.folder.join(format!("{driver}.toml"));
                ConfigError::new(Place::File(path), other.to_string()).into()
            }
        })
    }

    /// All that is saved for a port; the target is under the driver's name for it.
    ///
    /// # Errors
    /// The driver takes no target, or it is given twice.
    pub(crate) fn saved(
        &self,
        config: &DeviceConfig,
        manifest: &Manifest,
        file: &DriverFile,
    ) -> Result<Saved, ConfigError> {
        Ok(Saved::of(file, &self.given(config, manifest)?, &config.name))
    }

    /// What the daemon's own configuration says of a port; the target is under the driver's name for it.
    ///
    /// # Errors
    /// The driver takes no target, or it is given twice.
    pub(crate) fn given(&self, config: &DeviceConfig, manifest: &Manifest) -> Result<Vec<Said>, ConfigError> {
        let target = target_param(manifest).map(|spec| spec.name.as_str());
        if let (Some(value), None) = (&config.target, target) {
            let message = format!("target `{value}`: driver {} has no parameters", manifest.name);
            return Err(ConfigError::new(config.place.clone(), message));
        }
        config.given(target)
    }

    /// What is saved for a port, with the changes that came with its driver, judged as a whole: as its driver is to
    /// see it, with absolute paths.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with the place of the value to blame.
    pub(crate) fn definitions(
        &self,
        config: &DeviceConfig,
        manifest: &Manifest,
        file: &DriverFile,
        changes: &Changes,
    ) -> Result<Definitions, Vec<ConfigError>> {
        let saved = self.saved(config, manifest, file).map_err(|e| vec![e])?;
        let mut definitions = self.absolute(config, manifest, &saved);
        for (name, value) in changes {
            match value {
                Some(value) => {
                    let source = Source::Command { who: "the update".to_owned() };
                    definitions.insert(name.clone(), Definition { value: value.clone(), source });
                }
                None => drop(definitions.remove(name)),
            }
        }
        let error = |fault: &SetFault| {
            let place = fault.place().cloned().map_or_else(|| config.place.clone(), Place::Said);
            ConfigError::new(place, fault.message())
        };
        match validate(&self.table(manifest), &definitions) {
            Ok(_) => Ok(definitions),
            Err(faults) => Err(faults.iter().map(error).collect()),
        }
    }

    /// What is saved, as the driver is to see it: with absolute paths.
    pub(crate) fn absolute(&self, config: &DeviceConfig, manifest: &Manifest, saved: &Saved) -> Definitions {
        let mut definitions = saved.definitions();
        for spec in manifest.params.iter().filter(|spec| spec.kind == ParamKind::Path) {
            let Some(path) = definitions.get_mut(&spec.name).filter(|d| !d.value.is_empty()) else {
                continue;
            };
            let from = match saved.explain(&spec.name).last().map(|said| said.origin) {
                Some(Origin::Daemon) => &config.base,
                _ => &self.folder,
            };
            let absolute = crate::config::path_from(from, &path.value).into_os_string().into_string();
            path.value = absolute.unwrap_or_else(|_| path.value.clone());
        }
        definitions
    }
}

fn config_error(fault: &Fault) -> ConfigError {
    let source = Source::File { path: fault.path.display().to_string(), line: fault.line };
    ConfigError::new(Place::Said(source), fault.kind.to_string())
}

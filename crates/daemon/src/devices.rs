//! From what is configured to what the engine attaches: modules found, parameters checked.

use crate::config::{Config, ConfigError, ConfigErrors, DeviceConfig, Place};
use crate::error::ServeError;
use crate::modules::ModulePath;
use crate::properties::{Parameters, saved_set};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use steadfast_loader::{LoadError, LoadedModule, ModuleStore, StagedModule};
use steadfast_runtime::{Engine, PortRules, PortSpec};
use steadfast_settings::{DriverFile, Fault, SetFault, SettingsError, validate};
use steadfast_shell::manifest::Manifest;
use steadfast_shell::params::{ParamKind, ShellDefaults, table};
use steadfast_shell::properties::{Definition, Definitions, Source, values_of};

/// A device whose module is in the store and whose parameters are right.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) config: DeviceConfig,
    pub(crate) staged: StagedModule,
    pub(crate) params: BTreeMap<String, String>,
    /// The same, with where each was said.
    pub(crate) definitions: Definitions,
}

/// What holds for every device that does not say otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policy {
    once_per_start: bool,
    require_min_from: bool,
}

impl From<&Config> for Policy {
    fn from(config: &Config) -> Policy {
        Policy { once_per_start: config.once_per_start, require_min_from: config.require_min_from }
    }
}

/// Prepares every device. Nothing runs yet; every error is reported at once.
pub(crate) fn prepare(
    devices: &[DeviceConfig],
    modules: &ModulePath,
    store: &ModuleStore,
    parameters: &Parameters,
) -> Result<Vec<Prepared>, ConfigErrors> {
    let mut prepared = Vec::new();
    let mut errors = Vec::new();
    let mut known = Known::default();
    for config in devices {
        match prepare_one(config, modules, store, parameters, &mut known) {
            Ok(device) => prepared.push(device),
            Err(found) => errors.extend(found.into_iter().map(|error| {
                ConfigError::new(error.place, format!("device `{}`: {}", config.name, error.message))
            })),
        }
    }
    errors.extend(known.faults);
    if errors.is_empty() { Ok(prepared) } else { Err(ConfigErrors(errors)) }
}

/// What many devices have in common: each module and each driver's file is looked for and read once.
#[derive(Default)]
struct Known {
    staged: BTreeMap<(PathBuf, String), StagedModule>,
    /// By driver; none where the file will not do.
    files: BTreeMap<String, Option<DriverFile>>,
    /// What is wrong with those.
    faults: Vec<ConfigError>,
}

impl Known {
    fn file(&mut self, driver: &str, folder: &Path) -> Option<&DriverFile> {
        if !self.files.contains_key(driver) {
            let file = DriverFile::load(folder, driver);
            let file = file.map_err(|e| self.faults.extend(file_errors(e, folder, driver))).ok();
            self.files.insert(driver.to_owned(), file);
        }
        self.files.get(driver)?.as_ref()
    }
}

/// What is wrong with a driver's file, each with its place.
fn file_errors(error: SettingsError, folder: &Path, driver: &str) -> Vec<ConfigError> {
    let one = |fault: Fault| {
        let source = Source::File { path: fault.path.display().to_string(), line: fault.line };
        ConfigError::new(Place::Said(source), fault.kind.to_string())
    };
    match error {
        SettingsError::Faults(faults) => faults.0.into_iter().map(one).collect(),
        other => {
            let place = Place::File(DriverFile::path_in(folder, driver));
            vec![ConfigError::new(place, other.to_string())]
        }
    }
}

fn prepare_one(
    config: &DeviceConfig,
    modules: &ModulePath,
    store: &ModuleStore,
    parameters: &Parameters,
    known: &mut Known,
) -> Result<Prepared, Vec<ConfigError>> {
    let fail = |message: String| vec![ConfigError::new(config.place.clone(), message)];
    let one = |e: LoadError| fail(e.to_string());
    let key = (config.base.clone(), config.driver.clone());
    let staged = match known.staged.get(&key) {
        Some(staged) => staged.clone(),
        None => {
            let path = modules.locate(&config.driver).map_err(one)?;
            let staged = store.stage(config.base.join(path)).map_err(one)?;
            if !staged.signature.allows() {
                return Err(fail(format!("signature: {}", staged.signature.detail(&staged.source))));
            }
            known.staged.insert(key, staged.clone());
            staged
        }
    };
    // What is wrong with the file is said once, for all of its devices.
    let Some(file) = known.file(&staged.manifest.name, &parameters.folder) else { return Err(Vec::new()) };
    let definitions = definitions(config, &staged.manifest, file, parameters.defaults)?;
    let params = values_of(&definitions);
    Ok(Prepared { config: config.clone(), staged, params, definitions })
}

/// What is saved for the device, judged as a whole: what is wrong is said with the place of the value to
/// blame.
fn definitions(
    config: &DeviceConfig,
    manifest: &Manifest,
    file: &DriverFile,
    defaults: ShellDefaults,
) -> Result<Definitions, Vec<ConfigError>> {
    let table = table(&manifest.params, defaults);
    let definitions = saved_set(file, config, &table).map_err(|e| vec![e])?.definitions();
    let error = |fault: &SetFault| {
        let place = fault.place().cloned().map_or_else(|| config.place.clone(), Place::Said);
        ConfigError::new(place, fault.message())
    };
    match validate(&table, &definitions) {
        Ok(_) => Ok(definitions),
        Err(faults) => Err(faults.iter().map(error).collect()),
    }
}

/// Attaches the ports, and loads their modules. What fails is given to `failed`, which says whether to go
/// on without it.
pub(crate) fn attach(
    engine: &Engine,
    devices: Vec<Prepared>,
    policy: Policy,
    mut failed: impl FnMut(Prepared, String) -> Result<(), ServeError>,
) -> Result<(), ServeError> {
    for device in from_below(devices) {
        let attached =
            module(engine, &device.staged).and_then(|module| attach_one(engine, &device, module, policy));
        if let Err(why) = attached {
            failed(device, why)?;
        }
    }
    Ok(())
}

/// The module, mapped: ports of one module share one load of it.
pub(crate) fn module(engine: &Engine, staged: &StagedModule) -> Result<Arc<LoadedModule>, String> {
    match engine.running_module(&staged.hash) {
        Some(module) => Ok(module),
        None => staged.load().map(Arc::new).map_err(|e| e.to_string()),
    }
}

/// Attaches one port.
pub(crate) fn attach_one(
    engine: &Engine,
    device: &Prepared,
    module: Arc<LoadedModule>,
    policy: Policy,
) -> Result<(), String> {
    let Prepared { config, params, definitions, .. } = device;
    let source = |(name, d): (&String, &Definition)| (name.clone(), d.source.clone());
    let rules = PortRules {
        hardware: config.hardware.clone(),
        once_per_start: config.once_per_start.unwrap_or(policy.once_per_start),
        require_min_from: policy.require_min_from,
        reserve: config.reserve,
        sources: definitions.iter().map(source).collect(),
    };
    let spec = PortSpec {
        name: config.name.clone(),
        module,
        params: params.clone(),
        queues: config.queues,
        adapter: config.adapter.clone(),
    };
    engine.attach_under(spec, rules).map_err(|e| e.to_string())
}

/// Devices that others may lie over before these: a device comes after every one whose name is the
/// value of a text parameter of it. Otherwise the order stays.
pub(crate) fn from_below(devices: Vec<Prepared>) -> Vec<Prepared> {
    let names = |device: &Prepared| -> Vec<String> {
        let text = |name: &String| {
            device.staged.manifest.params.iter().any(|p| p.name == *name && p.kind == ParamKind::Str)
        };
        device.params.iter().filter(|(name, _)| text(name)).map(|(_, value)| value.clone()).collect()
    };
    let mut left: Vec<(Vec<String>, Prepared)> = devices.into_iter().map(|d| (names(&d), d)).collect();
    let mut order = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let free = |(below, device): &(Vec<String>, Prepared)| {
            !left.iter().any(|(_, other)| {
                other.config.name != device.config.name && below.contains(&other.config.name)
            })
        };
        // Where they go in a circle the engine says so.
        let next = left.iter().position(free).unwrap_or(0);
        order.push(left.remove(next).1);
    }
    order
}

/// What each prepared device is, one line each.
pub(crate) fn describe(devices: &[Prepared]) -> String {
    let mut text = String::new();
    for Prepared { config, staged, params, .. } in devices {
        let release = staged.release();
        let params: Vec<String> = params.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let (name, driver, version) = (&config.name, release.driver, release.version);
        text.push_str(&format!("{name}: {driver} {version} {}\n", params.join(" ")));
    }
    text
}

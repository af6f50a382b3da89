//! From what is configured to what the engine attaches: modules found, parameters checked.

use crate::config::{Config, ConfigError, ConfigErrors, DeviceConfig};
use crate::error::ServeError;
use crate::modules::{ModulePath, target_param};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use steadfast_loader::{LoadError, LoadedModule, ModuleStore, StagedModule};
use steadfast_runtime::{Engine, PortRules, PortSpec};
use steadfast_shell::manifest::Manifest;
use steadfast_shell::params::{ParamKind, resolve};

/// A device whose module is in the store and whose parameters are right.
#[derive(Debug)]
pub(crate) struct Prepared {
    config: DeviceConfig,
    staged: StagedModule,
    params: BTreeMap<String, String>,
}

/// Prepares every device. Nothing runs yet; every error is reported at once.
pub(crate) fn prepare(
    devices: &[DeviceConfig],
    modules: &ModulePath,
    store: &ModuleStore,
) -> Result<Vec<Prepared>, ConfigErrors> {
    let mut prepared = Vec::new();
    let mut errors = Vec::new();
    // Many devices, few modules: each is looked for and read once.
    let mut staged = BTreeMap::new();
    for config in devices {
        match prepare_one(config, modules, store, &mut staged) {
            Ok(device) => prepared.push(device),
            Err(messages) => errors.extend(messages.into_iter().map(|message| {
                ConfigError::new(config.place.clone(), format!("device `{}`: {message}", config.name))
            })),
        }
    }
    if errors.is_empty() { Ok(prepared) } else { Err(ConfigErrors(errors)) }
}

fn prepare_one(
    config: &DeviceConfig,
    modules: &ModulePath,
    store: &ModuleStore,
    known: &mut BTreeMap<(PathBuf, String), StagedModule>,
) -> Result<Prepared, Vec<String>> {
    let one = |e: LoadError| vec![e.to_string()];
    let key = (config.base.clone(), config.driver.clone());
    let staged = match known.get(&key) {
        Some(staged) => staged.clone(),
        None => {
            let path = modules.locate(&config.driver).map_err(one)?;
            let staged = store.stage(config.base.join(path)).map_err(one)?;
            if !staged.signature.allows() {
                return Err(vec![format!("signature: {}", staged.signature.detail(&staged.source))]);
            }
            known.insert(key, staged.clone());
            staged
        }
    };
    let params = params(config, &staged.manifest)?;
    Ok(Prepared { config: config.clone(), staged, params })
}

/// The parameters as the driver is to see them: the target under its own name, paths absolute.
fn params(config: &DeviceConfig, manifest: &Manifest) -> Result<BTreeMap<String, String>, Vec<String>> {
    let mut params = config.params.clone();
    if let Some(target) = &config.target {
        let spec = target_param(manifest)
            .ok_or_else(|| vec![format!("target `{target}`: driver {} has no parameters", manifest.name)])?;
        if params.insert(spec.name.clone(), target.clone()).is_some() {
            return Err(vec![format!("`{}` is given twice, as target and as parameter", spec.name)]);
        }
    }
    for spec in manifest.params.iter().filter(|spec| spec.kind == ParamKind::Path) {
        if let Some(path) = params.get_mut(&spec.name).filter(|path| !path.is_empty()) {
            let absolute = config.base.join(path.as_str());
            *path = absolute.into_os_string().into_string().unwrap_or_else(|_| path.clone());
        }
    }
    match resolve(&manifest.params, &params) {
        Ok(_) => Ok(params),
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
    }
}

/// Loads the modules and attaches the ports. Ports of one module share one load of it.
pub(crate) fn attach(
    engine: &Engine,
    devices: Vec<Prepared>,
    daemon: &Config,
) -> Result<(), ServeError> {
    let mut loaded: BTreeMap<String, Arc<LoadedModule>> = BTreeMap::new();
    for device in from_below(devices) {
        let Prepared { config, staged, params } = device;
        let failed = |error: String| ServeError::Device {
            name: config.name.clone(),
            place: config.place.clone(),
            error,
        };
        let module = match loaded.get(&staged.hash) {
            Some(module) => Arc::clone(module),
            None => {
                let module = Arc::new(staged.load().map_err(|e| failed(e.to_string()))?);
                loaded.insert(staged.hash.clone(), Arc::clone(&module));
                module
            }
        };
        let rules = PortRules {
            hardware: config.hardware.clone(),
            once_per_start: config.once_per_start.unwrap_or(daemon.once_per_start),
            require_min_from: daemon.require_min_from,
            reserve: config.reserve,
            sources: config.sources(),
        };
        let spec =
            PortSpec { name: config.name.clone(), module, params, queues: config.queues, adapter: None };
        engine.attach_under(spec, rules).map_err(|e| failed(e.to_string()))?;
    }
    Ok(())
}

/// Devices that others may lie over before these: a device comes after every one whose name is the
/// value of a text parameter of it. Otherwise the order stays.
fn from_below(devices: Vec<Prepared>) -> Vec<Prepared> {
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
    for Prepared { config, staged, params } in devices {
        let release = staged.release();
        let params: Vec<String> = params.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let (name, driver, version) = (&config.name, release.driver, release.version);
        text.push_str(&format!("{name}: {driver} {version} {}\n", params.join(" ")));
    }
    text
}

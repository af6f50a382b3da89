//! From what is configured to what the engine attaches: modules found, parameters checked.

use crate::config::module_path::ModulePath;
use crate::config::{Config, ConfigError, ConfigErrors, DeviceConfig};
use crate::params::saved_set::Settings;
use crate::serving::{Comes, Last, weigh};
use crate::start::error::ServeError;
use crate::start::targets;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use steadfast_loader::{LoadError, LoadedModule, ModuleStore, StagedModule};
use steadfast_runtime::{Engine, ErrorKind, PortRules, PortSpec};
use steadfast_settings::DriverFile;
use steadfast_shell::params::ParamKind;
use steadfast_shell::properties::{Source, values_of};

/// A device whose module is in the store and whose parameters are right.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) config: DeviceConfig,
    pub(crate) staged: StagedModule,
    /// What is saved for it: target and paths as the driver is to see them.
    pub(crate) params: BTreeMap<String, String>,
    /// Where each of them was said.
    pub(crate) sources: BTreeMap<String, Source>,
    /// The set that served last, to fall back on.
    pub(crate) last: Option<Last>,
    /// Why it is this module.
    pub(crate) comes: Comes,
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
    settings: &Settings,
) -> Result<Vec<Prepared>, ConfigErrors> {
    let (prepared, unfit) = prepare_each(devices, modules, store, settings);
    if unfit.is_empty() { Ok(prepared) } else { Err(faults(&unfit)) }
}

/// A device that cannot be prepared, and why: a fault of its own, or of the file that all of its driver's have.
pub(crate) struct Unfit {
    pub(crate) config: DeviceConfig,
    own: Vec<ConfigError>,
    shared: Vec<ConfigError>,
}

impl Unfit {
    /// All that is wrong, in words.
    pub(crate) fn reason(&self) -> String {
        let all = self.own.iter().chain(&self.shared).map(ToString::to_string);
        all.collect::<Vec<_>>().join("; ")
    }
}

/// Prepares every device that can be. Nothing runs yet.
pub(crate) fn prepare_each(
    devices: &[DeviceConfig],
    modules: &ModulePath,
    store: &ModuleStore,
    settings: &Settings,
) -> (Vec<Prepared>, Vec<Unfit>) {
    let (mut prepared, mut unfit) = (Vec::new(), Vec::new());
    let mut known = Known::default();
    for config in devices {
        match prepare_one(config, modules, store, settings, &mut known) {
            Ok(device) => prepared.push(device),
            Err((own, shared)) => unfit.push(Unfit { config: config.clone(), own, shared }),
        }
    }
    (prepared, unfit)
}

/// Everything that is wrong with those, what is wrong with a file said once.
pub(crate) fn faults(unfit: &[Unfit]) -> ConfigErrors {
    let named = |unfit: &Unfit, error: &ConfigError| {
        let message = format!("device `{}`: {}", unfit.config.name, error.message);
        ConfigError::new(error.place.clone(), message)
    };
    let own = unfit.iter().flat_map(|unfit| unfit.own.iter().map(|error| named(unfit, error)));
    let mut all: Vec<ConfigError> = own.collect();
    for error in unfit.iter().flat_map(|unfit| &unfit.shared) {
        if !all.iter().any(|said| said.to_string() == error.to_string()) {
            all.push(error.clone());
        }
    }
    ConfigErrors(all)
}

/// What many devices have in common: each module and each driver's file is looked for and read once.
#[derive(Default)]
struct Known {
    staged: BTreeMap<(PathBuf, String), StagedModule>,
    /// Those that served, by hash.
    stored: BTreeMap<String, StagedModule>,
    /// By driver; what is wrong with it where the file will not do.
    files: BTreeMap<String, Result<DriverFile, Vec<ConfigError>>>,
}

impl Known {
    fn file(&mut self, driver: &str, settings: &Settings) -> Result<DriverFile, Vec<ConfigError>> {
        if let Some(known) = self.files.get(driver) {
            return known.clone();
        }
        let file = settings.file(driver).map_err(|errors| errors.0);
        self.files.insert(driver.to_owned(), file.clone());
        file
    }
}

/// What is wrong with a device, and with the file that all of its driver's have.
type Faults = (Vec<ConfigError>, Vec<ConfigError>);

fn prepare_one(
    config: &DeviceConfig,
    modules: &ModulePath,
    store: &ModuleStore,
    settings: &Settings,
    known: &mut Known,
) -> Result<Prepared, Faults> {
    let fail = |message: String| (vec![ConfigError::new(config.place.clone(), message)], Vec::new());
    let key = (config.base.clone(), config.driver.clone());
    let located = match known.staged.get(&key) {
        Some(staged) => Ok(staged.clone()),
        None => locate(config, modules, store).inspect(|staged| {
            known.staged.insert(key, staged.clone());
        }),
    };
    let Some(serving) = &settings.serving else {
        return judge(config, located.map_err(fail)?, Comes::default(), settings, known);
    };
    let stored = |hash: &str| match known.stored.get(hash) {
        Some(staged) => Ok(staged.clone()),
        None => {
            let staged = store.get(hash).map_err(|e| e.to_string())?;
            if let Some(refusal) = staged.refusal() {
                return Err(refusal.to_string());
            }
            known.stored.insert(hash.to_owned(), staged.clone());
            Ok(staged)
        }
    };
    let (staged, comes) = Comes::decide(serving, config, located.clone(), stored).map_err(fail)?;
    let served = comes.is_from_store().then(|| staged.release());
    match (judge(config, staged, comes.clone(), settings, known), served, located) {
        // It does not take what is saved any more; what the configuration names may.
        (Err(faults), Some(served), Ok(located)) if served.hash != located.hash => {
            let why: Vec<String> = faults.0.iter().map(|fault| fault.message.clone()).collect();
            judge(config, located, comes.instead(served, &why.join("; ")), settings, known)
        }
        (judged, _, _) => judged,
    }
}

/// A device with that module, if what is saved for it is right.
fn judge(
    config: &DeviceConfig,
    staged: StagedModule,
    mut comes: Comes,
    settings: &Settings,
    known: &mut Known,
) -> Result<Prepared, Faults> {
    // What is wrong with the file is said once, for all of its devices.
    let file = known.file(&staged.manifest.name, settings).map_err(|shared| (Vec::new(), shared))?;
    let definitions = settings.definitions(config, &staged.manifest, &file, &comes.changes);
    let definitions = definitions.map_err(|own| (own, Vec::new()))?;
    let table = settings.table(&staged.manifest);
    let (definitions, last) = weigh(config, &staged.manifest, &table, definitions, &mut comes);
    let sources = definitions.iter().map(|(name, d)| (name.clone(), d.source.clone())).collect();
    Ok(Prepared { config: config.clone(), staged, params: values_of(&definitions), sources, last, comes })
}

/// A device's module, in the store.
///
/// # Errors
/// There is none, or it may not be taken.
pub(crate) fn locate(
    config: &DeviceConfig,
    modules: &ModulePath,
    store: &ModuleStore,
) -> Result<StagedModule, String> {
    let said = |e: LoadError| e.to_string();
    let path = modules.locate(&config.driver).map_err(said)?;
    let staged = store.stage(config.base.join(path)).map_err(said)?;
    match staged.refusal() {
        None => Ok(staged),
        Some(why) => Err(why.to_string()),
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

/// Attaches one port: with what is saved, or, where that makes a device smaller than it was, with what served last.
pub(crate) fn attach_one(
    engine: &Engine,
    device: &Prepared,
    module: Arc<LoadedModule>,
    policy: Policy,
) -> Result<(), String> {
    targets::answers(device)?;
    let Prepared { config, params, sources, .. } = device;
    let at_least = device.last.as_ref().map(|last| last.at_least.clone()).unwrap_or_default();
    let with = |params: &BTreeMap<String, String>, sources: &BTreeMap<String, Source>, at_least| {
        let (rules, spec) = port(config, module.clone(), policy, params, sources, at_least);
        engine.attach_under(spec, rules)
    };
    match (with(params, sources, at_least), &device.last) {
        (Err(e), Some(last)) if e.kind() == ErrorKind::Smaller => {
            tracing::warn!(port = config.name, "{e}: that takes an activation");
            with(&last.params, &last.sources, BTreeMap::new())
        }
        (attached, _) => attached,
    }
    .map_err(|e| e.to_string())
}

fn port(
    config: &DeviceConfig,
    module: Arc<LoadedModule>,
    policy: Policy,
    params: &BTreeMap<String, String>,
    sources: &BTreeMap<String, Source>,
    at_least: BTreeMap<u32, u64>,
) -> (PortRules, PortSpec) {
    let rules = PortRules {
        hardware: config.hardware.clone(),
        once_per_start: config.once_per_start.unwrap_or(policy.once_per_start),
        require_min_from: policy.require_min_from,
        reserve: config.reserve,
        sources: sources.clone(),
        at_least,
    };
    let spec = PortSpec {
        name: config.name.clone(),
        module,
        params: params.clone(),
        queues: config.queues,
        adapter: config.adapter.clone(),
    };
    (rules, spec)
}

/// Names that may be those of devices that this one lies over: the values of its text parameters.
pub(crate) fn below(device: &Prepared) -> Vec<String> {
    let text = |name: &String| {
        device.staged.manifest.params.iter().any(|p| p.name == *name && p.kind == ParamKind::Str)
    };
    device.params.iter().filter(|(name, _)| text(name)).map(|(_, value)| value.clone()).collect()
}

/// Devices that others may lie over before these: a device comes after every one whose name is the
/// value of a text parameter of it. Otherwise the order stays.
pub(crate) fn from_below(devices: Vec<Prepared>) -> Vec<Prepared> {
    let mut left: Vec<(Vec<String>, Prepared)> = devices.into_iter().map(|d| (below(&d), d)).collect();
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

//! What comes up with the daemon.

use crate::config::module_path::ModulePath;
use crate::config::{Config, DeviceConfig, devices_file};
use crate::params::saved_set::Settings;
use crate::params::{Notes, WentBack, go_back, tell};
use crate::ports::prepare::{self, Policy, Prepared};
use crate::ports::{By, Topology};
use crate::receipts::Receipts;
use crate::serving::Serving;
use crate::start::error::ServeError;
use crate::start::targets;
use std::path::Path;
use std::sync::Arc;
use steadfast_api::{Cause, Requester};
use steadfast_loader::ModuleStore;
use steadfast_runtime::Engine;
use steadfast_shell::receipt::Kind;

/// What is to come up, prepared: nothing of it runs.
pub(crate) struct Start {
    topology: Topology,
    configured: Vec<Prepared>,
    saved: Vec<Prepared>,
    /// Why some cannot be, what they are, and what defines them.
    failed: Vec<(String, DeviceConfig, By)>,
    /// Ports whose last activation nobody had confirmed.
    gone_back: Vec<WentBack>,
}

/// Prepares what is configured, and what was added before the daemon ended.
///
/// # Errors
/// Everything that is wrong with the configuration, if a device that is *required* cannot be. Any other that
/// cannot be keeps none of the others from coming up: nobody need be there when the daemon starts.
pub(crate) fn start(
    config: &Config,
    state: &Path,
    modules: &ModulePath,
    store: &ModuleStore,
    serving: Arc<Serving>,
) -> Result<Start, ServeError> {
    let topology = Topology {
        settings: Settings { serving: Some(serving), ..Settings::of(config, state) },
        config: config.source.clone(),
        policy: Policy::from(config),
        ..Topology::default()
    };
    let added = devices_file::read(&topology.settings.folder)?;
    // Before anything is judged: what was not confirmed may be what cannot come up.
    let known = config.devices.iter().chain(&added);
    let gone_back = go_back(&Notes::within(state), known, &topology.settings, |device| {
        prepare::locate(device, modules, store)
    });
    for gone_back in &gone_back {
        // What was activated is not what is meant.
        topology.settings.serving.iter().for_each(|serving| serving.forget_in_force(gone_back.port()));
    }
    let (configured, mut unfit) = prepare::prepare_each(&config.devices, modules, store, &topology.settings);
    if unfit.iter().any(|unfit| unfit.config.is_required()) {
        return Err(prepare::faults(&unfit).into());
    }
    let mut own = Vec::new();
    for device in added {
        if let Some(own) = config.devices.iter().find(|own| own.name == device.name) {
            let (name, place) = (&device.name, &device.place);
            tracing::warn!("{place}: device {name} is not taken from here: {} defines it too", own.place);
            continue;
        }
        own.push(device);
    }
    if config.devices.is_empty() && own.is_empty() {
        return Err(ServeError::NoDevice);
    }
    let (saved, more) = prepare::prepare_each(&own, modules, store, &topology.settings);
    if more.iter().any(|unfit| unfit.config.is_required()) {
        return Err(prepare::faults(&more).into());
    }
    let configured_too = unfit.len();
    unfit.extend(more);
    let by = |at: usize| if at < configured_too { By::Configuration } else { By::Saved };
    let failed = unfit.into_iter().enumerate();
    let failed = failed.map(|(at, unfit)| (unfit.reason(), unfit.config, by(at))).collect();
    Ok(Start { topology, configured, saved, failed, gone_back })
}

impl Start {
    /// Attaches it.
    ///
    /// # Errors
    /// A device that is *required* does not come up.
    pub(crate) fn attach(self, engine: &Engine, receipts: &Receipts) -> Result<Topology, ServeError> {
        let Start { topology, configured, saved, failed, gone_back } = self;
        for device in &configured {
            topology.define(device.config.clone(), By::Configuration);
        }
        for device in &saved {
            topology.define(device.config.clone(), By::Saved);
        }
        for (_, config, by) in &failed {
            topology.define(config.clone(), *by);
        }
        let mut failed: Vec<_> = failed.into_iter().map(|(why, config, _)| (why, config)).collect();
        let all: Vec<Prepared> = configured.into_iter().chain(saved).collect();
        let came: Vec<_> =
            all.iter().map(|d| (d.config.clone(), d.staged.release(), d.comes.clone())).collect();
        targets::look_ahead(&all);
        prepare::attach(engine, all, topology.policy, |device, error| {
            if !device.config.is_required() {
                failed.push((error, device.config));
                return Ok(());
            }
            let hint = targets::hint(&device);
            let Prepared { config, .. } = device;
            Err(ServeError::Device { name: config.name, place: config.place, error, hint })
        })?;
        let by = Requester { cause: Cause::Operator, who: String::new() };
        for (why, config) in failed {
            tracing::error!("{}: device {} is absent: {why}", config.place, config.name);
            topology.absent.note(&config, &why);
            let source = config.place.to_string();
            let mut receipt = engine.begin_receipt(&config.name, Kind::Attach, &by, &source);
            receipt.reason = why;
            receipts.add(receipt);
        }
        for (config, module, comes) in came.iter().filter(|(config, ..)| engine.port(&config.name).is_some())
        {
            comes.tell(engine, receipts, config, module);
            comes.came_up(engine, config, module);
        }
        tell(gone_back, engine, receipts);
        Ok(topology)
    }
}

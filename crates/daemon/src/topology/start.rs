//! What comes up with the daemon.

use super::{By, Topology, saved};
use crate::config::{Config, DeviceConfig};
use crate::devices::{self, Policy, Prepared};
use crate::error::ServeError;
use crate::modules::ModulePath;
use crate::properties::{Notes, WentBack, go_back, tell};
use crate::receipts::Receipts;
use crate::settings::Settings;
use std::path::Path;
use steadfast_api::{Cause, Requester};
use steadfast_loader::ModuleStore;
use steadfast_runtime::Engine;
use steadfast_shell::receipt::Kind;

/// What is to come up, prepared: nothing of it runs.
pub(crate) struct Start {
    topology: Topology,
    configured: Vec<Prepared>,
    saved: Vec<Prepared>,
    /// Of those that were added, the ones that cannot be.
    failed: Vec<(DeviceConfig, String)>,
    /// Ports whose last activation nobody had confirmed.
    gone_back: Vec<WentBack>,
}

/// Prepares what is configured, and what was added before the daemon ended.
///
/// # Errors
/// Everything that is wrong with the configuration. A device that was added and cannot be any more keeps
/// none of the others from coming up: nobody need be there when the daemon starts.
pub(crate) fn start(
    config: &Config,
    state: &Path,
    modules: &ModulePath,
    store: &ModuleStore,
) -> Result<Start, ServeError> {
    let topology = Topology {
        settings: Settings::of(config, state),
        config: config.source.clone(),
        policy: Policy::from(config),
        ..Topology::default()
    };
    let added = saved::read(&topology.settings.folder)?;
    // Before anything is judged: what was not confirmed may be what cannot come up.
    let known = config.devices.iter().chain(&added);
    let gone_back = go_back(&Notes::within(state), known, &topology.settings, |device| {
        devices::locate(device, modules, store)
    });
    let configured = devices::prepare(&config.devices, modules, store, &topology.settings)?;
    let (mut saved, mut failed) = (Vec::new(), Vec::new());
    for device in added {
        if let Some(own) = config.devices.iter().find(|own| own.name == device.name) {
            let (name, place) = (&device.name, &device.place);
            tracing::warn!("{place}: device {name} is not taken from here: {} defines it too", own.place);
            continue;
        }
        match devices::prepare(std::slice::from_ref(&device), modules, store, &topology.settings) {
            Ok(prepared) => saved.extend(prepared),
            Err(e) => failed.push((device, e.to_string())),
        }
    }
    if configured.is_empty() && saved.is_empty() {
        return Err(ServeError::NoDevice);
    }
    Ok(Start { topology, configured, saved, failed, gone_back })
}

impl Start {
    /// Attaches it.
    ///
    /// # Errors
    /// A device of the configuration does not come up.
    pub(crate) fn attach(self, engine: &Engine, receipts: &Receipts) -> Result<Topology, ServeError> {
        let Start { topology, configured, saved, mut failed, gone_back } = self;
        for device in &configured {
            topology.define(device.config.clone(), By::Configuration);
        }
        for config in saved.iter().map(|d| &d.config).chain(failed.iter().map(|(config, _)| config)) {
            topology.define(config.clone(), By::Saved);
        }
        let all = configured.into_iter().chain(saved).collect();
        devices::attach(engine, all, topology.policy, |device, error| {
            let Prepared { config, .. } = device;
            if topology.defined(&config.name).is_some_and(|d| d.by == By::Saved) {
                failed.push((config, error));
                return Ok(());
            }
            Err(ServeError::Device { name: config.name, place: config.place, error })
        })?;
        let by = Requester { cause: Cause::Operator, who: String::new() };
        for (config, why) in failed {
            tracing::error!("{}: device {} does not come up: {why}", config.place, config.name);
            let source = config.place.to_string();
            let mut receipt = engine.begin_receipt(&config.name, Kind::Attach, &by, &source);
            receipt.reason = why;
            receipts.add(receipt);
        }
        tell(gone_back, engine, receipts);
        Ok(topology)
    }
}

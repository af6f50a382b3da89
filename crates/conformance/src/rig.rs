//! What every case begins with: an engine, the module in a store, a scratch folder.

use crate::client::Client;
use crate::rng::Rng;
use crate::{Options, Stop};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use steadfast_loader::{LoadedModule, ModuleStore, StagedModule};
use steadfast_runtime::{Engine, EngineConfig, PortSpec, UpdateOptions};
use steadfast_shell::manifest::Manifest;
use steadfast_shell::params::ParamSpec;
use steadfast_shell::receipt::{Mode, Outcome, Receipt, Unload};

/// Bytes of a scratch file.
const SCRATCH: u64 = 64 << 20;
/// Queues of the engine: more than one, so that a port is spread.
const QUEUES: usize = 2;
/// How long a module may take to leave memory after its port has gone.
const LET_GO: Duration = Duration::from_secs(5);
/// How long a call that has answered the last request may take to return.
const COMES_OUT: Duration = Duration::from_secs(5);

pub(crate) struct Rig {
    pub(crate) engine: Engine,
    pub(crate) store: ModuleStore,
    pub(crate) staged: StagedModule,
    pub(crate) options: Options,
    pub(crate) folder: tempfile::TempDir,
    ports: AtomicU32,
}

/// A port with the driver under test on it; detached when dropped.
pub(crate) struct Attached<'a> {
    rig: &'a Rig,
    pub(crate) name: String,
    module: Option<Arc<LoadedModule>>,
    swaps: Swaps,
}

/// What was done to a port's driver.
#[derive(Debug, Default)]
struct Swaps {
    count: u32,
    adopted: u32,
    drained: u32,
    longest_pause_ns: u64,
}

impl Rig {
    pub(crate) fn new(module: &Path, options: &Options) -> Result<Rig, String> {
        let folder = tempfile::tempdir().map_err(|e| format!("scratch folder: {e}"))?;
        let store = ModuleStore::open(folder.path().join("store")).map_err(|e| e.to_string())?;
        let staged = store.stage(module).map_err(|e| e.to_string())?;
        let config = EngineConfig { queues: QUEUES, ..EngineConfig::default() };
        let engine = Engine::start(config).map_err(|e| e.to_string())?;
        Ok(Rig { engine, store, staged, options: options.clone(), folder, ports: AtomicU32::new(0) })
    }

    pub(crate) fn stop(self) {
        // Every port was detached, so nothing is left to wait for.
        self.engine.stop(Duration::from_millis(500));
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.staged.manifest
    }

    /// What is tested.
    pub(crate) fn describe(&self) -> String {
        let manifest = self.manifest();
        format!("{} {}: {}", manifest.name, manifest.version, manifest.about)
    }

    /// Random numbers of the case `salt`.
    pub(crate) fn rng(&self, salt: u64) -> Rng {
        Rng::new(self.options.seed.wrapping_mul(0x1000_0001).wrapping_add(salt))
    }

    /// What is read is what was written.
    pub(crate) fn keeps_contents(&self) -> bool {
        !self.manifest().extra.iter().any(|(key, value)| key == "x-contents" && value == "none")
    }

    /// Attaches the driver under test to a new port.
    pub(crate) fn attach(&self) -> Result<Attached<'_>, String> {
        self.attach_module(&self.staged)
    }

    pub(crate) fn attach_module(&self, staged: &StagedModule) -> Result<Attached<'_>, String> {
        let number = self.ports.fetch_add(1, Ordering::Relaxed);
        let name = format!("test{number}");
        let params = self.params(&staged.manifest.params, number)?;
        let module = Arc::new(staged.load().map_err(|e| e.to_string())?);
        let spec =
            PortSpec { name: name.clone(), module: module.clone(), params, queues: None, adapter: None };
        self.engine.attach(spec).map_err(|e| format!("attach: {e}"))?;
        Ok(Attached { rig: self, name, module: Some(module), swaps: Swaps::default() })
    }

    /// The parameters that were given, and a scratch file where a path is required.
    fn params(&self, specs: &[ParamSpec], number: u32) -> Result<BTreeMap<String, String>, String> {
        let mut params = self.options.params.clone();
        if specs.iter().any(|spec| spec.name == "path" && spec.required) && !params.contains_key("path") {
            let path = self.scratch(&format!("disk{number}.img"), SCRATCH)?;
            params.insert("path".into(), path.to_string_lossy().into_owned());
        }
        Ok(params)
    }

    fn scratch(&self, name: &str, size: u64) -> Result<PathBuf, String> {
        let path = self.folder.path().join(name);
        let file = std::fs::File::create(&path).and_then(|f| f.set_len(size));
        file.map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }
}

impl Attached<'_> {
    pub(crate) fn open(&self) -> Result<Client, String> {
        Client::open(&self.rig.engine, &self.name)
    }

    /// Updates to `staged`; whatever comes of it is in the receipt.
    pub(crate) fn update(&mut self, staged: &StagedModule, mode: Option<Mode>) -> Receipt {
        let options = UpdateOptions { mode, allow_older: true, ..UpdateOptions::default() };
        let receipt = self.rig.engine.update(&self.name, staged, &options);
        self.swaps.count += 1;
        self.swaps.adopted += receipt.adopted;
        self.swaps.drained += receipt.drained;
        self.swaps.longest_pause_ns = self.swaps.longest_pause_ns.max(receipt.pause_ns);
        receipt
    }

    /// Updates to `staged`, which must succeed, and the old module must leave memory.
    pub(crate) fn must_update(&mut self, staged: &StagedModule, mode: Mode) -> Result<Receipt, String> {
        // The first module is this case's too; it must not keep it in memory.
        self.module = None;
        let receipt = self.update(staged, Some(mode));
        if receipt.outcome != Outcome::Done {
            return Err(format!("update ({}): {:?}: {}", mode.name(), receipt.outcome, receipt.reason));
        }
        match receipt.unload {
            Unload::Unloaded => Ok(receipt),
            other => Err(format!(
                "update ({}): the old module did not leave memory ({other:?}); a thread-local with a \
                 destructor, a thread, or a printed backtrace keeps one",
                mode.name()
            )),
        }
    }

    /// Takes the port away although clients use it: what is held for a driver that does not come back
    /// fails now, and not when patience ends.
    pub(crate) fn give_up(&self) {
        let _ = self.rig.engine.detach(&self.name, true);
    }

    /// What was done to the port's driver, for people.
    pub(crate) fn note(&self) -> String {
        let Swaps { count, adopted, drained, longest_pause_ns } = self.swaps;
        let pause_us = longest_pause_ns / 1000;
        format!("{count} updates, {adopted} requests adopted, {drained} drained, longest pause {pause_us} us")
    }

    /// No rule of the ABI was broken, nobody is left inside, and no request is left over.
    pub(crate) fn check_clean(&self) -> Result<(), String> {
        let gone = || "the port is gone".to_owned();
        let mut port = self.rig.engine.port(&self.name).ok_or_else(gone)?;
        // The last request may be answered before the call that answered it has returned.
        let begin = Instant::now();
        while port.inside.values().any(|count| *count > 0) && begin.elapsed() < COMES_OUT {
            std::thread::sleep(Duration::from_millis(1));
            port = self.rig.engine.port(&self.name).ok_or_else(gone)?;
        }
        if port.driver_faults > 0 {
            return Err(format!(
                "the driver broke rules of the ABI {} times (see the log)",
                port.driver_faults
            ));
        }
        if let Some((entry, count)) = port.inside.iter().find(|(_, count)| **count > 0) {
            return Err(format!("{count} calls are still inside {entry}"));
        }
        if port.in_flight > 0 || port.held > 0 {
            return Err(format!(
                "{} requests are in flight and {} held, after all were answered",
                port.in_flight, port.held
            ));
        }
        Ok(())
    }

    /// Detaches, and says whether the module left memory.
    pub(crate) fn detach(mut self) -> Result<Unload, String> {
        self.rig.engine.detach(&self.name, false).map_err(|e| format!("detach: {e}"))?;
        let module = self.module.take();
        self.name.clear();
        Ok(module.and_then(sole).map_or(Unload::InUse, LoadedModule::unload))
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            let _ = self.rig.engine.detach(&self.name, true);
        }
    }
}

/// A module that nobody else knows any more. The thread that called its driver last may still be about to let go of it.
fn sole(mut module: Arc<LoadedModule>) -> Option<LoadedModule> {
    let until = Instant::now() + LET_GO;
    loop {
        module = match Arc::try_unwrap(module) {
            Ok(sole) => return Some(sole),
            Err(shared) if Instant::now() < until => shared,
            Err(_) => return None,
        };
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A client that writes is needed.
pub(crate) fn writable(client: &Client) -> Result<(), Stop> {
    if client.writable() { Ok(()) } else { Err(Stop::Skip("the device is read-only".into())) }
}

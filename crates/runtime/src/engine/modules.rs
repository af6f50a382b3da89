//! Which modules the ports run, and receipts of what is done to ports beside updates.

use crate::clock::unix_ms;
use crate::engine::Engine;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use steadfast_loader::LoadedModule;
use steadfast_shell::receipt::{Kind, Receipt, Release, Requester};
use steadfast_shell::sync::lock;

/// A module that ports run, or are to run once they come up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningModule {
    /// The release.
    pub release: Release,
    /// Ports that run it or are to run it, by name.
    pub ports: Vec<String>,
}

impl Engine {
    /// The modules that ports run, by name and version.
    pub fn running_modules(&self) -> Vec<RunningModule> {
        let mut modules = BTreeMap::new();
        for port in self.control.all_ports() {
            let Some(module) = port.module() else { continue };
            let release = module.release();
            let key = (release.driver.clone(), release.version.clone(), release.hash.clone());
            let module = modules.entry(key).or_insert_with(|| RunningModule { release, ports: Vec::new() });
            module.ports.push(port.name.clone());
        }
        modules.into_values().collect()
    }

    /// The module that serves a port; none where nobody does.
    pub fn module_of(&self, port: &str) -> Option<Arc<LoadedModule>> {
        self.control.find(port)?.module()
    }

    /// A module that a port runs, by its hash, for another port to share.
    pub fn running_module(&self, hash: &str) -> Option<Arc<LoadedModule>> {
        let runs = |port: Arc<crate::port::Port>| {
            let module = port.module()?;
            (module.hash() == hash).then_some(module)
        };
        self.control.all_ports().into_iter().find_map(runs)
    }

    /// Names of the ports that run a module, or are to run it once they come up, by its hash.
    pub fn ports_of(&self, hash: &str) -> Vec<String> {
        self.control.ports_of(hash)
    }

    /// Names of the ports that have a device of this one open.
    pub fn over_it(&self, name: &str) -> Vec<String> {
        self.control.find(name).map_or_else(Vec::new, |port| self.control.directory.uppers(&port))
    }

    /// The generation that a port of this name has, or had when it was taken away; 0 where there was none.
    pub fn generation_of(&self, name: &str) -> u64 {
        let gone = || lock(&self.control.directory.generations).get(name).copied().unwrap_or(0);
        self.control.find(name).map_or_else(gone, |port| port.generation())
    }

    /// A receipt of something that is about to be done to a port: *refused*, until it is said to be done.
    pub fn begin_receipt(&self, port: &str, kind: Kind, by: &Requester, source: &str) -> Receipt {
        let id = self.control.directory.receipts.fetch_add(1, Ordering::Relaxed) + 1;
        let generation = self.generation_of(port);
        let mut receipt = Receipt { kind, ..Receipt::blank(id, port, unix_ms()) };
        receipt.by.clone_from(by);
        source.clone_into(&mut receipt.source);
        (receipt.generation_before, receipt.generation_after) = (generation, generation);
        if let Some(module) = self.control.find(port).and_then(|port| port.module()) {
            receipt.from = module.release();
        }
        receipt
    }
}

//! Modules that are in memory: loaded and unloaded by themselves.

use super::refused;
use crate::app::App;
use crate::config::module_path::load_problem;
use std::sync::Arc;
use steadfast_api::{
    Cause, LoadRequest, LoadedDriver, Outcome, Problem, ProblemKind, Receipt, Release, Requester, Unload,
    UnloadRequest, suggest,
};
use steadfast_loader::LoadedModule;
use steadfast_shell::receipt::Kind;
use steadfast_shell::sync::lock;

/// Digits of a hash that are enough to name a module.
const DIGITS: usize = 8;

impl App {
    /// The modules in memory, by name and version.
    pub(crate) fn loaded(&self) -> Vec<LoadedDriver> {
        let running = self.engine.running_modules().into_iter();
        let mut loaded: Vec<LoadedDriver> =
            running.map(|m| LoadedDriver { release: m.release, ports: m.ports, kept: false }).collect();
        for module in lock(&self.topology.kept).values() {
            match loaded.iter_mut().find(|known| known.release.hash == module.hash()) {
                Some(known) => known.kept = true,
                None => {
                    loaded.push(LoadedDriver { release: module.release(), ports: Vec::new(), kept: true })
                }
            }
        }
        let key = |release: &Release| (release.driver.clone(), semver::Version::parse(&release.version).ok());
        loaded.sort_by_cached_key(|driver| key(&driver.release));
        loaded
    }

    /// `driver load`: maps a module, which stays without a port until it is unloaded.
    pub(crate) fn load_driver(&self, request: &LoadRequest, who: String) -> Result<Receipt, Problem> {
        let by = Requester { cause: Cause::Operator, who };
        let source = format!("driver load {}", request.module);
        let mut receipt = self.engine.begin_receipt("", Kind::Attach, &by, &source);
        match self.map(&request.module) {
            Ok(module) => {
                let release = module.release();
                let known = lock(&self.topology.kept).insert(release.hash.clone(), module).is_some();
                if known {
                    "it was loaded already".clone_into(&mut receipt.reason);
                }
                receipt.to = Some(release);
                receipt.outcome = Outcome::Done;
                self.keep_topology(&receipt);
                Ok(receipt)
            }
            Err(problem) => {
                receipt.reason.clone_from(&problem.message);
                self.keep_topology(&receipt);
                Err(problem)
            }
        }
    }

    fn map(&self, module: &str) -> Result<Arc<LoadedModule>, Problem> {
        let path = self.locate(module)?;
        let staged = self.store.stage(&path).map_err(|e| load_problem(&e))?;
        self.module(&staged).map_err(|e| Problem::new(ProblemKind::BadModule, e))
    }

    /// `driver unload`: lets a module go that no port uses; says whether it left memory.
    pub(crate) fn unload_driver(&self, request: &UnloadRequest, who: String) -> Result<Receipt, Problem> {
        let by = Requester { cause: Cause::Operator, who };
        let source = format!("driver unload {}", request.driver);
        let mut receipt = self.engine.begin_receipt("", Kind::Detach, &by, &source);
        let result = self.meant_driver(&request.driver).and_then(|driver| {
            receipt.from = driver.release.clone();
            self.let_go(&driver)
        });
        match result {
            Ok(unload) => {
                receipt.unload = unload;
                receipt.outcome = Outcome::Done;
                self.keep_topology(&receipt);
                Ok(receipt)
            }
            Err(problem) => {
                let busy = problem.kind == ProblemKind::Busy;
                receipt.outcome = if busy { Outcome::Busy } else { Outcome::Refused };
                receipt.reason.clone_from(&problem.message);
                self.keep_topology(&receipt);
                Err(problem)
            }
        }
    }

    fn let_go(&self, driver: &LoadedDriver) -> Result<Unload, Problem> {
        let Release { driver: name, version, hash } = &driver.release;
        if !driver.ports.is_empty() {
            let ports = driver.ports.join(", ");
            let why = format!("driver {name} {version} is in use by these ports: {ports}");
            return Err(Problem::new(ProblemKind::Busy, why)
                .hint("update them to another release, or take them away; then it can be unloaded"));
        }
        let Some(module) = lock(&self.topology.kept).remove(hash) else {
            return Err(refused(format!("driver {name} {version} is not loaded any more")));
        };
        match Arc::try_unwrap(module) {
            Ok(module) => Ok(module.unload()),
            Err(module) => {
                // A port that is just being attached has it.
                lock(&self.topology.kept).insert(hash.clone(), module);
                let why = format!("driver {name} {version} is just being used by a port that comes or goes");
                Err(Problem::new(ProblemKind::Busy, why))
            }
        }
    }

    /// The loaded module that `NAME`, `NAME@VERSION` or a hash means.
    fn meant_driver(&self, text: &str) -> Result<LoadedDriver, Problem> {
        let loaded = self.loaded();
        let fits = |release: &Release| {
            let by_hash = text.len() >= DIGITS && release.hash.starts_with(text);
            by_hash
                || match text.split_once('@') {
                    Some((name, version)) => release.driver == name && release.version == version,
                    None => release.driver == text,
                }
        };
        let mut found: Vec<LoadedDriver> = loaded.iter().filter(|d| fits(&d.release)).cloned().collect();
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => {
                let names = loaded.iter().map(|d| d.release.driver.as_str());
                Err(Problem::new(ProblemKind::NotFound, format!("no driver `{text}` is loaded"))
                    .hint(suggest::hint(text, names)))
            }
            _ => {
                let name = |d: &LoadedDriver| {
                    format!("{}@{} ({})", d.release.driver, d.release.version, &d.release.hash[..DIGITS])
                };
                let all: Vec<String> = found.iter().map(name).collect();
                let why = format!("`{text}` means several loaded drivers: {}", all.join(", "));
                Err(Problem::new(ProblemKind::BadRequest, why)
                    .hint("name one with its version, or by its hash"))
            }
        }
    }
}

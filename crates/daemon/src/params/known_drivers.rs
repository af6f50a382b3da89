//! Which drivers there are, with their parameters and ports: what files of parameters are judged by.

use crate::app::App;
use std::collections::BTreeMap;
use steadfast_api::{Problem, ProblemKind, suggest};
use steadfast_settings::lint::{Known, KnownDriver, KnownPort};
use steadfast_shell::manifest::Manifest;
use steadfast_shell::params::ParamSpec;

impl App {
    /// Every driver that has a module where modules are looked for, or a port.
    pub(super) fn known(&self) -> Known {
        let settings = &self.topology.settings;
        let mut newest: BTreeMap<String, Manifest> = BTreeMap::new();
        for manifest in self.modules.manifests() {
            match newest.get(&manifest.name) {
                Some(other) if other.version >= manifest.version => {}
                _ => drop(newest.insert(manifest.name.clone(), manifest)),
            }
        }
        let mut known: Known = newest
            .iter()
            .map(|(name, m)| {
                (name.clone(), KnownDriver { table: settings.table(m), ..KnownDriver::default() })
            })
            .collect();
        for port in self.engine.ports() {
            let running = self.engine.module_of(&port.name);
            let config = self.topology.config_now(&port.name).and_then(Result::ok);
            let said = || config.as_ref()?.driver.split('@').next().and_then(|name| newest.get(name));
            let Some(manifest) = running.as_ref().map(|m| m.manifest()).or_else(said) else { continue };
            let table = settings.table(manifest);
            let given = config.and_then(|config| settings.given(&config, manifest).ok()).unwrap_or_default();
            let driver = known.entry(manifest.name.clone()).or_default();
            add(&mut driver.table, &table);
            driver.ports.insert(port.name, KnownPort { table, given });
        }
        // Why they are not known is told where they are needed.
        if let Ok(numbers) = self.numbered() {
            known.iter_mut().for_each(|(name, driver)| driver.numbers = Some(numbers.ports(name)));
        }
        for port in
            self.topology.defined_ports().into_iter().filter(|port| self.engine.port(&port.name).is_none())
        {
            let named = port.driver.split('@').next().unwrap_or_default();
            for (name, driver) in &mut known {
                // One with a module of its own says no driver's name; its number does.
                let numbered = driver.numbers.iter().any(|n| n.values().any(|of| *of == port.name));
                if name == named || numbered {
                    driver.away.insert(port.name.clone());
                }
            }
        }
        known
    }

    /// One of them.
    pub(super) fn known_driver(&self, name: &str) -> Result<KnownDriver, Problem> {
        let mut known = self.known();
        known.remove(name).ok_or_else(|| {
            let problem = Problem::new(ProblemKind::NotFound, format!("no driver `{name}`"));
            problem.hint(suggest::hint(name, known.keys().map(String::as_str)))
        })
    }
}

/// Another release may have parameters that the newest has not.
fn add(table: &mut Vec<ParamSpec>, more: &[ParamSpec]) {
    for spec in more {
        if !table.iter().any(|own| own.name == spec.name) {
            table.push(spec.clone());
        }
    }
}

//! Adapters and ports, for people and programs to look at.

use super::By;
use crate::app::{App, state};
use steadfast_api::{Adapter, Port, Problem, ProblemKind, suggest};
use steadfast_runtime::PortInfo;

impl App {
    /// All ports, those of one adapter together and by number.
    pub(crate) fn ports(&self) -> Vec<Port> {
        let ports = self.engine.ports();
        let mut ports: Vec<Port> = ports.into_iter().map(|port| self.describe_port(port)).collect();
        ports.extend(self.absent_ports());
        ports.sort_by(|a, b| (&a.adapter, a.number).cmp(&(&b.adapter, b.number)));
        ports
    }

    pub(crate) fn port(&self, name: &str) -> Result<Port, Problem> {
        match self.engine.port(name) {
            Some(port) => Ok(self.describe_port(port)),
            None => {
                let absent = self.absent_ports().into_iter().find(|port| port.name == name);
                absent.ok_or_else(|| self.no_port(name))
            }
        }
    }

    pub(crate) fn adapters(&self) -> Vec<Adapter> {
        let mut adapters: Vec<Adapter> = Vec::new();
        for port in self.ports() {
            if adapters.last().is_none_or(|adapter| adapter.name != port.adapter) {
                adapters.push(Adapter { name: port.adapter.clone(), drivers: Vec::new(), ports: Vec::new() });
            }
            let Some(adapter) = adapters.last_mut() else { continue };
            if let Some(driver) = &port.driver
                && !adapter.drivers.contains(&driver.driver)
            {
                adapter.drivers.push(driver.driver.clone());
            }
            adapter.ports.push(port);
        }
        adapters
    }

    pub(crate) fn adapter(&self, name: &str) -> Result<Adapter, Problem> {
        let adapters = self.adapters();
        let known: Vec<String> = adapters.iter().map(|adapter| adapter.name.clone()).collect();
        adapters.into_iter().find(|adapter| adapter.name == name).ok_or_else(|| {
            let problem = Problem::new(ProblemKind::NotFound, format!("no adapter `{name}`"));
            problem.hint(suggest::hint(name, known.iter().map(String::as_str)))
        })
    }

    pub(crate) fn no_port(&self, name: &str) -> Problem {
        if let Some(absent) = self.is_absent(name) {
            return absent;
        }
        let ports = self.engine.ports();
        let problem = Problem::new(ProblemKind::NotFound, format!("no port `{name}`"));
        problem.hint(suggest::hint(name, ports.iter().map(|port| port.name.as_str())))
    }

    fn describe_port(&self, port: PortInfo) -> Port {
        let defined = self.topology.defined(&port.name);
        let admin_state = port.parameters.iter().find(|param| param.name == "admin_state");
        let admin_state = admin_state.and_then(|param| param.value.clone());
        let unconfirmed = self.edits.confirms.shown(&port.name);
        let delayed = self.edits.delayed.shown(&port.name);
        Port {
            admin_state: admin_state.or_else(|| port.params.get("admin_state").cloned()),
            state: state(&port),
            under: self.engine.over_it(&port.name),
            defined: defined.as_ref().map(|d| d.config.place.to_string()).unwrap_or_default(),
            kept: defined.is_some_and(|d| d.by != By::Temporary),
            devices: port.devices.into_iter().map(|device| device.name).collect(),
            name: port.name,
            adapter: port.adapter,
            number: port.number,
            driver: port.driver,
            generation: port.generation,
            epoch_unix_ms: port.epoch_unix_ms,
            clients: port.clients,
            over: port.over,
            in_flight: port.in_flight.into(),
            held: port.held.into(),
            unconfirmed,
            delayed,
            absent: None,
        }
    }
}

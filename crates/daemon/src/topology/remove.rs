//! Devices, ports and adapters go.

use super::{By, Defined, refused, saved};
use crate::app::App;
use crate::probation::lock;
use steadfast_api::{
    Cause, Outcome, Problem, ProblemKind, Receipt, RemoveRequest, Requester, TopologyReport,
};
use steadfast_runtime::{EngineError, ErrorKind, PortInfo};
use steadfast_shell::receipt::Kind;

impl App {
    /// `device remove`: its port goes.
    pub(crate) fn remove_device(
        &self,
        name: &str,
        request: &RemoveRequest,
        who: String,
    ) -> Result<TopologyReport, Problem> {
        // A port that is down has no device, and is taken away by the name that its device has.
        let port = match (self.engine.port(name), self.forget_absent(name)) {
            (Some(port), _) => port,
            (None, Some(report)) => return Ok(report),
            (None, None) => self.port_of_device(name)?,
        };
        self.remove(vec![port], request.force, who, format!("device remove {name}"))
    }

    /// `port remove`.
    pub(crate) fn remove_port(
        &self,
        name: &str,
        request: &RemoveRequest,
        who: String,
    ) -> Result<TopologyReport, Problem> {
        let port = match (self.engine.port(name), self.forget_absent(name)) {
            (Some(port), _) => port,
            (None, Some(report)) => return Ok(report),
            (None, None) => return Err(self.no_port(name)),
        };
        self.remove(vec![port], request.force, who, format!("port remove {name}"))
    }

    /// `adapter remove`: all of its ports, or none.
    pub(crate) fn remove_adapter(
        &self,
        name: &str,
        request: &RemoveRequest,
        who: String,
    ) -> Result<TopologyReport, Problem> {
        self.adapter(name)?;
        let mut ports = self.engine.ports();
        ports.retain(|port| port.adapter == name);
        self.remove(ports, request.force, who, format!("adapter remove {name}"))
    }

    /// A device that was added and did not come up: it is only to be forgotten.
    fn forget_absent(&self, name: &str) -> Option<TopologyReport> {
        let absent = self.engine.port(name).is_none();
        let saved = self.topology.defined(name).is_some_and(|d| d.by == By::Saved);
        let notes = (absent && saved).then(|| self.forget(name))?;
        Some(TopologyReport { notes, ..TopologyReport::default() })
    }

    fn port_of_device(&self, name: &str) -> Result<PortInfo, Problem> {
        let device = self.device_info(name)?;
        let port = &device.port;
        let why = format!("device {name} is one of several of port {port}, which can only go as a whole");
        Err(refused(why).hint(format!("`steadfast port remove {port}` takes all of them away")))
    }

    fn remove(
        &self,
        ports: Vec<PortInfo>,
        force: bool,
        who: String,
        source: String,
    ) -> Result<TopologyReport, Problem> {
        let by = Requester { cause: Cause::Operator, who };
        let refuse = |port: &str, why: &Problem| {
            let mut receipt = self.engine.begin_receipt(port, Kind::Detach, &by, &source);
            receipt.outcome = if why.kind == ProblemKind::Busy { Outcome::Busy } else { Outcome::Refused };
            receipt.reason.clone_from(&why.message);
            self.keep_topology(&receipt);
        };
        if !force {
            for port in &ports {
                self.unused(port, &ports).inspect_err(|why| refuse(&port.name, why))?;
            }
        }
        let mut report = TopologyReport::default();
        for name in self.top_down(&ports) {
            let receipt = self.engine.begin_receipt(&name, Kind::Detach, &by, &source);
            match self.take_away(receipt, force) {
                Ok(receipt) => report.receipts.push(receipt),
                Err(mut why) => {
                    refuse(&name, &why);
                    if let Some(gone) = gone(&report.receipts) {
                        why.message = format!("{}; gone already: {gone}", why.message);
                    }
                    return Err(why);
                }
            }
            report.notes.extend(self.forget(&name));
        }
        Ok(report)
    }

    /// Refuses where somebody uses a port, apart from other ports that go with it.
    fn unused(&self, port: &PortInfo, with: &[PortInfo]) -> Result<(), Problem> {
        let uppers = self.engine.over_it(&port.name);
        let (own, others): (Vec<String>, Vec<String>) =
            uppers.into_iter().partition(|name| with.iter().any(|other| other.name == *name));
        let clients = port.clients.saturating_sub(own.len() as u32);
        if clients == 0 {
            return Ok(());
        }
        let plural = if clients == 1 { "client" } else { "clients" };
        let mut why = format!("port {} is in use by {clients} {plural}", port.name);
        if !others.is_empty() {
            why.push_str(&format!("; devices that lie over it: {}", others.join(", ")));
        }
        Err(Problem::new(ProblemKind::Busy, why)
            .hint("--force takes it away all the same: requests end with an error, and connections"))
    }

    /// The ports' names, those that lie over others of them first.
    fn top_down(&self, ports: &[PortInfo]) -> Vec<String> {
        let mut left: Vec<String> = ports.iter().map(|port| port.name.clone()).collect();
        let mut order = Vec::new();
        while !left.is_empty() {
            let free = |name: &String| !self.engine.over_it(name).iter().any(|upper| left.contains(upper));
            let next = left.iter().position(free).unwrap_or(0);
            order.push(left.remove(next));
        }
        order
    }

    fn take_away(&self, mut receipt: Receipt, force: bool) -> Result<Receipt, Problem> {
        let port = receipt.port.clone();
        self.probations
            .make_way(&port, Some("the device was taken away"))
            .map_err(|why| Problem::new(ProblemKind::Busy, why))?;
        self.engine.detach(&port, force).map_err(|e| problem(&e, force))?;
        self.edits.confirms.forget(&port);
        receipt.outcome = Outcome::Done;
        self.keep_topology(&receipt);
        Ok(receipt)
    }

    /// A port has gone; says whether it comes back, and what becomes of what is saved for it.
    fn forget(&self, port: &str) -> Vec<String> {
        let Some(Defined { config, by, .. }) = self.topology.defined(port) else { return Vec::new() };
        match by {
            By::Temporary => {
                lock(&self.topology.defined).remove(port);
                self.forget_number(port);
                self.forget_saved(port)
            }
            By::Saved => {
                lock(&self.topology.defined).remove(port);
                self.forget_number(port);
                let folder = &self.topology.settings.folder;
                let _saving = lock(&self.topology.saving);
                let file = saved::path(folder);
                match saved::remove(folder, std::slice::from_ref(&config)) {
                    Ok(()) => {
                        let mut notes = vec![format!("{port} is taken out of {}", file.display())];
                        notes.extend(self.forget_saved(port));
                        notes
                    }
                    Err(why) => vec![format!("{port} COMES BACK when the daemon starts again: {why}")],
                }
            }
            By::Configuration => {
                if let Some(defined) = lock(&self.topology.defined).get_mut(port) {
                    defined.removed = true;
                }
                let place = &config.place;
                let mut notes =
                    vec![format!("{port} is defined at {place}: it comes back when the daemon starts again")];
                notes.extend(self.kept_saved(port));
                notes
            }
        }
    }
}

fn gone(receipts: &[Receipt]) -> Option<String> {
    let names: Vec<&str> = receipts.iter().map(|receipt| receipt.port.as_str()).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn problem(error: &EngineError, force: bool) -> Problem {
    let kind = match error.kind() {
        ErrorKind::NotFound => ProblemKind::NotFound,
        ErrorKind::Busy => ProblemKind::Busy,
        ErrorKind::Invalid | ErrorKind::Exists | ErrorKind::Driver => ProblemKind::Refused,
        ErrorKind::Unsupported | ErrorKind::Unresponsive => ProblemKind::Internal,
    };
    let problem = Problem::new(kind, error.to_string());
    match kind {
        ProblemKind::Refused if !force => problem.hint("--force takes it away whatever its driver says"),
        _ => problem,
    }
}

//! Devices, ports and adapters go.

use crate::app::App;
use crate::config::{DeviceConfig, devices_file};
use crate::ports::{By, Defined, refused};
use steadfast_api::{
    Cause, Outcome, Problem, ProblemKind, Receipt, RemoveRequest, Requester, TopologyReport,
};
use steadfast_runtime::{EngineError, ErrorKind, PortInfo};
use steadfast_shell::receipt::Kind;
use steadfast_shell::sync::lock;

impl App {
    /// `device remove`: its port goes.
    pub(crate) fn remove_device(
        &self,
        name: &str,
        request: &RemoveRequest,
        who: String,
    ) -> Result<TopologyReport, Problem> {
        // A port that is down has no device, and is taken away by the name that its device has.
        let port = match (self.engine.port(name), self.forget_absent(name, request.dry_run)) {
            (Some(port), _) => port,
            (None, Some(report)) => return Ok(report),
            (None, None) => self.port_of_device(name)?,
        };
        self.remove(vec![port], Vec::new(), request, who, format!("device remove {name}"))
    }

    /// `port remove`.
    pub(crate) fn remove_port(
        &self,
        name: &str,
        request: &RemoveRequest,
        who: String,
    ) -> Result<TopologyReport, Problem> {
        let port = match (self.engine.port(name), self.forget_absent(name, request.dry_run)) {
            (Some(port), _) => port,
            (None, Some(report)) => return Ok(report),
            (None, None) => return Err(self.no_port(name)),
        };
        self.remove(vec![port], Vec::new(), request, who, format!("port remove {name}"))
    }

    /// `adapter remove`: all of its ports, those that are absent among them, or none, unless a driver does not
    /// let go of its port (see [`App::remove`]).
    pub(crate) fn remove_adapter(
        &self,
        name: &str,
        request: &RemoveRequest,
        who: String,
    ) -> Result<TopologyReport, Problem> {
        let absent = self.adapter(name)?.ports.into_iter().filter(|port| port.absent.is_some());
        let mut absent: Vec<String> = absent.map(|port| port.name).collect();
        let mut ports = self.engine.ports();
        ports.retain(|port| port.adapter == name);
        absent.retain(|name| !ports.iter().any(|port| port.name == *name));
        self.remove(ports, absent, request, who, format!("adapter remove {name}"))
    }

    /// A device that did not come up: it is only to be forgotten.
    fn forget_absent(&self, name: &str, dry_run: bool) -> Option<TopologyReport> {
        let away = self.engine.port(name).is_none();
        if !(away && self.topology.defined(name).is_some_and(|d| !d.removed)) {
            return None;
        }
        if dry_run {
            return Some(self.would_go(&[name.to_owned()]));
        }
        let notes = self.forget(&[name.to_owned()]);
        self.topology.absent.forget(name);
        Some(TopologyReport { notes, ..TopologyReport::default() })
    }

    fn port_of_device(&self, name: &str) -> Result<PortInfo, Problem> {
        let device = self.device_info(name)?;
        let port = &device.port;
        let why = format!("device {name} is one of several of port {port}, which can only go as a whole");
        Err(refused(why).hint(format!("`steadfast port remove {port}` takes all of them away")))
    }

    /// Takes `ports` away, and forgets `absent` with them: all of them go out of `devices.toml` at once.
    ///
    /// # Errors
    /// Somebody uses one of them: nothing is changed. A driver refuses to go, or does not: those that lie over it or
    /// came before it have gone for good, which the error says; it and the rest, `absent` among them, stay.
    fn remove(
        &self,
        ports: Vec<PortInfo>,
        absent: Vec<String>,
        request: &RemoveRequest,
        who: String,
        source: String,
    ) -> Result<TopologyReport, Problem> {
        let RemoveRequest { force, dry_run } = *request;
        let by = Requester { cause: Cause::Operator, who };
        let refuse = |port: &str, why: &Problem| {
            let mut receipt = self.engine.begin_receipt(port, Kind::Detach, &by, &source);
            receipt.outcome = if why.kind == ProblemKind::Busy { Outcome::Busy } else { Outcome::Refused };
            receipt.reason.clone_from(&why.message);
            self.keep_topology(&receipt);
        };
        if !force {
            for port in &ports {
                let refuse = |why: &Problem| {
                    if !dry_run {
                        refuse(&port.name, why)
                    }
                };
                self.unused(port, &ports).inspect_err(refuse)?;
            }
        }
        let mut order = self.top_down(&ports);
        if dry_run {
            order.extend(absent);
            return Ok(self.would_go(&order));
        }
        // What has come up meanwhile goes as the others do.
        order.extend(absent.iter().filter(|name| self.engine.port(name).is_some()).cloned());
        let mut report = TopologyReport::default();
        for name in &order {
            let receipt = self.engine.begin_receipt(name, Kind::Detach, &by, &source);
            match self.take_away(receipt, force) {
                Ok(receipt) => report.receipts.push(receipt),
                Err(mut why) => {
                    refuse(name, &why);
                    let gone = gone(&report.receipts);
                    self.forget(&gone);
                    if !gone.is_empty() {
                        why.message = format!("{}; gone already: {}", why.message, gone.join(", "));
                    }
                    return Err(why);
                }
            }
        }
        order.extend(absent.iter().filter(|name| !order.contains(name)).cloned().collect::<Vec<_>>());
        report.notes = self.forget(&order);
        absent.iter().for_each(|name| self.topology.absent.forget(name));
        Ok(report)
    }

    /// What a removal would do, a sentence each.
    fn would_go(&self, ports: &[String]) -> TopologyReport {
        let file = devices_file::path(&self.topology.settings.folder);
        let note = |port: &String| {
            let clients = self.engine.port(port).map_or(0, |port| port.clients);
            let under = if clients > 0 { format!(", under {clients} clients") } else { String::new() };
            let then = match self.topology.defined(port) {
                Some(Defined { by: By::Saved, .. }) => format!("and out of {}", file.display()),
                Some(Defined { config, by: By::Configuration, .. }) => {
                    format!("until the daemon starts again: it is defined at {}", config.place)
                }
                _ => "for good".to_owned(),
            };
            format!("{port} would be taken away{under}, {then}")
        };
        TopologyReport { notes: ports.iter().map(note).collect(), ..TopologyReport::default() }
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
        let mut why = self.engine.used_by(&port.name, clients);
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

    /// Ports have gone; says whether they come back, and what becomes of what is saved for them. All of them go
    /// out of the file in one piece: a daemon that is killed meanwhile comes up with all of them or with none.
    fn forget(&self, ports: &[String]) -> Vec<String> {
        let all: Vec<Defined> = ports.iter().filter_map(|port| self.topology.defined(port)).collect();
        let saved: Vec<DeviceConfig> =
            all.iter().filter(|d| d.by == By::Saved).map(|d| d.config.clone()).collect();
        let taken_out = self.take_out(&saved);
        if let Some(serving) = self.serving() {
            all.iter().for_each(|defined| serving.forget(&defined.config.name));
            serving.save();
        }
        let note = |defined: Defined| self.forgotten(defined, &taken_out);
        all.into_iter().flat_map(note).collect()
    }

    fn take_out(&self, devices: &[DeviceConfig]) -> Result<(), String> {
        if devices.is_empty() {
            return Ok(());
        }
        let _saving = lock(&self.topology.saving);
        devices_file::remove(&self.topology.settings.folder, devices)
    }

    fn forgotten(&self, defined: Defined, taken_out: &Result<(), String>) -> Vec<String> {
        let Defined { config, by, .. } = defined;
        let port = &config.name;
        if by == By::Configuration {
            if let Some(defined) = lock(&self.topology.defined).get_mut(port) {
                defined.removed = true;
            }
            let place = &config.place;
            let mut notes =
                vec![format!("{port} is defined at {place}: it comes back when the daemon starts again")];
            notes.extend(self.kept_saved(port));
            return notes;
        }
        lock(&self.topology.defined).remove(port);
        self.forget_number(port);
        let mut notes = Vec::new();
        if by == By::Saved {
            if let Err(why) = taken_out {
                return vec![format!("{port} COMES BACK when the daemon starts again: {why}")];
            }
            let file = devices_file::path(&self.topology.settings.folder);
            notes.push(format!("{port} is taken out of {}", file.display()));
        }
        notes.extend(self.forget_saved(port));
        notes
    }
}

fn gone(receipts: &[Receipt]) -> Vec<String> {
    receipts.iter().map(|receipt| receipt.port.clone()).collect()
}

fn problem(error: &EngineError, force: bool) -> Problem {
    let kind = match error.kind() {
        ErrorKind::NotFound => ProblemKind::NotFound,
        ErrorKind::Busy => ProblemKind::Busy,
        ErrorKind::Invalid | ErrorKind::Exists | ErrorKind::Driver | ErrorKind::Smaller => {
            ProblemKind::Refused
        }
        ErrorKind::Unsupported | ErrorKind::Unresponsive => ProblemKind::Internal,
    };
    let problem = Problem::new(kind, error.to_string());
    match kind {
        ProblemKind::Refused if !force => problem.hint("--force takes it away whatever its driver says"),
        _ => problem,
    }
}

//! What the control API acts on.

use crate::config::module_path::{self, ModulePath};
use crate::config::nbd_uri;
use crate::log;
use crate::params::{Edits, live};
use crate::ports::lost_writes::LostMedia;
use crate::ports::{Topology, trouble};
use crate::receipts::Receipts;
use crate::serving::{Needs, Serving};
use crate::updates::probation::{Baselines, Probations};
use crate::updates::trial;
use crate::updates::watched_folder::Folder;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use steadfast_api::{
    Abandoned, CheckReport, CheckRequest, Device, Drivers, Health, Latency, LogHealth, Memory, PortState,
    Problem, ProblemKind, TroubleCode, suggest,
};
use steadfast_loader::{ModuleStore, StagedModule};
use steadfast_nbd::{BoundAddr, NbdServer};
use steadfast_runtime::{DeviceInfo, Engine, PortInfo, UpdateOptions};

/// The daemon's parts. All calls block; none is made on the control API's own thread.
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) store: ModuleStore,
    pub(crate) modules: ModulePath,
    pub(crate) nbd: NbdServer,
    pub(crate) receipts: Receipts,
    pub(crate) probations: Probations,
    pub(crate) baselines: Baselines,
    pub(crate) folder: Folder,
    pub(crate) topology: Topology,
    pub(crate) edits: Edits,
    /// It was asked to stop: what takes long and can be done another time ends.
    pub(crate) ending: AtomicBool,
    /// Updates in progress.
    pub(crate) updates: AtomicUsize,
    pub(crate) started_unix_ms: u64,
    /// What samples' times count from.
    pub(crate) started: Instant,
    /// User ids, beside root and the daemon's own, that may change things.
    pub(crate) admins: Vec<u32>,
    /// What is needed of the module store.
    pub(crate) needs: Needs,
    /// The media that have lost writes.
    pub(crate) lost: Arc<LostMedia>,
    /// The folder of the history.
    pub(crate) state: PathBuf,
}

impl App {
    /// Who served each port last.
    pub(crate) fn serving(&self) -> Option<&Arc<Serving>> {
        self.topology.settings.serving.as_ref()
    }

    pub(crate) fn health(&self) -> Health {
        self.engine.look_at_files(None);
        let ports = self.engine.ports();
        let log = log::health();
        let of_ports =
            ports.iter().flat_map(|port| trouble::of(port).into_iter().chain(trouble::of_state(port)));
        let state =
            [self.serving().map_or_else(String::new, |serving| serving.problem()), self.lost.problem()];
        let own = [
            trouble::own(TroubleCode::History, self.receipts.degraded()),
            trouble::own(TroubleCode::Log, degraded(&log)),
            self.topology.unread_trouble(),
        ];
        let own = own.into_iter().chain(state.map(|said| trouble::own(TroubleCode::State, said))).flatten();
        let troubles: Vec<_> = of_ports.chain(self.absent_troubles()).chain(own).collect();
        Health {
            healthy: troubles.iter().all(|trouble| trouble.port.is_empty()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_unix_ms: self.started_unix_ms,
            queues: self.engine.queues() as u32,
            devices: ports.iter().map(|port| port.devices.len() as u32).sum(),
            clients: self.nbd.clients() as u64,
            nbd: self.nbd.addresses().iter().map(BoundAddr::to_string).collect(),
            degraded: trouble::sentence(&troubles),
            troubles,
            history: self.receipts.health(),
            log,
        }
    }

    pub(crate) fn devices(&self) -> Vec<Device> {
        let described = |port: PortInfo| {
            let devices = port.devices.clone();
            devices.into_iter().map(|device| self.describe(device, &port)).collect::<Vec<_>>()
        };
        self.engine.ports().into_iter().flat_map(described).collect()
    }

    /// All devices, those among them that are absent.
    pub(crate) fn all_devices(&self) -> Vec<Device> {
        let mut all = self.devices();
        all.extend(self.absent_devices());
        all.sort_by(|a, b| (&a.port, a.number).cmp(&(&b.port, b.number)));
        all
    }

    pub(crate) fn device(&self, name: &str) -> Result<Device, Problem> {
        if let Some(absent) = self.absent_device(name) {
            return Ok(absent);
        }
        let device = self.device_info(name)?;
        self.engine.look_at_files(Some(&device.port));
        let port = self.engine.port(&device.port).ok_or_else(|| self.no_device(name))?;
        Ok(self.describe(device, &port))
    }

    pub(crate) fn device_info(&self, name: &str) -> Result<DeviceInfo, Problem> {
        self.engine.device(name).ok_or_else(|| self.no_device(name))
    }

    /// The port of a device; of one that is not there any more, the one it would have had.
    pub(crate) fn port_of(&self, device: &str) -> String {
        let known = self.engine.device(device);
        known.map_or_else(|| device.split('.').next().unwrap_or(device).to_owned(), |known| known.port)
    }

    fn no_device(&self, name: &str) -> Problem {
        if let Some(absent) = self.is_absent(name.split('.').next().unwrap_or(name)) {
            return absent;
        }
        let devices = self.engine.devices();
        let port = name.split('.').next().unwrap_or(name);
        if self.engine.port(port).is_some_and(|port| state(&port) == PortState::Down) {
            let text = format!("no device `{name}`: port `{port}` is down (admin_state)");
            return Problem::new(ProblemKind::NotFound, text).hint(format!(
                "`steadfast param set {port} admin_state=up` and `steadfast activate {port}` bring it up"
            ));
        }
        let problem = Problem::new(ProblemKind::NotFound, format!("no device `{name}`"));
        problem.hint(suggest::hint(name, devices.iter().map(|d| d.name.as_str())))
    }

    fn describe(&self, device: DeviceInfo, port: &PortInfo) -> Device {
        let addresses = self.nbd.addresses();
        Device {
            uris: addresses.iter().map(|address| nbd_uri::of(address, &device.name)).collect(),
            name: device.name,
            port: device.port,
            number: device.number,
            driver: port.driver.clone(),
            state: state(port),
            absent: None,
            generation: port.generation,
            epoch_unix_ms: port.epoch_unix_ms,
            size: device.size,
            block_size: device.block_size,
            preferred_block_size: device.preferred_block_size,
            max_transfer: device.max_transfer,
            features: device.feature_names,
            wwid: device.wwid,
            troubles: trouble::of(port),
            over: port.over.clone(),
            queues: port.queues.len() as u32,
            slots: port.slots,
            in_flight: port.in_flight.into(),
            held: port.held.into(),
            requests: port.requests,
            errors: port.errors,
            bytes_read: port.bytes_read,
            bytes_written: port.bytes_written,
            memory: Memory {
                port_wanted: port.memory.port_wanted,
                port_granted: port.memory.port_granted,
                queue_wanted: port.memory.queue_wanted,
                queue_granted: port.memory.queue_granted,
            },
            reduced: port.reduced.clone(),
            latency: latency(port),
            oldest_ns: port.oldest_ns,
            clients: port.clients,
            driver_faults: port.driver_faults,
            shell_faults: port.shell_faults,
            swaps: port.swaps,
            entered: port.entered.clone(),
            params: live::describe(port),
            probation: self.probations.of(&port.name).map(|watch| watch.shown()),
            next_start: self.next_start(&port.name),
            available: port.driver.as_ref().and_then(|d| self.folder.available(self, &port.name, d)),
            last_receipt: self.receipts.last_of(&port.name).or_else(|| port.last_receipt.clone()),
            missed: self.edits.delayed.missed(&port.name),
            unconfirmed: self.edits.confirms.shown(&port.name),
            abandoned: port.abandoned.iter().map(abandoned).collect(),
            shadow: port.shadow.as_ref().map(trial::shown),
        }
    }

    pub(crate) fn drivers(&self) -> Drivers {
        let mut drivers = self.modules.list();
        for port in self.engine.ports() {
            let runs = |d: &&mut steadfast_api::Driver| {
                port.module.as_ref().is_some_and(|r| r.driver == d.name && r.version == d.version)
            };
            if let Some(driver) = drivers.drivers.iter_mut().find(runs) {
                driver.ports.push(port.name);
            }
        }
        drivers.loaded = self.loaded();
        drivers
    }

    /// The file of a module; the client's own folder is unknown here.
    pub(crate) fn locate(&self, module: &str) -> Result<PathBuf, Problem> {
        if module_path::is_module_path(module) && !module.starts_with('/') {
            let message = format!("module `{module}`: the path is not absolute");
            return Err(Problem::new(ProblemKind::BadRequest, message));
        }
        self.modules.locate(module).map_err(|e| module_path::load_problem(&e))
    }

    /// Does something that the daemon waits for when it stops, as for an update.
    pub(crate) fn counting<T>(&self, work: impl FnOnce() -> T) -> T {
        self.updates.fetch_add(1, Ordering::Relaxed);
        let done = work();
        self.updates.fetch_sub(1, Ordering::Relaxed);
        done
    }

    /// Whether an update is in progress.
    pub(crate) fn updating(&self) -> bool {
        self.updates.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn check(&self, request: &CheckRequest) -> Result<CheckReport, Problem> {
        let device = self.device_info(&request.device)?;
        let path = self.locate(&request.module)?;
        // Nothing of it runs in this process, and nothing of it stays in the store.
        let staged = self.store.examine(&path).map_err(|e| module_path::load_problem(&e))?;
        let options = UpdateOptions {
            allow_older: request.allow_older,
            allow_other: request.allow_other,
            allow_skip: request.allow_skip,
            allow_again: request.allow_again,
            force: request.force,
            mode: request.mode,
            params: request.params.clone(),
            ..UpdateOptions::default()
        };
        self.checked(&device.port, &staged, &options)
    }

    /// What speaks for and against a module as the driver of a port.
    pub(crate) fn checked(
        &self,
        port: &str,
        staged: &StagedModule,
        options: &UpdateOptions,
    ) -> Result<CheckReport, Problem> {
        let found = self
            .engine
            .check(port, staged, options)
            .map_err(|e| Problem::new(ProblemKind::NotFound, e.to_string()))?;
        let mut report = module_path::report(staged, found.running, found.rows);
        let tried =
            module_path::load_row(staged, self.store.try_out(staged), "mapped in a process of its own");
        report.ok = found.ok && tried.ok;
        report.rows.push(tried);
        report.mode = found.mode.filter(|_| report.ok);
        Ok(report)
    }
}

/// What is wrong with the log.
fn degraded(log: &LogHealth) -> String {
    match log.error.as_str() {
        "" => String::new(),
        error => format!("log: {error} ({} lines are missing)", log.lost),
    }
}

pub(crate) fn state(port: &PortInfo) -> PortState {
    match port.state {
        steadfast_runtime::PortState::Running => PortState::Running,
        steadfast_runtime::PortState::Held => PortState::Held,
        steadfast_runtime::PortState::Down => PortState::Down,
        steadfast_runtime::PortState::Stranded => PortState::Stranded,
        steadfast_runtime::PortState::Unresponsive => PortState::Unresponsive,
    }
}

fn abandoned(left: &steadfast_runtime::Abandoned) -> Abandoned {
    Abandoned {
        release: left.release.clone(),
        entry: left.entry.clone(),
        since_unix_ms: left.since_unix_ms,
        inside: left.inside,
    }
}

fn latency(port: &PortInfo) -> Latency {
    let q = port.latency;
    Latency {
        count: q.count,
        mean_ns: q.mean_ns,
        p50_ns: q.p50_ns,
        p99_ns: q.p99_ns,
        p999_ns: q.p999_ns,
        p9999_ns: q.p9999_ns,
        max_ns: q.max_ns,
    }
}

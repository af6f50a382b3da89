//! The configuration is read again, and what is behind the ports is looked at.
//!
//! What is new is attached; a file or block device that has grown is announced anew, by initialising its
//! port anew with the module that it runs. Nothing else is changed: what is not defined any more stays.

use crate::app::App;
use crate::config::{Config, DeviceConfig, Place, devices_file};
use crate::ports::{By, prepare, trouble};
use crate::updates::Work;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use steadfast_api::{
    Cause, Found, Outcome, Problem, Receipt, Requester, RescanReport, RescanRequest, Rescanned, TroubleCode,
};
use steadfast_runtime::{Behind, PortInfo, UpdateOptions};
use steadfast_shell::receipt::Kind;
use steadfast_shell::sync::lock;

/// Receipts of a rescan say so.
const SOURCE: &str = "rescan";

impl App {
    /// `rescan`.
    pub(crate) fn rescan(
        self: &Arc<App>,
        request: &RescanRequest,
        who: String,
    ) -> Result<RescanReport, Problem> {
        let by = Requester { cause: Cause::Operator, who };
        let only = request.port.as_deref();
        let mut report = RescanReport::default();
        let defined = self.read_again(&mut report.problems);
        self.topology.note_read(&report.problems);
        if let Some(name) = only
            && self.engine.port(name).is_none()
            && !defined.iter().any(|(device, _)| device.name == name)
        {
            return Err(self.no_port(name));
        }
        self.forget_undefined(&defined, report.problems.is_empty() && only.is_none());
        for (device, from) in defined {
            if self.ends(&mut report) {
                return Ok(report);
            }
            if only.is_none_or(|name| name == device.name) {
                report.ports.extend(self.attach_new(device, from, only.is_some(), &by));
            }
        }
        self.number_ports();
        for port in self.bottom_up() {
            if self.ends(&mut report) {
                break;
            }
            let known = report.ports.iter().any(|found| found.port == port.name);
            if !known && only.is_none_or(|name| name == port.name) {
                report.ports.push(self.look_behind(&port, &by));
            }
        }
        report.ports.sort_by(|a, b| a.port.cmp(&b.port));
        Ok(report)
    }

    /// The daemon stops, so that the rest can wait for its next start, which looks at all of it.
    fn ends(&self, report: &mut RescanReport) -> bool {
        let ends = self.ending.load(Ordering::Relaxed);
        if ends {
            report.problems.push("it ended early, because the daemon stops".to_owned());
        }
        ends
    }

    /// Everything that is defined now; what cannot be read is a problem, and the rest is taken.
    fn read_again(&self, problems: &mut Vec<String>) -> Vec<(DeviceConfig, By)> {
        let mut all = Vec::new();
        if let Some(path) = &self.topology.config {
            match Config::read(path) {
                Ok(config) => all.extend(config.devices.into_iter().map(|d| (d, By::Configuration))),
                Err(e) => problems.push(e.to_string()),
            }
        }
        match devices_file::read(&self.topology.settings.folder) {
            Ok(devices) => {
                let new = |d: &DeviceConfig| !all.iter().any(|(own, _)| own.name == d.name);
                let devices: Vec<DeviceConfig> = devices.into_iter().filter(new).collect();
                all.extend(devices.into_iter().map(|d| (d, By::Saved)));
            }
            Err(e) => problems.push(e.to_string()),
        }
        // What the command line defines is nowhere to be read again.
        let defined = lock(&self.topology.defined);
        let told = defined.values().filter(|d| d.by == By::Configuration);
        let told: Vec<DeviceConfig> = told
            .filter(|d| matches!(d.config.place, Place::Option(_)))
            .filter(|d| !all.iter().any(|(own, _)| own.name == d.config.name))
            .map(|d| d.config.clone())
            .collect();
        all.extend(told.into_iter().map(|d| (d, By::Configuration)));
        all
    }

    /// Attaches a device that is defined and not there. `meant`: it was asked for by name, so it comes
    /// also when somebody has taken it away.
    fn attach_new(&self, device: DeviceConfig, by: By, meant: bool, who: &Requester) -> Option<Rescanned> {
        let name = device.name.clone();
        if self.engine.port(&name).is_some() {
            return None;
        }
        let place = device.place.clone();
        if self.topology.defined(&name).is_some_and(|d| d.removed) && !meant {
            let detail = format!("taken away; defined at {place}: `steadfast rescan {name}` brings it back");
            return Some(Rescanned { port: name, found: Found::Unchanged, detail, receipt: None });
        }
        let source = format!("{SOURCE}, {place}");
        let mut receipt = self.engine.begin_receipt(&name, Kind::Attach, who, &source);
        let attached = self.attach_defined(&device);
        let removed = self.topology.defined(&name).is_some_and(|known| known.removed);
        match &attached {
            Ok(_) => self.topology.absent.forget(&name),
            Err(why) if !removed => drop(self.topology.absent.note(&device, why)),
            Err(_) => {}
        }
        if attached.is_ok() || !removed {
            self.topology.define(device, by);
        }
        let (found, detail) = match attached {
            Ok(release) => {
                receipt.to = Some(release);
                receipt.outcome = Outcome::Done;
                receipt.generation_after = self.engine.generation_of(&name);
                (Found::Attached, format!("defined at {place}"))
            }
            Err(why) => {
                receipt.reason.clone_from(&why);
                (Found::Failed, why)
            }
        };
        self.keep_topology(&receipt);
        Some(Rescanned { port: name, found, detail, receipt: Some(receipt) })
    }

    /// What is absent and is not defined any more need not come.
    fn forget_undefined(&self, defined: &[(DeviceConfig, By)], all_known: bool) {
        let gone = |name: &String| !defined.iter().any(|(device, _)| device.name == *name);
        for name in self.absent_devices().into_iter().map(|device| device.name).filter(gone) {
            if all_known && self.topology.defined(&name).is_none_or(|known| known.by != By::Temporary) {
                lock(&self.topology.defined).remove(&name);
                self.topology.absent.forget(&name);
            }
        }
    }

    pub(super) fn attach_defined(&self, device: &DeviceConfig) -> Result<steadfast_api::Release, String> {
        let prepared = prepare::prepare(
            std::slice::from_ref(device),
            &self.modules,
            &self.store,
            &self.topology.settings,
        );
        let prepared = prepared.map_err(|e| e.to_string())?;
        let prepared = prepared.first().ok_or("it could not be prepared")?;
        let module = self.module(&prepared.staged)?;
        prepare::attach_one(&self.engine, prepared, module, self.topology.policy)?;
        prepared.comes.tell(&self.engine, &self.receipts, &prepared.config, &prepared.staged.release());
        prepared.comes.came_up(&self.engine, &prepared.config, &prepared.staged.release());
        self.serving().iter().for_each(|serving| serving.save());
        Ok(prepared.staged.release())
    }

    /// All ports, each after those that it lies over: what is below grows first.
    fn bottom_up(&self) -> Vec<PortInfo> {
        let mut left = self.engine.ports();
        let mut order: Vec<PortInfo> = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let waits = |port: &PortInfo| {
                let below = |name: &String| left.iter().any(|p| p.devices.iter().any(|d| d.name == *name));
                port.over.iter().any(below)
            };
            let next = left.iter().position(|port| !waits(port)).unwrap_or(0);
            order.push(left.remove(next));
        }
        order
    }

    fn look_behind(self: &Arc<App>, port: &PortInfo, by: &Requester) -> Rescanned {
        let name = port.name.clone();
        let found = |found, detail: String, receipt| Rescanned { port: name.clone(), found, detail, receipt };
        self.engine.look_at_files(Some(&name));
        let troubles = self.engine.port(&name).map(|port| trouble::of(&port)).unwrap_or_default();
        for (code, what) in [
            (TroubleCode::FileReplaced, Found::Replaced),
            (TroubleCode::FileMissing, Found::Missing),
            (TroubleCode::ReadOnly, Found::ReadOnly),
        ] {
            if let Some(trouble) = troubles.iter().find(|trouble| trouble.code == code) {
                return found(what, trouble.detail.clone(), None);
            }
        }
        let behind = match self.engine.look_behind(&name) {
            Ok(behind) => behind,
            Err(e) => return found(Found::Failed, e.to_string(), None),
        };
        if behind.is_empty() {
            return found(Found::Unchanged, String::new(), None);
        }
        let detail = behind.iter().map(describe).collect::<Vec<_>>().join("; ");
        if behind.iter().any(|behind| behind.now < behind.known) {
            let detail = format!("{detail}; the device stays as it is, and what lies beyond the end fails");
            return found(Found::Shrunk, detail, None);
        }
        let Some(driver) = &port.driver else {
            return found(Found::Failed, format!("{detail}; no driver serves it"), None);
        };
        if let Err(e) = self.engine.note_growth(&name) {
            return found(Found::Failed, format!("{detail}; {e}"), None);
        }
        let receipt = self.announce_anew(&name, &driver.hash, by, &detail);
        match receipt.outcome {
            Outcome::Done => found(Found::Grown, detail, Some(receipt)),
            _ => found(Found::Failed, format!("{detail}; {}", receipt.reason), Some(receipt)),
        }
    }

    /// Initialises a port anew with the module that it runs, so that the driver finds what has grown.
    fn announce_anew(self: &Arc<App>, port: &str, hash: &str, by: &Requester, why: &str) -> Receipt {
        let options = UpdateOptions {
            // It is the same driver: policy about changes of driver is not about this.
            allow_again: true,
            by: by.clone(),
            source: format!("{SOURCE}, {why}"),
            ..UpdateOptions::default()
        };
        self.update_stored(
            port,
            hash,
            Work { options, probation: None, ends_probation: None, by_itself: false, save: None },
        )
    }
}

fn describe(behind: &Behind) -> String {
    let how = if behind.now > behind.known { "has grown" } else { "has shrunk" };
    format!("{} {how} from {} to {} bytes", behind.target, behind.known, behind.now)
}

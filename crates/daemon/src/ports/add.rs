//! Devices, adapters and ports come.

use crate::app::App;
use crate::config::module_path::{is_module_path, target_param};
use crate::config::{
    ConfigError, DeviceConfig, check_device_name, devices_file, parse_device, parse_port, path_from,
};
use crate::ports::prepare::{self, Prepared};
use crate::ports::{By, refused};
use crate::start::targets;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use steadfast_api::{
    AdapterAddRequest, Cause, DeviceAddRequest, Outcome, PortAddRequest, Problem, ProblemKind, Receipt,
    Requester, TopologyReport,
};
use steadfast_loader::{LoadedModule, StagedModule};
use steadfast_runtime::AdapterRef;
use steadfast_shell::params::ParamKind;
use steadfast_shell::receipt::Kind;
use steadfast_shell::sync::lock;

/// Who adds, and how.
struct Adding<'a> {
    by: Requester,
    source: String,
    base: &'a Option<String>,
    temporary: bool,
    dry_run: bool,
}

impl App {
    /// `device add`.
    pub(crate) fn add_device(
        &self,
        request: &DeviceAddRequest,
        who: String,
    ) -> Result<TopologyReport, Problem> {
        let device = parse_device(&request.spec).map_err(bad)?;
        let source = format!("device add {}", request.spec);
        self.add(vec![device], adding(who, source, &request.base, request.temporary, request.dry_run))
    }

    /// `adapter add`.
    pub(crate) fn add_adapter(
        &self,
        request: &AdapterAddRequest,
        who: String,
    ) -> Result<TopologyReport, Problem> {
        let name = &request.name;
        let malformed = |message: String| Problem::new(ProblemKind::BadRequest, message);
        check_device_name(name).map_err(|e| malformed(e.replacen("device", "adapter", 1)))?;
        if request.ports.is_empty() {
            let message = format!("adapter {name}: it has no port");
            return Err(malformed(message).hint("--port a:disk.img gives it one; repeatable"));
        }
        if self.ports().iter().any(|port| port.adapter == *name) {
            let hint = format!("`steadfast port add {name} PORT:TARGET` gives it another port");
            return Err(refused(format!("adapter {name} exists already")).hint(hint));
        }
        let mut devices = Vec::new();
        for (text, number) in request.ports.iter().zip(0..) {
            let mut device = parse_port(name, &request.driver, text).map_err(bad)?;
            device.adapter = Some(AdapterRef { name: name.clone(), number });
            devices.push(device);
        }
        let source = format!("adapter add {name}={}", request.driver);
        self.add(devices, adding(who, source, &request.base, request.temporary, request.dry_run))
    }

    /// `port add`.
    pub(crate) fn add_port(
        &self,
        adapter: &str,
        request: &PortAddRequest,
        who: String,
    ) -> Result<TopologyReport, Problem> {
        let ports = self.adapter(adapter)?.ports;
        let driver = match &request.driver {
            Some(driver) => driver.clone(),
            None => ports
                .iter()
                .find_map(|port| {
                    let defined = self.topology.defined(&port.name).map(|d| d.config.driver);
                    defined.or_else(|| port.driver.as_ref().map(|r| format!("{}@{}", r.driver, r.version)))
                })
                .ok_or_else(|| {
                    refused(format!("adapter {adapter}: no port of it says which driver it has"))
                })?,
        };
        let mut device = parse_port(adapter, &driver, &request.spec).map_err(bad)?;
        // Those that are absent keep theirs.
        let taken: Vec<u32> = ports.iter().map(|port| port.number).collect();
        let number = self.engine.free_port_number(adapter);
        let number = (number..).find(|number| !taken.contains(number)).unwrap_or(number);
        device.adapter = Some(AdapterRef { name: adapter.to_owned(), number });
        let source = format!("port add {adapter} {}", request.spec);
        self.add(vec![device], adding(who, source, &request.base, request.temporary, request.dry_run))
    }

    /// Adds devices: all of them, or none.
    fn add(&self, mut devices: Vec<DeviceConfig>, adding: Adding<'_>) -> Result<TopologyReport, Problem> {
        let base = adding.base.as_ref().map(PathBuf::from);
        if let Some(base) = base.as_ref().filter(|base| !base.is_absolute()) {
            let message = format!("base `{}`: the path is not absolute", base.display());
            return Err(Problem::new(ProblemKind::BadRequest, message));
        }
        for device in &mut devices {
            device.place = crate::config::Place::Option(adding.source.clone());
            device.base = base.clone().unwrap_or_else(|| device.base.clone());
        }
        if adding.dry_run {
            return self.would_come(&devices, &adding);
        }
        let mut done: Vec<Receipt> = Vec::new();
        match self.try_add(&devices, &adding, &mut done) {
            Ok(notes) => {
                let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
                let mut added = self.devices();
                added.retain(|device| names.contains(&device.port.as_str()));
                Ok(TopologyReport { receipts: done, devices: added, notes })
            }
            Err(failed) => {
                let (mut receipt, why) = *failed;
                self.take_back(&done, &adding);
                receipt.reason.clone_from(&why.message);
                self.keep_topology(&receipt);
                Err(why)
            }
        }
    }

    /// What an addition would do, a sentence each: every mistake is found that can be found without attaching.
    fn would_come(&self, devices: &[DeviceConfig], adding: &Adding<'_>) -> Result<TopologyReport, Problem> {
        self.free(devices).map_err(|(_, why)| why)?;
        let prepared = prepare::prepare(devices, &self.modules, &self.store, &self.topology.settings);
        let prepared = prepared.map_err(|e| refused(e.to_string()))?;
        let kept = if adding.temporary {
            "until the daemon ends".to_owned()
        } else {
            format!("and kept in {}", devices_file::path(&self.topology.settings.folder).display())
        };
        let lines = prepare::describe(&prepared);
        let mut notes: Vec<String> =
            lines.lines().map(|line| format!("would be added, {kept}: {}", line.trim_end())).collect();
        notes.extend(devices.iter().flat_map(|device| self.kept_saved(&device.name)));
        Ok(TopologyReport { notes, ..TopologyReport::default() })
    }

    /// Whether nobody has the names; else whose it is, and what is wrong.
    fn free<'a>(&self, devices: &'a [DeviceConfig]) -> Result<(), (&'a str, Problem)> {
        if let Some((name, absent)) = devices.iter().find_map(|d| Some((&d.name, self.is_absent(&d.name)?))) {
            return Err((name, refused(absent.message).hint(absent.hint)));
        }
        match devices.iter().find(|device| self.engine.port(&device.name).is_some()) {
            None => Ok(()),
            Some(DeviceConfig { name, .. }) => {
                let why = refused(format!("device {name} exists already"));
                Err((name, why.hint("`steadfast port list` shows what there is")))
            }
        }
    }

    /// What it could attach is in `done`. The notes; or the receipt of the device that could not be, and why.
    fn try_add(
        &self,
        devices: &[DeviceConfig],
        adding: &Adding<'_>,
        done: &mut Vec<Receipt>,
    ) -> Result<Vec<String>, Box<(Receipt, Problem)>> {
        let receipt = |name: &str| self.engine.begin_receipt(name, Kind::Attach, &adding.by, &adding.source);
        let first = || receipt(devices.first().map_or("", |device| device.name.as_str()));
        self.free(devices).map_err(|(name, why)| Box::new((receipt(name), why)))?;
        if let Some(serving) = self.serving() {
            // Who served a port that has gone served another one.
            devices.iter().for_each(|device| serving.forget(&device.name));
        }
        // Every mistake of every one is found before the first is attached.
        let prepared = prepare::prepare(devices, &self.modules, &self.store, &self.topology.settings);
        let prepared = prepared.map_err(|e| Box::new((first(), refused(e.to_string()))))?;
        for device in prepare::from_below(prepared) {
            let name = device.config.name.clone();
            let mut receipt = receipt(&name);
            let attached = self
                .module(&device.staged)
                .and_then(|module| prepare::attach_one(&self.engine, &device, module, self.topology.policy));
            if let Err(why) = attached {
                return Err(Box::new((receipt, refused(why).hint(targets::hint(&device)))));
            }
            device.comes.came_up(&self.engine, &device.config, &device.staged.release());
            if let Some(sample) = self.sample(&name) {
                self.baselines.restart(&name, sample);
            }
            receipt.to = Some(device.staged.release());
            receipt.outcome = Outcome::Done;
            receipt.generation_after = self.engine.generation_of(&name);
            receipt.reason = self.down_from_the_start(&name).unwrap_or_default();
            done.push(receipt);
            let by = if adding.temporary { By::Temporary } else { By::Saved };
            self.topology.define(whole(&device), by);
        }
        let mut notes = self.save(devices, adding).map_err(|why| Box::new((first(), why)))?;
        notes.extend(devices.iter().flat_map(|device| self.kept_saved(&device.name)));
        done.iter().for_each(|receipt| self.keep_topology(receipt));
        self.number_ports();
        self.serving().iter().for_each(|serving| serving.save());
        Ok(notes)
    }

    fn save(&self, devices: &[DeviceConfig], adding: &Adding<'_>) -> Result<Vec<String>, Problem> {
        if adding.temporary {
            return Ok(vec!["it does not come back when the daemon starts again (temporary)".to_owned()]);
        }
        let whole: Vec<DeviceConfig> =
            devices.iter().filter_map(|d| Some(self.topology.defined(&d.name)?.config)).collect();
        let folder = &self.topology.settings.folder;
        let _saving = lock(&self.topology.saving);
        devices_file::add(folder, &whole).map_err(|why| {
            refused(format!("it would not come back when the daemon starts again: {why}"))
                .hint("--temporary adds it until the daemon ends")
        })?;
        Ok(vec![format!("kept in {}", devices_file::path(folder).display())])
    }

    /// Nothing of an addition that failed stays.
    fn take_back(&self, done: &[Receipt], adding: &Adding<'_>) {
        for receipt in done.iter().rev() {
            let port = &receipt.port;
            self.keep_topology(receipt);
            let mut gone = self.engine.begin_receipt(port, Kind::Detach, &adding.by, &adding.source);
            match self.engine.detach(port, true) {
                Ok(()) => gone.outcome = Outcome::Done,
                Err(e) => gone.reason = e.to_string(),
            }
            lock(&self.topology.defined).remove(port);
            self.keep_topology(&gone);
        }
    }

    /// The module, mapped; one that is in memory already is shared.
    pub(super) fn module(&self, staged: &StagedModule) -> Result<Arc<LoadedModule>, String> {
        let kept = lock(&self.topology.kept).get(&staged.hash).cloned();
        kept.map_or_else(|| prepare::module(&self.engine, staged), Ok)
    }
}

fn adding(who: String, source: String, base: &Option<String>, temporary: bool, dry_run: bool) -> Adding<'_> {
    Adding { by: Requester { cause: Cause::Operator, who }, source, base, temporary, dry_run }
}

fn bad(error: ConfigError) -> Problem {
    // Where it was said is the command line that is being answered.
    Problem::new(ProblemKind::BadRequest, error.message)
}

/// The definition as it can be read from another folder: paths absolute.
fn whole(device: &Prepared) -> DeviceConfig {
    let Prepared { config, staged, .. } = device;
    let mut whole = config.clone();
    if is_module_path(&whole.driver) {
        whole.driver = absolute(&config.base, &config.driver);
    }
    let target = target_param(&staged.manifest).map(|spec| &spec.name);
    let paths = staged.manifest.params.iter().filter(|spec| spec.kind == ParamKind::Path);
    for spec in paths {
        if let Some(path) = whole.params.get_mut(&spec.name).filter(|path| !path.is_empty()) {
            *path = absolute(&config.base, path);
        }
        if target.is_some_and(|name| *name == spec.name) {
            whole.target = whole.target.map(|path| absolute(&config.base, &path));
        }
    }
    whole
}

fn absolute(base: &Path, path: &str) -> String {
    path_from(base, path).to_string_lossy().into_owned()
}

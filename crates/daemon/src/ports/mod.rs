//! Adapters, ports and devices come and go while the daemon runs.
//!
//! What is added is kept in `devices.toml` in the folder of the parameters, in the form of the daemon's
//! own configuration, which is never written to. Each port knows where it is defined, so that whoever
//! takes one away is told whether it comes back.

mod absent;
mod add;
pub(crate) mod clients;
pub(crate) mod driver_state;
mod loaded;
pub(crate) mod lost_writes;
pub(crate) mod prepare;
mod remove;
mod reread;
mod rescan;
mod show;
mod start;
pub(crate) mod trouble;

use crate::app::App;
use crate::config::{ConfigErrors, DeviceConfig};
use crate::params::saved_set::Settings;
use crate::ports::prepare::Policy;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use steadfast_api::{Outcome, Problem, ProblemKind, Receipt};
use steadfast_loader::LoadedModule;
use steadfast_settings::DriverFile;
use steadfast_shell::sync::lock;

pub(crate) use start::start;

/// A driver's file as it was when it was read, and what it said.
type ReadFile = (Option<reread::Stamp>, Arc<DriverFile>);

/// What is known of ports beside what the engine knows.
#[derive(Debug, Default)]
pub(crate) struct Topology {
    /// The parameters folder, where `devices.toml` is too.
    pub(crate) settings: Settings,
    /// The daemon's own configuration, if it was in a file.
    config: Option<PathBuf>,
    /// What holds for a port that does not say otherwise.
    policy: Policy,
    defined: Mutex<BTreeMap<String, Defined>>,
    /// The configuration as it was last read.
    reread: Mutex<Option<reread::Reread>>,
    /// What was wrong with it when a rescan read it last, and since when.
    unread: Mutex<Option<reread::Unread>>,
    /// Drivers' files as they were last read.
    files: Mutex<BTreeMap<String, ReadFile>>,
    /// Of those, what could not come up.
    pub(crate) absent: absent::Absentees,
    /// Held while `devices.toml` is read and written.
    saving: Mutex<()>,
    /// Modules that stay in memory without a port, by hash.
    kept: Mutex<BTreeMap<String, Arc<LoadedModule>>>,
    /// Held during an update of several ports.
    pub(crate) rolling: Mutex<()>,
}

impl Topology {
    /// The modules that stay in memory without a port.
    pub(crate) fn kept_hashes(&self) -> Vec<String> {
        lock(&self.kept).keys().cloned().collect()
    }
}

/// How a port is defined.
#[derive(Clone, Debug)]
struct Defined {
    config: DeviceConfig,
    by: By,
    /// It was taken away while the daemon ran, and is defined all the same.
    removed: bool,
}

/// What defines a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The daemon's configuration, or its command line.
    Configuration,
    /// `devices.toml`.
    Saved,
    /// A command, until the daemon ends.
    Temporary,
}

impl Topology {
    fn define(&self, config: DeviceConfig, by: By) {
        let name = config.name.clone();
        lock(&self.defined).insert(name, Defined { config, by, removed: false });
    }

    /// What the daemon's configuration, or a command, says of a port.
    pub(crate) fn config_of(&self, port: &str) -> Option<DeviceConfig> {
        self.defined(port).map(|defined| defined.config)
    }

    /// The configuration names another driver for a port now.
    pub(crate) fn name_driver(&self, port: &str, driver: &str) {
        if let Some(defined) = lock(&self.defined).get_mut(port) {
            driver.clone_into(&mut defined.config.driver);
        }
    }

    /// Held while a file that defines ports is read and written.
    pub(crate) fn saving(&self) -> &Mutex<()> {
        &self.saving
    }

    /// All of them, those among them that are not there.
    pub(crate) fn defined_ports(&self) -> Vec<DeviceConfig> {
        lock(&self.defined).values().map(|defined| defined.config.clone()).collect()
    }

    fn defined(&self, port: &str) -> Option<Defined> {
        lock(&self.defined).get(port).cloned()
    }
}

/// What was added while a daemon ran, and comes up with the next one.
///
/// # Errors
/// Everything that is wrong with the file.
pub(crate) fn added(folder: &Path) -> Result<Vec<DeviceConfig>, ConfigErrors> {
    crate::config::devices_file::read(folder)
}

/// What is wrong with the file of what was added; none where there is no file.
pub(crate) fn examine(folder: &Path) -> Option<(PathBuf, ConfigErrors)> {
    let path = crate::config::devices_file::path(folder);
    let errors = crate::config::devices_file::read(folder).err().unwrap_or(ConfigErrors(Vec::new()));
    path.exists().then_some((path, errors))
}

impl App {
    /// Keeps the receipt of something that was done to a port beside an update.
    fn keep_topology(&self, receipt: &Receipt) {
        let (port, by, reason) = (&receipt.port, &receipt.by.who, &receipt.reason);
        let what = receipt.kind.name();
        match receipt.outcome {
            Outcome::Done => tracing::info!(port, by, source = receipt.source, "{what}: done"),
            _ => tracing::warn!(port, by, source = receipt.source, reason, "{what}: refused"),
        }
        self.receipts.add(receipt.clone());
    }
}

fn refused(message: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::Refused, message)
}

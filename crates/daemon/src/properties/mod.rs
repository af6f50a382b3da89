//! Parameters of ports: what is saved, what is in force, and how the one becomes the other.
//!
//! ```text
//!  driver's file [global]  <  the daemon's configuration  <  driver's file [port.NAME]     saved
//!        |  at start, and with an activation; live ones at once
//!        v
//!  load-time properties  <  driver properties                                              in force
//! ```
//! What is pending is never kept anywhere: it is what the two differ in, value by value.

mod activate;
mod change;
mod confirm;
mod plan;
mod saved;
mod show;

use crate::config::{ConfigError, DeviceConfig};
use std::path::PathBuf;
use std::sync::Mutex;
use steadfast_settings::{DriverFile, Saved};
use steadfast_shell::params::ShellDefaults;

pub(crate) use confirm::Confirms;
pub(crate) use saved::given;

/// Where parameters are saved.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parameters {
    /// Folder of the drivers' files.
    pub(crate) folder: PathBuf,
    /// Defaults of the shell's own parameters.
    pub(crate) defaults: ShellDefaults,
}

/// What the daemon keeps of all this.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) parameters: Parameters,
    /// Held while a driver's file is read, changed and written.
    editing: Mutex<()>,
    pub(crate) confirms: Confirms,
}

impl Settings {
    pub(crate) fn new(parameters: Parameters) -> Settings {
        Settings { parameters, ..Settings::default() }
    }
}

/// What is saved for a device that the daemon's configuration describes so.
pub(crate) fn saved_set(
    file: &DriverFile,
    config: &DeviceConfig,
    specs: &[steadfast_shell::params::ParamSpec],
) -> Result<Saved, ConfigError> {
    Ok(Saved::of(file, &given(config, specs)?, &config.name).with_paths(file, specs))
}

//! What the daemon is told: a TOML file, the command line, or both, where the command line wins.

pub(crate) mod devices_file;
mod doors;
mod error;
mod file;
pub(crate) mod module_path;
pub(crate) mod nbd_uri;
mod quick;
mod units;
mod watch;

pub use doors::{
    Control, Nbd, NbdLimits, Permissions, parse_client_time, parse_clients, parse_socket_group,
    parse_socket_mode,
};
pub use error::{ConfigError, ConfigErrors, Place};
pub use quick::parse_device;
pub(crate) use quick::parse_port;
pub use units::parse_duration;
pub use watch::{AutoConfig, WatchConfig, parse_latency_bound, parse_share};

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use steadfast_runtime::{AdapterRef, HardwareId};
use steadfast_shell::auto::AutoUpdate;
use steadfast_shell::comeback::WhenUnproven;
use steadfast_shell::manifest::HwId;
use steadfast_shell::properties::{Definition, Said, Source};

/// Largest number of queues that makes sense: each is a thread.
pub const MAX_QUEUES: usize = 64;
/// How often what is absent is tried again where nothing is said.
const RETRY: Duration = Duration::from_secs(30);
/// Bounds of `history`.
pub(crate) const HISTORY: std::ops::RangeInclusive<u64> = 1..=1_000_000;
/// Bounds of `slots`.
pub(crate) const SLOTS: std::ops::RangeInclusive<u64> = 128..=10_240;
/// Bounds of `max_transfer`, bytes.
pub(crate) const MAX_TRANSFER: std::ops::RangeInclusive<u64> = 131_072..=1_388_544;

/// All that can be configured. What is `None` or empty takes its default when the daemon starts.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Folder of the module store.
    pub store: Option<PathBuf>,
    /// Folder of the history; within the store when missing.
    pub state: Option<PathBuf>,
    /// Folder of the ports' saved parameters, and of the devices that were added while the daemon ran;
    /// `parameters` within the folder of the history when missing.
    pub parameters: Option<PathBuf>,
    /// The file that this was read from.
    pub source: Option<PathBuf>,
    /// What is wrong with that file; nothing is served while there is anything.
    pub faults: Vec<ConfigError>,
    /// Receipts that are kept.
    pub history: Option<u32>,
    /// Folder of keys whose modules are trusted.
    pub trusted_keys: Option<PathBuf>,
    /// Take signed modules only.
    pub require_signed: bool,
    /// The driver of a port may be replaced once per start, where the device does not say otherwise.
    pub once_per_start: bool,
    /// A later release must say the oldest version that it can update from.
    pub require_min_from: bool,
    /// What a device comes up with whose driver was on probation when the daemon ended.
    pub unproven: WhenUnproven,
    /// Folders searched for modules, before the built-in ones.
    pub modules: Vec<PathBuf>,
    /// Queues.
    pub queues: Option<usize>,
    /// Request slots per port.
    pub slots: Option<u32>,
    /// Largest request passed on in one piece, bytes.
    pub max_transfer: Option<u32>,
    /// Queues never sleep.
    pub busy_poll: bool,
    /// The control API.
    pub control: Control,
    /// Where NBD clients connect.
    pub nbd: Nbd,
    /// Watched folders.
    pub watch: WatchConfig,
    /// Devices, in the order in which they were written.
    pub devices: Vec<DeviceConfig>,
}

/// A device to bring up: one port with one driver.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceConfig {
    /// Name of the port, and of its device.
    pub name: String,
    /// Driver name, `NAME@VERSION`, or path of a module.
    pub driver: String,
    /// Value of the driver's target parameter: the required one, or else the first one.
    pub target: Option<String>,
    /// Queues that the port is spread over.
    pub queues: Option<usize>,
    /// Parameters.
    pub params: BTreeMap<String, String>,
    /// Where each parameter was said; one that is missing here was said where the device was.
    pub said: BTreeMap<String, Source>,
    /// Where the target was said, if not where the device was.
    pub target_said: Option<Source>,
    /// What it does about newer modules in a watched folder.
    pub auto_update: Option<AutoConfig>,
    /// The hardware behind it, where it does not go by its first file.
    pub hardware: Option<HardwareId>,
    /// Its driver may be replaced once per start; as the daemon's policy says when missing.
    pub once_per_start: Option<bool>,
    /// What it comes up with whose driver was on probation when the daemon ended; as the daemon's own when missing.
    pub unproven: Option<WhenUnproven>,
    /// Memory that is kept ready for later drivers, bytes, for the port and for each of its queues.
    pub reserve: Option<u64>,
    /// The daemon does not start without it. When missing, that is so for what the command line names, where
    /// somebody is there who is told; what a file names is absent until it can come up.
    pub required: Option<bool>,
    /// When it is tried again if it is absent.
    pub retry: Option<Retry>,
    /// The adapter that it is a port of; one of its own when missing.
    pub adapter: Option<AdapterRef>,
    /// Where this was said.
    pub place: Place,
    /// Folder that relative paths start from.
    pub base: PathBuf,
}

/// When a device that could not come up is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Not by itself.
    Never,
    /// After this time, again and again.
    Every(Duration),
}

impl FromStr for Retry {
    type Err = String;

    fn from_str(text: &str) -> Result<Retry, String> {
        let wrong = || format!("`{text}` is not allowed (`never`, or 1s to 24h)");
        match text {
            "never" => Ok(Retry::Never),
            time => match parse_duration(time) {
                Ok(every) if every >= Duration::from_secs(1) => Ok(Retry::Every(every)),
                _ => Err(wrong()),
            },
        }
    }
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Retry::Never => f.write_str("never"),
            Retry::Every(every) => write!(f, "{}ms", every.as_millis()),
        }
    }
}

impl DeviceConfig {
    /// Whether the daemon does not start without it.
    pub(crate) fn is_required(&self) -> bool {
        self.required.unwrap_or(matches!(self.place, Place::Option(_)))
    }

    /// How long it takes until it is tried again, where it is.
    pub(crate) fn retry_every(&self) -> Option<Duration> {
        match self.retry.unwrap_or(Retry::Every(RETRY)) {
            Retry::Never => None,
            Retry::Every(every) => Some(every),
        }
    }

    /// The parameters, each with where it was said; `target` is what the driver calls its target.
    ///
    /// # Errors
    /// The target is given twice.
    pub(crate) fn given(&self, target: Option<&str>) -> Result<Vec<Said>, ConfigError> {
        let place = || self.place.source();
        let define = |(name, value): (&String, &String)| {
            let source = self.said.get(name).cloned().unwrap_or_else(place);
            (name.clone(), Some(Definition { value: value.clone(), source }))
        };
        let mut given: Vec<Said> = self.params.iter().map(define).collect();
        if let (Some(name), Some(value)) = (target, &self.target) {
            let source = self.target_said.clone().unwrap_or_else(place);
            if let Some((_, Some(other))) = given.iter().find(|(given, _)| given == name) {
                let place = Place::Said(other.source.clone());
                let message = format!("`{name}` is given twice, as target and as parameter");
                return Err(ConfigError::new(place, message));
            }
            given.push((name.to_owned(), Some(Definition { value: value.clone(), source })));
        }
        Ok(given)
    }
}

impl Config {
    /// Reads a TOML file. Every error found in it is reported, not just the first.
    pub fn read(path: &Path) -> Result<Config, ConfigErrors> {
        file::parse(&Config::text(path)?, path)
    }

    /// The same, for whoever looks at what it names as well: all that could be made out, with what is wrong in
    /// `faults`, so that a wrong key hides no other fault.
    ///
    /// # Errors
    /// It cannot be read, or is no TOML.
    pub fn read_whole(path: &Path) -> Result<Config, ConfigErrors> {
        file::parse_whole(&Config::text(path)?, path)
    }

    fn text(path: &Path) -> Result<String, ConfigErrors> {
        steadfast_settings::read_text(path).map_err(|e| {
            let place = Place::File(path.to_owned());
            ConfigErrors(vec![ConfigError::new(place, format!("cannot be read: {e}"))])
        })
    }

    /// Policies for newer modules that can come to nothing, for no folder is watched. Folders may be
    /// added to what a file says, so this is for when all is known.
    pub(crate) fn watches_nothing(&self) -> Vec<ConfigError> {
        if !self.watch.folders.is_empty() {
            return Vec::new();
        }
        let own = self.devices.iter().filter_map(|device| {
            let policy = device.auto_update.as_ref()?.policy;
            let message = format!("device.{}.auto_update: `{policy}`, but no folder is watched", device.name);
            (policy != AutoUpdate::Off).then(|| ConfigError::new(device.place.clone(), message))
        });
        // `notify` is what holds where nothing is said.
        let all = (self.watch.default.policy == AutoUpdate::Auto).then(|| {
            let place = Place::Option("watch.auto_update".to_owned());
            ConfigError::new(place, "`auto`, but no folder is watched")
        });
        own.chain(all).collect()
    }

    /// Adds a device. A name may be used once.
    pub fn add_device(&mut self, device: DeviceConfig) -> Result<(), ConfigError> {
        if let Some(other) = self.devices.iter().find(|d| d.name == device.name) {
            let message = format!("device `{}` is defined twice, first at {}", device.name, other.place);
            return Err(ConfigError::new(device.place, message));
        }
        self.devices.push(device);
        Ok(())
    }
}

/// One piece of hardware as `BUS:ID`, and so without wildcards.
pub(crate) fn check_hardware(hwid: &str) -> Result<String, String> {
    let plain = !hwid.contains(['*', '@']) && hwid.parse::<HwId>().is_ok();
    let wrong = || format!("`{hwid}` is not allowed (BUS:ID, such as pci:1af4:1042)");
    if plain { Ok(hwid.to_owned()) } else { Err(wrong()) }
}

/// Checks a device name: 1 to 64 letters, digits, `_`, `-`, the first a letter or digit. A dot is kept
/// for the devices of a port that has several.
pub(crate) fn check_device_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let good = (1..=64).contains(&name.len())
        && name.chars().all(allowed)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if good {
        return Ok(());
    }
    Err(format!(
        "device name `{name}` is not allowed (1 to 64 letters, digits, `_`, `-`, the first a \
         letter or digit)"
    ))
}

/// A path as it is meant from a folder on, without what says nothing in it: `.`, and slashes that stand twice. `..` stays,
/// since behind a symbolic link it does not lead back.
pub(crate) fn path_from(base: &Path, path: impl AsRef<Path>) -> PathBuf {
    base.join(path).components().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_nothing_twice_and_leads_where_it_led() {
        for (path, whole) in [
            ("./a.img", "/base/a.img"),
            ("x/.//a.img", "/base/x/a.img"),
            ("../a.img", "/base/../a.img"),
            ("/elsewhere//./a.img/", "/elsewhere/a.img"),
        ] {
            assert_eq!(path_from(Path::new("/base"), path), Path::new(whole));
            // Not only the same path, but the same text.
            assert_eq!(path_from(Path::new("/base"), path).as_os_str(), whole);
        }
    }
}

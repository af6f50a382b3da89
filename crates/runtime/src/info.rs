//! What the control plane shows of ports and devices.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use steadfast_shell::check::CheckRow;
use steadfast_shell::histogram::Quantiles;
use steadfast_shell::params::ActivationClass;
use steadfast_shell::properties::Definitions;
use steadfast_shell::receipt::{Mode, Receipt, Reduced, Release};

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// Name by which frontends export it: the port's, with `.N` behind it for device N > 0.
    pub name: String,
    /// Its port.
    pub port: String,
    /// Number within the port.
    pub number: u32,
    /// Bytes.
    pub size: u64,
    /// Smallest unit of a request, bytes.
    pub block_size: u32,
    /// Unit that performs best, bytes.
    pub preferred_block_size: u32,
    /// Largest request that the driver takes, bytes; 0 for no limit of its own.
    pub max_transfer: u32,
    /// Bits of [`block_feature`](steadfast_abi::block_feature).
    pub features: u64,
    /// The same by name.
    pub feature_names: Vec<String>,
    /// World-wide identity; empty where there is none.
    pub wwid: String,
    /// Generation of the port.
    pub generation: u64,
}

/// Whether a port is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortState {
    /// A driver serves it.
    Running,
    /// A transaction holds its requests.
    Held,
    /// It is to have no driver (`admin_state`): requests end with an error.
    Down,
    /// No driver could be connected: requests are held until an update succeeds.
    Stranded,
    /// A queue's thread does not answer: a driver may be stuck in it.
    Unresponsive,
}

/// What a port's driver has of the memory that it wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryInfo {
    /// Bytes that it wants for the port.
    pub port_wanted: u64,
    /// Bytes that it has for the port.
    pub port_granted: u64,
    /// Bytes that it wants for each queue.
    pub queue_wanted: u64,
    /// Bytes that it has for each queue.
    pub queue_granted: u64,
    /// Most that a later driver could have per port, and per queue.
    pub port_room: u64,
    /// The same per queue.
    pub queue_room: u64,
}

impl MemoryInfo {
    /// It has less than it wants.
    pub fn is_short(&self) -> bool {
        self.port_granted < self.port_wanted || self.queue_granted < self.queue_wanted
    }
}

/// A driver that was left to itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abandoned {
    /// The release; its module is pinned in memory.
    pub release: Release,
    /// The entry point that it did not return from, or that it failed to let go in.
    pub entry: String,
    /// Since when, milliseconds since 1970.
    pub since_unix_ms: u64,
    /// It is still in the call.
    pub inside: bool,
}

/// A trial that is under way, as `device show` tells of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowInfo {
    /// The candidate.
    pub candidate: Release,
    /// Reads compared so far.
    pub compared: u64,
    /// Of those, how many differ.
    pub differ: u64,
    /// Reads that the candidate failed.
    pub failed: u64,
    /// Milliseconds until it ends.
    pub left_ms: u64,
}

/// The kinds of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TroubleCode {
    /// Writes that were acknowledged may be lost: flushes fail until somebody has taken note.
    WritesLost,
    /// The path leads to another file than the one that is open.
    FileReplaced,
    /// The path leads to nothing.
    FileMissing,
    /// What is open is shorter than its driver knows it.
    FileShrunk,
    /// What is open to be written takes no writes any more.
    ReadOnly,
    /// A call on the file has not returned from the kernel for a long time.
    Hangs,
    /// A driver does not return from an entry point.
    Stuck,
}

/// Something that is wrong behind a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What kind of thing.
    pub code: TroubleCode,
    /// The file or block device.
    pub target: String,
    /// A sentence about it.
    pub detail: String,
    /// Wall clock when it was found, milliseconds since 1970.
    pub since_unix_ms: u64,
}

/// A parameter of the port: of the driver that runs, or the shell's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParamInfo {
    /// Name.
    pub name: String,
    /// Value; `None` where it is undefined.
    pub value: Option<String>,
    /// It was given; otherwise the value is the driver's default.
    pub given: bool,
    /// The driver's default; `None` where it has none.
    pub default: Option<String>,
    /// What is allowed, for people.
    pub allowed: String,
    /// Unit, for people; may be empty.
    pub unit: String,
    /// What a change takes: `live`, `reinit` or `reload`.
    pub class: ActivationClass,
    /// One line for people; may be empty.
    pub help: String,
}

/// An open handle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandleSummary {
    /// Its number.
    pub number: u32,
    /// The driver's name for it.
    pub key: String,
    /// What is open.
    pub target: String,
}

/// A region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionSummary {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PortInfo {
    /// Name.
    pub name: String,
    /// Name of the adapter that it is a port of.
    pub adapter: String,
    /// Its number within the adapter.
    pub number: u32,
    /// What serves it.
    pub driver: Option<Release>,
    /// The same, or for a port that is down what is to serve once it comes up.
    pub module: Option<Release>,
    /// Whether it is served.
    pub state: PortState,
    /// Count of attaches and updates; one that comes again under the same name goes on counting.
    pub generation: u64,
    /// Wall clock of the last of them, milliseconds since 1970.
    pub epoch_unix_ms: u64,
    /// Updates that succeeded.
    pub swaps: u64,
    /// The engine's numbers of its queues.
    pub queues: Vec<usize>,
    /// Memory of its driver.
    pub memory: MemoryInfo,
    /// Features that its driver leaves out because memory is short, as it says itself.
    pub reduced: Vec<Reduced>,
    /// Request slots, over all queues.
    pub slots: u32,
    /// Requests that the driver has now.
    pub in_flight: u32,
    /// Requests that are held now.
    pub held: u32,
    /// Requests that wait for their turn under `io_throttle` or `link_speed`.
    #[serde(default)]
    pub waiting: u32,
    /// Requests that were answered without the driver, which has not completed them: their slots are out
    /// of use.
    #[serde(default)]
    pub lost: u32,
    /// Requests completed since the port was attached.
    pub requests: u64,
    /// Of those, failed.
    pub errors: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// How long requests took, from their frontend and back to it.
    pub latency: Quantiles,
    /// Age of the oldest request in flight or held, nanoseconds; 0 where there is none.
    pub oldest_ns: u64,
    /// Requests that were ever held.
    pub held_total: u64,
    /// How often each entry point was entered.
    pub entered: BTreeMap<String, u64>,
    /// How many are inside each entry point now.
    pub inside: BTreeMap<String, u32>,
    /// Clients that have claimed its devices.
    pub clients: u32,
    /// Rules of the ABI that the driver broke.
    pub driver_faults: u64,
    /// Steps that the shell found to be wrong itself; the requests that they concern ended with an error.
    #[serde(default)]
    pub shell_faults: u64,
    /// Parameters as given.
    pub params: BTreeMap<String, String>,
    /// The same, with where each was said.
    pub properties: Definitions,
    /// The properties of when the driver attached at start.
    pub load_time: Definitions,
    /// Every parameter of the driver that runs, in the order of its manifest, and then the shell's own.
    pub parameters: Vec<ParamInfo>,
    /// Open handles.
    pub handles: Vec<HandleSummary>,
    /// What is wrong behind it although it is served.
    pub troubles: Vec<Trouble>,
    /// Names of the devices that it lies over.
    pub over: Vec<String>,
    /// Regions.
    pub regions: Vec<RegionSummary>,
    /// Devices.
    pub devices: Vec<DeviceInfo>,
    /// The last update.
    pub last_receipt: Option<Receipt>,
    /// Drivers of it that were left to themselves, and are still in memory.
    #[serde(default)]
    pub abandoned: Vec<Abandoned>,
    /// The candidate that is on trial beside the driver.
    pub shadow: Option<ShadowInfo>,
}

/// What an update would find, without touching anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Port.
    pub port: String,
    /// What runs.
    pub running: Option<Release>,
    /// What would.
    pub candidate: Release,
    /// Every check.
    pub rows: Vec<CheckRow>,
    /// How requests in flight would be treated.
    pub mode: Option<Mode>,
    /// Whether the update would be started.
    pub ok: bool,
}

/// A device that would become smaller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrink {
    /// Bytes that it has.
    pub from: u64,
    /// Bytes that it would have.
    pub to: u64,
    /// The parameter that makes it so.
    pub param: String,
}

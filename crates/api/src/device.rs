use crate::{Available, Missed, Probation, Receipt, Reduced, Release, Shadow, Trouble, schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// One block device, and the port that serves it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Device {
    /// Name, which is also its export name.
    pub name: String,
    /// Port that serves it: what an update replaces the driver of.
    pub port: String,
    /// Number within the port.
    pub number: u32,
    /// The driver that runs; none while the port is stranded.
    #[schema(value_type = Option<schema::Release>)]
    pub driver: Option<Release>,
    /// What the port is doing.
    pub state: PortState,
    /// Why it is not there, where it is absent; then nothing else is known of it but its name.
    #[serde(default)]
    pub absent: Option<Absent>,
    /// Count of the port's attaches.
    pub generation: u64,
    /// Wall clock of the last attach, milliseconds since 1970.
    pub epoch_unix_ms: u64,
    /// What the driver has of the memory that it wants.
    #[serde(default)]
    pub memory: Memory,
    /// Features that the driver leaves out until the next start, because memory is short.
    #[serde(default)]
    #[schema(value_type = Vec<schema::Reduced>)]
    pub reduced: Vec<Reduced>,
    /// Bytes.
    pub size: u64,
    /// Smallest unit of a request, bytes.
    pub block_size: u32,
    /// Unit that performs best, bytes.
    pub preferred_block_size: u32,
    /// Largest request that is passed on in one piece, bytes.
    pub max_transfer: u32,
    /// Names of what the device can do: `flush`, `fua`, `trim` and so on.
    pub features: Vec<String>,
    /// World-wide identity; empty where there is none.
    pub wwid: String,
    /// What is wrong behind its port although it is served.
    #[serde(default)]
    pub troubles: Vec<Trouble>,
    /// Names of the devices that its port lies over.
    #[serde(default)]
    pub over: Vec<String>,
    /// Where clients reach it: NBD URIs.
    pub uris: Vec<String>,
    /// Queues that the port is spread over.
    pub queues: u32,
    /// Request slots of the port.
    pub slots: u32,
    /// Requests that the driver has now.
    pub in_flight: u64,
    /// Requests that are held now.
    pub held: u64,
    /// Requests completed since the daemon started.
    pub requests: u64,
    /// Of these, the ones that failed.
    pub errors: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// How long requests took, from the frontend and back to it.
    #[serde(default)]
    pub latency: Latency,
    /// Age of the oldest request in flight or held, nanoseconds; 0 where there is none.
    #[serde(default)]
    pub oldest_ns: u64,
    /// Clients of the port's devices.
    pub clients: u32,
    /// Rules of the driver interface that the driver broke.
    pub driver_faults: u64,
    /// Steps that Steadfast found to be wrong itself; the requests that they concern ended with an error.
    #[serde(default)]
    pub shell_faults: u64,
    /// Updates of the port that were carried out.
    pub swaps: u64,
    /// How often each entry point of the driver was entered.
    pub entered: BTreeMap<String, u64>,
    /// Parameters of the driver; those that were set where no driver runs.
    pub params: Vec<Param>,
    /// The probation that its driver is on.
    #[serde(default)]
    pub probation: Option<Probation>,
    /// A newer module for it in a watched folder.
    #[serde(default)]
    pub available: Option<Available>,
    /// What the next start of the daemon comes up with, a sentence, where that is not what runs.
    #[serde(default)]
    pub next_start: Option<String>,
    /// An activation of its port that goes back unless somebody confirms it.
    #[serde(default)]
    pub unconfirmed: Option<crate::Unconfirmed>,
    /// The port's last update.
    #[schema(value_type = Option<schema::Receipt>)]
    pub last_receipt: Option<Receipt>,
    /// The activation of the port that was to come after a delay and could not be carried out; until one can be.
    #[serde(default)]
    pub missed: Option<Missed>,
    /// Drivers of the port that did not return from a call, or did not let go, and were left to themselves.
    #[serde(default)]
    pub abandoned: Vec<Abandoned>,
    /// A trial that is under way beside the driver.
    #[serde(default)]
    pub shadow: Option<Shadow>,
}

/// A driver that was left to itself; nobody enters it any more, and its module stays in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Abandoned {
    /// The release.
    #[schema(value_type = schema::Release)]
    pub release: Release,
    /// The entry point that it does not return from, or that it failed to let go in.
    pub entry: String,
    /// Since when, milliseconds since 1970.
    pub since_unix_ms: u64,
    /// It is still in the call; when it returns, its module goes.
    pub inside: bool,
}

/// How long requests took, nanoseconds; at most an eighth above the exact value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Latency {
    /// Requests that were measured.
    pub count: u64,
    /// Mean.
    pub mean_ns: u64,
    /// Half of them took at most this long.
    pub p50_ns: u64,
    /// 99 of 100.
    pub p99_ns: u64,
    /// 999 of 1000.
    pub p999_ns: u64,
    /// 9999 of 10000.
    pub p9999_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// What a driver has of the memory that it wants, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Memory {
    /// What it wants for the port.
    pub port_wanted: u64,
    /// What it has for the port.
    pub port_granted: u64,
    /// What it wants for each queue.
    pub queue_wanted: u64,
    /// What it has for each queue.
    pub queue_granted: u64,
}

/// A parameter of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Param {
    /// Name.
    pub name: String,
    /// Value as text; empty where it is undefined.
    pub value: String,
    /// Where the value comes from.
    #[serde(default)]
    pub source: ParamSource,
    /// The driver's default; none where it has none.
    #[serde(default)]
    pub default: Option<String>,
    /// What is allowed, for people.
    #[serde(default)]
    pub allowed: String,
    /// Unit, for people; may be empty.
    #[serde(default)]
    pub unit: String,
    /// When a change takes effect: `live` at once, `reinit` when the port is attached anew, `reload`
    /// when every port that runs the module is.
    #[serde(default)]
    pub class: String,
    /// One line for people; may be empty, and is missing in events.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
}

/// Where a parameter's value comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParamSource {
    /// It was set: at the start of the daemon or since.
    #[default]
    Set,
    /// It is the driver's default.
    Default,
    /// It was not set and has no default.
    Undefined,
}

impl ParamSource {
    /// The source's name.
    pub const fn name(self) -> &'static str {
        match self {
            ParamSource::Set => "set",
            ParamSource::Default => "default",
            ParamSource::Undefined => "undefined",
        }
    }
}

/// Asks for live parameters of a device's port to be changed: all of them, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ParamsRequest {
    /// New values.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Those that go back to their defaults.
    #[serde(default)]
    pub unset: Vec<String>,
}

/// What a change of parameters has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ParamsReport {
    /// Port.
    pub port: String,
    /// Values that differ from before.
    pub changed: Vec<ParamChange>,
    /// How long requests were held, nanoseconds.
    pub pause_ns: u64,
    /// Number of its receipt.
    #[serde(default)]
    pub receipt: u64,
}

/// A value that has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ParamChange {
    /// Name.
    pub name: String,
    /// Value before; none where it was undefined.
    pub before: Option<String>,
    /// Value since.
    pub after: Option<String>,
}

/// Why a device that is defined is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Absent {
    /// Why it did not come up when it was tried last.
    pub reason: String,
    /// Since when, milliseconds since 1970.
    pub since_unix_ms: u64,
    /// How often it was tried.
    pub tries: u64,
    /// When it is tried again, milliseconds since 1970; none where it is not, by itself.
    pub next_try_unix_ms: Option<u64>,
}

/// What a port is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortState {
    /// Its driver serves requests.
    Running,
    /// Requests are held: an update is in its pause.
    Held,
    /// It is to have no driver (`admin_state`); requests end with an error.
    Down,
    /// It has no driver that works; requests are held until an update succeeds.
    Stranded,
    /// One of its queues does not answer: a driver may be stuck in it.
    Unresponsive,
    /// It is defined and could not come up; there is no such device until it does.
    #[default]
    Absent,
}

impl PortState {
    /// The state's name.
    pub const fn name(self) -> &'static str {
        match self {
            PortState::Running => "running",
            PortState::Held => "held",
            PortState::Down => "down",
            PortState::Stranded => "stranded",
            PortState::Unresponsive => "unresponsive",
            PortState::Absent => "absent",
        }
    }
}

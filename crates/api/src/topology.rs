use crate::{Absent, Device, PortState, Receipt, Release, schema};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An adapter: a driver bound to one piece of hardware or one network identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Adapter {
    /// Name.
    pub name: String,
    /// Names of the drivers that run on its ports; one, unless a port was given another.
    pub drivers: Vec<String>,
    /// Its ports, by number.
    pub ports: Vec<Port>,
}

/// A port: a driver instance of an adapter, and what is updated, re-initialised and taken away.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Port {
    /// Name.
    pub name: String,
    /// Adapter that it is a port of.
    pub adapter: String,
    /// Number within the adapter.
    pub number: u32,
    /// The driver that runs; none while the port is stranded or down.
    #[schema(value_type = Option<schema::Release>)]
    pub driver: Option<Release>,
    /// What it is doing.
    pub state: PortState,
    /// `up` or `down`, where that is known.
    pub admin_state: Option<String>,
    /// Count of its attaches.
    pub generation: u64,
    /// Wall clock of the last attach, milliseconds since 1970.
    pub epoch_unix_ms: u64,
    /// Names of its devices; none while it is down.
    pub devices: Vec<String>,
    /// Clients of its devices.
    pub clients: u32,
    /// Names of the devices that it lies over.
    pub over: Vec<String>,
    /// Names of the ports that lie over it.
    pub under: Vec<String>,
    /// Where it is defined: a file and line, an option, or what added it.
    pub defined: String,
    /// It comes back when the daemon starts again.
    pub kept: bool,
    /// Requests that the driver has now.
    pub in_flight: u64,
    /// Requests that are held now.
    pub held: u64,
    /// What was activated, and goes back unless it is confirmed.
    pub unconfirmed: Option<Unconfirmed>,
    /// The activation that is to come after its delay.
    pub delayed: Option<Delayed>,
    /// Why it is not there, where it is absent.
    #[serde(default)]
    pub absent: Option<Absent>,
}

/// An activation that waits to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unconfirmed {
    /// Its receipt.
    pub receipt: u64,
    /// Until when it has to be confirmed, milliseconds since 1970.
    pub until_unix_ms: u64,
    /// Why it has not gone back although it was not confirmed, and is tried again; empty before that.
    pub problem: String,
}

/// An activation that lets time pass first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Delayed {
    /// When it begins, milliseconds since 1970.
    pub due_unix_ms: u64,
    /// Who asked for it.
    pub who: String,
}

/// An activation that had let time pass, and could not be carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Missed {
    /// Its receipt.
    pub receipt: u64,
    /// Why.
    pub reason: String,
}

/// Asks for a device to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceAddRequest {
    /// `NAME=DRIVER[:TARGET][,KEY=VALUE...]`, as `steadfast serve --device` takes it.
    pub spec: String,
    /// Absolute path of the folder that relative paths start from; the daemon's own when missing.
    #[serde(default)]
    pub base: Option<String>,
    /// It does not come back when the daemon starts again.
    #[serde(default)]
    pub temporary: bool,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Asks for an adapter to come, with its ports: all of them, or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdapterAddRequest {
    /// Its name. A port's name is this, `-`, and what the port says.
    pub name: String,
    /// Driver name, `NAME@VERSION`, or absolute path of a module.
    pub driver: String,
    /// Ports, each `PORT[:TARGET][,KEY=VALUE...]`, in the order of their numbers.
    pub ports: Vec<String>,
    /// As for a device.
    #[serde(default)]
    pub base: Option<String>,
    /// As for a device.
    #[serde(default)]
    pub temporary: bool,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Asks for a port to come at an adapter that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortAddRequest {
    /// `PORT[:TARGET][,KEY=VALUE...]`.
    pub spec: String,
    /// Driver; what the adapter's other ports were defined with when missing.
    #[serde(default)]
    pub driver: Option<String>,
    /// As for a device.
    #[serde(default)]
    pub base: Option<String>,
    /// As for a device.
    #[serde(default)]
    pub temporary: bool,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Asks for a device, a port or an adapter to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveRequest {
    /// Also when clients use it: their requests end with an error, and their connections.
    #[serde(default)]
    pub force: bool,
    /// Only say what would go.
    #[serde(default)]
    pub dry_run: bool,
}

/// What an addition or a removal has done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TopologyReport {
    /// One for each port that came or went.
    #[schema(value_type = Vec<schema::Receipt>)]
    pub receipts: Vec<Receipt>,
    /// Devices that have come, with where clients reach them.
    pub devices: Vec<Device>,
    /// What holds beyond that, a sentence each: whether it is kept, where it comes back from.
    pub notes: Vec<String>,
}

/// Asks for the configuration to be read again, and for what has grown to be announced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RescanRequest {
    /// Only this port; all of them, and what is new, when missing.
    #[serde(default)]
    pub port: Option<String>,
}

/// What a rescan found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RescanReport {
    /// Ports, by name; those that are new among them.
    pub ports: Vec<Rescanned>,
    /// What is wrong with what was read; the rest was gone through all the same.
    pub problems: Vec<String>,
}

/// What a rescan found of one port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rescanned {
    /// Port.
    pub port: String,
    /// What was found.
    pub found: Found,
    /// A sentence about it.
    pub detail: String,
    /// The receipt of what was done, if anything was.
    #[schema(value_type = Option<schema::Receipt>)]
    pub receipt: Option<Receipt>,
}

/// What a rescan found of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// Nothing new.
    Unchanged,
    /// It is defined and was not there: it is now.
    Attached,
    /// What is behind it has grown, and its device with it.
    Grown,
    /// What is behind it has shrunk; the device stays as it is.
    Shrunk,
    /// The path of what is behind it leads to another file by now; the device stays with the one it has open.
    Replaced,
    /// It leads to nothing; likewise.
    Missing,
    /// It was set read-only while it is served: writes fail.
    ReadOnly,
    /// Something was to be done and failed.
    Failed,
}

impl Found {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Found::Unchanged => "unchanged",
            Found::Attached => "attached",
            Found::Grown => "grown",
            Found::Shrunk => "shrunk",
            Found::Replaced => "replaced",
            Found::Missing => "missing",
            Found::ReadOnly => "read-only",
            Found::Failed => "failed",
        }
    }
}

/// A driver module in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoadedDriver {
    /// The release.
    #[schema(value_type = schema::Release)]
    pub release: Release,
    /// Ports that run it.
    pub ports: Vec<String>,
    /// `driver load` keeps it in memory, with or without ports.
    pub kept: bool,
}

/// Asks for a driver module to be mapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadRequest {
    /// Absolute path of a module, or a driver name such as `file` or `file@1.1.0`.
    pub module: String,
}

/// Asks for a driver module to be unmapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnloadRequest {
    /// `NAME`, `NAME@VERSION`, or the hash of the module, of which 8 digits are enough.
    pub driver: String,
}

use crate::Trouble;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The daemon, in a few numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Every port has a driver, every queue answers, and nothing is wrong behind a port.
    pub healthy: bool,
    /// The daemon's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Wall clock at its start, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Queues.
    pub queues: u32,
    /// Devices.
    pub devices: u32,
    /// NBD clients connected.
    pub clients: u64,
    /// Addresses the NBD server listens on.
    pub nbd: Vec<String>,
    /// All of `troubles` in one line, for people; empty when nothing is wrong.
    #[serde(default)]
    pub degraded: String,
    /// Everything that is wrong, each once.
    #[serde(default)]
    pub troubles: Vec<Trouble>,
    /// Where receipts are kept, and whether they are.
    #[serde(default)]
    pub history: HistoryHealth,
    /// How the daemon's log fares.
    #[serde(default)]
    pub log: LogHealth,
}

/// What became of the lines of the daemon's log. Devices never wait for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogHealth {
    /// Lines written since the start.
    pub written: u64,
    /// Lines that are missing in it: it could not be written, or nobody read it in time.
    pub lost: u64,
    /// Lines that were not written because a client or a port brought about too many.
    pub limited: u64,
    /// Why it cannot be written now; empty when it can.
    pub error: String,
}

/// Where receipts are kept. Trouble with it makes the daemon degraded and not
/// unhealthy: devices do not depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryHealth {
    /// The database.
    pub path: String,
    /// Receipts in it.
    pub stored: u64,
    /// Receipts that are in memory only, until the database takes them.
    pub unsaved: u64,
    /// Receipts that were lost, because neither the database nor memory had room.
    pub dropped: u64,
    /// What is wrong with the database; empty when nothing is.
    pub error: String,
}

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The daemon, in a few numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Every port has a driver, and every queue answers.
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
}

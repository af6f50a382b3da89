use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that is wrong: behind a port although it is served, why it is not served or not there, or with what the
/// daemon keeps on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trouble {
    /// Port; empty where it is the daemon's own. What is wrong with a port is unhealthy, the daemon's own is degraded.
    pub port: String,
    /// What kind of thing.
    pub code: TroubleCode,
    /// The file or block device; of a driver that is stuck, its entry point.
    pub target: String,
    /// A sentence about it.
    pub detail: String,
    /// Wall clock when it was found, milliseconds since 1970.
    pub since_unix_ms: u64,
}

/// The kinds of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TroubleCode {
    /// Writes that were acknowledged may be lost. Flushes, and writes with FUA, fail until the port is activated
    /// with `accept_loss`.
    WritesLost,
    /// The path leads to another file than the one that the device has open: what is written to it is not found
    /// there after the next start.
    FileReplaced,
    /// The path leads to nothing any more; likewise.
    FileMissing,
    /// The file that is open is shorter than the device: what lies beyond its end fails.
    FileShrunk,
    /// The block device, or the file system, was set read-only while it is served: writes fail.
    ReadOnly,
    /// A call on the file has not returned from the kernel for a long time: the file system is frozen, a server
    /// does not answer, a disk is dying. Requests are answered after `request_timeout`.
    Hangs,
    /// A driver does not return from an entry point: the port's own, or that of another port on the same queue.
    Stuck,
    /// It is defined and could not come up. It is tried again as its configuration says.
    Absent,
    /// No driver serves it; requests are held.
    Stranded,
    /// A queue of it does not answer.
    Unresponsive,
    /// Receipts are not kept: the database does not take them.
    History,
    /// The log cannot be written.
    Log,
    /// What the next start needs to know cannot be kept in the state folder.
    State,
    /// The configuration could not be read when it was last read again: what it says is not in force, and the next start
    /// would refuse it.
    Configuration,
}

impl TroubleCode {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            TroubleCode::WritesLost => "writes lost",
            TroubleCode::FileReplaced => "replaced",
            TroubleCode::FileMissing => "missing",
            TroubleCode::FileShrunk => "shrunk",
            TroubleCode::ReadOnly => "read-only",
            TroubleCode::Hangs => "hangs",
            TroubleCode::Stuck => "stuck",
            TroubleCode::Absent => "absent",
            TroubleCode::Stranded => "stranded",
            TroubleCode::Unresponsive => "unresponsive",
            TroubleCode::History => "history",
            TroubleCode::Log => "log",
            TroubleCode::State => "state",
            TroubleCode::Configuration => "configuration",
        }
    }
}

//! What is wrong behind a port although it is served.

use crate::medium::Loss;
use serde::{Deserialize, Serialize};

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

impl From<Loss> for Trouble {
    fn from(loss: Loss) -> Trouble {
        let detail = loss.why();
        Trouble {
            code: TroubleCode::WritesLost,
            target: loss.target,
            detail,
            since_unix_ms: loss.since_unix_ms,
        }
    }
}

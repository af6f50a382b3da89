//! What is wrong behind a port although it is served.

use crate::change::swap::unix_ms;
use crate::handle::Handle;
use crate::handle::lost_writes::Lost;
use crate::helpers::HANGS_NS;
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

impl Trouble {
    /// What hangs in the kernel on a handle's file.
    pub(crate) fn that_hangs(handle: &Handle) -> Option<Trouble> {
        let desks = handle.desks.as_ref()?;
        let call = desks.longest().filter(|call| call.ns >= HANGS_NS)?;
        let (name, seconds) = (call.name(), call.ns / 1_000_000_000);
        let mut detail = format!(
            "{}: {name} has been in the kernel for {seconds} s: it hangs, or is very slow",
            handle.spec.target
        );
        let given_up = desks.given_up.count();
        if given_up > 0 {
            detail.push_str(&format!(
                "; {given_up} operations were given up, and others wait until they have ended"
            ));
        }
        let since_unix_ms = unix_ms().saturating_sub(call.ns / 1_000_000);
        Some(Trouble { code: TroubleCode::Hangs, target: handle.spec.target.clone(), detail, since_unix_ms })
    }
}

impl From<Lost> for Trouble {
    fn from(loss: Lost) -> Trouble {
        let detail = loss.why();
        Trouble {
            code: TroubleCode::WritesLost,
            target: loss.target,
            detail,
            since_unix_ms: loss.since_unix_ms,
        }
    }
}

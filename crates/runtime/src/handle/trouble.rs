//! What is wrong behind a port although it is served.

use crate::clock::unix_ms;
use crate::handle::Handle;
use crate::handle::lost_writes::Lost;
use crate::helpers::HANGS_NS;
use crate::info::{Trouble, TroubleCode};

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

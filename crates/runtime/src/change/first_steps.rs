//! The way back of a driver that fails with its first steps.
//!
//! It has taken over, and before it has answered a request it says that something went wrong: most of all a
//! panic in `queue_run`, which has no result. By then the driver before has let go. So going back is another
//! exchange, to a new instance of the module before, under the values that it had.

use crate::change::prepare::{discard, handling, prepare};
use crate::change::update::{Finished, conclude, run_with, settle, unload};
use crate::clock::now_ns;
use crate::driver::instance::Instance;
use crate::port::Port;
use std::sync::Arc;
use std::time::Duration;
use steadfast_shell::properties::Properties;
use steadfast_shell::receipt::{Outcome, Phase, PhaseTime, Receipt, Unload};
use steadfast_shell::sync::lock;
use steadfast_shell::update::{IfBusy, Plan, Update};

/// Puts a driver like `before`, the last one, in the place of the one that `done` has put there, with these
/// properties, if they changed with it. Where that fails, the new one serves, and the receipt says both.
pub(crate) fn go_back(
    port: &Arc<Port>,
    done: Finished,
    before: Arc<Instance>,
    properties: Option<Properties>,
    deadline: Duration,
    why: String,
    receipt: &mut Receipt,
) {
    tracing::error!(port = port.name, "it goes back: {why}");
    let now = done.job.new.clone();
    let (module, values) = (before.module.clone(), before.values());
    let counts_swaps = properties.is_none();
    drop(settle(port, done, receipt));
    drop(before);
    let failed = |receipt: &mut Receipt, more: String| {
        receipt.reason = format!("{why}; and it could not go back: {more}");
    };
    let Some(now) = now else { return };
    let back = match prepare(port, Some(&now), module, values, deadline) {
        Ok(back) => back,
        Err(not) => {
            let why = not.why.clone();
            receipt.unload = not.unload(port);
            return failed(receipt, why);
        }
    };
    let hands_back = now.module.driver().hand_back.is_some();
    let mode = match handling(now.module.manifest(), hands_back, back.module.manifest(), None) {
        Ok(mode) => mode,
        Err(more) => {
            receipt.unload = discard(back).map_or(Unload::None, |module| unload(port, module));
            return failed(receipt, more);
        }
    };
    let deadline_ns = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX / 2);
    let plan = Plan { mode: mode.0, if_busy: IfBusy::Wait, deadline_ns, has_old: true, has_new: true };
    let mut update = Update::prepared(plan, now_ns());
    if now.is_abandoned() {
        update.without_consent();
    }
    let mut second = Receipt::blank(receipt.id, &port.name, receipt.started_unix_ms);
    let done = run_with(port, Some(now), Some(back), mode, update, deadline, properties);
    conclude(port, done, &mut second);
    add(receipt, &second);
    match second.outcome {
        Outcome::Done => {
            (receipt.outcome, receipt.reason) = (Outcome::RolledBack, why);
            let swaps = &mut lock(&port.inner).swaps;
            *swaps = swaps.saturating_sub(if counts_swaps { 2 } else { 0 });
        }
        other => {
            failed(receipt, second.reason);
            if other == Outcome::Stranded {
                receipt.outcome = other;
            }
        }
    }
}

/// What the way back took is the way back's.
fn add(receipt: &mut Receipt, back: &Receipt) {
    let ns = back.phases.iter().filter(|p| p.phase != Phase::Unload).map(|p| p.ns).sum();
    receipt.phases.retain(|p| p.phase != Phase::Unload);
    receipt.phases.push(PhaseTime { phase: Phase::CancelUpdate, ns });
    receipt.phases.extend(back.phases.iter().filter(|p| p.phase == Phase::Unload));
    receipt.pause_ns += back.pause_ns;
    receipt.longest_stall_ns = receipt.longest_stall_ns.max(back.longest_stall_ns);
    receipt.held += back.held;
    receipt.drained += back.drained;
    receipt.handed_back += back.handed_back;
    receipt.calls.extend(back.calls.iter().cloned());
    (receipt.adopted, receipt.unload) = (0, back.unload);
}

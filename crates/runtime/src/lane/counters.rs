//! What a lane has done and how long it took, in plain numbers of its queue's own thread.

use serde::{Deserialize, Serialize};
use steadfast_shell::histogram::Histogram;

/// Operations by number; those that no number is known for share the first place.
const NAMES: [&str; 8] = ["other", "read", "write", "flush", "trim", "write-zeroes", "cache", "status"];

/// What was asked of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationCounts {
    /// Requests completed.
    pub requests: u64,
    /// Of those, failed.
    pub errors: u64,
    /// Bytes of the ranges of those that did not fail.
    pub bytes: u64,
}

impl OperationCounts {
    pub(crate) fn add(&mut self, other: OperationCounts) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.bytes += other.bytes;
    }

    pub(crate) fn since(self, before: OperationCounts) -> OperationCounts {
        OperationCounts {
            requests: self.requests.saturating_sub(before.requests),
            errors: self.errors.saturating_sub(before.errors),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }
}

/// The numbers of one lane.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    operations: [OperationCounts; NAMES.len()],
    pub(crate) held: u64,
    /// Steps that were not to be.
    pub(crate) shell_faults: u64,
    latency: Histogram,
}

/// Requests of one kind that were submitted at the same time, that is in one turn of the loop, and ended alike: what
/// completes together mostly is such a run, and is counted as one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    pub(crate) op: u16,
    pub(crate) failed: bool,
    pub(crate) submitted_ns: u64,
    pub(crate) requests: u64,
    /// Bytes of all their ranges.
    pub(crate) bytes: u64,
}

impl Run {
    /// Whether another request belongs to it.
    #[inline]
    pub(crate) fn has_room_for(&self, op: u16, failed: bool, submitted_ns: u64) -> bool {
        self.op == op && self.failed == failed && self.submitted_ns == submitted_ns
    }
}

impl Counters {
    /// Requests are over, `ns` after their frontends submitted them.
    pub(crate) fn count(&mut self, run: &Run, ns: u64) {
        if run.requests == 0 {
            return;
        }
        self.latency.record_many(ns, run.requests);
        let place = usize::from(run.op) & (NAMES.len() - 1);
        let place = if usize::from(run.op) == place { place } else { 0 };
        let counts = &mut self.operations[place];
        counts.requests += run.requests;
        if run.failed {
            counts.errors += run.requests;
        } else {
            counts.bytes += run.bytes;
        }
    }

    pub(crate) fn total(&self) -> OperationCounts {
        let mut total = OperationCounts::default();
        self.operations.iter().for_each(|o| total.add(*o));
        total
    }

    /// The counts of each kind, by its name.
    pub(crate) fn by_kind(&self) -> impl Iterator<Item = (&'static str, OperationCounts)> {
        NAMES.into_iter().zip(self.operations)
    }

    pub(crate) fn latency(&self) -> &Histogram {
        &self.latency
    }

    pub(crate) fn bytes(&self, op: u16) -> u64 {
        self.operations.get(usize::from(op)).map_or(0, |o| o.bytes)
    }
}

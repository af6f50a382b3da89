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

impl Counters {
    /// A request is over, `ns` after its frontend submitted it.
    #[inline]
    pub(crate) fn count(&mut self, op: u16, length: u64, result: i32, ns: u64) {
        self.latency.record(ns);
        let place = usize::from(op) & (NAMES.len() - 1);
        let place = if usize::from(op) == place { place } else { 0 };
        let counts = &mut self.operations[place];
        counts.requests += 1;
        if result < 0 {
            counts.errors += 1;
        } else {
            counts.bytes += length;
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

//! What outlives the driver: state and the progress of requests, in this release's form and in 1.0's.

use std::sync::atomic::AtomicU64;
use steadfast_driver::{Parked, Pdu, State};

/// State of 1.0.
#[derive(State)]
#[state(schema = "file/1")]
pub(crate) struct OldState {
    size: u64,
    block_size: u32,
}

/// State of this release.
#[derive(State)]
#[state(schema = "file/2", also(OldState))]
pub(crate) struct FileState {
    pub(crate) size: u64,
    pub(crate) block_size: u32,
    /// Punching holes has not failed yet.
    pub(crate) punch: bool,
    /// Zeroing ranges has not failed yet.
    pub(crate) zero: bool,
    #[state(default)]
    pub(crate) reads: u64,
    #[state(default)]
    pub(crate) writes: u64,
    #[state(default)]
    pub(crate) others: u64,
    #[state(default)]
    pub(crate) merged: u64,
}

impl From<OldState> for FileState {
    fn from(old: OldState) -> FileState {
        FileState {
            size: old.size,
            block_size: old.block_size,
            // 1.0 never tried, so it does not know.
            punch: true,
            zero: true,
            reads: 0,
            writes: 0,
            others: 0,
            merged: 0,
        }
    }
}

impl From<&FileState> for OldState {
    fn from(new: &FileState) -> OldState {
        OldState { size: new.size, block_size: new.block_size }
    }
}

/// Requests since the device was first attached, whatever driver changes lay between.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) reads: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) others: AtomicU64,
    /// Requests that went along with another one's operation.
    pub(crate) merged: AtomicU64,
}

impl From<&FileState> for Counters {
    fn from(state: &FileState) -> Counters {
        Counters {
            reads: state.reads.into(),
            writes: state.writes.into(),
            others: state.others.into(),
            merged: state.merged.into(),
        }
    }
}

/// Progress of a request, as 1.0 writes it.
#[derive(Clone, Copy, Pdu)]
#[repr(C)]
#[pdu(schema = "file/1")]
pub(crate) struct OldProgress {
    /// Bytes done.
    pub(crate) done: u64,
}

/// Progress of a request.
#[derive(Clone, Copy, Pdu)]
#[repr(C)]
#[pdu(schema = "file/2")]
pub(crate) struct Progress {
    /// Bytes done.
    pub(crate) done: u64,
    /// The next request of a run; none at its end.
    pub(crate) next: Parked,
    /// What the operation in flight does: one of [`how`].
    pub(crate) how: u32,
    /// Zero.
    pub(crate) reserved: u32,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress { done: 0, next: Parked::NONE, how: how::PLAIN, reserved: 0 }
    }
}

/// What the operation in flight for a request does.
pub(crate) mod how {
    /// Reads or writes this request's bytes, or zeroes.
    pub(crate) const PLAIN: u32 = 0;
    /// Reads or writes this request and those that follow in its chain.
    pub(crate) const RUN: u32 = 1;
    /// Punches a hole.
    pub(crate) const PUNCH: u32 = 2;
    /// Zeroes a range.
    pub(crate) const ZERO: u32 = 3;
    /// Makes durable; the last step.
    pub(crate) const SYNC: u32 = 4;
    /// Asks for holes and data.
    pub(crate) const EXTENTS: u32 = 5;
}

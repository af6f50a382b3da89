//! What one queue's thread has for itself: its ring, the operations on it, and the requests that
//! were completed in this turn of the loop.

#![allow(unsafe_code)] // submission entries point at memory that this queue owns

use crate::error::EngineError;
use crate::helpers::Foreman;
use crate::ids::{FrontendId, LaneId, Tag};
use crate::lane::Lane;
use crate::lane::file_io::FileIo;
use crate::lane::in_flight::OpTable;
use crate::lane::stacked_list::StackedList;
use crate::port::Port;
use crate::ring::Ring;
use crate::ring::bell::Bell;
use io_uring::{squeue, types};
use std::ptr::NonNull;
use std::sync::Arc;

/// A completed request on its way to its frontend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) frontend: FrontendId,
    pub(crate) lane: LaneId,
    pub(crate) tag: Tag,
    pub(crate) cookie: u64,
    pub(crate) result: i32,
}

pub(crate) struct Core {
    pub(crate) ring: Ring,
    pub(crate) ops: OpTable,
    pub(crate) done: Vec<Done>,
    /// Lanes whose driver gathers requests and must be told that the batch is over.
    pub(crate) commits: Vec<NonNull<Lane>>,
    /// Lanes whose lines may go on, or that have slots again.
    pub(crate) due: Vec<NonNull<Lane>>,
    /// There are requests that can become too old.
    pub(crate) tick_wanted: bool,
    pub(crate) fileio: FileIo,
    /// Says to others in which driver this thread is.
    pub(crate) bell: Arc<Bell>,
    /// What drivers have issued on other devices.
    pub(crate) stacked: StackedList,
    /// Operations that hang in the kernel, and the ports whose memory they use, which have gone.
    pub(crate) kept: Vec<(u32, Arc<Port>)>,
    /// Ports on this queue.
    pub(crate) ports: u32,
    /// Monotonic clock at the start of this turn.
    pub(crate) now_ns: u64,
}

impl Core {
    pub(crate) fn new(foreman: Arc<Foreman>, bell: Arc<Bell>, files: u32) -> Result<Core, EngineError> {
        let ring = Ring::new(files)?;
        Ok(Core {
            ring,
            ops: OpTable::new(),
            done: Vec::with_capacity(4096),
            commits: Vec::with_capacity(64),
            due: Vec::with_capacity(64),
            tick_wanted: false,
            fileio: FileIo::new(bell.clone(), foreman),
            bell,
            stacked: StackedList::default(),
            kept: Vec::new(),
            ports: 0,
            now_ns: 0,
        })
    }

    /// Room for `ops` more operations in flight.
    pub(crate) fn grow(&mut self, ops: u32) {
        self.ops.grow(ops);
    }

    /// Forgets room that was made for a port which is gone.
    pub(crate) fn shrink(&mut self, ops: u32) {
        self.ops.shrink(ops);
    }

    /// Queues one submission; when the ring is full, submits first.
    ///
    /// # Safety
    /// The memory that `entry` points to stays valid until its completion arrives, except timespecs,
    /// which the kernel reads while it submits.
    #[inline]
    pub(crate) unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the caller's promise, passed on.
        unsafe { self.ring.push(entry) };
    }

    /// Is there something to be dealt with: a completion, a call that has come back from a helper?
    pub(crate) fn ready(&mut self) -> bool {
        self.ring.ready() || self.fileio.has_completed()
    }

    /// Submits everything queued and waits for a completion, at most `timeout_ns`; 0 only looks.
    /// True when everything was submitted.
    pub(crate) fn submit_and_wait(&mut self, timeout_ns: Option<u64>) -> bool {
        let sleeps = timeout_ns != Some(0);
        // What comes back from helpers until here is dealt with first, and what comes after that rings.
        let timeout_ns = if sleeps && !self.fileio.fall_asleep() { Some(0) } else { timeout_ns };
        let all = self.ring.submit_and_wait(timeout_ns);
        if sleeps {
            self.fileio.wake_up();
        }
        all
    }

    /// A place for the time of a timer operation: see [`Ring::timespec`].
    pub(crate) fn timespec(&mut self, ns: u64) -> *const types::Timespec {
        self.ring.timespec(ns)
    }
}

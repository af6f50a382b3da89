//! What one queue's thread has for itself: its ring, the operations on it, and the requests that
//! were completed in this turn of the loop.

#![allow(unsafe_code)] // submission entries point at memory that this queue owns

pub(crate) mod bell;
pub(crate) mod idle;
pub(crate) mod in_flight;

use crate::error::{EngineError, ErrorKind};
use crate::handle::buffered::FileIo;
use crate::helpers::Foreman;
use crate::ids::{FrontendId, LaneId, Tag};
use crate::lane::Lane;
use crate::port::Port;
use crate::ring::bell::Bell;
use crate::ring::in_flight::OpTable;
use crate::stack::list::StackedList;
use io_uring::{IoUring, squeue, types};
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

/// Entries of the submission ring; more are pushed by submitting what is there.
const SQ_ENTRIES: u32 = 512;
/// Entries of the completion ring. The kernel keeps what does not fit, at a cost.
const CQ_ENTRIES: u32 = 8192;
/// Times that fit between two submissions.
const TIMESPECS: usize = 512;

/// A completed request on its way to its frontend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) frontend: FrontendId,
    pub(crate) lane: LaneId,
    pub(crate) tag: Tag,
    pub(crate) cookie: u64,
    pub(crate) result: i32,
}

/// The kinds of `user_data`, in its top byte.
pub(crate) mod kind {
    pub(crate) const WAKE: u64 = 0;
    pub(crate) const OP: u64 = 1;
    pub(crate) const FRONTEND: u64 = 2;
    pub(crate) const IGNORE: u64 = 3;
    pub(crate) const LANE: u64 = 4;
    pub(crate) const TICK: u64 = 5;
    pub(crate) const EMPTIED: u64 = 6;
}

/// Packs a kind and 56 bits.
pub(crate) const fn user_data(kind: u64, value: u64) -> u64 {
    kind << 56 | value & 0x00ff_ffff_ffff_ffff
}

pub(crate) struct Core {
    pub(crate) ring: IoUring,
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
    timespecs: Vec<types::Timespec>,
}

impl Core {
    pub(crate) fn new(foreman: Arc<Foreman>, bell: Arc<Bell>, files: u32) -> Result<Core, EngineError> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(CQ_ENTRIES)
            .build(SQ_ENTRIES)
            .map_err(|e| ring_error(&e))?;
        ring.submitter().register_files_sparse(files).map_err(|e| {
            let what = format!("io_uring: cannot register a table of {files} files: {e}");
            EngineError::new(ErrorKind::Unsupported, what)
        })?;
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
            timespecs: Vec::with_capacity(TIMESPECS),
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
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.submit();
        }
    }

    /// Submits everything queued. Without room in the kernel it tries again.
    pub(crate) fn submit(&mut self) {
        while !self.ring.submission().is_empty() {
            match self.ring.submit() {
                Ok(_) => {}
                Err(e) if is_transient(&e) => {}
                Err(e) => {
                    tracing::error!("io_uring submit: {e}");
                    break;
                }
            }
        }
        self.timespecs.clear();
    }

    /// Is there a completion, or one to be had for the asking?
    pub(crate) fn ready(&mut self) -> bool {
        !self.ring.completion().is_empty() || self.ring.submission().taskrun() || self.fileio.has_completed()
    }

    /// Submits everything queued and waits for a completion, at most `timeout_ns`; 0 only looks.
    /// True when everything was submitted.
    pub(crate) fn submit_and_wait(&mut self, timeout_ns: Option<u64>) -> bool {
        let sleeps = timeout_ns != Some(0);
        // What comes back from helpers until here is dealt with first, and what comes after that rings.
        let timeout_ns = if sleeps && !self.fileio.fall_asleep() { Some(0) } else { timeout_ns };
        let result = match timeout_ns {
            None => self.ring.submit_and_wait(1),
            Some(0) => self.ring.submit_and_wait(0),
            Some(ns) => {
                let time = types::Timespec::new().sec(ns / 1_000_000_000).nsec((ns % 1_000_000_000) as u32);
                let args = types::SubmitArgs::new().timespec(&time);
                self.ring.submitter().submit_with_args(1, &args)
            }
        };
        if sleeps {
            self.fileio.wake_up();
        }
        match result {
            Ok(_) => {}
            Err(e) if e.raw_os_error() == Some(libc::ETIME) || is_transient(&e) => {}
            Err(e) => tracing::error!("io_uring wait: {e}"),
        }
        let all = self.ring.submission().is_empty();
        if all {
            self.timespecs.clear();
        }
        all
    }

    /// A place for the time of a timer operation; valid until the next submission, which the entry that uses
    /// it, pushed next, does not bring about: there is room for it.
    pub(crate) fn timespec(&mut self, ns: u64) -> *const types::Timespec {
        if self.timespecs.len() == TIMESPECS || self.ring.submission().is_full() {
            self.submit();
        }
        let time = types::Timespec::new().sec(ns / 1_000_000_000).nsec((ns % 1_000_000_000) as u32);
        self.timespecs.push(time);
        self.timespecs.last().map_or(std::ptr::null(), |t| &raw const *t)
    }
}

fn is_transient(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}

fn ring_error(e: &io::Error) -> EngineError {
    let hint = match e.raw_os_error() {
        Some(libc::EPERM) | Some(libc::EACCES) => {
            ": io_uring is forbidden here. See the sysctl kernel.io_uring_disabled (0 allows it) and, in a \
             container, its seccomp profile"
        }
        Some(libc::ENOSYS) => ": this kernel has no io_uring, or a seccomp profile hides it",
        Some(libc::EINVAL) => ": this kernel is older than Linux 6.1",
        Some(libc::ENOMEM) => ": not enough memory that may be locked (see `ulimit -l`)",
        _ => "",
    };
    EngineError::new(ErrorKind::Unsupported, format!("cannot set up io_uring: {e}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::bell::Bell;
    use io_uring::opcode;

    fn core() -> Core {
        let bell = Arc::new(Bell::new(Arc::default()).expect("eventfd"));
        let foreman = Foreman::start(std::slice::from_ref(&bell)).expect("its thread");
        Core::new(foreman, bell, 8).expect("io_uring")
    }

    fn push_nop(core: &mut Core) {
        // SAFETY: the entry points to nothing.
        unsafe { core.push(&opcode::Nop::new().build().user_data(user_data(kind::IGNORE, 0))) };
    }

    #[test]
    fn times_of_an_entry_stay_until_it_is_submitted() {
        let mut core = core();
        for before in SQ_ENTRIES - 2..=SQ_ENTRIES {
            core.submit();
            (0..before).for_each(|_| push_nop(&mut core));
            core.timespec(1);
            push_nop(&mut core);
            assert_eq!(core.timespecs.len(), 1, "in use, {before} entries before");
        }
    }
}

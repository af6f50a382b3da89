//! A queue's io_uring: what is submitted, and waiting for what has completed.

#![allow(unsafe_code)] // submission entries point at memory of others

pub(crate) mod bell;
pub(crate) mod idle;

use crate::error::{EngineError, ErrorKind};
use io_uring::{IoUring, cqueue, squeue, types};
use std::io;

/// Entries of the submission ring; more are pushed by submitting what is there.
const SQ_ENTRIES: u32 = 512;
/// Entries of the completion ring. The kernel keeps what does not fit, at a cost.
const CQ_ENTRIES: u32 = 8192;
/// Times that fit between two submissions.
const TIMESPECS: usize = 512;

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

/// The ring of one queue; only its thread uses it.
pub(crate) struct Ring {
    uring: IoUring,
    timespecs: Vec<types::Timespec>,
}

impl Ring {
    /// A ring with a table of `files` files.
    pub(crate) fn new(files: u32) -> Result<Ring, EngineError> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(CQ_ENTRIES)
            .build(SQ_ENTRIES)
            .map_err(|e| ring_error(&e))?;
        uring.submitter().register_files_sparse(files).map_err(|e| {
            let what = format!("io_uring: cannot register a table of {files} files: {e}");
            EngineError::new(ErrorKind::Unsupported, what)
        })?;
        Ok(Ring { uring, timespecs: Vec::with_capacity(TIMESPECS) })
    }

    /// Queues one submission; when the ring is full, submits first.
    ///
    /// # Safety
    /// The memory that `entry` points to stays valid until its completion arrives, except timespecs,
    /// which the kernel reads while it submits.
    #[inline]
    pub(crate) unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the caller's promise, passed on.
        while unsafe { self.uring.submission().push(entry) }.is_err() {
            self.submit();
        }
    }

    /// Submits everything queued. Without room in the kernel it tries again.
    pub(crate) fn submit(&mut self) {
        while !self.uring.submission().is_empty() {
            match self.uring.submit() {
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
        !self.uring.completion().is_empty() || self.uring.submission().taskrun()
    }

    /// What has completed, from the first on.
    pub(crate) fn completions(&mut self) -> cqueue::CompletionQueue<'_> {
        self.uring.completion()
    }

    /// Puts a descriptor in its place in the table of files.
    ///
    /// # Errors
    /// Those of `io_uring_register(2)`.
    pub(crate) fn put_file(&self, place: u32, fd: i32) -> io::Result<()> {
        self.uring.submitter().register_files_update(place, &[fd]).map(drop)
    }

    /// Submits everything queued and waits for a completion, at most `timeout_ns`; 0 only looks.
    /// True when everything was submitted.
    pub(crate) fn submit_and_wait(&mut self, timeout_ns: Option<u64>) -> bool {
        let result = match timeout_ns {
            None => self.uring.submit_and_wait(1),
            Some(0) => self.uring.submit_and_wait(0),
            Some(ns) => {
                let time = types::Timespec::new().sec(ns / 1_000_000_000).nsec((ns % 1_000_000_000) as u32);
                let args = types::SubmitArgs::new().timespec(&time);
                self.uring.submitter().submit_with_args(1, &args)
            }
        };
        match result {
            Ok(_) => {}
            Err(e) if e.raw_os_error() == Some(libc::ETIME) || is_transient(&e) => {}
            Err(e) => tracing::error!("io_uring wait: {e}"),
        }
        let all = self.uring.submission().is_empty();
        if all {
            self.timespecs.clear();
        }
        all
    }

    /// A place for the time of a timer operation; valid until the next submission, which the entry that uses
    /// it, pushed next, does not bring about: there is room for it.
    pub(crate) fn timespec(&mut self, ns: u64) -> *const types::Timespec {
        if self.timespecs.len() == TIMESPECS || self.uring.submission().is_full() {
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
    use io_uring::opcode;

    fn push_nop(ring: &mut Ring) {
        // SAFETY: the entry points to nothing.
        unsafe { ring.push(&opcode::Nop::new().build().user_data(user_data(kind::IGNORE, 0))) };
    }

    #[test]
    fn times_of_an_entry_stay_until_it_is_submitted() {
        let mut ring = Ring::new(8).expect("io_uring");
        for before in SQ_ENTRIES - 2..=SQ_ENTRIES {
            ring.submit();
            (0..before).for_each(|_| push_nop(&mut ring));
            ring.timespec(1);
            push_nop(&mut ring);
            assert_eq!(ring.timespecs.len(), 1, "in use, {before} entries before");
        }
    }
}

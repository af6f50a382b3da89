//! Buffered files, past the ring where the ring is the slow way.
//!
//! *Writes.* Most file systems cannot promise that a buffered write will not sleep, so io_uring passes
//! each to a worker thread: measured on ext4, a third of what plain `pwrite` does. Here the writes of
//! one turn of the loop go together, in one of two ways:
//!
//! - *inline*, by the queue itself, when the queue serves one port only and writes have been quick of
//!   late: a write that sleeps then keeps nobody waiting but its own device;
//! - else through this queue's writer thread, one hand-over for the whole batch.
//!
//! *Reads.* The first few of a turn are tried with `RWF_NOWAIT`, which never sleeps: what is in the
//! page cache is there at once, and a lone request costs one turn of the loop instead of two. What is
//! not in the cache goes to the ring.
//!
//! Either way the operation is the shell's: its completion goes to whichever driver serves the port.

#![allow(unsafe_code)] // pwritev2 from memory that the shell owns

use crate::core::now_ns;
use crate::handle::lock;
use crate::remote::Remote;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use steadfast_abi::{Op, op_flag};

/// A write that took longer was not quick: it slept, or the thread lost its processor.
const QUICK_NS: u64 = 1_000_000;
/// How long writes go through the thread after one that was not quick; twice as long for each that
/// follows, up to the longest, until [`CALM`] writes in a row were quick.
const CAUTION_NS: u64 = 10_000_000;
const LONGEST_CAUTION_NS: u64 = 1_000_000_000;
const CALM: u32 = 64;

/// Reads that are tried inline in one turn; more go to the ring, which does them in one call.
const READS: u32 = 4;

/// A buffered file.
#[derive(Clone, Debug)]
pub(crate) struct Buffered {
    pub(crate) file: Arc<OwnedFd>,
    /// The ring would hand writes to it to a worker.
    pub(crate) slow_writes: bool,
}

/// A write to be done.
#[derive(Debug)]
struct Write {
    id: u32,
    file: Arc<OwnedFd>,
    offset: u64,
    flags: i32,
    /// How many of the batch's vectors are this write's.
    vectors: usize,
}

/// Writes of one turn.
#[derive(Default)]
struct Batch {
    writes: Vec<Write>,
    vectors: Vec<Vector>,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.writes).finish()
    }
}

#[repr(transparent)]
struct Vector(libc::iovec);
// SAFETY: an address in the shell's memory, which stays until the write has completed, and a length.
unsafe impl Send for Vector {}

#[derive(Debug, Default)]
struct Shared {
    batch: Batch,
    over: bool,
}

/// The way to the writer thread.
#[derive(Debug)]
struct Desk {
    shared: Mutex<Shared>,
    ready: Condvar,
    done: Mutex<Vec<(u32, i64)>>,
    remote: Arc<Remote>,
}

/// One queue's reads and writes past its ring.
#[derive(Debug)]
pub(crate) struct FileIo {
    desk: Arc<Desk>,
    started: bool,
    batch: Batch,
    inline_done: Vec<(u32, i64)>,
    cautious_until_ns: u64,
    caution_ns: u64,
    quick: u32,
    reads: u32,
}

impl FileIo {
    pub(crate) fn new(remote: Arc<Remote>) -> FileIo {
        let desk = Desk { shared: Mutex::default(), ready: Condvar::new(), done: Mutex::default(), remote };
        FileIo {
            desk: Arc::new(desk),
            started: false,
            batch: Batch::default(),
            inline_done: Vec::new(),
            cautious_until_ns: 0,
            caution_ns: CAUTION_NS,
            quick: 0,
            reads: 0,
        }
    }

    /// Writes `parts`, now if `alone` and writes are quick, else with the batch of this turn.
    ///
    /// # Safety
    /// What `parts` point to stays readable until the operation `id` has completed.
    pub(crate) unsafe fn write(
        &mut self,
        id: u32,
        op: &Op,
        parts: &[libc::iovec],
        file: &Arc<OwnedFd>,
        alone: bool,
    ) {
        let flags = if op.flags & op_flag::FUA != 0 { libc::RWF_DSYNC } else { 0 };
        if alone && flags == 0 && self.batch.writes.is_empty() {
            let begun = now_ns();
            if begun >= self.cautious_until_ns {
                // SAFETY: the caller's promise.
                let result = unsafe { pwrite(file, parts.as_ptr(), parts.len(), op.offset, flags) };
                self.learn(begun, now_ns());
                return self.inline_done.push((id, result));
            }
        }
        self.batch.vectors.extend(parts.iter().map(|v| Vector(*v)));
        let write = Write { id, file: file.clone(), offset: op.offset, flags, vectors: parts.len() };
        self.batch.writes.push(write);
    }

    /// Reads into `parts` if that can be done at once; false: it is for the ring.
    ///
    /// # Safety
    /// `parts` point to writable memory.
    pub(crate) unsafe fn read(
        &mut self,
        id: u32,
        offset: u64,
        parts: &[libc::iovec],
        file: &OwnedFd,
    ) -> bool {
        if self.reads == READS {
            return false;
        }
        self.reads += 1;
        let Ok(offset) = i64::try_from(offset) else { return false };
        let (vectors, count) = (parts.as_ptr(), parts.len() as i32);
        // SAFETY: the caller's promise; an open descriptor.
        let n = unsafe { libc::preadv2(file.as_raw_fd(), vectors, count, offset, libc::RWF_NOWAIT) };
        let whole: usize = parts.iter().map(|p| p.iov_len).sum();
        // Less than the whole: the rest is not in the cache, or the file ends. The ring can tell.
        if usize::try_from(n) != Ok(whole) {
            return false;
        }
        self.inline_done.push((id, n as i64));
        true
    }

    /// Decides from how long an inline write took whether the next may be inline too.
    fn learn(&mut self, begun_ns: u64, ended_ns: u64) {
        if ended_ns.saturating_sub(begun_ns) > QUICK_NS {
            self.cautious_until_ns = ended_ns + self.caution_ns;
            self.caution_ns = (2 * self.caution_ns).min(LONGEST_CAUTION_NS);
            self.quick = 0;
        } else {
            self.quick = self.quick.saturating_add(1);
            if self.quick == CALM {
                self.caution_ns = CAUTION_NS;
            }
        }
    }

    /// Takes the completions that are there: operation and result.
    pub(crate) fn completed(&mut self, into: &mut Vec<(u32, i64)>) {
        into.append(&mut self.inline_done);
        if self.started {
            into.append(&mut lock(&self.desk.done));
        }
    }

    pub(crate) fn has_completed(&self) -> bool {
        !self.inline_done.is_empty()
    }

    /// The end of a turn: hands the batch over.
    pub(crate) fn submit(&mut self) {
        self.reads = 0;
        if self.batch.writes.is_empty() {
            return;
        }
        if !self.started {
            self.start();
        }
        let mut shared = lock(&self.desk.shared);
        let idle = shared.batch.writes.is_empty();
        shared.batch.writes.append(&mut self.batch.writes);
        shared.batch.vectors.append(&mut self.batch.vectors);
        drop(shared);
        if idle {
            self.desk.ready.notify_one();
        }
    }

    fn start(&mut self) {
        let desk = self.desk.clone();
        match std::thread::Builder::new().name("writer".into()).spawn(move || desk.run()) {
            Ok(_) => self.started = true,
            Err(e) => {
                tracing::error!("thread for writes: {e}");
                let failed = self.batch.writes.drain(..).map(|w| (w.id, -i64::from(libc::EAGAIN)));
                self.inline_done.extend(failed);
                self.batch.vectors.clear();
            }
        }
    }
}

impl Drop for FileIo {
    fn drop(&mut self) {
        lock(&self.desk.shared).over = true;
        self.desk.ready.notify_one();
    }
}

impl Desk {
    fn run(&self) {
        let mut batch = Batch::default();
        while self.take(&mut batch) {
            let mut vectors = batch.vectors.as_slice();
            for write in &batch.writes {
                let (mine, rest) = vectors.split_at(write.vectors.min(vectors.len()));
                vectors = rest;
                // SAFETY: `Vector` is an iovec and nothing else; its memory is the shell's until the
                // completion, which is what is sent below.
                let result = unsafe {
                    pwrite(
                        &write.file,
                        mine.as_ptr().cast::<libc::iovec>(),
                        mine.len(),
                        write.offset,
                        write.flags,
                    )
                };
                lock(&self.done).push((write.id, result));
                self.remote.wake();
            }
            batch.writes.clear();
            batch.vectors.clear();
        }
    }

    fn take(&self, batch: &mut Batch) -> bool {
        let mut shared = lock(&self.shared);
        while shared.batch.writes.is_empty() {
            if shared.over {
                return false;
            }
            shared = self.ready.wait(shared).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut shared.batch, batch);
        true
    }
}

/// # Safety
/// `count` vectors at `vectors`, each of readable memory.
unsafe fn pwrite(file: &OwnedFd, vectors: *const libc::iovec, count: usize, offset: u64, flags: i32) -> i64 {
    let Ok(offset) = i64::try_from(offset) else { return -i64::from(libc::EINVAL) };
    loop {
        // SAFETY: the caller's promise; an open descriptor.
        let n = unsafe { libc::pwritev2(file.as_raw_fd(), vectors, count as i32, offset, flags) };
        if n >= 0 {
            return n as i64;
        }
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        if errno != libc::EINTR {
            return -i64::from(errno);
        }
    }
}

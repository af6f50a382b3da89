//! Requests as tokens: whoever holds one must answer it, once.

use crate::io::Seg;
use crate::log::{self, Level};
use crate::{Block, Data, Errno, Pdu};
use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::forget;
use steadfast_abi as abi;

/// What a request asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Op {
    /// Device to data buffer.
    Read = abi::block_op::READ,
    /// Data buffer to device.
    Write = abi::block_op::WRITE,
    /// Everything that was completed before is durable when this completes.
    Flush = abi::block_op::FLUSH,
    /// The range is not needed any more.
    Trim = abi::block_op::TRIM,
    /// The range reads as zeroes afterwards.
    WriteZeroes = abi::block_op::WRITE_ZEROES,
    /// Bring the range into cache.
    Cache = abi::block_op::CACHE,
    /// Say which parts of the range are holes or zeroes.
    Status = abi::block_op::STATUS,
}

impl Op {
    pub(crate) fn from_abi(op: u16) -> Option<Op> {
        Some(match op {
            abi::block_op::READ => Op::Read,
            abi::block_op::WRITE => Op::Write,
            abi::block_op::FLUSH => Op::Flush,
            abi::block_op::TRIM => Op::Trim,
            abi::block_op::WRITE_ZEROES => Op::WriteZeroes,
            abi::block_op::CACHE => Op::Cache,
            abi::block_op::STATUS => Op::Status,
            _ => return None,
        })
    }
}

/// One request in its slot: a token that is used up by answering it.
///
/// Within `submit` and `event` the answer is the value returned ([`done`](Self::done),
/// [`fail`](Self::fail), [`pending`](Self::pending)); elsewhere it is
/// [`complete`](Self::complete). A token that is dropped answers `-EIO` and says so in the log.
#[must_use = "a request must be answered"]
pub struct Request<'q, D: Block> {
    raw: *mut abi::Request,
    queue: *mut abi::Queue,
    life: PhantomData<&'q ()>,
    kind: PhantomData<fn(D)>,
}

/// The answer to a request, to be returned from the entry point that received it.
#[must_use = "return it: it is the answer"]
pub struct Submitted<'q> {
    queue: *mut abi::Queue,
    tag: u32,
    code: i32,
    life: PhantomData<&'q ()>,
}

/// Names a request that was left pending, as plain data that fits into a queue's memory or another
/// request's PDU; [`Io::unpark`](crate::Io::unpark) makes it a token again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Parked {
    pub(crate) tag: u32,
    pub(crate) serial: u32,
}

impl Parked {
    /// Names no request.
    pub const NONE: Parked = Parked { tag: abi::NO_TAG, serial: 0 };
}

// SAFETY: two integers; a made-up pair is checked by `unpark` and, when answered, by the shell.
unsafe impl Pdu for Parked {}

impl<'q, D: Block> Request<'q, D> {
    /// # Safety
    /// `raw` is a slot of `queue`, live and the driver's; `queue` is live for `'q` and entered on
    /// this thread.
    #[inline(always)]
    pub(crate) unsafe fn new(queue: *mut abi::Queue, raw: *mut abi::Request) -> Self {
        Request { raw, queue, life: PhantomData, kind: PhantomData }
    }

    #[inline(always)]
    fn slot(&self) -> &abi::Request {
        // SAFETY: the slot is the driver's while the token lives, so nobody writes to it.
        unsafe { &*self.raw }
    }

    #[inline(always)]
    pub(crate) fn q(&self) -> &abi::Queue {
        // SAFETY: the queue is live for `'q` by `new`.
        unsafe { &*self.queue }
    }

    /// What is asked.
    #[inline(always)]
    pub fn op(&self) -> Op {
        // The entry point has turned away what this does not know.
        Op::from_abi(self.slot().op).unwrap_or(Op::Flush)
    }

    /// First byte on the device.
    #[inline(always)]
    pub fn offset(&self) -> u64 {
        self.slot().offset
    }

    /// Bytes.
    #[inline(always)]
    pub fn length(&self) -> u64 {
        self.slot().length
    }

    /// Device within the port.
    #[inline(always)]
    pub fn device(&self) -> u32 {
        self.slot().device
    }

    /// Number of the slot in its queue.
    #[inline(always)]
    pub fn tag(&self) -> u32 {
        self.slot().tag
    }

    /// Must be durable when it completes.
    #[inline(always)]
    pub fn fua(&self) -> bool {
        self.slot().flags & abi::block_flag::FUA != 0
    }

    /// Write zeroes without punching holes.
    pub fn no_hole(&self) -> bool {
        self.slot().flags & abi::block_flag::NO_HOLE != 0
    }

    /// Write zeroes only if that is faster than writing them.
    pub fn fast_only(&self) -> bool {
        self.slot().flags & abi::block_flag::FAST_ONLY != 0
    }

    /// Monotonic clock when the frontend submitted it, nanoseconds; 0 where it was not measured.
    pub fn submitted_ns(&self) -> u64 {
        self.slot().submitted_ns
    }

    /// The data buffer: `length` bytes for reads and writes, all of it for others.
    #[inline(always)]
    pub fn data(&self) -> Data<'_> {
        let q = self.q();
        let whole = u64::from(q.data_size);
        let len = match self.op() {
            Op::Read | Op::Write => self.slot().length.min(whole),
            _ => whole,
        };
        // SAFETY: slot `tag` has its data buffer there, as the ABI says, and it is the driver's while
        // the token lives.
        unsafe { Data::new(q.data.add(self.tag() as usize * q.data_stride as usize), len) }
    }

    /// The private bytes. They are whatever the slot's last user left until they are set.
    #[inline(always)]
    pub fn pdu(&self) -> &Cell<D::Pdu> {
        // SAFETY: the slot has `size_of::<Pdu>()` bytes there, aligned to 64 (checked against the
        // type while compiling); any bytes are a valid `Pdu`. A `Cell`, because two tokens of one
        // slot may exist on this thread.
        unsafe { &*self.pdu_ptr().cast::<Cell<D::Pdu>>() }
    }

    pub(crate) fn pdu_ptr(&self) -> *mut u8 {
        let q = self.q();
        if size_of::<D::Pdu>() == 0 {
            return std::ptr::without_provenance_mut(align_of::<D::Pdu>());
        }
        // SAFETY: slot `tag` has its PDU there, as the ABI says.
        unsafe { q.pdus.add(self.tag() as usize * q.pdu_stride as usize) }
    }

    /// Bytes `offset..offset + length` of the data buffer, for an operation.
    #[inline(always)]
    pub fn data_seg(&self, offset: u64, length: u64) -> Seg {
        Seg::new(abi::memory::DATA, self.tag(), offset, length)
    }

    /// Bytes `offset..offset + length` of the PDU, for an operation.
    pub fn pdu_seg(&self, offset: u64, length: u64) -> Seg {
        Seg::new(abi::memory::PDU, self.tag(), offset, length)
    }

    /// Its name as plain data, to find it again after [`pending`](Self::pending).
    #[inline(always)]
    pub fn parked(&self) -> Parked {
        Parked { tag: self.tag(), serial: self.slot().serial }
    }

    /// Answers: done.
    #[inline(always)]
    pub fn done(self) -> Submitted<'q> {
        self.answer(0)
    }

    /// Answers: done, with a count; STATUS answers the number of extents.
    #[inline(always)]
    pub fn done_with(self, count: u32) -> Submitted<'q> {
        self.answer(count.min(abi::PENDING as u32 - 1) as i32)
    }

    /// Answers: failed.
    #[inline(always)]
    pub fn fail(self, errno: Errno) -> Submitted<'q> {
        self.answer(errno.code())
    }

    /// Answers: done, or failed.
    #[inline(always)]
    pub fn result(self, result: Result<(), Errno>) -> Submitted<'q> {
        match result {
            Ok(()) => self.done(),
            Err(e) => self.fail(e),
        }
    }

    /// Answers with what `work` says; for requests that are done at once.
    #[inline(always)]
    pub fn result_of(self, work: impl FnOnce(&Self) -> Result<(), Errno>) -> Submitted<'q> {
        let result = work(&self);
        self.result(result)
    }

    /// Answers: not yet. An event will bring the request again, or [`Io::unpark`](crate::Io::unpark).
    #[inline(always)]
    pub fn pending(self) -> Submitted<'q> {
        self.answer(abi::PENDING)
    }

    /// Leaves it pending, where no answer is asked for: the counterpart of
    /// [`Io::unpark`](crate::Io::unpark).
    #[inline(always)]
    pub fn park(self) -> Parked {
        let parked = self.parked();
        forget(self);
        parked
    }

    #[inline(always)]
    fn answer(self, code: i32) -> Submitted<'q> {
        let answer = Submitted { queue: self.queue, tag: self.tag(), code, life: PhantomData };
        forget(self);
        answer
    }

    /// Completes a request that is not the one the entry point was called for.
    pub fn complete(self, result: Result<(), Errno>) {
        let code = match result {
            Ok(()) => 0,
            Err(e) => e.code(),
        };
        // SAFETY: the queue is live for `'q` and entered on this thread.
        unsafe { complete(self.queue, self.tag(), code) };
        forget(self);
    }
}

impl<D: Block> Drop for Request<'_, D> {
    #[cold]
    fn drop(&mut self) {
        // SAFETY: the queue is live for `'q` and entered on this thread.
        unsafe { give_up(self.queue, self.tag(), "dropped") };
    }
}

impl Submitted<'_> {
    /// Gives the answer now; for requests other than the one that the entry point was called for.
    pub fn deliver(self) {
        self.complete();
        forget(self);
    }

    /// The answer to the request `tag` as an entry point returns it.
    #[inline(always)]
    pub(crate) fn into_code(self, tag: u32) -> i32 {
        let mut code = self.code;
        if self.tag != tag {
            // Another request's answer: the entry point's own is still pending, or was dropped,
            // which has answered it.
            self.complete();
            code = abi::PENDING;
        }
        forget(self);
        code
    }

    fn complete(&self) {
        if self.code != abi::PENDING {
            // SAFETY: the queue is live and entered on this thread while `self` lives.
            unsafe { complete(self.queue, self.tag, self.code) };
        }
    }
}

impl Drop for Submitted<'_> {
    #[cold]
    fn drop(&mut self) {
        // SAFETY: the queue is live and entered on this thread while `self` lives.
        unsafe { give_up(self.queue, self.tag, "answered, but the answer dropped") };
    }
}

/// Completes the request `tag`.
///
/// # Safety
/// `queue` is live and entered on this thread.
#[inline(always)]
pub(crate) unsafe fn complete(queue: *mut abi::Queue, tag: u32, code: i32) {
    // SAFETY: the shell's table outlives the queue; the shell checks the tag.
    unsafe {
        if let Some(complete) = (*(*queue).shell).complete {
            complete(queue, tag, code);
        }
    }
}

/// # Safety
/// `queue` is live and entered on this thread.
#[cold]
unsafe fn give_up(queue: *mut abi::Queue, tag: u32, how: &str) {
    // SAFETY: by the caller's promise.
    unsafe {
        log::write((*queue).port, Level::Error, format_args!("request {tag} was {how}: failed with EIO"));
        complete(queue, tag, Errno::IO.code());
    }
}

//! Operations on handles, timers, and what else a driver does on a queue.

use crate::log::{self, Level, Log};
use crate::{Block, Errno, Handle, Parked, Pdu, Port, Region, Request};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;
use steadfast_abi as abi;

/// A stretch of the shell's memory that an operation reads into or writes from.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Seg(abi::Seg);

impl Seg {
    #[inline(always)]
    pub(crate) fn new(memory: u32, index: u32, offset: u64, length: u64) -> Seg {
        Seg(abi::Seg { memory, index, offset, length })
    }

    /// Bytes.
    pub fn length(&self) -> u64 {
        self.0.length
    }
}

impl Region {
    /// Bytes `offset..offset + length`, for an operation.
    pub fn seg(&self, offset: u64, length: u64) -> Seg {
        Seg::new(abi::memory::REGION, self.number, offset, length)
    }
}

/// What the spare memory of a queue is aligned to.
const SPARE_ALIGN: usize = 64;

/// Where the spare memory of a queue begins in its arena.
pub(crate) const fn spare_offset<D: Block>() -> usize {
    size_of::<D::Queue>().next_multiple_of(SPARE_ALIGN)
}

/// Most segments in one operation.
pub const MAX_SEGS: usize = abi::MAX_SEGS;

/// An operation to issue.
///
/// ```no_run
/// # use steadfast_driver::{Block, Errno, Handle, Io, Operation, Request};
/// # fn f<D: Block>(io: &mut Io<'_, D>, req: &Request<'_, D>, handle: Handle) -> Result<(), Errno> {
/// io.issue(req, Operation::read(handle, req.offset(), &[req.data_seg(0, req.length())]))?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Operation<'s> {
    raw: abi::Op,
    segs: PhantomData<&'s [Seg]>,
}

impl<'s> Operation<'s> {
    #[inline(always)]
    fn new(code: u16, handle: Handle, offset: u64, segs: &'s [Seg]) -> Operation<'s> {
        let raw = abi::Op {
            size: size_of::<abi::Op>() as u32,
            code,
            flags: 0,
            handle: handle.0,
            tag: abi::NO_TAG,
            cookie: 0,
            offset,
            length: 0,
            arg: 0,
            segs: segs.as_ptr().cast::<abi::Seg>(),
            seg_count: segs.len() as u32,
            reserved: 0,
        };
        Operation { raw, segs: PhantomData }
    }

    /// Reads at `offset` into the segments; the event's result is bytes.
    #[inline(always)]
    pub fn read(handle: Handle, offset: u64, segs: &'s [Seg]) -> Self {
        Self::new(abi::op::READ, handle, offset, segs)
    }

    /// Writes the segments at `offset`; the event's result is bytes.
    #[inline(always)]
    pub fn write(handle: Handle, offset: u64, segs: &'s [Seg]) -> Self {
        Self::new(abi::op::WRITE, handle, offset, segs)
    }

    /// A write that is durable when it completes, if `yes`.
    #[inline(always)]
    pub fn fua(mut self, yes: bool) -> Self {
        self.raw.flags |= if yes { abi::op_flag::FUA } else { 0 };
        self
    }

    /// Comes back in the event.
    #[inline(always)]
    pub fn cookie(mut self, cookie: u64) -> Self {
        self.raw.cookie = cookie;
        self
    }

    /// Fills the segment with [`Extent`](crate::Extent)s of `length` bytes at `offset`; the event's
    /// result is their number.
    pub fn extents(handle: Handle, offset: u64, length: u64, segs: &'s [Seg]) -> Self {
        let mut op = Self::new(abi::op::EXTENTS, handle, offset, segs);
        op.raw.length = length;
        op
    }
}

impl Operation<'static> {
    /// Makes everything written to the handle durable, data and metadata.
    pub fn fsync(handle: Handle) -> Self {
        Self::new(abi::op::FSYNC, handle, 0, &[])
    }

    /// Makes the data written to the handle durable.
    pub fn fdatasync(handle: Handle) -> Self {
        Self::new(abi::op::FDATASYNC, handle, 0, &[])
    }

    /// Allocates, punches or zeroes; `mode` of [`fallocate`](crate::fallocate).
    pub fn fallocate(handle: Handle, offset: u64, length: u64, mode: u64) -> Self {
        let mut op = Self::new(abi::op::FALLOCATE, handle, offset, &[]);
        op.raw.length = length;
        op.raw.arg = mode;
        op
    }

    /// Zeroes a range of another device; `no_hole`: it stays allocated; `fast_only`: only if that is
    /// faster than writing zeroes.
    pub fn write_zeroes(handle: Handle, offset: u64, length: u64, no_hole: bool, fast_only: bool) -> Self {
        let mut op = Self::fallocate(handle, offset, length, abi::fallocate::ZERO_RANGE);
        op.raw.flags |= if no_hole { abi::op_flag::NO_HOLE } else { 0 };
        op.raw.flags |= if fast_only { abi::op_flag::FAST_ONLY } else { 0 };
        op
    }

    /// Waits.
    pub fn timeout(wait: Duration) -> Self {
        let ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        Self::new(abi::op::TIMEOUT, Handle(0), ns, &[])
    }

    /// Does nothing but come back as an event: lets others have their turn in the middle of a long job.
    pub fn nop() -> Self {
        Self::new(abi::op::NOP, Handle(0), 0, &[])
    }
}

/// Number of an operation in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpId(pub(crate) u32);

/// The completion of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Which operation.
    pub id: OpId,
    /// The operation's cookie.
    pub cookie: u64,
    /// Bytes or a count, or why it failed.
    pub result: Result<u64, Errno>,
}

impl Event {
    pub(crate) fn new(raw: &abi::Event) -> Event {
        let result = u64::try_from(raw.result)
            .map_err(|_| Errno(i32::try_from(raw.result.unsigned_abs()).unwrap_or(Errno::IO.0)));
        Event { id: OpId(raw.id), cookie: raw.cookie, result }
    }
}

/// The queue that an entry point runs on.
pub struct Io<'q, D: Block> {
    queue: *mut abi::Queue,
    life: PhantomData<&'q ()>,
    kind: PhantomData<fn(D)>,
}

impl<'q, D: Block> Io<'q, D> {
    /// # Safety
    /// `queue` is live for `'q` and entered on this thread.
    #[inline(always)]
    pub(crate) unsafe fn new(queue: *mut abi::Queue) -> Self {
        Io { queue, life: PhantomData, kind: PhantomData }
    }

    fn q(&self) -> &abi::Queue {
        // SAFETY: live for `'q`, by `new`.
        unsafe { &*self.queue }
    }

    fn shell(&self) -> &abi::ShellOps {
        // SAFETY: the shell's table is a constant that outlives the queue.
        unsafe { &*self.q().shell }
    }

    /// Number of the queue within the port.
    pub fn queue_index(&self) -> u32 {
        self.q().index
    }

    /// Slots of the queue; tags run below it.
    pub fn slots(&self) -> u32 {
        self.q().slot_count
    }

    /// Usable bytes of one data buffer.
    pub fn data_size(&self) -> u32 {
        self.q().data_size
    }

    /// The port.
    pub fn port(&self) -> Port<'_> {
        // SAFETY: the port lives as long as its queue.
        unsafe { Port::new(self.q().port) }
    }

    /// Monotonic clock, nanoseconds.
    pub fn now_ns(&self) -> u64 {
        // SAFETY: `now` takes nothing and may be called anywhere.
        self.shell().now.map_or(0, |now| unsafe { now() })
    }

    /// Issues an operation that is part of `request`; its event brings the request back.
    #[inline(always)]
    pub fn issue(&mut self, request: &Request<'_, D>, op: Operation<'_>) -> Result<OpId, Errno> {
        self.issue_for(request.tag(), op)
    }

    /// Issues an operation of the port; its event goes to [`Block::port_event`].
    pub fn issue_port(&mut self, op: Operation<'_>) -> Result<OpId, Errno> {
        self.issue_for(abi::NO_TAG, op)
    }

    #[inline(always)]
    fn issue_for(&mut self, tag: u32, mut op: Operation<'_>) -> Result<OpId, Errno> {
        op.raw.tag = tag;
        let issue = self.shell().issue.ok_or(Errno::NOSYS)?;
        // SAFETY: the queue is entered on this thread; the operation's segments outlive the call.
        Errno::check(unsafe { issue(self.queue, &op.raw) }).map(OpId)
    }

    /// Asks for an operation to end early. Its event comes all the same.
    pub fn cancel(&mut self, id: OpId) -> Result<(), Errno> {
        let cancel = self.shell().cancel.ok_or(Errno::NOSYS)?;
        // SAFETY: the queue is entered on this thread.
        Errno::check(unsafe { cancel(self.queue, id.0) }).map(|_| ())
    }

    /// Calls [`Block::timer`] with `id` (below 8) after `wait`; setting it again replaces it.
    pub fn set_timer(&mut self, id: u32, wait: Duration) -> Result<(), Errno> {
        self.timer(id, u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX).max(1))
    }

    /// Stops a timer.
    pub fn stop_timer(&mut self, id: u32) -> Result<(), Errno> {
        self.timer(id, 0)
    }

    fn timer(&mut self, id: u32, ns: u64) -> Result<(), Errno> {
        let timer = self.shell().timer.ok_or(Errno::NOSYS)?;
        // SAFETY: the queue is entered on this thread.
        Errno::check(unsafe { timer(self.queue, id, ns) }).map(|_| ())
    }

    /// Returns a request that was not begun to the shell, within [`Block::hand_back`]: it goes to the
    /// next driver, or comes back. Waits issued for it end without an event. `BUSY` when another
    /// operation of it is in flight, and then it is still the driver's.
    pub fn give_back(&mut self, parked: Parked) -> Result<(), Errno> {
        let Some(request) = self.unpark(parked) else { return Err(Errno::INVAL) };
        let tag = request.park().tag;
        let give_back = self.shell().give_back.ok_or(Errno::NOSYS)?;
        // SAFETY: the queue is entered on this thread; the shell checks whose the request is.
        Errno::check(unsafe { give_back(self.queue, tag) }).map(|_| ())
    }

    /// Memory of the queue beside its value, zeroed at `queue_start`: `count` values, or `None` where the
    /// shell has not given that much. A driver that then leaves a feature out says so with
    /// [`Port::reduce`]. How much is wanted says [`Info::queue_spare`](crate::Info::queue_spare).
    #[inline(always)]
    pub fn spare<T: Pdu>(&mut self, count: usize) -> Option<&mut [T]> {
        const { assert!(align_of::<T>() <= SPARE_ALIGN, "the alignment is above 64") };
        let (arena, size) = (self.q().arena, self.q().arena_size);
        let offset = spare_offset::<D>();
        let end = count.checked_mul(size_of::<T>())?.checked_add(offset)?;
        if end as u64 > size {
            return None;
        }
        // SAFETY: within the queue's arena, behind the queue's value, aligned because arenas are; any
        // bytes are a `T`; the queue is entered on this thread, and `&mut self` keeps others away.
        unsafe { Some(std::slice::from_raw_parts_mut(arena.add(offset).cast::<T>(), count)) }
    }

    /// Makes a request that was left pending a token again; `None` when its slot has been used anew.
    /// The caller must still own it: answering a request twice is a fault that the shell records.
    #[inline(always)]
    pub fn unpark(&mut self, parked: Parked) -> Option<Request<'q, D>> {
        let q = self.q();
        if parked.tag >= q.slot_count {
            return None;
        }
        // SAFETY: the tag is below the number of slots, so the slot is there.
        let raw = unsafe { q.slots.add(parked.tag as usize * q.slot_stride as usize) }.cast::<abi::Request>();
        // SAFETY: a slot holds a `Request` at all times; the queue is entered on this thread.
        unsafe { ((*raw).serial == parked.serial).then(|| Request::new(self.queue, raw)) }
    }
}

impl<D: Block> Log for Io<'_, D> {
    fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        // SAFETY: the port lives as long as its queue.
        unsafe { log::write(self.q().port, level, line) };
    }
}

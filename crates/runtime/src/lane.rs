//! A lane: one port on one queue. The hot path is here.
//!
//! # Who may touch a lane
//!
//! 1. A lane belongs to its queue's thread. It is reached by raw pointer, because a driver that the
//!    lane has entered calls back into it ([`Lane::issue`], [`Lane::complete`]).
//! 2. So no reference into a lane or its [`Core`] is alive while the driver is inside: every function
//!    here takes `*mut Lane`, and makes references for single statements only.
//! 3. While a port is held, the thread that runs the transaction calls the driver with this lane's
//!    `abi::Queue`; the driver's calls back are refused by `may_issue`, which the lane's own thread
//!    cleared before it arrived at the rendezvous.

#![allow(unsafe_code)] // see above

use crate::core::{Core, Done, kind, user_data};
use crate::instance::Instance;
use crate::job::Job;
use crate::ops::{OpEntry, OpKind};
use crate::port::{PDU_STRIDE, Port, SLOT_STRIDE};
use crate::services::fault;
use crate::{BlockRequest, FrontendId, LaneId, Tag};
use io_uring::{opcode, types};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use steadfast_abi as abi;
use steadfast_abi::{block_op, memory, op, op_flag};
use steadfast_shell::gate::{Entry, Gate};
use steadfast_shell::slots::{Owner, Slots};

type SubmitFn = unsafe extern "C" fn(*mut abi::Queue, *mut abi::Request) -> i32;

/// The entry points of the driver that serves a lane, at hand.
#[derive(Clone)]
struct Bound {
    submit: SubmitFn,
    commit: Option<unsafe extern "C" fn(*mut abi::Queue)>,
    event: Option<unsafe extern "C" fn(*mut abi::Queue, *const abi::Event)>,
    timer: Option<unsafe extern "C" fn(*mut abi::Queue, u32)>,
    queue: *mut abi::Queue,
}

/// Which frontend a slot answers to.
#[derive(Clone, Copy, Debug)]
struct SlotUser {
    frontend: FrontendId,
    /// Operations in flight for the request.
    ops: u32,
    cookie: u64,
    /// The driver has completed the request although operations of it are in flight: it is kept from
    /// its frontend until they have ended, because they may still touch its data.
    late: Option<i32>,
}

/// A completion that arrived while the port was held for adoption.
#[derive(Clone, Copy, Debug)]
struct Deferred {
    entry: OpEntry,
    id: u32,
    result: i64,
}

/// Plain counters of one lane.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_written: u64,
    pub(crate) held: u64,
}

impl Counters {
    #[inline]
    fn count(&mut self, op: u16, length: u64, result: i32) {
        self.requests += 1;
        match op {
            _ if result < 0 => self.errors += 1,
            block_op::READ => self.bytes_read += length,
            block_op::WRITE => self.bytes_written += length,
            _ => {}
        }
    }
}

pub(crate) struct Lane {
    core: NonNull<Core>,
    pub(crate) id: LaneId,
    /// Number of this queue within the port.
    pub(crate) index: usize,
    pub(crate) port: Arc<Port>,
    /// Addresses within the port's slot memory for this queue, at hand.
    slot_base: *mut u8,
    pdu_base: *mut u8,
    data_base: *mut u8,
    data_stride: usize,
    pub(crate) gate: Gate,
    pub(crate) slots: Slots,
    /// Grows to the highest tag in use; there is room for all.
    users: Vec<SlotUser>,
    bound: Option<Bound>,
    instance: Option<Arc<Instance>>,
    pub(crate) counters: Counters,
    /// Drivers may issue operations: not while the transaction runs.
    may_issue: bool,
    /// This lane has arrived at the rendezvous.
    sealed: bool,
    /// Completions wait for the new driver instead of going to the old one.
    deferring: bool,
    deferred: Vec<Deferred>,
    pub(crate) ops_in_flight: u32,
    pub(crate) port_ops: u32,
    commit_due: bool,
    timers: [u32; abi::TIMERS as usize],
    pub(crate) waiting: VecDeque<FrontendId>,
    pub(crate) job: Option<Arc<Job>>,
    /// The port is being taken away: nothing new is accepted.
    pub(crate) gone: bool,
    /// Places in the table of operations that were made for this lane.
    pub(crate) ops_room: u32,
}

const NO_OP: u32 = u32::MAX;

impl Lane {
    /// A lane with no driver, closed.
    pub(crate) fn new(core: NonNull<Core>, port: Arc<Port>, index: usize, ops: u32) -> Box<Lane> {
        let memory = &port.memory[index];
        let (count, data_stride) = (memory.count, memory.data_stride);
        let (slot_base, pdu_base, data_base) = (memory.slots(), memory.pdus(), memory.data());
        Box::new(Lane {
            core,
            id: LaneId(port.id.0),
            index,
            slot_base,
            pdu_base,
            data_base,
            data_stride,
            gate: Gate::default(),
            slots: Slots::new(count),
            users: Vec::with_capacity(count as usize),
            bound: None,
            instance: None,
            counters: Counters::default(),
            may_issue: false,
            sealed: false,
            deferring: false,
            deferred: Vec::with_capacity(ops as usize),
            ops_in_flight: 0,
            port_ops: 0,
            commit_due: false,
            timers: [NO_OP; abi::TIMERS as usize],
            waiting: VecDeque::new(),
            job: None,
            gone: false,
            ops_room: ops,
            port,
        })
    }

    #[inline]
    fn set_user(&mut self, tag: Tag, user: SlotUser) {
        match self.users.get_mut(tag.0 as usize) {
            Some(place) => *place = user,
            None => self.users.resize(tag.0 as usize + 1, user),
        }
    }

    #[inline]
    fn slot(&self, tag: Tag) -> *mut abi::Request {
        self.slot_base.wrapping_add(tag.0 as usize * SLOT_STRIDE).cast()
    }

    #[inline]
    pub(crate) fn data(&self, tag: Tag) -> *mut u8 {
        self.data_base.wrapping_add(tag.0 as usize * self.data_stride)
    }

    pub(crate) fn pdu(&self, tag: u32) -> *mut u8 {
        self.pdu_base.wrapping_add(tag as usize * PDU_STRIDE)
    }

    pub(crate) fn data_size(&self) -> u32 {
        self.port.memory[self.index].data_size
    }

    /// A request from a frontend: into the driver, or held.
    ///
    /// # Safety
    /// `lane` is this thread's, and nobody is inside its driver on this queue.
    #[inline]
    pub(crate) unsafe fn submit(
        lane: *mut Lane,
        tag: Tag,
        frontend: FrontendId,
        cookie: u64,
        req: &BlockRequest,
        submitted_ns: u64,
    ) {
        // SAFETY: rules 1 and 2: this thread's lane, and no reference outlives its statement. The
        // slot is the frontend's, and so nobody else reads or writes its header now.
        unsafe {
            debug_assert_eq!((*lane).slots.owner(tag), Owner::Reserved);
            (*lane).set_user(tag, SlotUser { frontend, ops: 0, cookie, late: None });
            let slot = (*lane).slot(tag);
            (*slot).tag = tag.0;
            (*slot).device = req.device;
            (*slot).op = req.op;
            (*slot).flags = req.flags;
            (*slot).serial = (*slot).serial.wrapping_add(1);
            (*slot).offset = req.offset;
            (*slot).length = req.length;
            (*slot).submitted_ns = submitted_ns;
            if (*lane).gate.is_open() {
                if (*lane).slots.issue(tag).is_ok() {
                    Lane::enter(lane, tag, slot);
                }
            } else {
                Lane::hold(lane, tag);
            }
        }
    }

    /// # Safety
    /// As for `submit`.
    #[cold]
    unsafe fn hold(lane: *mut Lane, tag: Tag) {
        // SAFETY: as for `submit`.
        unsafe {
            if (*lane).gone {
                if (*lane).slots.issue(tag).is_ok() {
                    Lane::finish(lane, tag, -libc::ENODEV);
                }
                return;
            }
            let now = crate::core::now_ns();
            if (*lane).slots.hold(tag, now).is_ok() {
                (*lane).counters.held += 1;
            }
        }
    }

    /// # Safety
    /// As for `submit`; the slot is the driver's.
    #[inline]
    unsafe fn enter(lane: *mut Lane, tag: Tag, slot: *mut abi::Request) {
        // SAFETY: as for `submit`; entry points and the queue's structure live as long as the bound
        // instance, which the lane keeps.
        unsafe {
            let Some(bound) = &(*lane).bound else {
                Lane::finish(lane, tag, -libc::ENODEV);
                return;
            };
            let (submit, queue, gathers) = (bound.submit, bound.queue, bound.commit.is_some());
            (*lane).gate.enter(Entry::Submit);
            let result = submit(queue, slot);
            (*lane).gate.leave(Entry::Submit);
            if result != abi::PENDING {
                if !Lane::finish(lane, tag, result) {
                    Lane::blame(lane, tag.0);
                }
            } else if gathers && !(*lane).commit_due {
                (*lane).commit_due = true;
                (*(*lane).core.as_ptr()).commits.push(NonNull::new_unchecked(lane));
            }
        }
    }

    /// Takes a request back from the driver and puts it on the way to its frontend.
    ///
    /// # Safety
    /// As for `submit`, but the driver may be inside.
    #[inline]
    unsafe fn finish(lane: *mut Lane, tag: Tag, result: i32) -> bool {
        // SAFETY: rules 1 and 2.
        unsafe {
            let users = &mut (*lane).users;
            match users.get_mut(tag.0 as usize) {
                Some(user) if user.ops > 0 => return Lane::finish_late(lane, tag, result),
                _ => {}
            }
            if (*lane).slots.complete(tag).is_err() {
                return false;
            }
            let slot = (*lane).slot(tag);
            (*lane).counters.count((*slot).op, (*slot).length, result);
            let user = (&(*lane).users)[tag.0 as usize];
            let done = Done { frontend: user.frontend, lane: (*lane).id, tag, cookie: user.cookie, result };
            (*(*lane).core.as_ptr()).done.push(done);
            true
        }
    }

    /// [`abi::ShellOps::complete`].
    ///
    /// # Safety
    /// As for `finish`.
    pub(crate) unsafe fn complete(lane: *mut Lane, tag: u32, result: i32) -> i32 {
        // SAFETY: rules 1 and 2; `may_issue` by rule 3.
        unsafe {
            if !(*lane).may_issue {
                return -libc::EPERM;
            }
            if result != abi::PENDING && Lane::finish(lane, Tag(tag), result) {
                return 0;
            }
            Lane::blame(lane, tag);
            -libc::EINVAL
        }
    }

    /// The driver completed a request that it does not own.
    ///
    /// # Safety
    /// As for `finish`.
    #[cold]
    unsafe fn blame(lane: *mut Lane, tag: u32) {
        // SAFETY: rules 1 and 2.
        unsafe {
            if let Some(instance) = &(*lane).instance {
                fault(instance, &format!("completed request {tag}, which is not the driver's"));
            }
        }
    }

    /// The driver completed a request that has operations in flight.
    ///
    /// # Safety
    /// As for `finish`.
    #[cold]
    unsafe fn finish_late(lane: *mut Lane, tag: Tag, result: i32) -> bool {
        // SAFETY: rules 1 and 2.
        unsafe {
            let user = &mut (&mut (*lane).users)[tag.0 as usize];
            if user.late.is_some() || (*lane).slots.owner(tag) != Owner::Issued {
                return false;
            }
            user.late = Some(result);
            if let Some(instance) = &(*lane).instance {
                let what = format!("completed request {} while operations of it are in flight", tag.0);
                fault(instance, &what);
            }
            true
        }
    }

    /// [`abi::ShellOps::issue`].
    ///
    /// # Safety
    /// As for `finish`; `op.segs` points to `op.seg_count` segments.
    pub(crate) unsafe fn issue(lane: *mut Lane, op: &abi::Op) -> i32 {
        // SAFETY: rules 1 and 2; `may_issue` by rule 3. What segments point to is checked to lie in
        // the shell's memory, which outlives the operation: slots, PDUs and regions stay as long as
        // the lane has operations in flight.
        unsafe {
            if !(*lane).may_issue {
                return -libc::EPERM;
            }
            let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; abi::MAX_SEGS];
            let parts = match (*lane).resolve(op, &mut parts) {
                Ok(n) => &parts[..n],
                Err(errno) => return -errno,
            };
            let fixed = match (*lane).fixed_file(op) {
                Ok(fixed) => fixed,
                Err(errno) => return -errno,
            };
            let core = (*lane).core.as_ptr();
            let entry = OpEntry {
                lane: NonNull::new_unchecked(lane),
                kind: OpKind::Driver,
                code: op.code,
                tag: op.tag,
                cookie: op.cookie,
            };
            let Some(id) = (*core).ops.insert(entry) else { return -libc::EAGAIN };
            let slow = if op.code == op::WRITE { (*lane).slow_file(op.handle) } else { None };
            let pushed = if let Some(file) = slow {
                if parts.is_empty() {
                    Err(libc::EINVAL)
                } else {
                    let alone = (*core).ports == 1;
                    (*core).writer.write(id, op, parts, &file, alone);
                    Ok(())
                }
            } else if op.code == op::EXTENTS {
                Lane::issue_extents(lane, op, parts, id)
            } else {
                Lane::push(core, op, parts, types::Fixed(fixed), id)
            };
            if let Err(errno) = pushed {
                (*core).ops.remove(id);
                return -errno;
            }
            (*lane).ops_in_flight += 1;
            if op.tag == abi::NO_TAG {
                (*lane).port_ops += 1;
            } else {
                (&mut (*lane).users)[op.tag as usize].ops += 1;
            }
            id as i32
        }
    }

    /// Builds the submission and queues it.
    ///
    /// # Safety
    /// `core` is this thread's; `parts` are checked.
    unsafe fn push(
        core: *mut Core,
        op: &abi::Op,
        parts: &[libc::iovec],
        file: types::Fixed,
        id: u32,
    ) -> Result<(), i32> {
        let single = |f: fn(types::Fixed, *mut u8, u32) -> io_uring::squeue::Entry| match parts {
            [one] => Ok(f(file, one.iov_base.cast(), u32::try_from(one.iov_len).map_err(|_| libc::EINVAL)?)),
            _ => Err(libc::EINVAL),
        };
        let rw_flags = if op.flags & op_flag::FUA != 0 { libc::RWF_DSYNC } else { 0 };
        // SAFETY: rule 2 for `core`; memory as checked by the caller.
        let entry = unsafe {
            match (op.code, parts) {
                (op::NOP, _) => opcode::Nop::new().build(),
                (op::READ, [one]) => {
                    let len = u32::try_from(one.iov_len).map_err(|_| libc::EINVAL)?;
                    opcode::Read::new(file, one.iov_base.cast(), len).offset(op.offset).build()
                }
                (op::WRITE, [one]) => {
                    let len = u32::try_from(one.iov_len).map_err(|_| libc::EINVAL)?;
                    let write = opcode::Write::new(file, one.iov_base.cast(), len).offset(op.offset);
                    write.rw_flags(rw_flags).build()
                }
                (op::READ, [_, ..]) => {
                    let (v, n) = (*core).vectors(parts);
                    opcode::Readv::new(file, v, n).offset(op.offset).build()
                }
                (op::WRITE, [_, ..]) => {
                    let (v, n) = (*core).vectors(parts);
                    opcode::Writev::new(file, v, n).offset(op.offset).rw_flags(rw_flags).build()
                }
                (op::FSYNC, _) => opcode::Fsync::new(file).build(),
                (op::FDATASYNC, _) => opcode::Fsync::new(file).flags(types::FsyncFlags::DATASYNC).build(),
                (op::FALLOCATE, _) => {
                    let mode = i32::try_from(op.arg).map_err(|_| libc::EINVAL)?;
                    opcode::Fallocate::new(file, op.length).offset(op.offset).mode(mode).build()
                }
                (op::SEND, _) => single(|f, p, n| opcode::Send::new(f, p, n).build())?,
                (op::RECV, _) => single(|f, p, n| opcode::Recv::new(f, p, n).build())?,
                (op::POLL, _) => {
                    let mask = u32::try_from(op.arg).map_err(|_| libc::EINVAL)?;
                    opcode::PollAdd::new(file, mask).build()
                }
                (op::TIMEOUT, _) => opcode::Timeout::new((*core).timespec(op.offset)).build(),
                (op::READ | op::WRITE, []) => return Err(libc::EINVAL),
                (op::NVME, _) => return Err(libc::EOPNOTSUPP),
                _ => return Err(libc::EINVAL),
            }
        };
        // SAFETY: rule 2 for `core`; memory as checked by the caller.
        unsafe { (*core).push(&entry.user_data(user_data(kind::OP, u64::from(id)))) };
        Ok(())
    }

    /// EXTENTS: the ring has no such operation, and the calls can sleep, so a helper thread asks.
    ///
    /// # Safety
    /// As for `issue`.
    unsafe fn issue_extents(
        lane: *mut Lane,
        op: &abi::Op,
        parts: &[libc::iovec],
        id: u32,
    ) -> Result<(), i32> {
        let [one] = parts else { return Err(libc::EINVAL) };
        // SAFETY: rules 1 and 2.
        let (port, index, core) = unsafe { ((*lane).port.clone(), (*lane).index, (*lane).core.as_ptr()) };
        let (offset, length, handle) = (op.offset, op.length, op.handle);
        let (base, room) = (one.iov_base as usize, one.iov_len);
        let remote = port.remotes[index].clone();
        let job = Box::new(move || {
            let result = crate::extents::ask(&port, handle, offset, length, base, room);
            remote.post(Box::new(move |rt| rt.op_completed(id, result)));
        });
        // SAFETY: rule 2 for `core`.
        unsafe { (*core).blocking.send(job) }.map_err(|_| libc::EIO)
    }

    fn slow_file(&self, handle: u32) -> Option<Arc<OwnedFd>> {
        let tables = self.instance.as_ref()?.tables.get()?;
        tables.slow.get(handle as usize)?.clone()
    }

    fn fixed_file(&self, op: &abi::Op) -> Result<u32, i32> {
        if matches!(op.code, op::NOP | op::TIMEOUT) {
            return Ok(0);
        }
        let tables = self.instance.as_ref().and_then(|i| i.tables.get()).ok_or(libc::EBADF)?;
        match tables.files.get(op.handle as usize) {
            Some(fixed) if *fixed != u32::MAX => Ok(*fixed),
            _ => Err(libc::EBADF),
        }
    }

    /// Turns segments into addresses, checking that each lies in memory that the driver may use.
    ///
    /// # Safety
    /// `op.segs` points to `op.seg_count` segments, or is null.
    unsafe fn resolve(&self, op: &abi::Op, parts: &mut [libc::iovec; abi::MAX_SEGS]) -> Result<usize, i32> {
        if op.tag != abi::NO_TAG && self.slots.owner(Tag(op.tag)) != Owner::Issued {
            return Err(libc::EINVAL);
        }
        let count = op.seg_count as usize;
        if count > abi::MAX_SEGS || (count > 0 && op.segs.is_null()) {
            return Err(libc::EINVAL);
        }
        for (i, part) in parts.iter_mut().enumerate().take(count) {
            // SAFETY: as promised, `count` segments are readable.
            let seg = unsafe { op.segs.add(i).read() };
            let (base, size) = self.locate(&seg)?;
            let end = seg.offset.checked_add(seg.length).ok_or(libc::EFAULT)?;
            if seg.length == 0 || end > size {
                return Err(libc::EFAULT);
            }
            let address = base.wrapping_add(seg.offset as usize);
            *part = libc::iovec { iov_base: address.cast(), iov_len: seg.length as usize };
        }
        Ok(count)
    }

    fn locate(&self, seg: &abi::Seg) -> Result<(*mut u8, u64), i32> {
        match seg.memory {
            memory::DATA | memory::PDU => {
                if self.slots.owner(Tag(seg.index)) != Owner::Issued {
                    return Err(libc::EFAULT);
                }
                Ok(if seg.memory == memory::DATA {
                    (self.data(Tag(seg.index)), u64::from(self.data_size()))
                } else {
                    (self.pdu(seg.index), PDU_STRIDE as u64)
                })
            }
            memory::REGION => {
                let tables = self.instance.as_ref().and_then(|i| i.tables.get()).ok_or(libc::EFAULT)?;
                let (base, size) = *tables.regions.get(seg.index as usize).ok_or(libc::EFAULT)?;
                Ok((ptr::with_exposed_provenance_mut(base), size))
            }
            _ => Err(libc::EINVAL),
        }
    }

    /// [`abi::ShellOps::cancel`].
    ///
    /// # Safety
    /// As for `finish`.
    pub(crate) unsafe fn cancel(lane: *mut Lane, id: u32) -> i32 {
        // SAFETY: rules 1 and 2.
        unsafe {
            let core = (*lane).core.as_ptr();
            match (*core).ops.get(id) {
                Some(entry) if entry.lane.as_ptr() == lane && entry.kind == OpKind::Driver => {}
                _ => return -libc::ENOENT,
            }
            let target = user_data(kind::OP, u64::from(id));
            let entry = opcode::AsyncCancel::new(target).build().user_data(user_data(kind::IGNORE, 0));
            (*core).push(&entry);
            0
        }
    }

    /// [`abi::ShellOps::timer`].
    ///
    /// # Safety
    /// As for `finish`.
    pub(crate) unsafe fn timer(lane: *mut Lane, id: u32, ns: u64) -> i32 {
        // SAFETY: rules 1 and 2; `may_issue` by rule 3.
        unsafe {
            if !(*lane).may_issue {
                return -libc::EPERM;
            }
            let core = (*lane).core.as_ptr();
            let Some(place) = (*lane).timers.get_mut(id as usize) else { return -libc::EINVAL };
            let old = std::mem::replace(place, NO_OP);
            if let Some(entry) = (*core).ops.get_mut(old) {
                entry.kind = OpKind::Dropped;
                let remove = opcode::TimeoutRemove::new(user_data(kind::OP, u64::from(old)));
                (*core).push(&remove.build().user_data(user_data(kind::IGNORE, 0)));
            }
            if ns == 0 {
                return 0;
            }
            let entry = OpEntry {
                lane: NonNull::new_unchecked(lane),
                kind: OpKind::Timer(id),
                code: op::TIMEOUT,
                tag: abi::NO_TAG,
                cookie: 0,
            };
            let Some(op) = (*core).ops.insert(entry) else { return -libc::EAGAIN };
            (&mut (*lane).timers)[id as usize] = op;
            let time = (*core).timespec(ns);
            let entry = opcode::Timeout::new(time).build().user_data(user_data(kind::OP, u64::from(op)));
            (*core).push(&entry);
            0
        }
    }

    /// The completion of operation `id`, already taken out of the table.
    ///
    /// # Safety
    /// As for `submit`.
    pub(crate) unsafe fn op_completed(lane: *mut Lane, entry: OpEntry, id: u32, result: i64) {
        // SAFETY: rules 1 and 2.
        unsafe {
            if entry.kind == OpKind::Driver {
                (*lane).ops_in_flight -= 1;
                if entry.tag == abi::NO_TAG {
                    (*lane).port_ops -= 1;
                } else if Lane::op_of_request_ended(lane, Tag(entry.tag)) {
                    return;
                }
            }
            if (*lane).deferring {
                (*lane).deferred.push(Deferred { entry, id, result });
            } else {
                Lane::deliver(lane, entry, id, result);
            }
        }
    }

    /// True when the driver had given the request up before: then it has no use for the event.
    ///
    /// # Safety
    /// As for `submit`.
    #[inline]
    unsafe fn op_of_request_ended(lane: *mut Lane, tag: Tag) -> bool {
        // SAFETY: rules 1 and 2.
        unsafe {
            let user = &mut (&mut (*lane).users)[tag.0 as usize];
            user.ops -= 1;
            let Some(result) = user.late else { return false };
            if user.ops == 0 {
                Lane::finish(lane, tag, result);
            }
            true
        }
    }

    /// # Safety
    /// As for `submit`.
    unsafe fn deliver(lane: *mut Lane, entry: OpEntry, id: u32, result: i64) {
        // SAFETY: rules 1 and 2; entry points and structures live as long as the bound instance.
        unsafe {
            let Some(bound) = (*lane).bound.clone() else { return };
            match entry.kind {
                OpKind::Dropped => {}
                OpKind::Timer(timer) => {
                    if (&(*lane).timers)[timer as usize] == id {
                        (&mut (*lane).timers)[timer as usize] = NO_OP;
                    }
                    if let Some(call) = bound.timer {
                        (*lane).gate.enter(Entry::Timer);
                        call(bound.queue, timer);
                        (*lane).gate.leave(Entry::Timer);
                    }
                }
                OpKind::Driver => {
                    let tagged = entry.tag != abi::NO_TAG;
                    let event = abi::Event {
                        size: size_of::<abi::Event>() as u32,
                        code: entry.code,
                        flags: 0,
                        tag: entry.tag,
                        id,
                        cookie: entry.cookie,
                        result,
                        request: if tagged { (*lane).slot(Tag(entry.tag)) } else { ptr::null_mut() },
                    };
                    if let Some(call) = bound.event {
                        (*lane).gate.enter(Entry::Event);
                        call(bound.queue, &event);
                        (*lane).gate.leave(Entry::Event);
                    }
                }
            }
            // A driver may gather on events as well (a request that goes on); one commit ends both.
            if bound.commit.is_some() && !(*lane).commit_due {
                (*lane).commit_due = true;
                (*(*lane).core.as_ptr()).commits.push(NonNull::new_unchecked(lane));
            }
        }
    }

    /// Tells a gathering driver that the batch is over.
    ///
    /// # Safety
    /// As for `submit`.
    pub(crate) unsafe fn commit(lane: *mut Lane) {
        // SAFETY: rules 1 and 2.
        unsafe {
            if !std::mem::take(&mut (*lane).commit_due) {
                return;
            }
            let Some(bound) = &(*lane).bound else { return };
            let (commit, queue) = (bound.commit, bound.queue);
            if let Some(commit) = commit {
                (*lane).gate.enter(Entry::Commit);
                commit(queue);
                (*lane).gate.leave(Entry::Commit);
            }
        }
    }

    /// start_update: new requests are held from now on. With `defer`, completions too.
    ///
    /// # Safety
    /// As for `submit`.
    pub(crate) unsafe fn close(lane: *mut Lane, defer: bool) {
        // SAFETY: rules 1 and 2.
        unsafe {
            Lane::commit(lane);
            (*lane).gate.close();
            (*lane).sealed = false;
            (*lane).deferring = defer;
        }
    }

    /// The last thing before the rendezvous: whatever the driver does from now on, it does not reach
    /// the ring.
    pub(crate) fn seal(&mut self) {
        self.sealed = true;
        self.may_issue = false;
        self.deferring = true;
    }

    /// Whether this lane has arrived at the rendezvous.
    pub(crate) fn arrived(&self) -> bool {
        self.sealed
    }

    /// Ends every timer: the driver is gone.
    ///
    /// # Safety
    /// As for `submit`.
    pub(crate) unsafe fn stop_timers(lane: *mut Lane) {
        // SAFETY: rules 1 and 2.
        unsafe {
            let core = (*lane).core.as_ptr();
            let ids: Vec<u32> = (*core).ops.of_lane(NonNull::new_unchecked(lane)).collect();
            for id in ids {
                let target = user_data(kind::OP, u64::from(id));
                let entry = opcode::AsyncCancel::new(target).build().user_data(user_data(kind::IGNORE, 0));
                (*core).push(&entry);
            }
        }
    }

    /// Asks port operations (those of no request) to end, so that a port can be drained.
    ///
    /// # Safety
    /// As for `submit`.
    pub(crate) unsafe fn cancel_port_ops(lane: *mut Lane) {
        // SAFETY: rules 1 and 2.
        unsafe {
            if (*lane).port_ops == 0 {
                return;
            }
            let core = (*lane).core.as_ptr();
            let ids: Vec<u32> = (*core).ops.of_lane(NonNull::new_unchecked(lane)).collect();
            for id in ids {
                if (*core).ops.get(id).is_some_and(|e| e.tag == abi::NO_TAG && e.kind == OpKind::Driver) {
                    Lane::cancel(lane, id);
                }
            }
        }
    }

    /// Requests and operations that the driver must finish before it can let go.
    pub(crate) fn busy(&self) -> u32 {
        self.slots.issued() + self.ops_in_flight
    }

    /// Puts a driver's entry points in place; `None` leaves the lane without a driver.
    pub(crate) fn install(&mut self, instance: Option<Arc<Instance>>) {
        self.bound = instance.as_ref().and_then(|i| {
            let (table, block) = (i.module.driver(), i.module.block());
            Some(Bound {
                submit: block.submit?,
                commit: block.commit,
                event: table.event,
                timer: table.timer,
                queue: i.queue(self.index),
            })
        });
        self.instance = instance;
    }

    /// finish_update or cancel_update: opens the gate and lets in what waited, in order. Returns the
    /// longest time that a held request waited, nanoseconds, and how many there were.
    ///
    /// # Safety
    /// As for `submit`.
    pub(crate) unsafe fn open(lane: *mut Lane, run: bool) -> (u64, u32) {
        // SAFETY: rules 1 and 2; entry points live as long as the bound instance.
        unsafe {
            (*lane).gate.open();
            (*lane).may_issue = true;
            (*lane).deferring = false;
            if run {
                let instance = (*lane).instance.clone();
                if let (Some(bound), Some(i)) = ((*lane).bound.clone(), instance)
                    && let Some(queue_run) = i.module.driver().queue_run
                {
                    queue_run(bound.queue);
                }
            }
            // Taken out and put back, so that the room stays allocated.
            let mut waited = std::mem::take(&mut (*lane).deferred);
            for d in waited.drain(..) {
                Lane::deliver(lane, d.entry, d.id, d.result);
            }
            (*lane).deferred = waited;
            let (mut longest, mut count) = (0, 0);
            while let Some((tag, since)) = (*lane).slots.unhold() {
                longest = longest.max(crate::core::now_ns().saturating_sub(since));
                count += 1;
                let slot = (*lane).slot(tag);
                Lane::enter(lane, tag, slot);
            }
            (longest, count)
        }
    }

    /// Gives held requests back with an error: the port is going away.
    ///
    /// # Safety
    /// As for `submit`.
    pub(crate) unsafe fn fail_held(lane: *mut Lane, result: i32) {
        // SAFETY: rules 1 and 2.
        unsafe {
            while let Some((tag, _)) = (*lane).slots.unhold() {
                Lane::finish(lane, tag, result);
            }
        }
    }

    /// Saves the PDU of every request in flight, for adoption and for going back.
    pub(crate) fn save_pdus(&self, size: usize, tags: &mut Vec<u32>, bytes: &mut Vec<u8>) {
        tags.clear();
        bytes.clear();
        let given_up = |tag: &Tag| self.users.get(tag.0 as usize).is_some_and(|u| u.late.is_some());
        for tag in self.slots.issued_tags().filter(|t| !given_up(t)) {
            tags.push(tag.0);
            // SAFETY: a PDU of this lane; its driver is not inside.
            let pdu = unsafe { std::slice::from_raw_parts(self.pdu(tag.0), size.min(PDU_STRIDE)) };
            bytes.extend_from_slice(pdu);
        }
    }
}

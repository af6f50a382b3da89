//! Operations that the driver issues: checked, put on the ring, and their completions delivered.

#![allow(unsafe_code)] // the rules are in the module above

use super::{Bound, Deferred, Lane, NO_OP};
use crate::change::pause_calls::Step;
use crate::clock::now_ns;
use crate::driver::background_calls::Work;
use crate::helpers::Desks;
use crate::ids::Tag;
use crate::lane::core::Core;
use crate::lane::in_flight::{NO_SYNC, NOTHING, OpEntry, OpKind, STOPPED_TIMERS, TIMER_ROOM};
use crate::ring::{kind, user_data};
use io_uring::{opcode, types};
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use steadfast_abi as abi;
use steadfast_abi::op;
use steadfast_shell::gate::Entry;

impl Lane {
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
            // Asked to end its port operations so that it can let go, a driver must not start others.
            if op.tag == abi::NO_TAG
                && !(*lane).gate.is_open()
                && (*lane).away != Some(Step::Run)
                && !(*lane).reopens()
            {
                return -libc::ESHUTDOWN;
            }
            // The table is shared by the ports of this queue: each keeps to its own share.
            if (*lane).ops_in_flight >= (*lane).ops_room - TIMER_ROOM {
                return -libc::EAGAIN;
            }
            let (code, tame) = (op.code, (*lane).tame(op));
            let op = match &tame {
                None => op,
                Some(Ok(tame)) => tame,
                Some(Err(errno)) => return -errno,
            };
            // Not cleared: as much of it is read as was written.
            let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; abi::MAX_SEGS];
            let resolved = match (*lane).resolve(op, &mut parts) {
                Ok(resolved) => resolved,
                Err(errno) => {
                    if errno == libc::EFAULT {
                        (*lane).blame_for_memory(op);
                    }
                    return -errno;
                }
            };
            let (parts, names_others) = (resolved.parts, resolved.names_others);
            if !(*lane).may_use(op) {
                return if is_reserved(op.code) { -libc::EOPNOTSUPP } else { -libc::EBADF };
            }
            let (fixed, stack) = match (*lane).fixed_file(op) {
                Ok(fixed) => (fixed, None),
                Err(errno) => match (*lane).stack_of(op.handle) {
                    Some(stack) => (0, Some(stack)),
                    None if is_reserved(op.code) => return -libc::EOPNOTSUPP,
                    None => return -errno,
                },
            };
            let core = (*lane).core.as_ptr();
            let sync = match (*lane).begin_sync(op) {
                Ok(sync) => sync,
                Err(errno) => return -errno,
            };
            let entry = OpEntry {
                lane: NonNull::new_unchecked(lane),
                kind: OpKind::Driver,
                code,
                sync,
                named: NOTHING,
                tag: op.tag,
                cookie: op.cookie,
            };
            let Some(id) = (*core).ops.insert(entry) else {
                (*lane).syncs.end(sync);
                return -libc::EAGAIN;
            };
            let pushed = if let Some(stack) = stack {
                Lane::issue_stacked(lane, op, parts, stack, id)
            } else if let Some(desks) = (*lane).file_of(op) {
                let index = (*lane).index;
                (*core).on_file(id, op, parts, (&desks, index), fixed)
            } else {
                Lane::push(core, op, parts, types::Fixed(fixed), id)
            };
            if let Err(errno) = pushed {
                (*core).ops.remove(id);
                (*lane).syncs.end(sync);
                return -errno;
            }
            (*lane).ops_in_flight += 1;
            if op.tag == abi::NO_TAG {
                (*lane).port_ops += 1;
            } else {
                let user = &mut (&mut (*lane).users)[op.tag as usize];
                user.ops += 1;
                user.waits += u32::from(only_waits(code));
            }
            if names_others {
                Lane::count_for_others(lane, op, id);
            }
            id as i32
        }
    }

    /// What becomes of an operation of a candidate on trial; `None`: the driver is none.
    #[inline]
    fn tame(&self, op: &abi::Op) -> Option<Result<abi::Op, i32>> {
        self.shadow.as_ref().map(|trial| trial.tame(op))
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
        let message_flags = || i32::try_from(op.arg).map_err(|_| libc::EINVAL);
        let single = |f: fn(types::Fixed, *mut u8, u32, i32) -> io_uring::squeue::Entry| match parts {
            [one] => Ok(f(
                file,
                one.iov_base.cast(),
                u32::try_from(one.iov_len).map_err(|_| libc::EINVAL)?,
                message_flags()?,
            )),
            _ => Err(libc::EINVAL),
        };
        // SAFETY: rule 2 for `core`; memory as checked by the caller.
        let entry = unsafe {
            match op.code {
                op::NOP => opcode::Nop::new().build(),
                op::SEND => single(|f, p, n, flags| opcode::Send::new(f, p, n).flags(flags).build())?,
                op::RECV => single(|f, p, n, flags| opcode::Recv::new(f, p, n).flags(flags).build())?,
                op::POLL => {
                    let mask = u32::try_from(op.arg).map_err(|_| libc::EINVAL)?;
                    opcode::PollAdd::new(file, mask).build()
                }
                op::TIMEOUT => opcode::Timeout::new((*core).timespec(op.offset)).build(),
                code if is_reserved(code) => return Err(libc::EOPNOTSUPP),
                _ => return Err(libc::EINVAL),
            }
        };
        // SAFETY: rule 2 for `core`; memory as checked by the caller.
        unsafe { (*core).push(&entry.user_data(user_data(kind::OP, u64::from(id)))) };
        Ok(())
    }

    /// The file that an operation is on, where it is one that may sleep.
    #[inline]
    fn file_of(&self, op: &abi::Op) -> Option<Arc<Desks>> {
        if !matches!(op.code, op::READ | op::WRITE | op::FSYNC | op::FDATASYNC | op::FALLOCATE | op::EXTENTS)
        {
            return None;
        }
        self.instance.as_ref()?.tables.get()?.desks.get(op.handle as usize)?.clone()
    }

    /// The operation needs no handle, or one that the driver has opened or found.
    #[inline]
    fn may_use(&self, op: &abi::Op) -> bool {
        if matches!(op.code, op::NOP | op::TIMEOUT) {
            return true;
        }
        let own = || self.instance.as_ref()?.tables.get()?.own.get(op.handle as usize);
        own().is_some_and(|own| own.load(Ordering::Relaxed))
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

    /// [`abi::ShellOps::cancel`].
    ///
    /// # Safety
    /// As for `finish`.
    pub(crate) unsafe fn cancel(lane: *mut Lane, id: u32) -> i32 {
        // SAFETY: rules 1 and 2; `may_issue` by rule 3: the ring is this lane's own thread's.
        unsafe {
            if !(*lane).may_issue {
                return -libc::EPERM;
            }
            let core = (*lane).core.as_ptr();
            match (*core).ops.get(id) {
                Some(entry) if entry.lane.as_ptr() == lane && entry.kind == OpKind::Driver => {}
                _ => return -libc::ENOENT,
            }
            Lane::end_operation(lane, id);
            0
        }
    }

    /// Asks an operation of the lane to end.
    ///
    /// # Safety
    /// As for `finish`.
    pub(super) unsafe fn end_operation(lane: *mut Lane, id: u32) {
        // SAFETY: rules 1 and 2.
        unsafe {
            let core = (*lane).core.as_ptr();
            if (*lane).has_devices() {
                (*core).stacked.cancel(id);
            }
            (*core).fileio.call_off(id);
            let target = user_data(kind::OP, u64::from(id));
            let entry = opcode::AsyncCancel::new(target).build().user_data(user_data(kind::IGNORE, 0));
            (*core).push(&entry);
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
            let Some(old) = (*lane).timers.get(id as usize).copied() else { return -libc::EINVAL };
            if old != NO_OP && (*lane).stopped_timers == STOPPED_TIMERS {
                return -libc::EAGAIN;
            }
            (&mut (*lane).timers)[id as usize] = NO_OP;
            // It may have run out while the port was held, and wait to be delivered.
            for d in &mut (*lane).deferred {
                if d.entry.kind == OpKind::Timer(id) {
                    d.entry.kind = OpKind::Dropped;
                }
            }
            if let Some(entry) = (*core).ops.get_mut(old) {
                entry.kind = OpKind::Dropped;
                (*lane).stopped_timers += 1;
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
                sync: NO_SYNC,
                named: NOTHING,
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
    pub(crate) unsafe fn op_completed(lane: *mut Lane, mut entry: OpEntry, id: u32, result: i64) {
        // SAFETY: rules 1 and 2.
        unsafe {
            if entry.named != NOTHING {
                Lane::others_go_on(lane, &mut entry);
            }
            let result =
                if entry.sync == NO_SYNC { result } else { (*lane).end_sync(entry.sync, entry.code, result) };
            match entry.kind {
                OpKind::Driver => {
                    (*lane).ops_in_flight -= 1;
                    if entry.tag == abi::NO_TAG {
                        (*lane).port_ops -= 1;
                    } else if Lane::op_of_request_ended(lane, Tag(entry.tag), entry.code) {
                        return;
                    }
                }
                // Its number is free from here on, and may be another operation's when it is delivered.
                OpKind::Timer(timer) => (&mut (*lane).timers)[timer as usize] = NO_OP,
                OpKind::Dropped => {
                    (*lane).stopped_timers -= 1;
                    return;
                }
                OpKind::Orphan | OpKind::Abandoned => return,
            }
            if (*lane).deferring {
                // Who set a timer that runs out while the port is down is gone for good.
                if !(*lane).down {
                    (*lane).deferred.push(Deferred { entry, id, result });
                }
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
    pub(super) unsafe fn op_of_request_ended(lane: *mut Lane, tag: Tag, code: u16) -> bool {
        // SAFETY: rules 1 and 2.
        unsafe {
            let user = &mut (&mut (*lane).users)[tag.0 as usize];
            user.ops -= 1;
            user.waits -= u32::from(only_waits(code));
            let Some(result) = user.late else { return false };
            if user.ops == 0 {
                Lane::end(lane, tag, result);
            }
            true
        }
    }

    /// # Safety
    /// As for `submit`.
    pub(super) unsafe fn deliver(lane: *mut Lane, entry: OpEntry, id: u32, result: i64) {
        // SAFETY: rules 1 and 2; entry points and structures live as long as the bound instance.
        unsafe {
            // Entry points and the queue's structure, copied: no reference into the lane is alive in a call.
            let Some(&Bound { event, event_answer, timer, commit, queue, .. }) = (*lane).bound.as_ref()
            else {
                return;
            };
            match entry.kind {
                OpKind::Dropped | OpKind::Orphan | OpKind::Abandoned => {}
                OpKind::Timer(id) => {
                    if let Some(call) = timer {
                        let begin = now_ns();
                        if !(*lane).times_here(begin) && Lane::send_out(lane, Work::Timer(id)) {
                            return;
                        }
                        Lane::go_in(lane, Entry::Timer);
                        call(queue, id);
                        Lane::come_out(lane, Entry::Timer);
                        (*lane).note_call(Entry::Timer, begin, now_ns().saturating_sub(begin));
                    }
                }
                OpKind::Driver => {
                    let tagged = entry.tag != abi::NO_TAG;
                    let report = abi::Event {
                        size: size_of::<abi::Event>() as u32,
                        code: entry.code,
                        flags: 0,
                        tag: entry.tag,
                        id,
                        cookie: entry.cookie,
                        result,
                        request: if tagged { (*lane).slot(Tag(entry.tag)) } else { ptr::null_mut() },
                    };
                    if let Some(call) = event_answer {
                        Lane::go_in(lane, Entry::Event);
                        let answer = call(queue, &report);
                        Lane::come_out(lane, Entry::Event);
                        if answer != abi::PENDING && !(tagged && Lane::finish(lane, Tag(entry.tag), answer)) {
                            Lane::blame(lane, entry.tag);
                        }
                    } else if let Some(call) = event {
                        Lane::go_in(lane, Entry::Event);
                        call(queue, &report);
                        Lane::come_out(lane, Entry::Event);
                    }
                }
            }
            // A driver may gather on events as well (a request that goes on); one commit ends both.
            if commit.is_some() && !(*lane).commit_due {
                (*lane).commit_due = true;
                (*(*lane).core.as_ptr()).commits.push(NonNull::new_unchecked(lane));
            }
        }
    }
}

/// Whether an operation does nothing but wait: its request has not been begun by it.
#[inline(always)]
const fn only_waits(code: u16) -> bool {
    matches!(code, op::TIMEOUT | op::NOP)
}

/// Whether an operation is one that the interface has and nobody carries out yet.
const fn is_reserved(code: u16) -> bool {
    matches!(code, op::NVME | op::CONNECT..=op::PATH)
}

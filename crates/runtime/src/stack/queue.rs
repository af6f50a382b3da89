//! One open device on one queue: operations in, requests to the lower port, results out.

#![allow(unsafe_code)] // copies between slots

use super::DeviceHandle;
use super::copy::{Direction, copy, put_extent, take_extents};
use crate::ids::{BlockRequest, FrontendId, LaneId, StackId, Tag};
use crate::lane::stacked_list::Stacked;
use crate::queue::Reactor;
use crate::queue::frontend::Frontend;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use steadfast_abi::{Extent, block_feature, block_flag, block_op};

/// An operation under way.
#[derive(Debug, Default)]
struct Work {
    id: u32,
    op: u16,
    flags: u16,
    offset: u64,
    length: u64,
    /// Most bytes of data in one request of it.
    most_data: u64,
    /// Bytes that requests were made for.
    begun: u64,
    in_flight: u32,
    /// A count, or the first error.
    result: i64,
    /// A flush comes behind it, because the device knows no FUA.
    flush_behind: bool,
    /// Bytes of the write in front of that flush.
    written: u64,
    parts: Vec<libc::iovec>,
}

/// One open device on one queue.
pub(crate) struct Stack {
    me: FrontendId,
    device: Arc<DeviceHandle>,
    lane: LaneId,
    /// Most bytes in one request.
    most: u64,
    /// The lower port is being taken away.
    gone: bool,
    closing: bool,
    works: Vec<Work>,
    free: Vec<u32>,
    /// Those that need a slot, in the order they came.
    waiting: VecDeque<u32>,
}

/// What the lower port's lane knows of a stack.
struct Shim(StackId);

impl Frontend for Shim {
    fn ring(&mut self, _: &mut Reactor, _: FrontendId, _: u32, _: i32, _: u32) {}

    fn completed(&mut self, rt: &mut Reactor, _: FrontendId, _: LaneId, tag: Tag, cookie: u64, result: i32) {
        rt.with_stack(self.0, |stack, rt| stack.completed(rt, tag, cookie, result));
    }

    fn slots_available(&mut self, rt: &mut Reactor, _: FrontendId) {
        rt.with_stack(self.0, Stack::go);
    }

    fn flush(&mut self, _: &mut Reactor, _: FrontendId) {}

    /// Goes when its handle is closed, which is when the upper port is detached.
    fn stop(&mut self, _: &mut Reactor, _: FrontendId) {}

    fn lane_gone(&mut self, rt: &mut Reactor, _: FrontendId, lane: LaneId) {
        rt.with_stack(self.0, |stack, rt| {
            if stack.lane == lane {
                stack.gone = true;
                stack.go(rt);
            }
        });
    }
}

impl Stack {
    /// Takes an operation in.
    pub(super) fn take(&mut self, rt: &mut Reactor, request: &Stacked, parts: &[libc::iovec]) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.works.push(Work::default());
            self.works.len() as u32 - 1
        });
        let block = self.device.claim.info.block_size.max(1);
        let size = rt.data_size(self.lane);
        let most_data = self.most.min(u64::from(size - size % block)).max(1);
        let work = &mut self.works[place as usize];
        let mut own = std::mem::take(&mut work.parts);
        own.clear();
        own.extend_from_slice(parts);
        let Stacked { id, op, flags, offset, length, .. } = *request;
        *work = Work { id, op, flags, offset, length, most_data, parts: own, ..Work::default() };
        match self.admit(place) {
            Ok(true) => {
                self.waiting.push_back(place);
                self.go(rt);
            }
            Ok(false) => self.end(rt, place),
            Err(errno) => {
                self.works[place as usize].result = -i64::from(errno);
                self.end(rt, place);
            }
        }
    }

    /// Checks an operation against the device and settles how it is carried out. False: there is
    /// nothing to do for it.
    fn admit(&mut self, place: u32) -> Result<bool, i32> {
        let device = &self.device;
        let work = &mut self.works[place as usize];
        let size = device.size.load(Ordering::Relaxed);
        let writes = matches!(work.op, block_op::WRITE | block_op::TRIM | block_op::WRITE_ZEROES);
        if writes && !device.writable {
            return Err(libc::EBADF);
        }
        let block = u64::from(device.claim.info.block_size.max(1));
        if !work.offset.is_multiple_of(block) || !work.length.is_multiple_of(block) {
            return Err(libc::EINVAL);
        }
        let end = work.offset.checked_add(work.length).ok_or(libc::EINVAL)?;
        if end > size {
            if writes {
                return Err(libc::ENOSPC);
            }
            work.length = size.saturating_sub(work.offset);
        }
        let (has_cache, has_fua) = (device.offers(block_feature::FLUSH), device.offers(block_feature::FUA));
        if work.flags & block_flag::FUA != 0 && !has_fua {
            work.flags &= !block_flag::FUA;
            work.flush_behind = has_cache;
        }
        match work.op {
            block_op::FLUSH => Ok(has_cache),
            block_op::TRIM if !device.offers(block_feature::TRIM) => Err(libc::EOPNOTSUPP),
            block_op::WRITE_ZEROES if !device.offers(block_feature::WRITE_ZEROES) => Err(libc::EOPNOTSUPP),
            block_op::STATUS if work.length == 0 => Err(libc::EINVAL),
            block_op::STATUS if !device.offers(block_feature::STATUS) => {
                work.result = 1;
                // SAFETY: `Lane::issue_stacked` saw to one part with room for an extent at least; it is
                // the upper driver's until its event, which comes later.
                unsafe { put_extent(&work.parts, Extent { length: work.length, flags: 0 }) };
                Ok(false)
            }
            _ => Ok(work.length > 0),
        }
    }

    /// Makes requests for what waits, as far as there are slots.
    fn go(&mut self, rt: &mut Reactor) {
        while let Some(place) = self.waiting.front().copied() {
            let work = &mut self.works[place as usize];
            if self.gone && work.result >= 0 {
                work.result = -i64::from(libc::ENODEV);
            }
            if work.result < 0 {
                self.waiting.pop_front();
                self.end_if_idle(rt, place);
                continue;
            }
            let Some(tag) = rt.alloc(self.lane) else { return rt.wait_for_slots(self.lane, self.me) };
            self.request(rt, place, tag);
            let work = &self.works[place as usize];
            if work.begun >= work.length || work.op == block_op::FLUSH {
                self.waiting.pop_front();
            }
        }
    }

    /// The next request of an operation.
    fn request(&mut self, rt: &mut Reactor, place: u32, tag: Tag) {
        let data = rt.data(self.lane, tag);
        let work = &mut self.works[place as usize];
        let at = work.begun;
        let most = match work.op {
            block_op::READ | block_op::WRITE => work.most_data,
            block_op::STATUS => u64::MAX,
            _ => self.most,
        };
        let length = (work.length - at).min(most);
        if work.op == block_op::WRITE {
            // SAFETY: the slot's buffer is ours and has room for its `most_data`; the parts are the upper
            // driver's operation's, which is in flight.
            unsafe { copy(&work.parts, at, data, length, Direction::FromParts) };
        }
        work.begun += length;
        work.in_flight += 1;
        let offset = if work.op == block_op::FLUSH { 0 } else { work.offset + at };
        let number = self.device.claim.info.number;
        let req = BlockRequest { op: work.op, flags: work.flags, device: number, offset, length };
        // Pieces of an operation are of one size, so its number says where a piece begins.
        let piece = at.checked_div(most).unwrap_or(0);
        rt.submit(self.lane, tag, self.me, u64::from(place) << 32 | piece, req);
    }

    fn completed(&mut self, rt: &mut Reactor, tag: Tag, cookie: u64, result: i32) {
        let (place, piece) = ((cookie >> 32) as u32, cookie & 0xffff_ffff);
        let data = rt.data(self.lane, tag);
        let work = &mut self.works[place as usize];
        work.in_flight -= 1;
        if result < 0 {
            if work.result >= 0 {
                work.result = i64::from(result);
            }
        } else if work.op == block_op::READ {
            let at = piece * work.most_data;
            let length = (work.length - at).min(work.most_data);
            // SAFETY: the slot's buffer is ours until it is freed, and has what was read; the parts as
            // in `request`.
            unsafe { copy(&work.parts, at, data, length, Direction::ToParts) };
        } else if work.op == block_op::STATUS && work.result >= 0 {
            // SAFETY: the lower driver left `result` extents in the slot's buffer.
            work.result =
                unsafe { take_extents(&work.parts, data, result, u64::from(rt.data_room(self.lane))) };
        }
        rt.free(self.lane, tag);
        self.end_if_idle(rt, place);
    }

    fn end_if_idle(&mut self, rt: &mut Reactor, place: u32) {
        let work = &mut self.works[place as usize];
        let failed = work.result < 0;
        if work.in_flight > 0 || !failed && work.begun < work.length {
            return;
        }
        if failed {
            // It may wait for more slots, and needs none.
            self.waiting.retain(|waiting| *waiting != place);
        } else if std::mem::take(&mut work.flush_behind) {
            let written = if work.op == block_op::WRITE { work.length } else { 0 };
            (work.op, work.flags, work.offset, work.length, work.begun) = (block_op::FLUSH, 0, 0, 0, 0);
            work.written = written;
            self.waiting.push_back(place);
            return self.go(rt);
        } else {
            match work.op {
                block_op::READ | block_op::WRITE => work.result = work.length as i64,
                block_op::FLUSH => work.result = work.written as i64,
                _ => {}
            }
        }
        self.end(rt, place);
    }

    /// The operation's event goes to whoever serves the upper port.
    fn end(&mut self, rt: &mut Reactor, place: u32) {
        let work = &mut self.works[place as usize];
        let (id, result) = (work.id, work.result);
        self.free.push(place);
        rt.op_completed(id, result);
    }

    /// Ends operations early for which no request has been made yet; the others end by themselves.
    pub(super) fn cancel(&mut self, rt: &mut Reactor, ids: &[u32]) {
        let untouched = |place: &&u32| {
            let work = &self.works[**place as usize];
            work.begun == 0 && work.in_flight == 0 && ids.contains(&work.id)
        };
        let cancelled: Vec<u32> = self.waiting.iter().filter(untouched).copied().collect();
        for place in cancelled {
            self.works[place as usize].result = -i64::from(libc::ECANCELED);
            self.end_if_idle(rt, place);
        }
    }

    fn is_idle(&self) -> bool {
        self.free.len() == self.works.len()
    }
}

impl Reactor {
    /// Adds an open device to this queue; `None` when its port is not, or is being taken away.
    pub(crate) fn add_stack(&mut self, device: Arc<DeviceHandle>) -> Option<StackId> {
        let lane = self.lane(device.lower().id)?;
        if self.inspect_lane(lane, |l| l.gone)? {
            return None;
        }
        let id = StackId(self.stacks.len() as u32);
        let me = self.add_frontend(Box::new(Shim(id)));
        let info = &device.claim.info;
        let whole = |bytes: u64| bytes - bytes % u64::from(info.block_size.max(1));
        let most = if info.max_transfer == 0 { u64::MAX } else { u64::from(info.max_transfer) };
        let stack = Stack {
            me,
            lane,
            most: whole(most).max(1),
            device,
            gone: false,
            closing: false,
            works: Vec::new(),
            free: Vec::new(),
            waiting: VecDeque::new(),
        };
        self.stacks.push(Some(Box::new(stack)));
        self.open_stacks += 1;
        Some(id)
    }

    /// Removes an open device once its operations have ended.
    pub(crate) fn remove_stack(&mut self, id: StackId) {
        self.with_stack(id, |stack, _| stack.closing = true);
    }

    /// Calls a stack with itself taken out of the table, so that it can use the reactor freely.
    /// False when there is none of that number any more.
    pub(super) fn with_stack(&mut self, id: StackId, f: impl FnOnce(&mut Stack, &mut Reactor)) -> bool {
        let place = self.stacks.get_mut(id.0 as usize);
        let Some(mut stack) = place.and_then(Option::take) else { return false };
        f(&mut stack, self);
        if stack.closing && stack.is_idle() {
            self.remove_frontend(stack.me);
            self.open_stacks -= 1;
        } else {
            self.stacks[id.0 as usize] = Some(stack);
        }
        true
    }
}

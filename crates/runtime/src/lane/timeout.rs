//! Requests that take longer than the port's `request_timeout`.
//!
//! A few times a second, as long as there are requests, each queue looks for those that are too old:
//!
//! 1. One that waits in line is answered; no driver has seen it.
//! 2. One that the driver has is aborted: its operations are cancelled, no others are begun for it, and a
//!    driver that has the entry point `abort` is called. Whatever error it completes with, the client gets
//!    `ETIMEDOUT`; a success stays one.
//! 3. If by the next look nothing is in flight for it and the driver has not completed it, the client gets
//!    `ETIMEDOUT` without the driver. The slot is not used for another before the driver has completed it,
//!    or is gone. As long as something is in flight nobody is answered, because it may yet change the medium;
//!    but for what is in the kernel on a file and cannot be ended. Then nothing else is begun on the file
//!    before that has ended, and the slot is not used for another before. See `hung`.
//!
//! A request may come in pieces, one after the other (a TRIM of a whole disk): each of them has this time, and all of
//! them together have ten times as much.
//!
//! The time that a port holds a request back for an update or an activation does not count: no driver had it
//! then. Beyond the deadline by which that had to be over it does, and so it does where no driver serves any more:
//! whoever waits is answered wherever his request is. The time that a driver has it counts on, and while the port is held to drain the driver goes on being
//! asked (2 and 3): what it does not finish would otherwise hold up the update until its deadline. Nothing is
//! asked of a driver that lets go or comes in, nor while completions wait for the next one: whoever has
//! a request when that is over is asked then. See decision 0038.

#![allow(unsafe_code)] // the rules are in the module above

use super::Lane;
use crate::change::hold;
use crate::clock::now_ns;
use crate::driver::background_calls::Work;
use crate::ids::Tag;
use crate::lane::in_flight::OpKind;
use crate::queue::Reactor;
use crate::ring::{kind, user_data};
use io_uring::opcode;
use std::ptr::NonNull;
use steadfast_abi as abi;
use steadfast_abi::block_op;
use steadfast_shell::gate::Entry;
use steadfast_shell::params::log_mask;
use steadfast_shell::slots::Owner;

/// How often a queue looks for requests that are too old.
const TICK_NS: u64 = 500_000_000;
/// A request that is carried out in pieces, one after the other, may take so many times as long: what makes progress is
/// not stuck, but it does not go on for ever.
const WHOLE: u64 = 10;
/// What the client gets.
const TIMED_OUT: i32 = -libc::ETIMEDOUT;

impl Lane {
    /// The port is open again: what it kept from drivers for a noticeable time is that much younger.
    pub(super) fn forgive(&mut self) {
        let (now, closed_ns) = (now_ns(), self.line.closed_ns);
        if now.saturating_sub(closed_ns) < TICK_NS {
            return;
        }
        for index in 0..self.users.len() {
            let tag = Tag(index as u32);
            if let Some(since_ns) = self.slots.held_since(tag) {
                let held_ns = now.saturating_sub(since_ns.max(closed_ns));
                let user = &mut self.users[index];
                user.age_from_ns += held_ns;
                user.whole_from_ns += held_ns;
            }
        }
    }

    /// Since when a request's time counts.
    fn age_from(&self, tag: Tag) -> u64 {
        self.users.get(tag.0 as usize).map_or(u64::MAX, |user| user.age_from_ns)
    }

    /// Since when the time counts of the whole that it is a piece of.
    pub(super) fn whole_from(&self, tag: Tag) -> u64 {
        self.users.get(tag.0 as usize).map_or(u64::MAX, |user| user.whole_from_ns)
    }

    /// It is a piece of one that counts since then.
    pub(super) fn count_whole_from(&mut self, tag: Tag, from_ns: u64) {
        if let Some(user) = self.users.get_mut(tag.0 as usize) {
            user.whole_from_ns = from_ns;
        }
    }

    /// The port is held, and its driver is waited for to finish what it has.
    fn drains(&self) -> bool {
        !self.gate.is_open() && !self.sealed && !self.deferring && self.bound.is_some()
    }

    /// Whether there can be anything to look for at the next tick.
    fn can_expire(&self) -> bool {
        self.timeout_ns > 0 && self.unanswered > 0
    }

    /// Whether a request is too old, if its time counts from `from_ns` on at the earliest.
    fn is_late(&self, tag: Tag, from_ns: u64, now: u64) -> bool {
        let age_ns = |since_ns: u64| now.saturating_sub(since_ns.max(from_ns));
        age_ns(self.age_from(tag)) >= self.timeout_ns
            || age_ns(self.whole_from(tag)) >= self.timeout_ns.saturating_mul(WHOLE)
    }

    /// No driver serves the port, nor is one on its way.
    pub(super) fn is_stranded(&self) -> bool {
        !self.gate.is_open() && self.job.is_none() && self.bound.is_none() && !self.down
    }

    /// From when on the time of what is held counts.
    fn held_counts_from(&self) -> u64 {
        if self.gate.is_open() {
            return 0;
        }
        match (&self.job, &self.bound) {
            // The time that a driver takes for its own calls is its own.
            (None, Some(_)) if self.is_out() => 0,
            (Some(job), _) => job.meeting.update().latest_ns(),
            // Somebody visits the driver, and had to be gone by then.
            (None, Some(_)) => self.line.closed_ns.saturating_add(hold::PATIENCE.as_nanos() as u64),
            (None, None) => self.line.closed_ns,
        }
    }

    /// Looks for requests that are too old.
    ///
    /// # Safety
    /// As for `submit`.
    unsafe fn expire(lane: *mut Lane, now: u64) {
        // SAFETY: rules 1 and 2.
        unsafe {
            let open = (*lane).gate.is_open();
            if !(*lane).can_expire() {
                return;
            }
            let stranded = (*lane).is_stranded();
            let asks = open || stranded || (*lane).drains() || (*lane).is_out_for_long(now);
            let held_from = (*lane).held_counts_from();
            let issued_from = if stranded { held_from } else { 0 };
            let tags: Vec<Tag> = (*lane).slots.pending_tags().collect();
            let (mut late, mut given_up): (Vec<Tag>, u32) = (Vec::new(), 0);
            let mut aborted = false;
            for tag in tags {
                let owner = (*lane).slots.owner(tag);
                match owner {
                    Owner::Aborting if asks => given_up += u32::from(Lane::give_up(lane, tag)),
                    Owner::Held if (*lane).is_late(tag, held_from, now) => {
                        late.push(tag);
                        match (*lane).slots.end_held(tag) {
                            Ok(()) => Lane::answer(lane, tag, TIMED_OUT),
                            Err(e) => (*lane).wrong("end a held request", &e),
                        }
                    }
                    Owner::Issued if asks && (*lane).is_late(tag, issued_from, now) => {
                        late.push(tag);
                        if let Err(e) = (*lane).slots.abort(tag) {
                            (*lane).wrong("abort", &e);
                        }
                    }
                    _ => continue,
                }
                aborted |= (*lane).slots.owner(tag) == Owner::Aborting;
            }
            (*lane).report(&late, given_up);
            Lane::call_abort(lane, late);
            if aborted {
                Lane::cancel_aborted(lane);
            }
            // Who waited behind those that are gone may be at the front now.
            if open {
                Lane::make_due(lane);
            }
        }
    }

    /// One line for each look: at three in the morning a thousand would say no more.
    fn report(&self, late: &[Tag], given_up: u32) {
        if !self.port.limits.logs(log_mask::TIMEOUT) {
            return;
        }
        let seconds = self.timeout_ns / 1_000_000_000;
        if let Some(first) = late.first() {
            let request = self.request(*first);
            let (what, offset, length) = (name(request.op), request.offset, request.length);
            tracing::warn!(
                port = self.port.name,
                "{} requests aborted that took longer than request_timeout={seconds} s; one of them: {what} \
                 at {offset}, {length} bytes",
                late.len()
            );
        }
        if given_up > 0 {
            tracing::warn!(
                port = self.port.name,
                "{given_up} aborted requests answered without the driver, which does not complete them; \
                 it keeps {} slots",
                self.slots.lost()
            );
        }
    }

    /// Asks the driver to give requests up: on a thread of its own, where there is one for it. One that does not
    /// return from another call is not asked.
    ///
    /// # Safety
    /// As for `submit`.
    unsafe fn call_abort(lane: *mut Lane, mut tags: Vec<Tag>) {
        // SAFETY: rules 1 and 2; entry points and structures live as long as the bound instance.
        unsafe {
            let Some(bound) = (*lane).bound.clone() else { return };
            let Some(abort) = bound.abort else { return };
            tags.retain(|tag| (*lane).slots.owner(*tag) == Owner::Aborting);
            if tags.is_empty() || (*lane).is_out() || Lane::send_out(lane, Work::Abort(tags.clone())) {
                return;
            }
            for tag in tags {
                if (*lane).slots.owner(tag) == Owner::Aborting {
                    let slot = (*lane).slot(tag);
                    Lane::go_in(lane, Entry::Abort);
                    abort(bound.queue, slot);
                    Lane::come_out(lane, Entry::Abort);
                }
            }
            if bound.commit.is_some() && !(*lane).commit_due {
                (*lane).commit_due = true;
                (*(*lane).core.as_ptr()).commits.push(NonNull::new_unchecked(lane));
            }
        }
    }

    /// Asks the operations of aborted requests to end.
    ///
    /// # Safety
    /// As for `submit`.
    unsafe fn cancel_aborted(lane: *mut Lane) {
        // SAFETY: rules 1 and 2.
        unsafe {
            let core = (*lane).core.as_ptr();
            let ids: Vec<u32> = (*core).ops.of_lane(NonNull::new_unchecked(lane)).collect();
            for id in ids {
                let of_aborted = (*core).ops.get(id).is_some_and(|op| {
                    op.kind == OpKind::Driver
                        && op.tag != abi::NO_TAG
                        && (*lane).slots.owner(Tag(op.tag)) == Owner::Aborting
                });
                if of_aborted {
                    Lane::end_operation(lane, id);
                }
            }
        }
    }

    /// Answers an aborted request without the driver, if nothing is in flight for it.
    ///
    /// # Safety
    /// As for `submit`.
    pub(super) unsafe fn give_up(lane: *mut Lane, tag: Tag) -> bool {
        // SAFETY: rules 1 and 2.
        unsafe {
            let users = &(*lane).users;
            let busy = users.get(tag.0 as usize).is_some_and(|user| user.ops > 0);
            if busy && !Lane::give_up_operations(lane, tag) {
                return false;
            }
            if let Err(e) = (*lane).slots.give_up(tag) {
                (*lane).wrong("give a request up", &e);
                return false;
            }
            if (*lane).line.counted {
                Lane::token_back(lane);
            }
            Lane::answer(lane, tag, TIMED_OUT);
            true
        }
    }

    /// The driver completes a request that it may not own any more; true when it still does.
    ///
    /// # Safety
    /// As for `finish`.
    #[cold]
    pub(super) unsafe fn finish_aborted(lane: *mut Lane, tag: Tag, result: i32) -> bool {
        // SAFETY: rules 1 and 2.
        unsafe {
            match (*lane).slots.complete_aborted(tag) {
                Err(_) => return false,
                // The slot may be free again.
                Ok(false) => Lane::make_due(lane),
                Ok(true) => {
                    if (*lane).line.counted {
                        Lane::token_back(lane);
                    }
                    Lane::answer(lane, tag, if result < 0 { TIMED_OUT } else { result });
                }
            }
            true
        }
    }
}

pub(super) fn name(op: u16) -> &'static str {
    match op {
        block_op::READ => "read",
        block_op::WRITE => "write",
        block_op::FLUSH => "flush",
        block_op::TRIM => "trim",
        block_op::WRITE_ZEROES => "write-zeroes",
        block_op::CACHE => "cache",
        block_op::STATUS => "status",
        _ => "request",
    }
}

impl Reactor {
    /// Starts the clock that requests are measured by.
    pub(crate) fn start_tick(&mut self) {
        let keep_ns = self.keep_idle_ns();
        let core = self.core();
        core.tick_wanted = false;
        let entry = opcode::Timeout::new(core.timespec(TICK_NS.min(keep_ns))).build();
        // SAFETY: the time is valid until it is submitted.
        unsafe { core.push(&entry.user_data(user_data(kind::TICK, 0))) };
    }

    fn keep_idle_ns(&self) -> u64 {
        u64::try_from(self.directory().config.keep_idle.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Looks for requests that are too old and slots that lie idle, and whether to look again.
    pub(crate) fn tick(&mut self) {
        let (now, keep_ns) = (now_ns(), self.keep_idle_ns());
        let mut again = false;
        self.audit();
        // Drivers that are asked to give something up come back to their lanes and the core, not to this list.
        for lane in self.lanes() {
            // SAFETY: this thread's lane, and nobody is inside its driver.
            unsafe {
                Lane::expire(lane.as_ptr(), now);
                if self.is_ending() {
                    Lane::end_what_hangs(lane.as_ptr(), now);
                }
                again |= (*lane.as_ptr()).unanswered > 0;
                again |= Lane::look_for_idle(lane.as_ptr(), now, keep_ns);
            }
        }
        self.abandon_leaving();
        self.core().tick_wanted |= again || self.waits_for_what_hangs();
    }
}

//! The line before a driver: requests that wait for their turn under `io_throttle` and `link_speed`.
//!
//! They wait in the slots' held queue, in their order, as those do that come while a port is between
//! drivers. While anybody waits, who comes new waits behind. Somebody always sees to it that the line
//! moves on: the one who brings a token back, a timer, or the list of lanes that are due.

#![allow(unsafe_code)] // the rules are in the module above

use super::Lane;
use crate::clock::now_ns;
use crate::ids::{BlockRequest, FrontendId, LaneId, Tag};
use crate::lane::core::Done;
use crate::port::Port;
use crate::queue::Reactor;
use crate::resources::limits::Limits;
use crate::ring::{kind, user_data};
use io_uring::opcode;
use std::ptr::NonNull;
use std::sync::Arc;
use steadfast_abi::block_op;
use steadfast_shell::slots::{Owner, WrongOwner};

/// What the limits of its port make of one lane.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Requests count against the port's throttle.
    pub(super) counted: bool,
    /// What one byte takes, nanoseconds in 1/1024; 0: bytes are not counted.
    byte_cost: u64,
    /// Tokens that were handed to this lane and are not used yet.
    credit: u32,
    /// The lane is in the list of those that are due.
    due: bool,
    /// A timer for the line is running.
    timed: bool,
    /// Requests that stood in the line when the port was closed.
    pub(super) waited: u32,
    pub(super) closed_ns: u64,
}

impl Lane {
    /// Requests that are held because the port is between drivers.
    pub(crate) fn held(&self) -> u32 {
        self.slots.held().saturating_sub(self.waiting_in_line())
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.port.limits
    }

    /// Requests that wait for their turn.
    pub(crate) fn waiting_in_line(&self) -> u32 {
        if self.gate.is_open() { self.slots.held() } else { self.line.waited }
    }

    /// Requests count against the throttle from here on. A lane that is closed is counted in any case: when
    /// the first of a port's lanes opens under a throttle, it must know of what the others' driver has.
    pub(super) fn count_in(&mut self) {
        if !std::mem::replace(&mut self.line.counted, true) {
            self.limits().throttle.join(self.slots.issued());
        }
        self.direct = false;
    }

    /// Takes over the limits of the port as they are now.
    ///
    /// # Safety
    /// As for `submit`.
    pub(crate) unsafe fn take_over(lane: *mut Lane) {
        // SAFETY: rules 1 and 2.
        unsafe {
            let port = (*lane).port.clone();
            let limits = &port.limits;
            if limits.throttle.limit() != 0 {
                (*lane).count_in();
            } else if std::mem::take(&mut (*lane).line.counted) {
                let held = (*lane).slots.issued() + std::mem::take(&mut (*lane).line.credit);
                limits.throttle.leave((*lane).index, held);
            }
            (*lane).line.byte_cost = limits.pace.byte_cost();
            (*lane).timeout_ns = limits.request_timeout_ns();
            let memory = &port.memory[(*lane).index];
            ((*lane).data_size, (*lane).most_data) =
                (limits.max_transfer().min(memory.data_room), memory.most_data());
            let slots = limits.slots().min(memory.room);
            if slots != (*lane).slots.len() {
                (*lane).slots.resize(slots);
                // Somebody may have waited for one.
                Lane::make_due(lane);
            }
            (*(*lane).core.as_ptr()).tick_wanted |= (*lane).timeout_ns > 0;
            (*lane).set_direct();
        }
    }

    /// Whether requests go straight into the driver.
    pub(super) fn set_direct(&mut self) {
        let line = &self.line;
        self.direct = self.gate.is_open() && !line.counted && line.byte_cost == 0 && self.slots.held() == 0;
    }

    /// A request that does not go straight into the driver.
    ///
    /// # Safety
    /// As for `submit`.
    #[cold]
    pub(super) unsafe fn submit_in_line(
        lane: *mut Lane,
        tag: Tag,
        frontend: FrontendId,
        cookie: u64,
        req: &BlockRequest,
        submitted_ns: u64,
    ) {
        // SAFETY: as for `submit`.
        unsafe {
            let owner = (*lane).slots.owner(tag);
            if owner != Owner::Reserved {
                let why = WrongOwner { tag: tag.0, owner, expected: Owner::Reserved };
                return Lane::refuse(lane, tag, frontend, cookie, &why);
            }
            Lane::begin(lane, tag, frontend, cookie, req, submitted_ns);
            if let Err(e) = Lane::place(lane, tag) {
                (*lane).wrong("submit", &e);
                Lane::answer(lane, tag, -libc::EIO);
            }
        }
    }

    /// Puts a request where it belongs: at the end of the line, into the driver, or back to its frontend.
    ///
    /// # Safety
    /// As for `submit`; the request has begun.
    unsafe fn place(lane: *mut Lane, tag: Tag) -> Result<(), WrongOwner> {
        // SAFETY: as for `submit`.
        unsafe {
            if (*lane).gone || (*lane).down {
                (*lane).slots.refuse(tag)?;
                Lane::answer(lane, tag, -libc::ENODEV);
            } else if !(*lane).gate.is_open() {
                (*lane).slots.hold(tag, now_ns())?;
                (*lane).counters.held += 1;
            } else if (*lane).slots.held() == 0 && Lane::admit(lane, tag) {
                (*lane).slots.issue(tag)?;
                let slot = (*lane).slot(tag);
                Lane::enter(lane, tag, slot);
            } else {
                (*lane).slots.hold(tag, now_ns())?;
            }
            Ok(())
        }
    }

    /// A request was submitted in a slot that was not its frontend's to submit in: it ends with an error, so
    /// that nobody waits for it, and whatever the slot is used for goes on.
    ///
    /// # Safety
    /// As for `submit`.
    #[cold]
    pub(super) unsafe fn refuse(
        lane: *mut Lane,
        tag: Tag,
        frontend: FrontendId,
        cookie: u64,
        why: &WrongOwner,
    ) {
        // SAFETY: rules 1 and 2.
        unsafe {
            (*lane).wrong("submit", why);
            let done = Done { frontend, lane: (*lane).id, tag, cookie, result: -libc::EIO };
            (*(*lane).core.as_ptr()).done.push(done);
        }
    }

    /// Whether the request at the front of the line may go in. If not, something will let the line go on.
    ///
    /// # Safety
    /// As for `submit`; the port is open.
    pub(super) unsafe fn admit(lane: *mut Lane, tag: Tag) -> bool {
        // SAFETY: rules 1 and 2; the slot's header is its frontend's, which has filled it.
        unsafe {
            let limits = (*lane).limits();
            let slot = (*lane).slot(tag);
            let moves = matches!((*slot).op, block_op::READ | block_op::WRITE);
            let bytes = if moves && (*lane).line.byte_cost > 0 { (*slot).length } else { 0 };
            let now = if bytes > 0 { now_ns() } else { 0 };
            if bytes > 0
                && let Some(until) = limits.pace.wait(now)
            {
                Lane::look_at(lane, until - now);
                return false;
            }
            if (*lane).line.counted {
                let credit = (*lane).line.credit > 0;
                if credit {
                    (*lane).line.credit -= 1;
                }
                let good = credit && limits.throttle.is_within();
                if credit && !good {
                    // It was handed over under a limit that was higher.
                    Lane::token_back(lane);
                }
                if !good && !limits.throttle.take_or_wait((*lane).index) {
                    return false;
                }
            }
            if bytes > 0 {
                limits.pace.charge(now, bytes);
            }
            true
        }
    }

    /// Lets the line go on as far as it may.
    ///
    /// # Safety
    /// As for `submit`.
    pub(crate) unsafe fn feed(lane: *mut Lane) {
        // SAFETY: rules 1 and 2.
        unsafe {
            while (*lane).gate.is_open()
                && let Some((tag, _)) = (*lane).slots.first_held()
                && Lane::admit(lane, tag)
            {
                (*lane).slots.unhold();
                let slot = (*lane).slot(tag);
                Lane::enter(lane, tag, slot);
            }
            Lane::return_credit(lane);
            (*lane).set_direct();
        }
    }

    /// Brings back tokens that nobody here can use now.
    ///
    /// # Safety
    /// As for `finish`.
    pub(super) unsafe fn return_credit(lane: *mut Lane) {
        // SAFETY: rules 1 and 2.
        unsafe {
            if (*lane).line.credit == 0 {
                return;
            }
            // Else they would be handed to this lane again.
            (*lane).limits().throttle.stop_waiting((*lane).index);
            while (*lane).line.credit > 0 {
                (*lane).line.credit -= 1;
                Lane::token_back(lane);
            }
        }
    }

    /// The driver has one request less.
    ///
    /// # Safety
    /// As for `finish`; the lane is counted.
    #[cold]
    pub(super) unsafe fn token_back(lane: *mut Lane) {
        // SAFETY: rules 1 and 2.
        unsafe {
            match (*lane).limits().throttle.give_back() {
                Some(queue) if queue == (*lane).index => {
                    (*lane).line.credit += 1;
                    Lane::make_due(lane);
                }
                Some(queue) => hand_over(&(*lane).port, queue),
                None => {}
            }
        }
    }

    /// Has the loop look at the lane once no driver is inside.
    ///
    /// # Safety
    /// As for `finish`.
    pub(super) unsafe fn make_due(lane: *mut Lane) {
        // SAFETY: rules 1 and 2.
        unsafe {
            if !std::mem::replace(&mut (*lane).line.due, true) {
                (*(*lane).core.as_ptr()).due.push(NonNull::new_unchecked(lane));
            }
        }
    }

    /// Has the loop look at the lane after a time.
    ///
    /// # Safety
    /// As for `finish`.
    unsafe fn look_at(lane: *mut Lane, ns: u64) {
        // SAFETY: rules 1 and 2; the time is valid until it is submitted.
        unsafe {
            if std::mem::replace(&mut (*lane).line.timed, true) {
                return;
            }
            let core = (*lane).core.as_ptr();
            let entry = opcode::Timeout::new((*core).timespec(ns.max(1))).build();
            (*core).push(&entry.user_data(user_data(kind::LANE, u64::from((*lane).id.0))));
        }
    }

    /// Puts a request that is its frontend's again on the way to it.
    ///
    /// # Safety
    /// As for `finish`.
    #[inline]
    pub(super) unsafe fn answer(lane: *mut Lane, tag: Tag, result: i32) {
        // SAFETY: rules 1 and 2.
        unsafe {
            if let Some(trial) = &(*lane).trial {
                trial.request_ended(&*(*lane).slot(tag));
            }
            let user = &mut (&mut (*lane).users)[tag.0 as usize];
            debug_assert!(user.open, "slot {} is answered twice", tag.0);
            user.open = false;
            let user = *user;
            (*lane).unanswered -= 1;
            let done = Done { frontend: user.frontend, lane: (*lane).id, tag, cookie: user.cookie, result };
            (*(*lane).core.as_ptr()).done.push(done);
        }
    }
}

/// Tells a queue that a token is its own.
fn hand_over(port: &Arc<Port>, queue: usize) {
    let own = port.clone();
    port.remotes[queue].post(Box::new(move |rt| rt.take_token(&own)));
}

impl Reactor {
    /// A token was handed to this queue's lane of a port.
    fn take_token(&mut self, port: &Arc<Port>) {
        match self.lane_of(LaneId(port.id.0)) {
            // SAFETY: this thread's lane, and nobody is inside its driver: tasks run in the loop.
            Some(lane) if unsafe { (*lane.as_ptr()).line.counted } => unsafe {
                (*lane.as_ptr()).line.credit += 1;
                Lane::feed(lane.as_ptr());
            },
            _ => {
                if let Some(queue) = port.limits.throttle.give_back() {
                    hand_over(port, queue);
                }
            }
        }
    }

    /// A port is to come under a throttle: its lanes are counted before the first of them observes it.
    pub(crate) fn count_lane_in(&mut self, id: LaneId) {
        let Some(lane) = self.lane_of(id) else { return };
        // SAFETY: this thread's lane, and nobody is inside its driver: tasks run in the loop.
        unsafe { (*lane.as_ptr()).count_in() };
    }

    /// The limits of a port have changed.
    pub(crate) fn take_limits_over(&mut self, id: LaneId) {
        let Some(lane) = self.lane_of(id) else { return };
        // SAFETY: this thread's lane, and nobody is inside its driver: tasks run in the loop.
        unsafe {
            Lane::take_over(lane.as_ptr());
            Lane::feed(lane.as_ptr());
        }
    }

    /// The time that a lane's line had to wait is over.
    pub(crate) fn line_timer(&mut self, id: LaneId) {
        let Some(lane) = self.lane_of(id) else { return };
        // SAFETY: this thread's lane, and nobody is inside its driver.
        unsafe {
            (*lane.as_ptr()).line.timed = false;
            Lane::feed(lane.as_ptr());
        }
    }

    /// Looks at lanes whose lines may go on, or that have slots again. True when there were any.
    pub(crate) fn feed_due(&mut self) -> bool {
        if self.core().due.is_empty() {
            return false;
        }
        let mut due = std::mem::take(&mut self.core().due);
        for lane in due.drain(..) {
            // SAFETY: this thread's lane, which leaves the list before it goes; nobody is inside its driver.
            unsafe {
                (*lane.as_ptr()).line.due = false;
                Lane::feed(lane.as_ptr());
                let id = (*lane.as_ptr()).id;
                self.notice_slots(id);
            }
        }
        // The room stays, unless the list has begun anew.
        if self.core().due.is_empty() {
            self.core().due = due;
        }
        true
    }
}

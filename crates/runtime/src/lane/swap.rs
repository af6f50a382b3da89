//! What a transaction does with a lane: close it, take its driver out, put another in, open it.

#![allow(unsafe_code)] // the rules are in the module above

use super::{Bound, Lane};
use crate::change::pause_calls::Step;
use crate::driver::background_calls::Work;
use crate::driver::instance::Instance;
use crate::ids::Tag;
use crate::lane::in_flight::OpKind;
use crate::resources::slot_memory::PDU_STRIDE;
use crate::ring::bell::Inside;
use crate::ring::{kind, user_data};
use io_uring::opcode;
use std::ptr::NonNull;
use std::sync::Arc;
use steadfast_abi as abi;
use steadfast_shell::gate::Entry;
use steadfast_shell::slots::Owner;

/// What a driver does from `queue_run` on until it has answered a request: `queue_run` returns nothing, so what
/// it says in the log as an error is how it tells that it failed.
struct FirstSteps {
    watched: Option<Arc<Instance>>,
    /// Completions of the queue that have been looked at.
    seen: usize,
}

impl FirstSteps {
    /// # Safety
    /// As for `submit`.
    unsafe fn begin(lane: *mut Lane, run: bool) -> FirstSteps {
        // SAFETY: rules 1 and 2.
        unsafe {
            let watched = (*lane).instance.clone().filter(|_| run);
            FirstSteps { watched, seen: (*(*lane).core.as_ptr()).done.len() }
        }
    }

    /// Another step has been made.
    ///
    /// # Safety
    /// As for `submit`.
    unsafe fn look(&mut self, lane: *mut Lane) {
        let Some(instance) = &self.watched else { return };
        if instance.has_said_error() {
            instance.note_trouble();
            self.watched = None;
            return;
        }
        // SAFETY: rules 1 and 2.
        let (answered, seen) = unsafe {
            let (done, id) = (&(*(*lane).core.as_ptr()).done, (*lane).id);
            let new = done.get(self.seen..).unwrap_or(&[]);
            (new.iter().any(|d| d.lane == id && d.result >= 0), done.len())
        };
        self.seen = seen;
        if answered {
            self.watched = None;
        }
    }
}

impl Lane {
    /// Tells a gathering driver that the batch is over: here, or [elsewhere](Lane::is_out).
    ///
    /// # Safety
    /// As for `submit`.
    pub(crate) unsafe fn commit(lane: *mut Lane) {
        // SAFETY: rules 1 and 2.
        unsafe {
            if !(*lane).commit_due || (*lane).away.is_some() {
                return;
            }
            (*lane).commit_due = false;
            let Some(bound) = &(*lane).bound else { return };
            let (commit, queue) = (bound.commit, bound.queue);
            if let Some(commit) = commit {
                if !(*lane).commits_here() && Lane::send_out(lane, Work::Commit) {
                    return;
                }
                Lane::go_in(lane, Entry::Commit);
                commit(queue);
                Lane::come_out(lane, Entry::Commit);
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
            Lane::shut(lane, defer);
        }
    }

    /// The same, whatever the driver has gathered.
    ///
    /// # Safety
    /// As for `submit`.
    pub(crate) unsafe fn shut(lane: *mut Lane, defer: bool) {
        // SAFETY: rules 1 and 2.
        unsafe {
            if (*lane).gate.is_open() {
                (*lane).line.waited = (*lane).slots.held();
                (*lane).line.closed_ns = crate::clock::now_ns();
            }
            (*lane).gate.close();
            (*lane).count_in();
            (*lane).limits().throttle.stop_waiting((*lane).index);
            Lane::return_credit(lane);
            (*lane).sealed = false;
            (*lane).deferring = defer;
        }
    }

    /// Lets the driver return what it has not begun; says how many requests that were, or why it
    /// cannot.
    ///
    /// # Safety
    /// As for `submit`; the lane is closed.
    pub(crate) unsafe fn hand_back(lane: *mut Lane) -> Result<u32, String> {
        // SAFETY: rules 1 and 2; entry points and structures live as long as the bound instance.
        unsafe {
            let Some(instance) = (*lane).instance.clone() else { return Ok(0) };
            Lane::begin_handing_back(lane);
            let begin = crate::clock::now_ns();
            let bell = (*(*lane).core.as_ptr()).bell.clone();
            bell.goes_in((*lane).id.0, Inside::HandBack);
            let result = instance.hand_back((*lane).index);
            bell.comes_out();
            instance.took(Step::HandBack, crate::clock::now_ns().saturating_sub(begin));
            let handed_back = Lane::end_handing_back(lane);
            result.map(|()| handed_back)
        }
    }

    /// # Safety
    /// As for `hand_back`.
    pub(super) unsafe fn begin_handing_back(lane: *mut Lane) {
        // SAFETY: rules 1 and 2.
        unsafe {
            (*lane).slots.begin_giving_back();
            ((*lane).handing_back, (*lane).given_back) = (true, 0);
        }
    }

    /// # Safety
    /// As for `hand_back`.
    pub(super) unsafe fn end_handing_back(lane: *mut Lane) -> u32 {
        // SAFETY: rules 1 and 2.
        unsafe {
            (*lane).handing_back = false;
            if std::mem::take(&mut (*lane).orphans) {
                Lane::drop_orphans(lane);
            }
            (*lane).given_back
        }
    }

    /// Completions go to the driver again, and those first that waited.
    ///
    /// # Safety
    /// As for `submit`; the driver is bound.
    pub(crate) unsafe fn deliver_deferred(lane: *mut Lane) {
        // SAFETY: rules 1 and 2.
        unsafe {
            (*lane).deferring = false;
            // One by one: a driver that stops a timer takes back what has not been delivered.
            let mut next = 0;
            loop {
                let deferred = &(*lane).deferred;
                let Some(d) = deferred.get(next).copied() else { break };
                next += 1;
                Lane::deliver(lane, d.entry, d.id, d.result);
                if (*lane).is_out() {
                    break;
                }
            }
            (*lane).deferred.drain(..next.min((*lane).deferred.len()));
        }
    }

    /// [`abi::ShellOps::give_back`].
    ///
    /// # Safety
    /// As for `finish`.
    pub(crate) unsafe fn give_back(lane: *mut Lane, tag: u32) -> i32 {
        // SAFETY: rules 1 and 2; by rule 3 only this thread enters `hand_back`.
        unsafe {
            if !(*lane).handing_back {
                return -libc::EPERM;
            }
            let owner = (*lane).slots.owner(Tag(tag));
            let users = &mut (*lane).users;
            let Some(user) = users.get_mut(tag as usize) else { return -libc::EINVAL };
            if owner == Owner::Aborting && user.late.is_none() {
                // It is not begun, and so it can end here.
                return if Lane::finish(lane, Tag(tag), -libc::ECANCELED) { 0 } else { -libc::EINVAL };
            }
            if owner != Owner::Issued || user.late.is_some() {
                return -libc::EINVAL;
            }
            if user.ops > user.waits {
                return -libc::EBUSY;
            }
            // What it waited for may have ended without the driver having been told.
            let deferred = &(*lane).deferred;
            if user.ops > 0 || !deferred.is_empty() {
                (*lane).orphans = true;
            }
            let now = crate::clock::now_ns();
            if let Err(e) = (*lane).slots.give_back(Tag(tag), now) {
                (*lane).wrong("take a request back", &e);
                return -libc::EINVAL;
            }
            (*lane).counters.held += 1;
            (*lane).given_back += 1;
            if (*lane).line.counted {
                Lane::token_back(lane);
            }
            0
        }
    }

    /// Ends the waits of requests that were handed back.
    ///
    /// # Safety
    /// As for `submit`.
    unsafe fn drop_orphans(lane: *mut Lane) {
        // SAFETY: rules 1 and 2.
        unsafe {
            let core = (*lane).core.as_ptr();
            let ids: Vec<u32> = (*core).ops.of_lane(NonNull::new_unchecked(lane)).collect();
            for id in ids {
                let Some(entry) = (*core).ops.get_mut(id) else { continue };
                let tag = entry.tag;
                if entry.kind != OpKind::Driver || (*lane).slots.owner(Tag(tag)) != Owner::Held {
                    continue;
                }
                entry.kind = OpKind::Orphan;
                (*lane).ops_in_flight -= 1;
                let user = &mut (&mut (*lane).users)[tag as usize];
                user.ops -= 1;
                user.waits -= 1;
                let target = user_data(kind::OP, u64::from(id));
                let cancel = opcode::AsyncCancel::new(target).build();
                (*core).push(&cancel.user_data(user_data(kind::IGNORE, 0)));
            }
            // What had ended already, and waits to be delivered, is for the next driver no event.
            for d in &mut (*lane).deferred {
                if d.entry.kind == OpKind::Driver
                    && d.entry.tag != abi::NO_TAG
                    && (*lane).slots.owner(Tag(d.entry.tag)) == Owner::Held
                {
                    d.entry.kind = OpKind::Orphan;
                }
            }
        }
    }

    /// The last thing before the rendezvous: whatever the driver does from now on, it does not reach
    /// the ring.
    pub(crate) fn seal(&mut self) {
        debug_assert!(self.gate.is_quiescent(), "a lane arrives with its thread inside the driver");
        self.sealed = true;
        self.may_issue = false;
        self.deferring = true;
        // What it is called for now may be on another thread, and last longer than the port is held.
        self.unbind();
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
                (*core).stacked.cancel(id);
                (*core).fileio.call_off(id);
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

    /// Requests, and operations of no request, that the driver must finish before it can let go. A
    /// request stays issued as long as it has operations in flight.
    pub(crate) fn busy(&self) -> u32 {
        self.slots.issued() + self.port_ops
    }

    /// The driver may outlive the lane: what it calls from here on is refused.
    pub(crate) fn unbind(&self) {
        if let Some(instance) = &self.instance {
            instance.bind(self.index, std::ptr::null_mut());
        }
    }

    /// Puts a driver's entry points in place; `None` leaves the lane without a driver.
    pub(crate) fn install(&mut self, instance: Option<Arc<Instance>>) {
        // The driver before is disconnected for good.
        self.forget_given_up();
        self.begin_habits(instance.as_ref().is_some_and(|driver| driver.is_known()));
        self.bound = instance.as_ref().and_then(|i| {
            let (table, block) = (i.module.driver(), i.module.block());
            Some(Bound {
                submit: block.submit?,
                commit: block.commit,
                event: table.event,
                event_answer: table.event_answer,
                timer: table.timer,
                abort: block.abort,
                queue: i.queue(self.index),
            })
        });
        self.instance = instance;
    }

    /// finish_update or cancel_update: opens the gate and lets in what waited, in order. Returns the
    /// longest time that the port kept a request from entering, nanoseconds, and how many it held.
    ///
    /// # Safety
    /// As for `submit`.
    pub(crate) unsafe fn open(lane: *mut Lane, run: bool) -> (u64, u32) {
        // SAFETY: as for `submit`.
        unsafe { Lane::open_after(lane, run, false) }
    }

    /// The same; its driver has been called for `queue_run` elsewhere, if it `has_run`.
    ///
    /// # Safety
    /// As for `submit`.
    pub(crate) unsafe fn open_after(lane: *mut Lane, run: bool, has_run: bool) -> (u64, u32) {
        // SAFETY: rules 1 and 2; entry points live as long as the bound instance.
        unsafe {
            let (held, closed_ns) = ((*lane).held(), (*lane).line.closed_ns);
            if let Some(instance) = &(*lane).instance {
                instance.bind((*lane).index, lane.cast());
            }
            (*lane).gate.open();
            (*lane).down = false;
            (*lane).forgive();
            Lane::take_over(lane);
            (*lane).direct = false;
            (*lane).may_issue = true;
            (*lane).deferring = false;
            (*lane).has_run = false;
            let mut steps = FirstSteps::begin(lane, run || has_run);
            if run && !has_run {
                let instance = (*lane).instance.clone();
                if let (Some(bound), Some(i)) = ((*lane).bound.clone(), instance)
                    && let Some(queue_run) = i.module.driver().queue_run
                {
                    let begin = crate::clock::now_ns();
                    let bell = (*(*lane).core.as_ptr()).bell.clone();
                    bell.goes_in((*lane).id.0, Inside::QueueRun);
                    queue_run(bound.queue);
                    bell.comes_out();
                    i.took(Step::Run, crate::clock::now_ns().saturating_sub(begin));
                }
            }
            steps.look(lane);
            // One by one: a driver that stops a timer takes back what has not been delivered.
            let mut next = 0;
            loop {
                let deferred = &(*lane).deferred;
                let Some(d) = deferred.get(next).copied() else { break };
                next += 1;
                Lane::deliver(lane, d.entry, d.id, d.result);
                steps.look(lane);
                if (*lane).is_out() {
                    (*lane).deferred.drain(..next);
                    return (0, held);
                }
            }
            (*lane).deferred.clear();
            let (mut longest, mut kept) = (0, held);
            while let Some((tag, since)) = (*lane).slots.first_held() {
                // Those that stood in line before are kept for as long as those that came first in the pause.
                let ns = crate::clock::now_ns().saturating_sub(since.max(closed_ns));
                if !Lane::admit(lane, tag) {
                    // From here on it is the line that keeps them.
                    longest = longest.max(if kept > 0 { ns } else { 0 });
                    break;
                }
                longest = longest.max(ns);
                kept = kept.saturating_sub(1);
                (*lane).slots.unhold();
                let slot = (*lane).slot(tag);
                Lane::enter(lane, tag, slot);
                steps.look(lane);
            }
            Lane::return_credit(lane);
            (*lane).set_direct();
            (longest, held)
        }
    }

    /// The port is to have no driver: requests that it holds, and those that come, end with an error. What a
    /// driver had is drained.
    ///
    /// # Safety
    /// As for `submit`; the lane is closed and has no driver.
    pub(crate) unsafe fn take_down(lane: *mut Lane) {
        // SAFETY: rules 1 and 2.
        unsafe {
            (*lane).down = true;
            (*lane).may_issue = true;
            for timer in 0..abi::TIMERS {
                Lane::timer(lane, timer, 0);
            }
            (*lane).may_issue = false;
            (*lane).deferred.clear();
            (*lane).line.waited = 0;
            Lane::fail_held(lane, -libc::ENODEV);
        }
    }

    /// Nobody will serve any more: where no driver does and no transaction could bring one, every request ends with an
    /// error, those that a driver has left once what is in flight for them has ended.
    ///
    /// # Safety
    /// As for `submit`.
    pub(crate) unsafe fn end_stranded(lane: *mut Lane) {
        // SAFETY: rules 1 and 2; without a driver and a transaction it is closed, and nobody is inside.
        unsafe {
            if (*lane).is_stranded() {
                Lane::take_down(lane);
                Lane::fail_all(lane, -libc::EIO);
            }
        }
    }

    /// Gives held requests back with an error: the port is going away.
    ///
    /// # Safety
    /// As for `submit`.
    pub(crate) unsafe fn fail_held(lane: *mut Lane, result: i32) {
        // SAFETY: rules 1 and 2.
        unsafe {
            while let Some((tag, _)) = (*lane).slots.first_held() {
                if let Err(e) = (*lane).slots.end_held(tag) {
                    // It would be the first for ever.
                    return (*lane).wrong("end a held request", &e);
                }
                Lane::answer(lane, tag, result);
            }
        }
    }

    /// Gives the requests that a driver left behind back with an error: none will ever complete them,
    /// and nothing is in flight for them any more.
    ///
    /// # Safety
    /// As for `submit`; the lane has no driver and no operation in flight.
    pub(crate) unsafe fn fail_issued(lane: *mut Lane, result: i32) {
        // SAFETY: rules 1 and 2.
        unsafe {
            let tags: Vec<Tag> = (*lane).slots.issued_tags().collect();
            for tag in tags {
                Lane::end(lane, tag, result);
            }
        }
    }

    /// Fails every request that the driver has, and forgets its operations of no request: it is put away. Those with
    /// operations in flight are answered when these have ended, since they may still touch the data.
    ///
    /// # Safety
    /// As for `submit`; nobody is inside the driver.
    pub(crate) unsafe fn fail_all(lane: *mut Lane, result: i32) {
        // SAFETY: rules 1 and 2.
        unsafe {
            // What has ended and waits to be delivered is nobody's event any more.
            let deferred = &mut (*lane).deferred;
            deferred.iter_mut().filter(|d| d.entry.kind == OpKind::Driver).for_each(|d| {
                d.entry.kind = OpKind::Orphan;
            });
            let tags: Vec<Tag> = (*lane).slots.issued_tags().collect();
            for tag in tags {
                let users = &mut (*lane).users;
                match users.get_mut(tag.0 as usize) {
                    Some(user) if user.ops > 0 => drop(user.late.get_or_insert(result)),
                    _ => Lane::end(lane, tag, result),
                }
            }
            let core = (*lane).core.as_ptr();
            let ids: Vec<u32> = (*core).ops.of_lane(NonNull::new_unchecked(lane)).collect();
            for id in ids {
                let Some(entry) = (*core).ops.get_mut(id) else { continue };
                if entry.kind != OpKind::Driver {
                    continue;
                }
                if entry.tag == abi::NO_TAG {
                    entry.kind = OpKind::Orphan;
                    (*lane).ops_in_flight -= 1;
                    (*lane).port_ops -= 1;
                }
                // The sooner it ends the sooner its request is answered.
                let target = user_data(kind::OP, u64::from(id));
                let cancel = opcode::AsyncCancel::new(target).build();
                (*core).push(&cancel.user_data(user_data(kind::IGNORE, 0)));
            }
        }
    }

    /// Fails every request that the driver has and that nothing is in flight for, nor has ended: nobody else will hear
    /// of it.
    ///
    /// # Safety
    /// As for `submit`; nobody is inside the driver.
    pub(crate) unsafe fn fail_waiting(lane: *mut Lane, result: i32) {
        // SAFETY: rules 1 and 2.
        unsafe {
            let tags: Vec<Tag> = (*lane).slots.issued_tags().collect();
            for tag in tags {
                let deferred = &(*lane).deferred;
                let ended = deferred.iter().any(|d| d.entry.tag == tag.0);
                let users = &mut (*lane).users;
                if !ended && users.get(tag.0 as usize).is_some_and(|user| user.ops == 0) {
                    Lane::finish(lane, tag, result);
                }
            }
        }
    }

    /// Copies the PDU of every request in flight, `size` bytes of it, for the driver that is to take them over.
    /// False: it has no room for one of them.
    pub(crate) fn copy_pdus(&self, size: usize, next: &Instance, tags: &mut Vec<u32>) -> bool {
        tags.clear();
        let given_up = |tag: &Tag| self.users.get(tag.0 as usize).is_some_and(|u| u.late.is_some());
        for Tag(tag) in self.slots.issued_tags().filter(|t| !given_up(t)) {
            // SAFETY: a PDU of this lane; its driver is not inside.
            if !unsafe { next.copy_pdu(self.index, tag, self.pdu(tag), size.min(PDU_STRIDE)) } {
                return false;
            }
            tags.push(tag);
        }
        true
    }
}

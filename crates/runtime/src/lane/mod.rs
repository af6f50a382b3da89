//! A lane: one port on one queue. The hot path is here.
//!
//! # Who may touch a lane
//!
//! 1. A lane belongs to its queue's thread. It is reached by raw pointer, because a driver that the
//!    lane has entered calls back into it ([`Lane::issue`], [`Lane::complete`]).
//! 2. So no reference into a lane or its [`Core`] is alive while the driver is inside: every function
//!    here takes `*mut Lane`, and makes references for single statements only.
//! 3. While a port is held, the thread that runs the transaction calls the driver with an `abi::Queue` that is
//!    bound to no lane: the lane's own thread has unbound it before it arrived at the rendezvous, and binds the
//!    driver that serves when it opens. So a call that is left to itself never learns of a lane.

#![allow(unsafe_code)] // see above

mod audit;
mod background_calls;
pub(crate) mod core;
pub(crate) mod counters;
pub(crate) mod file_io;
mod hung;
pub(crate) mod in_flight;
mod issue;
mod named;
mod pause_calls;
mod reclaim;
pub(crate) mod shell_calls;
mod shell_calls_many;
mod stacked;
pub(crate) mod stacked_list;
mod swap;
mod sync;
mod throttle;
mod timeout;

use crate::change::pause_calls::Step;
use crate::change::swap::Job;
use crate::driver::instance::Instance;
use crate::ids::{BlockRequest, FrontendId, LaneId, Tag};
use crate::lane::core::Core;
use crate::lane::core::Done;
use crate::lane::counters::{Counters, Run};
use crate::lane::in_flight::OpEntry;
use crate::lane::shell_calls::fault;
use crate::port::Port;
use crate::resources::slot_memory::{PDU_STRIDE, SLOT_STRIDE};
use crate::trial::Trial;
use background_calls::Outside;
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::Arc;
use steadfast_abi as abi;
use steadfast_shell::gate::{Entry, Gate};
use steadfast_shell::slots::{Owner, Slots};
use sync::Syncs;
use throttle::Line;

type SubmitFn = unsafe extern "C" fn(*mut abi::Queue, *mut abi::Request) -> i32;

/// The entry points of the driver that serves a lane, at hand.
#[derive(Clone)]
struct Bound {
    submit: SubmitFn,
    commit: Option<unsafe extern "C" fn(*mut abi::Queue)>,
    event: Option<unsafe extern "C" fn(*mut abi::Queue, *const abi::Event)>,
    event_answer: Option<unsafe extern "C" fn(*mut abi::Queue, *const abi::Event) -> i32>,
    timer: Option<unsafe extern "C" fn(*mut abi::Queue, u32)>,
    abort: Option<unsafe extern "C" fn(*mut abi::Queue, *mut abi::Request) -> i32>,
    queue: *mut abi::Queue,
}

/// Which frontend a slot answers to.
#[derive(Clone, Copy, Debug)]
struct SlotUser {
    frontend: FrontendId,
    /// Operations in flight for the request.
    ops: u32,
    /// Of these, the ones that only wait (`TIMEOUT`, `NOP`).
    waits: u32,
    cookie: u64,
    /// The driver has completed the request although operations of it are in flight: it is kept from
    /// its frontend until they have ended, because they may still touch its data.
    late: Option<i32>,
    /// It was submitted, and not answered.
    open: bool,
    /// Since when its time counts for `request_timeout`.
    age_from_ns: u64,
    /// The same of the whole that it is a piece of.
    whole_from_ns: u64,
}

/// A completion that arrived while the port was held for adoption.
#[derive(Clone, Copy, Debug)]
struct Deferred {
    entry: OpEntry,
    id: u32,
    result: i64,
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
    /// Most bytes that a new request may have, and that any can have.
    data_size: u32,
    most_data: u32,
    pub(crate) gate: Gate,
    /// Requests go straight into the driver: the port is open, and nothing limits them.
    direct: bool,
    pub(crate) slots: Slots,
    line: Line,
    /// How long a request may take, nanoseconds; 0: for ever.
    timeout_ns: u64,
    /// Grows to the highest tag in use; there is room for all.
    users: Vec<SlotUser>,
    /// Requests that were submitted and not answered: see [`audit`].
    unanswered: u32,
    bound: Option<Bound>,
    instance: Option<Arc<Instance>>,
    pub(crate) counters: Counters,
    /// Drivers may issue operations: not while the transaction runs.
    may_issue: bool,
    /// This lane has arrived at the rendezvous.
    sealed: bool,
    /// The driver is inside `hand_back`, and has returned so many requests.
    handing_back: bool,
    given_back: u32,
    /// The driver is in an entry point on another thread.
    away: Option<Step>,
    outside: Outside,
    /// It was called for `queue_run` before the lane opens.
    has_run: bool,
    /// Requests were handed back with waits in flight.
    orphans: bool,
    /// Completions wait for the new driver instead of going to the old one.
    deferring: bool,
    deferred: Vec<Deferred>,
    pub(crate) ops_in_flight: u32,
    syncs: Syncs,
    pub(crate) port_ops: u32,
    commit_due: bool,
    timers: [u32; abi::TIMERS as usize],
    /// Timers that were stopped or set again, and whose completions have not arrived.
    stopped_timers: u32,
    pub(crate) waiting: VecDeque<FrontendId>,
    pub(crate) job: Option<Arc<Job>>,
    /// The port is being taken away: nothing new is accepted.
    pub(crate) gone: bool,
    /// The port is to have no driver: nothing new is accepted until it has one.
    down: bool,
    /// Places in the table of operations that were made for this lane.
    pub(crate) ops_room: u32,
    /// A candidate is on trial beside the driver: it must know what changes.
    pub(crate) trial: Option<Arc<Trial>>,
    /// The driver is such a candidate: it changes nothing.
    shadow: Option<Arc<Trial>>,
    looks: reclaim::Looks,
}

const NO_OP: u32 = u32::MAX;

impl Lane {
    /// A lane with no driver, closed.
    pub(crate) fn new(core: NonNull<Core>, port: Arc<Port>, index: usize, ops: u32) -> Box<Lane> {
        let memory = &port.memory[index];
        let (count, data_stride) = (port.limits.slots().min(memory.room), memory.data_stride);
        let (data_size, most_data) = (port.limits.max_transfer().min(memory.data_room), memory.most_data());
        let (slot_base, pdu_base, data_base) = (memory.slots(), memory.pdus(), memory.data());
        Box::new(Lane {
            core,
            id: LaneId(port.id.0),
            index,
            slot_base,
            pdu_base,
            data_base,
            data_stride,
            data_size,
            most_data,
            gate: Gate::default(),
            direct: false,
            slots: Slots::new(count),
            line: Line::default(),
            timeout_ns: 0,
            users: Vec::with_capacity(count as usize),
            unanswered: 0,
            bound: None,
            instance: None,
            counters: Counters::default(),
            may_issue: false,
            sealed: false,
            handing_back: false,
            given_back: 0,
            away: None,
            outside: Outside::default(),
            has_run: false,
            orphans: false,
            deferring: false,
            deferred: Vec::with_capacity(ops as usize),
            ops_in_flight: 0,
            syncs: Syncs::default(),
            port_ops: 0,
            commit_due: false,
            timers: [NO_OP; abi::TIMERS as usize],
            stopped_timers: 0,
            waiting: VecDeque::new(),
            job: None,
            gone: false,
            down: false,
            ops_room: ops,
            trial: None,
            shadow: port.shadow.clone(),
            looks: reclaim::Looks::default(),
            port,
        })
    }

    #[inline]
    fn set_user(&mut self, tag: Tag, user: SlotUser) {
        match self.users.get_mut(tag.0 as usize) {
            Some(place) => *place = user,
            None => {
                // Slots before it that were never used answer to nobody.
                self.users.resize(tag.0 as usize, SlotUser { open: false, ..user });
                self.users.push(user);
            }
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

    /// A copy of a request's header.
    pub(crate) fn request(&self, tag: Tag) -> abi::Request {
        // SAFETY: a slot of this lane, whose header only this thread writes.
        unsafe { *self.slot(tag) }
    }

    pub(crate) fn pdu(&self, tag: u32) -> *mut u8 {
        self.pdu_base.wrapping_add(tag as usize * PDU_STRIDE)
    }

    /// Counts completed requests of this lane that are about to go back to their frontends.
    pub(crate) fn count(&mut self, done: &[Done], now_ns: u64) {
        let mut run = Run::default();
        for one in done {
            // SAFETY: a slot of this lane, whose header nobody writes between completion and release.
            let (op, length, since) = unsafe {
                let slot = self.slot(one.tag);
                ((*slot).op, (*slot).length, (*slot).submitted_ns)
            };
            let failed = one.result < 0;
            if !run.has_room_for(op, failed, since) {
                self.counters.count(&run, now_ns.saturating_sub(run.submitted_ns));
                run = Run { op, failed, submitted_ns: since, ..Run::default() };
            }
            run.requests += 1;
            run.bytes += length;
            if failed {
                self.failed(one.result);
            }
        }
        self.counters.count(&run, now_ns.saturating_sub(run.submitted_ns));
    }

    /// What is served may have been set read-only.
    #[cold]
    fn failed(&self, result: i32) {
        if matches!(-result, libc::EPERM | libc::EROFS)
            && let Some(engine) = self.port.directory.upgrade()
        {
            engine.look_soon();
        }
    }

    /// Age of the oldest of the requests that the driver has or the shell holds; 0 without any.
    pub(crate) fn oldest_ns(&self) -> u64 {
        // SAFETY: slots of this lane; their headers are written by their frontends before that only.
        let first = self.slots.pending_tags().map(|tag| unsafe { (*self.slot(tag)).submitted_ns }).min();
        first.map_or(0, |since| crate::clock::now_ns().saturating_sub(since))
    }

    /// Most bytes that a new request may have.
    pub(crate) fn data_size(&self) -> u32 {
        self.data_size
    }

    /// Most bytes that any request can have: so much of a slot's data is there.
    pub(crate) fn most_data(&self) -> u32 {
        self.most_data
    }

    /// Sees to room for `slots` slots, so that coming to have them allocates nothing; says how many can be
    /// in use then at most.
    pub(crate) fn make_room(&mut self, slots: u32) -> u32 {
        let reach = self.slots.end().max(slots);
        self.slots.make_room(reach);
        self.users.reserve_exact((reach as usize).saturating_sub(self.users.len()));
        reach
    }

    /// A request from a frontend: into the driver, or held. In a slot that it may not be submitted in it
    /// ends with an error.
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
        // SAFETY: rules 1 and 2: this thread's lane, and no reference outlives its statement. The header is
        // written once the slot is known to be the frontend's, and so nobody else reads or writes it.
        unsafe {
            if !(*lane).direct {
                return Lane::submit_in_line(lane, tag, frontend, cookie, req, submitted_ns);
            }
            // The slot is the driver's from here on, and it hears of it when the header is whole.
            if let Err(e) = (*lane).slots.issue(tag) {
                return Lane::refuse(lane, tag, frontend, cookie, &e);
            }
            Lane::begin(lane, tag, frontend, cookie, req, submitted_ns);
            let slot = (*lane).slot(tag);
            Lane::enter(lane, tag, slot);
        }
    }

    /// Writes the header of a request, and whom it answers to.
    ///
    /// # Safety
    /// As for `submit`; the slot is the frontend's, or the driver's that has not been told.
    #[inline]
    unsafe fn begin(
        lane: *mut Lane,
        tag: Tag,
        frontend: FrontendId,
        cookie: u64,
        req: &BlockRequest,
        submitted_ns: u64,
    ) {
        // SAFETY: as for `submit`.
        unsafe {
            let (late, open, age_from_ns) = (None, true, submitted_ns);
            let whole_from_ns = submitted_ns;
            let user =
                SlotUser { frontend, ops: 0, waits: 0, cookie, late, open, age_from_ns, whole_from_ns };
            (*lane).set_user(tag, user);
            (*lane).unanswered += 1;
            let slot = (*lane).slot(tag);
            (*slot).tag = tag.0;
            (*slot).device = req.device;
            (*slot).op = req.op;
            (*slot).flags = req.flags;
            (*slot).serial = (*slot).serial.wrapping_add(1);
            (*slot).offset = req.offset;
            (*slot).length = req.length;
            (*slot).submitted_ns = submitted_ns;
            if let Some(trial) = &(*lane).trial {
                trial.request_begins(&*slot);
            }
        }
    }

    /// The same as `submit` in the slot of a request of this frontend that has completed.
    ///
    /// # Safety
    /// As for `submit`.
    pub(crate) unsafe fn submit_next(
        lane: *mut Lane,
        tag: Tag,
        frontend: FrontendId,
        cookie: u64,
        req: &BlockRequest,
        submitted_ns: u64,
    ) {
        // SAFETY: as for `submit`.
        unsafe {
            if let Err(e) = (*lane).slots.renew(tag) {
                return Lane::refuse(lane, tag, frontend, cookie, &e);
            }
            let whole_from_ns = (*lane).whole_from(tag);
            Lane::submit(lane, tag, frontend, cookie, req, submitted_ns);
            // For whoever waits it is one request.
            (*lane).count_whole_from(tag, whole_from_ns);
        }
    }

    /// The driver is entered, and whoever looks from outside can see it.
    ///
    /// # Safety
    /// As for `submit`.
    #[inline]
    unsafe fn go_in(lane: *mut Lane, entry: Entry) {
        // SAFETY: rules 1 and 2.
        unsafe {
            (*lane).gate.enter(entry);
            (*(*lane).core.as_ptr()).bell.goes_in((*lane).id.0, entry.into());
        }
    }

    /// # Safety
    /// As for `finish`.
    #[inline]
    unsafe fn come_out(lane: *mut Lane, entry: Entry) {
        // SAFETY: rules 1 and 2.
        unsafe {
            (*lane).gate.leave(entry);
            (*(*lane).core.as_ptr()).bell.comes_out();
        }
    }

    /// # Safety
    /// As for `submit`; the slot is the driver's.
    #[inline]
    unsafe fn enter(lane: *mut Lane, tag: Tag, slot: *mut abi::Request) {
        // SAFETY: as for `submit`; entry points and the queue's structure live as long as the bound
        // instance, which the lane keeps.
        unsafe {
            let Some(bound) = &(*lane).bound else { return Lane::end(lane, tag, -libc::ENODEV) };
            let (submit, queue, gathers) = (bound.submit, bound.queue, bound.commit.is_some());
            Lane::go_in(lane, Entry::Submit);
            let result = submit(queue, slot);
            Lane::come_out(lane, Entry::Submit);
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
                return Lane::finish_aborted(lane, tag, result);
            }
            if (*lane).line.counted {
                Lane::token_back(lane);
            }
            Lane::answer(lane, tag, result);
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

    /// The driver completed a request that it had earlier in the same slot.
    ///
    /// # Safety
    /// As for `finish`.
    #[cold]
    pub(crate) unsafe fn blame_for_serial(lane: *mut Lane, tag: u32, said: u32, now: u32) {
        // SAFETY: rules 1 and 2.
        unsafe {
            if let Some(instance) = &(*lane).instance {
                let what = format!(
                    "completed request {tag} of serial {said}, where serial {now} is by now: refused"
                );
                fault(instance, &what);
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
            let owner = (*lane).slots.owner(tag);
            let owns = matches!(owner, Owner::Issued | Owner::Aborting | Owner::GivenUp | Owner::Lost);
            if user.late.is_some() || !owns {
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
}

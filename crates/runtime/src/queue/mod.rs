//! The loop of one queue: its ring, its ports, its frontends.
//!
//! A turn takes the completions that are there, lets drivers and frontends act on them, gathers what
//! they produced, and ends in one `io_uring_enter` that submits everything and waits for more.

#![allow(unsafe_code)] // enters drivers through lanes, see `Lane`

pub(crate) mod frontend;
mod frontends;
mod lanes;
pub(crate) mod queues;
pub(crate) mod remote;

use crate::change::swap::{Job, Verdict};
use crate::clock::now_ns;
use crate::error::EngineError;
use crate::helpers::{Foreman, close};
use crate::ids::{FrontendId, LaneId};
use crate::lane::Lane;
use crate::lane::core::{Core, Done};
use crate::lane::in_flight::OpKind;
use crate::port::directory::Directory;
use crate::queue::frontend::Frontend;
use crate::queue::remote::Remote;
use crate::ring::idle::{Idle, Watcher};
use crate::ring::{kind, user_data};
use crate::stack::queue::Stack;
use crate::trial::Mirror;
use io_uring::{opcode, types};
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::Arc;
use steadfast_abi as abi;

/// Completions taken in one turn.
const BATCH: usize = 256;
/// Shortest wait for a deadline, which may already have passed.
const LEAST_WAIT_NS: u64 = 100_000;
/// What an eventfd reads.
const WAKE_BYTES: usize = 8;

struct Place {
    frontend: Option<Box<dyn Frontend>>,
    used: bool,
    dirty: bool,
    removed: bool,
    /// Ring operations that have not completed.
    ring_ops: u32,
}

/// The loop of one queue. Handed to frontends and tasks by `&mut`, always on its own thread.
pub struct Reactor {
    core: NonNull<Core>,
    lanes: Vec<Option<NonNull<Lane>>>,
    places: Vec<Place>,
    /// Open devices, by number; a number is not used again.
    pub(crate) stacks: Vec<Option<Box<Stack>>>,
    /// Of the frontends, those of open devices.
    pub(crate) open_stacks: usize,
    free_places: Vec<u32>,
    /// Frontends that were removed, and for which something may still come.
    graves: Vec<FrontendId>,
    /// Completions are on their way to frontends.
    delivering: bool,
    dirty: Vec<FrontendId>,
    starved: Vec<LaneId>,
    jobs: Vec<LaneId>,
    leaving: Vec<(LaneId, Box<dyn FnOnce() + Send>)>,
    index: usize,
    remote: Arc<Remote>,
    directory: Arc<Directory>,
    wake: Box<[u8; WAKE_BYTES]>,
    /// Boxed: the kernel reads them at the addresses that were pushed.
    #[allow(clippy::vec_box)]
    times: Vec<Box<types::Timespec>>,
    written: Vec<(u32, i64)>,
    stopping: bool,
    /// The daemon ends: what hangs is not waited for.
    ending: bool,
    watcher: Watcher,
    /// The clock that requests are measured by is running.
    ticking: bool,
    /// Trials of candidates on this queue.
    pub(crate) mirrors: Vec<Mirror>,
}

impl Reactor {
    pub(crate) fn new(
        index: usize,
        directory: Arc<Directory>,
        remote: Arc<Remote>,
        foreman: Arc<Foreman>,
        files: u32,
    ) -> Result<Reactor, EngineError> {
        let core = Box::new(Core::new(foreman, remote.bell.clone(), files)?);
        Ok(Reactor {
            core: NonNull::from(Box::leak(core)),
            lanes: Vec::new(),
            places: Vec::new(),
            stacks: Vec::new(),
            open_stacks: 0,
            free_places: Vec::new(),
            graves: Vec::new(),
            delivering: false,
            dirty: Vec::new(),
            starved: Vec::new(),
            jobs: Vec::new(),
            leaving: Vec::new(),
            index,
            remote,
            directory,
            wake: Box::new([0; WAKE_BYTES]),
            times: Vec::new(),
            written: Vec::new(),
            stopping: false,
            ending: false,
            watcher: Watcher::default(),
            ticking: false,
            mirrors: Vec::new(),
        })
    }

    pub(crate) fn core(&mut self) -> &mut Core {
        // SAFETY: the core is this thread's and lives as long as the reactor; no other reference to
        // it is alive outside a driver's call, and none of those spans a call of this function.
        unsafe { self.core.as_mut() }
    }

    pub(crate) fn lane_ptr(&self, lane: LaneId) -> Option<NonNull<Lane>> {
        *self.lanes.get(lane.0 as usize)?
    }

    pub(crate) fn lane_of(&self, lane: LaneId) -> Option<NonNull<Lane>> {
        self.lane_ptr(lane)
    }

    /// All lanes.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = NonNull<Lane>> + '_ {
        self.lanes.iter().flatten().copied()
    }

    fn lane_ref(&self, lane: LaneId) -> Option<&Lane> {
        // SAFETY: this thread's lane; no driver is inside while the reactor is borrowed.
        self.lane_ptr(lane).map(|l| unsafe { &*l.as_ptr() })
    }

    fn lane_mut(&mut self, lane: LaneId) -> Option<&mut Lane> {
        // SAFETY: as above.
        self.lane_ptr(lane).map(|l| unsafe { &mut *l.as_ptr() })
    }

    // ---- the loop ----

    pub(crate) fn run(mut self) {
        close::wait_for_none_here();
        let busy_poll = self.directory.config.busy_poll;
        self.arm_wake();
        let mut batch = [(0_u64, 0_i32, 0_u32); BATCH];
        while !self.stopping || self.busy() {
            let now = now_ns();
            self.core().now_ns = now;
            let mut n = 0;
            for cqe in self.core().ring.completions().take(BATCH) {
                batch[n] = (cqe.user_data(), cqe.result(), cqe.flags());
                n += 1;
            }
            for (data, result, flags) in &batch[..n] {
                self.dispatch(*data, *result, *flags);
            }
            self.settle();
            self.watcher.learn();
            self.flush();
            self.core().fileio.submit();
            let again = self.core().fileio.needs_looking_after();
            self.core().tick_wanted |= again;
            if !self.ticking && (self.watcher.has_asked() || self.core().tick_wanted) {
                self.ticking = true;
                self.start_tick();
            }
            let more = n == BATCH || self.has_work();
            let all = if more || busy_poll { self.core().submit_and_wait(Some(0)) } else { self.idle() };
            if all {
                self.times.clear();
            }
            if busy_poll && n == 0 && !more {
                std::thread::yield_now();
            }
        }
    }

    /// Submits what is queued, and waits for a completion: awake for a moment, or asleep. True when
    /// everything was submitted.
    fn idle(&mut self) -> bool {
        let timeout = self.timeout_ns();
        if let (Idle::Watch { from_ns, until_ns }, None) = (self.watcher.next(), timeout) {
            let all = self.core().submit_and_wait(Some(0));
            if self.core().ready() {
                return all;
            }
            let start = now_ns();
            let mut looked = start;
            loop {
                std::thread::yield_now();
                let now = now_ns();
                let (waited, crowded) = (now - start, self.watcher.yielded(now - looked));
                looked = now;
                if waited >= from_ns && self.core().ready() {
                    return self.core().submit_and_wait(Some(0));
                }
                if crowded || waited >= until_ns {
                    break;
                }
            }
            self.watcher.in_vain();
            return self.core().submit_and_wait(None);
        }
        let start = now_ns();
        let all = self.core().submit_and_wait(timeout);
        self.watcher.slept(now_ns() - start);
        all
    }

    /// What a frontend's flush has brought about is not yet dealt with.
    fn has_work(&mut self) -> bool {
        let core = self.core();
        let done = !core.done.is_empty()
            || !core.commits.is_empty()
            || !core.due.is_empty()
            || core.fileio.has_completed()
            || !core.stacked.is_empty();
        // Nothing more may arrive once the last port and frontend have gone: the loop must look again.
        let over = self.stopping && !self.busy();
        done || over || !self.dirty.is_empty() || !self.starved.is_empty()
    }

    fn busy(&self) -> bool {
        self.lanes.iter().any(Option::is_some) || self.places.iter().any(|p| p.used)
    }

    fn arm_wake(&mut self) {
        let fd = types::Fd(self.remote.bell.eventfd().as_raw_fd());
        let entry = opcode::Read::new(fd, self.wake.as_mut_ptr(), WAKE_BYTES as u32).build();
        // SAFETY: the buffer is boxed and lives as long as the reactor.
        unsafe { self.core().push(&entry.user_data(user_data(kind::WAKE, 0))) };
    }

    fn dispatch(&mut self, data: u64, result: i32, flags: u32) {
        match data >> 56 {
            // A helper has it, and brings it back.
            kind::OP if self.core().fileio.tried(data as u32, result) => {}
            kind::OP => self.op_completed(data as u32, i64::from(result)),
            kind::FRONTEND => {
                let (who, token) = (FrontendId((data >> 32) as u32 & 0x00ff_ffff), data as u32);
                if let Some(place) = self.places.get_mut(who.0 as usize)
                    && !io_uring::cqueue::more(flags)
                {
                    place.ring_ops = place.ring_ops.saturating_sub(1);
                }
                self.with(who, |f, rt| f.ring(rt, who, token, result, flags));
                self.bury(who);
            }
            kind::WAKE => {
                self.arm_wake();
                for task in self.remote.take() {
                    task(self);
                }
                self.take_file_io();
            }
            kind::LANE => self.line_timer(LaneId(data as u32)),
            kind::EMPTIED => self.slot_emptied(data & 0x00ff_ffff_ffff_ffff, result),
            kind::TICK => {
                self.ticking = false;
                let again = self.core().fileio.look_after();
                self.core().tick_wanted |= again;
                self.tick();
            }
            _ => {}
        }
    }

    /// An operation of a driver has completed, on the ring or elsewhere.
    pub(crate) fn op_completed(&mut self, id: u32, result: i64) {
        let Some(entry) = self.core().ops.remove(id) else { return };
        let timed = entry.code == abi::op::TIMEOUT && result == -i64::from(libc::ETIME);
        if entry.kind == OpKind::Abandoned {
            self.core().kept.retain(|(kept, _)| *kept != id);
            return;
        }
        let stopped = matches!(entry.kind, OpKind::Timer(_)) && result == -i64::from(libc::ECANCELED);
        if stopped {
            return;
        }
        // SAFETY: a lane stays while it has operations in flight; nobody is inside its driver.
        unsafe { Lane::op_completed(entry.lane.as_ptr(), entry, id, if timed { 0 } else { result }) };
    }

    /// Takes over what has ended past the ring.
    fn take_file_io(&mut self) {
        let mut written = std::mem::take(&mut self.written);
        self.core().fileio.completed(&mut written);
        for (id, result) in written.drain(..) {
            self.op_completed(id, result);
        }
        self.written = written;
    }

    /// Delivers completions, ends batches and advances transactions until nothing moves.
    fn settle(&mut self) {
        loop {
            self.deliver();
            let commits = std::mem::take(&mut self.core().commits);
            let none = commits.is_empty();
            for lane in &commits {
                // SAFETY: lanes in the list are this thread's and alive: a lane with a batch has
                // requests, and is not dropped while it has.
                unsafe { Lane::commit(lane.as_ptr()) };
            }
            self.put_back(commits);
            if self.core().fileio.has_completed() {
                self.take_file_io();
                continue;
            }
            let moved = self.feed_due()
                | self.poll_jobs()
                | self.feed_starved()
                | self.poll_leaving()
                | self.feed_stacks();
            if none && !moved && self.core().done.is_empty() {
                #[cfg(debug_assertions)]
                self.must_add_up();
                return;
            }
        }
    }

    /// Keeps the room that the list has, unless a commit has begun a new list.
    fn put_back(&mut self, mut list: Vec<NonNull<Lane>>) {
        list.clear();
        if self.core().commits.is_empty() {
            self.core().commits = list;
        }
    }

    fn deliver(&mut self) {
        self.delivering = true;
        while !self.core().done.is_empty() {
            let mut done = std::mem::take(&mut self.core().done);
            self.count(&done);
            if !self.mirrors.is_empty() {
                self.copy_reads(&done);
            }
            for run in done.chunk_by(|a, b| a.frontend == b.frontend) {
                let who = run[0].frontend;
                // Taken out of its place once for all its completions.
                let there = self.with(who, |f, rt| {
                    run.iter().for_each(|d| f.completed(rt, who, d.lane, d.tag, d.cookie, d.result));
                });
                if !there {
                    run.iter().for_each(|d| self.bring_home(d));
                }
            }
            done.clear();
            if self.core().done.is_empty() {
                self.core().done = done;
            }
        }
        self.delivering = false;
        if !self.graves.is_empty() {
            std::mem::take(&mut self.graves).into_iter().for_each(|who| self.bury(who));
        }
    }

    /// Counts what has completed. One look at the clock does for all, and for those that come of them.
    fn count(&mut self, done: &[Done]) {
        let now = now_ns();
        self.core().now_ns = now;
        for of_lane in done.chunk_by(|a, b| a.lane == b.lane) {
            if let Some(lane) = self.lane_mut(of_lane[0].lane) {
                lane.count(of_lane, now);
            }
        }
    }

    fn flush(&mut self) {
        while let Some(who) = self.dirty.pop() {
            if let Some(place) = self.places.get_mut(who.0 as usize) {
                place.dirty = false;
            }
            self.with(who, |f, rt| f.flush(rt, who));
        }
    }

    fn feed_starved(&mut self) -> bool {
        if self.starved.is_empty() {
            return false;
        }
        for lane in std::mem::take(&mut self.starved) {
            let mut rounds = self.lane_ref(lane).map_or(0, |l| l.waiting.len());
            while rounds > 0 {
                rounds -= 1;
                let Some(l) = self.lane_mut(lane) else { break };
                if !l.slots.has_free() {
                    break;
                }
                let Some(who) = l.waiting.pop_front() else { break };
                self.with(who, |f, rt| f.slots_available(rt, who));
            }
        }
        true
    }

    /// Calls a frontend with itself taken out of the table, so that it can use the reactor freely. False:
    /// it is not there any more.
    #[inline]
    fn with(&mut self, who: FrontendId, f: impl FnOnce(&mut dyn Frontend, &mut Reactor)) -> bool {
        let place = self.places.get_mut(who.0 as usize).filter(|p| !p.removed);
        let Some(mut frontend) = place.and_then(|p| p.frontend.take()) else { return false };
        f(frontend.as_mut(), self);
        if let Some(place) = self.places.get_mut(who.0 as usize) {
            place.frontend = Some(frontend);
            self.bury(who);
        }
        true
    }

    /// Lets go of a frontend that was removed, and uses its number again: not before its last ring
    /// operation has completed, which may write to its memory and carries its number, and not as long as a
    /// request of it can complete, which carries it too.
    #[inline]
    fn bury(&mut self, who: FrontendId) {
        let Some(place) = self.places.get(who.0 as usize) else { return };
        if place.removed && place.ring_ops == 0 && place.frontend.is_some() {
            if self.delivering || self.is_waited_for(who) {
                if !self.graves.contains(&who) {
                    self.graves.push(who);
                }
                return;
            }
            self.places[who.0 as usize] =
                Place { frontend: None, used: false, dirty: false, removed: false, ring_ops: 0 };
            self.free_places.push(who.0);
        }
    }

    /// Whether a request of a frontend has completed that it has not heard of.
    pub(crate) fn is_on_its_way(&self, frontend: FrontendId) -> bool {
        // SAFETY: this thread's core; no reference to it is alive outside a driver's call.
        unsafe { self.core.as_ref() }.done.iter().any(|done| done.frontend == frontend)
    }

    // ---- transactions ----

    /// Takes part in a transaction on one of this queue's ports.
    pub(crate) fn join(&mut self, job: Arc<Job>) {
        let id = LaneId(job.port.id.0);
        let Some(lane) = self.lane_ptr(id) else { return };
        // SAFETY: this thread's lane; nobody is inside its driver on this thread.
        unsafe {
            // A driver that gathers is entered first.
            Lane::commit(lane.as_ptr());
            if (*lane.as_ptr()).is_out() {
                return (*lane.as_ptr()).do_later(Box::new(move |rt| rt.join(job)));
            }
            job.hold(lane.as_ptr());
            (*lane.as_ptr()).job = Some(job);
        }
        self.jobs.push(id);
        self.poll_jobs();
    }

    /// A lane has no part in a transaction any more.
    pub(crate) fn forget_job(&mut self, id: LaneId) {
        self.jobs.retain(|known| *known != id);
    }

    pub(crate) fn poll_jobs(&mut self) -> bool {
        let mut moved = false;
        let mut i = 0;
        while i < self.jobs.len() {
            if self.poll_job(self.jobs[i]) {
                self.jobs.swap_remove(i);
                moved = true;
            } else {
                i += 1;
            }
        }
        moved
    }

    /// True when this queue's part in the transaction is over.
    fn poll_job(&mut self, id: LaneId) -> bool {
        let Some(lane) = self.lane_ptr(id) else { return true };
        // SAFETY: this thread's lane; nobody is inside its driver. No reference into the lane is
        // alive while the job calls the driver.
        unsafe {
            let Some(job) = (*lane.as_ptr()).job.clone() else { return true };
            if (*lane.as_ptr()).is_away().is_some() {
                return false;
            }
            if job.verdict() == Verdict::Undecided && !(*lane.as_ptr()).arrived() {
                job.settle(lane.as_ptr());
            }
            if job.verdict() == Verdict::Undecided {
                return false;
            }
            if !job.release(lane.as_ptr()) {
                return false;
            }
            (*lane.as_ptr()).job = None;
        }
        true
    }

    /// Until when the loop may sleep: the next deadline of a transaction.
    fn timeout_ns(&mut self) -> Option<u64> {
        let now = now_ns();
        let deadline = |id: &LaneId| {
            let lane = self.lane_ref(*id)?;
            // One that has arrived is woken by the verdict.
            let job = lane.job.as_ref().filter(|_| !lane.arrived() && lane.is_away().is_none())?;
            Some(job.meeting.update().deadline_ns())
        };
        let next = self.jobs.iter().filter_map(deadline).min()?;
        Some(next.saturating_sub(now).max(LEAST_WAIT_NS))
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        // SAFETY: leaked by `new`; the loop is over, and with it everything that knew the core.
        let mut core = unsafe { Box::from_raw(self.core.as_ptr()) };
        // What hangs may use it as long as there is a helper.
        std::mem::forget(std::mem::take(&mut core.kept));
    }
}

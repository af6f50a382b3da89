//! Calls of drivers while their ports run, on threads of their own: `timer`, `commit` and `abort`.
//!
//! A driver that does not return from one of them keeps its own port, and nobody else on the queue. `timer` and
//! `commit` are called on the queue's own thread once the driver was quick in them often enough
//! ([`Habit`](steadfast_shell::earned::Habit)); `abort` never is: it is for requests that have waited for seconds.

#![allow(unsafe_code)] // calls through the driver's table of entry points

use crate::change::pause_calls::{Step, is_aborting, on_behalf};
use crate::clock::{now_ns, unix_ms};
use crate::driver::instance::Instance;
use crate::ids::{LaneId, Tag};
use crate::lane::Lane;
use crate::queue::Reactor;
use crate::resources::slot_memory::SLOT_STRIDE;
use std::sync::{Arc, Mutex};
use steadfast_shell::gate::Entry;
use steadfast_shell::sync::lock;

/// A call that takes so long may never return, nanoseconds: the port is stuck, and can be given another driver.
pub(crate) const LATE_NS: u64 = 1_000_000_000;

/// What a driver is called for.
#[derive(Debug)]
pub(crate) enum Work {
    Timer(u32),
    Commit,
    Abort(Vec<Tag>),
}

impl Work {
    pub(crate) const fn entry(&self) -> Entry {
        match self {
            Work::Timer(_) => Entry::Timer,
            Work::Commit => Entry::Commit,
            Work::Abort(_) => Entry::Abort,
        }
    }
}

/// One of a port's queues whose driver is in such a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    queue: usize,
    pub(crate) entry: Entry,
    since_ns: u64,
    pub(crate) since_unix_ms: u64,
}

/// All of a port's, for those who look from outside.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<Vec<Call>>);

impl Calls {
    pub(crate) fn begin(&self, queue: usize, entry: Entry) {
        lock(&self.0).push(Call { queue, entry, since_ns: now_ns(), since_unix_ms: unix_ms() });
    }

    pub(crate) fn end(&self, queue: usize) {
        lock(&self.0).retain(|call| call.queue != queue);
    }

    /// One that may never return.
    pub(crate) fn late(&self) -> Option<Call> {
        let now = now_ns();
        lock(&self.0).iter().find(|call| now.saturating_sub(call.since_ns) >= LATE_NS).copied()
    }
}

impl Instance {
    /// `timer`, `commit` or `abort`, on behalf of a queue.
    fn enter(&self, index: usize, work: Work) {
        let (table, block, queue) = (self.module.driver(), self.module.block(), self.queue(index));
        match work {
            Work::Timer(id) => {
                if let Some(timer) = table.timer {
                    // SAFETY: the queue is this instance's, its lane is held, and nobody else is inside on it.
                    unsafe { timer(queue, id) };
                }
            }
            Work::Commit => {
                if let Some(commit) = block.commit {
                    // SAFETY: as above.
                    unsafe { commit(queue) };
                }
            }
            Work::Abort(tags) => {
                let Some(abort) = block.abort else { return };
                // The driver may complete one when it is called for another.
                for tag in tags {
                    if is_aborting(queue, tag) {
                        let slots = self.port.memory[index].slots();
                        let slot = slots.wrapping_add(tag.0 as usize * SLOT_STRIDE);
                        // SAFETY: as above; the slot stays the request's until the driver has completed it.
                        unsafe { abort(queue, slot.cast()) };
                    }
                }
            }
        }
    }
}

/// Begins a call on a thread of its own; the queue hears of its end. False: there is no thread for it.
pub(crate) fn start(driver: &Arc<Instance>, index: usize, work: Work) -> bool {
    let (driver, entry) = (driver.clone(), work.entry());
    let (remote, lane) = (driver.port.remotes[index].clone(), LaneId(driver.port.id.0));
    let body = move || {
        let begin = now_ns();
        on_behalf(&remote, lane, &driver, index, || driver.enter(index, work));
        let ns = now_ns().saturating_sub(begin);
        if driver.is_abandoned() {
            return Instance::come_back(driver);
        }
        remote.post(Box::new(move |rt| rt.returned(lane, entry, ns, driver)));
    };
    std::thread::Builder::new().name("driver".into()).spawn(body).is_ok()
}

impl Reactor {
    /// A driver has returned from such a call.
    fn returned(&mut self, id: LaneId, entry: Entry, ns: u64, driver: Arc<Instance>) {
        let lane = self.lane_of(id).map(|lane| lane.as_ptr()).filter(|lane| {
            // SAFETY: this thread's lane, and nobody is inside its driver on this thread: tasks run in the loop.
            let (step, of) = unsafe { ((**lane).is_away(), (**lane).away_for()) };
            step == Some(Step::Own(entry)) && of.is_some_and(|of| Arc::ptr_eq(of, &driver))
        });
        let Some(lane) = lane.filter(|_| !driver.is_abandoned()) else {
            // It was left to itself in this moment. Its last call may take long too.
            let gone = std::thread::Builder::new().name("late".into());
            if let Err(e) = gone.spawn(move || Instance::come_back(driver)) {
                tracing::error!("a driver stays in memory: thread: {e}");
            }
            return;
        };
        drop(driver);
        // SAFETY: as above.
        unsafe {
            Lane::come_in(lane, ns);
            self.do_later(lane);
            let job = (*lane).job.clone();
            match job {
                _ if (*lane).is_away().is_some() => {}
                // It was called while the port is held to drain.
                Some(job) if job.drains() && !(*lane).arrived() => Lane::deliver_deferred(lane),
                Some(_) => {}
                None => Lane::open_again(lane),
            }
        }
        self.poll_jobs();
    }

    /// Does with a lane what had to wait for its driver.
    ///
    /// # Safety
    /// `lane` is this thread's, and nobody is inside its driver.
    unsafe fn do_later(&mut self, lane: *mut Lane) {
        // SAFETY: as promised. Those that find the driver out again wait again.
        let later = unsafe { (*lane).take_later() };
        later.into_iter().for_each(|task| task(self));
    }

    /// A port has no driver any more, and goes on holding.
    pub(crate) fn strand_lane(&mut self, id: LaneId) {
        let Some(lane) = self.lane_of(id).map(|lane| lane.as_ptr()) else { return };
        // SAFETY: this thread's lane; nobody enters its driver any more, nor is anybody inside on this thread.
        unsafe {
            (*lane).forget_call();
            if (*lane).gate.is_open() {
                Lane::shut(lane, true);
            }
            if !(*lane).arrived() {
                (*lane).seal();
            }
            (*lane).install(None);
            self.do_later(lane);
        }
        self.poll_jobs();
    }
}

//! Entry points that belong to a queue, called on another thread: `hand_back` and `queue_run`.
//!
//! A driver that has not earned the queue's thread is called for them on the thread of its transaction, with the port
//! held on that queue. What it asks of the shell there is done by the queue, between two turns for its other ports,
//! while the driver waits for the answer. A call that does not return is given up by whoever waits for the transaction.

#![allow(unsafe_code)] // what a driver asks for is handed to its queue's thread

use crate::change::phases::drive;
use crate::change::swap::{Job, Verdict};
use crate::clock::now_ns;
use crate::driver::instance::Instance;
use crate::ids::{LaneId, Tag};
use crate::lane::Lane;
use crate::queue::Reactor;
use crate::queue::remote::Remote;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use steadfast_abi as abi;
use steadfast_shell::gate::Entry;
use steadfast_shell::rendezvous::{Next, Runner};
use steadfast_shell::slots::Owner;

/// Time that such a call has in any case, nanoseconds.
const LEAST_NS: u64 = 1_000_000_000;

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    HandBack,
    Run,
    /// While the port runs: see [`background_calls`](crate::driver::background_calls).
    Own(Entry),
}

impl Step {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Step::HandBack => "hand_back",
            Step::Run => "queue_run",
            Step::Own(entry) => entry.name(),
        }
    }
}

/// What the thread of a transaction is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Errand {
    /// The phases between the drivers, from this one on.
    Exchange(Next),
    /// An entry point on behalf of the port's queue of this number.
    Call(Step, usize),
}

/// How many queues wait for their driver to return, and since when.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    handing_back: AtomicU32,
    running: AtomicU32,
    running_since_ns: AtomicU64,
}

impl Waiting {
    /// Calls while the port runs are none of a transaction's.
    fn count(&self, step: Step) -> Option<&AtomicU32> {
        match step {
            Step::HandBack => Some(&self.handing_back),
            Step::Run => Some(&self.running),
            Step::Own(_) => None,
        }
    }

    pub(crate) fn begin(&self, step: Step) {
        let before = self.count(step).map(|count| count.fetch_add(1, Ordering::AcqRel));
        if before == Some(0) && step == Step::Run {
            self.running_since_ns.store(now_ns(), Ordering::Release);
        }
    }

    pub(crate) fn end(&self, step: Step) {
        if let Some(count) = self.count(step) {
            count.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn is_in(&self, step: Step) -> bool {
        self.count(step).is_some_and(|count| count.load(Ordering::Acquire) > 0)
    }

    /// The entry point that a driver is in.
    pub(crate) fn inside(&self) -> Option<Step> {
        [Step::HandBack, Step::Run].into_iter().find(|step| self.is_in(*step))
    }
}

/// Where a thread is that calls a driver on behalf of a queue.
struct Here {
    remote: Arc<Remote>,
    lane: LaneId,
    driver: Arc<Instance>,
    queue: usize,
}

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// Does what the thread of a transaction is there for.
pub(crate) fn work(job: Arc<Job>, errand: Errand) {
    match errand {
        Errand::Exchange(first) => drive(job, first, Runner::default()),
        Errand::Call(step, index) => call(job, step, index),
    }
}

/// Calls the driver, and tells its queue what came of it.
fn call(job: Arc<Job>, step: Step, index: usize) {
    let Some(driver) = job.whose(step) else { return };
    let (remote, lane) = (job.port.remotes[index].clone(), LaneId(job.port.id.0));
    let known = Arc::downgrade(&job);
    // Whoever is in a call knows nothing of the transaction.
    drop(job);
    let begin = now_ns();
    let result = on_behalf(&remote, lane, &driver, index, || match step {
        Step::HandBack => driver.hand_back(index),
        Step::Run | Step::Own(_) => {
            driver.queue_run(index);
            Ok(())
        }
    });
    driver.took(step, now_ns().saturating_sub(begin));
    match known.upgrade() {
        Some(job) if !driver.is_abandoned() => {
            remote.post(Box::new(move |rt| rt.came_back(&job, step, result, driver)));
        }
        _ => Instance::come_back(driver),
    }
}

/// Calls a driver for its port's queue of this number; what it asks of the shell meanwhile is done by that queue.
pub(crate) fn on_behalf<T>(
    remote: &Arc<Remote>,
    lane: LaneId,
    driver: &Arc<Instance>,
    index: usize,
    call: impl FnOnce() -> T,
) -> T {
    let queue = driver.queue(index).addr();
    let here = Here { remote: remote.clone(), lane, driver: driver.clone(), queue };
    HERE.with(|place| place.replace(Some(here)));
    let result = call();
    drop(HERE.with(RefCell::take));
    result
}

/// Whether a request of the driver's is one that it is asked to give up.
pub(crate) fn is_aborting(queue: *mut abi::Queue, tag: Tag) -> bool {
    // SAFETY: the lane is that of the thread that this runs on; no reference into it is kept.
    ask(queue, move |lane| i32::from(unsafe { (*lane).slots.owner(tag) } == Owner::Aborting)) == 1
}

/// Has something done with the lane that the driver of this thread is called for; `-EPERM` where there is none.
#[cold]
fn ask(queue: *mut abi::Queue, f: impl FnOnce(*mut Lane) -> i32 + Send + 'static) -> i32 {
    let found = HERE.with(|place| {
        let place = place.try_borrow().ok()?;
        let here = place.as_ref().filter(|here| here.queue == queue.addr())?;
        Some((here.remote.clone(), here.lane, here.driver.clone()))
    });
    let Some((remote, id, driver)) = found else { return -libc::EPERM };
    let (tx, rx) = sync_channel(1);
    remote.post(Box::new(move |rt| {
        let lane = rt.lane_of(id).filter(|lane| {
            // SAFETY: this thread's lane; no reference into it is kept.
            let of = unsafe { (*lane.as_ptr()).away_for() };
            of.is_some_and(|of| Arc::ptr_eq(of, &driver)) && !driver.is_abandoned()
        });
        let _ = tx.send(lane.map_or(-libc::ESHUTDOWN, |lane| f(lane.as_ptr())));
    }));
    rx.recv().unwrap_or(-libc::ESHUTDOWN)
}

/// An operation, whose segments are on the stack of a thread that waits.
struct Waits(abi::Op);
// SAFETY: what it points to stays until the thread has its answer, and nobody writes to it meanwhile.
unsafe impl Send for Waits {}

impl Waits {
    /// # Safety
    /// As for [`Lane::issue`].
    unsafe fn issue(self, lane: *mut Lane) -> i32 {
        // SAFETY: as promised.
        unsafe { Lane::issue(lane, &self.0) }
    }
}

/// [`abi::ShellOps::issue`].
pub(crate) fn issue(queue: *mut abi::Queue, op: abi::Op) -> i32 {
    let op = Waits(op);
    // SAFETY: the lane is that of the thread that this runs on, and its driver is on the one that waits.
    ask(queue, move |lane| unsafe { op.issue(lane) })
}

/// [`abi::ShellOps::cancel`].
pub(crate) fn cancel(queue: *mut abi::Queue, id: u32) -> i32 {
    // SAFETY: as for `issue`.
    ask(queue, move |lane| unsafe { Lane::cancel(lane, id) })
}

/// [`abi::ShellOps::complete`].
pub(crate) fn complete(queue: *mut abi::Queue, tag: u32, result: i32) -> i32 {
    // SAFETY: as for `issue`.
    ask(queue, move |lane| unsafe { Lane::complete(lane, tag, result) })
}

/// [`abi::ShellOps::timer`].
pub(crate) fn timer(queue: *mut abi::Queue, id: u32, ns: u64) -> i32 {
    // SAFETY: as for `issue`.
    ask(queue, move |lane| unsafe { Lane::timer(lane, id, ns) })
}

/// [`abi::ShellOps::give_back`].
pub(crate) fn give_back(queue: *mut abi::Queue, tag: u32) -> i32 {
    // SAFETY: as for `issue`.
    ask(queue, move |lane| unsafe { Lane::give_back(lane, tag) })
}

impl Job {
    /// The driver that is called.
    pub(crate) fn whose(&self, step: Step) -> Option<Arc<Instance>> {
        match (step, self.verdict()) {
            (Step::Run, Verdict::New) => self.new.clone(),
            _ => self.old.clone(),
        }
    }

    /// Has a driver called on another thread, where this transaction has one. False: it is to be called here.
    ///
    /// # Safety
    /// `lane` is this thread's and closed, and nobody is inside its driver.
    pub(crate) unsafe fn send_away(&self, lane: *mut Lane, step: Step) -> bool {
        if self.apart.get().is_none() {
            return false;
        }
        self.waiting.begin(step);
        // SAFETY: as promised.
        unsafe {
            Lane::leave(lane, step);
            let sent = self.send(lane, Errand::Call(step, (*lane).index));
            if !sent {
                Lane::come_home(lane);
                (*lane).not_run();
                self.waiting.end(step);
            }
            sent
        }
    }

    /// Has the thread of this transaction do something, or another one where that one is stuck. False: there is none.
    ///
    /// # Safety
    /// `lane` is this thread's.
    pub(crate) unsafe fn send(&self, lane: *mut Lane, errand: Errand) -> bool {
        let Some(thread) = self.apart.get() else { return false };
        if !self.is_stuck.load(Ordering::Acquire) {
            return thread.try_send(errand).is_ok();
        }
        // SAFETY: as promised.
        let Some(job) = (unsafe { (*lane).job.clone() }) else { return false };
        std::thread::Builder::new().name("exchange".into()).spawn(move || work(job, errand)).is_ok()
    }

    /// Gives up a call that was sent away: it is late, or `whichever` it is. True when there was one.
    pub(crate) fn lose_away(self: &Arc<Job>, whichever: bool) -> bool {
        let Some(step) = self.waiting.inside() else { return false };
        let (consent, latest_ns, deadline_ns) = {
            let update = self.meeting.update();
            (!update.does_without_consent(), update.latest_ns(), update.allowed_ns())
        };
        let since_ns = self.waiting.running_since_ns.load(Ordering::Acquire);
        let late = match step {
            Step::HandBack | Step::Own(_) => !consent && now_ns() >= latest_ns,
            // The one that serves already is waited for: nobody could be put in its place.
            Step::Run => {
                self.verdict() == Verdict::New
                    && now_ns() >= since_ns.saturating_add(deadline_ns.max(LEAST_NS))
            }
        };
        let Some(driver) = self.whose(step).filter(|_| late || whichever) else { return false };
        let (release, entry) = (driver.module.release(), step.name());
        let when = if late { " before the deadline" } else { "" };
        let why = format!(
            "{} {}: {entry} did not return{when}: the call is abandoned, and its module stays in memory",
            release.driver, release.version
        );
        if step == Step::Run {
            driver.never_ran(&why);
        }
        driver.abandon(entry);
        self.is_stuck.store(true, Ordering::Release);
        for remote in &self.port.remotes {
            let (job, why) = (self.clone(), why.clone());
            remote.post(Box::new(move |rt| rt.lost_away(&job, step, why)));
        }
        true
    }
}

impl Reactor {
    /// The lane that waits for its driver in this transaction.
    fn waits(&self, job: &Arc<Job>, step: Step) -> Option<*mut Lane> {
        let lane = self.lane_of(LaneId(job.port.id.0))?.as_ptr();
        // SAFETY: this thread's lane, and nobody is inside its driver on this thread: tasks run in the loop.
        let waits = unsafe {
            let of = &(*lane).job;
            (*lane).is_away() == Some(step) && of.as_ref().is_some_and(|of| Arc::ptr_eq(of, job))
        };
        waits.then_some(lane)
    }

    /// A driver has returned from a call that was sent away.
    fn came_back(&mut self, job: &Arc<Job>, step: Step, result: Result<(), String>, driver: Arc<Instance>) {
        let Some(lane) = self.waits(job, step) else {
            // It was given up in the meantime. Its last call may take long too.
            let gone = std::thread::Builder::new().name("late".into());
            if let Err(e) = gone.spawn(move || Instance::come_back(driver)) {
                tracing::error!("a driver stays in memory: thread: {e}");
            }
            return;
        };
        drop(driver);
        job.waiting.end(step);
        // SAFETY: as in `waits`.
        unsafe {
            let handed_back = Lane::come_home(lane);
            if step == Step::HandBack {
                job.handed_back(lane, result.map(|()| handed_back));
            }
        }
        self.poll_jobs();
    }

    /// A call that was sent away was given up.
    fn lost_away(&mut self, job: &Arc<Job>, step: Step, why: String) {
        let Some(lane) = self.waits(job, step) else { return };
        job.waiting.end(step);
        // SAFETY: as in `waits`.
        unsafe {
            Lane::come_home(lane);
            if step == Step::HandBack {
                job.handed_back(lane, Err(why));
            } else {
                // Nobody serves it on this queue, which goes on holding.
                (*lane).stays_closed();
                (*lane).job = None;
                self.forget_job(LaneId(job.port.id.0));
                job.released(lane);
            }
        }
        self.poll_jobs();
    }
}

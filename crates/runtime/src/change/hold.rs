//! A short visit to a port that is held: something is done with its driver, and the driver goes on.
//!
//! Every queue of the port holds its requests; when the last one has arrived, the work is done on a thread of its
//! own; then all go on. A queue that has arrived goes on with its other ports until it is told to release: whatever
//! time a driver takes in `param_changed` or `save_state` is its own port's.

#![allow(unsafe_code)] // lanes, see `Lane`

use crate::change::phases::wait_for;
use crate::clock::now_ns;
use crate::driver::instance::Instance;
use crate::error::{EngineError, ErrorKind};
use crate::ids::LaneId;
use crate::lane::Lane;
use crate::port::Port;
use crate::queue::Reactor;
use std::fmt;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast_shell::sync::lock;

/// How long the port's queues may take to arrive, and the driver to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

type Work = Box<dyn FnOnce() -> Result<(), String> + Send>;

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// Queues hold; so many are still to come.
    Gathering(usize),
    /// The work is done.
    Working,
    /// The driver has returned, and the queues are told to go on.
    Releasing,
    /// It was given up while the driver did not return: the queues go on holding, for the next driver.
    Lost,
    /// Given up before all had come: whoever comes now does not hold.
    GivenUp,
    Over,
}

/// A visit under way.
pub(crate) struct Visit {
    port: Arc<Port>,
    /// What is done, for messages.
    pub(crate) what: &'static str,
    progress: Mutex<Progress>,
    /// Where the thread that does the work waits for all queues to have come.
    begin: SyncSender<()>,
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visit")
            .field("port", &self.port.name)
            .field("what", &self.what)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Progress {
    phase: Phase,
    /// Places of the queues that hold.
    holding: Vec<usize>,
    hold_ns: u64,
}

impl Visit {
    /// How long the port has been held for it, nanoseconds.
    pub(crate) fn held_ns(&self) -> u64 {
        match lock(&self.progress).hold_ns {
            0 => 0,
            since => now_ns().saturating_sub(since),
        }
    }

    /// The driver does not run any more on behalf of it, and no queue will hold for it.
    pub(crate) fn is_over(&self) -> bool {
        matches!(lock(&self.progress).phase, Phase::Over | Phase::GivenUp | Phase::Lost)
    }

    /// A queue holds the port; the last one has the work done.
    fn arrive(self: &Arc<Visit>, rt: &mut Reactor) {
        let Some(lane) = rt.lane_of(LaneId(self.port.id.0)) else { return };
        // SAFETY: this thread's lane, and nobody is inside its driver on this thread: tasks run in the loop.
        unsafe {
            // A driver that gathers is entered first.
            Lane::commit(lane.as_ptr());
            if (*lane.as_ptr()).is_out() {
                let visit = self.clone();
                return (*lane.as_ptr()).do_later(Box::new(move |rt| visit.arrive(rt)));
            }
        }
        let last = {
            let mut progress = lock(&self.progress);
            let Phase::Gathering(left) = progress.phase else { return };
            // SAFETY: this thread's lane, and nobody is inside its driver: tasks run in the loop.
            unsafe {
                Lane::close(lane.as_ptr(), true);
                (*lane.as_ptr()).seal();
                progress.holding.push((*lane.as_ptr()).index);
            }
            if progress.hold_ns == 0 {
                progress.hold_ns = now_ns();
            }
            progress.phase = if left == 1 { Phase::Working } else { Phase::Gathering(left - 1) };
            left == 1
        };
        if last && self.begin.try_send(()).is_err() {
            // Nobody is there to go on: the port must not stay held.
            tracing::error!(port = self.port.name, "{}: the thread for it is gone", self.what);
            lock(&self.progress).phase = Phase::Gathering(0);
            self.give_up();
        }
    }

    /// All queues hold: on the thread for it. Says for how long they did, nanoseconds.
    fn carry_out(&self, work: Work) -> Result<u64, String> {
        let done = work();
        let (all, pause_ns) = {
            let mut progress = lock(&self.progress);
            if progress.phase == Phase::Lost {
                return Err("it returned too late".to_owned());
            }
            progress.phase = Phase::Releasing;
            (std::mem::take(&mut progress.holding), now_ns().saturating_sub(progress.hold_ns))
        };
        self.release_at(all.into_iter());
        // Not before: whoever comes next must find the releases ahead of what it posts.
        lock(&self.progress).phase = Phase::Over;
        done.map(|()| pause_ns)
    }

    fn release_at(&self, places: impl Iterator<Item = usize>) {
        let id = LaneId(self.port.id.0);
        places.for_each(|index| self.port.remotes[index].post(Box::new(move |rt| rt.release_lane(id))));
    }

    /// Gives it up although a driver is in the call. True when it was: whatever comes of the call is nobody's.
    pub(crate) fn lose(&self) -> bool {
        let mut progress = lock(&self.progress);
        let inside = progress.phase == Phase::Working;
        if inside {
            progress.phase = Phase::Lost;
        }
        inside
    }

    /// Gives it up, unless every queue has arrived; true when it did.
    fn give_up(&self) -> bool {
        let mut progress = lock(&self.progress);
        if !matches!(progress.phase, Phase::Gathering(_)) {
            return false;
        }
        progress.phase = Phase::GivenUp;
        let holding = std::mem::take(&mut progress.holding);
        drop(progress);
        self.release_at(holding.into_iter());
        true
    }
}

impl Reactor {
    /// The requests of a port that has no driver end, and so do those that still come: none will come to serve it.
    pub(crate) fn end_stranded(&mut self, id: LaneId) {
        let Some(lane) = self.lane_of(id) else { return };
        // SAFETY: this thread's lane; tasks run in the loop.
        unsafe { Lane::end_stranded(lane.as_ptr()) };
    }

    /// A port goes on after a visit.
    fn release_lane(&mut self, id: LaneId) {
        let Some(lane) = self.lane_of(id) else { return };
        // SAFETY: this thread's lane, sealed by `arrive`; nobody is inside its driver: tasks run in the
        // loop.
        unsafe {
            Lane::open(lane.as_ptr(), false);
            Lane::commit(lane.as_ptr());
        }
    }
}

/// Does `work` while every queue of the port holds; says for how long they did, nanoseconds. The caller
/// has the port's turn.
///
/// # Errors
/// `Driver` with what `work` says; `Unresponsive`: a queue does not answer, or `work` does not return
/// from the driver's entry point `what`.
pub(crate) fn visit(
    port: &Arc<Port>,
    what: &'static str,
    work: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> Result<u64, EngineError> {
    let name = &port.name;
    let failed = |kind, why: String| Err(EngineError::new(kind, format!("port {name}: {why}")));
    let (finished, answer) = sync_channel(1);
    let (begin, all_hold) = sync_channel(1);
    let phase = Phase::Gathering(port.queues.len());
    let holding = Vec::with_capacity(port.queues.len());
    let progress = Mutex::new(Progress { phase, holding, hold_ns: 0 });
    let visit = Arc::new(Visit { port: port.clone(), what, progress, begin });
    let (known, work) = (Arc::downgrade(&visit), Box::new(work) as Work);
    let driver = lock(&port.inner).serving.clone();
    let body = move || {
        // Where it is given up nobody knows the visit any more.
        if let (Some(()), Some(visit)) = (wait_for(&all_hold), known.upgrade()) {
            let _ = finished.try_send(visit.carry_out(work));
        }
        if let Some(driver) = driver.filter(|driver| driver.is_abandoned()) {
            Instance::come_back(driver);
        }
    };
    if let Err(e) = std::thread::Builder::new().name("visit".into()).spawn(body) {
        return failed(ErrorKind::Driver, format!("thread: {e}"));
    }
    for remote in &port.remotes {
        let visit = visit.clone();
        remote.post(Box::new(move |rt| visit.arrive(rt)));
    }
    let stuck = |why| failed(ErrorKind::Unresponsive, format!("a driver may be stuck: {why}"));
    let first = answer.recv_timeout(PATIENCE).ok();
    let given_up = first.is_none() && visit.give_up();
    // It may have ended in this moment.
    match first.or_else(|| answer.try_recv().ok()) {
        Some(Ok(pause_ns)) => Ok(pause_ns),
        Some(Err(why)) => failed(ErrorKind::Driver, why),
        None if given_up => stuck("one of its queues does not answer; nothing was done".to_owned()),
        None => {
            lock(&port.inner).visit = Some(visit);
            stuck(format!("it does not return from `{what}`; requests stay held until it does"))
        }
    }
}

//! A short visit to a port that is held: something is done with its driver, and the driver goes on.
//!
//! Every queue of the port holds its requests; the last one to arrive does the work; then all go on.
//! With one queue all of that is one function call on its thread; with several, a queue that has
//! arrived goes on with its other ports until it is told to release.

#![allow(unsafe_code)] // lanes, see `Lane`

use crate::LaneId;
use crate::core::now_ns;
use crate::error::{EngineError, ErrorKind};
use crate::handle::lock;
use crate::lane::Lane;
use crate::port::Port;
use crate::reactor::Reactor;
use std::fmt;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long the port's queues may take to arrive, and the driver to answer.
const PATIENCE: Duration = Duration::from_secs(5);

type Work = Box<dyn FnOnce() -> Result<(), String> + Send>;

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// Queues hold; so many are still to come.
    Gathering(usize),
    /// The work is done.
    Working,
    /// Given up before all had come: whoever comes now does not hold.
    GivenUp,
    Over,
}

/// A visit under way.
pub(crate) struct Visit {
    port: Arc<Port>,
    /// What is done, for messages.
    what: &'static str,
    work: Mutex<Option<Work>>,
    progress: Mutex<Progress>,
    finished: SyncSender<Result<u64, String>>,
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
    /// The driver does not run any more on behalf of it, and no queue will hold for it.
    pub(crate) fn is_over(&self) -> bool {
        matches!(lock(&self.progress).phase, Phase::Over | Phase::GivenUp)
    }

    /// A queue holds the port; the last one does the work.
    fn arrive(self: &Arc<Visit>, rt: &mut Reactor) {
        let Some(lane) = rt.lane_of(LaneId(self.port.id.0)) else { return };
        // Outside the lock: a driver that gathers is entered here, and may take its time.
        // SAFETY: this thread's lane, and nobody is inside its driver: tasks run in the loop.
        unsafe { Lane::commit(lane.as_ptr()) };
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
        if !last {
            return;
        }
        let work = lock(&self.work).take();
        let done = work.map_or(Ok(()), |work| work());
        // SAFETY: as above.
        let own = unsafe { (*lane.as_ptr()).index };
        let (others, pause_ns) = {
            let mut progress = lock(&self.progress);
            (std::mem::take(&mut progress.holding), now_ns().saturating_sub(progress.hold_ns))
        };
        self.release_at(others.into_iter().filter(|index| *index != own));
        // Not before: whoever comes next must find the others' releases ahead of what it posts.
        lock(&self.progress).phase = Phase::Over;
        rt.release_lane(LaneId(self.port.id.0));
        let _ = self.finished.try_send(done.map(|()| pause_ns));
    }

    fn release_at(&self, places: impl Iterator<Item = usize>) {
        let id = LaneId(self.port.id.0);
        places.for_each(|index| self.port.remotes[index].post(Box::new(move |rt| rt.release_lane(id))));
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
    let (finished, answer) = sync_channel(1);
    let phase = Phase::Gathering(port.queues.len());
    let holding = Vec::with_capacity(port.queues.len());
    let progress = Mutex::new(Progress { phase, holding, hold_ns: 0 });
    let work = Mutex::new(Some(Box::new(work) as Work));
    let visit = Arc::new(Visit { port: port.clone(), what, work, progress, finished });
    for remote in &port.remotes {
        let visit = visit.clone();
        remote.post(Box::new(move |rt| visit.arrive(rt)));
    }
    let name = &port.name;
    let failed = |kind, why: String| Err(EngineError::new(kind, format!("port {name}: {why}")));
    let stuck = |why| failed(ErrorKind::Unresponsive, format!("a driver may be stuck: {why}"));
    match answer.recv_timeout(PATIENCE) {
        Ok(Ok(pause_ns)) => Ok(pause_ns),
        Ok(Err(why)) => failed(ErrorKind::Driver, why),
        Err(_) if visit.give_up() => stuck("one of its queues does not answer; nothing was done".to_owned()),
        Err(_) => {
            lock(&port.inner).visit = Some(visit);
            stuck(format!("it does not return from `{what}`; requests stay held until it does"))
        }
    }
}

//! Calls beside the pause that may take as long as somebody waits, and no longer: `probe`, `prepare`, `release`.
//!
//! Each is made on a thread of its own. One that does not return in time is left to itself, as those between two
//! drivers are: whoever asked is told, nothing else waits, and what comes of it is nobody's.

use crate::change::prepare::{NotReady, discard};
use crate::driver::instance::{Instance, probe};
use crate::driver::pinned::Pinned;
use crate::helpers::ready_threads;
use crate::port::Port;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SendError, sync_channel};
use std::time::{Duration, Instant};
use steadfast_loader::LoadedModule;
use steadfast_shell::sync::lock;

/// Time that every call has: a short deadline is meant for the pause, which these are not in.
const LEAST: Duration = Duration::from_secs(2);
/// How long `release` may take: the update is over, and only its receipt waits.
const RELEASE: Duration = Duration::from_secs(5);
/// How often whoever waits looks whether the engine ends.
const LOOK: Duration = Duration::from_millis(50);

/// Waits for an answer. `None`: it has not come in time, or the engine ends and does not wait for it.
fn wait<T>(port: &Port, answer: &Receiver<T>, limit: Duration) -> Option<T> {
    let mut until = Instant::now() + limit.max(LEAST);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match answer.recv_timeout(left.min(LOOK)) {
            Ok(answer) => return Some(answer),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) if Instant::now() >= until => return None,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if port.directory.upgrade().is_none_or(|engine| engine.ending.load(Ordering::Relaxed)) {
            until = until.min(Instant::now() + LEAST);
        }
    }
}

fn too_late(module: &LoadedModule, entry: &str, limit: Duration) -> String {
    let (release, seconds) = (module.release(), limit.max(LEAST).as_secs_f64());
    format!(
        "{} {}: {entry} did not return within {seconds} s: the call is abandoned, and its module stays in memory",
        release.driver, release.version
    )
}

/// `probe`, within a limit.
pub(crate) fn probe_within(
    module: &Arc<LoadedModule>,
    port: &Arc<Port>,
    limit: Duration,
) -> Result<(), String> {
    if module.driver().probe.is_none() {
        return Ok(());
    }
    // Without room: whoever sends learns whether somebody still waits.
    let (tx, rx) = sync_channel(0);
    let (mine, own) = (module.clone(), port.clone());
    let body = move || {
        let result = probe(&mine, &own);
        if let Err(SendError((_, mine, own))) = tx.send((result, mine, own)) {
            own.unpin(Arc::as_ptr(&mine).addr(), &mine.release());
        }
    };
    if let Err(e) = ready_threads::begin("probe", body) {
        tracing::error!(port = port.name, "thread: {e}: probe is called on this one");
        return probe(module, port);
    }
    if let Some((result, ..)) = wait(port, &rx, limit) {
        return result;
    }
    let pinned = Pinned::inside(&port.name, module.release(), "probe", Arc::as_ptr(module).addr());
    lock(&port.inner).abandoned.push(pinned);
    Err(too_late(module, "probe", limit))
}

impl Instance {
    /// An entry point, within a limit.
    fn within(
        self: &Arc<Instance>,
        entry: &'static str,
        limit: Duration,
        call: fn(&Instance) -> Result<(), String>,
    ) -> Result<(), String> {
        let (tx, rx) = sync_channel(0);
        let mine = self.clone();
        let body = move || {
            let result = call(&mine);
            if let Err(SendError((_, mine))) = tx.send((result, mine)) {
                Instance::come_back(mine);
            }
        };
        if let Err(e) = ready_threads::begin(entry, body) {
            tracing::error!(port = self.port.name, "thread: {e}: {entry} is called on this one");
            return call(self);
        }
        match wait(&self.port, &rx, limit) {
            // The thread has nothing of it any more.
            Some((result, _mine)) => result,
            None => {
                // Before it can learn that nobody waits.
                self.abandon(entry);
                drop(rx);
                Err(too_late(&self.module, entry, limit))
            }
        }
    }

    /// `prepare`, and what lanes need to know afterwards.
    pub(crate) fn prepare(self: &Arc<Instance>, limit: Duration) -> Result<(), String> {
        self.within("prepare", limit, Instance::prepare_here)
    }

    /// The last call, when no queue knows the instance any more. One that does not return is left to itself.
    pub(crate) fn release(self: &Arc<Instance>) {
        if self.is_abandoned() || self.module.driver().release.is_none() {
            return;
        }
        self.released.store(true, Ordering::Relaxed);
        let _ = self.within("release", RELEASE, |instance| {
            instance.release_here();
            Ok(())
        });
    }
}

impl NotReady {
    /// Lets go of what there is of the driver.
    pub(crate) fn of(why: String, instance: Arc<Instance>) -> NotReady {
        let pinned = instance.is_abandoned();
        NotReady { why, busy: false, pinned, module: discard(instance) }
    }
}

//! Drivers that are left to themselves: they do not return from a call, or did not let go of their port.
//!
//! Nobody enters such a driver any more, and its shell calls are refused. Its module and its arenas stay, and what it
//! may be looking at stays where it is: the state that it was given, and regions that were its own. When a call
//! returns after all, what was kept for it goes.

use crate::change::swap::left;
use crate::control::Control;
use crate::driver::instance::{Instance, Kept};
use crate::driver::pinned::Pinned;
use crate::ids::LaneId;
use crate::info::Abandoned;
use crate::port::Port;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use steadfast_shell::earned::{CallTimes, Entry};
use steadfast_shell::receipt::Release;
use steadfast_shell::sync::lock;

/// Most drivers of one port that are left to themselves, before it takes no other one.
pub(crate) const MOST: usize = 16;

/// How long the queues of a port may take to see that a call was given up.
const SETTLES: Duration = Duration::from_secs(2);

impl Instance {
    /// Nobody enters it any more, and it changes nothing.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// It does not return from this entry point, and is left to itself.
    pub(crate) fn abandon(&self, entry: &str) {
        self.pin(entry, None);
    }

    /// It has returned, but it has not let go: it is never entered again, and its module stays.
    pub(crate) fn abandon_idle(self: &Arc<Instance>, entry: &str) {
        self.pin(entry, Some(self.clone()));
    }

    fn pin(&self, entry: &str, keeps: Option<Arc<Instance>>) {
        // Of one that has served there are none: they are the port's.
        let made = mem::take(&mut lock(&self.made).regions);
        let mut guard = lock(&self.port.inner);
        let inner = &mut *guard;
        if self.abandoned.swap(true, Ordering::AcqRel) {
            return;
        }
        if self.writes_aside.swap(false, Ordering::Relaxed) {
            inner.states.change_places();
        }
        let mut own = Vec::new();
        for number in &made {
            own.extend(inner.regions.get_mut(*number as usize).and_then(Option::take));
        }
        *lock(&self.kept) = Kept { _states: inner.states.part_with(), _regions: own };
        let (release, entry) = (self.module.release(), entry.to_owned());
        let pinned = Pinned::inside(&self.port.name, release, &entry, self.place());
        let shown = Abandoned { inside: keeps.is_none(), ..pinned.shown };
        inner.abandoned.push(Pinned { shown, _keeps: keeps, ..pinned });
    }

    fn place(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// It has returned from the call that it was left to itself in. Whatever that came to, it harms nobody.
    pub(crate) fn come_back(driver: Arc<Instance>) {
        let release = driver.module.release();
        if !driver.released.load(Ordering::Relaxed) {
            driver.release_here();
        }
        driver.port.take_back(&mem::take(&mut lock(&driver.made)));
        driver.port.clone().unpin(driver.place(), &release);
        drop(driver);
    }

    /// What it is known by, for what it has earned: its module, and the values that are its own. These may be
    /// secrets, and receipts tell it.
    pub(crate) fn key(&self) -> String {
        let mut digest = blake3::Hasher::new();
        let values = self.values();
        for spec in &self.module.manifest().params {
            let value = values.get(&spec.name).map(ToString::to_string);
            digest.update(format!("{}={}\n", spec.name, value.unwrap_or_default()).as_bytes());
        }
        let digest = digest.finalize().to_hex();
        format!("{}/{}", self.module.hash(), &digest[..16])
    }
}

impl Control {
    /// Whatever call a driver of the port is in and does not return from is given up: nobody serves the port then.
    /// A queue's own thread that is in a driver is beyond help. Calls for a queue must have taken long.
    pub(crate) fn give_up_calls(&self, port: &Arc<Port>) {
        let (unfinished, visit) = {
            let inner = lock(&port.inner);
            (inner.unfinished.clone(), inner.visit.clone())
        };
        if let Some(job) = unfinished.filter(|job| !job.is_over() && job.apart.get().is_some()) {
            let entry = job.waiting.inside();
            let away = !job.lose(true) && job.lose_away(true);
            if away || job.meeting.has_lost() {
                let until = Instant::now() + SETTLES;
                while !job.is_over() && Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            let serving = lock(&port.inner).serving.clone();
            if let (Some(entry), true) = (entry, serving.is_some_and(|driver| away && driver.is_abandoned()))
            {
                port.strand_serving(entry.name());
            }
        }
        if let Some(visit) = visit.filter(|visit| visit.lose()) {
            port.strand_serving(visit.what);
        }
        if let Some(call) = port.outside.late() {
            port.strand_serving(call.entry.name());
        }
    }
}

impl Port {
    /// A driver of the port is in a call that [`Control::give_up_calls`] would give up.
    pub(crate) fn is_in_a_call(&self) -> bool {
        let inner = lock(&self.inner);
        inner.unfinished.as_ref().is_some_and(|job| !job.is_over())
            || inner.visit.as_ref().is_some_and(|visit| !visit.is_over())
            || self.outside.late().is_some()
    }

    /// A call that was given up has returned.
    pub(crate) fn unpin(&self, which: usize, release: &Release) {
        tracing::warn!(
            port = self.name,
            driver = release.driver,
            version = release.version,
            "a call that was abandoned has returned; its module goes"
        );
        let gone: Vec<Pinned> = {
            let mut inner = lock(&self.inner);
            let (gone, rest) = mem::take(&mut inner.abandoned).into_iter().partition(|p| p.which == which);
            inner.abandoned = rest;
            gone
        };
        drop(gone);
    }

    /// The driver that serves is left to itself in a call that its queue, or every queue, holds for: nobody serves the
    /// port, and its requests stay held.
    pub(crate) fn strand_serving(&self, entry: &str) {
        let serving = lock(&self.inner).serving.clone();
        let Some(old) = serving else { return };
        old.abandon(entry);
        {
            let mut inner = lock(&self.inner);
            inner.serving = None;
            inner.states.clear();
            inner.left = Some(left(&inner, &old));
        }
        let id = LaneId(self.id.0);
        for remote in &self.remotes {
            remote.ask(SETTLES, move |rt| rt.strand_lane(id));
        }
    }

    /// Whether a driver may be called on a queue's own thread.
    pub(crate) fn has_earned(&self, key: &str) -> bool {
        self.directory.upgrade().is_some_and(|engine| lock(&engine.earned).has(key))
    }

    /// What is known of a driver's calls.
    pub(crate) fn call_times(&self, key: &str) -> Option<CallTimes> {
        self.directory.upgrade().map(|engine| lock(&engine.earned).times(key))
    }

    pub(crate) fn note_call(&self, key: &str, entry: Entry, ns: u64) {
        if let Some(engine) = self.directory.upgrade() {
            lock(&engine.earned).note(key, entry, ns);
        }
    }

    pub(crate) fn forfeit(&self, key: &str) {
        if let Some(engine) = self.directory.upgrade() {
            lock(&engine.earned).forfeit(key);
        }
    }

    /// Why the port takes no other driver, if it does not.
    pub(crate) fn too_many_abandoned(&self) -> Option<String> {
        let count = lock(&self.inner).abandoned.len();
        (count >= MOST).then(|| {
            format!(
                "port {}: {count} drivers of it were abandoned in a call and are still in memory; it takes no other \
                 one until the daemon is started anew",
                self.name
            )
        })
    }
}

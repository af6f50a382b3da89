//! The phases between the drivers, call by call, and on which thread they are made.
//!
//! Drivers that have earned it ([`Earned`](steadfast_shell::earned::Earned)) are called on the thread of the last queue
//! to arrive: no thread is woken within the pause. For all others there is a thread of its own for each transaction,
//! awake before the first queue holds. The queue looks for the verdict for a moment, and then goes on with its other
//! ports. A call that does not return in time is left to itself: another thread goes on with what is to be done
//! instead, and the one that is in the call finds, when it returns, that it has no say any more.
//!
//! So a thread that is in a call knows the driver, and of the transaction only as long as others do.

use crate::change::pause_calls;
use crate::change::swap::{Job, Part};
use crate::clock::now_ns;
use crate::driver::instance::Instance;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast_shell::earned::Entry;
use steadfast_shell::receipt::Mode;
use steadfast_shell::rendezvous::{Lost, Next, Runner};
use steadfast_shell::sync::lock;
use steadfast_shell::update::{Action, Side};

/// How long the thread of a transaction stays awake for the queues to arrive.
const AWAKE_NS: u64 = 300_000;

/// A call into a driver, with all that it needs.
enum Call {
    Disconnect(Arc<Instance>),
    Connect(Connect),
    Undo(Arc<Instance>),
    Reconnect(Arc<Instance>),
}

struct Connect {
    new: Arc<Instance>,
    parts: Arc<[Mutex<Part>]>,
    convert: Option<Arc<str>>,
    latest_ns: u64,
    asks_for_state: bool,
}

impl Call {
    fn driver(&self) -> &Arc<Instance> {
        match self {
            Call::Disconnect(driver) | Call::Undo(driver) | Call::Reconnect(driver) => driver,
            Call::Connect(connect) => &connect.new,
        }
    }

    /// Makes it. Whoever calls may not come back for long.
    fn make(&self) -> Result<(), String> {
        let begin = now_ns();
        let result = match self {
            Call::Disconnect(old) => old.disconnect(),
            Call::Connect(connect) => connect.make(),
            Call::Undo(new) => new.undo_connect(),
            Call::Reconnect(old) => old.reconnect(),
        };
        let place = match self {
            Call::Connect(_) | Call::Reconnect(_) => &self.driver().connect_ns,
            Call::Disconnect(_) | Call::Undo(_) => &self.driver().disconnect_ns,
        };
        place.fetch_max(now_ns().saturating_sub(begin).max(1), Ordering::Relaxed);
        result
    }
}

/// How long somebody who is about to say something is waited for, again and again.
const MOMENT: Duration = Duration::from_micros(50);

impl Connect {
    fn make(&self) -> Result<(), String> {
        self.new.connect()?;
        self.adopt()?;
        if self.asks_for_state { self.new.save_state() } else { Ok(()) }
    }

    fn adopt(&self) -> Result<(), String> {
        let Some(schema) = &self.convert else { return Ok(()) };
        for (index, part) in self.parts.iter().enumerate() {
            self.new.show_copies(index);
            // Not locked meanwhile: others look at the part while a driver takes its time.
            let count = lock(part).tags.len();
            for n in 0..count {
                let Some(tag) = lock(part).tags.get(n).copied() else { break };
                self.new.adopt(index, tag, schema)?;
                // A driver that takes its time with each of many must not add up to for ever.
                if now_ns() > self.latest_ns {
                    return Err("adopt: not every request was taken over before the deadline".to_owned());
                }
            }
        }
        Ok(())
    }
}

impl Job {
    /// The call that an action is; none where no driver is entered for it.
    fn call(&self, action: Action) -> Option<Call> {
        match action {
            Action::Disconnect => self.old.clone().map(Call::Disconnect),
            Action::Connect => self.new.clone().map(|new| {
                let latest_ns = if self.old.is_some() { self.meeting.update().latest_ns() } else { u64::MAX };
                let asks_for_state = self.asks_for_state(&new);
                self.asked.store(asks_for_state, Ordering::Relaxed);
                let (parts, convert) = (self.parts.clone(), self.convert.clone());
                Call::Connect(Connect { new, parts, convert, latest_ns, asks_for_state })
            }),
            Action::DisconnectNew => {
                self.new.clone().filter(|new| new.connected.swap(false, Ordering::Relaxed)).map(Call::Undo)
            }
            Action::Reconnect => self.old.clone().map(Call::Reconnect),
            _ => None,
        }
    }

    /// What is done before the call, or in place of one.
    fn before(&self, action: Action) -> Result<(), String> {
        match action {
            Action::Transfer => {
                let kept = self.old.as_ref().is_some_and(|old| old.unserved.load(Ordering::Relaxed));
                if self.meeting.update().put_away().is_some() && !kept {
                    lock(&self.port.inner).states.clear();
                }
                self.transfer()
            }
            Action::Reconnect => {
                lock(&self.port.inner).announced.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What comes of the result of the call.
    fn after(&self, action: Action, result: Result<(), String>) -> Result<(), String> {
        match action {
            Action::Disconnect => match result {
                // Nobody comes after it and what it has in flight is not waited for: it is taken away by force,
                // and not asked whether it agrees.
                Err(why) if self.new.is_none() && self.mode == Mode::Adopt => {
                    tracing::error!(port = self.port.name, "taken away all the same: {why}");
                    Ok(())
                }
                result => result,
            },
            Action::Connect => {
                let Some(new) = &self.new else { return result };
                result?;
                if self.asked.load(Ordering::Relaxed) {
                    self.check_state(new)?;
                }
                self.check_devices()?;
                if self.meeting.given_up() { Err("connect returned too late".to_owned()) } else { Ok(()) }
            }
            Action::Reconnect => {
                lock(&self.port.inner).announced.clear();
                result
            }
            _ => result,
        }
    }

    /// The phases between the drivers, on this thread.
    pub(crate) fn run(&self, first: Next, runner: Runner) {
        let mut next = first;
        loop {
            let action = match next {
                Next::Verdict(verdict) => return self.conclude(verdict),
                Next::Call(action) => action,
            };
            let result = self.before(action);
            let result = result.and_then(|()| self.call(action).map_or(Ok(()), |call| call.make()));
            let result = self.after(action, result);
            match self.meeting.step(runner, result, now_ns()) {
                Some(then) => next = then,
                None => return,
            }
        }
    }

    /// Gives up the call that a driver is in, where it is late, or `whichever` it is; another thread goes on. True
    /// when there was one.
    pub(crate) fn lose(self: &Arc<Job>, whichever: bool) -> bool {
        let deadline = self.meeting.update().deadline_ns();
        let lost = self.meeting.lose(whichever, now_ns(), |action| self.why_lost(action, deadline));
        let Some(Lost { side, action, runner, next }) = lost else { return false };
        let driver = if side == Side::Old { &self.old } else { &self.new };
        if let Some(driver) = driver {
            driver.abandon(name(action));
        }
        self.is_stuck.store(true, Ordering::Release);
        let job = self.clone();
        let goes_on =
            std::thread::Builder::new().name("exchange".into()).spawn(move || drive(job, next, runner));
        if let Err(e) = goes_on {
            tracing::error!(port = self.port.name, "thread: {e}: the transaction goes on on this one");
            self.run(next, runner);
        }
        true
    }

    fn why_lost(&self, action: Action, deadline_ns: u64) -> String {
        let old = matches!(action, Action::Disconnect | Action::Reconnect);
        let driver = if old { &self.old } else { &self.new };
        let release = driver.as_ref().map(|driver| driver.module.release());
        let release = release.map_or_else(String::new, |r| format!("{} {}: ", r.driver, r.version));
        let late = if now_ns() >= deadline_ns { " before the deadline" } else { "" };
        format!(
            "{release}{} did not return{late}: the call is abandoned, and its module stays in memory",
            name(action)
        )
    }
}

/// The same on a thread of its own, which keeps nothing of the transaction while it is in a call.
pub(crate) fn drive(job: Arc<Job>, first: Next, runner: Runner) {
    let (mut job, mut next) = (job, first);
    loop {
        let action = match next {
            Next::Verdict(verdict) => return job.conclude(verdict),
            Next::Call(action) => action,
        };
        let (mut result, mut called) = (job.before(action), None);
        if let (Ok(()), Some(call)) = (&result, job.call(action)) {
            let known = Arc::downgrade(&job);
            drop(job);
            // One that was left to itself before is not entered, and has nothing to come back from.
            let before = call.driver().is_abandoned();
            result = call.make();
            let driver = call.driver().clone();
            drop(call);
            job = match known.upgrade() {
                Some(known) if before || !driver.is_abandoned() => known,
                _ => return Instance::come_back(driver),
            };
            called = (!before).then_some(driver);
        }
        let result = job.after(action, result);
        match (job.meeting.step(runner, result, now_ns()), called) {
            (Some(then), _) => next = then,
            (None, None) => return,
            (None, Some(driver)) => {
                // It was given up in the moment in which it returned.
                drop(job);
                while !driver.is_abandoned() {
                    std::thread::sleep(MOMENT);
                }
                return Instance::come_back(driver);
            }
        }
    }
}

/// Sees to a thread for the calls of a transaction, where its drivers have not earned another way. Returns when it
/// is awake.
pub(crate) fn see_to_thread(job: &Arc<Job>) {
    let mut all = true;
    for driver in job.old.iter().chain(job.new.iter()) {
        let known = driver.port.has_earned(&driver.key());
        driver.known.store(known, Ordering::Relaxed);
        all &= known;
    }
    if all {
        return;
    }
    let (first, arrive) = sync_channel(2 * job.parts.len() + 2);
    let (awake, up) = sync_channel(1);
    let known = Arc::downgrade(job);
    let body = move || {
        let _ = awake.send(());
        while let Some(errand) = wait_for(&arrive) {
            let Some(job) = known.upgrade() else { return };
            pause_calls::work(job, errand);
        }
    };
    match std::thread::Builder::new().name("exchange".into()).spawn(body) {
        Ok(_) => {
            let _ = up.recv();
            if job.apart.set(first).is_err() {
                tracing::error!(port = job.port.name, "a thread for drivers' calls was there already");
            }
        }
        Err(e) => tracing::error!(port = job.port.name, "thread: {e}: drivers are called on a queue's own"),
    }
}

/// Waits awake for a moment, and then asleep: a sleeper that is woken may come late. `None`: it is over without.
pub(crate) fn wait_for<T>(arrive: &Receiver<T>) -> Option<T> {
    let until = now_ns() + AWAKE_NS;
    while now_ns() < until {
        match arrive.try_recv() {
            Ok(first) => return Some(first),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => std::hint::spin_loop(),
        }
    }
    arrive.recv().ok()
}

/// Remembers what the calls of a transaction took.
pub(crate) fn remember(job: &Job) {
    for driver in job.old.iter().chain(job.new.iter()) {
        let (port, key) = (&driver.port, driver.key());
        if driver.is_abandoned() {
            port.forfeit(&key);
            continue;
        }
        for (entry, place) in
            [(Entry::Connect, &driver.connect_ns), (Entry::Disconnect, &driver.disconnect_ns)]
        {
            let ns = place.swap(0, Ordering::Relaxed);
            if ns > 0 {
                port.note_call(&key, entry, ns);
            }
        }
    }
}

impl Job {
    /// Which driver is in which entry point, if one is in a call of the transaction.
    pub(crate) fn inside(&self) -> Option<(Arc<Instance>, &'static str)> {
        if let Some(step) = self.waiting.inside() {
            return Some((self.whose(step)?, step.name()));
        }
        let (side, action) = {
            let update = self.meeting.update();
            (update.inside()?, update.action())
        };
        let driver = if side == Side::Old { &self.old } else { &self.new };
        Some((driver.clone()?, name(action)))
    }

    /// Why it does not come to an end.
    pub(crate) fn stuck(&self) -> String {
        let Some((driver, entry)) = self.inside() else {
            return "a queue's thread does not return from a driver; the port's requests stay held"
                .to_owned();
        };
        let release = driver.module.release();
        format!(
            "{} {} does not return from `{entry}`; the port's requests stay held",
            release.driver, release.version
        )
    }
}

/// A call as people know it.
fn name(action: Action) -> &'static str {
    match action {
        Action::Connect => "connect",
        Action::Reconnect => "reconnect",
        _ => "disconnect",
    }
}

//! How the queues of a port meet in a transaction, and what they decide there.
//!
//! Each queue of the port takes part on its own thread and in its own time, and never waits for
//! another by blocking:
//!
//! ```text
//!  begin -> (gate closed) -> held -> busy, busy ... -> arrive -> (the last one: step, step ... -> decide)
//!                                                         \---> looks at the verdict -> release
//! ```
//! The last to arrive carries out the phases between the drivers, one [`Action`] after the other, and
//! announces the verdict; each queue then takes it over. A missed deadline, or somebody who gives the
//! transaction up, brings the verdict *old* before everybody has arrived, never after.
//!
//! A call into a driver that does not return is given up with [`Rendezvous::lose`], which says what is to be done
//! instead, by another runner: from then on the one that is in the call has no say ([`Rendezvous::step`] tells it).
//!
//! Counters and verdict are atomics, so that a queue which waits looks without locking. The mutex is
//! held for single steps of the state machine and never while a driver runs: whoever asks how far a
//! transaction is gets an answer also when a driver does not return.

use crate::receipt::Mode;
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, Mutex, MutexGuard, Ordering, lock};
use crate::update::{Action, Input, Side, Update};

/// Who serves the port after the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Verdict {
    /// Not known yet.
    Undecided = 0,
    /// The new driver; where the port is detached, none.
    New = 1,
    /// The old driver.
    Old = 2,
    /// Nobody: both failed. Requests stay held.
    Nobody = 3,
}

/// What the queue that runs the transaction does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Carries this out, and comes back with the result.
    Call(Action),
    /// Makes this so, and announces it with [`Rendezvous::decide`].
    Verdict(Verdict),
}

/// Who carries out the phases between the drivers: the first one, or one that took the place of a runner whose call
/// was given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Runner(u32);

/// A call that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The driver that is in it.
    pub side: Side,
    /// The call.
    pub action: Action,
    /// Who goes on.
    pub runner: Runner,
    /// With what.
    pub next: Next,
}

/// The meeting of a port's queues in one transaction.
#[derive(Debug)]
pub struct Rendezvous {
    update: Mutex<Update>,
    verdict: AtomicU8,
    begun: AtomicBool,
    given_up: AtomicBool,
    unheld: AtomicU32,
    unsettled: AtomicU32,
    unreleased: AtomicU32,
    /// The runner that has the say. Changes only while the state machine is locked.
    runner: AtomicU32,
}

/// How far a meeting has come: for models, which go on from one state in many ways.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// The state machine.
    pub update: Update,
    /// The verdict.
    pub verdict: Verdict,
    begun: bool,
    given_up: bool,
    unheld: u32,
    unsettled: u32,
    unreleased: u32,
    runner: u32,
}

impl Rendezvous {
    /// The state of a meeting that nobody takes part in just now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            update: self.update().clone(),
            verdict: self.verdict(),
            begun: self.begun.load(Ordering::Acquire),
            given_up: self.given_up(),
            unheld: self.unheld.load(Ordering::Acquire),
            unsettled: self.unsettled.load(Ordering::Acquire),
            unreleased: self.unreleased.load(Ordering::Acquire),
            runner: self.runner.load(Ordering::Acquire),
        }
    }

    /// A meeting that goes on from there.
    pub fn resume(from: Snapshot) -> Rendezvous {
        Rendezvous {
            update: Mutex::new(from.update),
            verdict: AtomicU8::new(from.verdict as u8),
            begun: AtomicBool::new(from.begun),
            given_up: AtomicBool::new(from.given_up),
            unheld: AtomicU32::new(from.unheld),
            unsettled: AtomicU32::new(from.unsettled),
            unreleased: AtomicU32::new(from.unreleased),
            runner: AtomicU32::new(from.runner),
        }
    }

    /// A meeting of `queues` queues, for an update whose next action is `StartUpdate`.
    pub fn new(update: Update, queues: u32) -> Rendezvous {
        Rendezvous {
            update: Mutex::new(update),
            verdict: AtomicU8::new(Verdict::Undecided as u8),
            begun: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            unheld: AtomicU32::new(queues),
            unsettled: AtomicU32::new(queues),
            unreleased: AtomicU32::new(queues),
            runner: AtomicU32::new(0),
        }
    }

    /// The state machine. Locked for moments only.
    pub fn update(&self) -> MutexGuard<'_, Update> {
        lock(&self.update)
    }

    /// The state machine, when nobody takes part any more.
    pub fn into_update(self) -> Update {
        self.update.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Who will serve. Changes once, and everything done before is seen by whoever sees it.
    #[inline]
    pub fn verdict(&self) -> Verdict {
        match self.verdict.load(Ordering::Acquire) {
            0 => Verdict::Undecided,
            1 => Verdict::New,
            2 => Verdict::Old,
            _ => Verdict::Nobody,
        }
    }

    /// Announces the verdict. What goes with it has been done.
    pub fn decide(&self, verdict: Verdict) {
        self.verdict.store(verdict as u8, Ordering::Release);
    }

    /// Every queue has taken part to the end.
    pub fn is_over(&self) -> bool {
        self.unreleased.load(Ordering::Acquire) == 0
    }

    /// Somebody gave the transaction up: a driver that connects now comes too late.
    pub fn given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    /// A queue is about to hold. The first one starts the clock of the pause.
    pub fn begin(&self, now_ns: u64) {
        if !self.begun.swap(true, Ordering::AcqRel) {
            self.update().restart_clock(now_ns);
        }
    }

    /// A queue holds, and its driver has handed back what it keeps. True for the last one: what is in flight
    /// counts from now on; or that took too long, the old driver goes on, and the queues should look.
    pub fn held(&self, now_ns: u64) -> bool {
        if self.unheld.fetch_sub(1, Ordering::AcqRel) != 1 {
            return false;
        }
        let mut update = self.update();
        let waits = update.action() == Action::StartUpdate;
        if waits && update.step(Input::Ok, now_ns) == Action::Cancel {
            // Before the lock goes, as below.
            self.decide(Verdict::Old);
        }
        waits
    }

    /// A queue that holds has requests or operations that the old driver must finish first. True when
    /// that ends the transaction: the old driver goes on, and the other queues should look.
    pub fn busy(&self, in_flight: u32, now_ns: u64) -> bool {
        self.wait(Input::InFlight(in_flight), now_ns)
    }

    /// The same for a queue that has no requests in flight, only operations of none, which end soon.
    pub fn ending(&self, operations: u32, now_ns: u64) -> bool {
        self.wait(Input::Ending(operations), now_ns)
    }

    fn wait(&self, input: Input, now_ns: u64) -> bool {
        let mut update = self.update();
        if update.action() != Action::Settle || update.step(input, now_ns) != Action::Cancel {
            return false;
        }
        // Before the lock goes: nobody may find the machine cancelled and no verdict.
        self.decide(Verdict::Old);
        true
    }

    /// A queue has nothing left that the old driver must finish, and enters it no more. For the last one:
    /// what to do first. `None`: others are missing, or it was given up.
    pub fn arrive(&self, now_ns: u64) -> Option<Next> {
        if self.unsettled.fetch_sub(1, Ordering::AcqRel) != 1 {
            return None;
        }
        let mut update = self.update();
        (update.action() == Action::Settle).then(|| next(update.step(Input::Ok, now_ns)))
    }

    /// For who runs the transaction: how the last action went, and what is next. `None`: the call was given up in
    /// the meantime, and somebody else goes on.
    pub fn step(&self, runner: Runner, result: Result<(), String>, now_ns: u64) -> Option<Next> {
        let input = result.map_or_else(Input::Failed, |()| Input::Ok);
        let mut update = self.update();
        let has_say = self.runner.load(Ordering::Acquire) == runner.0;
        has_say.then(|| next(update.step(input, now_ns)))
    }

    /// Gives up the call that a driver is in: it is late, or `whichever` it is, and somebody wants it so. Says what
    /// is to be done instead; `None` where no driver is in a call, or where it still has time.
    pub fn lose(&self, whichever: bool, now_ns: u64, why: impl FnOnce(Action) -> String) -> Option<Lost> {
        let mut update = self.update();
        let (action, side) = (update.action(), update.inside()?);
        let due = update.lost_ns().is_some_and(|due| now_ns >= due);
        if !due && !whichever {
            return None;
        }
        let runner = self.runner.load(Ordering::Acquire) + 1;
        self.runner.store(runner, Ordering::Release);
        let next = next(update.step(Input::Lost(why(action)), now_ns));
        Some(Lost { side, action, runner: Runner(runner), next })
    }

    /// When a driver that is in a call now is lost, on the clock of `now_ns`.
    pub fn lost_ns(&self) -> Option<u64> {
        self.update().lost_ns()
    }

    /// Calls were given up: whoever is in them knows of this.
    pub fn has_lost(&self) -> bool {
        self.runner.load(Ordering::Acquire) > 0
    }

    /// Gives the transaction up. True when the old driver goes on therefore, and the queues should look;
    /// false when a driver is being exchanged, or has been: then it comes to a verdict by itself, and
    /// one that is still connecting comes too late.
    pub fn abandon(&self, why: &str, now_ns: u64) -> bool {
        self.given_up.store(true, Ordering::Release);
        let mut update = self.update();
        if !matches!(update.action(), Action::StartUpdate | Action::Settle)
            || update.step(Input::Abandon(why.to_owned()), now_ns) != Action::Cancel
        {
            return false;
        }
        self.decide(Verdict::Old);
        true
    }

    /// A queue has taken the verdict over. True for the last one: the pause is over.
    pub fn released(&self, now_ns: u64) -> bool {
        if self.unreleased.fetch_sub(1, Ordering::AcqRel) != 1 {
            return false;
        }
        let mut update = self.update();
        if matches!(update.action(), Action::Finish | Action::Cancel) {
            update.step(Input::Ok, now_ns);
        }
        true
    }
}

/// The old driver finishes what it has in flight, or what it has begun, before it lets go. Without an old
/// driver nobody could.
pub fn drains(mode: Mode, has_old: bool) -> bool {
    mode != Mode::Adopt && has_old
}

/// The old driver returns what it has not begun.
pub fn hands_back(mode: Mode, has_old: bool) -> bool {
    mode != Mode::Drain && has_old
}

fn next(action: Action) -> Next {
    match action {
        Action::Finish => Next::Verdict(Verdict::New),
        Action::Cancel => Next::Verdict(Verdict::Old),
        Action::Disconnect
        | Action::Transfer
        | Action::Connect
        | Action::DisconnectNew
        | Action::Reconnect => Next::Call(action),
        _ => Next::Verdict(Verdict::Nobody),
    }
}

//! A transaction on the queues' threads, as `crates/runtime/src/change/swap.rs` carries it out: the real
//! rendezvous and state machine, modelled calls.

use crate::control::Goal;
use crate::driver::{Stage, State};
use crate::lane::Pdu;
use crate::mutation::Mutation;
use crate::plan::{Fault, Kind, MS, SECOND, US};
use crate::wish::Upset;
use crate::world::{Event, World};
use std::ops::Range;
use steadfast_shell::activation::Step;
use steadfast_shell::receipt::{Mode, Phase};
use steadfast_shell::rendezvous::{Next, Rendezvous, Runner, Verdict, drains, hands_back};
use steadfast_shell::slots::Tag;
use steadfast_shell::update::{Action, Side};

/// Shortest wait of a queue's loop for a deadline, which may already have passed.
const LEAST_WAIT: u64 = 100 * US;

/// Time that the calls of a transaction, and the ways between the queues, may take when none hangs.
const CALLS: u64 = MS;

/// One transaction.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) attempt: usize,
    pub(crate) port: usize,
    pub(crate) old: Option<usize>,
    /// `None`: the port is taken away.
    pub(crate) new: Option<usize>,
    pub(crate) mode: Mode,
    /// Private bytes are laid out in another way, and must be converted.
    pub(crate) convert: bool,
    pub(crate) meeting: Rendezvous,
    /// Private bytes of requests in flight, as they were at the seal: copies, which the new driver converts.
    pub(crate) copies: Vec<(usize, Tag, Pdu)>,
    /// The new driver is connected, and must be disconnected before the old one comes back.
    connected: bool,
    pub(crate) finished: bool,
    /// Drivers are called on a thread of its own, and not on that of the last queue to arrive.
    apart: bool,
    /// Who carries out the phases between the drivers.
    runner: Runner,
    /// When the queues were told.
    begun_ns: u64,
    /// When the first of them held.
    held_ns: u64,
}

impl Job {
    pub(crate) fn new(
        (attempt, port): (usize, usize),
        (old, new): (Option<usize>, Option<usize>),
        (mode, convert): (Mode, bool),
        meeting: Rendezvous,
        (begun_ns, apart): (u64, bool),
    ) -> Job {
        let (copies, connected, finished) = (Vec::new(), false, false);
        Job {
            attempt,
            port,
            old,
            new,
            mode,
            convert,
            meeting,
            copies,
            connected,
            finished,
            apart,
            runner: Runner::default(),
            begun_ns,
            held_ns: u64::MAX,
        }
    }

    fn drains(&self) -> bool {
        drains(self.mode, self.old.is_some())
    }

    fn hands_back(&self) -> bool {
        hands_back(self.mode, self.old.is_some())
    }
}

impl World {
    /// A queue holds: start_update.
    pub(crate) fn join(&mut self, q: usize, j: usize) {
        let now = self.now;
        self.say(|_| format!("queue {q} holds"));
        self.jobs[j].meeting.begin(now);
        self.jobs[j].held_ns = self.jobs[j].held_ns.min(now);
        let (drains, hands_back) = (self.jobs[j].drains(), self.jobs[j].hands_back());
        self.close(q, !drains);
        if hands_back
            && let Some(driver) = self.lanes[q].bound
            && self.drivers[driver].spec.hand_back
        {
            let panics = self.jobs[j].mode == Mode::Split && self.fault(j, Phase::StartUpdate, Kind::Panic);
            let back = self.driver_hand_back(driver, q, panics);
            self.say(|_| format!("queue {q}: driver {driver} hands {back} requests back"));
        }
        if drains {
            self.cancel_port_ops(q);
        }
        if self.jobs[j].meeting.held(now) {
            self.say(|_| "every queue holds".to_owned());
            self.phase_began(self.jobs[j].attempt);
            if self.jobs[j].drains() || self.jobs[j].meeting.verdict() != Verdict::Undecided {
                self.wake_others(q);
            }
        }
        self.lanes[q].job = Some(j);
        // The thread may lose its processor here, and others go on in the meantime.
        if self.rng.chance(25) {
            self.go_inside(q, 1, 20 * US, Event::Awake(q));
        }
    }

    pub(crate) fn go_inside(&mut self, q: usize, low: u64, high: u64, event: Event) {
        self.hung |= low > MS;
        let thread = &mut self.threads[self.lanes[q].thread];
        thread.hung_by |= u8::from(low > MS) << self.lanes[q].port;
        thread.inside = true;
        self.after(low, high, event);
    }

    fn wake_others(&mut self, me: usize) {
        if self.mutation == Some(Mutation::ForgetWake) {
            return;
        }
        for q in self.lanes_beside(me) {
            self.after(1, 40 * US, Event::Poll(q));
        }
    }

    /// A queue looks at its transaction; true when its part in it is over.
    pub(crate) fn poll_job(&mut self, q: usize) -> bool {
        let Some(j) = self.lanes[q].job else { return false };
        if self.jobs[j].meeting.verdict() == Verdict::Undecided && !self.lanes[q].sealed {
            self.settle(q, j);
        }
        if self.is_inside(q) || self.jobs[j].meeting.verdict() == Verdict::Undecided {
            return false;
        }
        self.lanes[q].job = None;
        self.release(q, j);
        true
    }

    fn settle(&mut self, q: usize, j: usize) {
        let now = self.now;
        self.commit(q);
        let busy = if self.jobs[j].drains() { self.lanes[q].busy() } else { 0 };
        if busy > 0 {
            self.busy(q, j, busy);
            return;
        }
        if !self.lanes[q].gate.is_quiescent() {
            self.violate(format!("queue {q} arrives with its thread inside the driver"));
        }
        self.lanes[q].seal();
        if self.jobs[j].mode == Mode::Adopt && self.jobs[j].convert {
            for tag in self.lanes[q].slots.issued_tags() {
                self.jobs[j].copies.push((q, tag, self.lanes[q].pdus[tag.0 as usize]));
            }
        }
        self.say(|_| format!("queue {q} has arrived"));
        if let Some(next) = self.jobs[j].meeting.arrive(now) {
            let p = self.jobs[j].port;
            if let Some(q) =
                self.lanes_of(p).find(|q| !self.lanes[*q].sealed || self.lanes[*q].gate.is_open())
            {
                self.violate(format!("drivers are exchanged although queue {q} has not arrived"));
            }
            self.ports[p].exchanging = true;
            self.go_on_with(q, j, next);
        }
    }

    fn busy(&mut self, q: usize, j: usize, busy: u32) {
        let now = self.now;
        if self.jobs[j].mode == Mode::Adopt {
            self.violate(format!("queue {q} waits for {busy} requests that are to be adopted"));
        }
        let meeting = &self.jobs[j].meeting;
        let requests = self.lanes[q].slots.issued() > 0;
        let over = if requests { meeting.busy(busy, now) } else { meeting.ending(busy, now) };
        if over {
            self.say(|_| format!("queue {q} has {busy} in flight, and that is too late"));
            self.phase_began(self.jobs[j].attempt);
            return self.wake_others(q);
        }
        let deadline = self.jobs[j].meeting.update().deadline_ns().max(now + LEAST_WAIT);
        if deadline < self.lanes[q].wakes_at {
            self.lanes[q].wakes_at = deadline;
            self.at(deadline, Event::Poll(q));
        }
        if self.jobs[j].meeting.update().action() == Action::Settle
            && self.fault(j, Phase::Pending, Kind::Hang)
        {
            self.say(|_| format!("queue {q} hangs in the old driver"));
            self.go_inside(q, 50 * MS, 60 * SECOND, Event::Awake(q));
        }
    }

    /// The queue that runs the transaction does the next thing.
    fn go_on_with(&mut self, q: usize, j: usize, next: Next) {
        self.phase_began(self.jobs[j].attempt);
        match next {
            Next::Call(action) => {
                let phase = phase_of(action);
                let hangs = phase != Phase::Transfer && self.fault(j, phase, Kind::Hang);
                self.say(|_| format!("queue {q}: {action:?}{}", if hangs { " hangs" } else { "" }));
                let slow = self.fault_in_call(j, phase);
                let deadline = self.attempts[self.jobs[j].attempt].ask.deadline_ns;
                let (low, high) = match (hangs, slow) {
                    (true, _) => (60 * MS, 70 * SECOND),
                    (_, true) => (deadline.max(SECOND), deadline + 2 * SECOND),
                    _ => (1, 30 * US),
                };
                let event = Event::Returned(q, j, action, self.jobs[j].runner);
                if self.jobs[j].apart {
                    self.call_apart(q, j, action, low > MS);
                    self.after(low, high, event);
                } else {
                    self.go_inside(q, low, high, event);
                }
            }
            Next::Verdict(verdict) => {
                match verdict {
                    Verdict::New => self.finish_update(j),
                    Verdict::Nobody => self.strand(j),
                    _ => {}
                }
                self.say(|_| format!("the verdict: {verdict:?}"));
                let p = self.jobs[j].port;
                self.ports[p].exchanging = false;
                self.jobs[j].meeting.decide(verdict);
                self.wake_others(q);
                if self.jobs[j].apart {
                    return self.verdict_apart(q, j, verdict);
                }
                let hangs = verdict == Verdict::New && self.fault(j, Phase::FinishUpdate, Kind::Hang);
                if hangs {
                    self.go_inside(q, 60 * MS, 70 * SECOND, Event::Awake(q));
                } else if self.rng.chance(40) {
                    self.go_inside(q, 1, 20 * US, Event::Awake(q));
                } else {
                    let thread = self.lanes[q].thread;
                    self.threads[thread].inside = false;
                }
            }
        }
    }

    /// The call returns, but only after the deadline.
    fn fault_in_call(&mut self, j: usize, phase: Phase) -> bool {
        let fault = Fault { phase, kind: Kind::Deadline };
        self.attempts[self.jobs[j].attempt].ask.faults.contains(&fault)
    }

    /// A call on a thread of its own: the queue goes on, and whoever waits gives the call up in time.
    fn call_apart(&mut self, q: usize, j: usize, action: Action, long: bool) {
        self.hung |= long;
        if let Some(due) = self.jobs[j].meeting.lost_ns() {
            self.at(due.max(self.now), Event::Lose(q, j));
        }
        // It may have begun with the requests that it is to take over.
        if long && action == Action::Connect {
            let half = self.jobs[j].copies.len().div_ceil(2);
            self.convert_pdus(j, 0..half);
        }
    }

    /// The new driver converts some of the requests that it is to take over.
    fn convert_pdus(&mut self, j: usize, which: Range<usize>) {
        let Some(new) = self.jobs[j].new else { return };
        for i in which {
            let (q, tag, _) = self.jobs[j].copies[i];
            let pdu = match self.mutation {
                Some(Mutation::ConvertInPlace) => &mut self.lanes[q].pdus[tag.0 as usize],
                _ => &mut self.jobs[j].copies[i].2,
            };
            *pdu = self.drivers[new].convert(*pdu);
        }
    }

    /// What the new driver has made of requests in flight becomes their own.
    fn take_copies_over(&mut self, j: usize) {
        if self.mutation != Some(Mutation::ConvertInPlace) {
            self.put_copies_back(j);
        }
    }

    /// The new driver does not come to serve: nobody looks at its copies any more.
    fn leave_copies(&mut self, j: usize) {
        if matches!(self.mutation, Some(Mutation::ConvertInPlace | Mutation::KeepConverted)) {
            self.put_copies_back(j);
        }
    }

    fn put_copies_back(&mut self, j: usize) {
        for (q, tag, pdu) in &self.jobs[j].copies {
            self.lanes[*q].pdus[tag.0 as usize] = *pdu;
        }
    }

    /// The verdict comes from a thread of its own, and the queue must be told as the others are.
    fn verdict_apart(&mut self, q: usize, j: usize, verdict: Verdict) {
        if self.mutation != Some(Mutation::ForgetWake) {
            self.after(1, 40 * US, Event::Poll(q));
        }
        if verdict == Verdict::New && !self.is_inside(q) && self.fault(j, Phase::FinishUpdate, Kind::Hang) {
            self.go_inside(q, 60 * MS, 70 * SECOND, Event::Awake(q));
        }
    }

    /// The time of a driver that is in a call may be over.
    pub(crate) fn lose(&mut self, q: usize, j: usize) {
        let now = self.now;
        let why = |action| format!("{} did not return before the deadline", phase_of(action).name());
        let Some(lost) = self.jobs[j].meeting.lose(false, now, why) else { return };
        self.jobs[j].runner = lost.runner;
        self.lost += 1;
        self.say(|_| format!("{:?} does not return, and is left to itself", lost.action));
        if lost.side == Side::New {
            // Nobody is asked to undo anything.
            self.leave_copies(j);
        }
        if let (Side::New, Some(new)) = (lost.side, self.jobs[j].new)
            && self.drivers[new].is_connected()
        {
            self.drivers[new].stage = Stage::Disconnected;
        }
        self.go_on_with(q, j, lost.next);
    }

    /// A call of the transaction has returned.
    pub(crate) fn returned(&mut self, q: usize, j: usize, action: Action, runner: Runner) {
        let has_say = self.jobs[j].runner == runner || self.mutation == Some(Mutation::LateHasSay);
        if !has_say {
            if action == Action::Connect {
                // It goes on with what it was about.
                self.convert_pdus(j, 0..self.jobs[j].copies.len());
            }
            return self.say(|_| format!("{action:?} returns late, and harms nobody"));
        }
        let result = match action {
            Action::Disconnect => self.disconnect(j),
            Action::Transfer => self.transfer(j),
            Action::Connect => self.connect(j),
            Action::DisconnectNew => self.disconnect_new(j),
            _ => self.reconnect(j),
        };
        self.say(|_| format!("queue {q}: {action:?}: {result:?}"));
        let now = self.now;
        let Some(next) = self.jobs[j].meeting.step(runner, result, now) else { return };
        self.go_on_with(q, j, next);
        if !self.jobs[j].apart && !self.is_inside(q) {
            self.awake(q);
        }
    }

    fn disconnect(&mut self, j: usize) -> Result<(), String> {
        let Some(old) = self.jobs[j].old else { return Ok(()) };
        let p = self.jobs[j].port;
        self.ports[p].state = None;
        self.failing(j, Phase::Disconnect)?;
        let driver = &mut self.drivers[old];
        driver.stage = Stage::Disconnected;
        self.ports[p].state = Some(State { schemas: driver.spec.states, served: driver.served });
        if self.mutation == Some(Mutation::LoseState) && self.rng.chance(20) {
            self.ports[p].state = None;
        }
        Ok(())
    }

    /// The state that the new driver reads must be there before it is let in.
    fn transfer(&mut self, j: usize) -> Result<(), String> {
        self.failing(j, Phase::Transfer)?;
        let (Some(new), Some(state)) = (self.jobs[j].new, self.ports[self.jobs[j].port].state) else {
            return Ok(());
        };
        if self.drivers[new].spec.states & state.schemas == 0 {
            return Err("no schema in common".to_owned());
        }
        Ok(())
    }

    fn connect(&mut self, j: usize) -> Result<(), String> {
        let Some(new) = self.jobs[j].new else { return Ok(()) };
        let connects =
            self.fault(j, Phase::Connect, Kind::Error) || self.fault(j, Phase::Connect, Kind::Panic);
        let broken = self.drivers[new].values.is_broken();
        if broken && let Goal::Reinit(k) = self.attempts[self.jobs[j].attempt].goal {
            self.step_hit(k, Step::Reinit, Upset::Error);
        }
        let connects = connects || broken;
        // In `connect` itself or `queue_start`, which undo what they did, or in what comes after.
        if connects && self.rng.chance(50) {
            return Err("connect fails".to_owned());
        }
        self.connected_once(j, new);
        self.drivers[new].stage = Stage::Connected;
        let p = self.jobs[j].port;
        self.drivers[new].served = self.ports[p].state.map_or(0, |s| s.served);
        if self.ports[p].state.is_none() {
            // Nobody left a state: the count begins again.
            let known = self.ports[p].served;
            self.ports[p].served = if self.mutation == Some(Mutation::LoseState) { known } else { 0 };
        }
        self.jobs[j].connected = true;
        let all = self.jobs[j].copies.len();
        if connects && all > 0 {
            self.convert_pdus(j, 0..all / 2);
            return Err("a request cannot be adopted".to_owned());
        }
        self.convert_pdus(j, 0..all);
        self.driver_take_over(new, self.lanes_of(p));
        if connects {
            return Err("its devices do not suit".to_owned());
        }
        if self.jobs[j].meeting.given_up() { Err("connect returned too late".to_owned()) } else { Ok(()) }
    }

    /// Undoes what `connect` got done.
    fn disconnect_new(&mut self, j: usize) -> Result<(), String> {
        self.leave_copies(j);
        if !std::mem::take(&mut self.jobs[j].connected) {
            return Ok(());
        }
        if let Some(new) = self.jobs[j].new
            && self.mutation != Some(Mutation::ForgetDisconnect)
        {
            self.drivers[new].stage = Stage::Disconnected;
        }
        if self.jobs[j].old.is_some() && self.rng.chance(30) {
            self.failing(j, Phase::CancelUpdate)
        } else {
            Ok(())
        }
    }

    fn reconnect(&mut self, j: usize) -> Result<(), String> {
        let Some(old) = self.jobs[j].old else { return Ok(()) };
        if let Err(e) = self.failing(j, Phase::CancelUpdate) {
            self.drivers[old].stage = Stage::Disconnected;
            return Err(e);
        }
        if self.mutation == Some(Mutation::ForgetReconnect) {
            return Ok(());
        }
        self.connected_once(j, old);
        self.drivers[old].stage = Stage::Connected;
        Ok(())
    }

    /// Nobody else may be connected when a driver comes to be.
    fn connected_once(&mut self, j: usize, driver: usize) {
        let p = self.jobs[j].port;
        let other = (0..self.drivers.len())
            .find(|d| *d != driver && self.drivers[*d].port == p && self.drivers[*d].is_connected());
        if let Some(other) = other {
            self.violate(format!("driver {driver} is connected beside driver {other}"));
        }
        if self.drivers[driver].stage == Stage::Released {
            self.violate(format!("driver {driver} is connected after its last call"));
        }
    }

    fn failing(&mut self, j: usize, phase: Phase) -> Result<(), String> {
        if self.fault(j, phase, Kind::Error) {
            return Err(format!("{} fails", phase.name()));
        }
        if phase != Phase::Transfer && self.fault(j, phase, Kind::Panic) {
            return Err(format!("a panic in {}", phase.name()));
        }
        Ok(())
    }

    fn finish_update(&mut self, j: usize) {
        self.take_copies_over(j);
        let (job, deadline) = (&self.jobs[j], self.attempts[self.jobs[j].attempt].ask.deadline_ns);
        let late = self.now.saturating_sub(job.held_ns) > deadline.max(SECOND);
        if late && job.old.is_some() && job.new.is_some() {
            self.violate("the new driver serves although it was connected too late".to_owned());
        }
        let port = &mut self.ports[self.jobs[j].port];
        port.serving = self.jobs[j].new;
        port.left = None;
        let last = self.jobs[j].new.or(self.jobs[j].old);
        port.last = last.map(|d| self.drivers[d].spec);
        if self.jobs[j].new.is_some() {
            port.generation += 1;
            // A wall clock long after 1970, wherever it was set to.
            port.epoch_unix_ms = 1_700_000_000_000 + self.now / 1_000_000 - self.clock_back_ms;
            if let Some((properties, values)) = self.attempts[self.jobs[j].attempt].commit.take() {
                port.values = values;
                port.revision += 1;
                if self.mutation != Some(Mutation::ForgetSet) {
                    port.properties = properties;
                }
            }
            if let Goal::Reinit(k) = self.attempts[self.jobs[j].attempt].goal {
                self.expect_set(k);
            }
            if self.mutation == Some(Mutation::WrongPort) && self.jobs[j].port > 0 {
                self.ports[0].generation += 1;
            }
        }
    }

    fn strand(&mut self, j: usize) {
        let port = &mut self.ports[self.jobs[j].port];
        port.serving = None;
        if let Some(old) = self.jobs[j].old {
            port.left = Some(self.drivers[old].spec);
        }
    }

    /// A queue takes the verdict over and lets held requests in.
    fn release(&mut self, q: usize, j: usize) {
        let mut verdict = self.jobs[j].meeting.verdict();
        if self.mutation == Some(Mutation::IgnoreVerdict) {
            verdict = Verdict::New;
        }
        let count = match verdict {
            Verdict::New => {
                self.lanes[q].bound = self.jobs[j].new;
                if self.jobs[j].new.is_some() { self.open(q, true) } else { 0 }
            }
            Verdict::Old if self.jobs[j].old.is_some() => self.open(q, self.jobs[j].drains()),
            _ => {
                self.lanes[q].bound = None;
                0
            }
        };
        self.say(|_| format!("queue {q} releases {count} requests"));
        self.commit(q);
        let now = self.now;
        if self.jobs[j].meeting.released(now) {
            self.jobs[j].finished = true;
            self.check_pause(j);
            let attempt = self.jobs[j].attempt;
            self.say(|_| "every queue has released".to_owned());
            self.phase_began(attempt);
            self.after(1, 50 * US, Event::Conclude(attempt));
        }
    }
}

impl World {
    /// Where every call returns, the port is not held for longer than the deadline and the calls take.
    fn check_pause(&mut self, j: usize) {
        let job = &self.jobs[j];
        let (took, deadline) = (self.now - job.begun_ns, self.attempts[job.attempt].ask.deadline_ns);
        if !self.hung && took > deadline + CALLS {
            self.violate(format!("the port was held for {took} ns; the deadline was {deadline} ns"));
        }
    }
}

pub(crate) fn phase_of(action: Action) -> Phase {
    match action {
        Action::Stage => Phase::Stage,
        Action::Check => Phase::Check,
        Action::Load => Phase::Load,
        Action::Prepare => Phase::Prepare,
        Action::StartUpdate => Phase::StartUpdate,
        Action::Settle => Phase::Pending,
        Action::Disconnect => Phase::Disconnect,
        Action::Transfer => Phase::Transfer,
        Action::Connect => Phase::Connect,
        Action::Finish => Phase::FinishUpdate,
        Action::DisconnectNew | Action::Reconnect | Action::Cancel => Phase::CancelUpdate,
        Action::UnloadOld | Action::UnloadNew | Action::Done(_) => Phase::Unload,
    }
}

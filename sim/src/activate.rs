//! Activations, as `crates/runtime/src/change/activate.rs` carries them out: the real machine says which step is
//! next, and the re-initialisation is an update transaction with another instance of the same driver.

use crate::control::Goal;
use crate::driver::Driver;
use crate::mutation::Mutation;
use crate::plan::{Ask, Kind, SECOND, US};
use crate::ports::Holder;
use crate::values::{Values, define, judge};
use crate::wish::{Upset, Wish};
use crate::world::{Event, World};
use steadfast_shell::activation::{Activation, Came, Next, Stamp, Step};
use steadfast_shell::properties::Properties;
use steadfast_shell::receipt::{Mode, Outcome, Phase};
use steadfast_shell::update::IfBusy;

/// For how long no request may come, for a port to be called idle.
const QUIET: u64 = 100 * US;
/// How long those inside may take to leave.
const PATIENCE: u64 = 300 * US;

/// One activation under way.
#[derive(Debug)]
pub(crate) struct Doing {
    pub(crate) port: usize,
    pub(crate) wish: Wish,
    pub(crate) machine: Activation,
    pub(crate) used: Vec<bool>,
    /// How often the port's properties had changed when the configuration was read.
    found: u32,
    /// The properties as they are to be.
    pub(crate) next: Properties,
    pub(crate) values: Option<Values>,
    pub(crate) attempt: Option<usize>,
    came: Option<Came>,
    pub(crate) has_turn: bool,
    until_ns: u64,
    /// Requests that had ended when the look for idleness began, and when that was.
    ended_before: (u32, u64),
    pub(crate) outcome: Option<Outcome>,
    pub(crate) seen: Seen,
}

/// What the checks at the end go by.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Requests made when it was asked for; none where some were in flight.
    pub(crate) made: Option<u32>,
    /// I/O flowed while it looked.
    pub(crate) flowed: bool,
    /// Somebody else changed the port meanwhile, or had the right to.
    pub(crate) others: bool,
    /// Management requests must be turned away: it has them blocked.
    pub(crate) blocks: bool,
    /// When the configuration was read.
    pub(crate) read_ns: u64,
    /// Generation when it had the port for itself.
    pub(crate) generation: Option<u64>,
}

impl World {
    /// An activation is asked for.
    pub(crate) fn begin_activation(&mut self, p: usize, wish: Wish) {
        let k = self.activations.len();
        self.say(|_| format!("activation {k}: port {p}: {wish:?}"));
        let made = (self.in_flight(p) == 0).then_some(self.ports[p].made);
        let machine = Activation::new(wish.idle_only, self.now);
        self.activations.push(Doing {
            port: p,
            used: vec![false; wish.upsets.len()],
            wish,
            machine,
            found: 0,
            next: Properties::default(),
            values: None,
            attempt: None,
            came: None,
            has_turn: false,
            until_ns: 0,
            ended_before: (0, 0),
            outcome: None,
            seen: Seen { made, ..Seen::default() },
        });
        self.begin_step(k);
    }

    /// Requests that the port's driver has or its lanes hold.
    pub(crate) fn in_flight(&self, p: usize) -> u32 {
        self.lanes_of(p).map(|q| self.lanes[q].slots.used()).sum()
    }

    pub(crate) fn step_of(&self, k: usize) -> Option<Step> {
        match self.activations[k].machine.next() {
            Next::Step(step) => Some(step),
            Next::Done(_) => None,
        }
    }

    fn begin_step(&mut self, k: usize) {
        let Some(step) = self.step_of(k) else { return };
        self.upsets_on_their_way(k, step);
        let time = match step {
            Step::Delay => self.activations[k].wish.delay_ns,
            Step::Idle => {
                let port = &self.ports[self.activations[k].port];
                self.activations[k].ended_before = (port.ended, self.now);
                QUIET
            }
            Step::Block => {
                self.activations[k].until_ns = self.now + PATIENCE;
                if self.upset(k, step, Upset::Deadline) {
                    self.stay_inside(self.activations[k].port);
                }
                0
            }
            Step::Reinit => return self.reinit(k),
            _ => 0,
        };
        let late = if self.upset(k, step, Upset::Late) { self.rng.range(SECOND, 60 * SECOND) } else { 0 };
        self.after(time + late + 1, time + late + 20 * US, Event::Step(k));
    }

    /// The step under way is over: tells the machine how it went.
    pub(crate) fn step_over(&mut self, k: usize) {
        let Some(step) = self.step_of(k) else { return };
        let failed = !matches!(step, Step::Define | Step::Reinit) && self.upset(k, step, Upset::Error);
        let came = match (failed, self.carry_out(k, step)) {
            (_, None) => return,
            (true, Some(_)) if step != Step::Block || !self.activations[k].has_turn => {
                Came::Failed(format!("{} fails", step.name()))
            }
            (_, Some(came)) => came,
        };
        self.say(|_| format!("activation {k}: {}: {came:?}", step.name()));
        let next = self.activations[k].machine.step(came, "", self.now);
        let passed = step == Step::Block && next == Next::Step(Step::Reinit);
        self.activations[k].seen.blocks |= passed;
        match next {
            Next::Done(outcome) => self.activation_over(k, outcome),
            Next::Step(_) => self.begin_step(k),
        }
    }

    /// `None`: it is not over yet.
    fn carry_out(&mut self, k: usize, step: Step) -> Option<Came> {
        let p = self.activations[k].port;
        Some(match step {
            Step::Parse => {
                self.activations[k].found = self.ports[p].revision;
                self.activations[k].seen.read_ns = self.now;
                Came::Ok
            }
            Step::Collect => Came::Ok,
            Step::Stamp => Came::Stamp(self.stamp(p)),
            Step::Compare => self.compare(k),
            Step::Clear => {
                let next = &mut self.activations[k].next;
                next.clone_from(&self.ports[p].properties);
                next.clear();
                Came::Ok
            }
            Step::Undefine => {
                if self.mutation != Some(Mutation::KeepLoadTime) {
                    self.activations[k].next.undefine_load_time();
                }
                Came::Ok
            }
            Step::Define => self.define_set(k),
            Step::Delay if self.halting => Came::Failed("the daemon stops".to_owned()),
            Step::Delay if self.ports[p].gone => Came::Failed("the port was taken away".to_owned()),
            Step::Delay => Came::Ok,
            Step::Idle => self.idle(k),
            Step::Block => return self.block(k),
            Step::Reinit => self.activations[k].came.take()?,
            Step::Restore => {
                if self.mutation == Some(Mutation::ForgetUnblock) && self.rng.chance(50) {
                    self.activations[k].has_turn = false;
                }
                Came::Ok
            }
            Step::Unblock => {
                if std::mem::take(&mut self.activations[k].has_turn) {
                    self.ports[p].turn = None;
                }
                Came::Ok
            }
        })
    }

    /// Generation and wall clock of the last attach.
    fn stamp(&self, p: usize) -> Stamp {
        Stamp { generation: self.ports[p].generation, epoch_unix_ms: self.ports[p].epoch_unix_ms }
    }

    fn compare(&self, k: usize) -> Came {
        let doing = &self.activations[k];
        let (before, after) = (doing.machine.stamps().0, self.stamp(doing.port));
        if self.mutation == Some(Mutation::TrustClock) && after.epoch_unix_ms <= before.epoch_unix_ms {
            return Came::Failed("the epoch is not newer".to_owned());
        }
        Came::Stamp(after)
    }

    fn define_set(&mut self, k: usize) -> Came {
        let doing = &mut self.activations[k];
        for (name, definition) in define(&doing.wish.set) {
            doing.next.define(&name, definition);
        }
        let (p, judged) = (doing.port, judge(&doing.next.given()));
        match judged {
            Ok(values) => {
                doing.values = Some(values);
                if self.mutation == Some(Mutation::CommitEarly) {
                    self.ports[p].properties = doing.next.clone();
                }
                Came::Ok
            }
            Err(why) => {
                let _ = self.upset(k, Step::Define, Upset::Error);
                Came::Failed(why)
            }
        }
    }

    /// Nothing in flight is not enough: between two requests of a client there is nothing either.
    fn idle(&mut self, k: usize) -> Came {
        let p = self.activations[k].port;
        let inside = self.in_flight(p);
        let doing = &mut self.activations[k];
        // Told apart from the counts by when something last moved.
        doing.seen.flowed = inside > 0 || self.ports[p].moved_ns > doing.ended_before.1;
        let ended = self.ports[p].ended - doing.ended_before.0;
        if ended == 0 && inside == 0 || self.mutation == Some(Mutation::IgnoreFlow) {
            return Came::Ok;
        }
        Came::Busy(format!("busy: {ended} requests, {inside} in flight"))
    }

    /// Takes the port's turn: from now on whoever else wants to change the port is turned away.
    fn block(&mut self, k: usize) -> Option<Came> {
        let p = self.activations[k].port;
        if self.ports[p].gone {
            return Some(Came::Failed("the port was taken away".to_owned()));
        }
        let free = self.turn_is_free(p);
        if !free && self.mutation != Some(Mutation::BlockNobody) {
            self.activations[k].seen.others = true;
            if self.now >= self.activations[k].until_ns {
                return Some(Came::Busy("busy: something else is under way".to_owned()));
            }
            self.after(5 * US, 30 * US, Event::Step(k));
            return None;
        }
        if self.ports[p].revision != self.activations[k].found && self.mutation != Some(Mutation::IgnoreLive)
        {
            self.activations[k].seen.others = true;
            return Some(Came::Failed("the port's properties were changed meanwhile".to_owned()));
        }
        self.ports[p].turn = Some(Holder::Activation(k));
        self.activations[k].has_turn = true;
        self.activations[k].seen.generation = Some(self.ports[p].generation);
        // An update may have come in between: what counts is what grows from here on.
        let stale = self.mutation == Some(Mutation::StaleStamp);
        Some(if stale { Came::Ok } else { Came::Stamp(self.stamp(p)) })
    }

    /// Detach and attach: a transaction of its own, from here to [`World::reinit_over`].
    fn reinit(&mut self, k: usize) {
        let p = self.activations[k].port;
        if self.mutation == Some(Mutation::UnblockEarly) {
            self.ports[p].turn = None;
        }
        let Some(old) = self.ports[p].serving else {
            self.activations[k].seen.others = true;
            self.activations[k].came = Some(Came::Failed("the port has no driver".to_owned()));
            return self.after(1, US, Event::Step(k));
        };
        let wish = &self.activations[k].wish;
        let ask = Ask {
            mode: Mode::Drain,
            if_busy: if wish.idle_only { IfBusy::Fail } else { IfBusy::Wait },
            deadline_ns: wish.drain_ns,
            faults: wish.faults.clone(),
            delay_ns: 0,
        };
        let a = self.add_attempt(p, Goal::Reinit(k), ask, self.drivers[old].spec);
        self.attempts[a].old = Some(old);
        self.activations[k].attempt = Some(a);
        let hangs = self.attempt_fault(a, Phase::Prepare, Kind::Hang);
        let (low, high) = if hangs { (SECOND, 60 * SECOND) } else { (1, 50 * US) };
        self.after(low, high, Event::Ready(k, a));
    }

    /// The new instance is ready, or is not.
    pub(crate) fn reinit_ready(&mut self, k: usize, a: usize) {
        let p = self.activations[k].port;
        if self.attempt_fault(a, Phase::Prepare, Kind::Error)
            || self.attempt_fault(a, Phase::Prepare, Kind::Panic)
        {
            self.attempts[a].concluded = true;
            self.attempts[a].outcome = Some(Outcome::Refused);
            self.activations[k].came = Some(Came::Failed("prepare fails".to_owned()));
            return self.step_over(k);
        }
        let mut values = self.activations[k].values.unwrap_or_default();
        self.attempts[a].commit = Some((self.activations[k].next.clone(), values));
        if self.mutation == Some(Mutation::OldValues) {
            values = self.ports[p].values;
        }
        let driver = Driver::new(p, self.attempts[a].spec, self.lanes_of(p).len(), values);
        let new = self.drivers.len();
        self.drivers.push(driver);
        self.attempts[a].new = Some(new);
        self.run(a, Some(new));
    }

    /// The transaction is over.
    pub(crate) fn reinit_over(&mut self, k: usize, a: usize) {
        let why = self.attempts[a].reason.clone();
        let outcome = self.attempts[a].outcome;
        let went_back = matches!(outcome, Some(Outcome::RolledBack | Outcome::Refused));
        let came = match outcome {
            Some(Outcome::Done) => Came::Ok,
            _ if went_back && self.upset(k, Step::Reinit, Upset::Lie) => Came::Ok,
            Some(Outcome::Busy) => Came::Busy(why),
            Some(Outcome::Stranded) => Came::Stranded(why),
            _ => Came::Failed(why),
        };
        if outcome != Some(Outcome::Done) && self.mutation == Some(Mutation::KeepNewSet) {
            self.ports[self.activations[k].port].properties = self.activations[k].next.clone();
        }
        self.activations[k].came = Some(came);
        self.step_over(k);
    }
}

//! The control thread, as `crates/runtime/src/change/update.rs` has it: attach, update and detach around
//! the real state machine.

use crate::driver::{Driver, Stage};
use crate::job::{Job, phase_of};
use crate::manifests;
use crate::mutation::Mutation;
use crate::plan::{Ask, Kind, MS, SECOND, Spec, US};
use crate::ports::Holder;
use crate::values::Values;
use crate::world::{Event, World};
use steadfast_shell::check;
use steadfast_shell::properties::Properties;
use steadfast_shell::receipt::{Mode, Outcome, Phase, PhaseTime};
use steadfast_shell::rendezvous::{Rendezvous, Verdict};
use steadfast_shell::slots::Tag;
use steadfast_shell::update::{Action, Input, Plan, Update};

/// How long past its deadline a transaction may take before its queues are called stuck.
const STUCK: u64 = 5 * SECOND;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// The first driver.
    Attach,
    Update,
    /// The port is taken away.
    Detach,
    /// The middle of an activation: the same driver, with other properties.
    Reinit(usize),
}

/// One transaction, from the moment it is asked for.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) port: usize,
    pub(crate) goal: Goal,
    pub(crate) ask: Ask,
    pub(crate) used: Vec<bool>,
    pub(crate) mode: Mode,
    pub(crate) old: Option<usize>,
    pub(crate) new: Option<usize>,
    pub(crate) spec: Spec,
    /// Until it goes to the queues.
    pub(crate) update: Option<Update>,
    pub(crate) job: Option<usize>,
    pub(crate) concluded: bool,
    pub(crate) answered: bool,
    pub(crate) generation: u64,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) reason: String,
    pub(crate) phases: Vec<PhaseTime>,
    /// What is in force from the moment on in which the new driver serves.
    pub(crate) commit: Option<(Properties, Values)>,
}

impl World {
    /// Asks for a transaction. It is refused when another one is under way.
    pub(crate) fn begin(&mut self, p: usize, goal: Goal, ask: Ask) -> usize {
        let a = self.add_attempt(p, goal, ask, self.plan.ports[p].first);
        let gone = self.ports[p].gone;
        let let_in = !gone && self.take_turn(a);
        self.check_turned_away(p, let_in);
        if !let_in {
            let attempt = &mut self.attempts[a];
            attempt.outcome = Some(if gone { Outcome::Refused } else { Outcome::Busy });
            attempt.concluded = true;
            self.say(|_| format!("transaction {a}: turned away"));
            return a;
        }
        self.attempts[a].old = self.ports[p].serving;
        match goal {
            Goal::Detach => self.run(a, None),
            Goal::Attach | Goal::Update | Goal::Reinit(_) => self.get_ready(a),
        }
        a
    }

    pub(crate) fn add_attempt(&mut self, p: usize, goal: Goal, ask: Ask, spec: Spec) -> usize {
        let a = self.attempts.len();
        let used = vec![false; ask.faults.len()];
        let (mode, generation) = (ask.mode, self.ports[p].generation);
        self.say(|_| format!("transaction {a}: port {p}: {goal:?} {}", mode.name()));
        self.attempts.push(Attempt {
            port: p,
            goal,
            mode,
            ask,
            used,
            old: None,
            new: None,
            spec,
            update: None,
            job: None,
            concluded: false,
            answered: true,
            generation,
            outcome: None,
            reason: String::new(),
            phases: Vec::new(),
            commit: None,
        });
        a
    }

    /// The right to change the port.
    fn take_turn(&mut self, a: usize) -> bool {
        let p = self.attempts[a].port;
        if self.turn_is_free(p) || self.mutation == Some(Mutation::LetSecondIn) && a > 1 {
            self.ports[p].turn = Some(Holder::Attempt(a));
            return true;
        }
        false
    }

    /// The phases before the pause: a module that suits what runs, or is to fail the check.
    fn get_ready(&mut self, a: usize) {
        let port = &self.ports[self.attempts[a].port];
        let running = match port.serving {
            Some(old) => Some(self.drivers[old].spec),
            None => port.left.or(port.last),
        };
        let wanted = self.attempts[a].mode;
        let spec = match running {
            Some(old) => Spec::after(&mut self.rng, &old, wanted),
            None => self.plan.ports[self.attempts[a].port].first,
        };
        self.attempts[a].spec = spec;
        let plan = self.plan_of(a);
        self.attempts[a].update = Some(Update::new(plan, self.now));
        self.begin_phase(a, Phase::Stage);
    }

    /// The control thread works on a phase; then it comes back.
    fn begin_phase(&mut self, a: usize, phase: Phase) {
        self.phase_began(a);
        let hangs = self.attempt_fault(a, phase, Kind::Hang);
        let (low, high) = if hangs { (SECOND, 60 * SECOND) } else { (1, 100 * US) };
        self.after(low, high, Event::Control(a));
    }

    fn plan_of(&self, a: usize) -> Plan {
        let attempt = &self.attempts[a];
        Plan {
            mode: attempt.mode,
            if_busy: attempt.ask.if_busy,
            deadline_ns: attempt.ask.deadline_ns,
            has_old: attempt.old.is_some(),
            has_new: attempt.goal != Goal::Detach,
        }
    }

    /// The action under way is over: tells the machine how it went.
    pub(crate) fn control(&mut self, a: usize) {
        let Some(update) = self.attempts[a].update.as_ref().filter(|_| !self.attempts[a].concluded) else {
            return;
        };
        let action = update.action();
        let result = self.outside_the_pause(a, action);
        self.say(|_| format!("transaction {a}: {action:?}: {result:?}"));
        let now = self.now;
        let Some(update) = &mut self.attempts[a].update else { return };
        let input = result.map_or_else(Input::Failed, |()| Input::Ok);
        match update.step(input, now) {
            Action::Done(_) => self.close_attempt(a),
            Action::StartUpdate => {
                let new = self.attempts[a].new;
                self.run(a, new);
            }
            action => self.begin_phase(a, phase_of(action)),
        }
    }

    fn outside_the_pause(&mut self, a: usize, action: Action) -> Result<(), String> {
        let phase = phase_of(action);
        if action == Action::Check {
            self.check(a)?;
        } else if self.attempt_fault(a, phase, Kind::Error) {
            return Err(format!("{} fails", phase.name()));
        } else if matches!(phase, Phase::Load | Phase::Prepare) && self.attempt_fault(a, phase, Kind::Panic) {
            return Err(format!("a panic in {}", phase.name()));
        }
        if action == Action::Prepare {
            let p = self.attempts[a].port;
            let driver = Driver::new(p, self.attempts[a].spec, self.lanes_of(p).len(), self.ports[p].values);
            self.attempts[a].new = Some(self.drivers.len());
            self.drivers.push(driver);
        }
        Ok(())
    }

    /// The real check and the real choice of the mode, of what the two drivers' manifests say.
    fn check(&mut self, a: usize) -> Result<(), String> {
        let running = self.attempts[a].old.map(|d| self.drivers[d].spec);
        if self.attempt_fault(a, Phase::Check, Kind::Error) {
            // A module that is older than what runs.
            let mut old = running.unwrap_or(self.attempts[a].spec);
            old.version = 200;
            return manifests::check(&old, &self.attempts[a].spec);
        }
        let spec = self.attempts[a].spec;
        let wanted = self.attempts[a].ask.mode;
        let p = self.attempts[a].port;
        let mode = match (running, self.ports[p].left) {
            (Some(running), _) => manifests::choose(&running, &spec, Some(wanted))
                .or_else(|_| manifests::choose(&running, &spec, None))?,
            (None, Some(left)) if self.lanes_of(p).any(|q| self.lanes[q].slots.issued() > 0) => {
                manifests::choose(&left, &spec, Some(Mode::Adopt))?
            }
            _ => Mode::Drain,
        };
        self.attempts[a].mode = mode;
        if let Some(update) = &mut self.attempts[a].update {
            update.set_mode(mode);
        }
        Ok(())
    }

    /// The pause: the queues take part.
    pub(crate) fn run(&mut self, a: usize, new: Option<usize>) {
        let plan = self.plan_of(a);
        let update = self.attempts[a].update.take();
        let update = update.unwrap_or_else(|| Update::prepared(plan, self.now));
        let old = self.attempts[a].old;
        let p = self.attempts[a].port;
        let before = old.map(|d| self.drivers[d].spec).or(self.ports[p].left);
        let convert = match (before, new) {
            (Some(before), Some(new)) => before.pdu != self.drivers[new].spec.pdu,
            _ => false,
        };
        let meeting = Rendezvous::new(update, self.lanes_of(p).len() as u32);
        let (j, apart) = (self.jobs.len(), self.rng.chance(60));
        let mode = self.attempts[a].mode;
        self.jobs.push(Job::new(
            (a, p),
            (old, new),
            (mode, convert && mode == Mode::Adopt),
            meeting,
            (self.now, apart),
        ));
        self.attempts[a].job = Some(j);
        self.phase_began(a);
        for (i, q) in self.lanes_of(p).enumerate() {
            // The old driver keeps this queue's thread inside when it should take part.
            if i == 0 && !self.is_inside(q) && self.fault(j, Phase::StartUpdate, Kind::Hang) {
                self.say(|_| format!("queue {q} hangs in the old driver"));
                self.go_inside(q, 60 * MS, 70 * SECOND, Event::Awake(q));
            }
            self.after(1, 60 * US, Event::Join(q, j));
        }
        let patience = self.attempts[a].ask.deadline_ns.min(100 * SECOND) + STUCK;
        self.at(self.now + patience, Event::GiveUp(a));
    }

    /// The queues have not come to an end in time.
    pub(crate) fn give_up(&mut self, a: usize) {
        let Some(j) = self.attempts[a].job else { return };
        if !self.jobs[j].finished && !self.attempts[a].concluded {
            self.abandon(j);
            self.at(self.now + SECOND, Event::Conclude(a));
        }
    }

    pub(crate) fn abandon(&mut self, j: usize) {
        self.say(|_| "the transaction is given up".to_owned());
        let now = self.now;
        if self.jobs[j].meeting.abandon("given up", now) {
            self.phase_began(self.jobs[j].attempt);
            for q in self.lanes_of(self.jobs[j].port) {
                self.after(1, 40 * US, Event::Poll(q));
            }
        }
    }

    /// After the pause: gives back what is not needed any more and writes the receipt.
    pub(crate) fn conclude(&mut self, a: usize) {
        let Some(j) = self.attempts[a].job else { return };
        if std::mem::replace(&mut self.attempts[a].concluded, true) {
            return;
        }
        let now = self.now;
        self.attempts[a].answered = self.jobs[j].meeting.is_over();
        let decided = self.jobs[j].meeting.verdict() != Verdict::Undecided;
        if self.attempts[a].answered || self.mutation == Some(Mutation::ReleaseEarly) {
            self.end(j);
            if self.attempts[a].goal == Goal::Detach && self.jobs[j].meeting.verdict() == Verdict::New {
                self.take_away(self.attempts[a].port);
            }
        } else {
            let p = self.attempts[a].port;
            self.ports[p].unfinished = Some(j);
        }
        if decided {
            self.phase_began(a);
            let mut update = self.jobs[j].meeting.update();
            while !matches!(update.action(), Action::Done(_)) {
                update.step(Input::Ok, now);
            }
        }
        self.write_receipt(a, j, decided);
        if self.fault(j, Phase::Unload, Kind::Hang) || self.fault(j, Phase::Unload, Kind::Error) {
            self.say(|_| format!("transaction {a}: the module stays in memory"));
        }
        self.release_turn(a);
    }

    fn write_receipt(&mut self, a: usize, j: usize, decided: bool) {
        let update = self.jobs[j].meeting.update();
        let attempt = &mut self.attempts[a];
        attempt.phases = update.phases().to_vec();
        attempt.outcome = Some(Outcome::Stranded);
        "a driver does not return from a call".clone_into(&mut attempt.reason);
        if decided && let Action::Done(outcome) = update.action() {
            attempt.outcome = Some(outcome);
            update.reason().clone_into(&mut attempt.reason);
        }
        drop(update);
        self.check_receipt(a);
    }

    fn release_turn(&mut self, a: usize) {
        let p = self.attempts[a].port;
        if !matches!(self.attempts[a].goal, Goal::Reinit(_)) {
            self.ports[p].turn = None;
        }
        let attempt = &self.attempts[a];
        let (outcome, reason, goal) = (attempt.outcome, &attempt.reason, attempt.goal);
        self.say(|_| format!("transaction {a}: {outcome:?} {reason}"));
        match goal {
            Goal::Update => self.schedule_next(p),
            Goal::Reinit(k) => self.reinit_over(k, a),
            Goal::Attach | Goal::Detach => {}
        }
    }

    /// Refused before the pause: the module has gone again.
    pub(crate) fn close_attempt(&mut self, a: usize) {
        if let Some(new) = self.attempts[a].new {
            self.let_go(new);
        }
        let attempt = &mut self.attempts[a];
        attempt.concluded = true;
        if let Some(update) = &attempt.update {
            attempt.phases = update.phases().to_vec();
            update.reason().clone_into(&mut attempt.reason);
            if let Action::Done(outcome) = update.action() {
                attempt.outcome = Some(outcome);
            }
        }
        self.check_receipt(a);
        self.release_turn(a);
    }

    /// Every queue has released: lets the driver go that does not serve.
    pub(crate) fn end(&mut self, j: usize) {
        let job = &self.jobs[j];
        let verdict = job.meeting.verdict();
        let gone = if verdict == Verdict::New { job.old } else { job.new };
        let stranded = job.old.filter(|_| verdict == Verdict::Nobody);
        if verdict != Verdict::New && self.mutation == Some(Mutation::CountFailures) {
            self.ports[job.port].generation += 1;
        }
        for driver in gone.into_iter().chain(stranded) {
            self.let_go(driver);
        }
    }

    /// The last call into a driver.
    fn let_go(&mut self, driver: usize) {
        if self.drivers[driver].stage == Stage::Released {
            self.violate(format!("driver {driver} has its last call twice"));
        }
        if let Some(q) = self.lanes.iter().position(|l| l.bound == Some(driver)) {
            self.violate(format!("driver {driver} is let go while queue {q} enters it"));
        }
        self.drivers[driver].stage = Stage::Released;
    }

    fn take_away(&mut self, p: usize) {
        self.ports[p].gone = true;
        for q in self.lanes_of(p) {
            self.lanes[q].gone = true;
            self.lanes[q].deferred.clear();
            // What a driver left behind that could not be connected again.
            let left: Vec<Tag> = self.lanes[q].slots.issued_tags().collect();
            for tag in left {
                if self.lanes[q].users[tag.0 as usize].ops == 0 {
                    self.finish(q, tag, Err(()));
                }
            }
            while let Some((tag, _)) = self.lanes[q].slots.unhold() {
                self.finish(q, tag, Err(()));
            }
            self.end_of_turn(q);
        }
    }
}

/// Whether the real check lets `candidate` take over.
pub(crate) fn passes(rows: &[check::CheckRow]) -> Result<(), String> {
    if check::passed(rows) { Ok(()) } else { Err(check::refusals(rows)) }
}

//! A run from its seed to its end, and what must hold then.

use crate::control::{Attempt, Goal};
use crate::driver::Stage;
use crate::mutation::Mutation;
use crate::plan::{Ask, Fault, Kind, SECOND};
use crate::wish::Upset;
use crate::world::{Event, World};
use steadfast_shell::activation::Step;
use steadfast_shell::receipt::{Mode, Outcome, Phase};
use steadfast_shell::update::IfBusy;

/// What went wrong in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The run.
    pub seed: u64,
    /// What must hold and did not.
    pub what: String,
}

/// What a run was.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Faults that took place: phase, mode, kind, and whether there was an old driver.
    pub hits: Vec<(Phase, Mode, Kind, bool)>,
    /// How transactions ended.
    pub outcomes: Vec<Outcome>,
    /// What came in the steps of activations, and whether they were to be done only when idle.
    pub upsets: Vec<(Step, Upset, bool)>,
    /// How activations ended.
    pub activations: Vec<Outcome>,
    /// Activations that were done although the wall clock went back in between.
    pub clock_went_back: u32,
    /// Calls into drivers that did not return in time, and were given up.
    pub lost: u32,
    /// Requests that clients made.
    pub requests: u32,
    /// Things that happened.
    pub events: u32,
    /// It ended in a loss of power.
    pub power_lost: bool,
}

/// Does the run that `seed` stands for.
///
/// # Errors
/// The first thing that did not hold.
pub fn run(seed: u64, mutation: Option<Mutation>, tracing: bool) -> Result<Report, Failure> {
    let mut world = World::new(seed, mutation, tracing);
    world.live();
    match world.failure.take() {
        Some(what) => Err(Failure { seed, what }),
        None => Ok(Report {
            outcomes: world.attempts.iter().filter_map(|a| a.outcome).collect(),
            requests: world.requests.len() as u32,
            events: world.events,
            power_lost: world.power_lost,
            hits: world.hits,
            upsets: world.step_hits,
            activations: world.activation_outcomes,
            clock_went_back: world.clock_went_back,
            lost: world.lost,
        }),
    }
}

/// An update in which nothing goes wrong.
fn plain(mode: Mode) -> Ask {
    Ask { mode, if_busy: IfBusy::Wait, deadline_ns: 1000 * SECOND, faults: Vec::new(), delay_ns: 0 }
}

impl World {
    fn live(&mut self) {
        self.say(|w| format!("{:#?}", w.plan));
        for p in 0..self.ports.len() {
            if !self.attach(p) {
                return;
            }
        }
        self.add_clients();
        (0..self.ports.len()).for_each(|p| self.schedule_next(p));
        self.schedule_wishes();
        if let Some(time) = self.plan.power_ns {
            let time = self.now + time;
            self.at(time, Event::PowerLoss);
        }
        self.run_out();
        if !self.power_lost {
            for p in 0..self.ports.len() {
                self.rescue(p);
                self.check_end(p);
            }
            for p in 0..self.ports.len() {
                if self.ports[p].stopping {
                    self.stop(p);
                }
            }
        }
        for p in 0..self.ports.len() {
            if self.failure.is_none() {
                self.check_medium(p);
            }
        }
    }

    /// The first driver; when that fails, another try without faults.
    fn attach(&mut self, p: usize) -> bool {
        let faults = std::mem::take(&mut self.plan.ports[p].attach);
        self.begin(p, Goal::Attach, Ask { faults, ..plain(Mode::Drain) });
        self.run_out();
        if self.ports[p].serving.is_none() && self.failure.is_none() {
            self.begin(p, Goal::Attach, plain(Mode::Drain));
            self.run_out();
            if self.ports[p].serving.is_none() {
                self.violate("a port cannot be attached after a failure".to_owned());
            }
        }
        self.failure.is_none()
    }

    fn schedule_wishes(&mut self) {
        for p in 0..self.ports.len() {
            for i in 0..self.plan.ports[p].wishes.len() {
                let time = self.now + self.plan.ports[p].wishes[i].at_ns;
                self.at(time, Event::Wish(p, i));
            }
        }
    }

    /// The next update that the plan has.
    pub(crate) fn schedule_next(&mut self, p: usize) {
        if let Some(ask) = self.plan.ports[p].asks.get(self.ports[p].next_ask) {
            let time = self.now + ask.delay_ns;
            self.at(time, Event::Start(p));
        }
    }

    pub(crate) fn start(&mut self, p: usize) {
        let Some(ask) = self.plan.ports[p].asks.get(self.ports[p].next_ask).cloned() else { return };
        self.ports[p].next_ask += 1;
        let a = self.begin(p, Goal::Update, ask);
        if self.attempts[a].outcome == Some(Outcome::Busy) {
            self.schedule_next(p);
        }
    }

    /// A stranded port is served again by the next update that does not fail.
    fn rescue(&mut self, p: usize) {
        if self.failure.is_some() || self.ports[p].serving.is_some() || self.ports[p].gone {
            return;
        }
        let faults = if self.rng.chance(30) { self.plan.ports[p].rescue.clone() } else { Vec::new() };
        if !faults.is_empty() {
            self.say(|_| "the port is stranded: another update, that fails too".to_owned());
            self.begin(p, Goal::Update, Ask { faults, ..plain(Mode::Adopt) });
            self.run_out();
        }
        self.say(|_| "the port is stranded: another update".to_owned());
        self.begin(p, Goal::Update, plain(Mode::Adopt));
        self.run_out();
    }

    fn stop(&mut self, p: usize) {
        if self.failure.is_some() || self.ports[p].gone {
            return;
        }
        let fault = Fault {
            phase: self.rng.pick(&[
                Phase::StartUpdate,
                Phase::Pending,
                Phase::Disconnect,
                Phase::FinishUpdate,
            ]),
            kind: self.rng.pick(&[Kind::Nothing, Kind::Error, Kind::Hang, Kind::Second, Kind::Abandon]),
        };
        self.begin(p, Goal::Detach, Ask { faults: vec![fault], deadline_ns: SECOND, ..plain(Mode::Drain) });
        self.run_out();
        if self.ports[p].gone || self.failure.is_some() {
            return;
        }
        // Not detached, or too late to be called so: it is served, or can be, and goes without a fault.
        self.rescue(p);
        self.check_end(p);
        self.begin(p, Goal::Detach, plain(Mode::Drain));
        self.run_out();
        if self.failure.is_none() && !self.ports[p].gone {
            self.violate("the port cannot be taken away".to_owned());
        }
        self.check_gone(p);
    }

    /// Nothing is left of a port that was taken away, and nobody waits for it.
    fn check_gone(&mut self, p: usize) {
        if let Some(driver) = self.drivers.iter().position(|d| d.port == p && d.stage != Stage::Released) {
            return self.violate(format!("driver {driver} is left after port {p} has gone"));
        }
        if self.requests.iter().any(|r| !r.completed && self.clients[r.client].port == p) {
            self.violate(format!("a request is never answered after port {p} has gone"));
        }
    }

    /// Exactly one driver serves, and everything was answered.
    fn check_end(&mut self, p: usize) {
        if self.failure.is_some() {
            return;
        }
        if let Some(job) = self.ports[p].unfinished.take() {
            if !self.jobs[job].meeting.is_over() {
                return self.violate("a transaction does not end".to_owned());
            }
            self.end(job);
        }
        if let Some(k) = self.activations.iter().position(|doing| doing.outcome.is_none()) {
            return self.violate(format!("activation {k} does not end"));
        }
        if self.ports[p].gone {
            return self.check_gone(p);
        }
        let Some(serving) = self.ports[p].serving else {
            return self.violate(format!("nobody serves port {p}"));
        };
        if let Some(number) =
            self.requests.iter().position(|r| !r.completed && self.clients[r.client].port == p)
        {
            return self.violate(format!("request {number} is never answered"));
        }
        for q in self.lanes_of(p) {
            let lane = &self.lanes[q];
            let idle = lane.slots.used() == 0 && lane.deferred.is_empty() && lane.job.is_none();
            if lane.bound != Some(serving) || !lane.gate.is_open() || !idle {
                return self.violate(format!("queue {q} is not served by driver {serving} as it should be"));
            }
        }
        for (d, driver) in self.drivers.iter().enumerate().filter(|(_, d)| d.port == p) {
            let right = if d == serving { Stage::Connected } else { Stage::Released };
            if driver.stage != right {
                return self.violate(format!("driver {d} is {:?} at the end, not {right:?}", driver.stage));
            }
        }
        if let Some(wrong) = self.wrong_values(p) {
            return self.violate(wrong);
        }
        let brought = |t: &&Attempt| t.port == p && t.outcome == Some(Outcome::Done) && t.new.is_some();
        let attaches = self.attempts.iter().filter(brought).count() as u64;
        let generation = self.ports[p].generation;
        if generation != attaches {
            return self.violate(format!("port {p} has generation {generation} after {attaches} attaches"));
        }
        if self.drivers[serving].served != self.ports[p].served {
            let (known, served) = (self.drivers[serving].served, self.ports[p].served);
            self.violate(format!("the state says that {known} requests were answered; {served} were"));
        }
    }
}

//! A run from its seed to its end, and what must hold then.

use crate::control::Goal;
use crate::driver::Stage;
use crate::plan::{Ask, Fault, Kind, SECOND};
use crate::world::{Event, Mutation, World};
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
        if !self.attach() {
            return;
        }
        self.add_clients();
        self.schedule_next();
        if let Some(time) = self.plan.power_ns {
            let time = self.now + time;
            self.at(time, Event::PowerLoss);
        }
        self.run_out();
        if !self.power_lost {
            self.rescue();
            self.check_end();
            if self.stopping {
                self.stop();
            }
        }
        if self.failure.is_none() {
            self.check_medium();
        }
    }

    /// The first driver; when that fails, another try without faults.
    fn attach(&mut self) -> bool {
        let faults = std::mem::take(&mut self.plan.attach);
        self.begin(Goal::Attach, Ask { faults, ..plain(Mode::Drain) });
        self.run_out();
        if self.port.serving.is_none() && self.failure.is_none() {
            self.begin(Goal::Attach, plain(Mode::Drain));
            self.run_out();
            if self.port.serving.is_none() {
                self.violate("a port cannot be attached after a failure".to_owned());
            }
        }
        self.failure.is_none()
    }

    /// The next update that the plan has.
    pub(crate) fn schedule_next(&mut self) {
        if let Some(ask) = self.plan.asks.get(self.next_ask) {
            let time = self.now + ask.delay_ns;
            self.at(time, Event::Start);
        }
    }

    pub(crate) fn start(&mut self) {
        let ask = self.plan.asks[self.next_ask].clone();
        self.next_ask += 1;
        let a = self.begin(Goal::Update, ask);
        if self.attempts[a].outcome == Some(Outcome::Busy) {
            self.schedule_next();
        }
    }

    /// A stranded port is served again by the next update that does not fail.
    fn rescue(&mut self) {
        if self.failure.is_some() || self.port.serving.is_some() || self.port.gone {
            return;
        }
        let faults = if self.rng.chance(30) { self.plan.rescue.clone() } else { Vec::new() };
        if !faults.is_empty() {
            self.say(|_| "the port is stranded: another update, that fails too".to_owned());
            self.begin(Goal::Update, Ask { faults, ..plain(Mode::Adopt) });
            self.run_out();
        }
        self.say(|_| "the port is stranded: another update".to_owned());
        self.begin(Goal::Update, plain(Mode::Adopt));
        self.run_out();
    }

    fn stop(&mut self) {
        if self.failure.is_some() {
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
        self.begin(Goal::Detach, Ask { faults: vec![fault], deadline_ns: SECOND, ..plain(Mode::Drain) });
        self.run_out();
        if self.port.gone || self.failure.is_some() {
            return;
        }
        // Not detached, or too late to be called so: it is served, or can be, and goes without a fault.
        self.rescue();
        self.check_end();
        self.begin(Goal::Detach, plain(Mode::Drain));
        self.run_out();
        if self.failure.is_none() && !self.port.gone {
            self.violate("the port cannot be taken away".to_owned());
        }
        if let Some(driver) = self.drivers.iter().position(|d| d.stage != Stage::Released) {
            self.violate(format!("driver {driver} is left after the port has gone"));
        }
    }

    /// Exactly one driver serves, and everything was answered.
    fn check_end(&mut self) {
        if self.failure.is_some() {
            return;
        }
        if let Some(job) = self.port.unfinished.take() {
            if !self.jobs[job].meeting.is_over() {
                return self.violate("a transaction does not end".to_owned());
            }
            self.end(job);
        }
        let Some(serving) = self.port.serving else {
            return self.violate("nobody serves the port".to_owned());
        };
        if let Some(number) = self.requests.iter().position(|r| !r.completed) {
            return self.violate(format!("request {number} is never answered"));
        }
        for (q, lane) in self.lanes.iter().enumerate() {
            let idle = lane.slots.used() == 0 && lane.deferred.is_empty() && lane.job.is_none();
            if lane.bound != Some(serving) || !lane.gate.is_open() || !idle {
                return self.violate(format!("queue {q} is not served by driver {serving} as it should be"));
            }
        }
        for (d, driver) in self.drivers.iter().enumerate() {
            let right = if d == serving { Stage::Connected } else { Stage::Released };
            if driver.stage != right {
                return self.violate(format!("driver {d} is {:?} at the end, not {right:?}", driver.stage));
            }
        }
        if self.drivers[serving].served != self.served {
            let (known, served) = (self.drivers[serving].served, self.served);
            self.violate(format!("the state says that {known} requests were answered; {served} were"));
        }
    }
}

//! What an activation promises, checked when it is over.

use crate::activate::Doing;
use crate::control::Attempt;
use crate::ports::Holder;
use crate::values::{judge, pending};
use crate::world::World;
use steadfast_shell::activation::Step;
use steadfast_shell::receipt::Outcome;

impl World {
    /// It is over: who serves, what is in force, and whether it says so.
    pub(crate) fn activation_over(&mut self, k: usize, outcome: Outcome) {
        let doing = &mut self.activations[k];
        doing.outcome = Some(outcome);
        doing.seen.blocks = false;
        let p = doing.port;
        self.say(|w| format!("activation {k}: {outcome:?} {}", w.activations[k].machine.reason()));
        let (before, after) = self.activations[k].machine.stamps();
        self.clock_went_back += u32::from(outcome == Outcome::Done && after.clock_went_back(before));
        self.activation_outcomes.push(outcome);
        let wrong = self
            .wrong_steps(k, outcome)
            .or_else(|| self.wrong_generation(k, outcome))
            .or_else(|| self.wrong_values(p))
            .or_else(|| self.wrong_outcome(k, outcome));
        if let Some(what) = wrong {
            self.violate(format!("activation {k} ended {outcome:?}: {what}"));
        }
    }

    fn wrong_steps(&self, k: usize, outcome: Outcome) -> Option<String> {
        let doing = &self.activations[k];
        let steps = doing.machine.steps();
        if !steps.windows(2).all(|w| w[0].step < w[1].step) {
            let names: Vec<&str> = steps.iter().map(|s| s.step.name()).collect();
            return Some(format!("its steps are out of order: {}", names.join(", ")));
        }
        if (outcome == Outcome::Done) != doing.machine.reason().is_empty() {
            return Some(format!("its reason is {:?}", doing.machine.reason()));
        }
        let keeps = self.ports[doing.port].turn == Some(Holder::Activation(k));
        keeps.then(|| "nobody is let in again".to_owned())
    }

    /// The generation has grown if and only if it is done.
    fn wrong_generation(&self, k: usize, outcome: Outcome) -> Option<String> {
        let (doing, done) = (&self.activations[k], outcome == Outcome::Done);
        let Some(before) = doing.seen.generation else {
            return done.then(|| "it never had the port for itself".to_owned());
        };
        let verdict_new = doing.attempt.is_some_and(|a| self.attempts[a].outcome == Some(Outcome::Done));
        if verdict_new != done {
            return Some(format!("a new instance came to serve: {verdict_new}"));
        }
        if done && self.ports[doing.port].expected != doing.wish.set {
            return Some("its set is not what must be in force".to_owned());
        }
        if done && self.ports[doing.port].live_ns > doing.seen.read_ns {
            return Some("it has overwritten what was said after its configuration was read".to_owned());
        }
        let grown = self.ports[doing.port].generation - before;
        (grown != u64::from(done)).then(|| format!("the generation has grown by {grown}"))
    }

    /// The new set is in force from its driver's attach on, and no other moment.
    pub(crate) fn expect_set(&mut self, k: usize) {
        let doing = &self.activations[k];
        self.ports[doing.port].expected.clone_from(&doing.wish.set);
    }

    /// What is in force is one set: the one that was defined last, in the properties, in the driver and
    /// in the lanes.
    pub(crate) fn wrong_values(&self, p: usize) -> Option<String> {
        let port = &self.ports[p];
        let given = port.properties.given();
        if given != port.expected {
            return Some(format!(
                "port {p} has the properties {given:?}, and should have {:?}",
                port.expected
            ));
        }
        if *port.properties.load_time() != port.load_time {
            return Some(format!("the load-time properties of port {p} are others"));
        }
        let values = match judge(&given) {
            Ok(values) => values,
            Err(why) => return Some(format!("port {p} has properties that are not allowed: {why}")),
        };
        if port.values != values {
            return Some(format!("the shell has the values {:?} on port {p}, not {values:?}", port.values));
        }
        if pending(&given, &port.expected) > 0 {
            return Some(format!("something is pending on port {p}"));
        }
        let driver = port.serving.filter(|_| port.unfinished.is_none())?;
        let has = self.drivers[driver].values;
        (has != values).then(|| format!("driver {driver} has the values {has:?}, not {values:?}"))
    }

    /// Under flow an idle-only one is busy; where nothing went wrong and nobody came in between, it is done.
    fn wrong_outcome(&self, k: usize, outcome: Outcome) -> Option<String> {
        let doing = &self.activations[k];
        let went_on = doing.machine.steps().iter().any(|s| s.step == Step::Block);
        if doing.seen.flowed && went_on {
            return Some("I/O flowed, and it went on".to_owned());
        }
        if outcome == Outcome::Done || !self.is_hopeful(doing) {
            return None;
        }
        let port = &self.ports[doing.port];
        let idle = doing.seen.made == Some(port.made);
        let done = !doing.wish.idle_only || idle;
        done.then(|| format!("nothing went wrong (idle: {idle}): {}", doing.machine.reason()))
    }

    fn is_hopeful(&self, doing: &Doing) -> bool {
        let sound = doing.wish.upsets.is_empty() && doing.wish.faults.is_empty();
        let answered = |a: &Attempt| a.concluded;
        let alone = !doing.seen.others && !self.is_kept_by_others(doing.port) && !self.hung;
        let port = &self.ports[doing.port];
        let there = !port.gone && !self.halting && doing.attempt.is_none_or(|a| answered(&self.attempts[a]));
        sound && alone && there && doing.wish.drain_ns >= crate::plan::SECOND
    }
}

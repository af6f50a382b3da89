//! What a transaction promises, checked when its receipt is written.

use crate::plan::{Kind, SECOND};
use crate::world::World;
use steadfast_shell::receipt::{Mode, Outcome, Phase};

impl World {
    pub(crate) fn check_receipt(&mut self, a: usize) {
        let attempt = &self.attempts[a];
        let order = attempt.phases.windows(2).all(|w| w[0].phase < w[1].phase);
        let outcome = attempt.outcome;
        let port = &self.ports[attempt.port];
        let grown = port.generation - attempt.generation;
        let serving = port.serving;
        let (done, new, old) = (outcome == Some(Outcome::Done), attempt.new, attempt.old);
        let (answered, stuck) = (attempt.answered, !attempt.answered);
        let without_reason = !done && attempt.reason.is_empty();
        if !order {
            let phases: Vec<&str> = attempt.phases.iter().map(|p| p.phase.name()).collect();
            return self.violate(format!("the receipt's phases are out of order: {}", phases.join(", ")));
        }
        if without_reason {
            return self.violate(format!("transaction {a} did not succeed and says no reason"));
        }
        for phase in [Phase::Pending, Phase::Disconnect, Phase::Connect] {
            let lost = format!("{} did not return", phase.name());
            let reason = &self.attempts[a].reason;
            if reason.starts_with(late_in(phase)) || reason.starts_with(&lost) {
                self.hit(a, phase, Kind::Deadline);
            }
        }
        let expected = u64::from(done && new.is_some());
        if grown != expected {
            return self.violate(format!("generation grew by {grown} in transaction {a}: {outcome:?}"));
        }
        let right = match outcome {
            Some(Outcome::Done) => serving == new,
            Some(Outcome::Stranded) => stuck || serving.is_none(),
            // There must be somebody to go back to.
            Some(Outcome::RolledBack) => old.is_some() && serving == old,
            _ => serving == old,
        };
        if !right {
            self.violate(format!(
                "transaction {a} ended {outcome:?}, and {serving:?} serves (answered: {answered})"
            ));
        }
        self.check_hopeful(a);
    }

    /// Where nothing went wrong, it went well.
    fn check_hopeful(&mut self, a: usize) {
        let attempt = &self.attempts[a];
        let none = attempt.ask.faults.is_empty() && attempt.ask.deadline_ns >= SECOND;
        let patient = attempt.ask.if_busy == steadfast_shell::update::IfBusy::Wait;
        // Requests that nobody serves can only be adopted; a candidate that cannot is refused.
        let sound = attempt.new.is_none_or(|d| !self.drivers[d].values.is_broken());
        let suits = attempt.old.is_some()
            || attempt.ask.mode == Mode::Adopt
            || attempt.outcome != Some(Outcome::Refused);
        // A queue belongs to all its ports: a call that hangs keeps the others waiting.
        let alone = !self.is_kept_by_others(attempt.port);
        if none && sound && alone && patient && suits && attempt.outcome != Some(Outcome::Done) {
            let (outcome, reason) = (attempt.outcome, attempt.reason.clone());
            self.violate(format!("transaction {a} ended {outcome:?} without a fault: {reason}"));
        }
    }
}

/// How the reason begins when that phase was too late.
fn late_in(phase: Phase) -> &'static str {
    match phase {
        Phase::Disconnect => "disconnect returned after the deadline",
        Phase::Connect => "connect returned after the deadline",
        _ => "deadline of",
    }
}

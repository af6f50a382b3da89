//! What goes wrong in a transaction, or comes from outside, when its phase has come.

use crate::control::{Attempt, Goal};
use crate::job::phase_of;
use crate::plan::{Ask, Fault, Kind, SECOND, US};
use crate::wish::Upset;
use crate::world::{Event, World};
use steadfast_shell::activation::Step;
use steadfast_shell::receipt::{Outcome, Phase};
use steadfast_shell::update::{Action, Input};

impl World {
    /// Whether `kind` is to happen in `phase` of the transaction; then it does, once.
    pub(crate) fn fault(&mut self, j: usize, phase: Phase, kind: Kind) -> bool {
        self.attempt_fault(self.jobs[j].attempt, phase, kind)
    }

    pub(crate) fn attempt_fault(&mut self, a: usize, phase: Phase, kind: Kind) -> bool {
        let attempt = &mut self.attempts[a];
        let wanted = Fault { phase, kind };
        let Some(i) = attempt.ask.faults.iter().position(|f| *f == wanted) else { return false };
        if std::mem::replace(&mut attempt.used[i], true) {
            return false;
        }
        self.hit(a, phase, kind);
        true
    }

    pub(crate) fn hit(&mut self, a: usize, phase: Phase, kind: Kind) {
        let attempt = &self.attempts[a];
        let (mode, has_old) = (attempt.mode, attempt.old.is_some());
        self.say(|_| format!("FAULT: {} in {}", kind.name(), phase.name()));
        self.hits.push((phase, mode, kind, has_old));
        if let Goal::Reinit(k) = self.attempts[a].goal {
            self.step_hit(k, Step::Reinit, upset_of(kind));
        }
    }

    /// The phase that a transaction is in.
    fn phase(&self, a: usize) -> Option<Phase> {
        let attempt = &self.attempts[a];
        if attempt.concluded {
            return None;
        }
        let action = match (&attempt.update, attempt.job) {
            (Some(update), _) => update.action(),
            (None, Some(j)) => self.jobs[j].meeting.update().action(),
            (None, None) => return None,
        };
        Some(phase_of(action))
    }

    /// A transaction has come to another phase: what comes from outside then is on its way.
    pub(crate) fn phase_began(&mut self, a: usize) {
        let Some(phase) = self.phase(a) else { return };
        let p = self.attempts[a].port;
        if phase > Phase::Connect {
            self.ports[p].failing_ops = false;
        }
        for i in 0..self.attempts[a].ask.faults.len() {
            let fault = self.attempts[a].ask.faults[i];
            let failing = fault.phase == Phase::Pending && matches!(fault.kind, Kind::Error | Kind::Panic);
            // Where nothing is waited for, an operation that fails meanwhile fails while the port is held.
            self.ports[p].failing_ops |= failing && matches!(phase, Phase::StartUpdate | Phase::Pending);
            if fault.phase != phase || self.attempts[a].used[i] {
                continue;
            }
            if fault.kind.is_event() {
                let high = self.rng.pick(&[1, 5 * US, 40 * US]);
                self.after(0, high, Event::Strike(a, i));
            }
        }
    }

    pub(crate) fn strike(&mut self, a: usize, i: usize) {
        let fault = self.attempts[a].ask.faults[i];
        if self.attempts[a].used[i] || self.phase(a) != Some(fault.phase) {
            return;
        }
        self.attempts[a].used[i] = true;
        self.hit(a, fault.phase, fault.kind);
        match fault.kind {
            Kind::ClientLoss => self.lose_client(self.attempts[a].port),
            Kind::Second => self.second(self.attempts[a].port, Goal::Update),
            Kind::Stop => self.second(self.attempts[a].port, Goal::Detach),
            _ => self.give_up_early(a),
        }
    }

    pub(crate) fn lose_client(&mut self, p: usize) {
        let of_port = |c: &usize| self.clients[*c].port == p;
        let all: Vec<usize> = (0..self.clients.len()).filter(of_port).collect();
        if !all.is_empty() {
            let c = self.rng.pick(&all);
            self.clients[c].lost = true;
            self.say(|_| format!("client {c} is lost"));
        }
    }

    /// Something else is asked of the port meanwhile: it is refused as busy and changes nothing.
    pub(crate) fn second(&mut self, p: usize, goal: Goal) {
        let mode = self.rng.pick(&crate::plan::MODES);
        let if_busy = steadfast_shell::update::IfBusy::Wait;
        let ask = Ask { mode, if_busy, deadline_ns: SECOND, faults: Vec::new(), delay_ns: 0 };
        let as_it_is = |w: &World| (w.ports[p].generation, w.ports[p].serving, w.drivers.len());
        let before = as_it_is(self);
        let b = self.begin(p, goal, ask);
        let after = as_it_is(self);
        if self.attempts[b].outcome != Some(Outcome::Busy) || before != after {
            self.violate(format!("transaction {b} was let in while another one was under way"));
        }
        if goal == Goal::Detach {
            self.ports[p].stopping = true;
        }
    }

    fn give_up_early(&mut self, a: usize) {
        if let Some(j) = self.attempts[a].job {
            return self.abandon(j);
        }
        let now = self.now;
        let Some(update) = &mut self.attempts[a].update else { return };
        match update.step(Input::Abandon("given up".to_owned()), now) {
            Action::Done(_) => self.close_attempt(a),
            // Its module is unmapped: the event that is on its way sees to that.
            _ => self.phase_began(a),
        }
    }

    pub(crate) fn fault_hit_failing_op(&mut self, p: usize) {
        let under_way = |t: &Attempt| t.port == p && !t.concluded && t.job.is_some();
        let Some(a) = self.attempts.iter().rposition(under_way) else { return };
        for kind in [Kind::Error, Kind::Panic] {
            let _ = self.attempt_fault(a, Phase::Pending, kind);
        }
    }
}

/// What a fault of the transaction is to the activation.
fn upset_of(kind: Kind) -> Upset {
    match kind {
        Kind::Nothing | Kind::Error => Upset::Error,
        Kind::Panic => Upset::Panic,
        Kind::Hang => Upset::Late,
        Kind::Deadline => Upset::Deadline,
        Kind::ClientLoss => Upset::ClientLoss,
        Kind::Second => Upset::Update,
        Kind::Stop => Upset::Removal,
        Kind::Abandon => Upset::Stop,
    }
}

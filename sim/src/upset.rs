//! What goes wrong in an activation, or comes in between, when its step has come.

use crate::control::Goal;
use crate::plan::US;
use crate::wish::{Upset, Wish};
use crate::world::{Event, World};
use steadfast_shell::activation::Step;

impl World {
    /// Whether `upset` is to come in the step; then it does, once.
    pub(crate) fn upset(&mut self, k: usize, step: Step, upset: Upset) -> bool {
        let doing = &mut self.activations[k];
        let Some(i) = doing.wish.upsets.iter().position(|u| *u == (step, upset)) else { return false };
        if std::mem::replace(&mut doing.used[i], true) {
            return false;
        }
        self.step_hit(k, step, upset);
        true
    }

    pub(crate) fn step_hit(&mut self, k: usize, step: Step, upset: Upset) {
        self.say(|_| format!("UPSET: {} in {} of activation {k}", upset.name(), step.name()));
        self.step_hits.push((step, upset, self.activations[k].wish.idle_only));
    }

    pub(crate) fn upsets_on_their_way(&mut self, k: usize, step: Step) {
        for i in 0..self.activations[k].wish.upsets.len() {
            let (at, upset) = self.activations[k].wish.upsets[i];
            if at == step && upset.is_event() && !self.activations[k].used[i] {
                let high = self.rng.pick(&[0, US, 20 * US]);
                self.after(0, high, Event::Upset(k, i));
            }
        }
    }

    pub(crate) fn upset_strikes(&mut self, k: usize, i: usize) {
        let (step, upset) = self.activations[k].wish.upsets[i];
        if self.step_of(k) != Some(step) || !self.upset(k, step, upset) {
            return;
        }
        let p = self.activations[k].port;
        match upset {
            Upset::ClientLoss => self.lose_client(p),
            Upset::Update => self.somebody_else(p, Goal::Update),
            Upset::Removal => self.somebody_else(p, Goal::Detach),
            Upset::Live => self.manage(p),
            Upset::Activation => {
                let wish = Wish::plain(&mut self.rng);
                self.begin_activation(p, wish);
            }
            Upset::ClockBack => {
                self.clock_back_ms += 3_600_000;
            }
            Upset::Stop => {
                self.halting = true;
                self.ports.iter_mut().for_each(|port| port.stopping = true);
            }
            _ => {}
        }
    }
}

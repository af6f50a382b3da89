//! Who else wants to change a port: the turn, live changes, and others that are turned away.

use crate::control::Goal;
use crate::plan::{Ask, MODES, SECOND, US};
use crate::ports::Holder;
use crate::values::{THROTTLE, define};
use crate::world::{Event, World};
use steadfast_shell::receipt::Mode;
use steadfast_shell::update::IfBusy;

impl World {
    /// Nobody is changing the port. What was left by a driver that has returned by now is cleared away.
    pub(crate) fn turn_is_free(&mut self, p: usize) -> bool {
        if let Some(job) = self.ports[p].unfinished
            && self.jobs[job].meeting.is_over()
        {
            self.ports[p].unfinished = None;
            self.end(job);
        }
        self.ports[p].turn.is_none() && self.ports[p].unfinished.is_none()
    }

    /// Whether an activation has management requests of the port blocked: then they are turned away, and
    /// told by what.
    pub(crate) fn check_turned_away(&mut self, p: usize, let_in: bool) {
        let blocks = |doing: &crate::activate::Doing| doing.port == p && doing.seen.blocks;
        let Some(k) = self.activations.iter().position(blocks) else { return };
        if let_in {
            self.violate(format!("a management request is let in while activation {k} has the port blocked"));
        } else if self.ports[p].turn != Some(Holder::Activation(k)) {
            let told = self.ports[p].turn;
            self.violate(format!("a management request is told that {told:?} blocks it, not activation {k}"));
        }
    }

    /// A live parameter is to be changed.
    pub(crate) fn manage(&mut self, p: usize) {
        let let_in = !self.ports[p].gone && self.turn_is_free(p) && self.ports[p].serving.is_some();
        self.check_turned_away(p, let_in);
        self.say(|_| format!("port {p}: a live change is {}", if let_in { "let in" } else { "turned away" }));
        if let_in {
            self.ports[p].turn = Some(Holder::Live);
            self.after(1, 60 * US, Event::Managed(p));
        }
    }

    /// A management request that is inside, and does not leave.
    pub(crate) fn stay_inside(&mut self, p: usize) {
        if !self.ports[p].gone && self.turn_is_free(p) && self.ports[p].serving.is_some() {
            self.ports[p].turn = Some(Holder::Live);
            self.after(SECOND, 2 * SECOND, Event::Managed(p));
        }
    }

    /// The change takes effect, and whoever asked for it leaves.
    pub(crate) fn managed(&mut self, p: usize) {
        self.ports[p].turn = None;
        let value = self.rng.chance(70).then(|| self.rng.range(0, 8));
        let Some(serving) = self.ports[p].serving else { return };
        let port = &mut self.ports[p];
        let before = port.properties.clone();
        match value {
            Some(value) => {
                port.expected.insert(THROTTLE.to_owned(), value.to_string());
                for (name, definition) in define(&[(THROTTLE.to_owned(), value.to_string())].into()) {
                    port.properties.define(&name, definition);
                }
            }
            None => {
                port.expected.remove(THROTTLE);
                port.properties.undefine(THROTTLE);
            }
        }
        if port.properties != before {
            (port.live_ns, port.revision) = (self.now, port.revision + 1);
        }
        port.values.throttle = value.unwrap_or(0) as u8;
        self.drivers[serving].values.throttle = port.values.throttle;
        self.say(|_| format!("port {p}: {THROTTLE} is {value:?}"));
    }

    /// Another transaction is asked for while an activation is on its way: let in until that has the port
    /// blocked.
    pub(crate) fn somebody_else(&mut self, p: usize, goal: Goal) {
        if self.activations.iter().any(|doing| doing.port == p && doing.seen.blocks) {
            return self.second(p, goal);
        }
        let ask = Ask {
            mode: if goal == Goal::Detach { Mode::Drain } else { self.rng.pick(&MODES) },
            if_busy: IfBusy::Wait,
            deadline_ns: SECOND,
            faults: Vec::new(),
            delay_ns: 0,
        };
        self.begin(p, goal, ask);
    }
}

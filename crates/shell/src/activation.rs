//! The activation: one port is re-initialised with new properties, and nothing else notices.
//!
//! [`Activation`] is told how the last step went and says which is next. It does nothing itself: the
//! runtime carries steps out, a simulator pretends to.
//!
//! ```text
//! Parse > Collect > Stamp > Clear > Undefine > Define > Delay > Idle > Block > Reinit > Compare > Unblock > Done
//!   |        |        |       |        |         |        |      |       |        |         |
//!   +--------+--------+       +--------+----+----+--------+------+       +--------+---------+
//!            |                              |                                     |
//!        refused                         Restore                          Restore > Unblock
//!                                    refused or busy               busy, rolled back or stranded
//! ```
//! `Clear` to `Define` work on a copy of the port's properties, which becomes the port's own within
//! `Reinit` and only when the driver has attached with it: `Restore` has nothing to repair, and whoever
//! asks meanwhile sees the set that is in force.

use crate::receipt::Outcome;
use serde::{Deserialize, Serialize};

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Parse the configuration into names and values.
    Parse,
    /// Collect the load-time properties.
    Collect,
    /// Read the port's generation and epoch.
    Stamp,
    /// Clear the driver properties.
    Clear,
    /// Undefine every load-time property.
    Undefine,
    /// Define the new set, and judge it as a whole.
    Define,
    /// Wait for the time that was asked for.
    Delay,
    /// See that no I/O flows, where it was asked for.
    Idle,
    /// Turn management requests for the port away, and wait for those that are inside to leave.
    Block,
    /// Detach and attach: this port only.
    Reinit,
    /// Read generation and epoch again: newer means success.
    Compare,
    /// The previous set is in force.
    Restore,
    /// Let management requests in again.
    Unblock,
}

impl Step {
    /// All steps, in their order.
    pub const ALL: [Step; 13] = [
        Step::Parse,
        Step::Collect,
        Step::Stamp,
        Step::Clear,
        Step::Undefine,
        Step::Define,
        Step::Delay,
        Step::Idle,
        Step::Block,
        Step::Reinit,
        Step::Compare,
        Step::Restore,
        Step::Unblock,
    ];

    /// The step's name as receipts print it.
    pub const fn name(self) -> &'static str {
        match self {
            Step::Parse => "parse",
            Step::Collect => "collect",
            Step::Stamp => "stamp",
            Step::Clear => "clear",
            Step::Undefine => "undefine",
            Step::Define => "define",
            Step::Delay => "delay",
            Step::Idle => "idle",
            Step::Block => "block",
            Step::Reinit => "reinit",
            Step::Compare => "compare",
            Step::Restore => "restore",
            Step::Unblock => "unblock",
        }
    }
}

/// Time spent in one step, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StepTime {
    /// Which step.
    pub step: Step,
    /// Nanoseconds, monotonic clock.
    pub ns: u64,
    /// What was found or done, for people; empty where there is nothing to say.
    #[serde(default)]
    pub detail: String,
}

/// What proves that a port was initialised anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Count of the port's attaches.
    pub generation: u64,
    /// Wall clock of the last one, milliseconds since 1970.
    pub epoch_unix_ms: u64,
}

impl Stamp {
    /// Whether this one is of a later attach. The generation decides: the wall clock can be set back
    /// between the two, and then the later epoch is the smaller one.
    pub fn is_newer_than(self, before: Stamp) -> bool {
        self.generation > before.generation
    }

    /// The clock went back between the two.
    pub fn clock_went_back(self, before: Stamp) -> bool {
        self.is_newer_than(before) && self.epoch_unix_ms < before.epoch_unix_ms
    }
}

/// How a step went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// Done.
    Ok,
    /// `Stamp`, `Block` and `Compare`: what was read. The one of `Block` takes the place of the one before:
    /// an update that came in between has made the port's generation grow, and proves nothing.
    Stamp(Stamp),
    /// The port is in use, and was left as it is.
    Busy(String),
    /// It cannot be done; the port serves with the previous set.
    Failed(String),
    /// `Reinit`: neither with the new set nor with the previous one could the driver attach.
    Stranded(String),
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// This step.
    Step(Step),
    /// Nothing: it is over.
    Done(Outcome),
}

/// One activation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Activation {
    idle_only: bool,
    next: Next,
    since_ns: u64,
    before: Stamp,
    after: Stamp,
    outcome: Outcome,
    reason: String,
    blocked: bool,
    steps: Vec<StepTime>,
}

impl Activation {
    /// One whose next step is `Parse`. `idle_only`: only when no I/O flows; otherwise it is held.
    pub fn new(idle_only: bool, now_ns: u64) -> Activation {
        Activation {
            idle_only,
            next: Next::Step(Step::Parse),
            since_ns: now_ns,
            before: Stamp::default(),
            after: Stamp::default(),
            outcome: Outcome::Done,
            reason: String::new(),
            blocked: false,
            steps: Vec::with_capacity(Step::ALL.len()),
        }
    }

    /// What is to be done now.
    pub fn next(&self) -> Next {
        self.next
    }

    /// Why it was refused or went back; empty otherwise.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Steps gone through so far, with their times.
    pub fn steps(&self) -> &[StepTime] {
        &self.steps
    }

    /// Generation and epoch as they were read before, and after.
    pub fn stamps(&self) -> (Stamp, Stamp) {
        (self.before, self.after)
    }

    /// Takes the result of the step under way, with a word on what came of it; says what is next. After
    /// `Done` it stays `Done`.
    pub fn step(&mut self, came: Came, detail: &str, now_ns: u64) -> Next {
        let Next::Step(step) = self.next else { return self.next };
        let detail = match &came {
            Came::Busy(why) | Came::Failed(why) | Came::Stranded(why) => why.clone(),
            Came::Ok | Came::Stamp(_) => detail.to_owned(),
        };
        self.steps.push(StepTime { step, ns: now_ns.saturating_sub(self.since_ns), detail });
        self.since_ns = now_ns;
        let reads = matches!(step, Step::Stamp | Step::Compare);
        self.next = match came {
            // Success is proved by what was read, and by nothing else.
            Came::Ok if reads => {
                self.failed(step, Outcome::RolledBack, format!("{}: nothing was read", step.name()))
            }
            Came::Ok => self.succeeded(step),
            Came::Stamp(stamp) if reads || step == Step::Block => self.stamped(step, stamp),
            Came::Stamp(_) => {
                self.failed(step, Outcome::RolledBack, format!("{}: it reads no generation", step.name()))
            }
            Came::Busy(why) => self.failed(step, Outcome::Busy, why),
            Came::Failed(why) => self.failed(step, Outcome::RolledBack, why),
            Came::Stranded(why) => self.failed(step, Outcome::Stranded, why),
        };
        self.next
    }

    fn stamped(&mut self, step: Step, stamp: Stamp) -> Next {
        if step != Step::Compare {
            self.before = stamp;
            self.after = stamp;
            return self.succeeded(step);
        }
        self.after = stamp;
        if stamp.is_newer_than(self.before) {
            return self.succeeded(step);
        }
        let why = format!("the port was not initialised anew: its generation is still {}", stamp.generation);
        self.failed(step, Outcome::RolledBack, why)
    }

    fn succeeded(&mut self, step: Step) -> Next {
        Next::Step(match step {
            Step::Parse => Step::Collect,
            Step::Collect => Step::Stamp,
            Step::Stamp => Step::Clear,
            Step::Clear => Step::Undefine,
            Step::Undefine => Step::Define,
            Step::Define => Step::Delay,
            Step::Delay if self.idle_only => Step::Idle,
            Step::Delay | Step::Idle => Step::Block,
            Step::Block => {
                self.blocked = true;
                Step::Reinit
            }
            Step::Reinit => Step::Compare,
            Step::Compare => Step::Unblock,
            Step::Restore if self.blocked => Step::Unblock,
            Step::Restore | Step::Unblock => return Next::Done(self.outcome),
        })
    }

    fn failed(&mut self, step: Step, outcome: Outcome, why: String) -> Next {
        if step == Step::Unblock && self.outcome == Outcome::Done {
            // The new set is in force all the same; the step says what was wrong.
            return self.succeeded(step);
        }
        if self.reason.is_empty() {
            self.reason = why;
        } else {
            self.reason = format!("{}; then {}: {why}", self.reason, step.name());
        }
        match step {
            // Nothing was begun yet that there would be to go back from.
            Step::Parse | Step::Collect | Step::Stamp => {
                self.outcome = if outcome == Outcome::Busy { outcome } else { Outcome::Refused };
                Next::Done(self.outcome)
            }
            // The driver has not been touched.
            Step::Clear | Step::Undefine | Step::Define | Step::Delay | Step::Idle | Step::Block => {
                self.outcome = if outcome == Outcome::Busy { outcome } else { Outcome::Refused };
                Next::Step(Step::Restore)
            }
            Step::Reinit | Step::Compare => {
                self.outcome = outcome;
                Next::Step(Step::Restore)
            }
            // What goes wrong on the way back keeps nobody from going on.
            Step::Restore | Step::Unblock => self.succeeded(step),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(generation: u64, epoch_unix_ms: u64) -> Stamp {
        Stamp { generation, epoch_unix_ms }
    }

    /// Runs one in which `at` comes to `fault`; says how it ended and which steps it took.
    fn run(idle_only: bool, at: Option<(Step, Came)>, after: Stamp) -> (Activation, Outcome, Vec<Step>) {
        let mut a = Activation::new(idle_only, 0);
        let mut now = 0;
        let outcome = loop {
            now += 10;
            match a.next() {
                Next::Done(outcome) => break outcome,
                Next::Step(step) => {
                    let came = match (&at, step) {
                        (Some((here, fault)), step) if *here == step => fault.clone(),
                        (_, Step::Stamp) => Came::Stamp(stamp(4, 1000)),
                        (_, Step::Compare) => Came::Stamp(after),
                        _ => Came::Ok,
                    };
                    a.step(came, "", now);
                }
            }
        };
        let steps = a.steps().iter().map(|s| s.step).collect();
        (a, outcome, steps)
    }

    #[test]
    fn the_steps_are_those_of_the_seeds_in_their_order() {
        use Step::*;
        let (a, outcome, steps) = run(false, None, stamp(5, 1001));
        assert_eq!(outcome, Outcome::Done);
        assert_eq!(
            steps,
            [Parse, Collect, Stamp, Clear, Undefine, Define, Delay, Block, Reinit, Compare, Unblock]
        );
        assert!(a.steps().iter().all(|s| s.ns == 10) && a.reason().is_empty());
        let (_, _, steps) = run(true, None, stamp(5, 1001));
        assert_eq!(steps[7], Idle);
    }

    #[test]
    fn before_the_block_nothing_was_touched() {
        for step in [Step::Parse, Step::Collect, Step::Stamp, Step::Define, Step::Delay] {
            let (a, outcome, steps) = run(true, Some((step, Came::Failed("no".into()))), stamp(5, 1001));
            assert_eq!((outcome, a.reason()), (Outcome::Refused, "no"), "{step:?}");
            assert!(!steps.contains(&Step::Reinit) && !steps.contains(&Step::Unblock), "{steps:?}");
        }
        for step in [Step::Idle, Step::Block] {
            let (_, outcome, steps) = run(true, Some((step, Came::Busy("I/O".into()))), stamp(5, 1001));
            assert_eq!(outcome, Outcome::Busy);
            assert_eq!(steps.last(), Some(&Step::Restore));
        }
    }

    #[test]
    fn whatever_goes_wrong_after_it_is_restored_and_unblocked() {
        let faults = [
            (Came::Failed("no".into()), Outcome::RolledBack),
            (Came::Busy("late".into()), Outcome::Busy),
            (Came::Stranded("neither".into()), Outcome::Stranded),
        ];
        for (fault, expected) in faults {
            let (_, outcome, steps) = run(false, Some((Step::Reinit, fault)), stamp(5, 1001));
            assert_eq!(outcome, expected);
            assert_eq!(steps[steps.len() - 2..], [Step::Restore, Step::Unblock]);
        }
    }

    #[test]
    fn the_generation_tells_success_from_failure_whatever_the_clock_does() {
        let (a, outcome, _) = run(false, None, stamp(5, 10));
        let (before, after) = a.stamps();
        assert_eq!(outcome, Outcome::Done, "the clock was set back in between");
        assert!(after.clock_went_back(before));
        let (a, outcome, steps) = run(false, None, stamp(4, 99_999));
        assert_eq!(outcome, Outcome::RolledBack, "a later clock proves nothing");
        assert!(a.reason().contains("still 4") && steps.contains(&Step::Restore), "{}", a.reason());
    }

    #[test]
    fn what_came_before_the_block_proves_nothing() {
        // An update in the delay; then the port was not initialised anew, whatever was said of it.
        let (a, outcome, _) = run(false, Some((Step::Block, Came::Stamp(stamp(5, 2000)))), stamp(5, 2000));
        assert_eq!((outcome, a.stamps().0.generation), (Outcome::RolledBack, 5));
        let (_, outcome, _) = run(false, Some((Step::Block, Came::Stamp(stamp(5, 2000)))), stamp(6, 2001));
        assert_eq!(outcome, Outcome::Done);
    }

    #[test]
    fn only_what_was_read_proves_success() {
        for (step, came, expected) in [
            (Step::Compare, Came::Ok, Outcome::RolledBack),
            (Step::Reinit, Came::Stamp(stamp(9, 1)), Outcome::RolledBack),
            (Step::Stamp, Came::Ok, Outcome::Refused),
            (Step::Define, Came::Stamp(stamp(9, 1)), Outcome::Refused),
        ] {
            let (a, outcome, _) = run(false, Some((step, came)), stamp(5, 1001));
            assert_eq!(outcome, expected, "{step:?}");
            assert!(a.reason().starts_with(step.name()), "{}", a.reason());
        }
    }

    #[test]
    fn what_is_done_has_no_reason_though_the_last_step_was_not() {
        let (a, outcome, steps) =
            run(false, Some((Step::Unblock, Came::Failed("no".into()))), stamp(5, 1001));
        assert_eq!((outcome, a.reason()), (Outcome::Done, ""));
        assert_eq!((steps.last(), a.steps()[10].detail.as_str()), (Some(&Step::Unblock), "no"));
    }

    #[test]
    fn over_is_over() {
        let (mut a, outcome, _) = run(false, None, stamp(5, 1001));
        assert_eq!(a.step(Came::Failed("late".into()), "", 99), Next::Done(outcome));
    }
}

//! What happened in many runs: how often each fault took place in each phase and mode of an update, and
//! what came in each step of an activation.

use crate::plan::{Kind, MODES, PHASES, can_happen};
use crate::run::Report;
use crate::wish::{Upset, can_upset};
use std::fmt;
use steadfast_shell::activation::Step;
use steadfast_shell::receipt::{Mode, Outcome, Phase};

const KINDS: usize = Kind::ALL.len();
const UPSETS: usize = Upset::ALL.len();
/// In the order of their numbers.
const OUTCOMES: [Outcome; 5] =
    [Outcome::Done, Outcome::Refused, Outcome::Busy, Outcome::RolledBack, Outcome::Stranded];

/// Counts over many runs.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// Runs.
    pub runs: u64,
    /// Requests of clients.
    pub requests: u64,
    /// Things that happened.
    pub events: u64,
    /// Runs that ended in a loss of power.
    pub power_losses: u64,
    cells: [[[u64; KINDS]; MODES.len()]; PHASES.len()],
    first: [[u64; KINDS]; PHASES.len()],
    outcomes: [u64; 5],
    steps: [[[u64; 2]; UPSETS]; Step::ALL.len()],
    activations: [u64; 5],
    clock_went_back: u64,
    lost: u64,
}

impl Coverage {
    /// Adds a run.
    pub fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.requests += u64::from(report.requests);
        self.events += u64::from(report.events);
        self.power_losses += u64::from(report.power_lost);
        for (phase, mode, kind, has_old) in &report.hits {
            let (p, k) = (place(*phase), *kind as usize);
            if *has_old {
                self.cells[p][mode_place(*mode)][k] += 1;
            } else {
                self.first[p][k] += 1;
            }
        }
        for outcome in &report.outcomes {
            self.outcomes[*outcome as usize] += 1;
        }
        for (step, upset, idle_only) in &report.upsets {
            self.steps[*step as usize][*upset as usize][usize::from(*idle_only)] += 1;
        }
        for outcome in &report.activations {
            self.activations[*outcome as usize] += 1;
        }
        self.clock_went_back += u64::from(report.clock_went_back);
        self.lost += u64::from(report.lost);
    }

    /// Adds what was counted elsewhere.
    pub fn absorb(&mut self, other: &Coverage) {
        self.runs += other.runs;
        self.requests += other.requests;
        self.events += other.events;
        self.power_losses += other.power_losses;
        self.clock_went_back += other.clock_went_back;
        self.lost += other.lost;
        let add = |mine: &mut [u64], other: &[u64]| mine.iter_mut().zip(other).for_each(|(m, o)| *m += o);
        add(self.cells.as_flattened_mut().as_flattened_mut(), other.cells.as_flattened().as_flattened());
        add(self.first.as_flattened_mut(), other.first.as_flattened());
        add(self.steps.as_flattened_mut().as_flattened_mut(), other.steps.as_flattened().as_flattened());
        add(&mut self.outcomes, &other.outcomes);
        add(&mut self.activations, &other.activations);
    }

    /// What can happen and did not, by name.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for (p, phase) in PHASES.into_iter().enumerate() {
            for kind in Kind::ALL {
                for mode in MODES {
                    if can_happen(phase, mode, kind, true)
                        && self.cells[p][mode_place(mode)][kind as usize] == 0
                    {
                        missing.push(format!("{} in {} ({})", kind.name(), phase.name(), mode.name()));
                    }
                }
                if can_happen(phase, Mode::Drain, kind, false) && self.first[p][kind as usize] == 0 {
                    missing.push(format!("{} in {} (first driver)", kind.name(), phase.name()));
                }
            }
        }
        self.missing_steps(&mut missing);
        missing
    }

    fn missing_steps(&self, missing: &mut Vec<String>) {
        for step in Step::ALL {
            for upset in Upset::ALL {
                for idle_only in [false, true] {
                    let count = self.steps[step as usize][upset as usize][usize::from(idle_only)];
                    if can_upset(step, upset, idle_only) && count == 0 {
                        let how = if idle_only { "only when idle" } else { "holding" };
                        missing.push(format!("{} in {} of an activation ({how})", upset.name(), step.name()));
                    }
                }
            }
        }
        for (outcome, count) in OUTCOMES.into_iter().zip(self.activations) {
            if count == 0 {
                missing.push(format!("an activation that ends {outcome:?}"));
            }
        }
        if self.lost == 0 {
            missing.push("a call that is given up".to_owned());
        }
        if self.clock_went_back == 0 {
            missing.push("an activation that is done although the clock went back".to_owned());
        }
    }

    fn table_of_steps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "activations: {}", outcomes(&self.activations))?;
        writeln!(f, "{} calls were given up, and returned late", self.lost)?;
        writeln!(f, "{} of them were done although the wall clock went back", self.clock_went_back)?;
        writeln!(f, "what came by step, where I/O is held and where only an idle port will do:")?;
        write!(f, "{:<9}", "")?;
        for upset in Upset::ALL {
            write!(f, " {:>11}", upset.name())?;
        }
        writeln!(f)?;
        for step in Step::ALL {
            write!(f, "{:<9}", step.name())?;
            for upset in Upset::ALL {
                let cell = |idle_only: bool| {
                    let count = self.steps[step as usize][upset as usize][usize::from(idle_only)];
                    number(count, can_upset(step, upset, idle_only))
                };
                write!(f, " {:>11}", format!("{}/{}", cell(false), cell(true)))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn outcomes(counts: &[u64; 5]) -> String {
    let count = |(outcome, n): (Outcome, &u64)| format!("{n} {outcome:?}");
    OUTCOMES.into_iter().zip(counts).map(count).collect::<Vec<_>>().join(", ")
}

fn number(count: u64, can_be: bool) -> String {
    match count {
        0 if !can_be => "-".to_owned(),
        10_000.. => format!("{}k", count / 1000),
        _ => count.to_string(),
    }
}

fn place(phase: Phase) -> usize {
    PHASES.iter().position(|p| *p == phase).unwrap_or(0)
}

fn mode_place(mode: Mode) -> usize {
    MODES.iter().position(|m| *m == mode).unwrap_or(0)
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} runs: {} events, {} requests, {} losses of power",
            self.runs, self.events, self.requests, self.power_losses
        )?;
        writeln!(f, "transactions: {}", outcomes(&self.outcomes))?;
        writeln!(f, "faults by phase, in the modes adopt/split/drain, and without an old driver:")?;
        write!(f, "{:<14}", "")?;
        for kind in &Kind::ALL[1..] {
            write!(f, " {:>20}", kind.name())?;
        }
        writeln!(f)?;
        for (p, phase) in PHASES.into_iter().enumerate() {
            write!(f, "{:<14}", phase.name())?;
            for kind in &Kind::ALL[1..] {
                let cell = |mode, has_old, n| number(n, can_happen(phase, mode, *kind, has_old));
                let modes = MODES.map(|m| cell(m, true, self.cells[p][mode_place(m)][*kind as usize]));
                let first = cell(Mode::Drain, false, self.first[p][*kind as usize]);
                write!(f, " {:>20}", format!("{}/{first}", modes.join("/")))?;
            }
            writeln!(f)?;
        }
        self.table_of_steps(f)
    }
}

//! What happened in many runs: how often each fault took place in each phase and mode.

use crate::plan::{Kind, MODES, PHASES, can_happen};
use crate::run::Report;
use std::fmt;
use steadfast_shell::receipt::{Mode, Outcome, Phase};

const KINDS: usize = Kind::ALL.len();

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
        missing
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
        let outcomes =
            [Outcome::Done, Outcome::Refused, Outcome::Busy, Outcome::RolledBack, Outcome::Stranded];
        let counts: Vec<String> =
            outcomes.iter().map(|o| format!("{} {o:?}", self.outcomes[*o as usize])).collect();
        writeln!(f, "transactions: {}", counts.join(", "))?;
        writeln!(f, "faults by phase, in the modes adopt/split/drain, and without an old driver:")?;
        write!(f, "{:<14}", "")?;
        for kind in &Kind::ALL[1..] {
            write!(f, " {:>20}", kind.name())?;
        }
        writeln!(f)?;
        for (p, phase) in PHASES.into_iter().enumerate() {
            write!(f, "{:<14}", phase.name())?;
            for kind in &Kind::ALL[1..] {
                let cell = |mode: Mode, has_old: bool, n: u64| match n {
                    0 if !can_happen(phase, mode, *kind, has_old) => "-".to_owned(),
                    10_000.. => format!("{}k", n / 1000),
                    _ => n.to_string(),
                };
                let modes = MODES.map(|m| cell(m, true, self.cells[p][mode_place(m)][*kind as usize]));
                let first = cell(Mode::Drain, false, self.first[p][*kind as usize]);
                write!(f, " {:>20}", format!("{}/{first}", modes.join("/")))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

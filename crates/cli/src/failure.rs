//! What ends a command early, and the exit codes.

use std::fmt;
use steadfast_api::{Outcome, Problem, ProblemKind};

/// Exit codes. They are stable: scripts may rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(dead_code, reason = "the codes are a whole, also where no command ends with one yet")]
pub(crate) enum Exit {
    /// It was done.
    Done = 0,
    /// It was not, for any reason that has no code of its own. Nothing was changed, or the message
    /// says what.
    Error = 1,
    /// A plan found changes.
    Changes = 2,
    /// Busy; nothing was changed.
    Busy = 3,
    /// It failed and what was before is back.
    RolledBack = 4,
    /// The plan is out of date.
    Stale = 5,
    /// Something was verified and is wrong.
    Mismatch = 6,
}

impl From<Outcome> for Exit {
    fn from(outcome: Outcome) -> Exit {
        match outcome {
            Outcome::Done => Exit::Done,
            Outcome::Busy => Exit::Busy,
            Outcome::RolledBack => Exit::RolledBack,
            Outcome::Refused | Outcome::Stranded => Exit::Error,
        }
    }
}

/// Why a command ends early.
#[derive(Debug)]
pub(crate) struct Failure {
    /// With which code.
    pub(crate) exit: Exit,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do; may be empty.
    pub(crate) hint: String,
}

impl Failure {
    /// An ordinary error.
    pub(crate) fn new(message: impl fmt::Display) -> Failure {
        Failure { exit: Exit::Error, message: message.to_string(), hint: String::new() }
    }

    /// The same with a hint.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = hint.into();
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        if !self.hint.is_empty() {
            writeln!(f, "hint: {}", self.hint)?;
        }
        Ok(())
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        let exit = match problem.kind {
            ProblemKind::Busy => Exit::Busy,
            ProblemKind::Stale => Exit::Stale,
            _ => Exit::Error,
        };
        Failure { exit, message: problem.message, hint: problem.hint }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::new(format!("{error:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_exits_as_the_manual_says() {
        let codes = [
            (Outcome::Done, 0),
            (Outcome::Refused, 1),
            (Outcome::Busy, 3),
            (Outcome::RolledBack, 4),
            (Outcome::Stranded, 1),
        ];
        for (outcome, code) in codes {
            assert_eq!(Exit::from(outcome) as u8, code, "{outcome:?}");
        }
        assert_eq!((Exit::Changes as u8, Exit::Stale as u8, Exit::Mismatch as u8), (2, 5, 6));
    }

    #[test]
    fn an_error_has_its_hint_on_a_line_of_its_own() {
        let text = Failure::new("no device `vol9`").hint("did you mean `vol0`?").to_string();
        assert_eq!(text, "error: no device `vol9`\nhint: did you mean `vol0`?\n");
    }
}

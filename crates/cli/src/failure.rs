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
    /// The new driver serves, and there was too little to judge it by.
    Unjudged = 7,
}

impl Exit {
    /// The code as a word, for programs, where the daemon has given no kind of problem.
    const fn name(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Error => "error",
            Exit::Changes => "changes",
            Exit::Busy => "busy",
            Exit::RolledBack => "rolled_back",
            Exit::Stale => "stale",
            Exit::Mismatch => "mismatch",
            Exit::Unjudged => "unjudged",
        }
    }
}

impl From<Outcome> for Exit {
    fn from(outcome: Outcome) -> Exit {
        match outcome {
            Outcome::Done | Outcome::Tried => Exit::Done,
            Outcome::Busy => Exit::Busy,
            Outcome::RolledBack => Exit::RolledBack,
            Outcome::Refused | Outcome::Stranded | Outcome::Interrupted => Exit::Error,
        }
    }
}

/// Why a command ends early.
#[derive(Debug)]
pub(crate) struct Failure {
    /// With which code.
    pub(crate) exit: Exit,
    /// What the daemon answered; none where it is not its answer that ends the command.
    pub(crate) kind: Option<ProblemKind>,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do; may be empty.
    pub(crate) hint: String,
}

impl Failure {
    /// An ordinary error.
    pub(crate) fn new(message: impl fmt::Display) -> Failure {
        Failure::ending(Exit::Error, message)
    }

    /// One with a code of its own.
    pub(crate) fn ending(exit: Exit, message: impl fmt::Display) -> Failure {
        Failure { exit, kind: None, message: message.to_string(), hint: String::new() }
    }

    /// The same as one JSON object on one line, in the form of the API's problems.
    pub(crate) fn json(&self) -> String {
        let kind = match self.kind {
            Some(kind) => serde_json::json!(kind),
            None => self.exit.name().into(),
        };
        serde_json::json!({ "kind": kind, "message": self.message, "hint": self.hint }).to_string()
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
        Failure { exit, kind: Some(problem.kind), message: problem.message, hint: problem.hint }
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
            (Outcome::Tried, 0),
            (Outcome::Interrupted, 1),
        ];
        for (outcome, code) in codes {
            assert_eq!(Exit::from(outcome) as u8, code, "{outcome:?}");
        }
        assert_eq!((Exit::Changes as u8, Exit::Stale as u8, Exit::Mismatch as u8), (2, 5, 6));
        assert_eq!(Exit::Unjudged as u8, 7);
    }

    #[test]
    fn an_error_has_its_hint_on_a_line_of_its_own() {
        let text = Failure::new("no device `vol9`").hint("did you mean `vol0`?").to_string();
        assert_eq!(text, "error: no device `vol9`\nhint: did you mean `vol0`?\n");
    }

    #[test]
    fn a_program_gets_the_daemons_problem_or_one_like_it() {
        let problem = Problem::new(ProblemKind::NotFound, "no port `vol9`").hint("did you mean `vol0`?");
        let text = Failure::from(problem.clone()).json();
        assert_eq!(serde_json::from_str::<Problem>(&text).expect("the API's form"), problem);
        assert!(!text.contains('\n'), "one line");
        let own = Failure::ending(Exit::RolledBack, "vol0: not activated").json();
        assert_eq!(own, r#"{"hint":"","kind":"rolled_back","message":"vol0: not activated"}"#);
    }
}

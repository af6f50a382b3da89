use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// Why a request failed, for programs (`kind`) and for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Stable kind.
    pub kind: ProblemKind,
    /// What is wrong: the thing, the value, what is allowed.
    pub message: String,
    /// What to do about it; may be empty.
    #[serde(default)]
    pub hint: String,
}

/// Kinds of problems. Each has one HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// 404: there is no such device, module or path.
    NotFound,
    /// 400: the request itself is malformed.
    BadRequest,
    /// 403: the peer may not do that.
    Forbidden,
    /// 422: the file is not a module that could be used.
    BadModule,
    /// 409: another change is under way; nothing was touched.
    Busy,
    /// 422: a value or combination that is not allowed, or that the driver refuses; nothing was
    /// changed.
    Refused,
    /// 409: what a plan was made from has changed since; nothing was touched.
    Stale,
    /// 503: the daemon is stopping.
    Stopping,
    /// 500: a fault of the daemon.
    Internal,
}

impl ProblemKind {
    /// The HTTP status that goes with the kind.
    pub const fn status(self) -> u16 {
        match self {
            ProblemKind::NotFound => 404,
            ProblemKind::BadRequest => 400,
            ProblemKind::Forbidden => 403,
            ProblemKind::BadModule => 422,
            ProblemKind::Busy | ProblemKind::Stale => 409,
            ProblemKind::Refused => 422,
            ProblemKind::Stopping => 503,
            ProblemKind::Internal => 500,
        }
    }
}

impl Problem {
    /// A problem without a hint.
    pub fn new(kind: ProblemKind, message: impl Into<String>) -> Problem {
        Problem { kind, message: message.into(), hint: String::new() }
    }

    /// The same problem with a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = hint.into();
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

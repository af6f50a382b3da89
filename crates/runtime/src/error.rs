//! What can go wrong between the control plane and the engine.

use std::fmt;

/// Stable kinds, for control flow; the text is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The machine does not offer what is needed (io_uring, memory, descriptors).
    Unsupported,
    /// No port or device of that name.
    NotFound,
    /// The name is taken.
    Exists,
    /// In use, or another transaction is under way.
    Busy,
    /// A value or combination that is not allowed.
    Invalid,
    /// The driver refused or failed.
    Driver,
    /// A device has fewer bytes than it has to have.
    Smaller,
    /// A queue's thread does not answer.
    Unresponsive,
}

/// An error of the engine.
#[derive(Clone, Debug)]
pub struct EngineError {
    kind: ErrorKind,
    message: String,
}

impl EngineError {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> EngineError {
        EngineError { kind, message: message.into() }
    }

    /// The stable kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for EngineError {}

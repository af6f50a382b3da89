use thiserror::Error;

use super::nearest;

/// Why a value, or a set of values, is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParamError {
    /// The driver has no such parameter.
    #[error("unknown parameter: {} ({hint})", shown(.name))]
    Unknown {
        /// The name that was given.
        name: String,
        /// The nearest name that the driver has, if one is near.
        suggestion: Option<String>,
        /// The suggestion as a sentence, or what the driver has.
        hint: String,
    },
    /// It has no default and was not given.
    #[error("missing parameter: {name} must be given (allowed {allowed})")]
    Missing {
        /// Parameter.
        name: String,
        /// What it takes.
        allowed: String,
    },
    /// The value is not one that the parameter takes.
    #[error("{}: {name}={} (allowed {allowed})", fault.name(), shown(.value))]
    Value {
        /// Parameter.
        name: String,
        /// The value that was given.
        value: String,
        /// What is wrong with it.
        fault: Fault,
        /// What it takes.
        allowed: String,
    },
    /// Two values, each allowed by itself, do not suit each other.
    #[error(
        "do not suit each other: {name}={value} and {other}={other_value} (allowed {name} <= {other}{unless})"
    )]
    Pair {
        /// Parameter.
        name: String,
        /// Its value.
        value: String,
        /// The other parameter.
        other: String,
        /// The other one's value.
        other_value: String,
        /// The value of the other one that allows any, as words; empty where there is none.
        unless: String,
    },
}

impl ParamError {
    /// The parameters that it is about: one, or two that do not suit each other.
    pub fn names(&self) -> Vec<&str> {
        match self {
            ParamError::Unknown { name, .. }
            | ParamError::Missing { name, .. }
            | ParamError::Value { name, .. } => {
                vec![name]
            }
            ParamError::Pair { name, other, .. } => vec![name, other],
        }
    }
}

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A number, but too small or too large.
    OutOfRange,
    /// Not a number.
    NotANumber,
    /// Not a number of bytes.
    NotASize,
    /// Not a time.
    NotATime,
    /// A time that is not a whole number of the parameter's unit.
    NotWhole,
    /// Neither true nor false.
    NotABool,
    /// None of the words that are allowed.
    NotAChoice,
    /// More bytes than allowed.
    TooLong,
    /// Empty where that is no value.
    Empty,
    /// It has a NUL byte in it.
    HasNul,
}

impl Fault {
    /// The fault's name as messages begin with it.
    pub const fn name(self) -> &'static str {
        match self {
            Fault::OutOfRange => "out of range",
            Fault::NotANumber => "not a number",
            Fault::NotASize => "not a size",
            Fault::NotATime => "not a time",
            Fault::NotWhole => "not a whole number of its unit",
            Fault::NotABool => "neither true nor false",
            Fault::NotAChoice => "not a choice",
            Fault::TooLong => "too long",
            Fault::Empty => "empty",
            Fault::HasNul => "has a NUL byte",
        }
    }
}

impl ParamError {
    /// The parameter it is about.
    pub fn name(&self) -> &str {
        match self {
            ParamError::Unknown { name, .. }
            | ParamError::Missing { name, .. }
            | ParamError::Value { name, .. }
            | ParamError::Pair { name, .. } => name,
        }
    }

    pub(super) fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> ParamError {
        let suggestion = nearest(name, known.clone()).map(str::to_owned);
        let hint = match &suggestion {
            Some(word) => format!("did you mean {word}?"),
            None => match known.collect::<Vec<_>>() {
                all if all.is_empty() => "the driver has no parameters".to_owned(),
                all if all.len() > HINT_NAMES => {
                    format!(
                        "the driver has {} and {} more",
                        all[..HINT_NAMES].join(", "),
                        all.len() - HINT_NAMES
                    )
                }
                all => format!("the driver has {}", all.join(", ")),
            },
        };
        ParamError::Unknown { name: name.to_owned(), suggestion, hint }
    }
}

/// Most names that a message lists.
const HINT_NAMES: usize = 24;

/// Most characters of a value that a message repeats.
const SHOWN_CHARS: usize = 64;

/// A value as a message repeats it: as it is when it is one plain word, else quoted, escaped and cut,
/// so that a message stays one readable line whatever was given.
pub fn shown(text: &str) -> String {
    let plain = |c: char| {
        !c.is_whitespace() && !c.is_control() && !c.is_ascii_punctuation()
            || matches!(c, '/' | '.' | ':' | '-' | '_' | '+' | '@' | '=' | ',' | '*')
    };
    if !text.is_empty() && text.chars().count() <= SHOWN_CHARS && text.chars().all(plain) {
        return text.to_owned();
    }
    let cut: String = text.chars().take(SHOWN_CHARS).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("\"{}{dots}\"", cut.escape_debug())
}

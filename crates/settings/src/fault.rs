//! What can be wrong with a file, and what can go wrong with one.

use crate::names::{PARAM_NAME, PORT_NAME};
use std::fmt;
use std::io;
use std::path::PathBuf;
use steadfast_shell::params::{ParamError, shown};
use thiserror::Error;

/// One thing that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: u32,
    /// What.
    pub kind: FaultKind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.kind)
    }
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FaultKind {
    /// It cannot be read at all.
    #[error("{0}")]
    Syntax(String),
    /// A table or key that has no meaning there.
    #[error("unknown: {} (allowed {allowed}{hint})", shown(.name))]
    UnknownKey {
        /// Its name.
        name: String,
        /// What there can be.
        allowed: &'static str,
        /// The nearest of it, as words; may be empty.
        hint: String,
    },
    /// A value of a kind that cannot be taken.
    #[error("{name}={} is not allowed ({allowed})", shown(.value))]
    WrongType {
        /// What it was given for.
        name: String,
        /// The value as it is written.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// No name that a parameter can have.
    #[error("{} is no parameter's name (allowed {PARAM_NAME})", shown(.name))]
    ParamName {
        /// The name.
        name: String,
    },
    /// No name that a port can have.
    #[error("{} is no port's name (allowed {PORT_NAME})", shown(.name))]
    PortName {
        /// The name.
        name: String,
    },
    /// The same thing a second time.
    #[error("{} is defined twice", shown(.name))]
    Duplicate {
        /// Its name.
        name: String,
    },
    /// Both defined and undefined in one section.
    #[error("{name} is both undefined here and defined at line {defined} (allowed one of the two)")]
    Contradiction {
        /// The parameter.
        name: String,
        /// Where it is defined.
        defined: u32,
    },
    /// Something else stands where this should.
    #[error("expected {expected}, found {}", found_text(.found))]
    Expected {
        /// What should stand there.
        expected: &'static str,
        /// What does; empty: the end of the file.
        found: String,
    },
    /// A parameter that is not there, or a value that it does not take.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// A number that other readers of the form take as an octal one.
    #[error("{name}={value} is octal in this form (allowed the number without the 0 in front)")]
    Octal {
        /// The parameter.
        name: String,
        /// The number.
        value: String,
    },
    /// A relative path, where nobody can know from which folder it was meant.
    #[error("not absolute: {name}={} (allowed a path that begins with /)", shown(.value))]
    Relative {
        /// The parameter, as it was given.
        name: String,
        /// The path.
        value: String,
    },
    /// Comments that an import does not take.
    #[error("comments are not taken, {why}: {}", lines_text(.lines))]
    Comments {
        /// Their lines, in order.
        lines: Vec<u32>,
        /// Why not.
        why: &'static str,
    },
    /// An entry that the classic form has no words for.
    #[error("{what} has no classic form: it is not exported, and is there as a comment")]
    NoClassic {
        /// What.
        what: String,
    },
    /// A number of the driver that no port has.
    #[error("{name}: no port of the driver has number {instance}{hint}")]
    NoInstance {
        /// The name as it was given.
        name: String,
        /// The number.
        instance: u32,
        /// The numbers that there are, as words; may be empty.
        hint: String,
    },
    /// A name that no parameter of any driver has.
    #[error("{} is no parameter of any driver here, nor one that drivers usually have{hint}", shown(.name))]
    NoSuchParam {
        /// The name.
        name: String,
        /// The nearest that there is, as words; may be empty.
        hint: String,
    },
    /// It extends a profile that there is not.
    #[error("extends={}: there is no such profile ({hint})", shown(.name))]
    NoProfile {
        /// The profile.
        name: String,
        /// What was meant, or what there is.
        hint: String,
    },
    /// Profiles that extend one another without an end.
    #[error("extends itself: {chain}")]
    Circle {
        /// The profiles, the first one again at the end.
        chain: String,
    },
    /// The entry has no `;`, and goes on in another line.
    #[error(
        "{name}: there is no `;` behind the value; what line {next} says is taken as a part of the same entry"
    )]
    Unended {
        /// The name as it was given.
        name: String,
        /// Where the next name stands.
        next: u32,
    },
    /// It was said before; this counts.
    #[error("{name} was given before, at line {before}: this value counts")]
    Again {
        /// The name as it was given.
        name: String,
        /// Where it was said before.
        before: u32,
    },
}

fn found_text(found: &str) -> String {
    if found.is_empty() { "the end of the file".to_owned() } else { shown(found) }
}

/// Lines for people: `line 3`, `lines 3, 7 to 9`.
fn lines_text(lines: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &line in lines {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == line => *last = line,
            _ => runs.push((line, line)),
        }
    }
    let run = |(from, to): &(u32, u32)| if from == to { from.to_string() } else { format!("{from} to {to}") };
    let runs: Vec<String> = runs.iter().map(run).collect();
    format!("{} {}", if lines.len() == 1 { "line" } else { "lines" }, runs.join(", "))
}

/// Everything that is wrong with a file, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Why a file could not be read, changed or written.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// It is not as it must be; every fault is in it.
    #[error(transparent)]
    Faults(#[from] Faults),
    /// The disk did not give it.
    #[error("{} cannot be read: {error}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The disk did not take it. What was there is as it was.
    #[error("{} cannot be written: {error}; it is as it was", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Somebody else wrote it meanwhile.
    #[error(
        "{} was changed by somebody else since it was read, and is left as it is; nothing was saved: \
         look at it and try again",
        .path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A name that cannot be written into a file.
    #[error("{what} name {} is not allowed (allowed {allowed})", shown(.name))]
    Name {
        /// What it is the name of.
        what: &'static str,
        /// The name.
        name: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A value that cannot be written into a file.
    #[error("{name}={}: {fault}", shown(.value))]
    Value {
        /// The parameter.
        name: String,
        /// The value.
        value: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// There is no such profile.
    #[error("no profile {} ({hint})", shown(.name))]
    NoProfile {
        /// The name.
        name: String,
        /// What was meant, or what there is.
        hint: String,
    },
    /// A file has the name of a profile that comes with Steadfast.
    #[error(
        "{}: {name} is a profile that comes with steadfast, and means the same everywhere (allowed any other name)",
        .path.display()
    )]
    BuiltIn {
        /// The name.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// There is such a profile already.
    #[error("profile {name} is there already, in {}", .path.display())]
    ProfileExists {
        /// The name.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// The entry is written in a form that cannot be changed without losing something.
    #[error(
        "{}:{line}: {name} cannot be changed in the form in which it is written there; write the \
         section as [{section}] with one entry a line",
        .path.display()
    )]
    Form {
        /// The file.
        path: PathBuf,
        /// Line of the section, from 1.
        line: u32,
        /// The parameter.
        name: String,
        /// The section.
        section: String,
    },
}

//! Profiles: named sets of values for a kind of work.
//!
//! ```toml
//! about = "our databases"          # DIR/profiles/db.toml
//! extends = "oltp"                 # all that it does not say itself
//! [params]
//! io_throttle = 128                # agreed with the array's owner
//! ```
//! The comment behind a value, or right above it, is its reason and is shown with it. Some profiles come
//! with Steadfast, written in the same form; their names are theirs alone. A profile may name parameters
//! that a port does not have: those are said, and the others apply.

mod builtin;
mod folder;
mod names;
mod read;
#[cfg(test)]
mod tests;

use crate::{Fault, FaultKind};
use std::collections::BTreeMap;
use std::path::PathBuf;
use steadfast_shell::params::{ParamSpec, nearest};
use steadfast_shell::properties::Source;

pub use builtin::BUILT_IN;
pub use folder::{NewProfile, Profiles};
pub use names::WELL_KNOWN;

/// A named set of values, with all that it has from those that it extends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Name.
    pub name: String,
    /// What it is for, in a line; may be empty.
    pub about: String,
    /// The profile that it extends.
    pub extends: Option<String>,
    /// Its file; none: it comes with Steadfast.
    pub path: Option<PathBuf>,
    /// Values by parameter.
    pub values: BTreeMap<String, ProfileValue>,
}

/// A value of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileValue {
    /// The value.
    pub value: String,
    /// Why; may be empty.
    pub why: String,
    /// Where it is said; of a built-in profile, which.
    pub source: Source,
}

/// What a profile is to one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit<'p> {
    /// Values of parameters that it has.
    pub values: BTreeMap<&'p str, &'p ProfileValue>,
    /// Parameters that it does not have.
    pub missing: Vec<&'p str>,
}

impl Profile {
    /// What applies to a port with these parameters, and what does not.
    pub fn for_table(&self, table: &[ParamSpec]) -> Fit<'_> {
        let mut fit = Fit { values: BTreeMap::new(), missing: Vec::new() };
        for (name, value) in &self.values {
            if table.iter().any(|spec| spec.name == *name) {
                fit.values.insert(name, value);
            } else {
                fit.missing.push(name);
            }
        }
        fit
    }

    /// Names in files that no parameter has, neither of `known` nor of those that drivers usually have.
    pub fn unknown_names<'k>(&self, known: impl Iterator<Item = &'k str>) -> Vec<Fault> {
        let known: Vec<&str> = known.chain(WELL_KNOWN).collect();
        let mut faults = Vec::new();
        for (name, value) in &self.values {
            let Source::File { path, line } = &value.source else { continue };
            if known.contains(&name.as_str()) {
                continue;
            }
            let hint = nearest(name, known.iter().copied());
            let hint = hint.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            let kind = FaultKind::NoSuchParam { name: name.clone(), hint };
            faults.push(Fault { path: path.into(), line: *line, kind });
        }
        faults.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
        faults
    }
}

//! The classic form of a driver's configuration, as in illumos's driver.conf(5):
//!
//! ```text
//! # a comment
//! io-throttle=64; request-timeout = 0x1e;
//! file0-io-throttle=8;              # the port with number 0
//! zone="a*",                        # a list, over several lines
//!      "b*";
//! ```
//! Names may be written with `-` where the parameter has `_`. The last definition of a name counts, and
//! that there was another one is said. Numbers that begin with 0 are octal there and decimal elsewhere;
//! rather than guess, they are refused.

mod convert;
mod scan;

pub use convert::{Imported, blame, export, import};

use crate::{Fault, FaultKind, Faults};
use scan::{Assigned, Scanned};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use steadfast_shell::params::{ParamError, ParamKind, ParamSpec, nearest};

/// A comment, without its `#`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    /// Line, from 1.
    pub line: u32,
    /// What it says; may be empty.
    pub text: String,
}

/// A value in a classic file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicEntry {
    /// The value; the parts of a list with commas between.
    pub value: String,
    /// Line, from 1.
    pub line: u32,
    /// The name as it was written.
    pub written: String,
    /// The comments right above and behind it.
    pub comments: Vec<Comment>,
}

/// What a classic file says, by parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classic {
    /// The file.
    pub path: PathBuf,
    /// For every port of the driver.
    pub global: BTreeMap<String, ClassicEntry>,
    /// For single ports, by their number.
    pub instances: BTreeMap<u32, BTreeMap<String, ClassicEntry>>,
    /// Comments that stand at no entry.
    pub loose: Vec<Comment>,
    /// What is not wrong but not likely to be meant either: names that were given more than once.
    pub warnings: Vec<Fault>,
}

/// Reads a classic file of a driver with those parameters.
///
/// # Errors
/// Everything that is wrong with it, with file and line.
pub fn parse(path: &Path, text: &str, driver: &str, table: &[ParamSpec]) -> Result<Classic, Faults> {
    examine(path, text, driver, table, None)
}

/// Reads a classic file that is to be imported: also what it says of ports by their number, where that is
/// known, and paths are judged. All that can be found without the ports' other values is found at once.
///
/// # Errors
/// Everything that is wrong with it, with file and line.
pub fn examine(
    path: &Path,
    text: &str,
    driver: &str,
    table: &[ParamSpec],
    ports: Option<&BTreeMap<u32, String>>,
) -> Result<Classic, Faults> {
    let Scanned { assigned, loose, mut faults, mut warnings } = scan::scan(text);
    let mut classic = Classic { path: path.to_owned(), loose, ..Classic::default() };
    for one in assigned {
        let (instance, spec) = match meant(&one.name, driver, table) {
            Ok(meant) => meant,
            Err(kind) => {
                faults.push((one.line, kind));
                continue;
            }
        };
        faults.extend(judge(&one, spec).err().map(|kind| (one.line, kind)));
        let section = match instance {
            Some(number) => classic.instances.entry(number).or_default(),
            None => &mut classic.global,
        };
        let Assigned { name, value, line, comments, .. } = one;
        if ports.is_some() && spec.kind == ParamKind::Path && !value.starts_with('/') {
            // The daemon's own folder is not the one that a relative path was meant from.
            faults.push((line, FaultKind::Relative { name: name.clone(), value: value.clone() }));
        }
        let entry = ClassicEntry { value, line, written: name.clone(), comments };
        if let Some(before) = section.insert(spec.name.clone(), entry) {
            warnings.push((line, FaultKind::Again { name, before: before.line }));
        }
    }
    let at = |(line, kind)| Fault { path: path.to_owned(), line, kind };
    let mut faults: Vec<Fault> = faults.into_iter().map(at).collect();
    faults.extend(ports.map(|ports| convert::unknown_numbers(&classic, ports)).into_iter().flatten());
    faults.sort_by_key(|fault| fault.line);
    if !faults.is_empty() {
        return Err(Faults(faults));
    }
    warnings.sort_by_key(|(line, _)| *line);
    classic.warnings = warnings.into_iter().map(at).collect();
    Ok(classic)
}

/// The port's number, if one is meant, and the parameter.
fn meant<'t>(
    name: &str,
    driver: &str,
    table: &'t [ParamSpec],
) -> Result<(Option<u32>, &'t ParamSpec), FaultKind> {
    // A parameter whose own name looks like one with a number comes first.
    if let Some(spec) = find(table, name) {
        return Ok((None, spec));
    }
    let (instance, name) = split(name, driver);
    Ok((instance, find(table, name).ok_or_else(|| unknown(table, name))?))
}

/// Whether the parameter takes the value.
fn judge(one: &Assigned, spec: &ParamSpec) -> Result<(), FaultKind> {
    let number = matches!(spec.kind, ParamKind::U32 | ParamKind::U64 | ParamKind::I64 | ParamKind::Size);
    let digits = one.value.strip_prefix('-').unwrap_or(&one.value);
    let octal = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    if number && octal && one.bare {
        return Err(FaultKind::Octal { name: spec.name.clone(), value: one.value.clone() });
    }
    spec.parse_value(&one.value)?;
    Ok(())
}

/// A name without the driver's name and the port's number before it.
fn split<'n>(name: &'n str, driver: &str) -> (Option<u32>, &'n str) {
    let parts = name.strip_prefix(driver).and_then(|rest| rest.split_once('-'));
    let number = |digits: &str| -> Option<u32> {
        let number: u32 = digits.parse().ok()?;
        (number.to_string() == digits).then_some(number)
    };
    match parts.and_then(|(digits, rest)| Some((number(digits)?, rest))) {
        Some((number, rest)) => (Some(number), rest),
        None => (None, name),
    }
}

/// The parameter that a name means: the one of just that name, or else one that differs in `-` and `_`.
fn find<'t>(table: &'t [ParamSpec], name: &str) -> Option<&'t ParamSpec> {
    let loose = |name: &str| name.replace('-', "_");
    let exact = table.iter().find(|spec| spec.name == name);
    exact.or_else(|| table.iter().find(|spec| loose(&spec.name) == loose(name)))
}

fn unknown(table: &[ParamSpec], name: &str) -> FaultKind {
    let suggestion = nearest(name, table.iter().map(|spec| spec.name.as_str())).map(str::to_owned);
    let hint = match &suggestion {
        Some(near) => format!("did you mean {near}?"),
        None => "`steadfast param list` shows those that there are".to_owned(),
    };
    FaultKind::Param(ParamError::Unknown { name: name.to_owned(), suggestion, hint })
}

#[cfg(test)]
mod tests;

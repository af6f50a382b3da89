//! From the classic form to a driver's file, and back.

use super::{Classic, ClassicEntry, Comment, find};
use crate::{DriverFile, Fault, FaultKind, Faults, Section, SettingsError};
use std::collections::BTreeMap;
use std::fmt::Write;
use steadfast_shell::params::ParamSpec;
use steadfast_shell::properties::{Definitions, Source};

/// What an import has done to a driver's file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// How many entries changed.
    pub entries: usize,
    /// Comments that were not taken, with their lines; empty where all were, or were there before.
    pub untaken: Vec<Fault>,
}

/// Takes what a classic file says into a driver's file, with its comments where an entry is new. `ports`
/// are the driver's ports by number.
///
/// # Errors
/// Numbers that no port has, all of them; an entry that cannot be changed. Nothing is changed then.
pub fn import(
    classic: &Classic,
    file: &mut DriverFile,
    ports: &BTreeMap<u32, String>,
    table: &[ParamSpec],
) -> Result<Imported, SettingsError> {
    let faults = unknown_numbers(classic, ports);
    if !faults.is_empty() {
        return Err(Faults(faults).into());
    }
    let global = std::iter::once((Section::Global, &classic.global));
    let of_ports = classic.instances.iter();
    let of_ports = of_ports.filter_map(|(n, entries)| Some((Section::port(ports.get(n)?.as_str()), entries)));
    let mut edited = file.clone();
    let (mut changes, mut known) = (0, Vec::new());
    for (section, entries) in global.chain(of_ports) {
        let mut entries: Vec<(&String, &ClassicEntry)> = entries.iter().collect();
        entries.sort_by_key(|(_, entry)| entry.line);
        for (name, entry) in entries {
            let spec = find(table, name);
            let comments: Vec<String> = entry.comments.iter().map(|comment| comment.text.clone()).collect();
            let changed = edited.set_with_comment(&section, name, &entry.value, spec, &comments)?;
            changes += usize::from(changed);
            known.extend(&entry.comments);
        }
    }
    let untaken = [(&classic.loose.iter().collect(), "they stand at no entry"), (&known, AT_OLD)];
    let untaken = untaken.into_iter().filter_map(|(of, why)| lost(classic, of, edited.text(), why)).collect();
    *file = edited;
    Ok(Imported { entries: changes, untaken })
}

/// Why comments of entries are not taken.
const AT_OLD: &str = "their entries are in the file already, and keep what is written there";

/// Comments that are not in a driver's file, as a warning.
fn lost(classic: &Classic, comments: &Vec<&Comment>, text: &str, why: &'static str) -> Option<Fault> {
    let there =
        |comment: &str| text.lines().any(|line| line.contains('#') && line.trim_end().ends_with(comment));
    let lost = comments.iter().filter(|c| !c.text.is_empty() && !is_exports(&c.text) && !there(&c.text));
    let mut lines: Vec<u32> = lost.map(|c| c.line).collect();
    lines.sort_unstable();
    let line = *lines.first()?;
    Some(Fault { path: classic.path.clone(), line, kind: FaultKind::Comments { lines, why } })
}

/// A comment that an export writes: whoever takes one back in misses nothing of it.
fn is_exports(comment: &str) -> bool {
    let between = |start: &str, end: &str| comment.strip_prefix(start)?.strip_suffix(end);
    let word = |text: &str| !text.contains(' ');
    between("Driver ", EVERY_PORT).is_some_and(word)
        || between("Port ", ".").is_some_and(word)
        || between("Port ", NO_NUMBER).is_some_and(word)
        || between("", UNDEFINED).is_some_and(word)
}

const EVERY_PORT: &str = ": every port.";
const NO_NUMBER: &str = " has no number, and so is not here.";
const UNDEFINED: &str = " is undefined: the driver's default.";

/// Blames what an import says for what it says: in `after`, what is to be saved for a port, as `file` is to
/// say it, whose lines are not written yet. `number` is the port's.
pub fn blame(
    after: &mut Definitions,
    file: &DriverFile,
    classic: &Classic,
    number: Option<u32>,
    port: &Section,
) {
    let own = number.and_then(|number| classic.instances.get(&number));
    let path = file.path().display().to_string();
    for (name, definition) in after.iter_mut() {
        let in_file = matches!(&definition.source, Source::File { path: said, .. } if *said == path);
        let global = || classic.global.get(name).filter(|_| file.entry(port, name).is_none());
        let entry = own.and_then(|own| own.get(name)).or_else(global).filter(|_| in_file);
        if let Some(entry) = entry {
            definition.source = Source::File { path: classic.path.display().to_string(), line: entry.line };
        }
    }
}

/// What a classic file says of numbers that no port has, in the order of its lines.
pub(super) fn unknown_numbers(classic: &Classic, ports: &BTreeMap<u32, String>) -> Vec<Fault> {
    let unknown = classic.instances.iter().filter(|(number, _)| !ports.contains_key(number));
    let mut faults: Vec<Fault> = unknown
        .flat_map(|(number, entries)| entries.values().map(|e| no_instance(classic, *number, e, ports)))
        .collect();
    faults.sort_by_key(|fault| fault.line);
    faults
}

fn no_instance(
    classic: &Classic,
    instance: u32,
    entry: &ClassicEntry,
    ports: &BTreeMap<u32, String>,
) -> Fault {
    let known: Vec<String> = ports.iter().map(|(number, port)| format!("{number} is {port}")).collect();
    let hint = if known.is_empty() { String::new() } else { format!(" ({})", known.join(", ")) };
    let kind = FaultKind::NoInstance { name: entry.written.clone(), instance, hint };
    Fault { path: classic.path.clone(), line: entry.line, kind }
}

/// A driver's file in the classic form. What that has no words for (a parameter that is undefined, a port
/// that has no number) stands there as a comment; it comes beside the text, with where the file says it.
pub fn export(file: &DriverFile, ports: &BTreeMap<u32, String>, table: &[ParamSpec]) -> (String, Vec<Fault>) {
    let driver = file.driver();
    let mut text = format!("# Driver {driver}{EVERY_PORT}\n");
    let mut left = Vec::new();
    section(&mut text, &mut left, file, &Section::Global, "", table);
    for section_of in file.sections() {
        let Section::Port(port) = section_of else { continue };
        match ports.iter().find(|(_, name)| *name == port) {
            Some((number, _)) => {
                let _ = writeln!(text, "\n# Port {port}.");
                section(&mut text, &mut left, file, section_of, &format!("{driver}{number}-"), table);
            }
            None => {
                let _ = writeln!(text, "\n# Port {port}{NO_NUMBER}");
                let what = format!("[{section_of}], a port without a number,");
                left.push(no_classic(file, file.section_line(section_of).unwrap_or(1), what));
            }
        }
    }
    left.sort_by_key(|fault| fault.line);
    (text, left)
}

fn no_classic(file: &DriverFile, line: u32, what: String) -> Fault {
    Fault { path: file.path().to_owned(), line, kind: FaultKind::NoClassic { what } }
}

fn section(
    text: &mut String,
    left: &mut Vec<Fault>,
    file: &DriverFile,
    section: &Section,
    prefix: &str,
    table: &[ParamSpec],
) {
    for entry in file.entries(section) {
        let name = classic_name(&entry.name, table);
        let _ = match &entry.value {
            Some(value) => writeln!(text, "{prefix}{name}={};", classic_value(value)),
            None => {
                let what = format!("`undefine` of {} in [{section}]", entry.name);
                left.push(no_classic(file, entry.line, what));
                writeln!(text, "# {prefix}{name}{UNDEFINED}")
            }
        };
    }
}

/// With `-`, as is usual there, unless that would be another parameter.
fn classic_name(name: &str, table: &[ParamSpec]) -> String {
    let usual = name.replace('_', "-");
    match find(table, &usual) {
        Some(spec) if spec.name != name => name.to_owned(),
        _ => usual,
    }
}

fn classic_value(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '+');
    // A number with a 0 in front is another one there.
    let octal = value.trim_start_matches('-').len() > 1 && value.trim_start_matches('-').starts_with('0');
    if !value.is_empty() && value.chars().all(plain) && (!octal || value.starts_with("0x")) {
        return value.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

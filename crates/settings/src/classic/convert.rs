//! From the classic form to a driver's file, and back.

use super::{Classic, ClassicEntry, find};
use crate::{DriverFile, Fault, FaultKind, Faults, Section, SettingsError};
use std::collections::BTreeMap;
use std::fmt::Write;
use steadfast_shell::params::ParamSpec;

/// Takes what a classic file says into a driver's file, with its comments where an entry is new. `ports`
/// are the driver's ports by number. Returns how many entries changed.
///
/// # Errors
/// Numbers that no port has, all of them; an entry that cannot be changed. Nothing is changed then.
pub fn import(
    classic: &Classic,
    file: &mut DriverFile,
    ports: &BTreeMap<u32, String>,
    table: &[ParamSpec],
) -> Result<usize, SettingsError> {
    let faults = unknown_numbers(classic, ports);
    if !faults.is_empty() {
        return Err(Faults(faults).into());
    }
    let global = std::iter::once((Section::Global, &classic.global));
    let of_ports = classic.instances.iter();
    let of_ports = of_ports.filter_map(|(n, entries)| Some((Section::port(ports.get(n)?.as_str()), entries)));
    let mut edited = file.clone();
    let mut changes = 0;
    for (section, entries) in global.chain(of_ports) {
        let mut entries: Vec<(&String, &ClassicEntry)> = entries.iter().collect();
        entries.sort_by_key(|(_, entry)| entry.line);
        for (name, entry) in entries {
            let spec = find(table, name);
            let changed = edited.set_with_comment(&section, name, &entry.value, spec, &entry.comments)?;
            changes += usize::from(changed);
        }
    }
    *file = edited;
    Ok(changes)
}

/// What a classic file says of numbers that no port has, in the order of its lines.
pub fn unknown_numbers(classic: &Classic, ports: &BTreeMap<u32, String>) -> Vec<Fault> {
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
/// that has no number) stands there as a comment.
pub fn export(file: &DriverFile, ports: &BTreeMap<u32, String>, table: &[ParamSpec]) -> String {
    let driver = file.driver();
    let mut text = format!("# Driver {driver}: every port.\n");
    section(&mut text, file, &Section::Global, "", table);
    for section_of in file.sections() {
        let Section::Port(port) = section_of else { continue };
        match ports.iter().find(|(_, name)| *name == port) {
            Some((number, _)) => {
                let _ = writeln!(text, "\n# Port {port}.");
                section(&mut text, file, section_of, &format!("{driver}{number}-"), table);
            }
            None => {
                let _ = writeln!(text, "\n# Port {port} has no number, and so is not here.");
            }
        }
    }
    text
}

fn section(text: &mut String, file: &DriverFile, section: &Section, prefix: &str, table: &[ParamSpec]) {
    for entry in file.entries(section) {
        let name = classic_name(&entry.name, table);
        let _ = match &entry.value {
            Some(value) => writeln!(text, "{prefix}{name}={};", classic_value(value)),
            None => writeln!(text, "# {prefix}{name} is undefined: the driver's default."),
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

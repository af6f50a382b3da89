//! One driver's file.

use super::{Finding, Known, KnownDriver, KnownPort, Severity};
use crate::{DriverFile, Entry, Origin, Saved, Section, SetFault, validate};
use std::collections::{BTreeMap, BTreeSet};
use steadfast_shell::params::{ParamError, ParamSpec, nearest};
use steadfast_shell::properties::Source;

/// Lines and parameters.
type Wrong = BTreeSet<(u32, String)>;

pub(super) fn examine(file: &DriverFile, driver: &KnownDriver, known: &Known) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Entries that are wrong by themselves: no more is said of them.
    let mut wrong: Wrong = BTreeSet::new();
    for section in file.sections() {
        let table = match section {
            Section::Global => driver.table.as_slice(),
            Section::Port(port) => match driver.ports.get(port) {
                Some(port) => port.table.as_slice(),
                None => {
                    findings.push(absent(file, section, port, driver, known));
                    driver.table.as_slice()
                }
            },
        };
        for entry in file.entries(section) {
            if let Some(finding) = alone(file, entry, table) {
                wrong.insert((entry.line, entry.name.clone()));
                findings.push(finding);
            }
        }
    }
    let saved: BTreeMap<&str, Saved> =
        driver.ports.iter().map(|(name, port)| (name.as_str(), Saved::of(file, &port.given, name))).collect();
    for (name, port) in &driver.ports {
        findings.extend(together(file, name, port, &saved[name.as_str()], &wrong));
    }
    findings.extend(without_effect(file, &saved, &wrong));
    findings.extend(hidden(&saved));
    findings
}

/// A section of a port that is not there.
fn absent(file: &DriverFile, section: &Section, port: &str, driver: &KnownDriver, known: &Known) -> Finding {
    let line = file.section_line(section).unwrap_or(1);
    if driver.away.contains(port) {
        let message =
            format!("port {port} is away: this is read when it comes back, with the daemon's next start");
        Finding::at(Severity::Warning, file.path(), line, message)
    } else {
        Finding::fault(file.path(), line, unknown_port(port, file.driver(), driver, known))
    }
}

fn unknown_port(port: &str, name: &str, driver: &KnownDriver, known: &Known) -> String {
    if let Some((other, _)) = known.iter().find(|(_, other)| other.ports.contains_key(port)) {
        return format!("port {port} is one of driver {other}, not of {name}: nobody reads this");
    }
    let names = driver.ports.keys().map(String::as_str);
    let hint = match nearest(port, names.clone()).map(str::to_owned) {
        Some(near) => format!("did you mean {near}?"),
        None if driver.ports.is_empty() => "the driver has no ports now".to_owned(),
        None => format!("there is: {}", names.collect::<Vec<_>>().join(", ")),
    };
    format!("driver {name} has no port {port}, so nobody reads this ({hint})")
}

/// What is wrong with an entry whatever stands beside it.
fn alone(file: &DriverFile, entry: &Entry, table: &[ParamSpec]) -> Option<Finding> {
    let message = match (table.iter().find(|spec| spec.name == entry.name), &entry.value) {
        (None, _) => unknown_param(&entry.name, table),
        (Some(spec), Some(value)) => spec.parse_value(value).err()?.to_string(),
        (Some(_), None) => return None,
    };
    Some(Finding::fault(file.path(), entry.line, message))
}

fn unknown_param(name: &str, table: &[ParamSpec]) -> String {
    let suggestion = nearest(name, table.iter().map(|spec| spec.name.as_str())).map(str::to_owned);
    let hint = match &suggestion {
        Some(near) => format!("did you mean {near}?"),
        None => "`steadfast param list` shows those that there are".to_owned(),
    };
    ParamError::Unknown { name: name.to_owned(), suggestion, hint }.to_string()
}

/// What is wrong with all that is saved for a port.
fn together(file: &DriverFile, name: &str, port: &KnownPort, saved: &Saved, wrong: &Wrong) -> Vec<Finding> {
    let Err(faults) = validate(&port.table, &saved.definitions()) else { return Vec::new() };
    let own = file.path().display().to_string();
    let said = |fault: &SetFault| match fault.place() {
        Some(Source::File { path, line }) => {
            *path == own && wrong.contains(&(*line, fault.error.name().to_owned()))
        }
        _ => false,
    };
    let finding = |fault: &SetFault| Finding {
        severity: Severity::Fault,
        place: fault.place().cloned().unwrap_or(Source::File { path: own.clone(), line: 1 }),
        message: format!("port {name}: {}", fault.message()),
    };
    faults.iter().filter(|fault| !said(fault)).map(finding).collect()
}

/// Parameters that are undefined where nothing is defined below.
fn without_effect(file: &DriverFile, saved: &BTreeMap<&str, Saved>, wrong: &Wrong) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |line, name: &str, why: &str| {
        let message = format!("{name} is undefined without effect: {why}");
        findings.push(Finding::at(Severity::Warning, file.path(), line, message));
    };
    for section in file.sections() {
        let undefined = |e: &&Entry| e.value.is_none() && !wrong.contains(&(e.line, e.name.clone()));
        for entry in file.entries(section).iter().filter(undefined) {
            match section {
                Section::Global => {
                    add(entry.line, &entry.name, "below [global] are the driver's defaults alone")
                }
                Section::Port(port) => {
                    let Some(saved) = saved.get(port.as_str()) else { continue };
                    let below = saved
                        .explain(&entry.name)
                        .iter()
                        .any(|said| said.origin != Origin::Port && said.value.is_some());
                    if !below {
                        add(entry.line, &entry.name, "nothing else defines it for this port");
                    }
                }
            }
        }
    }
    findings
}

/// Values that count for no port.
fn hidden(saved: &BTreeMap<&str, Saved>) -> Vec<Finding> {
    let mut findings = Vec::new();
    // For every port: whether the value at that place counts, and what counts instead.
    let mut places: BTreeMap<(String, String), (bool, BTreeSet<String>, Source)> = BTreeMap::new();
    for (port, saved) in saved {
        for name in saved.names() {
            let all = saved.explain(name);
            let last = all.last().map(|said| format!("{port} at {}", said.source));
            for said in all.iter().filter(|said| said.value.is_some()) {
                let key = (said.source.to_string(), name.to_owned());
                let (counts, by, _) =
                    places.entry(key).or_insert_with(|| (false, BTreeSet::new(), said.source.clone()));
                *counts |= said.counts;
                by.extend(last.clone().filter(|_| !said.counts));
            }
        }
    }
    for ((_, name), (counts, by, place)) in places {
        if !counts {
            let by: Vec<String> = by.into_iter().collect();
            let message = format!("{name} counts for no port: it is said again for {}", by.join(", "));
            findings.push(Finding { severity: Severity::Warning, place, message });
        }
    }
    findings
}

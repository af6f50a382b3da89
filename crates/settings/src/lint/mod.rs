//! What is wrong with the files of a parameters folder, or not likely to be meant.
//!
//! Nothing here knows the ports of a daemon: it is told which drivers there are, with which ports and
//! parameters, and what the daemon's own configuration says of each port.

mod conf;
mod driver;
mod profile;
#[cfg(test)]
mod tests;

use crate::classic;
use crate::profile::BUILT_IN;
use crate::{DriverFile, Faults, INSTANCES, Instances, Profiles, SettingsError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use steadfast_shell::params::{ParamSpec, nearest};
use steadfast_shell::properties::{Said, Source};

/// A driver that there is.
#[derive(Clone, Debug, Default)]
pub struct KnownDriver {
    /// Its parameters where no port says otherwise: those of its newest module.
    pub table: Vec<ParamSpec>,
    /// Its ports.
    pub ports: BTreeMap<String, KnownPort>,
    /// Its ports by number, those that are away among them; `None` where that is not known.
    pub numbers: Option<BTreeMap<u32, String>>,
    /// Ports that are defined and not there, and come with the daemon's next start.
    pub away: BTreeSet<String>,
}

/// A port that there is.
#[derive(Clone, Debug, Default)]
pub struct KnownPort {
    /// Its parameters: its driver may be another release.
    pub table: Vec<ParamSpec>,
    /// What the daemon's own configuration says.
    pub given: Vec<Said>,
}

/// All drivers by name.
pub type Known = BTreeMap<String, KnownDriver>;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It is refused where it is used, or never used.
    Fault,
    /// It has no effect.
    Warning,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Where.
    pub place: Source,
    /// What.
    pub message: String,
}

/// A line of a file.
fn at(path: &Path, line: u32) -> Source {
    Source::File { path: path.display().to_string(), line }
}

impl Finding {
    fn at(severity: Severity, path: &Path, line: u32, message: impl Into<String>) -> Finding {
        Finding { severity, place: at(path, line), message: message.into() }
    }

    fn fault(path: &Path, line: u32, message: impl Into<String>) -> Finding {
        Finding::at(Severity::Fault, path, line, message)
    }
}

/// Everything in a parameters folder, and the files that were examined.
pub fn folder(folder: &Path, known: &Known) -> (Vec<PathBuf>, Vec<Finding>) {
    let (mut files, mut findings) = (Vec::new(), Vec::new());
    for path in toml_files(folder, &mut findings) {
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        match name.as_str() {
            // It is in the form of the daemon's configuration, which says itself what is wrong with it.
            "devices" => continue,
            "profiles" => {
                findings.push(Finding::fault(&path, 1, "no driver can have this name: it is a folder here"))
            }
            "instances" => instances(folder, known, &mut findings),
            driver => match DriverFile::load(folder, driver) {
                Ok(file) => findings.extend(driver_file(&file, known)),
                Err(e) => findings.extend(error(&path, &e)),
            },
        }
        files.push(path);
    }
    let profiles = Profiles::of(folder);
    for path in toml_files(profiles.folder(), &mut findings) {
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        match profiles.get(name) {
            Ok(profile) => findings.extend(profile::examine(&profile, known)),
            // What is wrong with one that it extends is said where that is.
            Err(SettingsError::Faults(Faults(faults))) => {
                let own = faults.into_iter().filter(|fault| fault.path == path);
                findings.extend(own.map(|f| Finding::fault(&f.path, f.line, f.kind.to_string())));
            }
            Err(e) => findings.extend(error(&path, &e)),
        }
        files.push(path);
    }
    (files, ordered(findings))
}

/// The drivers that have a file in a parameters folder.
pub fn driver_names(folder: &Path) -> Vec<String> {
    let name = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    let driver = |name: &String| !matches!(name.as_str(), "devices" | "profiles" | "instances");
    toml_files(folder, &mut Vec::new()).into_iter().filter_map(name).filter(driver).collect()
}

/// A text, as if it were in the folder: what it is goes by its path.
pub fn text(path: &Path, text: &str, parameters: &Path, known: &Known) -> Vec<Finding> {
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let in_profiles = path.parent().and_then(Path::file_name).is_some_and(|folder| folder == "profiles");
    let all = |faults: Faults| -> Vec<Finding> {
        faults.0.into_iter().map(|f| Finding::fault(&f.path, f.line, f.kind.to_string())).collect()
    };
    let findings = if in_profiles {
        if BUILT_IN.contains(&name) {
            let path = path.to_owned();
            return error(&path.clone(), &SettingsError::BuiltIn { name: name.to_owned(), path });
        }
        match Profiles::of(parameters).parse(name, path, text) {
            Ok(profile) => profile::examine(&profile, known),
            Err(SettingsError::Faults(faults)) => all(faults),
            Err(e) => error(path, &e),
        }
    } else if path.extension().is_some_and(|e| e == "conf") {
        match known.get(name) {
            None => vec![unknown_driver(path, name, known)],
            Some(driver) => {
                match classic::examine(path, text, name, &driver.table, driver.numbers.as_ref()) {
                    Err(faults) => all(faults),
                    Ok(read) => conf::examine(&read, name, driver, parameters),
                }
            }
        }
    } else {
        match DriverFile::parse(path, name, text) {
            Ok(file) => driver_file(&file, known),
            Err(faults) => all(faults),
        }
    };
    ordered(findings)
}

fn driver_file(file: &DriverFile, known: &Known) -> Vec<Finding> {
    match known.get(file.driver()) {
        Some(of) => driver::examine(file, of, known),
        None => vec![unknown_driver(file.path(), file.driver(), known)],
    }
}

fn unknown_driver(path: &Path, name: &str, known: &Known) -> Finding {
    let names = known.keys().map(String::as_str);
    let hint = match nearest(name, names.clone()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("there is: {}", names.collect::<Vec<_>>().join(", ")),
    };
    Finding::fault(path, 1, format!("there is no driver {name}, so nobody reads this ({hint})"))
}

fn instances(folder: &Path, known: &Known, findings: &mut Vec<Finding>) {
    let path = folder.join(INSTANCES);
    match Instances::load(folder) {
        Ok(instances) => {
            for driver in instances.drivers().filter(|driver| !known.contains_key(*driver)) {
                findings
                    .push(Finding { severity: Severity::Warning, ..unknown_driver(&path, driver, known) });
            }
        }
        Err(e) => findings.extend(error(&path, &e)),
    }
}

fn error(path: &Path, error: &SettingsError) -> Vec<Finding> {
    match error {
        SettingsError::Faults(Faults(faults)) => {
            faults.iter().map(|f| Finding::fault(&f.path, f.line, f.kind.to_string())).collect()
        }
        other => vec![Finding::fault(path, 1, other.to_string())],
    }
}

/// The TOML files of a folder; one that is not there has none.
fn toml_files(folder: &Path, findings: &mut Vec<Finding>) -> Vec<PathBuf> {
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(e) => {
            findings.push(Finding::fault(folder, 1, format!("the folder cannot be read: {e}")));
            return Vec::new();
        }
    };
    let visible = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.ends_with(".toml") && !name.starts_with('.'))
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(visible).collect();
    files.sort();
    files
}

/// By file and line, each once.
fn ordered(mut findings: Vec<Finding>) -> Vec<Finding> {
    let key = |f: &Finding| match &f.place {
        Source::File { path, line } => (path.clone(), *line),
        other => (other.to_string(), 0),
    };
    findings.sort_by(|a, b| (key(a), &a.message).cmp(&(key(b), &b.message)));
    findings.dedup();
    findings
}

//! Files of parameters as a whole: examined, taken from the classic form, and written in it.

use super::saved::file_problem;
use super::stage::Staged;
use crate::app::App;
use crate::config::{ConfigErrors, Place};
use crate::probation::lock;
use crate::topology;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use steadfast_api::{
    Exported, Finding, ImportReport, ImportRequest, LintReport, LintRequest, Problem, ProblemKind, Severity,
};
use steadfast_settings::classic::{self, Classic, ClassicEntry};
use steadfast_settings::lint::{self, KnownDriver};
use steadfast_settings::{DriverFile, Section, SetFault, validate};
use steadfast_shell::params::ParamKind;
use steadfast_shell::properties::{Definitions, Source};

impl App {
    /// What is wrong with the parameters folder, or with a text that could be in it.
    pub(crate) fn lint(&self, request: &LintRequest) -> LintReport {
        let folder = &self.topology.settings.folder;
        let known = self.known();
        let (files, mut findings) = match &request.file {
            Some(file) => {
                let path = Path::new(&file.path);
                (vec![path.to_owned()], lint::text(path, &file.text, folder, &known))
            }
            None => lint::folder(folder, &known),
        };
        let mut files: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
        let mut more = Vec::new();
        if let (None, Some((path, errors))) = (&request.file, topology::examine(folder)) {
            files.push(path.display().to_string());
            more = of_errors(&errors);
        }
        let mut findings: Vec<Finding> = findings.drain(..).map(shown).collect();
        findings.extend(more);
        LintReport { files, findings }
    }

    /// Takes a file in the classic form into the driver's file: all of it, or nothing.
    pub(crate) fn import(&self, request: &ImportRequest, who: &str) -> Result<ImportReport, Problem> {
        let driver = &request.driver;
        let known = self.known_driver(driver)?;
        let path = Path::new(&request.path);
        let classic = classic::parse(path, &request.text, driver, &known.table);
        let classic = classic.map_err(|faults| nothing(path, faults.0.iter().map(ToString::to_string)))?;
        relative(&classic, &known)?;
        let numbers = self.numbers(driver)?;
        let _editing = lock(&self.edits.editing);
        let before =
            DriverFile::load(&self.topology.settings.folder, driver).map_err(|e| file_problem(&e))?;
        let mut staged = Staged::of(&before);
        let entries = classic::import(&classic, &mut staged.file, &numbers, &known.table)
            .map_err(|e| nothing(path, e.to_string().lines().map(str::to_owned)))?;
        let mut faults = Vec::new();
        for port in self.ports_of(driver) {
            let view = self.view(&port)?;
            let number = numbers.iter().find(|(_, name)| **name == port).map(|(number, _)| *number);
            let own = number.and_then(|number| classic.instances.get(&number));
            let names: BTreeSet<String> =
                classic.global.keys().chain(own.into_iter().flat_map(|own| own.keys())).cloned().collect();
            if names.is_empty() {
                continue;
            }
            let mut after = view.saved_by(&staged.file)?;
            blame(&mut after, &staged.file, &classic, own, &Section::port(&port));
            if let Err(found) = validate(&view.table, &after) {
                faults.extend(found.iter().map(|fault: &SetFault| format!("{fault} (port {port})")));
            }
            staged.ports.push((view, names));
        }
        if !faults.is_empty() {
            return Err(nothing(path, faults.into_iter()));
        }
        let file = staged.file.path().display().to_string();
        let changed = self.save_all(vec![staged], request.dry_run, who)?;
        Ok(ImportReport {
            driver: driver.clone(),
            file,
            dry_run: request.dry_run,
            entries: entries as u32,
            changed,
            warnings: classic.warnings.iter().map(ToString::to_string).collect(),
        })
    }

    /// What is saved for a driver, in the form in which it is saved or in the classic one.
    pub(crate) fn export(&self, driver: &str, in_classic: bool) -> Result<Exported, Problem> {
        let known = self.known_driver(driver)?;
        let file = DriverFile::load(&self.topology.settings.folder, driver).map_err(|e| file_problem(&e))?;
        let text = if in_classic {
            classic::export(&file, &self.numbers(driver)?, &known.table)
        } else {
            file.text().to_owned()
        };
        Ok(Exported { driver: driver.to_owned(), file: file.path().display().to_string(), text })
    }
}

/// Every fault, a line each.
fn nothing(path: &Path, faults: impl Iterator<Item = String>) -> Problem {
    let mut message = format!("{}: nothing was imported", path.display());
    for fault in faults {
        message.push_str(&format!("\n  {fault}"));
    }
    Problem::new(ProblemKind::Refused, message)
}

/// The daemon's own folder is not the one that a relative path was meant from.
fn relative(classic: &Classic, known: &KnownDriver) -> Result<(), Problem> {
    let is_path =
        |name: &str| known.table.iter().any(|spec| spec.name == name && spec.kind == ParamKind::Path);
    let all = std::iter::once(&classic.global).chain(classic.instances.values()).flatten();
    let mut faults: Vec<(u32, String)> = all
        .filter(|(name, entry)| is_path(name) && !entry.value.starts_with('/'))
        .map(|(_, entry)| {
            let what = format!(
                "not absolute: {}={} (allowed a path that begins with /)",
                entry.written, entry.value
            );
            (entry.line, format!("{}:{}: {what}", classic.path.display(), entry.line))
        })
        .collect();
    faults.sort();
    if faults.is_empty() {
        return Ok(());
    }
    Err(nothing(&classic.path, faults.into_iter().map(|(_, fault)| fault)))
}

/// Blames what the import says for what it says: the lines of the driver's file are not written yet.
fn blame(
    after: &mut Definitions,
    file: &DriverFile,
    classic: &Classic,
    own: Option<&BTreeMap<String, ClassicEntry>>,
    port: &Section,
) {
    for (name, definition) in after.iter_mut() {
        let in_file = matches!(&definition.source, Source::File { path, .. } if *path == file.path().display().to_string());
        let global = || classic.global.get(name).filter(|_| file.entry(port, name).is_none());
        let entry = own.and_then(|own| own.get(name)).or_else(global).filter(|_| in_file);
        if let Some(entry) = entry {
            definition.source = Source::File { path: classic.path.display().to_string(), line: entry.line };
        }
    }
}

fn shown(finding: lint::Finding) -> Finding {
    let severity = match finding.severity {
        lint::Severity::Fault => Severity::Fault,
        lint::Severity::Warning => Severity::Warning,
    };
    Finding { severity, place: finding.place.to_string(), message: finding.message }
}

fn of_errors(errors: &ConfigErrors) -> Vec<Finding> {
    let one = |place: &Place, message: &String| Finding {
        severity: Severity::Fault,
        place: place.to_string(),
        message: message.clone(),
    };
    errors.0.iter().map(|e| one(&e.place, &e.message)).collect()
}

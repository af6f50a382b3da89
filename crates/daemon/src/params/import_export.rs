//! Files of parameters as a whole: examined, taken from the classic form, and written in it.

use crate::app::App;
use crate::config::{ConfigErrors, Place};
use crate::params::save::Staged;
use crate::params::view::file_problem;
use crate::ports;
use std::collections::BTreeSet;
use std::path::Path;
use steadfast_api::{
    Exported, Finding, ImportReport, ImportRequest, LintReport, LintRequest, Problem, ProblemKind, Severity,
};
use steadfast_settings::{DriverFile, Section, SetFault, classic, lint, validate};
use steadfast_shell::sync::lock;

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
        if let (None, Some((path, errors))) = (&request.file, ports::examine(folder)) {
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
        let numbers = self.numbers(driver)?;
        let classic = classic::examine(path, &request.text, driver, &known.table, Some(&numbers));
        let classic = classic.map_err(|faults| nothing(path, faults.0.iter().map(ToString::to_string)))?;
        let _editing = lock(&self.edits.editing);
        let before =
            DriverFile::load(&self.topology.settings.folder, driver).map_err(|e| file_problem(&e))?;
        let mut staged = Staged::of(&before);
        let imported = classic::import(&classic, &mut staged.file, &numbers, &known.table)
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
            classic::blame(&mut after, &staged.file, &classic, number, &Section::port(&port));
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
            entries: imported.entries as u32,
            changed,
            warnings: classic.warnings.iter().chain(&imported.untaken).map(ToString::to_string).collect(),
        })
    }

    /// What is saved for a driver, in the form in which it is saved or in the classic one.
    pub(crate) fn export(&self, driver: &str, in_classic: bool) -> Result<Exported, Problem> {
        let known = self.known_driver(driver)?;
        let file = DriverFile::load(&self.topology.settings.folder, driver).map_err(|e| file_problem(&e))?;
        let (text, left) = if in_classic {
            classic::export(&file, &self.numbers(driver)?, &known.table)
        } else {
            (file.text().to_owned(), Vec::new())
        };
        Ok(Exported {
            driver: driver.to_owned(),
            file: file.path().display().to_string(),
            text,
            warnings: left.iter().map(ToString::to_string).collect(),
        })
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

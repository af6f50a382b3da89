//! A file in the classic form: what an import of it would come to.

use super::{Finding, KnownDriver, Severity, error};
use crate::classic::{self, Classic};
use crate::{DriverFile, Fault, Saved, Section, SetFault, validate};
use std::path::Path;

/// What an import would refuse, of a file that is right by itself, and what it would warn of. `parameters` is
/// the folder with the file that it would be taken into.
pub(super) fn examine(
    classic: &Classic,
    name: &str,
    driver: &KnownDriver,
    parameters: &Path,
) -> Vec<Finding> {
    let warning = |f: &Fault| Finding::at(Severity::Warning, &f.path, f.line, f.kind.to_string());
    let mut findings: Vec<Finding> = classic.warnings.iter().map(warning).collect();
    let Some(numbers) = &driver.numbers else { return findings };
    let mut file = match DriverFile::load(parameters, name) {
        Ok(file) => file,
        Err(e) => {
            findings.extend(error(&DriverFile::path_in(parameters, name), &e));
            return findings;
        }
    };
    match classic::import(classic, &mut file, numbers, &driver.table) {
        Ok(imported) => findings.extend(imported.untaken.iter().map(warning)),
        Err(e) => {
            findings.extend(error(&classic.path, &e));
            return findings;
        }
    }
    for (port, known) in &driver.ports {
        let number = numbers.iter().find(|(_, name)| *name == port).map(|(number, _)| *number);
        if classic.global.is_empty() && number.is_none_or(|number| !classic.instances.contains_key(&number)) {
            continue;
        }
        let mut after = Saved::of(&file, &known.given, port).definitions();
        classic::blame(&mut after, &file, classic, number, &Section::port(port));
        let finding = |fault: &SetFault| Finding {
            severity: Severity::Fault,
            place: fault.place().cloned().unwrap_or_else(|| super::at(&classic.path, 1)),
            message: format!("port {port}: {}", fault.message()),
        };
        findings.extend(validate(&known.table, &after).err().iter().flatten().map(finding));
    }
    findings
}

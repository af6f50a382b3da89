//! Files of parameters for people.

use crate::output::params;
use steadfast_api::{ImportReport, LintReport, Severity};

/// Everything that was found, a line each.
pub(crate) fn lint(report: &LintReport) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let severity = match finding.severity {
            Severity::Fault => "fault",
            Severity::Warning => "warning",
        };
        text.push_str(&format!("{}: {severity}: {}\n", finding.place, finding.message));
    }
    let count = |severity| report.findings.iter().filter(|f| f.severity == severity).count();
    let files = report.files.len();
    let (faults, warnings) = (count(Severity::Fault), count(Severity::Warning));
    text + &format!("{files} files: {faults} faults, {warnings} warnings\n")
}

/// What an import has done.
pub(crate) fn imported(report: &ImportReport) -> String {
    let mut text = String::new();
    for warning in &report.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text.push_str(&params::saved_lines(&report.changed, report.dry_run));
    let verb = if report.dry_run { "would change" } else { "changed" };
    text + &format!("{}: {} entries {verb}\n", report.file, report.entries)
}

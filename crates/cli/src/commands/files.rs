//! `steadfast config`.

use crate::args::profiles::ConfigCommand;
use crate::client::{Client, segment};
use crate::commands::params::show;
use crate::failure::{Exit, Failure};
use crate::output::files as output;
use std::io::Read;
use std::path::Path;
use steadfast_api::{Exported, ImportReport, ImportRequest, LintFile, LintReport, LintRequest, Severity};

/// `steadfast config ...`
pub(crate) fn config(client: &Client, command: ConfigCommand, json: bool) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::Lint { file } => {
            let file = file
                .as_deref()
                .map(|path| Ok::<_, Failure>(LintFile { path: whole(path)?, text: read(path)? }));
            let report: LintReport = client.post("/config/lint", &LintRequest { file: file.transpose()? })?;
            show(&report, json, output::lint)?;
            let fault = report.findings.iter().any(|finding| finding.severity == Severity::Fault);
            Ok(if fault { Exit::Mismatch } else { Exit::Done })
        }
        ConfigCommand::Import { driver, file, dry_run } => {
            let (path, text) = (file.display().to_string(), read(&file)?);
            let request = ImportRequest { driver, path, text, dry_run };
            let report: ImportReport = client.post("/config/import", &request)?;
            show(&report, json, output::imported)
        }
        ConfigCommand::Export { driver, classic } => {
            let path = format!("/config/export?driver={}&classic={classic}", segment(&driver));
            let exported: Exported = client.get(&path)?;
            // Standard output is the file.
            for warning in exported.warnings.iter().filter(|_| !json) {
                crate::output::note(warning, json);
            }
            show(&exported, json, |exported| exported.text.clone())
        }
    }
}

/// The path as the daemon can tell one folder from another.
fn whole(path: &Path) -> Result<String, Failure> {
    let whole = std::path::absolute(path).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
    Ok(whole.display().to_string())
}

fn read(path: &Path) -> Result<String, Failure> {
    let failed = |e: std::io::Error| Failure::new(format!("{}: cannot be read: {e}", path.display()));
    if path != Path::new("-") {
        return steadfast_daemon::read_text(path).map_err(failed);
    }
    let (mut text, most) = (String::new(), steadfast_daemon::MAX_FILE_BYTES);
    std::io::stdin().lock().take(most + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > most {
        return Err(failed(std::io::Error::other(format!("it has more than {most} bytes"))));
    }
    Ok(text)
}

//! Runs a developer's build when the sources have changed.

use super::find;
use super::settle::QUIET;
use crate::failure::Failure;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// A build command, and the sources that it was last run for.
#[derive(Debug)]
pub(crate) struct Build {
    command: String,
    built: Option<u64>,
    seen: Option<(u64, Instant)>,
}

impl Build {
    pub(crate) fn new(command: &str) -> Build {
        Build { command: command.to_owned(), built: None, seen: None }
    }

    /// Runs the build if the sources in `folder` are others than at the last one, and nobody is just
    /// writing them. What it says goes to standard error.
    ///
    /// # Errors
    /// The build can't be started, or the folder is no project's. A build that fails is a line.
    pub(crate) fn run(&mut self, folder: &Path) -> Result<Option<String>, Failure> {
        let now = find::sources(folder)?;
        if self.built == Some(now) {
            return Ok(None);
        }
        let since = match self.seen {
            Some((seen, since)) if seen == now => since,
            _ => self.seen.insert((now, Instant::now())).1,
        };
        if self.built.is_some() && since.elapsed() < QUIET {
            return Ok(None);
        }
        self.built = Some(now);
        let status = Command::new("sh")
            .args(["-c", &self.command])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(io::stderr())
            .status()
            .map_err(|e| Failure::new(format!("--build: cannot start sh: {e}")))?;
        Ok((!status.success()).then(|| format!("`{}` failed, {status}", self.command)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_runs_at_first_and_after_a_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join(".log");
        let mut build = Build::new("echo run >> .log; exit 3");
        let line = build.run(folder.path()).expect("started").expect("it fails");
        assert!(line.contains("exit 3") && line.contains("exit status: 3"), "{line}");
        assert!(build.run(folder.path()).expect("started").is_none(), "nothing has changed");
        std::fs::write(folder.path().join("driver.c"), "x").expect("written");
        assert!(build.run(folder.path()).expect("started").is_none(), "it may still be written");
        std::thread::sleep(QUIET);
        assert!(build.run(folder.path()).expect("started").is_some());
        assert_eq!(std::fs::read_to_string(log).expect("there"), "run\nrun\n");
    }
}

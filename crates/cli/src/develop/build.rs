//! Runs a developer's build when the sources have changed.

use super::find::{self, Sources};
use super::settle::QUIET;
use crate::failure::Failure;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// A build command, and the sources that it was last run for.
///
/// What a build changes by itself (a listing, a half-written product) is no reason to build again; what
/// its developer changes meanwhile is. The two look the same, so what changes during a build is built
/// once more, and what changes then too is the build's own from there on.
#[derive(Debug)]
pub(crate) struct Build {
    command: String,
    built: Option<Sources>,
    seen: Option<(Sources, Instant)>,
    /// Files that builds change.
    own: BTreeSet<PathBuf>,
    /// The next one is for what changed during the last one.
    once_more: bool,
}

impl Build {
    pub(crate) fn new(command: &str) -> Build {
        Build { command: command.to_owned(), built: None, seen: None, own: BTreeSet::new(), once_more: false }
    }

    /// Runs the build if the sources in `folder` are others than at the last one, and nobody is just
    /// writing them. What it says goes to standard error.
    ///
    /// # Errors
    /// The build can't be started, or the folder is no project's. A build that fails is a line.
    pub(crate) fn run(&mut self, folder: &Path) -> Result<Option<String>, Failure> {
        let now = find::sources(folder)?;
        if self.built.as_ref() == Some(&now) {
            return Ok(None);
        }
        let since = match &self.seen {
            Some((seen, since)) if *seen == now => *since,
            _ => self.seen.insert((now.clone(), Instant::now())).1,
        };
        if self.built.is_some() && since.elapsed() < QUIET {
            return Ok(None);
        }
        let status = Command::new("sh")
            .args(["-c", &self.command])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(io::stderr())
            .status()
            .map_err(|e| Failure::new(format!("--build: cannot start sh: {e}")))?;
        self.built = Some(self.covered(now, find::sources(folder)?));
        Ok((!status.success()).then(|| format!("`{}` failed, {status}", self.command)))
    }

    /// The sources that a build has covered, which found them as `before` and left them as `after`.
    fn covered(&mut self, before: Sources, after: Sources) -> Sources {
        let names: BTreeSet<&PathBuf> = before.keys().chain(after.keys()).collect();
        let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
        let changed: Vec<PathBuf> = changed.filter(|name| !self.own.contains(*name)).cloned().collect();
        if changed.is_empty() || std::mem::replace(&mut self.once_more, true) {
            self.own.extend(changed);
            self.once_more = false;
            return after;
        }
        before
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

    /// Lets it run for as long as it wants to; how often it did.
    fn runs(build: &mut Build, folder: &Path) -> usize {
        let log = folder.join(".log");
        let count = || std::fs::read_to_string(&log).unwrap_or_default().lines().count();
        let before = count();
        for _ in 0..6 {
            build.run(folder).expect("started");
            std::thread::sleep(QUIET);
        }
        count() - before
    }

    #[test]
    fn a_build_that_changes_files_does_not_run_for_ever() {
        for (command, first) in [
            // The same file each time, another each time, one that comes and goes; all of them fail.
            ("echo run >> .log; date +%N > listing; exit 1", 2),
            ("echo run >> .log; date > listing-$(date +%N); exit 1", 2),
            ("echo run >> .log; test -e half && rm half || echo x > half; exit 1", 2),
            ("echo run >> .log; exit 1", 1),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let mut build = Build::new(command);
            assert_eq!(runs(&mut build, folder.path()), first, "{command}");
            std::fs::write(folder.path().join("driver.c"), "x").expect("written");
            let after = runs(&mut build, folder.path());
            assert!((1..=2).contains(&after), "{command}: {after}");
        }
    }

    #[test]
    fn an_edit_during_a_build_is_built() {
        let folder = tempfile::tempdir().expect("a folder");
        // The build takes what there is at its beginning; somebody edits while it runs.
        let command =
            "echo run >> .log; cat driver.c >> .built; test -e .edited || echo new > driver.c; touch .edited";
        std::fs::write(folder.path().join("driver.c"), "old\n").expect("written");
        let mut build = Build::new(command);
        assert_eq!(runs(&mut build, folder.path()), 2);
        let built = std::fs::read_to_string(folder.path().join(".built")).expect("there");
        assert_eq!(built, "old\nnew\n");
    }
}

//! Steps of a run: each is named, timed, and ends as passed, failed or skipped, never silently.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::process::Command;
use std::time::{Duration, Instant};

/// How a step that did not fail ended.
pub(crate) enum Outcome {
    /// It did what it says.
    Passed,
    /// It could not be done here, and why.
    Skipped(String),
}

/// The steps of one run.
pub(crate) struct Steps {
    only: Vec<String>,
    done: Vec<(String, Duration, std::result::Result<Outcome, String>)>,
}

impl Steps {
    /// `only`: names of the steps to run; empty for all.
    pub(crate) fn new(only: Vec<String>) -> Steps {
        Steps { only, done: Vec::new() }
    }

    /// Runs one step. A failure is noted, and later steps still run.
    pub(crate) fn step(&mut self, name: &str, run: impl FnOnce() -> Result<Outcome>) {
        if !self.only.is_empty() && !self.only.iter().any(|o| o == name) {
            return;
        }
        println!("\n== {name}");
        let begin = Instant::now();
        let result = run().map_err(|e| format!("{e:#}"));
        let time = begin.elapsed();
        match &result {
            Ok(Outcome::Passed) => println!("-- {name}: passed ({:.1} s)", time.as_secs_f64()),
            Ok(Outcome::Skipped(why)) => println!("-- {name}: SKIPPED: {why}"),
            Err(why) => println!("-- {name}: FAILED ({:.1} s): {why}", time.as_secs_f64()),
        }
        self.done.push((name.to_owned(), time, result));
    }

    /// Prints what was done; fails if a step failed, or none ran.
    pub(crate) fn finish(self) -> Result<()> {
        if self.done.is_empty() {
            bail!("no step is named {}", self.only.join(", "));
        }
        println!("\n== summary");
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        for (name, time, result) in &self.done {
            let word = match result {
                Ok(Outcome::Passed) => {
                    passed += 1;
                    "passed".to_owned()
                }
                Ok(Outcome::Skipped(why)) => {
                    skipped += 1;
                    format!("SKIPPED: {why}")
                }
                Err(why) => {
                    failed += 1;
                    format!("FAILED: {why}")
                }
            };
            println!("{name:<14} {:>7.1} s  {word}", time.as_secs_f64());
        }
        println!("steps: {passed} passed, {failed} failed, {skipped} skipped");
        if failed > 0 {
            bail!("{failed} of {} steps failed", self.done.len());
        }
        Ok(())
    }
}

/// Runs a program with its output shown; fails when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    println!("$ {line}");
    let status = command.status().with_context(|| format!("cannot start: {line}"))?;
    if !status.success() {
        bail!("{status}: {line}");
    }
    Ok(())
}

/// The command as one would type it.
fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// `cargo` with these arguments, in the workspace.
pub(crate) fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(crate::root());
    command
}

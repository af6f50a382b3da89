//! `cargo xtask test`: everything that must hold before a change lands.

use crate::steps::{Outcome, Steps, cargo, run};
use crate::{fuzz, hygiene, instructions, nextest, tester, tools};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Seconds that each fuzz target runs.
const FUZZ_SECONDS: u32 = 20;

/// Runs of the simulator, with the seeds from 1 on.
const SIM_RUNS: u64 = 1_000_000;

pub(crate) fn test(args: &[&str]) -> Result<()> {
    let (mut only, mut long) = (Vec::new(), false);
    let mut rest = args.iter();
    while let Some(argument) = rest.next() {
        match (*argument, rest.as_slice().first()) {
            ("--long", _) => long = true,
            ("--only", Some(names)) => {
                only = names.split(',').map(str::to_owned).collect();
                rest.next();
            }
            _ => bail!("unknown arguments: {} (allowed: --long, --only STEP,STEP)", args.join(" ")),
        }
    }
    let mut steps = Steps::new(only);
    steps.step("tools", || {
        tools::ensure(tools::TEST)?;
        tester::ensure()?;
        nextest::ensure().map(|()| Outcome::Passed)
    });
    steps.step("hygiene", hygiene::check);
    steps.step("format", format);
    steps.step("clippy", clippy);
    steps.step("release-build", || passed(&mut cargo(["build", "--release", "--locked"])));
    steps.step("instructions", instructions::check);
    steps.step("doc-tests", || passed(&mut cargo(["test", "--workspace", "--doc"])));
    steps.step("fuzz", || fuzz::run_all(FUZZ_SECONDS));
    steps.step("sim", sim);
    steps.step("loom", loom);
    steps.step("loop-devices", || loop_devices(long));
    steps.step("tests", || tests(long));
    steps.finish()
}

fn passed(command: &mut Command) -> Result<Outcome> {
    run(command).map(|()| Outcome::Passed)
}

/// The fuzz targets are a workspace of their own, which a change of the crates they use must not break unseen.
const FUZZ_WORKSPACE: [&str; 2] = ["--manifest-path", "fuzz/Cargo.toml"];

fn format() -> Result<Outcome> {
    run(&mut cargo(["fmt", "--all", "--check"]))?;
    passed(&mut cargo(["fmt", "--check"].into_iter().chain(FUZZ_WORKSPACE)))
}

fn clippy() -> Result<Outcome> {
    let strict = ["--all-targets", "--keep-going", "--quiet"];
    let warnings = ["--", "-D", "warnings"];
    run(&mut cargo(["clippy", "--workspace"].into_iter().chain(strict).chain(warnings)))?;
    let fuzz = ["clippy", "--locked"].into_iter().chain(FUZZ_WORKSPACE).chain(strict).chain(warnings);
    passed(cargo(fuzz).env("CARGO_TARGET_DIR", crate::target()))
}

/// Updates under modelled load, with a fault in every phase: everything that can happen must happen in these
/// runs. The seeds are the same each time, so that what fails here fails again.
fn sim() -> Result<Outcome> {
    let runs = SIM_RUNS.to_string();
    let program = ["run", "--release", "--locked", "--package", "steadfast-sim", "--"];
    passed(&mut cargo(program.into_iter().chain(["--runs", runs.as_str(), "--coverage"])))
}

/// Every interleaving of the threads that meet in an update. The atomics are loom's in this build, which
/// has a folder of its own.
fn loom() -> Result<Outcome> {
    let mut command =
        cargo(["test", "--release", "--locked", "--package", "steadfast-shell", "--test", "loom"]);
    command.arg("--target-dir").arg(crate::target().join("loom")).env("RUSTFLAGS", "--cfg loom");
    passed(&mut command)
}

/// Unit tests, and the tests of the whole in `tests/`, which run the release build.
fn tests(long: bool) -> Result<Outcome> {
    passed(prepared(nextest::command()?.arg("--workspace"), long)?)
}

/// The tests that need root and loop devices, and are marked as ignored for that reason.
fn loop_devices(long: bool) -> Result<Outcome> {
    if !tools::is_root() {
        return Ok(Outcome::Skipped("needs root".into()));
    }
    if !Path::new("/dev/loop-control").exists() || !tools::present("losetup") {
        return Ok(Outcome::Skipped("there are no loop devices here".into()));
    }
    let mut command = nextest::command()?;
    passed(prepared(command.args(["--workspace", "--run-ignored", "only"]), long)?)
}

/// Tests of the whole start the release build, and those that can be short or long are told which.
fn prepared(command: &mut Command, long: bool) -> Result<&mut Command> {
    command.env("STEADFAST_BIN", binary()?).env(tester::VARIABLE, tester::folder());
    if long {
        command.env("STEADFAST_LONG", "1").args(["--profile", "long"]);
    }
    Ok(command)
}

/// The release build of the command.
fn binary() -> Result<PathBuf> {
    let binary = crate::target().join("release/steadfast");
    if !binary.is_file() {
        bail!("{} is missing: did release-build pass?", binary.display());
    }
    Ok(binary)
}

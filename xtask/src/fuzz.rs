//! The fuzz targets, built on the stable compiler and run for a short while each.

use crate::steps::{Outcome, cargo, run};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// What `cargo fuzz` passes to a nightly compiler, spelt for a stable one.
const RUSTFLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1";

/// Builds and runs every target of the fuzz workspace for `seconds`.
pub(crate) fn run_all(seconds: u32) -> Result<Outcome> {
    let folder = crate::root().join("fuzz");
    if !folder.join("Cargo.toml").is_file() {
        return Ok(Outcome::Skipped("there is no fuzz/Cargo.toml".into()));
    }
    let names = targets()?;
    if names.is_empty() {
        bail!("fuzz/fuzz_targets has no target");
    }
    let host = host()?;
    let build = crate::target().join("fuzz");
    run(cargo(["build", "--release", "--locked", "--target", &host, "--target-dir"])
        .arg(&build)
        .current_dir(&folder)
        .env("RUSTFLAGS", RUSTFLAGS))?;
    let mut failed = Vec::new();
    for name in &names {
        let corpus = build.join("corpus").join(name);
        let artifacts = build.join("artifacts").join(name);
        std::fs::create_dir_all(&corpus)?;
        std::fs::create_dir_all(&artifacts)?;
        let mut command = Command::new(build.join(&host).join("release").join(name));
        command
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args(["-verbosity=0", "-print_final_stats=1", "-timeout=10", "-rss_limit_mb=2048"])
            .arg(&corpus);
        let dictionary = folder.join(format!("{name}.dict"));
        if dictionary.is_file() {
            command.arg(format!("-dict={}", dictionary.display()));
        }
        // Inputs worth keeping lie in fuzz/seeds/NAME, read after the corpus and not written to.
        let seeds = folder.join("seeds").join(name);
        if seeds.is_dir() {
            command.arg(seeds);
        }
        if let Err(error) = run(&mut command) {
            failed.push(format!("{name}: {error:#} (inputs in {})", artifacts.display()));
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    Ok(Outcome::Passed)
}

/// Names of the targets: the files in fuzz/fuzz_targets.
fn targets() -> Result<Vec<String>> {
    let folder = crate::root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "rs")
            && let Some(stem) = path.file_stem()
        {
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The host's target triple. Naming it keeps the flags away from build scripts.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match text.lines().find_map(|l| l.strip_prefix("host: ")) {
        Some(host) => Ok(host.to_owned()),
        None => bail!("rustc -vV names no host"),
    }
}

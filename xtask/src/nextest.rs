//! The one test runner. It is not part of a Rust toolchain, so it is brought: the version that is named here, and no
//! other, so that every machine runs the tests in the same way.

use crate::steps::{cargo, run};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of cargo-nextest that runs the tests.
const VERSION: &str = "0.9.143";

/// Makes sure that it is here; builds it from source, into the target folder, where it is not.
pub(crate) fn ensure() -> Result<()> {
    if let Some(program) = find() {
        println!("cargo-nextest {VERSION}: {}", program.display());
        return Ok(());
    }
    println!("cargo-nextest {VERSION} is missing: built from its source, once");
    let root = root();
    run(cargo(["install", "cargo-nextest", "--locked", "--force", "--no-default-features"])
        .args(["--features", "default-no-update", "--version"])
        .arg(format!("={VERSION}"))
        .arg("--root")
        .arg(&root)
        .arg("--target-dir")
        .arg(root.join("build"))
        // It starts programs and waits for them: to build it takes longer than anything that it does.
        .envs([("CARGO_PROFILE_RELEASE_LTO", "off"), ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")]))
    .with_context(|| format!("cargo-nextest {VERSION} cannot be built; it needs Rust 1.91 or newer"))?;
    // What it was built from is a gigabyte that nobody looks at again.
    let _ = std::fs::remove_dir_all(root.join("build"));
    match find() {
        Some(_) => Ok(()),
        None => bail!("{} is not cargo-nextest {VERSION} although it was just built", ours().display()),
    }
}

/// `cargo nextest run`: what tests load (modules, examples, programs) is built by it as well, as long as no kind of
/// target is named.
pub(crate) fn command() -> Result<Command> {
    let program = find().with_context(|| format!("there is no cargo-nextest {VERSION}: did tools pass?"))?;
    let mut command = Command::new(program);
    command.args(["nextest", "run"]).current_dir(crate::root());
    Ok(command)
}

/// Folder that it is installed into.
fn root() -> PathBuf {
    crate::target().join("nextest")
}

fn ours() -> PathBuf {
    root().join("bin/cargo-nextest")
}

/// One that was brought before, or one on the path, as long as it is of the right version.
fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("cargo-nextest"));
    std::iter::once(ours()).chain(on_path).find(|program| is_right(program))
}

fn is_right(program: &Path) -> bool {
    let Ok(output) = Command::new(program).args(["nextest", "--version"]).output() else { return false };
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().nth(1) == Some(VERSION)
}

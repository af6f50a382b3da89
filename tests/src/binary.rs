//! Where the things under test are: the command and the driver modules.

use crate::{TempDir, ok};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `steadfast` command: `STEADFAST_BIN`, or the release build, which is made when it is missing
/// or old.
pub fn steadfast() -> Result<PathBuf> {
    static FOUND: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    FOUND.get_or_init(|| find().map_err(|e| format!("{e:#}"))).clone().map_err(anyhow::Error::msg)
}

fn find() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("STEADFAST_BIN") {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("STEADFAST_BIN={}: no such file", path.display());
        }
        return Ok(path);
    }
    let target = target()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--release", "-p", "steadfast-cli", "--target-dir"])
        .arg(&target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()
        .context("cannot start cargo to build the steadfast command")?;
    if !status.success() {
        bail!("the steadfast command does not build");
    }
    Ok(target.join("release/steadfast"))
}

/// The folder that cargo builds into: the one this executable runs from, `target/PROFILE/deps/…` or
/// `target/PROFILE/…`.
fn target() -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let profile = exe.ancestors().skip(1).find(|d| d.file_name().is_some_and(|n| n != "deps"));
    match profile.and_then(Path::parent) {
        Some(target) => Ok(target.to_owned()),
        None => bail!("{} is not in a target folder", exe.display()),
    }
}

/// A module that the product ships: `null`, `ram`, `file-1.0`, `file-1.1`.
pub fn module(name: &str) -> Result<PathBuf> {
    let file = format!("libsteadfast_driver_{}.so", name.replace(['-', '.'], "_"));
    let bin = steadfast()?;
    let folder = bin.parent().unwrap_or(Path::new("."));
    let candidates = [folder.join("deps").join(&file), folder.join(&file)];
    match candidates.iter().find(|p| p.is_file()) {
        Some(path) => Ok(path.clone()),
        None => bail!("module {name}: there is no {}", candidates[0].display()),
    }
}

/// A module made for the tests, from `tests/drivers/NAME.rs`: cargo builds them as examples.
pub fn test_module(name: &str) -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let profile = exe.ancestors().skip(1).find(|d| d.file_name().is_some_and(|n| n != "deps"));
    let path = profile.unwrap_or(Path::new(".")).join(format!("examples/lib{name}.so"));
    if !path.is_file() {
        bail!("test module {name}: there is no {}", path.display());
    }
    Ok(path)
}

/// A module built from C in `dir`, against the header of today: `source` is relative to the workspace.
pub fn c_module(dir: &TempDir, source: &str, name: &str, defines: &[&str]) -> Result<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = dir.join(&format!("{name}.so"));
    let mut cc = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()));
    cc.args(["-shared", "-fPIC", "-O2", "-std=c11", "-D_GNU_SOURCE", "-fvisibility=hidden"])
        .args(["-Wall", "-Wextra", "-Werror"])
        .args(defines.iter().map(|d| format!("-D{d}")))
        .arg("-I")
        .arg(top.join("crates/abi/include"))
        .arg(top.join(source))
        .arg("-o")
        .arg(&output);
    ok(&mut cc)?;
    Ok(output)
}

//! Programs that are not Rust: what is needed, whether it is here, and how to get it.

use crate::steps::run;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

/// A program and the Debian package that brings it.
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
    /// Comes from the backports suite, in step with the other QEMU tools of the image.
    backports: bool,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package, backports: false }
}

/// What the tests need.
pub(crate) const TEST: &[Tool] = &[
    tool("fio", "fio"),
    tool("nbdinfo", "libnbd-bin"),
    tool("nbdcopy", "libnbd-bin"),
    tool("qemu-img", "qemu-utils"),
    tool("qemu-io", "qemu-utils"),
    tool("gcc", "gcc"),
    tool("g++", "g++"),
];

/// What the benchmarks need: the peers, and what counts instructions.
pub(crate) const BENCH: &[Tool] = &[
    tool("fio", "fio"),
    tool("nbdcopy", "libnbd-bin"),
    tool("nbdkit", "nbdkit"),
    tool("qemu-nbd", "qemu-utils"),
    tool("valgrind", "valgrind"),
    Tool { program: "qemu-storage-daemon", package: "qemu-system-common", backports: true },
];

/// Is the program to be found on the path?
pub(crate) fn present(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Makes sure that all of these are here: installs what is missing where that can be done (as root, on
/// Debian), and otherwise says what to install.
pub(crate) fn ensure(tools: &[Tool]) -> Result<()> {
    let missing: Vec<&Tool> = tools.iter().filter(|t| !present(t.program)).collect();
    if missing.is_empty() {
        println!("all here: {}", names(tools.iter().map(|t| t.program)));
        return Ok(());
    }
    let packages = names(missing.iter().map(|t| t.package));
    println!("missing: {}", names(missing.iter().map(|t| t.program)));
    if !is_root() || !present("apt-get") {
        bail!(
            "not found: {}; on Debian: apt-get install {packages}",
            names(missing.iter().map(|t| t.program))
        );
    }
    println!("installing: {packages}");
    install(&missing)?;
    let still: Vec<&str> = missing.iter().map(|t| t.program).filter(|p| !present(p)).collect();
    if !still.is_empty() {
        bail!("installed {packages}, but still not found: {}", still.join(", "));
    }
    Ok(())
}

/// Do we have root's rights?
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid takes nothing, cannot fail and touches no memory.
    unsafe { libc::geteuid() == 0 }
}

fn install(missing: &[&Tool]) -> Result<()> {
    if missing.iter().any(|t| t.backports) {
        enable_backports()?;
    }
    // Some source that the project does not need may be out of reach: what counts is the install.
    if let Err(error) = run(apt().arg("update")) {
        println!("warning: {error:#}");
    }
    let (special, plain): (Vec<&&Tool>, Vec<&&Tool>) = missing.iter().partition(|t| t.backports);
    let install = ["install", "-y", "--no-install-recommends"];
    if !plain.is_empty() {
        run(apt().args(install).args(plain.iter().map(|t| t.package)))?;
    }
    if !special.is_empty() {
        // What it depends on may be newer there, too.
        run(apt().args(install).args(["-t", &backports_suite()?]).args(special.iter().map(|t| t.package)))?;
    }
    Ok(())
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.arg("-q").env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Each name once, in order.
fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for name in all {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen.join(" ")
}

fn codename() -> Result<String> {
    let text = std::fs::read_to_string("/etc/os-release")?;
    match text.lines().find_map(|l| l.strip_prefix("VERSION_CODENAME=")) {
        Some(name) => Ok(name.trim_matches('"').to_owned()),
        None => bail!("/etc/os-release names no VERSION_CODENAME"),
    }
}

fn backports_suite() -> Result<String> {
    Ok(format!("{}-backports", codename()?))
}

/// Adds the backports suite, from the same mirror as the suite that is there.
fn enable_backports() -> Result<()> {
    let folder = Path::new("/etc/apt/sources.list.d");
    let ours = folder.join("steadfast-backports.sources");
    let (code, suite) = (codename()?, backports_suite()?);
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|e| e != "sources") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        if text.contains(&suite) {
            return Ok(());
        }
        let wanted =
            |l: &str| l.strip_prefix("Suites:").is_some_and(|s| s.split_whitespace().any(|w| w == code));
        let Some(stanza) = text.split("\n\n").find(|s| s.lines().any(wanted)) else { continue };
        let lines: Vec<String> = stanza
            .lines()
            .filter(|l| !l.starts_with('#'))
            .map(|l| if l.starts_with("Suites:") { format!("Suites: {suite}") } else { l.to_owned() })
            .collect();
        println!("adding the suite {suite} as {}", ours.display());
        std::fs::write(&ours, lines.join("\n") + "\n")?;
        return Ok(());
    }
    bail!("no entry in {} has the suite {code}, so {suite} cannot be derived from it", folder.display())
}

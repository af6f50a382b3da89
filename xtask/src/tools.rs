//! Programs that are not Rust: what is needed, whether it is here, and how to get it.

use crate::steps::run;
use anyhow::{Result, bail};
use std::process::Command;

/// A program and the Debian package that brings it.
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// What the tests need.
pub(crate) const TEST: &[Tool] = &[
    tool("fio", "fio"),
    tool("nbdinfo", "libnbd-bin"),
    tool("nbdcopy", "libnbd-bin"),
    tool("qemu-img", "qemu-utils"),
    tool("qemu-io", "qemu-utils"),
    tool("minisign", "minisign"),
    tool("faketime", "faketime"),
    tool("gcc", "gcc"),
    tool("g++", "g++"),
    tool("nbdfuse", "libnbd-bin"),
    tool("nbdkit", "nbdkit"),
    tool("nbdsh", "python3-libnbd"),
    tool("mkfs.ext4", "e2fsprogs"),
    tool("mkfs.xfs", "xfsprogs"),
    tool("losetup", "mount"),
    tool("valgrind", "valgrind"),
    // nbd-tester-client is built from its source, see `tester`.
    tool("make", "make"),
    tool("bison", "bison"),
    tool("xz", "xz-utils"),
    tool("pkg-config", "pkg-config"),
    tool("glib-mkenums", "libglib2.0-dev"),
];

/// What the benchmarks need: the peers, and what counts instructions.
pub(crate) const BENCH: &[Tool] = &[
    tool("fio", "fio"),
    tool("nbdcopy", "libnbd-bin"),
    tool("nbdkit", "nbdkit"),
    tool("qemu-nbd", "qemu-utils"),
    tool("valgrind", "valgrind"),
    // Newer packagings have it in qemu-utils; where that is installed it is there already.
    tool("qemu-storage-daemon", "qemu-system-common"),
];

/// What a bare Debian is made with.
pub(crate) const FRESH: &[Tool] = &[tool("debootstrap", "debootstrap"), tool("unshare", "util-linux")];

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
    // Some source that the project does not need may be out of reach: what counts is the install.
    if let Err(error) = run(apt().arg("update")) {
        println!("warning: {error:#}");
    }
    run(apt().args(["install", "-y", "--no-install-recommends"]).args(missing.iter().map(|t| t.package)))
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

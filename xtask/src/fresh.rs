//! `cargo xtask fresh`: the README's first two commands on a bare Debian, where nothing is that somebody once
//! installed by hand.
//!
//! The system is made by debootstrap from the archive that this machine uses, in a folder of its own, and gets git,
//! gcc and this machine's Rust toolchain (read-only), and a clone of what is committed. The commands run in it with
//! mounts and processes of their own, which are gone when they end. Devices and network are this machine's.

use crate::steps::{Outcome, Steps, run};
use crate::{debian, tools};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the machine of a newcomer has, apart from Rust.
const PACKAGES: &str = "git,gcc,libc6-dev,ca-certificates";

/// Where the project and the toolchain lie in the bare system.
const PROJECT: &str = "root/steadfast";
const RUST: &str = "opt/rust";

/// The README's first two commands.
const COMMANDS: [(&str, &str); 2] = [("demo", "cargo run --release -- demo"), ("test", "cargo xtask test")];

pub(crate) fn fresh(args: &[&str]) -> Result<()> {
    let keep = match args {
        [] => false,
        ["--keep"] => true,
        _ => bail!("unknown arguments: {} (allowed: --keep)", args.join(" ")),
    };
    if !tools::is_root() {
        bail!("a bare Debian is made as root; as another user: sudo -E $(which cargo) xtask fresh");
    }
    let system = crate::target().join("fresh");
    let mut steps = Steps::new(Vec::new());
    steps.step("tools", || tools::ensure(tools::FRESH).map(|()| Outcome::Passed));
    steps.step("debian", || make(&system).map(|()| Outcome::Passed));
    steps.step("clone", || clone(&system).map(|()| Outcome::Passed));
    for (name, line) in COMMANDS {
        steps.step(name, || inside(&system, line).map(|()| Outcome::Passed));
    }
    let result = steps.finish();
    if keep || result.is_err() {
        println!("the system stays, to look at: {}", system.display());
    } else {
        fs::remove_dir_all(&system).with_context(|| format!("cannot remove {}", system.display()))?;
    }
    result
}

/// Makes the bare system anew.
fn make(system: &Path) -> Result<()> {
    if system.exists() {
        fs::remove_dir_all(system).with_context(|| format!("cannot remove {}", system.display()))?;
    }
    let (file, archive) = debian::archive()?;
    println!("archive: {archive} (from {})", file.display());
    run(Command::new("debootstrap")
        .args(["--variant=minbase", "--include", PACKAGES, debian::FLOOR])
        .arg(system)
        .arg(&archive))?;
    // Its own list names what debootstrap was given. How to reach the network is this machine's affair.
    for path in ["/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt"] {
        if Path::new(path).exists() {
            fs::copy(path, inner(system, path)).with_context(|| format!("cannot copy {path}"))?;
        }
    }
    // Debian's installer writes this one; debootstrap does not.
    fs::write(system.join("etc/hosts"), "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
        .context("cannot write etc/hosts")?;
    for entry in fs::read_dir("/etc/apt/apt.conf.d").context("cannot read /etc/apt/apt.conf.d")? {
        let path = entry?.path();
        if fs::read_to_string(&path).is_ok_and(|text| text.contains("Acquire::")) {
            fs::copy(&path, inner(system, &path.display().to_string()))?;
        }
    }
    Ok(())
}

fn inner(system: &Path, path: &str) -> PathBuf {
    system.join(path.trim_start_matches('/'))
}

/// Clones what is committed.
fn clone(system: &Path) -> Result<()> {
    let dirty = Command::new("git").args(["status", "--porcelain"]).current_dir(crate::root()).output()?;
    if !dirty.stdout.is_empty() {
        println!("note: what is not committed is not part of it:");
        print!("{}", String::from_utf8_lossy(&dirty.stdout));
    }
    run(Command::new("git")
        .args(["clone", "--quiet", "--no-hardlinks"])
        .arg(crate::root())
        .arg(system.join(PROJECT)))
}

/// Runs one command of the README in the bare system.
fn inside(system: &Path, command: &str) -> Result<()> {
    let sysroot =
        Command::new("rustc").args(["--print", "sysroot"]).output().context("cannot start rustc")?;
    let sysroot = String::from_utf8(sysroot.stdout)?;
    // Every step of it fails the whole.
    let script = format!(
        "set -e
        mkdir -p \"$2/{RUST}\"
        mount --rbind /dev \"$2/dev\"
        mount -t proc proc \"$2/proc\"
        mount -t sysfs sysfs \"$2/sys\"
        mount --bind -o ro \"$1\" \"$2/{RUST}\"
        exec chroot \"$2\" /usr/bin/env -i HOME=/root TERM=dumb LANG=C.UTF-8 ${{SSL_CERT_FILE:+SSL_CERT_FILE=$SSL_CERT_FILE}} \\
            PATH=/{RUST}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
            sh -c 'cd /{PROJECT} && {command}'"
    );
    println!("$ {command}   # in {}", system.display());
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"])
        .args(["sh", "-c", &script, "sh", sysroot.trim()])
        .arg(system)
        .status()
        .context("cannot start unshare")?;
    if !status.success() {
        bail!("{status}: {command}, in {}", system.display());
    }
    Ok(())
}

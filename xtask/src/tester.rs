//! The NBD project's own test client, `nbd-tester-client`, built from Debian's source package: the program is in no
//! package, and no other judges a server as its authors do.

use crate::debian;
use crate::steps::run;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The release whose source package is taken; its version is not the floor's, whose source is no longer everywhere.
const SUITE: &str = "trixie";

/// What is kept of the build: the program, and the requests that it replays.
const PARTS: [&str; 3] = ["nbd-tester-client", "integrity-test.tr", "integrityhuge-test.tr"];

/// Where the tests of the whole look for it.
pub(crate) const VARIABLE: &str = "STEADFAST_NBD_TESTER";

/// Folder with the program and its files.
pub(crate) fn folder() -> PathBuf {
    crate::target().join("nbd-tester")
}

/// Makes sure that it is here.
pub(crate) fn ensure() -> Result<()> {
    let folder = folder();
    if PARTS.iter().all(|part| folder.join(part).is_file()) {
        println!("nbd-tester-client: {}", folder.display());
        return Ok(());
    }
    println!("nbd-tester-client is missing: built from Debian's source package nbd, once");
    let build = folder.join("build");
    if build.exists() {
        fs::remove_dir_all(&build)?;
    }
    fs::create_dir_all(&build)?;
    let source = fetch(&build)?;
    // Nothing of its documentation is built, whatever its configure script asks for.
    run(Command::new("./configure")
        .args(["--quiet", "--without-gnutls", "--without-libnl"])
        .env("ac_cv_prog_DB2M", "true")
        .current_dir(&source))?;
    let tests = source.join("tests/run");
    run(Command::new("make").args(["--silent", "nbd-tester-client"]).current_dir(&tests))?;
    for part in PARTS {
        fs::copy(tests.join(part), folder.join(part)).with_context(|| format!("the build made no {part}"))?;
    }
    fs::remove_dir_all(&build)?;
    Ok(())
}

/// Brings the source package, whose signatures and sums apt verifies; returns the folder that it unpacks to.
fn fetch(build: &Path) -> Result<PathBuf> {
    let (_, archive) = debian::archive()?;
    let list = build.join("archive.list");
    fs::write(&list, format!("deb-src {archive} {SUITE} main\n"))?;
    fs::create_dir_all(build.join("lists/partial"))?;
    let apt = || {
        let mut command = Command::new("apt-get");
        command.arg("-q").current_dir(build);
        for (option, value) in [
            ("Dir::Etc::sourcelist", list.display().to_string()),
            ("Dir::Etc::sourceparts", "/nonexistent".to_owned()),
            ("Dir::State::lists", build.join("lists").display().to_string()),
            ("APT::Sandbox::User", "root".to_owned()),
        ] {
            command.arg("-o").arg(format!("{option}={value}"));
        }
        command
    };
    run(apt().arg("update"))?;
    run(apt().args(["source", "--download-only", "nbd"]))?;
    let files = fs::read_dir(build)?.flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    let is_source = |path: &&PathBuf| path.to_string_lossy().contains(".orig.tar.");
    let source = files.iter().find(is_source).context("the source package has no .orig.tar file")?;
    let unpacked = build.join("source");
    fs::create_dir(&unpacked)?;
    run(Command::new("tar").args(["--strip-components=1", "-xf"]).arg(source).current_dir(&unpacked))?;
    if !unpacked.join("tests/run/nbd-tester-client.c").is_file() {
        bail!("{} has no tests/run/nbd-tester-client.c", source.display());
    }
    Ok(unpacked)
}

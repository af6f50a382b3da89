//! The NBD project's own test client, as its authors run it against their server, while the driver is replaced.
//!
//! `cargo xtask test` builds it from its source package and says where it is in `STEADFAST_NBD_TESTER`. There is no
//! test of the whole without it: where it is missing, these fail.

use anyhow::{Context, bail};
use serde_json::json;
use std::path::PathBuf;
use std::process::Command;
use steadfast_tests::{Result, Setup, Swapper, TempDir, module, run};

/// Bytes of the export: what the recorded requests of its integrity tests were made on.
const SIZE: u64 = 50 << 20;

/// A file of the test client's.
fn part(name: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os("STEADFAST_NBD_TESTER") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let exe = std::env::current_exe()?;
            let target = exe.ancestors().nth(3).context("the test is not in a target folder")?;
            target.join("nbd-tester")
        }
    };
    let path = folder.join(name);
    if !path.is_file() {
        bail!("{} is missing: `cargo xtask test --only tools` builds it", path.display());
    }
    Ok(path)
}

/// Runs the test client with these options while the driver of a file is replaced by itself again and again.
fn passes(options: &[&str], requests: Option<&str>) -> Result {
    let dir = TempDir::new()?;
    dir.disk("disk.img", SIZE)?;
    let daemon = Setup::device("export1=file@1.1.0:disk.img").start(&dir)?;
    let swapper =
        Swapper::start(&daemon, "export1", vec![(module("file-1.1")?, json!({ "mode": "adopt" }))])?;
    let mut command = Command::new(part("nbd-tester-client")?);
    command.arg("-u").arg(daemon.nbd()).args(["-N", "export1"]).args(options);
    if let Some(name) = requests {
        command.arg("-t").arg(part(name)?);
    }
    let output = run(&mut command)?;
    let swaps = swapper.finish()?;
    println!("{}", swaps.summary());
    // It draws its progress over one line, for megabytes.
    let said = String::from_utf8_lossy(&output.stderr);
    let end: Vec<&str> = said.lines().map(|line| line.rsplit('\r').next().unwrap_or(line)).collect();
    let end = end[end.len().saturating_sub(10)..].join("\n");
    assert!(output.status.success(), "{}: {end}", output.status);
    assert!(swaps.count() > 0, "the driver was never replaced");
    assert_eq!(daemon.device("export1")?["errors"], 0, "requests failed");
    Ok(())
}

#[test]
fn the_handshake_is_as_its_authors_test_it() -> Result {
    passes(&["-h"], None)
}

#[test]
fn requests_of_any_size_are_answered_as_its_authors_test_it() -> Result {
    passes(&["-o"], None)
}

#[test]
fn throughput_reading_and_writing() -> Result {
    passes(&[], None)?;
    passes(&["-w"], None)?;
    passes(&["-w", "-f"], None)
}

#[test]
fn sixty_nine_thousand_recorded_requests_keep_their_data() -> Result {
    passes(&["-i"], Some("integrity-test.tr"))
}

#[test]
fn recorded_requests_of_up_to_42_megabytes_keep_their_data() -> Result {
    passes(&["-i"], Some("integrityhuge-test.tr"))
}

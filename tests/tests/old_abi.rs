//! A binary that was built against ABI 1.0, and is kept as it was, serves in the daemon of today, and is
//! replaced by a driver of today and the other way round.

use anyhow::ensure;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use steadfast_tests::{Daemon, Result, Setup, TempDir, Verified, c_module, test_module};

/// The kept binary, for this type of machine.
fn vintage() -> PathBuf {
    let name = format!("abi-1.0/vintage-{}.so", std::env::consts::ARCH);
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The same driver, built against the header of today, as a newer release.
fn newer(dir: &TempDir) -> Result<PathBuf> {
    c_module(dir, "tests/abi-1.0/vintage.c", "vintage-new", &["RELEASE=\"1.1.0\""])
}

fn contains(file: &Path, text: &str) -> Result<bool> {
    let bytes = std::fs::read(file)?;
    Ok(bytes.windows(text.len()).any(|w| w == text.as_bytes()))
}

/// One update in this mode, which must be done.
fn swap(daemon: &Daemon, module: &Path, mode: &str) -> Result<u64> {
    let receipt = daemon.api()?.update("vol0", module, json!({ "mode": mode }))?;
    ensure!(receipt["outcome"] == "done" && receipt["mode"] == mode, "{mode}: {receipt:#}");
    ensure!(receipt["unload"] == "unloaded", "the old module left memory: {receipt:#}");
    Ok(receipt["adopted"].as_u64().unwrap_or(0))
}

#[test]
#[cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    ignore = "no binary of ABI 1.0 is kept for this type of machine"
)]
fn a_binary_of_abi_1_0_serves_and_is_replaced_in_every_mode() -> Result {
    let dir = TempDir::new()?;
    let (old, new) = (vintage(), newer(&dir)?);
    ensure!(contains(&old, "abi=1.0\0")?, "{} is not the binary of ABI 1.0 any more", old.display());
    let mut daemon = Setup::device(format!("vol0={}:16M", old.display())).start(&dir)?;
    assert_eq!(daemon.device("vol0")?["driver"]["version"], "1.0.0");
    let mut load = [Verified::start(&daemon, "vol0", 0, 8, 16), Verified::start(&daemon, "vol0", 8, 8, 16)];
    load.iter_mut().try_for_each(|l| l.pass(1))?;
    let mut adopted = 0;
    for _ in 0..10 {
        for (module, mode) in [
            (&old, "adopt"),
            (&old, "drain"),
            (&new, "adopt"),
            (&old, "adopt"),
            (&new, "drain"),
            (&old, "drain"),
            (&new, "adopt"),
            (&old, "split"),
        ] {
            load[0].busy(&daemon, "vol0")?;
            adopted += swap(&daemon, module, mode)?;
            load.iter_mut().try_for_each(Verified::check)?;
        }
    }
    // What the interface lacked then, this driver cannot do.
    let receipt = daemon.api()?.update("vol0", &new, json!({ "mode": "split" }))?;
    let reason = receipt["reason"].as_str().unwrap_or_default();
    ensure!(receipt["outcome"] == "refused" && reason.contains("vintage 1.0.0"), "{receipt:#}");
    load.iter_mut().try_for_each(|l| l.pass(1))?;
    let rounds: u64 = load.into_iter().map(Verified::finish).sum::<Result<u64>>()?;
    println!("80 updates, {adopted} requests adopted half-way through, {rounds} rounds of fio");
    assert!(adopted > 0, "no request was in flight at any update");
    let device = daemon.device("vol0")?;
    assert_eq!((&device["errors"], &device["driver"]["version"]), (&json!(0), &json!("1.0.0")), "{device:#}");
    daemon.check_serves("vol0")
}

#[test]
#[cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    ignore = "no binary of ABI 1.0 is kept for this type of machine"
)]
fn a_binary_of_abi_1_0_takes_back_what_another_driver_refused() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = Setup::device(format!("vol0={}:16M", vintage().display())).start(&dir)?;
    let mut load = Verified::start(&daemon, "vol0", 0, 8, 16);
    load.pass(1)?;
    let receipt: Value = daemon.api()?.update("vol0", &test_module("sound")?, json!({}))?;
    assert_eq!(receipt["outcome"], "refused", "another driver without its state: {receipt:#}");
    let broken = c_module(&dir, "tests/abi-1.0/vintage.c", "broken", &["RELEASE=\"1.2.0\"", "FAIL_CONNECT"])?;
    for mode in ["adopt", "drain"] {
        let receipt: Value = daemon.api()?.update("vol0", &broken, json!({ "mode": mode }))?;
        assert_eq!(receipt["outcome"], "rolled_back", "{receipt:#}");
    }
    load.pass(1)?;
    load.finish()?;
    assert_eq!(daemon.device("vol0")?["errors"], 0);
    daemon.check_serves("vol0")
}

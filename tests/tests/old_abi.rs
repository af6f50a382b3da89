//! Binaries that were built against ABI 1.0 and 1.1, and are kept as they were, serve in the daemon of today, and are
//! replaced by a driver of today and the other way round. What ABI 1.2 added does what it says.

use anyhow::ensure;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use steadfast_tests::{Daemon, Result, Setup, TempDir, Verified, c_module, test_module};

/// The binary that is kept of a version, for this type of machine.
fn vintage(abi: &str) -> Result<PathBuf> {
    let name = format!("abi-{abi}/vintage-{}.so", std::env::consts::ARCH);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    ensure!(contains(&path, &format!("abi={abi}\0"))?, "{} is not the binary of ABI {abi}", path.display());
    Ok(path)
}

/// The same driver, built against the header of today, as a newer release.
fn newer(dir: &TempDir) -> Result<PathBuf> {
    c_module(dir, "tests/abi-1.0/vintage.c", "vintage-new", &["RELEASE=\"1.2.0\""])
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
    let (old, new) = (vintage("1.0")?, newer(&dir)?);
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
    let mut daemon = Setup::device(format!("vol0={}:16M", vintage("1.0")?.display())).start(&dir)?;
    let mut load = Verified::start(&daemon, "vol0", 0, 8, 16);
    load.pass(1)?;
    let receipt: Value = daemon.api()?.update("vol0", &test_module("sound")?, json!({}))?;
    assert_eq!(receipt["outcome"], "refused", "another driver without its state: {receipt:#}");
    let broken = c_module(&dir, "tests/abi-1.0/vintage.c", "broken", &["RELEASE=\"1.3.0\"", "FAIL_CONNECT"])?;
    for mode in ["adopt", "drain"] {
        let receipt: Value = daemon.api()?.update("vol0", &broken, json!({ "mode": mode }))?;
        assert_eq!(receipt["outcome"], "rolled_back", "{receipt:#}");
    }
    load.pass(1)?;
    load.finish()?;
    assert_eq!(daemon.device("vol0")?["errors"], 0);
    daemon.check_serves("vol0")
}

#[test]
#[cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    ignore = "no binary of ABI 1.1 is kept for this type of machine"
)]
fn binaries_of_three_versions_of_the_abi_replace_each_other_in_every_mode() -> Result {
    let dir = TempDir::new()?;
    let all = [vintage("1.0")?, vintage("1.1")?, newer(&dir)?];
    let mut daemon = Setup::device(format!("vol0={}:16M", all[1].display())).start(&dir)?;
    assert_eq!(daemon.device("vol0")?["driver"]["version"], "1.1.0");
    let mut load = [Verified::start(&daemon, "vol0", 0, 8, 16), Verified::start(&daemon, "vol0", 8, 8, 16)];
    load.iter_mut().try_for_each(|l| l.pass(1))?;
    let mut adopted = 0;
    // Each to each other; the first one hands nothing back.
    for (next, mode) in [
        (2, "split"),
        (1, "split"),
        (0, "adopt"),
        (1, "drain"),
        (2, "adopt"),
        (0, "split"),
        (2, "drain"),
        (1, "adopt"),
    ] {
        for _ in 0..3 {
            load[0].busy(&daemon, "vol0")?;
            let again = if next == 0 && mode == "split" { "drain" } else { mode };
            let served = daemon.device("vol0")?["driver"]["version"] == ["1.0.0", "1.1.0", "1.2.0"][next];
            adopted += swap(&daemon, &all[next], if served { again } else { mode })?;
            load.iter_mut().try_for_each(Verified::check)?;
        }
    }
    load.iter_mut().try_for_each(|l| l.pass(1))?;
    load.into_iter().try_for_each(|load| load.finish().map(drop))?;
    assert!(adopted > 0, "no request was in flight at any update");
    let device = daemon.device("vol0")?;
    assert_eq!((&device["errors"], &device["driver_faults"]), (&json!(0), &json!(0)), "{device:#}");
    daemon.check_serves("vol0")
}

#[test]
fn what_abi_1_2_added_does_what_it_says_and_a_stale_completion_harms_nobody() -> Result {
    let dir = TempDir::new()?;
    let module = c_module(&dir, "tests/drivers/batches.c", "batches", &[])?;
    let mut daemon = Setup::device(format!("vol0={}:16M", module.display())).start(&dir)?;
    let mut load = [Verified::start(&daemon, "vol0", 0, 8, 16), Verified::start(&daemon, "vol0", 8, 8, 16)];
    load.iter_mut().try_for_each(|l| l.pass(1))?;
    for mode in ["drain", "split", "drain", "split"] {
        load[0].busy(&daemon, "vol0")?;
        swap(&daemon, &module, mode)?;
        load.iter_mut().try_for_each(Verified::check)?;
    }
    load.iter_mut().try_for_each(|l| l.pass(1))?;
    load.into_iter().try_for_each(|load| load.finish().map(drop))?;
    let device = daemon.device("vol0")?;
    assert_eq!(device["errors"], 0, "{device:#}");
    // Every stale completion is on record.
    let (faults, requests) = (device["driver_faults"].as_u64(), device["requests"].as_u64());
    assert!(faults > Some(0) && faults < requests, "{device:#}");
    daemon.check_serves("vol0")
}

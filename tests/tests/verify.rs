//! fio writes, reads and verifies checksums while the driver under the device is replaced.

use serde_json::{Value, json};
use std::path::PathBuf;
use steadfast_tests::{Daemon, Result, Setup, Swapper, Swaps, TempDir, fio, module};

const SWAPS: u64 = 200;

/// Random reads and writes with checksums, and then writes that are all verified at the end, again
/// and again until the driver has been replaced often enough.
fn verify_while_swapping(daemon: &Daemon, steps: Vec<(PathBuf, Value)>) -> Result<Swaps> {
    let uri = daemon.uri("vol0");
    let swapper = Swapper::start(daemon, "vol0", steps)?;
    let common = ["--bs=4k", "--iodepth=32", "--verify=crc32c", "--verify_fatal=1", "--size=48m"];
    let mut rounds = 0;
    while rounds == 0 || (swapper.count() < SWAPS && !swapper.ended()) {
        fio(&uri, &[&common[..], &["--rw=randrw", "--verify_backlog=256"]].concat())?;
        fio(&uri, &[&common[..], &["--rw=randwrite"]].concat())?;
        rounds += 1;
    }
    let swaps = swapper.finish()?;
    println!("{rounds} rounds of fio; {}", swaps.summary());
    assert!(swaps.count() as u64 >= SWAPS, "only {} swaps", swaps.count());
    let device = daemon.device("vol0")?;
    assert_eq!(device["state"], "running");
    assert_eq!(device["errors"], 0, "requests failed: {device:#}");
    let reached = swaps.0.last().map(|r| r["generation_after"].clone());
    assert_eq!(Some(&device["generation"]), reached.as_ref(), "the generation counts every swap");
    Ok(swaps)
}

fn file_daemon(dir: &TempDir) -> Result<Daemon> {
    dir.disk("disk.img", 64 << 20)?;
    let daemon = Setup::device(format!("vol0=file:{}", dir.join("disk.img").display())).start(dir)?;
    daemon.update("vol0", &module("file-1.0")?)?;
    Ok(daemon)
}

#[test]
fn file_up_by_adopting_and_back_by_draining() -> Result {
    let dir = TempDir::new()?;
    let daemon = file_daemon(&dir)?;
    let up = (module("file-1.1")?, json!({ "mode": "adopt" }));
    let back = (module("file-1.0")?, json!({ "mode": "drain" }));
    let swaps = verify_while_swapping(&daemon, vec![up, back])?;
    assert!(swaps.sum("adopted") > 0, "no request was ever in flight at a swap: {}", swaps.summary());
    Ok(())
}

#[test]
fn file_by_draining_both_ways() -> Result {
    let dir = TempDir::new()?;
    let daemon = file_daemon(&dir)?;
    let up = (module("file-1.1")?, json!({ "mode": "drain" }));
    let back = (module("file-1.0")?, json!({ "mode": "drain" }));
    let swaps = verify_while_swapping(&daemon, vec![up, back])?;
    assert_eq!(swaps.sum("adopted"), 0, "draining leaves nothing to adopt");
    Ok(())
}

#[test]
fn file_reloaded_in_the_same_version() -> Result {
    let dir = TempDir::new()?;
    let daemon = file_daemon(&dir)?;
    let swaps = verify_while_swapping(&daemon, vec![(module("file-1.0")?, json!({ "mode": "adopt" }))])?;
    assert!(swaps.sum("adopted") > 0, "no request was ever in flight at a swap: {}", swaps.summary());
    Ok(())
}

#[test]
fn file_past_the_page_cache() -> Result {
    let dir = TempDir::new()?;
    dir.disk("disk.img", 64 << 20)?;
    let spec = format!("vol0=file:{},direct=true", dir.join("disk.img").display());
    let daemon = Setup::device(spec).start(&dir)?;
    verify_while_swapping(&daemon, vec![(module("file-1.1")?, json!({}))])?;
    Ok(())
}

#[test]
fn ram_keeps_its_contents() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=ram:64M").start(&dir)?;
    verify_while_swapping(&daemon, vec![(module("ram")?, json!({}))])?;
    Ok(())
}

#[test]
fn a_port_on_two_queues() -> Result {
    let dir = TempDir::new()?;
    dir.disk("disk.img", 64 << 20)?;
    let spec = format!("vol0=file:{}", dir.join("disk.img").display());
    let daemon = Setup::device(spec).arg("--queues").arg("2").start(&dir)?;
    let (one, other) = (daemon.uri("vol0"), daemon.uri("vol0"));
    let swapper = Swapper::start(&daemon, "vol0", vec![(module("file-1.1")?, json!({}))])?;
    let half =
        ["--bs=4k", "--iodepth=16", "--verify=crc32c", "--verify_fatal=1", "--size=24m", "--rw=randwrite"];
    let mut rounds = 0;
    while rounds == 0 || (swapper.count() < SWAPS && !swapper.ended()) {
        // Two connections, each on a half of its own, spread over the queues.
        let beside = std::thread::spawn({
            let other = other.clone();
            move || fio(&other, &[&half[..], &["--offset=32m"]].concat()).map(|_| ())
        });
        fio(&one, &half)?;
        beside.join().unwrap_or_else(|_| Err(anyhow::anyhow!("fio's thread panicked")))?;
        rounds += 1;
    }
    let swaps = swapper.finish()?;
    println!("{rounds} rounds of fio on two connections; {}", swaps.summary());
    assert!(swaps.count() as u64 >= SWAPS);
    Ok(())
}

//! fio writes, reads and verifies checksums while the driver under the device is replaced.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use steadfast_tests::{Daemon, Result, Setup, Swapper, Swaps, TempDir, fio, module};

const SWAPS: u64 = 200;

/// Random reads and writes with checksums, and then writes that are all verified at the end, while
/// the driver is replaced: again and again, until it has been replaced often enough.
///
/// A client relies on the features it was shown, so fio connects before the swaps begin, to the
/// driver that offers least, `first`.
fn verify_while_swapping(daemon: &Daemon, first: &Path, steps: &[(PathBuf, Value)]) -> Result<Swaps> {
    let common = ["--bs=4k", "--iodepth=32", "--verify=crc32c", "--verify_fatal=1", "--size=60m"];
    let mixes: [&[&str]; 2] = [&["--rw=randrw", "--verify_backlog=256"], &["--rw=randwrite"]];
    let (mut swaps, mut rounds) = (Swaps::default(), 0);
    while rounds < mixes.len() || (swaps.count() as u64) < SWAPS {
        go_back(daemon, first)?;
        let (uri, mix) = (daemon.uri("vol0"), mixes[rounds % mixes.len()]);
        let before = requests(daemon)?;
        let fio = std::thread::spawn(move || fio(&uri, &[&common[..], mix].concat()));
        while requests(daemon)? == before && !fio.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let swapper = Swapper::start(daemon, "vol0", steps.to_vec())?;
        fio.join().unwrap_or_else(|_| Err(anyhow::anyhow!("fio's thread panicked")))?;
        swaps.extend(swapper.finish()?);
        rounds += 1;
        assert!(rounds < 100, "only {} swaps in {rounds} rounds of fio", swaps.count());
    }
    println!("{rounds} rounds of fio; {}", swaps.summary());
    let device = daemon.device("vol0")?;
    assert_eq!(device["state"], "running");
    assert_eq!(device["errors"], 0, "requests failed: {device:#}");
    Ok(swaps)
}

fn requests(daemon: &Daemon) -> Result<u64> {
    Ok(daemon.device("vol0")?["requests"].as_u64().unwrap_or(0))
}

/// Updates to the first release, as soon as no client relies on more than that offers.
fn go_back(daemon: &Daemon, first: &Path) -> Result {
    let mut tries = 0;
    loop {
        match daemon.update("vol0", first) {
            Ok(_) => return Ok(()),
            Err(error) if tries == 500 => return Err(error),
            // fio's connection is still being taken down.
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
        tries += 1;
    }
}

fn file_daemon(dir: &TempDir) -> Result<Daemon> {
    dir.disk("disk.img", 64 << 20)?;
    Setup::device(format!("vol0=file@1.0.0:{}", dir.join("disk.img").display())).start(dir)
}

#[test]
fn file_up_by_adopting_and_back_by_draining() -> Result {
    let dir = TempDir::new()?;
    let daemon = file_daemon(&dir)?;
    let up = (module("file-1.1")?, json!({ "mode": "adopt" }));
    let back = (module("file-1.0")?, json!({ "mode": "drain" }));
    let swaps = verify_while_swapping(&daemon, &module("file-1.0")?, &[up, back])?;
    assert!(swaps.adopted() > 0, "no request was ever in flight at a swap: {}", swaps.summary());
    Ok(())
}

#[test]
fn file_by_draining_both_ways() -> Result {
    let dir = TempDir::new()?;
    let daemon = file_daemon(&dir)?;
    let up = (module("file-1.1")?, json!({ "mode": "drain" }));
    let back = (module("file-1.0")?, json!({ "mode": "drain" }));
    let swaps = verify_while_swapping(&daemon, &module("file-1.0")?, &[up, back])?;
    assert_eq!(swaps.adopted(), 0, "draining leaves nothing to adopt");
    Ok(())
}

#[test]
fn file_reloaded_in_the_same_version() -> Result {
    let dir = TempDir::new()?;
    let daemon = file_daemon(&dir)?;
    let module = module("file-1.0")?;
    let swaps = verify_while_swapping(&daemon, &module, &[(module.clone(), json!({ "mode": "adopt" }))])?;
    assert!(swaps.adopted() > 0, "no request was ever in flight at a swap: {}", swaps.summary());
    Ok(())
}

#[test]
fn file_past_the_page_cache() -> Result {
    let dir = TempDir::new()?;
    dir.disk("disk.img", 64 << 20)?;
    let spec = format!("vol0=file:{},direct=true", dir.join("disk.img").display());
    let daemon = Setup::device(spec).start(&dir)?;
    let module = module("file-1.1")?;
    verify_while_swapping(&daemon, &module, &[(module.clone(), json!({}))])?;
    Ok(())
}

#[test]
fn ram_keeps_its_contents() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=ram:64M").start(&dir)?;
    let module = module("ram")?;
    verify_while_swapping(&daemon, &module, &[(module.clone(), json!({}))])?;
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

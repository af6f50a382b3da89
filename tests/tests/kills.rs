//! `kill -9` at any moment: while the daemon serves, starts, replaces drivers, adds and removes adapters. After each,
//! the next start finds what was flushed, every receipt that was answered, whole adapters or none, and no litter.
//!
//! A short run by default; `STEADFAST_LONG=1` for five hundred kills.

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use steadfast_tests::nbd::Client;
use steadfast_tests::{Daemon, Result, Setup, TempDir, module, steadfast};

const BLOCK: u64 = 4096;
const BLOCKS: u64 = 256;

/// A seed says everything that is not up to the machine.
struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What has been promised so far, over all lives of the daemon.
#[derive(Default)]
struct Promised {
    /// For each block, the newest version that was flushed.
    flushed: BTreeMap<u64, u64>,
    /// The newest version that was sent to any block.
    sent: u64,
    /// Receipts that were answered: number and outcome.
    receipts: BTreeMap<u64, Value>,
}

/// What happened in one life.
enum Seen {
    Sent(u64),
    Flushed(Vec<(u64, u64)>),
    Receipt(Box<Value>),
}

fn content(block: u64, version: u64) -> Vec<u8> {
    let mut bytes = vec![version as u8; BLOCK as usize];
    bytes[..8].copy_from_slice(&version.to_le_bytes());
    bytes[8..16].copy_from_slice(&block.to_le_bytes());
    bytes
}

fn setup() -> Setup {
    Setup::device("vol0=file@1.0.0:disk.img")
}

/// Writes versions and flushes, until the daemon is gone.
fn writer(
    daemon: &Daemon,
    mut version: u64,
    mut rng: Rng,
    seen: mpsc::Sender<Seen>,
) -> Result<JoinHandle<Result>> {
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    Ok(std::thread::spawn(move || {
        loop {
            let mut batch = Vec::new();
            for _ in 0..=rng.below(8) {
                version += 1;
                let block = rng.below(BLOCKS);
                let _ = seen.send(Seen::Sent(version));
                match client.write(block * BLOCK, &content(block, version), false) {
                    Ok(Ok(_)) => batch.push((block, version)),
                    Ok(Err(error)) => bail!("a write failed with NBD error {error}"),
                    Err(_) => return Ok(()),
                }
            }
            match client.flush() {
                Ok(Ok(_)) => drop(seen.send(Seen::Flushed(batch))),
                Ok(Err(error)) => bail!("a flush failed with NBD error {error}"),
                Err(_) => return Ok(()),
            }
        }
    }))
}

/// Replaces the driver, back and forth, until the daemon is gone.
fn updater(daemon: &Daemon, seen: mpsc::Sender<Seen>) -> Result<JoinHandle<Result>> {
    let mut api = daemon.api()?;
    let modules = [module("file-1.1")?, module("file-1.0")?];
    Ok(std::thread::spawn(move || {
        for module in modules.iter().cycle() {
            let Ok(receipt) = api.update("vol0", module, json!({})) else { break };
            let _ = seen.send(Seen::Receipt(Box::new(receipt)));
        }
        Ok(())
    }))
}

/// Adds an adapter of two ports and removes it, until the daemon is gone.
fn changer(daemon: &Daemon) -> JoinHandle<Result> {
    let control = daemon.control().to_owned();
    std::thread::spawn(move || {
        loop {
            let add = ["adapter", "add", "san0=ram", "--port", "a:1M", "--port", "b:1M"];
            for args in [&add[..], &["adapter", "remove", "san0"]] {
                let output = std::process::Command::new(steadfast()?)
                    .env("STEADFAST_SOCKET", &control)
                    .args(args)
                    .output()?;
                if !output.status.success() {
                    return Ok(());
                }
            }
        }
    })
}

/// Everything that was promised is so. Runs beside a daemon that has just come up.
fn check(daemon: &Daemon, promised: &Promised) -> Result {
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    for (block, version) in &promised.flushed {
        let found = match client.read(block * BLOCK, BLOCK as u32)? {
            Ok(found) => found,
            Err(error) => bail!("block {block} cannot be read: NBD error {error}"),
        };
        let now = u64::from_le_bytes(found[..8].try_into()?);
        ensure!(
            now >= *version && now <= promised.sent && found == content(*block, now),
            "block {block}: version {version} was flushed, {now} is there"
        );
    }
    let mut api = daemon.api()?;
    let (_, all) = api.get("/v1/receipts?limit=1000")?;
    let all: BTreeMap<u64, &Value> = all
        .as_array()
        .context("receipts are a list")?
        .iter()
        .filter_map(|r| Some((r["id"].as_u64()?, r)))
        .collect();
    let oldest = all.keys().next().copied().unwrap_or(0);
    for (id, receipt) in promised.receipts.range(oldest..) {
        let kept = all.get(id).with_context(|| format!("receipt {id} was answered and is gone"))?;
        ensure!(
            kept["outcome"] == receipt["outcome"],
            "receipt {id}: {receipt:#} was answered, {kept:#} is kept"
        );
    }
    let ports: Vec<bool> = ["san0-a", "san0-b"]
        .iter()
        .map(|port| Ok(api.get(&format!("/v1/ports/{port}"))?.0 == 200))
        .collect::<Result<_>>()?;
    ensure!(ports[0] == ports[1], "half an adapter is left: {ports:?}");
    if ports[0] {
        let output = daemon.cli(&["adapter", "remove", "san0"])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Files under a folder.
fn files(folder: &Path) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => all.extend(files(&entry.path())?),
            false => all.push(entry.path().display().to_string()),
        }
    }
    Ok(all)
}

/// Starts a daemon and kills it before it is ready, or soon after.
fn killed_while_it_starts(dir: &TempDir, rng: &mut Rng) -> Result {
    let log = std::fs::File::options().create(true).append(true).open(dir.join("daemon.log"))?;
    let mut child = std::process::Command::new(steadfast()?)
        .args(["serve", "--device", "vol0=file@1.0.0:disk.img", "--nbd", "unix:nbd.sock", "--control"])
        .args(["control.sock", "--store", "store"])
        .current_dir(dir.path())
        .stdin(std::process::Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    std::thread::sleep(Duration::from_micros(rng.below(80_000)));
    child.kill()?;
    child.wait()?;
    Ok(())
}

fn kills(count: u64) -> Result {
    let dir = TempDir::new()?;
    dir.disk("disk.img", BLOCKS * BLOCK)?;
    let (mut rng, mut promised) = (Rng(0x5eed), Promised::default());
    for round in 0..count {
        if round % 4 == 1 {
            killed_while_it_starts(&dir, &mut rng)?;
            continue;
        }
        let mut daemon = setup().start(&dir).with_context(|| format!("start {round}"))?;
        check(&daemon, &promised).with_context(|| format!("after kill {round}; seed 0x5eed"))?;
        let (seen, log) = mpsc::channel();
        let mut threads = vec![writer(&daemon, promised.sent, Rng(rng.below(u64::MAX) | 1), seen.clone())?];
        match round % 4 {
            2 => threads.push(updater(&daemon, seen.clone())?),
            3 => threads.push(changer(&daemon)),
            _ => {}
        }
        drop(seen);
        std::thread::sleep(Duration::from_micros(rng.below(300_000)));
        daemon.kill();
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a thread of the test panicked"))??;
        }
        for event in log {
            match event {
                Seen::Sent(version) => promised.sent = version,
                Seen::Flushed(batch) => promised.flushed.extend(batch),
                Seen::Receipt(receipt) => {
                    let id = receipt["id"].as_u64().context("a receipt has a number")?;
                    promised.receipts.insert(id, *receipt);
                }
            }
        }
    }
    let mut daemon = setup().start(&dir)?;
    check(&daemon, &promised)?;
    ensure!(daemon.stop()?.success(), "a clean stop at the end");
    let left = files(&dir.join("store"))?;
    println!(
        "{count} kills; {} blocks flushed, {} receipts answered; files left: {left:#?}",
        promised.flushed.len(),
        promised.receipts.len()
    );
    ensure!(promised.flushed.len() > 50 && promised.receipts.len() > 2, "too little was tried");
    ensure!(left.len() < 20, "{} files are left: {left:#?}", left.len());
    Ok(())
}

#[test]
fn nothing_that_was_promised_is_lost_by_any_kill() -> Result {
    kills(if std::env::var_os("STEADFAST_LONG").is_some() { 500 } else { 48 })
}

#[test]
fn what_is_lost_is_found_out() -> Result {
    let dir = TempDir::new()?;
    dir.disk("disk.img", BLOCKS * BLOCK)?;
    let daemon = setup().start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    assert_eq!(client.write(BLOCK, &content(1, 7), true)?, Ok(vec![]));
    let promised = |version, sent| Promised { flushed: [(1, version)].into(), sent, ..Promised::default() };
    check(&daemon, &promised(7, 7))?;
    assert!(check(&daemon, &promised(8, 9)).is_err(), "a newer version was flushed");
    assert!(check(&daemon, &promised(5, 6)).is_err(), "nobody sent what is there");
    let receipt = daemon.update("vol0", &module("file-1.0")?)?;
    let id = receipt["id"].as_u64().context("a number")?;
    let answered = |id, receipt| Promised { receipts: [(id, receipt)].into(), ..Promised::default() };
    check(&daemon, &answered(id, receipt.clone()))?;
    assert!(check(&daemon, &answered(id, json!({ "outcome": "refused" }))).is_err(), "another outcome");
    assert!(check(&daemon, &answered(id + 1, receipt)).is_err(), "no such receipt");
    Ok(())
}

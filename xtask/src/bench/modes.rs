//! The pause of a swap by phase and mode, on backends that take 0, 1 and 10 ms: *adopt* must stay flat
//! while *drain* grows. Beside it qemu-storage-daemon's `blockdev-reopen` on a node as slow.

use super::Effort;
use super::qsd::Qsd;
use super::server::here;
use super::stats::Spread;
use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};
use steadfast_tests::load::{Load, Shape};
use steadfast_tests::{Setup, TempDir, module};

/// 4 KiB reads at depth 32.
const SHAPE: Shape = Shape { size: 4096, depth: 32, write: false };
const MODES: [&str; 3] = ["adopt", "split", "drain"];

/// Every mode on every backend.
pub(crate) fn measure(effort: Effort) -> Result<Value> {
    let swaps = if effort.quick { 20 } else { 200 };
    let with_peer = here("qemu-storage-daemon");
    let mut rows = Vec::new();
    for latency_us in [0, 1000, 10_000] {
        println!(
            "\nbackend of {} ms, {swaps} swaps under 4 KiB reads at depth {}",
            latency_us / 1000,
            SHAPE.depth
        );
        let peer = if with_peer { Some(reopen(latency_us, swaps)?) } else { None };
        for mode in MODES {
            let mut row = steadfast(latency_us, mode, swaps)?;
            if let Some(peer) = peer {
                row["qemu-storage-daemon"] = peer.json();
            }
            rows.push(row);
        }
        if let Some(peer) = peer {
            println!("  qemu-s-d, blockdev-reopen  {peer}");
        }
    }
    Ok(Value::Array(rows))
}

fn steadfast(latency_us: u64, mode: &str, swaps: usize) -> Result<Value> {
    let dir = TempDir::new()?;
    // Requests that wait are adopted as what they are, begun; in the other modes they may be handed back.
    let spec = format!("vol0=delay:1G,fixed_us={latency_us},hand_back={}", mode != "adopt");
    let daemon = Setup::device(spec).start(&dir)?;
    let (mut api, driver) = (daemon.api()?, module("delay")?);
    let load = Load::start(daemon.nbd(), "vol0", SHAPE)?;
    std::thread::sleep(Duration::from_millis(200));
    let mut receipts = Vec::new();
    for n in 0..swaps {
        let receipt = api.update("vol0", &driver, json!({ "mode": mode }))?;
        ensure!(receipt["outcome"] == "done", "swap {n} in mode {mode} was not done: {receipt:#}");
        receipts.push(receipt);
        std::thread::sleep(Duration::from_millis(10));
    }
    load.finish()?;
    let pause: Vec<u64> = receipts.iter().filter_map(|r| r["pause_ns"].as_u64()).collect();
    let pause = Spread::of_ns(&pause);
    let sum = |field: &str| receipts.iter().filter_map(|r| r[field].as_u64()).sum::<u64>();
    let (held, drained) = (sum("held"), sum("drained"));
    let (adopted, back) = (sum("adopted"), sum("handed_back"));
    println!("  {mode:<5} pause                {pause}");
    let phases = phases(&receipts);
    let line: Vec<String> =
        phases.iter().map(|(name, s)| format!("{name} {:.1}/{:.1}", s.p50, s.p99)).collect();
    println!("        p50/p99 of each phase, us: {}", line.join(", "));
    println!("        requests adopted {adopted}, handed back {back}, drained {drained}, held {held}");
    let phases: Map<String, Value> = phases.into_iter().map(|(name, s)| (name, s.json())).collect();
    Ok(json!({
        "latency_us": latency_us, "mode": mode, "pause": pause.json(), "phases": phases,
        "adopted": adopted, "handed_back": back, "drained": drained, "held": held,
    }))
}

/// The times of each phase, in the order of the receipts.
fn phases(receipts: &[Value]) -> Vec<(String, Spread)> {
    let of = |receipt: &Value| receipt["phases"].as_array().cloned().unwrap_or_default();
    let names = receipts.first().map(of).unwrap_or_default();
    let named = names.iter().filter_map(|p| p["phase"].as_str());
    let spread = |name: &str| {
        let times = receipts.iter().flat_map(of).filter(|p| p["phase"] == name);
        let ns: Vec<u64> = times.filter_map(|p| p["ns"].as_u64()).collect();
        (name.to_owned(), Spread::of_ns(&ns))
    };
    named.map(spread).collect()
}

/// The peer's command under the same load.
fn reopen(latency_us: u64, swaps: usize) -> Result<Spread> {
    let mut qsd = Qsd::slow(latency_us)?;
    let load = Load::start(&qsd.socket, "vol0", SHAPE)?;
    std::thread::sleep(Duration::from_millis(200));
    let mut times = Vec::new();
    for _ in 0..swaps {
        let begin = Instant::now();
        qsd.swap()?;
        times.push(begin.elapsed().as_nanos() as u64);
        std::thread::sleep(Duration::from_millis(10));
    }
    load.finish()?;
    Ok(Spread::of_ns(&times))
}

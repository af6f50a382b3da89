//! What the activation of one port costs the others: four ports under fio, one of them initialised anew
//! again and again, over as long a time in which nobody touches it.

use super::Effort;
use super::server::here;
use super::stats::beside;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use steadfast_tests::{Daemon, Setup, TempDir, fio_all};

/// The first is activated; the others are its neighbours, some of them on the same queue.
const PORTS: [&str; 4] = ["vol0", "vol1", "vol2", "vol3"];
const EACH: Duration = Duration::from_millis(50);
/// Requests per second on each port, so that the processor is idle at times and what an activation does
/// can be told from load.
const RATE: &str = "--rate_iops=2000";

/// Latencies in microseconds: of the port that is activated, and of the others.
#[derive(Default)]
struct Latencies {
    own: Vec<f64>,
    others: Vec<f64>,
}

/// Turns without activations and with them.
pub(crate) fn measure(effort: Effort) -> Result<Value> {
    if !here("fio") {
        return Ok(json!({ "skipped": "fio is not installed" }));
    }
    let (turns, count) = if effort.quick { (1, 50) } else { (4, 50) };
    let dir = TempDir::new()?;
    let setup = PORTS.iter().fold(Setup::default(), |s, port| s.and_device(format!("{port}=ram:64M")));
    let daemon = setup.arg("--queues").arg("2").start(&dir)?;
    let before = generations(&daemon)?;
    let (mut calm, mut moved) = (Latencies::default(), Latencies::default());
    for _ in 0..turns {
        stretch(&daemon, 0, count, &mut calm)?;
        stretch(&daemon, count, count, &mut moved)?;
    }
    let after = generations(&daemon)?;
    let activations = turns * count;
    ensure!(
        after[1..] == before[1..] && after[0] == before[0] + activations as u64,
        "generations of {PORTS:?} before {activations} activations: {before:?}, after: {after:?}"
    );
    println!("{activations} activations of vol0, one each {} ms, under fio on four ports:", EACH.as_millis());
    println!("  errors 0; generations before {before:?}, after {after:?}: those of the others did not move");
    println!("\nthe three others, {} requests", moved.others.len());
    let others = beside(&calm.others, &moved.others);
    println!("\nvol0 itself, {} requests", moved.own.len());
    let own = beside(&calm.own, &moved.own);
    Ok(json!({
        "activations": activations, "errors": 0, "generations": { "before": before, "after": after },
        "others": others, "own": own,
    }))
}

/// fio on all ports for as long as `length` activations take; `activations` of them are done.
fn stretch(daemon: &Daemon, activations: usize, length: usize, into: &mut Latencies) -> Result<()> {
    let uris = PORTS.map(|port| (port, daemon.uri(port)));
    let time = EACH * length as u32 + Duration::from_secs(1);
    let runtime = format!("--runtime={}ms", time.as_millis());
    let fio = std::thread::spawn(move || {
        let jobs: Vec<(&str, &str)> = uris.iter().map(|(port, uri)| (*port, uri.as_str())).collect();
        let load = ["--rw=randrw", "--rwmixread=70", "--bs=4k", "--iodepth=4", "--size=64m"];
        let how = [RATE, &runtime, "--time_based", "--norandommap", "--output-format=json+"];
        fio_all(&jobs, &[&load[..], &how[..]].concat())
    });
    std::thread::sleep(Duration::from_millis(500));
    let done = activate(daemon, activations);
    let under_load = !fio.is_finished();
    let Ok(report) = fio.join() else { bail!("fio's thread panicked") };
    let report = report?;
    done?;
    ensure!(under_load, "fio ended before the {activations} activations did");
    for job in report["jobs"].as_array().context("fio's report has no jobs")? {
        let own = job["jobname"] == PORTS[0];
        let values = latencies(job)?;
        if own { into.own.extend(values) } else { into.others.extend(values) }
    }
    Ok(())
}

/// Each with another number of slots, which takes a new initialisation.
fn activate(daemon: &Daemon, count: usize) -> Result<()> {
    let mut api = daemon.api()?;
    for n in 0..count {
        let turn = Instant::now();
        let slots = if n % 2 == 0 { "512" } else { "1024" };
        api.save(PORTS[0], json!({ "io_slots": slots }))?;
        api.activate(PORTS[0], &json!({})).with_context(|| format!("activation {n}"))?;
        std::thread::sleep(EACH.saturating_sub(turn.elapsed()));
    }
    Ok(())
}

fn generations(daemon: &Daemon) -> Result<Vec<u64>> {
    let of = |port: &&str| daemon.device(port)?["generation"].as_u64().context("a device without generation");
    PORTS.iter().map(of).collect()
}

/// Every request's latency, microseconds, from the bins of fio's report.
fn latencies(job: &Value) -> Result<Vec<f64>> {
    let mut all = Vec::new();
    for side in ["read", "write"] {
        let bins = job[side]["clat_ns"]["bins"].as_object();
        let bins = bins.with_context(|| format!("fio's report has no latencies of {side}s"))?;
        for (ns, count) in bins {
            let us = ns.parse::<f64>()? / 1000.0;
            all.resize(all.len() + count.as_u64().unwrap_or(0) as usize, us);
        }
    }
    Ok(all)
}

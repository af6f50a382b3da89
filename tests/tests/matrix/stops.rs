//! The daemon is told to stop in the midst of an update: a daemon for each cell.

use crate::bench::{Bench, DONE, Wrong, wait_until};
use crate::cells::{gates, is_old};
use crate::table::Table;
use anyhow::{Context, ensure};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use steadfast_tests::nbd::Client;
use steadfast_tests::{Result, process};

/// NBD_ESHUTDOWN: the server stops.
const SHUTDOWN: u32 = 108;

pub(crate) fn all(queues: u32, mode: &'static str, table: &mut Table) -> Result {
    for (phase, at, _) in gates(mode) {
        // What is to be taken over must still be in flight when the pause comes, on any machine.
        let mut bench = Bench::idle(queues, mode, if at == "adopt" { 3000 } else { 300 })?;
        if is_old(at) {
            bench.update(Wrong { times: 1, ..Wrong::new(at, "gate") }, 45_000, DONE)?;
        }
        let now = match at {
            "probe" => {
                std::fs::write(bench.dir.join("probe"), "gate")?;
                Wrong::NOTHING
            }
            "reconnect" => Wrong::new("connect", "error"),
            _ if is_old(at) => Wrong::NOTHING,
            _ => Wrong { times: 1, ..Wrong::new(at, "gate") },
        };
        stop(&mut bench, Some(now)).with_context(|| format!("stop in {phase}, mode {mode}"))?;
        table.ran(phase, "stop", "clean");
    }
    if mode != "adopt" {
        let mut bench = Bench::idle(queues, mode, 4000)?;
        stop(&mut bench, None).with_context(|| format!("stop in pending, mode {mode}"))?;
        table.ran("pending", "stop", "clean");
    }
    Ok(())
}

/// Stops the daemon while the update waits: at a gate, or for slow requests. It must end by itself, with
/// 0, and until its connection ends no client may see any error but that the server stops.
fn stop(bench: &mut Bench, wrong: Option<Wrong<'_>>) -> Result {
    let (end, served) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut client = Client::connect(bench.daemon.nbd(), "vol0")?;
    std::thread::scope(|scope| {
        let (end, served) = (&end, &served);
        let writer = scope.spawn(move || -> Result {
            while !end.load(Ordering::Acquire) {
                match client.write(1 << 20, &[7; 4096], false) {
                    Ok(Ok(_)) => served.fetch_add(1, Ordering::Release),
                    Ok(Err(SHUTDOWN)) | Err(_) => break,
                    Ok(Err(error)) => anyhow::bail!("a write failed with NBD error {error}"),
                };
            }
            Ok(())
        });
        let stopped = stop_under(bench, wrong, served);
        end.store(true, Ordering::Release);
        if stopped.is_err() {
            bench.daemon.kill();
        }
        writer.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the writer panicked")))?;
        stopped
    })
}

fn stop_under(bench: &mut Bench, wrong: Option<Wrong<'_>>, served: &AtomicU64) -> Result {
    wait_until(|| served.load(Ordering::Acquire) > 4, "writes are served")?;
    // Requests in flight that the new driver has to convert, or the old one to finish.
    let slow = bench.slow_client()?;
    let updating = match wrong {
        Some(wrong) => bench.update_to_gate(wrong)?,
        None => {
            let (mut api, module) = (bench.daemon.api()?, bench.next_module());
            let options = json!({ "mode": bench.mode, "params": { "at": "none" } });
            let thread = std::thread::spawn(move || api.update("vol0", &module, options));
            let mut api = bench.daemon.api()?;
            wait_until(|| api.get("/v1/devices/vol0").is_ok_and(|(_, d)| d["state"] == "held"), "held")?;
            thread
        }
    };
    process::signal(bench.daemon.pid(), libc::SIGTERM);
    // It may begin to stop before the driver goes on.
    std::thread::sleep(Duration::from_millis(30));
    let _ = std::fs::remove_file(bench.gate());
    let status = bench.daemon.stopped()?;
    ensure!(status.code() == Some(0), "a clean stop, {status}:\n{}", bench.daemon.log());
    drop(slow);
    // The answer may be lost with the connection; if it came, then it is one that was promised.
    if let Ok(Ok(receipt)) = updating.join() {
        let outcome = receipt["outcome"].as_str().unwrap_or_default();
        ensure!(["done", "rolled_back", "refused"].contains(&outcome), "{receipt:#}");
    }
    Ok(())
}

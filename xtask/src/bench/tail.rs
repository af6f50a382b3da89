//! What swaps cost the slowest requests: latency percentiles with a swap each 100 ms, over those without,
//! in turns of one run.

use super::Effort;
use super::server::{Backing, SIZE, fill};
use super::stats::beside;
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use steadfast_tests::load::{Load, Shape};
use steadfast_tests::{Daemon, Setup, TempDir, module};

/// 4 KiB reads at a depth that leaves the processor idle at times, so that a swap can be told from load.
const SHAPE: Shape = Shape { size: 4096, depth: 4, write: false };
const EACH: Duration = Duration::from_millis(100);

/// On memory and on a file.
pub(crate) fn measure(effort: Effort) -> Result<Value> {
    let (turns, seconds) = if effort.quick { (2, 2) } else { (5, 10) };
    let mut rows = Vec::new();
    for backing in [Backing::Memory, Backing::File] {
        let dir = TempDir::new()?;
        let (spec, driver) = match backing {
            Backing::File => {
                fill(&dir.join("disk.img"))?;
                (format!("vol0=file:{}", dir.join("disk.img").display()), "file-1.1")
            }
            _ => (format!("vol0=ram:{SIZE}"), "ram"),
        };
        let daemon = Setup::device(spec).start(&dir)?;
        let (mut with, mut without, mut swaps) = (Vec::new(), Vec::new(), 0);
        for _ in 0..turns {
            without.extend(latencies(&daemon, Duration::from_secs(seconds), None, &mut 0)?);
            with.extend(latencies(&daemon, Duration::from_secs(seconds), Some(driver), &mut swaps)?);
        }
        println!("\n{}: {swaps} swaps, one each 100 ms, {} requests of 4 KiB", backing.name(), with.len());
        let latency = beside(&without, &with);
        rows.push(json!({
            "backing": backing.name(), "swaps": swaps, "requests": with.len(), "latency": latency,
        }));
    }
    Ok(Value::Array(rows))
}

/// Latencies of one stretch, microseconds; with swaps to this driver if there is one.
fn latencies(daemon: &Daemon, time: Duration, driver: Option<&str>, swaps: &mut u64) -> Result<Vec<f64>> {
    let driver = driver.map(module).transpose()?;
    let mut api = daemon.api()?;
    let load = Load::start(daemon.nbd(), "vol0", SHAPE)?;
    let begin = Instant::now();
    while begin.elapsed() < time {
        let turn = Instant::now();
        if let Some(driver) = &driver {
            let receipt = api.update("vol0", driver, json!({}))?;
            ensure!(receipt["outcome"] == "done", "a swap was not done: {receipt:#}");
            *swaps += 1;
        }
        std::thread::sleep(EACH.saturating_sub(turn.elapsed()));
    }
    let spans = load.finish()?;
    Ok(spans.iter().map(|s| (s.end - s.begin) as f64 / 1000.0).collect())
}

//! What a trial costs the device that it is made beside: reads per second and latencies with every read
//! copied to a candidate, over those without, in turns of one run.

use super::Effort;
use super::server::{Backing, SIZE, fill};
use super::stats::{beside, median};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use steadfast_tests::load::{Load, Shape};
use steadfast_tests::{Daemon, Setup, TempDir, module};

/// 4 KiB reads: few at a time for latencies, many for what the queue can do at most.
const DEPTHS: [usize; 2] = [4, 32];

/// One stretch of load.
#[derive(Default)]
struct Series {
    per_second: Vec<f64>,
    latencies_us: Vec<f64>,
    compared: u64,
    skipped: u64,
}

/// On memory and on a file.
pub(crate) fn measure(effort: Effort) -> Result<Value> {
    let (turns, seconds) = if effort.quick { (2, 1) } else { (5, 4) };
    let mut rows = Vec::new();
    for backing in [Backing::Memory, Backing::File] {
        let dir = TempDir::new()?;
        let (spec, candidate) = match backing {
            Backing::File => {
                fill(&dir.join("disk.img"))?;
                (format!("vol0=file@1.0.0:{}", dir.join("disk.img").display()), "file-1.1")
            }
            _ => (format!("vol0=ram:{SIZE}"), "ram"),
        };
        let daemon = Setup::device(spec).start(&dir)?;
        let candidate = module(candidate)?;
        for depth in DEPTHS {
            let (mut without, mut with) = (Series::default(), Series::default());
            for _ in 0..turns {
                let time = Duration::from_secs(seconds);
                stretch(&daemon, depth, time, None, &mut without)?;
                stretch(&daemon, depth, time, Some(&candidate), &mut with)?;
            }
            rows.push(report(backing, depth, &without, &with));
        }
    }
    Ok(Value::Array(rows))
}

fn report(backing: Backing, depth: usize, without: &Series, with: &Series) -> Value {
    let (before, during) = (median(&without.per_second), median(&with.per_second));
    let ratio = during / before.max(1.0);
    println!("\n{}, 4 KiB reads at depth {depth}:", backing.name());
    println!("  reads per second {before:.0} without a trial, {during:.0} with: {ratio:.2}x");
    println!("  compared {}, not tried because the candidate was busy {}", with.compared, with.skipped);
    let latencies = beside(&without.latencies_us, &with.latencies_us);
    json!({
        "backing": backing.name(), "depth": depth, "without_per_second": before, "with_per_second": during,
        "ratio": ratio, "compared": with.compared, "skipped": with.skipped, "latency": latencies,
    })
}

/// Reads for a while; with a candidate on trial for just that time if there is one.
fn stretch(
    daemon: &Daemon,
    depth: usize,
    time: Duration,
    candidate: Option<&Path>,
    into: &mut Series,
) -> Result<()> {
    let trial = candidate.map(|module| begin(daemon, module, time)).transpose()?;
    let load = Load::start(daemon.nbd(), "vol0", Shape { size: 4096, depth, write: false })?;
    let begin = Instant::now();
    std::thread::sleep(time);
    let spans = load.finish()?;
    into.per_second.push(spans.len() as f64 / begin.elapsed().as_secs_f64());
    into.latencies_us.extend(spans.iter().map(|s| (s.end - s.begin) as f64 / 1000.0));
    let Some(trial) = trial else { return Ok(()) };
    let Ok(receipt) = trial.join() else { bail!("the thread of the trial panicked") };
    let receipt = receipt?;
    let report = &receipt["shadow"];
    ensure!(report["equal"] == true, "the trial speaks against the candidate: {receipt:#}");
    let number = |name: &str| report[name].as_u64().with_context(|| format!("a trial without `{name}`"));
    into.compared += number("compared")?;
    into.skipped += number("skipped")?;
    Ok(())
}

type Trial = std::thread::JoinHandle<Result<Value>>;

/// Puts a candidate on trial for longer than the load takes, and waits until it is.
fn begin(daemon: &Daemon, module: &Path, time: Duration) -> Result<Trial> {
    let (mut api, module) = (daemon.api()?, module.to_owned());
    let duration_ms = (time + Duration::from_millis(300)).as_millis() as u64;
    let options = json!({ "shadow": { "duration_ms": duration_ms, "only": true } });
    let trial = std::thread::spawn(move || api.update("vol0", &module, options));
    let begin = Instant::now();
    while daemon.device("vol0")?["shadow"].is_null() {
        if trial.is_finished() || begin.elapsed() > Duration::from_secs(10) {
            bail!("no trial of {} begins", daemon.device("vol0")?["driver"]);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(trial)
}

//! The pause of a swap under load, as the receipt says and as a client sees it, beside
//! qemu-storage-daemon's `blockdev-reopen`.

use super::Effort;
use super::qsd::Qsd;
use super::server::{Backing, SIZE, fill, here};
use super::stats::Spread;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use steadfast_tests::load::{Load, Shape, Span};
use steadfast_tests::{Setup, TempDir, module};

/// 4 KiB reads at depth 32.
const SHAPE: Shape = Shape { size: 4096, depth: 32, write: false };
/// Between two swaps.
const REST: Duration = Duration::from_millis(3);

/// What one series of swaps showed.
struct Series {
    /// The daemon's own word for the time in which no request entered a driver; the peer has none.
    pause: Option<Spread>,
    /// From the command to its answer.
    command: Spread,
    /// The longest request that a client had in flight during each swap.
    stall: Spread,
    held: u64,
    adopted: u64,
}

/// Steadfast's series and the peer's, for each backing, taking turns.
pub(crate) fn measure(effort: Effort) -> Result<Value> {
    let with_peer = here("qemu-storage-daemon");
    let mut rows = Vec::new();
    for backing in [Backing::Null, Backing::Memory, Backing::File] {
        let ours = steadfast(backing, effort.swaps)?;
        println!("{:<6} steadfast pause (receipt)      {}", backing.name(), show(ours.pause));
        println!("{:<6} steadfast longest request      {}", "", ours.stall);
        println!("{:<6} steadfast command and answer   {}", "", ours.command);
        println!(
            "{:<6} steadfast held {}, adopted {} in {} swaps",
            "", ours.held, ours.adopted, effort.swaps
        );
        let mut row = json!({
            "backing": backing.name(), "swaps": effort.swaps,
            "pause": ours.pause.map(Spread::json), "stall": ours.stall.json(), "command": ours.command.json(),
            "held": ours.held, "adopted": ours.adopted,
        });
        if with_peer {
            let peer = qemu(backing, effort.swaps)?;
            println!("{:<6} blockdev-reopen, answer        {}", "", peer.command);
            println!("{:<6} blockdev-reopen longest request {}", "", peer.stall);
            row["peer"] = json!({ "stall": peer.stall.json(), "command": peer.command.json() });
            if let Some(pause) = ours.pause {
                println!("{:<6} = its command over our pause: {}", "", peer.command.ratio(pause));
                println!("{:<6} = longest request, its over ours: {}", "", peer.stall.ratio(ours.stall));
                row["ratio_p50"] = json!(peer.command.p50 / pause.p50);
                row["ratio_p99"] = json!(peer.command.p99 / pause.p99);
            }
        }
        rows.push(row);
    }
    Ok(Value::Array(rows))
}

fn show(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "unknown".to_owned(), |s| s.to_string())
}

/// The modules to alternate between.
fn modules(backing: Backing) -> Result<Vec<PathBuf>> {
    match backing {
        Backing::Null => Ok(vec![module("null")?]),
        Backing::Memory => Ok(vec![module("ram")?]),
        // A newer release takes over what the older has in flight, and itself.
        Backing::File => Ok(vec![module("file-1.1")?]),
    }
}

fn steadfast(backing: Backing, swaps: usize) -> Result<Series> {
    let dir = TempDir::new()?;
    let spec = match backing {
        Backing::Null => format!("vol0=null:{SIZE}"),
        Backing::Memory => format!("vol0=ram:{SIZE}"),
        Backing::File => {
            fill(&dir.join("disk.img"))?;
            format!("vol0=file:{}", dir.join("disk.img").display())
        }
    };
    let daemon = Setup::device(spec).start(&dir)?;
    let mut api = daemon.api()?;
    let modules = modules(backing)?;
    let load = Load::start(daemon.nbd(), "vol0", SHAPE)?;
    let mut receipts = Vec::new();
    let commands = series(&load, swaps, |n| {
        let receipt = api.update("vol0", &modules[n % modules.len()], json!({}))?;
        anyhow::ensure!(receipt["outcome"] == "done", "a swap was not done: {receipt:#}");
        receipts.push(receipt);
        Ok(())
    })?;
    let sum = |field: &str| receipts.iter().filter_map(|r| r[field].as_u64()).sum();
    Ok(Series {
        pause: Some(Spread::of_ns(receipts.iter().filter_map(|r| r["pause_ns"].as_u64()))),
        held: sum("held"),
        adopted: sum("adopted"),
        ..seen(load, &commands)?
    })
}

fn qemu(backing: Backing, swaps: usize) -> Result<Series> {
    let mut qsd = Qsd::start(backing)?;
    let load = Load::start(&qsd.socket, "vol0", SHAPE)?;
    let commands = series(&load, swaps, |_| qsd.swap())?;
    seen(load, &commands)
}

/// Swaps under the load; when each command began and ended.
fn series(load: &Load, swaps: usize, mut swap: impl FnMut(usize) -> Result<()>) -> Result<Vec<Span>> {
    std::thread::sleep(Duration::from_millis(300));
    let mut commands = Vec::with_capacity(swaps);
    for n in 0..swaps {
        let begin = load.now();
        swap(n).with_context(|| format!("swap {n}"))?;
        commands.push(Span { begin, end: load.now() });
        let rest = Instant::now();
        while rest.elapsed() < REST {
            std::thread::sleep(REST / 3);
        }
    }
    Ok(commands)
}

/// Ends the load and looks what the client saw of each command.
fn seen(load: Load, commands: &[Span]) -> Result<Series> {
    let spans = load.finish()?;
    let stalls = commands.iter().map(|command| {
        // Ends come in order; every request that was in flight during the command ended after it
        // began, and none is longer in flight than the whole window around it.
        let first = spans.partition_point(|s| s.end < command.begin);
        let during = spans[first..].iter().take_while(|s| s.end < command.end + 100_000_000);
        during.filter(|s| s.begin <= command.end).map(|s| s.end - s.begin).max().unwrap_or(0)
    });
    Ok(Series {
        pause: None,
        command: Spread::of_ns(commands.iter().map(|c| c.end - c.begin)),
        stall: Spread::of_ns(stalls),
        held: 0,
        adopted: 0,
    })
}

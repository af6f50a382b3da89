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
/// From one swap's begin to the next one's: a window in which the longest request is looked for, the
/// same for everybody, and for times without a swap.
const WINDOW: Duration = Duration::from_millis(50);

/// What one series of swaps showed.
struct Series {
    /// The daemon's own word for the time in which no request entered a driver; the peer has none.
    pause: Option<Spread>,
    /// From the command to its answer.
    command: Spread,
    /// The longest request that a client had in flight in the window of each swap.
    stall: Spread,
    /// The same in windows without a swap: what the machine does to requests anyhow.
    calm: Spread,
    held: u64,
    adopted: u64,
}

/// Steadfast's series and the peer's, for each backing.
pub(crate) fn measure(effort: Effort) -> Result<Value> {
    let with_peer = here("qemu-storage-daemon");
    let mut rows = Vec::new();
    for backing in [Backing::Null, Backing::Memory, Backing::File] {
        println!(
            "\n{}: {} swaps under 4 KiB random reads at depth {}",
            backing.name(),
            effort.swaps,
            SHAPE.depth
        );
        let ours = steadfast(backing, effort.swaps)?;
        println!("  steadfast: pause, from the receipt    {}", show(ours.pause));
        lines("steadfast", &ours);
        println!("  steadfast: {} requests adopted in flight, {} held", ours.adopted, ours.held);
        let mut row = json!({
            "backing": backing.name(), "swaps": effort.swaps, "pause": ours.pause.map(Spread::json),
            "stall": ours.stall.json(), "calm": ours.calm.json(), "command": ours.command.json(),
            "held": ours.held, "adopted": ours.adopted,
        });
        if with_peer {
            let peer = qemu(backing, effort.swaps)?;
            lines("qemu-s-d ", &peer);
            row["peer"] = json!({ "stall": peer.stall.json(), "calm": peer.calm.json(), "command": peer.command.json() });
            if let Some(pause) = ours.pause {
                println!("  = its blockdev-reopen over our pause: {}", peer.command.ratio(pause));
                row["ratio_p50"] = json!(peer.command.p50 / pause.p50);
                row["ratio_p99"] = json!(peer.command.p99 / pause.p99);
            }
        }
        rows.push(row);
    }
    Ok(Value::Array(rows))
}

fn lines(who: &str, series: &Series) {
    println!("  {who}: command and answer            {}", series.command);
    println!("  {who}: client's longest request      {}", series.stall);
    println!("  {who}: the same without a swap       {}", series.calm);
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
    let times = series(&load, swaps, |n| {
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
        ..seen(load, &times)?
    })
}

fn qemu(backing: Backing, swaps: usize) -> Result<Series> {
    let mut qsd = Qsd::start(backing)?;
    let load = Load::start(&qsd.socket, "vol0", SHAPE)?;
    let times = series(&load, swaps, |_| qsd.swap())?;
    seen(load, &times)
}

fn rest(begun: Instant) {
    if let Some(left) = WINDOW.checked_sub(begun.elapsed()) {
        std::thread::sleep(left);
    }
}

/// When each command began and ended, and when each window without one began.
type Times = (Vec<Span>, Vec<u64>);

/// Swaps under the load.
fn series(load: &Load, swaps: usize, mut swap: impl FnMut(usize) -> Result<()>) -> Result<Times> {
    std::thread::sleep(Duration::from_millis(300));
    let (mut commands, mut calm) = (Vec::with_capacity(swaps), Vec::with_capacity(swaps));
    for n in 0..swaps {
        let begun = Instant::now();
        let begin = load.now();
        swap(n).with_context(|| format!("swap {n}"))?;
        commands.push(Span { begin, end: load.now() });
        rest(begun);
    }
    // Without a swap.
    for _ in 0..swaps {
        let begun = Instant::now();
        calm.push(load.now());
        rest(begun);
    }
    Ok((commands, calm))
}

/// Ends the load and looks what the client saw of each command.
fn seen(load: Load, (commands, calm): &Times) -> Result<Series> {
    let spans = load.finish()?;
    // Ends come in order. The longest of those that ended in the window from `begin` on.
    let longest = |begin: u64| {
        let first = spans.partition_point(|s| s.end < begin);
        let window = spans[first..].iter().take_while(|s| s.end < begin + WINDOW.as_nanos() as u64);
        window.map(|s| s.end - s.begin).max().unwrap_or(0)
    };
    Ok(Series {
        pause: None,
        command: Spread::of_ns(commands.iter().map(|c| c.end - c.begin)),
        stall: Spread::of_ns(commands.iter().map(|c| longest(c.begin))),
        calm: Spread::of_ns(calm.iter().map(|begin| longest(*begin))),
        held: 0,
        adopted: 0,
    })
}

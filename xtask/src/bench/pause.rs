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

/// What swaps showed; all times in nanoseconds.
#[derive(Default)]
struct Series {
    /// The daemon's own word for the time in which no request could enter a driver; the peer has none.
    pause: Vec<u64>,
    /// From the command to its answer.
    command: Vec<u64>,
    /// The longest request that a client had in flight in the window of each swap.
    stall: Vec<u64>,
    /// The same in windows without a swap: what the machine does to requests anyhow.
    calm: Vec<u64>,
    held: u64,
    adopted: u64,
}

impl Series {
    fn extend(&mut self, more: Series) {
        self.pause.extend(more.pause);
        self.command.extend(more.command);
        self.stall.extend(more.stall);
        self.calm.extend(more.calm);
        self.held += more.held;
        self.adopted += more.adopted;
    }

    fn print(&self, who: &str) {
        println!("  {who}: command and answer            {}", Spread::of_ns(&self.command));
        println!("  {who}: client's longest request      {}", Spread::of_ns(&self.stall));
        println!("  {who}: the same without a swap       {}", Spread::of_ns(&self.calm));
    }

    fn json(&self) -> Value {
        json!({
            "command": Spread::of_ns(&self.command).json(), "stall": Spread::of_ns(&self.stall).json(),
            "calm": Spread::of_ns(&self.calm).json(), "held": self.held, "adopted": self.adopted,
        })
    }
}

/// Steadfast's swaps and the peer's, for each backing, taking turns.
pub(crate) fn measure(effort: Effort) -> Result<Value> {
    let with_peer = here("qemu-storage-daemon");
    let swaps = effort.swaps / effort.rounds;
    let mut rows = Vec::new();
    for backing in [Backing::Null, Backing::Memory, Backing::File] {
        let (mut ours, mut peer) = (Series::default(), Series::default());
        for _ in 0..effort.rounds {
            ours.extend(steadfast(backing, swaps)?);
            if with_peer {
                peer.extend(qemu(backing, swaps)?);
            }
        }
        let (pause, reopen) = (Spread::of_ns(&ours.pause), Spread::of_ns(&peer.command));
        println!(
            "\n{}: {} swaps under 4 KiB random reads at depth {}",
            backing.name(),
            ours.pause.len(),
            SHAPE.depth
        );
        println!("  steadfast: pause, from the receipt    {pause}");
        ours.print("steadfast");
        println!("  steadfast: {} requests adopted in flight, {} held", ours.adopted, ours.held);
        let mut row = json!({ "backing": backing.name(), "pause": pause.json(), "steadfast": ours.json() });
        if with_peer {
            peer.print("qemu-s-d ");
            println!("  = its blockdev-reopen over our pause: {}", reopen.ratio(pause));
            row["qemu-storage-daemon"] = peer.json();
            row["ratio_p50"] = json!(reopen.p50 / pause.p50);
            row["ratio_p99"] = json!(reopen.p99 / pause.p99);
        }
        rows.push(row);
    }
    Ok(Value::Array(rows))
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
        pause: receipts.iter().filter_map(|r| r["pause_ns"].as_u64()).collect(),
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
        command: commands.iter().map(|c| c.end - c.begin).collect(),
        stall: commands.iter().map(|c| longest(c.begin)).collect(),
        calm: calm.iter().map(|begin| longest(*begin)).collect(),
        ..Series::default()
    })
}

//! Thousands of swaps in one daemon, modes mixed, two releases and drivers that make faults on purpose,
//! while fio writes and verifies: memory, open files and mappings stay where they are.
//!
//! A few hundred by default. For the long run, 10,000:
//!
//! ```sh
//! STEADFAST_SWAPS=10000 cargo test --release -p steadfast-tests --test swaps -- --nocapture
//! ```

use anyhow::ensure;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use steadfast_tests::process::{Footprint, footprint};
use steadfast_tests::{Daemon, Result, Setup, TempDir, Verified, test_module};

/// Swaps after which what is made once has been made.
const WARM: usize = 60;

struct Step {
    module: PathBuf,
    mode: &'static str,
    params: Value,
    outcome: &'static str,
}

/// One turn: two releases by each mode there and back, and updates that go wrong in between.
fn turn() -> Result<Vec<Step>> {
    let modules = [test_module("matrix_two")?, test_module("matrix_one")?];
    let step = |to: usize, mode, at: &str, how: &str, outcome| Step {
        module: modules[to].clone(),
        mode,
        params: json!({ "at": at, "how": how }),
        outcome,
    };
    let mut steps = Vec::new();
    for mode in ["adopt", "split", "drain"] {
        steps.push(step(0, mode, "none", "error", "done"));
        steps.push(step(1, mode, "connect", "error", "rolled_back"));
        steps.push(step(1, mode, "none", "error", "done"));
        steps.push(step(0, mode, "queue-start", "panic", "rolled_back"));
        steps.push(step(0, mode, "prepare", "panic", "refused"));
    }
    Ok(steps)
}

fn show(n: usize, size: Footprint, load: &[Verified]) {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "after {n:>6} swaps: {:.2} MiB resident, {:.2} MiB of them anonymous, {} files, {} mappings; {} rounds of fio",
        mib(size.resident),
        mib(size.anonymous),
        size.files,
        size.mappings,
        load.iter().map(Verified::rounds).sum::<u64>(),
    );
}

/// What does not depend on whether fio is between two rounds: without its connections.
fn settled(daemon: &Daemon) -> Result<Footprint> {
    let mut least = footprint(daemon.pid())?;
    for _ in 0..50 {
        std::thread::sleep(std::time::Duration::from_millis(2));
        least = least.least(footprint(daemon.pid())?);
    }
    Ok(least)
}

#[test]
fn swaps_in_every_mode_leave_no_trace() -> Result {
    let swaps: usize = match std::env::var("STEADFAST_SWAPS") {
        Ok(text) => text.parse()?,
        Err(_) => 300,
    };
    let dir = TempDir::new()?;
    let spec = format!("vol0={}:16M,delay_us=20", test_module("matrix_one")?.display());
    let daemon = Setup::device(spec).start(&dir)?;
    let mut load: Vec<_> = (0..2).map(|part| Verified::start(&daemon, "vol0", 1 + 7 * part, 7, 16)).collect();
    load[0].busy(&daemon, "vol0")?;
    let (steps, mut api) = (turn()?, daemon.api()?);
    let (mut done, mut before, mut ended) = (0, None, BTreeMap::<String, u64>::new());
    let mut steps = steps.iter().cycle();
    while done < WARM + swaps {
        let Some(step) = steps.next() else { break };
        let options = json!({ "mode": step.mode, "params": step.params });
        let receipt = api.update("vol0", &step.module, options)?;
        ensure!(receipt["outcome"] == step.outcome, "swap {done}, to end as {}: {receipt:#}", step.outcome);
        ensure!(receipt["unload"] == "unloaded", "swap {done}: a module stays in memory: {receipt:#}");
        load.iter_mut().try_for_each(Verified::check)?;
        *ended.entry(format!("{} {}", step.mode, step.outcome)).or_default() += 1;
        done += usize::from(step.outcome == "done");
        if step.outcome == "done" && done == WARM {
            let size = settled(&daemon)?;
            show(0, size, &load);
            before = Some(size);
        } else if step.outcome == "done" && done > WARM && (done - WARM).is_multiple_of(1000) {
            show(done - WARM, settled(&daemon)?, &load);
        }
    }
    let after = settled(&daemon)?;
    show(swaps, after, &load);
    let rounds = load.into_iter().map(Verified::finish).sum::<Result<u64>>()?;
    let device = daemon.device("vol0")?;
    println!("{ended:?}; {rounds} rounds of fio, {} requests, none failed", device["requests"]);
    assert_eq!(device["errors"], 0);
    let before = before.expect("measured after the warm-up");
    let more = after.growth(before);
    // Each of the two fio comes with a connection or two at a time.
    assert!(more.files <= 4, "open files: {more:?}");
    assert!(more.threads <= 8 && more.mappings <= 8, "{more:?}");
    // The newest 256 receipts are kept in memory and SQLite keeps 2 MiB of pages: 4.4 MiB in the first thousands,
    // then nothing. A kilobyte lost per update would be 25 MiB in the long run.
    assert!(more.anonymous <= 8 << 20, "{more:?}");
    Ok(())
}

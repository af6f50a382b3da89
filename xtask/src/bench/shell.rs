//! The shell's own cost per request, from a frontend's submit to the driver and back: instructions,
//! counted by callgrind, and nanoseconds.

use super::server::here;
use super::stats::median;
use crate::steps::{cargo, run};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use steadfast_tests::{ok, run as capture};

/// Requests of the shorter run; the longer has twice as many, and the difference is free of what
/// start and end cost.
const COUNTED: u64 = 20_000;
const TIMED: u64 = 20_000_000;

pub(crate) fn measure() -> Result<Value> {
    run(&mut cargo(["build", "--release", "-p", "steadfast-runtime", "--example", "submit_cost"]))?;
    let example = crate::target().join("release/examples/submit_cost");
    let mut times = Vec::new();
    for _ in 0..5 {
        let (short, long) = (seconds(&example, TIMED)?, seconds(&example, 2 * TIMED)?);
        times.push((long - short) * 1e9 / TIMED as f64);
    }
    let ns = median(&times);
    println!("shell: {ns:.1} ns per request (aim: under 15)");
    let mut row = json!({ "ns": ns });
    if here("valgrind") {
        let short = instructions(&example, COUNTED)?;
        let long = instructions(&example, 2 * COUNTED)?;
        let each = (long - short) as f64 / COUNTED as f64;
        println!("shell: {each:.1} instructions per request (aim: under 100)");
        row["instructions"] = json!(each);
    }
    Ok(row)
}

fn seconds(example: &Path, requests: u64) -> Result<f64> {
    let begin = Instant::now();
    ok(Command::new(example).arg(requests.to_string()))?;
    Ok(begin.elapsed().as_secs_f64())
}

fn instructions(example: &Path, requests: u64) -> Result<u64> {
    let output = capture(
        Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(example)
            .arg(requests.to_string()),
    )?;
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find_map(|l| l.split_once("Collected : ").map(|(_, n)| n.trim()));
    line.and_then(|n| n.parse().ok()).with_context(|| format!("callgrind reports no count:\n{text}"))
}

//! The shell's own cost per request, from a frontend's submit to the driver and back: instructions,
//! counted by callgrind, and nanoseconds.

use super::server::here;
use super::stats::{median, percentile};
use crate::steps::{cargo, run};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use steadfast_tests::{module, ok, run as capture};

/// Requests of the shorter counted run; the longer has twice as many, and the difference is free of
/// what start and end cost.
const COUNTED: u64 = 200_000;
/// Requests of a timed run.
const TIMED: u64 = 20_000_000;

pub(crate) fn measure() -> Result<Value> {
    run(&mut cargo(["build", "--release", "-p", "steadfast-runtime", "--example", "submit_cost"]))?;
    let example = crate::target().join("release/examples/submit_cost");
    let null = module("null")?;
    let times = (0..7).map(|_| nanoseconds(&example, &null)).collect::<Result<Vec<_>>>()?;
    let (ns, least) = (median(&times), percentile(&times, 0.0));
    println!(
        "shell: {ns:.1} ns per request, {least:.1} in the quietest of {} runs (aim: under 15)",
        times.len()
    );
    let mut row = json!({ "ns": ns, "least_ns": least });
    if here("valgrind") {
        let short = instructions(&example, &null, COUNTED)?;
        let long = instructions(&example, &null, 2 * COUNTED)?;
        let each = (long - short) as f64 / COUNTED as f64;
        println!("shell: {each:.1} instructions per request (aim: under 100)");
        row["instructions"] = json!(each);
    }
    Ok(row)
}

/// What one run says of itself.
fn nanoseconds(example: &Path, null: &Path) -> Result<f64> {
    let output = ok(Command::new(example).arg(TIMED.to_string()).arg(null))?;
    let number = output.split_whitespace().next().and_then(|n| n.parse().ok());
    number.with_context(|| format!("submit_cost prints no time: {output}"))
}

fn instructions(example: &Path, null: &Path, requests: u64) -> Result<u64> {
    let output = capture(
        Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(example)
            .arg(requests.to_string())
            .arg(null),
    )?;
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find_map(|l| l.split_once("Collected : ").map(|(_, n)| n.trim()));
    line.and_then(|n| n.parse().ok()).with_context(|| format!("callgrind reports no count:\n{text}"))
}

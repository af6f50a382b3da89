//! `cargo xtask bench`: every figure beside its peer's, from one run on one machine.
//!
//! Machines are noisy, so peers take turns (A, B, C, A, B, C, …) and the median of the rounds is
//! kept. Figures are printed as they come, with the ratio to the best peer, and all of them are
//! saved as JSON.

mod command;
mod copy;
mod curve;
mod memory;
mod modes;
mod neighbours;
mod pause;
mod ports;
mod qsd;
mod server;
mod shadow;
pub(crate) mod shell;
mod stats;
mod steady;
mod tail;

use crate::steps::{Outcome, Steps, cargo, run};
use crate::tools;
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::path::PathBuf;

/// The parts of the benchmark, in their order.
const PARTS: [&str; 13] = [
    "pause",
    "command",
    "modes",
    "tail",
    "shadow",
    "neighbours",
    "curve",
    "steady",
    "copy",
    "shell",
    "memory",
    "ports1000",
    "swaps",
];

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Turns that every server gets.
    pub(crate) rounds: usize,
    /// Seconds of one measurement under load.
    pub(crate) seconds: u32,
    /// Swaps whose pauses are measured.
    pub(crate) swaps: usize,
    /// Only the cells that the project's aims name.
    pub(crate) quick: bool,
}

/// Runs the parts that were named, or all.
pub(crate) fn bench(args: &[&str]) -> Result<()> {
    let quick = args.contains(&"--quick");
    let parts: Vec<String> = args.iter().filter(|a| **a != "--quick").map(|a| a.to_string()).collect();
    if let Some(bad) = parts.iter().find(|p| !PARTS.contains(&p.as_str())) {
        bail!("no part is named '{bad}' (parts: {}; option: --quick)", PARTS.join(", "));
    }
    let effort = if quick {
        Effort { rounds: 1, seconds: 1, swaps: 100, quick }
    } else {
        Effort { rounds: 3, seconds: 2, swaps: 400, quick }
    };
    prepare()?;
    let found = RefCell::new(Map::new());
    let note = |part: &str, value: Value| {
        found.borrow_mut().insert(part.to_owned(), value);
        Ok(Outcome::Passed)
    };
    let mut steps = Steps::new(parts);
    steps.step("pause", || note("pause", pause::measure(effort)?));
    steps.step("command", || note("command", command::measure(effort)?));
    steps.step("modes", || note("modes", modes::measure(effort)?));
    steps.step("tail", || note("tail", tail::measure(effort)?));
    steps.step("shadow", || note("shadow", shadow::measure(effort)?));
    steps.step("neighbours", || note("neighbours", neighbours::measure(effort)?));
    steps.step("curve", || note("curve", curve::measure(effort)?));
    steps.step("steady", || note("steady", steady::measure(effort)?));
    steps.step("copy", || note("copy", copy::measure(effort)?));
    steps.step("shell", || note("shell", shell::measure()?));
    steps.step("memory", || note("memory", memory::sizes(effort)?));
    steps.step("ports1000", || note("ports1000", ports::measure(effort)?));
    steps.step("swaps", || note("swaps", memory::swaps(effort)?));
    let figures = Value::Object(found.into_inner());
    save(&json!({ "machine": machine(), "quick": quick, "figures": figures }))?;
    steps.finish()
}

/// Gets the peers, and builds what is measured, unless `STEADFAST_BIN` names it.
fn prepare() -> Result<()> {
    // A peer that cannot be had is left out by name where it is asked for; the others still count.
    if let Err(error) = tools::ensure(tools::BENCH) {
        println!("warning: {error:#}");
    }
    if std::env::var_os("STEADFAST_BIN").is_some() {
        return Ok(());
    }
    run(&mut cargo(["build", "--release"]))?;
    let binary = crate::target().join("release/steadfast");
    // SAFETY: the process has one thread so far.
    unsafe { std::env::set_var("STEADFAST_BIN", binary) };
    Ok(())
}

fn save(report: &Value) -> Result<()> {
    let folder = crate::target().join("bench");
    std::fs::create_dir_all(&folder)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let text = serde_json::to_string_pretty(report)?;
    for name in [format!("{}.json", now.as_secs()), "latest.json".to_owned()] {
        let path: PathBuf = folder.join(name);
        std::fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("saved as {}", path.display());
    }
    Ok(())
}

/// What the figures were measured on.
fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .unwrap_or("")
        .trim_start_matches([' ', '\t', ':']);
    json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "cpu": model,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
    })
}

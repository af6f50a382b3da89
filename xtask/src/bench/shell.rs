//! The shell's own cost per request, from a frontend's submit to the driver and back: instructions,
//! counted by callgrind, and nanoseconds.

use super::server::here;
use super::stats::{median, percentile};
use crate::steps::{cargo, run};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use steadfast_tests::{TempDir, ok, run as capture};

/// Requests of a timed run.
const TIMED: u64 = 20_000_000;

/// A driver whose requests are counted.
pub(crate) struct Counted {
    /// What it is called in tables and in the record.
    pub(crate) name: &'static str,
    module: &'static str,
    /// It serves a file.
    file: bool,
    /// Requests of the shorter counted run; the longer has twice as many, and the difference is free of what start
    /// and end cost.
    requests: u64,
    /// Instructions per request that are aimed at.
    aim: u32,
}

/// `null` answers at once; `file` in its first release issues one operation and completes from its event.
pub(crate) const COUNTED: &[Counted] = &[
    Counted { name: "null", module: "null", file: false, requests: 500_000, aim: 100 },
    Counted { name: "file", module: "file-1-0", file: true, requests: 100_000, aim: 250 },
];

pub(crate) fn measure() -> Result<Value> {
    let bench = Bench::new()?;
    let times = (0..7).map(|_| bench.nanoseconds()).collect::<Result<Vec<_>>>()?;
    let (ns, least) = (median(&times), percentile(&times, 0.0));
    println!(
        "shell: {ns:.1} ns per request, {least:.1} in the quietest of {} runs (aim: under 15)",
        times.len()
    );
    let mut row = json!({ "ns": ns, "least_ns": least });
    if here("valgrind") {
        for counted in COUNTED {
            let each = bench.instructions(counted)?;
            println!("shell: {}: {each:.1} instructions per request (aim: {})", counted.name, counted.aim);
            row[format!("instructions_{}", counted.name)] = json!(each);
        }
    }
    Ok(row)
}

/// What is built for it.
pub(crate) struct Bench {
    example: PathBuf,
    folder: PathBuf,
    file: PathBuf,
    _temporary: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Result<Bench> {
        let example = ["build", "--release", "-p", "steadfast-runtime", "--example", "submit_cost"];
        run(&mut cargo(example))?;
        let drivers = ["-p", "steadfast-driver-null", "-p", "steadfast-driver-file-1-0"];
        run(&mut cargo(["build", "--release"].into_iter().chain(drivers)))?;
        let temporary = TempDir::new()?;
        let file = temporary.join("data");
        std::fs::write(&file, vec![1; 1 << 20])?;
        let folder = crate::target().join("release");
        Ok(Bench { example: folder.join("examples/submit_cost"), folder, file, _temporary: temporary })
    }

    fn arguments(&self, counted: &Counted) -> Result<Vec<OsString>> {
        let name = format!("libsteadfast_driver_{}.so", counted.module.replace('-', "_"));
        let places = [self.folder.join("deps").join(&name), self.folder.join(&name)];
        let module = places.into_iter().find(|path| path.is_file());
        let mut all = vec![module.with_context(|| format!("there is no {name}"))?.into_os_string()];
        if counted.file {
            all.extend(["--file".into(), self.file.clone().into_os_string()]);
        }
        Ok(all)
    }

    /// What one run says of itself.
    fn nanoseconds(&self) -> Result<f64> {
        let null = self.arguments(&COUNTED[0])?;
        let output = ok(Command::new(&self.example).arg(TIMED.to_string()).args(null))?;
        let number = output.split_whitespace().next().and_then(|n| n.parse().ok());
        number.with_context(|| format!("submit_cost prints no time: {output}"))
    }

    /// Instructions per request, by callgrind: they repeat within one in a hundred on one compiler.
    pub(crate) fn instructions(&self, counted: &Counted) -> Result<f64> {
        let short = self.count(counted, counted.requests)?;
        let long = self.count(counted, 2 * counted.requests)?;
        Ok(long.saturating_sub(short) as f64 / counted.requests as f64)
    }

    fn count(&self, counted: &Counted, requests: u64) -> Result<u64> {
        let output = capture(
            Command::new("valgrind")
                .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
                .arg(&self.example)
                .arg(requests.to_string())
                .args(self.arguments(counted)?),
        )?;
        let text = String::from_utf8_lossy(&output.stderr);
        let line = text.lines().find_map(|l| l.split_once("Collected : ").map(|(_, n)| n.trim()));
        line.and_then(|n| n.parse().ok()).with_context(|| format!("callgrind reports no count:\n{text}"))
    }
}

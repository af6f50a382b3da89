//! Many ports in one daemon, beside one: how long it takes to start, what a port takes of memory, and how
//! long one of them takes to be initialised anew.

use super::Effort;
use super::stats::{Spread, median};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::time::Instant;
use steadfast_tests::process::{Footprint, footprint, proportional};
use steadfast_tests::{Daemon, Setup, TempDir};

const MANY: usize = 1000;

/// What starts of daemons with so many ports showed, and activations in the last of them.
#[derive(Default)]
struct Series {
    ports: usize,
    start_ms: Vec<f64>,
    resident: Vec<f64>,
    proportional: Vec<f64>,
    last: Option<Footprint>,
    /// From the request to its answer; nanoseconds, as is the pause.
    activate: Vec<u64>,
    pause: Vec<u64>,
}

impl Series {
    fn of(ports: usize) -> Series {
        Series { ports, ..Series::default() }
    }

    /// Starts a daemon, and takes its size before anything was asked of it.
    fn start(&mut self, dir: &TempDir) -> Result<Daemon> {
        let setup = (0..self.ports).fold(Setup::default(), |s, n| s.and_device(format!("vol{n}=null:1G")));
        let begin = Instant::now();
        let daemon = setup.start(dir)?;
        self.start_ms.push(begin.elapsed().as_secs_f64() * 1000.0);
        let size = footprint(daemon.pid())?;
        self.resident.push(size.resident as f64);
        self.proportional.push(proportional(daemon.pid())? as f64);
        self.last = Some(size);
        Ok(daemon)
    }

    /// Activations, one after the other, of ports all over the daemon.
    fn activate(&mut self, daemon: &Daemon, count: usize) -> Result<()> {
        let mut api = daemon.api()?;
        for n in 0..count {
            // A prime: no two in a row are neighbours.
            let port = format!("vol{}", n * 389 % self.ports);
            let slots = if (n / self.ports).is_multiple_of(2) { "512" } else { "1024" };
            api.save(&port, json!({ "io_slots": slots }))?;
            let begin = Instant::now();
            let receipt = api.activate(&port, &json!({}))?;
            self.activate.push(begin.elapsed().as_nanos() as u64);
            self.pause.extend(receipt["pause_ns"].as_u64());
        }
        Ok(())
    }

    fn print(&self) {
        let (ports, mib) = (self.ports, 1024.0 * 1024.0);
        println!("\nsteadfast with {ports} ports, {} starts:", self.start_ms.len());
        println!("  start until it answers     {:.0} ms", median(&self.start_ms));
        println!(
            "  memory                     {:.1} MiB resident, {:.1} MiB in proportion",
            median(&self.resident) / mib,
            median(&self.proportional) / mib
        );
        if let Some(size) = self.last {
            println!("  threads, files, mappings   {}, {}, {}", size.threads, size.files, size.mappings);
        }
        println!("  activation, {:>4} of them   {}", self.activate.len(), Spread::of_ns(&self.activate));
        println!("  its pause                  {}", Spread::of_ns(&self.pause));
    }

    fn json(&self) -> Value {
        let size =
            self.last.map(|s| json!({ "threads": s.threads, "files": s.files, "mappings": s.mappings }));
        json!({
            "ports": self.ports, "start_ms": median(&self.start_ms), "resident": median(&self.resident),
            "proportional": median(&self.proportional), "counts": size,
            "activate": Spread::of_ns(&self.activate).json(), "pause": Spread::of_ns(&self.pause).json(),
        })
    }
}

/// A daemon with one port and one with a thousand, in turns.
pub(crate) fn measure(effort: Effort) -> Result<Value> {
    let (rounds, activations) = if effort.quick { (3, 100) } else { (9, 1000) };
    let (mut one, mut many) = (Series::of(1), Series::of(MANY));
    for _ in 0..rounds {
        for series in [&mut one, &mut many] {
            let dir = TempDir::new()?;
            let mut daemon = series.start(&dir)?;
            series.activate(&daemon, activations / rounds)?;
            ensure!(daemon.stop()?.success(), "the daemon does not stop as it should:\n{}", daemon.log());
        }
    }
    one.print();
    many.print();
    let each = |of: fn(&Series) -> &Vec<f64>| (median(of(&many)) - median(of(&one))) / (MANY - 1) as f64;
    let start_us = each(|s| &s.start_ms) * 1000.0;
    let (resident, proportional) = (each(|s| &s.resident), each(|s| &s.proportional));
    let ratio = Spread::of_ns(&many.activate).ratio(Spread::of_ns(&one.activate));
    println!(
        "\n  = for each port more: {start_us:.0} us of the start, {:.1} KiB resident, {:.1} KiB in proportion",
        resident / 1024.0,
        proportional / 1024.0
    );
    println!("  = activation with {MANY} ports over that with one: {ratio}");
    Ok(json!({
        "one": one.json(), "many": many.json(),
        "each": { "start_us": start_us, "resident": resident, "proportional": proportional },
        "activate_ratio": ratio,
    }))
}

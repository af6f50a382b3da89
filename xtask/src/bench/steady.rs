//! Steady state over NBD: requests per second and processor time per request.

use super::Effort;
use super::server::{Backing, Kind, Server, start};
use super::stats::median;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::time::Duration;
use steadfast_tests::load::{Load, Shape};
use steadfast_tests::{fio, process};

/// One cell of the table.
#[derive(Clone, Copy, Debug)]
struct Cell {
    write: bool,
    kib: u32,
    depth: usize,
    connections: usize,
    /// fio, or this project's own thin client, whose cost per request is small.
    thin: bool,
}

/// One measurement.
#[derive(Clone, Copy, Debug, Default)]
struct Figure {
    per_second: f64,
    cpu_us: f64,
}

impl Cell {
    fn all(quick: bool) -> Vec<Cell> {
        let mut cells = Vec::new();
        for (kib, depth) in [(4, 32), (4, 1), (64, 32), (64, 1)] {
            for connections in [1, 2] {
                for write in [false, true] {
                    if !quick || (depth == 32 && connections == 1) {
                        cells.push(Cell { write, kib, depth, connections, thin: false });
                    }
                }
            }
        }
        for write in [false, true] {
            cells.push(Cell { write, kib: 4, depth: 32, connections: 1, thin: true });
        }
        cells
    }

    fn name(self) -> String {
        let what = if self.write { "randwrite" } else { "randread" };
        let client = if self.thin { "thin" } else { "fio" };
        format!("{what:<9} {:>2}k depth {:>2} x{} {client:<4}", self.kib, self.depth, self.connections)
    }

    fn measure(self, server: &Server, seconds: u32) -> Result<Figure> {
        let before = process::cpu_time(server.pid)?;
        let (per_second, requests) =
            if self.thin { self.thin(server, seconds)? } else { self.fio(server, seconds)? };
        let cpu = process::cpu_time(server.pid)?.saturating_sub(before);
        Ok(Figure { per_second, cpu_us: cpu.as_secs_f64() * 1e6 / requests.max(1.0) })
    }

    fn fio(self, server: &Server, seconds: u32) -> Result<(f64, f64)> {
        let rw = if self.write { "write" } else { "read" };
        let report = fio(
            &server.uri,
            &[
                &format!("--rw=rand{rw}"),
                &format!("--bs={}k", self.kib),
                &format!("--iodepth={}", self.depth),
                &format!("--numjobs={}", self.connections),
                &format!("--runtime={seconds}"),
                "--time_based",
                "--size=1g",
                "--group_reporting",
                "--randrepeat=1",
                "--norandommap",
            ],
        )?;
        let side = &report["jobs"][0][rw];
        let number = |field: &str| side[field].as_f64().with_context(|| format!("fio reports no {field}"));
        Ok((number("iops")?, number("total_ios")?))
    }

    fn thin(self, server: &Server, seconds: u32) -> Result<(f64, f64)> {
        let shape = Shape { size: self.kib << 10, depth: self.depth, write: self.write };
        let load = Load::start(&server.socket, server.export, shape)?;
        let begin = std::time::Instant::now();
        std::thread::sleep(Duration::from_secs(seconds.into()));
        let time = begin.elapsed();
        let requests = load.finish()?.len() as f64;
        Ok((requests / time.as_secs_f64(), requests))
    }
}

/// Every cell, on memory and on a file, with the servers taking turns.
pub(crate) fn measure(effort: Effort) -> Result<Value> {
    let kinds = Kind::available();
    let mut rows = Vec::new();
    for backing in [Backing::Memory, Backing::File] {
        let servers: Vec<(Kind, Server)> =
            kinds.iter().map(|k| Ok((*k, start(*k, backing)?))).collect::<Result<_>>()?;
        println!("\non {}: requests per second (processor us per request in the server)", backing.name());
        for cell in Cell::all(effort.quick) {
            let mut figures = vec![Vec::new(); servers.len()];
            for _ in 0..effort.rounds {
                for (at, (_, server)) in servers.iter().enumerate() {
                    figures[at].push(cell.measure(server, effort.seconds)?);
                }
            }
            rows.push(report(backing, cell, &servers, &figures));
        }
    }
    Ok(Value::Array(rows))
}

fn report(backing: Backing, cell: Cell, servers: &[(Kind, Server)], figures: &[Vec<Figure>]) -> Value {
    let of = |all: &[Figure], pick: fn(&Figure) -> f64| median(&all.iter().map(pick).collect::<Vec<_>>());
    let (mut line, mut row) = (String::new(), serde_json::Map::new());
    let (mut ours, mut best) = (Figure::default(), Figure::default());
    for ((kind, _), all) in servers.iter().zip(figures) {
        let figure = Figure { per_second: of(all, |f| f.per_second), cpu_us: of(all, |f| f.cpu_us) };
        line += &format!("  {} {:>7.0} ({:>4.1})", kind.name(), figure.per_second, figure.cpu_us);
        row.insert(kind.name().into(), json!({ "per_second": figure.per_second, "cpu_us": figure.cpu_us }));
        if *kind == Kind::Steadfast {
            ours = figure;
        } else if figure.per_second > best.per_second {
            best = figure;
        }
    }
    let ratio = ours.per_second / best.per_second;
    println!("{}{line}  = {ratio:.2}x the best peer", cell.name());
    row.insert("ratio".into(), json!(ratio));
    row.insert("cell".into(), json!(cell.name()));
    row.insert("backing".into(), json!(backing.name()));
    Value::Object(row)
}

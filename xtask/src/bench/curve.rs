//! The cost of a request over queue depth and connections: requests per second, and processor time per
//! request in the server, beside nbdkit in turns.

use super::Effort;
use super::server::{Backing, Kind, Server, here, start};
use super::stats::median;
use anyhow::Result;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use steadfast_tests::load::{Load, Shape};
use steadfast_tests::process;

/// Depth on one connection, and connections of depth 4, from one on.
fn points(quick: bool) -> Vec<(usize, usize)> {
    let (depths, connections): (&[usize], &[usize]) = if quick {
        (&[1, 16, 256], &[1, 8, 64])
    } else {
        (&[1, 2, 4, 8, 16, 32, 64, 128, 256], &[1, 2, 4, 8, 16, 32, 64])
    };
    let deep = depths.iter().map(|depth| (*depth, 1));
    deep.chain(connections.iter().map(|count| (4, *count))).collect()
}

/// Both servers on memory, 4 KiB random reads.
pub(crate) fn measure(effort: Effort) -> Result<Value> {
    let mut kinds = vec![Kind::Steadfast];
    if here(Kind::Nbdkit.name()) {
        kinds.push(Kind::Nbdkit);
    }
    let servers: Vec<(Kind, Server)> =
        kinds.iter().map(|kind| Ok((*kind, start(*kind, Backing::Memory)?))).collect::<Result<_>>()?;
    println!("4 KiB random reads on memory: requests per second (processor us per request in the server)");
    let mut rows = Vec::new();
    for (depth, connections) in points(effort.quick) {
        let mut figures = vec![Vec::new(); servers.len()];
        for _ in 0..effort.rounds {
            for (at, (_, server)) in servers.iter().enumerate() {
                figures[at].push(point(server, depth, connections, effort.seconds)?);
            }
        }
        let mut row = json!({ "depth": depth, "connections": connections });
        let mut line = format!("depth {depth:>3} x {connections:>2} connections");
        for ((kind, _), all) in servers.iter().zip(&figures) {
            let rate = median(&all.iter().map(|f| f.0).collect::<Vec<_>>());
            let cost = median(&all.iter().map(|f| f.1).collect::<Vec<_>>());
            line += &format!("  {} {rate:>7.0} ({cost:>5.2})", kind.name());
            row[kind.name()] = json!({ "per_second": rate, "cpu_us": cost });
        }
        println!("{line}");
        rows.push(row);
    }
    Ok(Value::Array(rows))
}

/// Requests per second, and processor microseconds per request.
fn point(server: &Server, depth: usize, connections: usize, seconds: u32) -> Result<(f64, f64)> {
    let shape = Shape { size: 4096, depth, write: false };
    let before = process::cpu_time(server.pid)?;
    let begin = Instant::now();
    let loads = (0..connections)
        .map(|_| Load::start(&server.socket, server.export, shape))
        .collect::<Result<Vec<_>>>()?;
    std::thread::sleep(Duration::from_secs(seconds.into()));
    let ended = loads.into_iter().map(|load| Ok(load.finish()?.len())).collect::<Result<Vec<_>>>()?;
    let time = begin.elapsed().as_secs_f64();
    let cpu = process::cpu_time(server.pid)?.saturating_sub(before).as_secs_f64();
    let requests = ended.iter().sum::<usize>().max(1) as f64;
    Ok((requests / time, cpu * 1e6 / requests))
}

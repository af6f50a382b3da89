//! Sequential copies with nbdcopy, both ways.

use super::Effort;
use super::server::{Backing, Kind, SIZE, Server, fill, start};
use super::stats::median;
use anyhow::Result;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Instant;
use steadfast_tests::{TempDir, ok};

/// Into the device and out of it, on memory and on a file, with the servers taking turns.
pub(crate) fn measure(effort: Effort) -> Result<Value> {
    let dir = TempDir::new()?;
    let image = dir.join("image.img");
    fill(&image)?;
    let mut rows = Vec::new();
    for backing in [Backing::Memory, Backing::File] {
        let servers: Vec<(Kind, Server)> =
            Kind::available().iter().map(|k| Ok((*k, start(*k, backing)?))).collect::<Result<_>>()?;
        for out in [false, true] {
            let mut rates = vec![Vec::new(); servers.len()];
            for _ in 0..effort.rounds {
                for (at, (_, server)) in servers.iter().enumerate() {
                    let mut command = Command::new("nbdcopy");
                    // Out to nowhere, so that only the server is measured.
                    let ends = if out { [server.uri.as_str(), "null:"] } else { [path(&image), &server.uri] };
                    let begin = Instant::now();
                    ok(command.args(ends))?;
                    rates[at].push(SIZE as f64 / begin.elapsed().as_secs_f64() / 1e6);
                }
            }
            rows.push(report(backing, out, &servers, &rates));
        }
    }
    Ok(Value::Array(rows))
}

fn path(path: &std::path::Path) -> &str {
    path.to_str().unwrap_or_default()
}

fn report(backing: Backing, out: bool, servers: &[(Kind, Server)], rates: &[Vec<f64>]) -> Value {
    let (mut line, mut row) = (String::new(), serde_json::Map::new());
    let (mut ours, mut best) = (0.0, 0.0f64);
    for ((kind, _), all) in servers.iter().zip(rates) {
        let rate = median(all);
        line += &format!("  {} {rate:>6.0} MB/s", kind.name());
        row.insert(kind.name().into(), json!({ "mb_per_second": rate }));
        if *kind == Kind::Steadfast { ours = rate } else { best = best.max(rate) }
    }
    let way = if out { "out of" } else { "into" };
    println!("nbdcopy {way:<6} {:<6}{line}  = {:.2}x the best peer", backing.name(), ours / best);
    row.insert("way".into(), json!(way));
    row.insert("backing".into(), json!(backing.name()));
    row.insert("ratio".into(), json!(ours / best));
    Value::Object(row)
}

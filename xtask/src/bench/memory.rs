//! What the daemon takes: memory, files, mappings; and that a thousand swaps leave them as they were.

use super::Effort;
use super::server::{Backing, Kind, here, start};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use steadfast_tests::process::{Footprint, footprint};
use steadfast_tests::{Setup, TempDir, module};

/// A daemon with one device, and one with a thousand ports.
pub(crate) fn sizes(effort: Effort) -> Result<Value> {
    let many = if effort.quick { 100 } else { 1000 };
    let mut rows = Vec::new();
    for ports in [1, many] {
        let dir = TempDir::new()?;
        let mut setup = Setup::device("vol0=null:1G");
        for n in 1..ports {
            setup = setup.and_device(format!("vol{n}=null:1G"));
        }
        let daemon = setup.start(&dir)?;
        let size = footprint(daemon.pid())?;
        println!("steadfast with {ports} ports: {}", show(size));
        rows.push(json!({ "ports": ports, "steadfast": as_json(size) }));
    }
    for kind in [Kind::Nbdkit, Kind::QemuNbd] {
        if here(kind.name()) {
            let server = start(kind, Backing::Null)?;
            let size = footprint(server.pid)?;
            println!("{} with one export: {}", kind.name(), show(size));
            rows.push(json!({ "ports": 1, kind.name(): as_json(size) }));
        }
    }
    Ok(Value::Array(rows))
}

/// A thousand swaps, between the two releases of `file`.
pub(crate) fn swaps(effort: Effort) -> Result<Value> {
    let count = if effort.quick { 200 } else { 1000 };
    let dir = TempDir::new()?;
    dir.disk("disk.img", 64 << 20)?;
    let daemon = Setup::device(format!("vol0=file:{}", dir.join("disk.img").display())).start(&dir)?;
    let mut api = daemon.api()?;
    let modules = [module("file-1.1")?, module("file-1.0")?];
    let (mut before, mut unloaded) = (None, 0);
    // The first ones make what is made once.
    for n in 0..count + 50 {
        if n == 50 {
            before = Some(footprint(daemon.pid())?);
        }
        let receipt = api.update("vol0", &modules[n % 2], json!({}))?;
        ensure!(receipt["outcome"] == "done", "swap {n} was not done: {receipt:#}");
        unloaded += usize::from(receipt["unload"] == "unloaded");
    }
    let after = footprint(daemon.pid())?;
    let before = before.unwrap_or(after);
    println!("before {count} swaps: {}", show(before));
    println!("after  {count} swaps: {}", show(after));
    println!("modules that left memory: {unloaded} of {}", count + 50);
    Ok(json!({ "swaps": count, "before": as_json(before), "after": as_json(after), "unloaded": unloaded }))
}

fn show(size: Footprint) -> String {
    format!(
        "{:.1} MiB resident ({:.1} MiB not of files), {} files, {} mappings",
        size.resident as f64 / (1 << 20) as f64,
        size.anonymous as f64 / (1 << 20) as f64,
        size.files,
        size.mappings
    )
}

fn as_json(size: Footprint) -> Value {
    json!({
        "resident": size.resident, "anonymous": size.anonymous,
        "files": size.files, "mappings": size.mappings,
    })
}

//! A whole `steadfast update` to a module that the store has, from the start of the command to its exit, beside the
//! same at the control API and qemu-storage-daemon's own reconfiguration over a connection that is open.

use super::Effort;
use super::qsd::Qsd;
use super::server::{Backing, SIZE, here};
use super::stats::Spread;
use anyhow::Result;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use steadfast_tests::{Setup, TempDir, module};

/// A file counts as known once nobody has written to it for a while.
const SETTLE: Duration = Duration::from_millis(1500);
/// Between two updates, as somebody who asks for them one by one.
const REST: Duration = Duration::from_millis(30);

pub(crate) fn measure(effort: Effort) -> Result<Value> {
    let dir = TempDir::new()?;
    let daemon = Setup::device(format!("vol0=null:{SIZE}")).start(&dir)?;
    let module = module("null")?;
    let name = module.display().to_string();
    let mut api = daemon.api()?;
    let mut peer = if here("qemu-storage-daemon") { Some(Qsd::start(Backing::Null)?) } else { None };
    let (mut command, mut start, mut asked, mut reopened) = (vec![], vec![], vec![], vec![]);
    api.update("vol0", &module, json!({}))?;
    std::thread::sleep(SETTLE);
    api.update("vol0", &module, json!({}))?;
    for _ in 0..effort.swaps / 2 {
        std::thread::sleep(REST);
        let ended = timed(&mut command, || daemon.cli(&["update", "vol0", &name]))?;
        anyhow::ensure!(ended.status.success(), "an update was not done: {ended:?}");
        timed(&mut start, || daemon.cli(&["--version"]))?;
        std::thread::sleep(REST);
        let receipt = timed(&mut asked, || api.update("vol0", &module, json!({})))?;
        anyhow::ensure!(receipt["outcome"] == "done", "an update was not done: {receipt:#}");
        if let Some(peer) = &mut peer {
            timed(&mut reopened, || peer.swap())?;
        }
    }
    let mut row = serde_json::Map::new();
    for (what, times) in [
        ("steadfast update", &command),
        ("steadfast --version", &start),
        ("update at the control API", &asked),
        ("qemu-storage-daemon", &reopened),
    ] {
        let spread = Spread::of_ns(times);
        println!("  {what:<26} {spread}");
        row.insert(what.to_owned(), spread.json());
    }
    Ok(Value::Object(row))
}

fn timed<T>(times: &mut Vec<u64>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let begun = Instant::now();
    let done = work()?;
    times.push(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
    Ok(done)
}

//! How many instructions a request takes: counted, held against what was recorded, and no more than 2 % above.
//!
//! The count depends on the compiler: one that was not recorded is counted with, and judged by nothing.

use crate::bench::shell::{Bench, COUNTED};
use crate::steps::Outcome;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::process::Command;

const RECORD: &str = "xtask/instructions.json";
/// Above what was recorded, in parts of it.
const ROOM: f64 = 0.02;

pub(crate) fn check() -> Result<Outcome> {
    let path = crate::root().join(RECORD);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {RECORD}"))?;
    let record: Value = serde_json::from_str(&text).with_context(|| format!("{RECORD} is damaged"))?;
    let counts = count()?;
    let compiler = compiler()?;
    if record["compiler"] != compiler.as_str() {
        let what = format!("recorded with {}, this is {compiler}: {counts:?}", record["compiler"]);
        return Ok(Outcome::Skipped(what));
    }
    let mut worse = Vec::new();
    for (name, count) in counts {
        let known = record[name].as_f64().with_context(|| format!("{RECORD} has no {name}"))?;
        println!("{name}: {count:.1} instructions per request, {known:.1} recorded");
        if count > known * (1.0 + ROOM) {
            worse.push(format!("{name}: {count:.1}, recorded {known:.1}"));
        }
    }
    if !worse.is_empty() {
        bail!(
            "requests take more instructions than recorded, by more than 2 %: {}; where that is meant: \
             cargo xtask record-instructions",
            worse.join("; ")
        );
    }
    Ok(Outcome::Passed)
}

/// Records what is counted now.
pub(crate) fn record() -> Result<()> {
    let mut record = json!({ "compiler": compiler()? });
    for (name, count) in count()? {
        println!("{name}: {count:.1} instructions per request");
        record[name] = json!((count * 10.0).round() / 10.0);
    }
    let text = serde_json::to_string_pretty(&record)? + "\n";
    std::fs::write(crate::root().join(RECORD), text).with_context(|| format!("cannot write {RECORD}"))
}

fn count() -> Result<Vec<(&'static str, f64)>> {
    let bench = Bench::new()?;
    COUNTED.iter().map(|counted| Ok((counted.name, bench.instructions(counted)?))).collect()
}

fn compiler() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().context("cannot start rustc")?;
    Ok(format!("{}, {}", String::from_utf8_lossy(&output.stdout).trim(), std::env::consts::ARCH))
}

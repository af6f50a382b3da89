//! The cells that are run beside fio.

use crate::bench::{Bench, DONE, Expect, Wrong, answered, join, wait_until};
use crate::table::{OUTSIDE, Table};
use anyhow::{Context, ensure};
use serde_json::json;
use std::process::Command;
use steadfast_tests::{Result, ok, test_module};

const WAIT_MS: u64 = 45_000;

fn refused(reason: &str) -> Expect<'_> {
    Expect { outcome: "refused", reason }
}

fn back(reason: &str) -> Expect<'_> {
    Expect { outcome: "rolled_back", reason }
}

/// Entry points at which a driver can be made to wait, the phase that they belong to, and how an update
/// ends in which nothing else goes wrong.
pub(crate) fn gates(mode: &str) -> Vec<(&'static str, &'static str, &'static str)> {
    let mut all = vec![
        ("load", "probe", "done"),
        ("prepare", "prepare", "done"),
        ("disconnect", "disconnect", "done"),
        ("connect", "connect", "done"),
        ("queue_start", "queue-start", "done"),
        ("finish_update", "queue-run", "done"),
        ("cancel_update", "reconnect", "rolled_back"),
        ("unload", "release", "done"),
    ];
    if mode != "drain" {
        all.push(("start_update", "hand-back", "done"));
    }
    if mode == "adopt" {
        all.push(("adopt", "adopt", "done"));
    }
    all
}

/// Whether it is the driver before the update that waits at this entry point.
pub(crate) fn is_old(at: &str) -> bool {
    ["hand-back", "disconnect", "reconnect", "release"].contains(&at)
}

pub(crate) fn before_the_pause(bench: &mut Bench, table: &mut Table) -> Result {
    let none = || json!({});
    // stage: what is no module; and a pipe, which nobody writes to.
    let (text, pipe) = (bench.dir.join("no-module.so"), bench.dir.join("pipe.so"));
    std::fs::write(&text, "not a module")?;
    bench.update_to(&text, none(), WAIT_MS, refused("ELF"))?;
    table.ran("stage", "error", "refused");
    if !pipe.exists() {
        ok(Command::new("mkfifo").arg(&pipe))?;
    }
    bench.update_to(&pipe, none(), WAIT_MS, refused("regular file"))?;
    table.ran("stage", "hang", "refused");
    // check: another driver, and a parameter that the driver refuses.
    bench.update_to(&test_module("sound")?, none(), WAIT_MS, refused("another driver"))?;
    let module = bench.next_module();
    bench.update_to(&module, json!({ "size": "1" }), WAIT_MS, refused("size"))?;
    table.ran("check", "error", "refused");
    // load: the driver looks at the hardware.
    let probe = bench.dir.join("probe");
    for (fault, expect) in [("error", refused("probe")), ("panic", refused("probe")), ("hang", DONE)] {
        std::fs::write(&probe, fault)?;
        bench.update(Wrong::NOTHING, WAIT_MS, expect)?;
        table.ran("load", fault, expect.outcome);
    }
    std::fs::remove_file(&probe)?;
    bench.good()?;
    for (fault, expect) in [("error", refused("on purpose")), ("panic", refused("panic")), ("hang", DONE)] {
        let wrong = Wrong { hang_ms: 300, ..Wrong::new("prepare", fault) };
        let receipt = bench.update(wrong, 100, expect)?;
        ensure!(receipt["pause_ns"].as_u64() < Some(300_000_000), "prepare is not in the pause: {receipt:#}");
        table.ran("prepare", fault, expect.outcome);
    }
    bench.good()
}

pub(crate) fn pending(bench: &mut Bench, table: &mut Table) -> Result {
    let mode = bench.mode;
    if mode == "adopt" {
        // There is nothing to run: but what would have been waited for does not hold an update up.
        let client = bench.slow_client()?;
        bench.update(Wrong::NOTHING, 100, DONE)?;
        return answered(client);
    }
    let client = bench.slow_client()?;
    bench.update(Wrong::NOTHING, 100, back("deadline"))?;
    table.ran("pending", "hang", "rolled back");
    answered(client)?;
    bench.good()?;
    // While it waits: a client that goes, and another update.
    let (mut gone, stays) = (Some(bench.slow_client()?), bench.slow_client()?);
    let before = bench.daemon.device("vol0")?;
    let (mut api, module) = (bench.daemon.api()?, bench.next_module());
    let options = json!({ "mode": mode, "params": { "at": "none" } });
    let thread = std::thread::spawn(move || api.update("vol0", &module, options));
    let mut api = bench.daemon.api()?;
    wait_until(|| api.get("/v1/devices/vol0").is_ok_and(|(_, d)| d["state"] == "held"), "held")?;
    let second = bench.daemon.api()?.update("vol0", &bench.next_module(), json!({ "mode": mode }))?;
    ensure!(second["outcome"] == "busy", "{second:#}");
    gone.take();
    let receipt = join(thread)?;
    bench.ended(&receipt, &before, DONE)?;
    ensure!(receipt["held"].as_u64() > Some(0), "fio's requests were held meanwhile: {receipt:#}");
    table.ran("pending", "client loss", "done");
    table.ran("pending", "second update", "busy / done");
    answered(stays)?;
    bench.good()
}

/// Faults of the driver that is to go.
pub(crate) fn of_the_old_driver(bench: &mut Bench, table: &mut Table) -> Result {
    let mode = bench.mode;
    let once = |at, how| Wrong { times: 1, ..Wrong::new(at, how) };
    if mode != "drain" {
        for (fault, reason) in [("panic", "hand_back"), ("hang", "deadline")] {
            bench.update(once("hand-back", fault), WAIT_MS, DONE)?;
            let module = bench.next_module();
            let options = json!({ "mode": mode, "deadline_ms": 1000, "params": { "at": "none" } });
            let before = bench.daemon.device("vol0")?;
            let receipt = bench.daemon.api()?.update("vol0", &module, options)?;
            let outcome = receipt["outcome"].as_str().unwrap_or_default().to_owned();
            // A panic may mean that what waits cannot be handed over; a hang is always too late.
            let fits = outcome == "rolled_back" || outcome == "done" && fault == "panic";
            ensure!(fits, "{fault}: {receipt:#}");
            bench.ended(&receipt, &before, if outcome == "done" { DONE } else { back(reason) })?;
            table.ran("start_update", fault, &outcome.replace('_', " "));
            bench.good()?;
        }
    }
    for (fault, reason) in [("error", "on purpose"), ("panic", "panic"), ("hang", "deadline")] {
        bench.update(once("disconnect", fault), WAIT_MS, DONE)?;
        bench.update(Wrong::NOTHING, 1000, back(reason))?;
        table.ran("disconnect", fault, "rolled back");
        bench.good()?;
    }
    bench.update(once("transfer", "error"), WAIT_MS, DONE)?;
    bench.update(Wrong::NOTHING, WAIT_MS, back("matrix/1"))?;
    table.ran("transfer", "error", "rolled back");
    bench.good()?;
    for (fault, outcome) in [("error", "stranded"), ("panic", "stranded"), ("hang", "rolled_back")] {
        bench.update(once("reconnect", fault), WAIT_MS, DONE)?;
        let reason = if outcome == "stranded" { "reconnect" } else { "on purpose" };
        bench.update(Wrong::new("connect", "error"), WAIT_MS, Expect { outcome, reason })?;
        bench.good()?;
        let ended = if outcome == "stranded" { "stranded, and back" } else { "rolled back" };
        table.ran("cancel_update", fault, ended);
    }
    for fault in ["panic", "hang"] {
        bench.update(Wrong { hang_ms: 300, ..Wrong::new("release", fault) }, WAIT_MS, DONE)?;
        bench.good()?;
        table.ran("unload", fault, "done");
    }
    Ok(())
}

/// Faults of the driver that is to come.
pub(crate) fn of_the_new_driver(bench: &mut Bench, table: &mut Table) -> Result {
    let mode = bench.mode;
    let mut points = vec![("connect", "connect"), ("queue_start", "queue-start")];
    if mode == "adopt" {
        points.push(("adopt", "adopt"));
    }
    for (phase, at) in points {
        for (fault, reason) in [("error", ""), ("panic", "panic"), ("hang", "deadline")] {
            // What is to be taken over must be there, also between two rounds of fio.
            let slow = if at == "adopt" { Some(bench.slow_client()?) } else { None };
            bench
                .update(Wrong::new(at, fault), 1000, back(reason))
                .with_context(|| format!("{at} {fault}"))?;
            table.ran(phase, fault, "rolled back");
            bench.good()?;
            slow.map_or(Ok(()), answered)?;
        }
    }
    // What undoes a connect may go wrong too.
    for fault in ["error", "panic"] {
        bench.update(Wrong::new("undo", fault), WAIT_MS, back("does not announce"))?;
    }
    for (fault, hang_ms) in [("panic", 0), ("hang", 300)] {
        let expect = if fault == "panic" { back("panic") } else { DONE };
        bench.update(Wrong { hang_ms, ..Wrong::new("queue-run", fault) }, WAIT_MS, expect)?;
        table.ran("finish_update", fault, &expect.outcome.replace('_', " "));
    }
    bench.good()
}

/// While a driver waits at an entry point, a client goes, or another update comes.
pub(crate) fn in_the_midst(bench: &mut Bench, table: &mut Table) -> Result {
    let mode = bench.mode;
    for (phase, at, outcome) in gates(mode) {
        if is_old(at) {
            bench.update(Wrong { times: 1, ..Wrong::new(at, "gate") }, WAIT_MS, DONE)?;
        }
        let now = match at {
            "probe" => {
                std::fs::write(bench.dir.join("probe"), "gate")?;
                Wrong::NOTHING
            }
            "reconnect" => Wrong::new("connect", "error"),
            _ if is_old(at) => Wrong::NOTHING,
            _ => Wrong { times: 1, ..Wrong::new(at, "gate") },
        };
        let before = bench.daemon.device("vol0")?;
        let client = bench.slow_client()?;
        let thread = bench.update_to_gate(now).with_context(|| format!("{phase} {mode}"))?;
        let second = bench.daemon.api()?.update("vol0", &bench.next_module(), json!({ "mode": mode }))?;
        ensure!(second["outcome"] == "busy", "{phase}: the second update: {second:#}");
        drop(client);
        let _ = std::fs::remove_file(bench.dir.join("probe"));
        std::fs::remove_file(bench.gate())?;
        let receipt = join(thread)?;
        let reason = if outcome == "done" { "" } else { "on purpose" };
        bench.ended(&receipt, &before, Expect { outcome, reason }).with_context(|| phase.to_owned())?;
        let ended = outcome.replace('_', " ");
        table.ran(phase, OUTSIDE[0], &ended);
        table.ran(phase, OUTSIDE[1], &format!("busy / {ended}"));
        bench.good()?;
    }
    Ok(())
}

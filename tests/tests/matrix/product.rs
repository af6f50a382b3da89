//! The same with the fault drivers that come with Steadfast, wherever they can make the fault: on a device
//! that they keep in memory in turns, `hang` being the one that serves between two cells.

use crate::bench::{DONE, Expect, answered, wait_until};
use crate::table::Table;
use anyhow::{Context, ensure};
use serde_json::{Map, Value, json};
use steadfast_tests::nbd::{Client, command};
use steadfast_tests::{Daemon, Result, Setup, TempDir, Verified, module};

const WAIT_MS: u32 = 45_000;
/// What a hang past the deadline takes, and the deadline: the least that calls into drivers have.
const LONG_MS: u32 = 1300;
const DEADLINE_MS: u32 = 1000;

fn back(reason: &str) -> Expect<'_> {
    Expect { outcome: "rolled_back", reason }
}

pub(crate) struct Product {
    daemon: Daemon,
    mode: &'static str,
    load: Vec<Verified>,
    _dir: TempDir,
}

impl Product {
    /// A daemon with fio at work on all but the first megabyte, in which reads of the first 64 KiB hang.
    pub(crate) fn new(queues: u32, mode: &'static str) -> Result<Product> {
        let dir = TempDir::new()?;
        let daemon = Setup::device("vol0=hang:16M").arg("--queues").arg(queues.to_string()).start(&dir)?;
        let mut product = Product { daemon, mode, load: Vec::new(), _dir: dir };
        for part in 0..2 {
            product.load.push(Verified::start(&product.daemon, "vol0", 1 + 7 * part, 7, 16));
        }
        product.good()?;
        Ok(product)
    }

    /// An update to a driver with these parameters and no others, which is to end as expected.
    fn update(&mut self, driver: &str, params: &Value, deadline_ms: u32, expect: Expect<'_>) -> Result {
        let before = self.daemon.device("vol0")?;
        let mut all = Map::new();
        let known = before["params"].as_array().context("a device has parameters")?;
        for param in known.iter().filter(|param| param["source"] == "set") {
            all.insert(param["name"].as_str().context("a parameter has a name")?.to_owned(), Value::Null);
        }
        all.extend(params.as_object().cloned().unwrap_or_default());
        all.insert("size".to_owned(), json!("16M"));
        // `error` answers at once, and has nothing that it could hand back.
        let mode =
            if self.mode == "split" && before["driver"]["driver"] == "error" { "drain" } else { self.mode };
        let options = json!({
            "mode": mode, "deadline_ms": deadline_ms, "params": all, "allow_other": true, "force": true,
        });
        let receipt = self.daemon.api()?.update("vol0", &module(driver)?, options)?;
        let reason = receipt["reason"].as_str().unwrap_or_default();
        ensure!(receipt["outcome"] == expect.outcome, "{driver} {params}: expected {expect:?}: {receipt:#}");
        ensure!(reason.contains(expect.reason), "the reason should tell of '{}': {receipt:#}", expect.reason);
        let after = self.daemon.device("vol0")?;
        match expect.outcome {
            "done" => ensure!(after["driver"]["driver"] == driver, "{driver} should serve: {after:#}"),
            "stranded" => return self.check(),
            _ => ensure!(after["driver"] == before["driver"], "the old driver should serve: {after:#}"),
        }
        self.serves()
    }

    /// fio's requests are answered, and none of them with an error.
    fn serves(&mut self) -> Result {
        let requests =
            |daemon: &Daemon| -> Result<u64> { Ok(daemon.device("vol0")?["requests"].as_u64().unwrap_or(0)) };
        let before = requests(&self.daemon)?;
        wait_until(|| requests(&self.daemon).map_or(true, |now| now > before + 16), "fio is served")?;
        self.check()
    }

    fn check(&mut self) -> Result {
        self.load.iter_mut().try_for_each(Verified::check)
    }

    /// Back to the driver between two cells.
    fn good(&mut self) -> Result {
        let hand_back = (self.mode == "split").to_string();
        let params = json!({ "ops": "read", "length": "64K", "hand_back": hand_back });
        self.update("hang", &params, WAIT_MS, DONE)
    }

    /// A client that waits for reads of the first pages.
    fn client(&self) -> Result<Client> {
        let mut client = Client::connect(self.daemon.nbd(), "vol0")?;
        for page in 0..4 {
            client.send(command::READ, 0, page * 4096, 4096, &[])?;
        }
        Ok(client)
    }

    /// The same, of which at least one has arrived, where they hang.
    fn hung_client(&self) -> Result<Client> {
        let client = self.client()?;
        // Whatever fio asks for is answered at once.
        let waits = || self.daemon.device("vol0").is_ok_and(|d| d["oldest_ns"].as_u64() > Some(50_000_000));
        wait_until(waits, "reads hang")?;
        Ok(client)
    }

    /// The same, for `driver` to take over: it is asked only about what another driver has begun.
    fn adoptable(&mut self, driver: &str) -> Result<Client> {
        if driver == "hang" {
            let slow =
                json!({ "ops": "read", "length": "64K", "fixed_us": "10000000", "hand_back": "false" });
            self.update("delay", &slow, WAIT_MS, DONE)?;
        }
        self.hung_client()
    }

    pub(crate) fn finish(self) -> Result<u64> {
        self.load.into_iter().map(Verified::finish).sum()
    }
}

/// `crash` with an error and a panic, and `hang`, once at an entry point. Some have no error to return: the first
/// is skipped there.
fn faults(at: &str) -> [(&'static str, &'static str, Value); 3] {
    let crash = |how| json!({ "at": at, "how": how, "times": "1" });
    let hang = json!({ "at": at, "for_ms": LONG_MS.to_string(), "times": "1" });
    [("error", "crash", crash("error")), ("panic", "crash", crash("panic")), ("hang", "hang", hang)]
}

pub(crate) fn of_the_new_driver(bench: &mut Product, table: &mut Table) -> Result {
    for (fault, driver, params) in faults("prepare") {
        let refused = Expect { outcome: "refused", reason: "prepare" };
        let expect = if fault == "hang" { DONE } else { refused };
        bench.update(driver, &params, DEADLINE_MS, expect)?;
        table.ran("prepare", fault, expect.outcome);
    }
    let mut points = vec!["connect", "queue_start"];
    if bench.mode == "adopt" {
        points.push("adopt");
    }
    for at in points {
        for (fault, driver, params) in faults(at) {
            bench.good()?;
            let waiting = if at == "adopt" { Some(bench.adoptable(driver)?) } else { None };
            let reason = if fault == "hang" { "deadline" } else { at };
            let ended = bench.update(driver, &params, DEADLINE_MS, back(reason));
            ended.with_context(|| format!("{fault} in {at}"))?;
            table.ran(at, fault, "rolled back");
            if let Some(client) = waiting {
                // Another driver has them then, and it does not hang.
                bench.update("crash", &json!({}), WAIT_MS, DONE)?;
                answered(client)?;
            }
        }
    }
    for (fault, driver, params) in faults("queue_run").into_iter().skip(1) {
        let expect = if fault == "hang" { DONE } else { back("queue_run") };
        bench.update(driver, &params, WAIT_MS, expect)?;
        table.ran("finish_update", fault, &expect.outcome.replace('_', " "));
    }
    bench.good()
}

pub(crate) fn of_the_old_driver(bench: &mut Product, table: &mut Table) -> Result {
    if bench.mode != "drain" {
        for (fault, driver, params) in faults("hand_back").into_iter().skip(1) {
            let (outcome, reason) = ("rolled_back", if fault == "hang" { "deadline" } else { "hand_back" });
            bench.update(driver, &params, WAIT_MS, DONE)?;
            bench.update("delay", &json!({}), DEADLINE_MS, Expect { outcome, reason })?;
            table.ran("start_update", fault, "rolled back");
            bench.good()?;
        }
    }
    for (fault, driver, params) in faults("disconnect") {
        bench.update(driver, &params, WAIT_MS, DONE)?;
        let reason = if fault == "hang" { "deadline" } else { "disconnect" };
        bench.update("delay", &json!({}), DEADLINE_MS, back(reason))?;
        table.ran("disconnect", fault, "rolled back");
        bench.good()?;
    }
    for (fault, driver, params) in faults("reconnect") {
        bench.update(driver, &params, WAIT_MS, DONE)?;
        let outcome = if fault == "hang" { "rolled_back" } else { "stranded" };
        let fails = json!({ "at": "connect", "how": "error" });
        bench.update("crash", &fails, WAIT_MS, Expect { outcome, reason: "connect" })?;
        table.ran("cancel_update", fault, &outcome.replace('_', " "));
        bench.good()?;
    }
    for (fault, driver, params) in faults("release").into_iter().skip(1) {
        bench.update(driver, &params, WAIT_MS, DONE)?;
        bench.good()?;
        table.ran("unload", fault, "done");
    }
    Ok(())
}

/// `hang` and `delay` while they are waited for; `error`, whose errors are its requests' alone.
pub(crate) fn of_requests(bench: &mut Product, table: &mut Table) -> Result {
    let here = json!({ "ops": "read", "length": "64K", "errno": "ENOSPC", "every": "1" });
    bench.update("error", &here, WAIT_MS, DONE)?;
    let mut client = Client::connect(bench.daemon.nbd(), "vol0")?;
    ensure!(client.read(0, 4096)? == Err(28), "ENOSPC was asked for");
    let slow = json!({ "ops": "read", "length": "64K", "fixed_us": "500000", "hand_back": "false" });
    bench.update("delay", &slow, WAIT_MS, DONE)?;
    ensure!(client.read(0, 4096)?.is_ok(), "no trace of the driver before");
    let client = bench.client()?;
    bench.update("crash", &json!({}), WAIT_MS, DONE)?;
    answered(client)?;
    bench.good()?;
    if bench.mode == "adopt" {
        return Ok(());
    }
    let hung = json!({ "ops": "read", "length": "64K", "hand_back": "false" });
    bench.update("hang", &hung, WAIT_MS, DONE)?;
    let client = bench.hung_client()?;
    bench.update("delay", &json!({}), 100, back("deadline"))?;
    table.ran("pending", "hang", "rolled back");
    let released = bench.daemon.cli(&["param", "set", "--temporary", "vol0", "release=true"])?;
    ensure!(released.status.success(), "{released:?}");
    answered(client)?;
    bench.good()
}

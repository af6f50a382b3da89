//! One daemon with one device and fio on it, for many cells.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use steadfast_tests::nbd::{Client, command};
use steadfast_tests::{Daemon, Result, Setup, TempDir, Verified, test_module};

/// Longest that anything may take that a test waits for.
const LIMIT: Duration = Duration::from_secs(60);

/// What a cell does wrong: entry point, fault, and further parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wrong<'a> {
    pub(crate) at: &'a str,
    pub(crate) how: &'a str,
    pub(crate) times: u32,
    pub(crate) hang_ms: u32,
}

impl Wrong<'static> {
    pub(crate) const NOTHING: Wrong<'static> = Wrong { at: "none", how: "error", times: 0, hang_ms: 1300 };
}

impl<'a> Wrong<'a> {
    pub(crate) fn new(at: &'a str, how: &'a str) -> Wrong<'a> {
        Wrong { at, how, ..Wrong::NOTHING }
    }

    fn params(self) -> Value {
        json!({
            "at": self.at, "how": self.how,
            "times": self.times.to_string(), "hang_ms": self.hang_ms.to_string(),
        })
    }
}

/// How an update is to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expect<'a> {
    pub(crate) outcome: &'a str,
    /// In the reason.
    pub(crate) reason: &'a str,
}

pub(crate) const DONE: Expect<'static> = Expect { outcome: "done", reason: "" };

pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) daemon: Daemon,
    pub(crate) mode: &'static str,
    modules: [PathBuf; 2],
    /// Which of the modules serves.
    serving: usize,
    load: Vec<Verified>,
    /// Uses the device between two rounds of fio as well, so that it is never free to become smaller.
    _user: Option<Client>,
}

impl Bench {
    /// A daemon in which both releases have been tried in this mode, with fio at work on the device.
    pub(crate) fn new(queues: u32, mode: &'static str) -> Result<Bench> {
        let mut bench = Bench::idle(queues, mode, 3000)?;
        bench._user = Some(Client::connect(bench.daemon.nbd(), "vol0")?);
        // The first 64 KiB are slow, and not for fio.
        for part in 0..2 {
            bench.load.push(Verified::start(&bench.daemon, "vol0", 1 + 7 * part, 7, 16));
        }
        bench.good()?;
        bench.good()?;
        Ok(bench)
    }

    /// The same without load; slow requests take `slow_ms`.
    pub(crate) fn idle(queues: u32, mode: &'static str, slow_ms: u32) -> Result<Bench> {
        let dir = TempDir::new()?;
        let modules = [test_module("matrix_one")?, test_module("matrix_two")?];
        let spec = format!("vol0={}:16M,slow_ms={slow_ms}", modules[0].display());
        let daemon = Setup::device(spec).arg("--queues").arg(queues.to_string()).start(&dir)?;
        Ok(Bench { dir, daemon, mode, modules, serving: 0, load: Vec::new(), _user: None })
    }

    /// The file that a driver makes at the entry point where it waits, until it is taken away.
    pub(crate) fn gate(&self) -> PathBuf {
        self.dir.join("gate")
    }

    /// The module that does not serve.
    pub(crate) fn next_module(&self) -> PathBuf {
        self.modules[1 - self.serving].clone()
    }

    fn busy(&mut self) -> Result {
        let daemon = &self.daemon;
        self.load.iter_mut().try_for_each(|l| l.busy(daemon, "vol0"))
    }

    /// Fails if fio has found an error.
    pub(crate) fn check(&mut self) -> Result {
        self.load.iter_mut().try_for_each(Verified::check)
    }

    /// An update to the other release, which is to do this wrong; ends as expected.
    pub(crate) fn update(&mut self, wrong: Wrong<'_>, deadline_ms: u64, expect: Expect<'_>) -> Result<Value> {
        let module = self.next_module();
        self.update_to(&module, wrong.params(), deadline_ms, expect)
    }

    /// An update to any module, with parameters.
    pub(crate) fn update_to(
        &mut self,
        module: &Path,
        params: Value,
        deadline_ms: u64,
        expect: Expect<'_>,
    ) -> Result<Value> {
        self.busy()?;
        let before = self.daemon.device("vol0")?;
        let options = json!({ "mode": self.mode, "deadline_ms": deadline_ms, "params": params });
        let receipt = self.daemon.api()?.update("vol0", module, options)?;
        self.ended(&receipt, &before, expect)?;
        Ok(receipt)
    }

    /// An update on a thread of its own that waits at its gate.
    pub(crate) fn update_to_gate(&mut self, wrong: Wrong<'_>) -> Result<JoinHandle<Result<Value>>> {
        self.busy()?;
        let options = json!({ "mode": self.mode, "params": wrong.params() });
        let (mut api, module) = (self.daemon.api()?, self.next_module());
        let thread = std::thread::spawn(move || api.update("vol0", &module, options));
        let gate = self.gate();
        wait_until(|| gate.exists() || thread.is_finished(), "the driver waits at its gate")?;
        if !gate.exists() {
            let receipt = join(thread)?;
            anyhow::bail!("{wrong:?}: the update ended before the gate: {receipt:#}");
        }
        Ok(thread)
    }

    /// Checks that an update ended as expected, and that the driver that should serve does.
    pub(crate) fn ended(&mut self, receipt: &Value, before: &Value, expect: Expect<'_>) -> Result {
        let reason = receipt["reason"].as_str().unwrap_or_default();
        ensure!(receipt["outcome"] == expect.outcome, "expected {expect:?}: {receipt:#}");
        ensure!(reason.contains(expect.reason), "the reason should tell of '{}': {receipt:#}", expect.reason);
        ensure!((expect.outcome == "done") == reason.is_empty(), "a failure says why: {receipt:#}");
        let after = self.daemon.device("vol0")?;
        let counts = |d: &Value| d["generation"].as_u64().unwrap_or(0);
        if expect.outcome == "done" {
            self.serving = 1 - self.serving;
            ensure!(counts(&after) == counts(before) + 1, "a new driver, a new generation: {after:#}");
        } else {
            // Who failed with its first steps had been attached, and the one before was attached again.
            let attached = if reason.contains("queue_run") { 2 } else { 0 };
            let expected = counts(before) + attached;
            ensure!(counts(&after) == expected, "the old driver, the old generation: {after:#}");
        }
        if expect.outcome != "stranded" {
            self.serves()?;
        }
        self.check()
    }

    /// The device is served by the driver that should serve it, and by that one alone: the release's own
    /// mark is in every request in flight, and a request that another one got would fail.
    fn serves(&mut self) -> Result {
        let device = self.daemon.device("vol0")?;
        let version = ["1.0.0", "2.0.0"][self.serving];
        ensure!(device["driver"]["version"] == version, "release {version} should serve: {device:#}");
        ensure!(device["errors"] == 0, "requests failed: {device:#}");
        // fio goes on for a while when one of its requests is never answered.
        let oldest = Duration::from_nanos(device["oldest_ns"].as_u64().unwrap_or(0));
        ensure!(oldest < Duration::from_secs(10), "a request is in flight for {oldest:?}: {device:#}");
        let served = |d: &Value| d["requests"].as_u64().unwrap_or(0);
        let begin = Instant::now();
        loop {
            let now = self.daemon.device("vol0")?;
            if served(&now) > served(&device) + 16 && now["state"] == "running" {
                return Ok(());
            }
            if self.load.is_empty() && served(&now) == served(&device) {
                return self.daemon.check_serves("vol0");
            }
            self.check()?;
            ensure!(begin.elapsed() < LIMIT, "nothing is served any more: {now:#}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// An update without fault, which must be done.
    pub(crate) fn good(&mut self) -> Result {
        self.update(Wrong::NOTHING, 45_000, DONE).map(|_| ())
    }

    /// A client that has slow requests in flight.
    pub(crate) fn slow_client(&self) -> Result<Client> {
        let mut client = Client::connect(self.daemon.nbd(), "vol0")?;
        for page in 0..4 {
            client.send(command::READ, 0, page * 4096, 4096, &[])?;
        }
        Ok(client)
    }

    /// Ends fio; returns its rounds.
    pub(crate) fn finish(self) -> Result<u64> {
        let rounds = self.load.into_iter().map(Verified::finish).sum::<Result<u64>>()?;
        let device = self.daemon.device("vol0")?;
        ensure!(device["errors"] == 0, "requests failed: {device:#}");
        Ok(rounds)
    }
}

/// The answers to `slow_client`'s reads.
pub(crate) fn answered(mut client: Client) -> Result {
    for _ in 0..4 {
        let (_, error) = client.receive()?;
        ensure!(error == 0, "a slow read failed with NBD error {error}");
        std::io::Read::read_exact(client.stream(), &mut [0; 4096])?;
    }
    Ok(())
}

pub(crate) fn wait_until(mut what: impl FnMut() -> bool, name: &str) -> Result {
    let begin = Instant::now();
    while !what() {
        ensure!(begin.elapsed() < LIMIT, "never: {name}");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

pub(crate) fn join(thread: JoinHandle<Result<Value>>) -> Result<Value> {
    thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the update's thread panicked"))).context("update")
}

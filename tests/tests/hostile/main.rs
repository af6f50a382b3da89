//! Hostile clients, of NBD and of the control socket, beside a client that verifies its data and drivers that are
//! replaced. The good client is served about as fast as before, and at the end everything is given back.
//!
//! Seconds by default; an hour with `STEADFAST_LONG=1`.

mod control;
mod nbd;
mod rng;

use anyhow::ensure;
use rng::Rng;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use steadfast_shell::histogram::Histogram;
use steadfast_tests::load::{Load, Shape};
use steadfast_tests::nbd::Client;
use steadfast_tests::process::{Footprint, at_rest, footprint};
use steadfast_tests::{Daemon, Result, Setup, Swapper, TempDir, Verified, module, until};

/// The good client's 99.9th percentile among hostile ones, over its own among none.
const RATIO: u64 = 60;
/// What both are taken to be at least, nanoseconds: on two cores, this is what an hour of the machine's own does.
const FLOOR_NS: u64 = 1_000_000;
/// How long the good client keeps a connection.
const ONE_CONNECTION: Duration = Duration::from_secs(10);
/// Hostile clients at a time, of each kind.
const CROWD: u64 = 3;

/// Hostile clients that run until this is told to end.
struct Crowd {
    stop: Arc<AtomicBool>,
    visits: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    fn start(daemon: &Daemon, seed: u64) -> Crowd {
        let (stop, visits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..CROWD * 2)
            .map(|number| {
                let (stop, visits) = (stop.clone(), visits.clone());
                let (nbd, control) = (daemon.nbd().to_owned(), daemon.control().to_owned());
                std::thread::spawn(move || {
                    let mut rng = Rng::new(seed + number);
                    while !stop.load(Ordering::Relaxed) {
                        // It ends as it ends: refused, cut off, out of patience.
                        let _ = match number % 2 {
                            0 => nbd::visit(&nbd, &mut rng),
                            _ => control::visit(&control, &mut rng),
                        };
                        visits.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        Crowd { stop, visits, threads }
    }

    fn finish(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow::anyhow!("a hostile client panicked"))?;
        }
        Ok(self.visits.load(Ordering::Relaxed))
    }
}

/// A good client's work for so long, on one connection after the other: its 99.9th percentile, nanoseconds, and its
/// longest request. `look` is asked between two of them whether all is well.
fn good(daemon: &Daemon, time: Duration, mut look: impl FnMut() -> Result) -> Result<(u64, u64)> {
    let (begin, mut all) = (Instant::now(), Histogram::default());
    while let Some(left) = time.checked_sub(begin.elapsed()) {
        let load = Load::start(daemon.nbd(), "vol0", Shape { size: 4096, depth: 8, write: false })?;
        std::thread::sleep(left.min(ONE_CONNECTION));
        for span in load.finish()? {
            all.record(span.end - span.begin);
        }
        look()?;
    }
    Ok((all.quantile(999, 1000), all.max_ns()))
}

/// What a process has when it has been left alone for a moment.
fn settled(daemon: &Daemon) -> Result<Footprint> {
    let mut least = footprint(daemon.pid())?;
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(10));
        least = least.least(footprint(daemon.pid())?);
    }
    Ok(least)
}

/// Waits until nothing is left of the clients; fails when it stays.
fn given_back(daemon: &Daemon, before: Footprint, patience: Duration) -> Result {
    let begin = Instant::now();
    loop {
        let device = daemon.device("vol0")?;
        let growth = settled(daemon)?.growth(before);
        let quiet = ["clients", "in_flight", "held"].iter().all(|field| device[*field] == 0);
        if quiet && growth.files == 0 && growth.anonymous < 48 << 20 {
            return Ok(());
        }
        ensure!(begin.elapsed() < patience, "left behind: {growth:?}; {device:#}");
    }
}

fn daemon(dir: &TempDir) -> Result<Daemon> {
    Setup::device(format!("vol0=ram:{}", nbd::SIZE)).start(dir)
}

#[test]
fn hostile_clients_cost_the_good_one_little_and_leave_nothing_behind() -> Result {
    let time = match std::env::var_os("STEADFAST_LONG") {
        Some(_) => Duration::from_secs(3600),
        None => Duration::from_secs(12),
    };
    let dir = TempDir::new()?;
    let mut daemon = daemon(&dir)?;
    // Once all that is kept for later has been made.
    good(&daemon, Duration::from_millis(500), || Ok(()))?;
    let before = at_rest(daemon.pid())?;
    let mut verified = Verified::start(&daemon, "vol0", 0, 16, 8);
    // A device in memory is never seen with a request in flight: what it has done says that it is at work.
    let done = || -> Result<u64> { Ok(daemon.device("vol0")?["requests"].as_u64().unwrap_or(0)) };
    let begun = done()?;
    until("fio is at work", || Ok((done()? > begun).then_some(())))?;
    let swapper = Swapper::start(&daemon, "vol0", vec![(module("ram")?, json!({ "mode": "adopt" }))])?;
    let (quiet, _) = good(&daemon, Duration::from_secs(3), || Ok(()))?;
    let crowd = Crowd::start(&daemon, 0x5eed);
    let (beside, longest) = good(&daemon, time, || verified.check())?;
    let visits = crowd.finish()?;
    verified.check()?;
    let rounds = verified.finish()?;
    let swaps = swapper.finish()?;
    let ratio = beside.max(FLOOR_NS) as f64 / quiet.max(FLOOR_NS) as f64;
    println!(
        "{visits} visits, {} swaps, {rounds} rounds of fio; p99.9 {} us quiet, {} us beside them: {ratio:.1} times; \
         longest {} us",
        swaps.count(),
        quiet / 1000,
        beside / 1000,
        longest / 1000
    );
    assert!(visits > 100 && swaps.count() > 0, "too little was tried");
    assert!(ratio <= RATIO as f64, "the good client was served {ratio:.1} times as slowly (bound: {RATIO})");
    given_back(&daemon, before, Duration::from_secs(60))?;
    let (_, health) = daemon.api()?.get("/v1/health")?;
    assert_eq!(health["healthy"], true, "{health:#}");
    daemon.check_serves("vol0")?;
    // All slots are there: as many requests at once as the port has.
    let all = Shape { size: 4096, depth: 1024, write: false };
    let load = Load::start(daemon.nbd(), "vol0", all)?;
    std::thread::sleep(Duration::from_millis(200));
    load.finish()?;
    assert!(daemon.stop()?.success(), "a clean stop");
    Ok(())
}

#[test]
fn what_stays_behind_is_found_out() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir)?;
    let before = at_rest(daemon.pid())?;
    let client = Client::connect(daemon.nbd(), "vol0")?;
    assert!(given_back(&daemon, before, Duration::from_secs(1)).is_err(), "a client is still there");
    drop(client);
    given_back(&daemon, before, Duration::from_secs(60))
}

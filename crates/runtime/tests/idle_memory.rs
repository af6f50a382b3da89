//! Buffers that lie idle give their memory back, and nobody's data goes with it.

mod support;

use std::time::{Duration, Instant};
use steadfast_runtime::{EngineConfig, UpdateOptions};
use steadfast_shell::receipt::Outcome;
use support::Bench;

/// Memory of the slots of a port that is there, KiB.
fn resident(port: &str) -> u64 {
    let name = format!("steadfast-slots-{port} ");
    let smaps = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
    let mut lines = smaps.lines();
    let mut kib = 0;
    while let Some(line) = lines.next() {
        if line.contains(&name) {
            let size = lines.find_map(|line| line.strip_prefix("Rss:")).expect("its size");
            kib += size.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
        }
    }
    kib
}

/// Waits until it is no more than `kib`.
fn falls_to(port: &str, kib: u64) {
    let start = Instant::now();
    while resident(port) > kib {
        assert!(start.elapsed() < Duration::from_secs(60), "{} KiB after a minute", resident(port));
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn bench() -> Bench {
    let bench = Bench::with(EngineConfig { keep_idle: Duration::from_millis(2), ..EngineConfig::default() });
    bench.attach("vol0", "ram", &[("size", "16M")], None);
    bench
}

#[test]
fn buffers_that_nobody_needs_any_more_have_no_memory() {
    let bench = bench();
    let before = resident("vol0");
    for _ in 0..3 {
        let load = bench.load("vol0", 4, 128);
        load.pass(2000);
        assert_eq!(load.stop(), Vec::<String>::new());
        // Headers and private bytes of requests, which are small, stay.
        falls_to("vol0", before + 400);
    }
    bench.engine.detach("vol0", false).expect("detached");
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn data_is_right_while_the_buffers_beside_it_are_given_back_and_drivers_are_replaced() {
    let bench = bench();
    let steady = bench.load_in("vol0", 1, 2, (0, 512));
    for round in 0..40 {
        let burst = bench.load_in("vol0", 2, 100, (1024, 1024));
        burst.pass(400);
        assert_eq!(burst.stop(), Vec::<String>::new(), "round {round}");
        let receipt = bench.engine.update("vol0", &bench.stage("ram"), &UpdateOptions::default());
        assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
        // Now and then there is time for all of them, otherwise the next burst comes in the middle.
        if round % 8 == 0 {
            falls_to("vol0", 2048);
        }
        steady.pass(20);
    }
    assert_eq!(steady.stop(), Vec::<String>::new());
    bench.engine.detach("vol0", true).expect("detached");
    bench.engine.stop(Duration::from_secs(10));
}

//! Updates under load, on real modules: nothing is lost, nothing is wrong, whatever happens.

mod support;

use std::time::Duration;
use steadfast_runtime::{PortState, UpdateOptions};
use steadfast_shell::receipt::{Mode, Outcome, Receipt, Unload};
use steadfast_shell::update::IfBusy;
use support::Bench;

fn assert_done(receipt: &Receipt, mode: Mode) {
    assert_eq!((receipt.outcome, receipt.mode), (Outcome::Done, Some(mode)), "{receipt:?}");
    assert_eq!(receipt.unload, Unload::Unloaded, "{receipt:?}");
    assert_eq!(receipt.generation_after, receipt.generation_before + 1);
}

fn file(bench: &Bench, megabytes: u64) -> String {
    let path = bench.dir.path().join("disk.img");
    let file = std::fs::File::create(&path).expect("created");
    file.set_len(megabytes << 20).expect("sized");
    path.display().to_string()
}

#[test]
fn a_ram_disk_keeps_its_contents_while_its_driver_is_replaced() {
    let bench = Bench::new(1);
    bench.attach("vol0", "ram", &[("size", "4M")], None);
    let module = bench.stage("ram");
    let load = bench.load("vol0", 1, 32);
    for _ in 0..100 {
        assert_done(&bench.engine.update("vol0", &module, &UpdateOptions::default()), Mode::Adopt);
        load.pass(100);
    }
    assert_eq!(load.stop(), Vec::<String>::new());
    let info = bench.engine.port("vol0").expect("port");
    assert_eq!((info.swaps, info.errors, info.state), (100, 0, PortState::Running));
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_file_goes_up_by_adoption_and_down_by_draining() {
    let bench = Bench::new(1);
    let path = file(&bench, 16);
    bench.attach("vol0", "file_1_0", &[("path", &path)], None);
    let (old, new) = (bench.stage("file_1_0"), bench.stage("file_1_1"));
    let load = bench.load("vol0", 2, 32);
    let down = UpdateOptions { allow_older: true, ..UpdateOptions::default() };
    let mut adopted = 0;
    for _ in 0..50 {
        let up = bench.engine.update("vol0", &new, &UpdateOptions::default());
        assert_done(&up, Mode::Adopt);
        adopted += up.adopted;
        load.pass(200);
        let again = bench.engine.update("vol0", &new, &UpdateOptions::default());
        assert_done(&again, Mode::Adopt);
        load.pass(200);
        assert_done(&bench.engine.update("vol0", &old, &down), Mode::Drain);
        load.pass(200);
    }
    assert_eq!(load.stop(), Vec::<String>::new());
    assert!(adopted > 0, "requests were in flight while the driver was replaced");
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn several_queues_swap_together() {
    let bench = Bench::new(3);
    let path = file(&bench, 16);
    bench.attach("vol0", "file_1_0", &[("path", &path)], Some(3));
    bench.attach("other", "ram", &[("size", "1M")], Some(2));
    let (old, new) = (bench.stage("file_1_0"), bench.stage("file_1_1"));
    let load = bench.load("vol0", 6, 16);
    let beside = bench.load("other", 2, 4);
    let down = UpdateOptions { allow_older: true, ..UpdateOptions::default() };
    for _ in 0..30 {
        assert_done(&bench.engine.update("vol0", &new, &UpdateOptions::default()), Mode::Adopt);
        load.pass(100);
        beside.pass(10);
        assert_done(&bench.engine.update("vol0", &old, &down), Mode::Drain);
        load.pass(100);
    }
    assert_eq!(load.stop(), Vec::<String>::new());
    assert_eq!(beside.stop(), Vec::<String>::new());
    assert_eq!(bench.engine.port("other").expect("port").generation, 1, "the other port did not notice");
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn refusals_touch_nothing() {
    let bench = Bench::new(1);
    let path = file(&bench, 1);
    bench.attach("vol0", "file_1_1", &[("path", &path)], None);
    let claim = bench.engine.open_device("vol0").expect("device");
    let older = UpdateOptions { allow_older: true, ..UpdateOptions::default() };
    let old = bench.stage("file_1_0");
    let refused = bench.engine.update("vol0", &old, &older);
    assert_eq!(refused.outcome, Outcome::Refused);
    assert!(refused.reason.contains("trim"), "a client relies on trim: {}", refused.reason);
    drop(claim);
    let refused = bench.engine.update("vol0", &old, &UpdateOptions::default());
    assert_eq!(refused.outcome, Outcome::Refused, "1.0 is older than 1.1");
    assert!(refused.reason.contains("1.0.0") && refused.reason.contains("1.1.0"), "{}", refused.reason);
    let refused = bench.engine.update("vol0", &bench.stage("ram"), &UpdateOptions::default());
    assert_eq!(refused.outcome, Outcome::Refused, "another driver");
    let missing = bench.engine.update("vol7", &old, &older);
    assert!(missing.reason.contains("vol7") && missing.reason.contains("vol0"), "{}", missing.reason);
    let report = bench.engine.check("vol0", &old, &UpdateOptions::default()).expect("report");
    assert!(!report.ok && report.rows.iter().any(|r| !r.ok && r.name == "version"), "{report:?}");
    let info = bench.engine.port("vol0").expect("port");
    assert_eq!((info.generation, info.swaps, info.state), (1, 0, PortState::Running));
    assert_done(&bench.engine.update("vol0", &old, &older), Mode::Drain);
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn if_busy_fail_leaves_the_old_driver_serving() {
    let bench = Bench::new(1);
    let path = file(&bench, 16);
    bench.attach("vol0", "file_1_0", &[("path", &path)], None);
    let module = bench.stage("file_1_0");
    let load = bench.load("vol0", 1, 64);
    let opts = UpdateOptions { mode: Some(Mode::Drain), if_busy: IfBusy::Fail, ..UpdateOptions::default() };
    let mut busy = 0;
    for _ in 0..50 {
        let receipt = bench.engine.update("vol0", &module, &opts);
        assert!(matches!(receipt.outcome, Outcome::Busy | Outcome::Done), "{receipt:?}");
        busy += u32::from(receipt.outcome == Outcome::Busy);
        load.pass(20);
    }
    assert!(busy > 0, "with 64 requests in flight it was never busy");
    assert_eq!(load.stop(), Vec::<String>::new());
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_port_in_use_is_detached_only_by_force() {
    let bench = Bench::new(1);
    bench.attach("vol0", "ram", &[("size", "1M")], None);
    let claim = bench.engine.open_device("vol0").expect("device");
    let refused = bench.engine.detach("vol0", false).expect_err("in use");
    assert!(refused.to_string().contains("in use by 1 client"), "{refused}");
    bench.engine.detach("vol0", true).expect("forced");
    drop(claim);
    assert!(bench.engine.port("vol0").is_none() && bench.engine.open_device("vol0").is_none());
    bench.attach("vol0", "ram", &[("size", "2M")], None);
    assert_eq!(bench.engine.devices()[0].size, 2 << 20);
    bench.engine.detach("vol0", false).expect("idle");
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn requests_and_their_latencies_are_counted_across_swaps() {
    let bench = Bench::new(2);
    bench.attach("vol0", "ram", &[("size", "4M")], Some(2));
    let module = bench.stage("ram");
    let load = bench.load("vol0", 2, 8);
    load.pass(200);
    let before = bench.engine.metrics("vol0").expect("port");
    for _ in 0..5 {
        assert_done(&bench.engine.update("vol0", &module, &UpdateOptions::default()), Mode::Adopt);
        load.pass(200);
    }
    assert_eq!(load.stop(), Vec::<String>::new());
    let now = bench.engine.metrics("vol0").expect("port");
    let window = now.since(&before);
    assert!(window.requests >= 1000, "{window:?}");
    let by_kind: u64 = window.operations.values().map(|o| o.requests).sum();
    assert_eq!((window.requests, window.errors, window.silent_queues), (by_kind, 0, 0));
    assert_eq!(window.latency.count(), window.requests, "each has been measured");
    assert_eq!(window.bytes_read, window.operations["read"].requests * 4096);
    let q = now.latency.quantiles();
    assert!(q.p50_ns > 0 && q.p50_ns <= q.p99_ns && q.p99_ns <= q.max_ns, "{q:?}");
    assert_eq!((now.in_flight, now.held, now.oldest_ns), (0, 0, 0), "nothing is in flight any more");
    assert!(bench.engine.metrics("vol7").is_none());
    bench.engine.stop(Duration::from_secs(10));
}

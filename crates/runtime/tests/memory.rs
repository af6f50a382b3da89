//! Memory of drivers: what there is, what is left out without it, and that nobody uses another's.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use steadfast_runtime::{PortRules, PortSpec, UpdateOptions};
use steadfast_shell::receipt::Outcome;
use support::Bench;

/// A file behind a port whose later drivers have no more memory than `reserve`, or than the first.
fn attach(bench: &Bench, driver: &str, reserve: Option<u64>) {
    let path = bench.dir.path().join("disk.img");
    let file = std::fs::File::create(&path).expect("file");
    file.set_len(4 << 20).expect("size");
    let module = Arc::new(bench.stage(driver).load().expect("loaded"));
    let params = BTreeMap::from([("path".to_owned(), path.display().to_string())]);
    let spec = PortSpec { name: "vol0".into(), module, params, queues: None, adapter: None };
    let rules = PortRules { reserve, ..PortRules::default() };
    bench.engine.attach_under(spec, rules).expect("attached");
}

#[test]
fn a_driver_that_wants_more_than_there_is_serves_without_a_feature_until_the_next_start() {
    let bench = Bench::new(2);
    attach(&bench, "file_1_0", Some(128));
    let load = bench.load("vol0", 2, 16);
    load.pass(100);
    let receipt = bench.engine.update("vol0", &bench.stage("file_1_1"), &UpdateOptions::default());
    assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
    assert_eq!(receipt.reduced.len(), 1, "{receipt:?}");
    let port = bench.engine.port("vol0").expect("port");
    assert_eq!(port.reduced, receipt.reduced);
    assert!(port.reduced[0].feature.contains("merging") && port.reduced[0].why.contains("memory"));
    assert!(port.memory.is_short() && port.memory.queue_granted < port.memory.queue_wanted);
    load.pass(500);
    assert_eq!(load.stop(), Vec::<String>::new());

    bench.engine.detach("vol0", false).expect("detached");
    attach(&bench, "file_1_1", Some(128));
    let port = bench.engine.port("vol0").expect("port");
    assert_eq!((port.reduced, port.memory.is_short()), (Vec::new(), false), "the next start");
    let receipt = bench.engine.update("vol0", &bench.stage("file_1_1"), &UpdateOptions::default());
    assert_eq!((receipt.outcome, receipt.reduced), (Outcome::Done, Vec::new()));
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_driver_that_needs_more_than_there_is_is_refused_before_any_of_its_code_runs() {
    let bench = Bench::new(1);
    attach(&bench, "file_1_0", Some(0));
    let module = bench.trouble(&["NEEDS=\"1048576:1048576\""]);
    let opts = UpdateOptions { allow_other: true, ..UpdateOptions::default() };
    let receipt = bench.engine.update("vol0", &module, &opts);
    assert_eq!(receipt.outcome, Outcome::Refused);
    assert!(receipt.reason.contains("memory.port: trouble 1.0.0 needs 1M"), "{}", receipt.reason);
    bench.engine.stop(Duration::from_secs(10));
}

/// A driver in C that reads by a handle number which it never opened: another driver's file.
#[test]
fn a_handle_that_a_driver_never_opened_is_not_its_own() {
    let bench = Bench::new(1);
    attach(&bench, "file_1_0", None);
    let module = bench.trouble(&["STEALS"]);
    let opts = UpdateOptions {
        allow_other: true,
        params: BTreeMap::from([("path".to_owned(), None)]),
        ..UpdateOptions::default()
    };
    let receipt = bench.engine.update("vol0", &module, &opts);
    assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
    // Nor does it keep the other's file open, and locked.
    let path = bench.dir.path().join("disk.img").display().to_string();
    bench.attach("again", "file_1_0", &[("path", &path)], None);
    let load = bench.load("vol0", 1, 4);
    load.pass(50);
    assert_eq!(load.stop(), Vec::<String>::new(), "each theft was answered with EBADF");
    bench.engine.stop(Duration::from_secs(10));
}

/// Pages of this process that are in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages")
}

#[test]
fn what_a_port_could_need_takes_no_memory_before_it_does() {
    let bench = Bench::new(2);
    let attach = |n: u32| bench.attach(&format!("vol{n}"), "null", &[], Some(2));
    (0..50).for_each(attach);
    let before = resident();
    (50..250).for_each(attach);
    let each = (resident() - before) * 4096 / 200;
    // Its slots alone, at the size that they have now, are 340 MB.
    assert!(each < 1 << 20, "{each} bytes for each port");
    let load = bench.load("vol249", 2, 64);
    load.pass(1000);
    load.stop();
    bench.engine.stop(Duration::from_secs(30));
}

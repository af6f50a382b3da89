//! A driver that fails with its first steps goes back; and what a port that is stuck or refused is said to be.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use steadfast_runtime::{ActivateOptions, ErrorKind, PortSpec, PortState, UpdateOptions};
use steadfast_shell::properties::Definitions;
use steadfast_shell::receipt::{Mode, Outcome, Phase, Unload};
use support::Bench;

fn in_mode(mode: Mode) -> UpdateOptions {
    UpdateOptions { mode: Some(mode), ..UpdateOptions::default() }
}

#[test]
fn a_driver_whose_queue_run_fails_goes_back() {
    for mode in [Mode::Adopt, Mode::Drain] {
        for queues in [1, 2] {
            let bench = Bench::new(queues);
            bench.attach_trouble("vol0", &bench.trouble(&[]), queues);
            let load = bench.load("vol0", queues, 8);
            load.pass(20);
            let receipt = bench.engine.update("vol0", &bench.trouble(&["FAIL_QUEUE_RUN"]), &in_mode(mode));
            assert_eq!(receipt.outcome, Outcome::RolledBack, "{mode:?} {receipt:#?}");
            assert!(receipt.reason.contains("nothing to run on"), "{}", receipt.reason);
            assert_eq!(receipt.unload, Unload::Unloaded, "of the new one");
            assert!(receipt.phases.iter().any(|p| p.phase == Phase::CancelUpdate), "{receipt:#?}");
            load.pass(50);
            let port = bench.engine.port("vol0").expect("port");
            assert_eq!((port.swaps, port.state), (0, PortState::Running));
            let good = bench.engine.update("vol0", &bench.trouble(&["EXTRA=4096"]), &in_mode(mode));
            assert_eq!((good.outcome, good.reason.as_str()), (Outcome::Done, ""));
            load.pass(50);
            assert_eq!(load.stop(), Vec::<String>::new());
            bench.engine.stop(Duration::from_secs(10));
        }
    }
}

/// Also where it runs, and cannot carry a request out.
#[test]
fn a_driver_that_fails_before_it_has_answered_a_request_goes_back() {
    let bench = Bench::new(1);
    bench.attach_trouble("vol0", &bench.trouble(&["READ_NS=50000000"]), 1);
    let load = bench.readers("vol0", 1, 4);
    load.pass(8);
    // Something must be held for the new one to begin with: it waits for what is in flight.
    let load = [load, bench.readers("vol0", 1, 64)];
    let mut outcome = Outcome::Refused;
    for _ in 0..20 {
        let receipt = bench.engine.update("vol0", &bench.trouble(&["FAIL_FIRST"]), &in_mode(Mode::Drain));
        outcome = receipt.outcome;
        assert!(receipt.outcome == Outcome::Done || receipt.reason.contains("carried out"), "{receipt:#?}");
        if receipt.held > 0 || outcome == Outcome::RolledBack {
            break;
        }
        bench.engine.update("vol0", &bench.trouble(&[]), &in_mode(Mode::Drain));
    }
    assert_eq!(outcome, Outcome::RolledBack);
    load.into_iter().for_each(|load| drop(load.stop()));
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_port_whose_first_driver_fails_to_run_is_not_attached() {
    let bench = Bench::new(1);
    let module = Arc::new(bench.trouble(&["FAIL_QUEUE_RUN"]).load().expect("loaded"));
    let params = std::collections::BTreeMap::new();
    let spec = PortSpec { name: "vol0".into(), module, params, queues: Some(1), adapter: None };
    let e = bench.engine.attach(spec).expect_err("it says that it cannot run");
    assert!(e.kind() == ErrorKind::Driver && e.to_string().contains("nothing to run on"), "{e}");
    assert!(bench.engine.port("vol0").is_none());
    bench.attach_trouble("vol0", &bench.trouble(&[]), 1);
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_port_that_is_stuck_is_busy_and_not_broken() {
    let bench = Bench::new(1);
    bench.attach_trouble("vol0", &bench.trouble(&["HANG_SUBMIT"]), 1);
    let gate = bench.gate("vol0");
    std::fs::write(&gate, "").expect("gate");
    let load = bench.load("vol0", 1, 1);
    while bench.engine.port("vol0").expect("port").state != PortState::Unresponsive {
        std::thread::sleep(Duration::from_millis(1));
    }
    let opts = ActivateOptions { idle_only: true, ..ActivateOptions::default() };
    let receipt = bench.engine.activate("vol0", || Ok(Definitions::new()), &opts);
    assert_eq!(receipt.outcome, Outcome::Busy, "{receipt:#?}");
    let receipt = bench.engine.update("vol0", &bench.trouble(&[]), &UpdateOptions::default());
    assert_eq!(receipt.outcome, Outcome::Busy, "{receipt:#?}");
    assert!(receipt.reason.contains("stuck"), "{}", receipt.reason);
    std::fs::remove_file(&gate).expect("removed");
    load.pass(8);
    assert_eq!(load.stop(), Vec::<String>::new());
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_refused_activation_names_the_generation_that_the_port_has() {
    let bench = Bench::new(1);
    bench.attach_trouble("vol0", &bench.trouble(&[]), 1);
    let receipt = bench.engine.activate("vol0", || Err("no such file".into()), &ActivateOptions::default());
    let report = receipt.properties.expect("a report");
    assert_eq!((receipt.outcome, receipt.generation_before), (Outcome::Refused, 1));
    assert_eq!((report.stamp_before.generation, report.stamp_after.generation), (1, 1));
    bench.engine.stop(Duration::from_secs(10));
}

/// Who looks at a port while its driver is replaced keeps no module in memory.
#[test]
fn a_module_that_no_other_port_runs_is_never_said_to_be_in_use() {
    let bench = Bench::new(1);
    bench.attach("vol0", "ram", &[("size", "1M")], Some(1));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let _ = (bench.engine.ports(), bench.engine.running_modules());
                }
            });
        }
        for _ in 0..50 {
            let receipt = bench.engine.update("vol0", &bench.stage("ram"), &UpdateOptions::default());
            assert_eq!((receipt.outcome, receipt.unload), (Outcome::Done, Unload::Unloaded));
        }
        over.store(true, Ordering::Relaxed);
    });
    bench.engine.stop(Duration::from_secs(10));
}

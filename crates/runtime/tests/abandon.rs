//! An operator can always put a driver away, whatever it does.

mod support;

use std::time::Duration;
use steadfast_loader::StagedModule;
use steadfast_runtime::{PortInfo, PortState, TroubleCode, UpdateOptions};
use steadfast_shell::receipt::{Mode, Outcome, Receipt, Unload};
use support::Bench;

fn port(bench: &Bench) -> PortInfo {
    bench.engine.port("vol0").expect("port")
}

fn update(bench: &Bench, module: &StagedModule, mode: Mode, ms: u64, abandon: bool) -> Receipt {
    let deadline = Some(Duration::from_millis(ms));
    let opts = UpdateOptions { deadline, abandon, mode: Some(mode), ..UpdateOptions::default() };
    bench.engine.update("vol0", module, &opts)
}

fn until(bench: &Bench, what: &str, is: impl Fn(&PortInfo) -> bool) {
    for _ in 0..60_000 {
        if is(&port(bench)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("never {what}: {:#?}", port(bench));
}

#[test]
fn a_driver_that_does_not_let_go_is_put_away_without_its_state() {
    for mode in [Mode::Adopt, Mode::Drain] {
        let bench = Bench::new(2);
        bench.attach_trouble("vol0", &bench.trouble(&["FAIL_DISCONNECT"]), 2);
        let load = bench.load("vol0", 2, 8);
        load.pass(20);
        let good = bench.trouble(&["EXTRA=4096"]);
        let receipt = update(&bench, &good, mode, 5000, true);
        assert_eq!((receipt.outcome, receipt.unload), (Outcome::Done, Unload::Pinned), "{receipt:#?}");
        assert!(receipt.abandoned.is_some_and(|why| why.contains("disconnect")));
        load.pass(50);
        let abandoned = port(&bench).abandoned;
        assert_eq!(abandoned.len(), 1, "{abandoned:?}");
        assert!(!abandoned[0].inside && abandoned[0].entry == "disconnect");
        assert_eq!(update(&bench, &bench.trouble(&[]), mode, 5000, false).outcome, Outcome::Done);
        load.pass(50);
        assert_eq!(load.stop(), Vec::<String>::new(), "requests were handed on");
        bench.engine.stop(Duration::from_secs(10));
    }
}

#[test]
fn a_driver_that_does_not_return_from_disconnect_is_put_away() {
    let bench = Bench::new(1);
    bench.attach_trouble("vol0", &bench.trouble(&["HANG_DISCONNECT"]), 1);
    let load = bench.load("vol0", 1, 8);
    load.pass(20);
    std::fs::write(bench.gate("vol0"), "").expect("gate");
    let receipt = update(&bench, &bench.trouble(&["EXTRA=4096"]), Mode::Adopt, 1, true);
    assert_eq!((receipt.outcome, receipt.unload), (Outcome::Done, Unload::Pinned), "{receipt:#?}");
    assert!(receipt.abandoned.is_some_and(|why| why.contains("did not return")));
    load.pass(50);
    assert!(port(&bench).abandoned[0].inside);
    std::fs::remove_file(bench.gate("vol0")).expect("removed");
    until(&bench, "gone", |port| port.abandoned.is_empty());
    load.pass(50);
    assert_eq!(load.stop(), Vec::<String>::new());
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_port_that_an_update_has_left_stuck_takes_another_driver() {
    let bench = Bench::new(1);
    bench.attach_trouble("vol0", &bench.trouble(&["HANG_DISCONNECT"]), 1);
    let load = bench.load("vol0", 1, 8);
    load.pass(20);
    std::fs::write(bench.gate("vol0"), "").expect("gate");
    let good = bench.trouble(&["EXTRA=4096"]);
    assert_eq!(update(&bench, &good, Mode::Adopt, 1, false).outcome, Outcome::Stranded);
    assert_eq!(port(&bench).state, PortState::Unresponsive);
    assert_eq!(update(&bench, &good, Mode::Adopt, 1, false).outcome, Outcome::Busy);
    let receipt = update(&bench, &good, Mode::Adopt, 5000, true);
    assert_eq!(receipt.outcome, Outcome::Done, "{receipt:#?}");
    load.pass(50);
    assert_eq!(port(&bench).state, PortState::Running);
    std::fs::remove_file(bench.gate("vol0")).expect("removed");
    until(&bench, "gone", |port| port.abandoned.is_empty());
    load.pass(50);
    assert_eq!(load.stop(), Vec::<String>::new(), "requests were handed on");
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_driver_that_does_not_return_from_a_look_at_its_state_is_put_away() {
    let bench = Bench::new(2);
    bench.attach_trouble("vol0", &bench.trouble(&["SAVES_STATE", "HANG_SAVE"]), 2);
    let load = bench.load("vol0", 2, 8);
    load.pass(20);
    std::fs::write(bench.gate("vol0"), "").expect("gate");
    bench.engine.save_state("vol0").expect_err("it does not return");
    let receipt = update(&bench, &bench.trouble(&["EXTRA=4096"]), Mode::Adopt, 5000, true);
    assert_eq!(receipt.outcome, Outcome::Done, "{receipt:#?}");
    load.pass(50);
    assert!(port(&bench).abandoned[0].inside);
    std::fs::remove_file(bench.gate("vol0")).expect("removed");
    until(&bench, "gone", |port| port.abandoned.is_empty());
    load.pass(50);
    assert_eq!(load.stop(), Vec::<String>::new());
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn what_a_driver_does_not_finish_fails_cleanly_when_it_is_put_away() {
    let bench = Bench::new(1);
    bench.attach_trouble("vol0", &bench.trouble(&["READ_NS=60000000000"]), 1);
    let load = bench.readers("vol0", 1, 4);
    until(&bench, "full", |port| port.in_flight == 4);
    let good = bench.trouble(&[]);
    assert_eq!(update(&bench, &good, Mode::Drain, 50, false).outcome, Outcome::RolledBack);
    let receipt = update(&bench, &good, Mode::Drain, 50, true);
    assert_eq!(receipt.outcome, Outcome::Done, "{receipt:#?}");
    load.pass(50);
    let failed = load.stop();
    assert!(failed.len() == 4 && failed.iter().all(|f| f.contains("result -5")), "{failed:?}");
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_port_is_taken_away_by_force_whatever_its_driver_does() {
    for trouble in ["FAIL_DISCONNECT", "HANG_DISCONNECT"] {
        let bench = Bench::new(1);
        bench.attach_trouble("vol0", &bench.trouble(&[trouble]), 1);
        std::fs::write(bench.gate("vol0"), "").expect("gate");
        bench.engine.detach("vol0", true).expect("taken away");
        assert!(bench.engine.port("vol0").is_none());
        bench.attach_trouble("vol0", &bench.trouble(&[]), 1);
        std::fs::remove_file(bench.gate("vol0")).expect("removed");
        bench.engine.stop(Duration::from_secs(10));
    }
}

/// A drain asks the driver to end its own operations. One that goes back asks it to begin them again, and nobody could be
/// put in its place without being asked for.
#[test]
fn a_driver_that_does_not_return_from_queue_run_on_the_way_back_is_stuck_until_it_is_put_away() {
    let bench = Bench::new(1);
    bench.attach_trouble("vol0", &bench.trouble(&["HANG_QUEUE_RUN"]), 1);
    bench.attach("beside", "ram", &[("size", "1M")], Some(1));
    let (load, beside) = (bench.load("vol0", 1, 8), bench.load("beside", 1, 8));
    load.pass(20);
    std::fs::write(bench.gate("vol0"), "").expect("gate");
    let receipt = update(&bench, &bench.trouble(&["FAIL_CONNECT"]), Mode::Drain, 2000, false);
    assert_eq!(receipt.outcome, Outcome::Stranded, "{receipt:#?}");
    assert!(receipt.reason.contains("does not return from `queue_run`"), "{}", receipt.reason);
    let vol0 = port(&bench);
    assert_eq!(vol0.state, PortState::Unresponsive);
    let stuck = vol0.troubles.iter().find(|trouble| trouble.code == TroubleCode::Stuck).expect("it says so");
    assert!(stuck.target == "queue_run" && stuck.detail.contains("--abandon"), "{stuck:?}");
    beside.pass(200);
    let other = bench.engine.update("beside", &bench.stage("ram"), &UpdateOptions::default());
    assert_eq!(other.outcome, Outcome::Done, "{other:#?}");
    assert_eq!(bench.engine.port("beside").expect("port").troubles, Vec::new());
    let good = bench.trouble(&["EXTRA=4096"]);
    assert_eq!(update(&bench, &good, Mode::Drain, 2000, false).outcome, Outcome::Busy);
    assert!(bench.gate("vol0").exists(), "all of that while it is in there");
    let receipt = update(&bench, &good, Mode::Drain, 2000, true);
    assert_eq!(receipt.outcome, Outcome::Done, "{receipt:#?}");
    load.pass(50);
    let vol0 = port(&bench);
    assert_eq!((vol0.state, vol0.troubles), (PortState::Running, Vec::new()));
    assert_eq!((vol0.abandoned[0].entry.as_str(), vol0.abandoned[0].inside), ("queue_run", true));
    std::fs::remove_file(bench.gate("vol0")).expect("removed");
    until(&bench, "gone", |port| port.abandoned.is_empty());
    assert_eq!((load.stop(), beside.stop()), (Vec::new(), Vec::new()));
    assert!(bench.engine.stop(Duration::from_secs(10)));
}

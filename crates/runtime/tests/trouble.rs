//! Drivers in C that make trouble: whatever they do, no request is lost and the port comes back.

mod support;

use std::time::Duration;
use steadfast_loader::StagedModule;
use steadfast_runtime::{PortState, UpdateOptions};
use steadfast_shell::receipt::{Mode, Outcome};
use steadfast_shell::update::IfBusy;
use support::Bench;

fn build(bench: &Bench, defines: &[&str]) -> StagedModule {
    bench.trouble(defines)
}

fn attach(bench: &Bench, module: &StagedModule, queues: usize) {
    bench.attach_trouble("vol0", module, queues);
}

fn in_mode(mode: Mode) -> UpdateOptions {
    UpdateOptions { mode: Some(mode), ..UpdateOptions::default() }
}

fn outcome(bench: &Bench, module: &StagedModule, opts: &UpdateOptions) -> (Outcome, String) {
    let receipt = bench.engine.update("vol0", module, opts);
    (receipt.outcome, receipt.reason)
}

fn done() -> (Outcome, String) {
    (Outcome::Done, String::new())
}

#[test]
fn a_stranded_port_comes_back_with_every_request_that_was_in_flight() {
    for (queues, mode) in [(1, Mode::Adopt), (2, Mode::Adopt), (1, Mode::Drain), (2, Mode::Drain)] {
        let bench = Bench::new(queues);
        attach(&bench, &build(&bench, &["FAIL_RECONNECT"]), queues);
        let load = bench.load("vol0", 2, 16);
        load.pass(100);
        let (refusing, good) = (build(&bench, &["FAIL_CONNECT"]), build(&bench, &[]));
        let stranded = bench.engine.update("vol0", &refusing, &in_mode(mode));
        assert_eq!(stranded.outcome, Outcome::Stranded, "{stranded:?}");
        assert_eq!(bench.engine.port("vol0").expect("port").state, PortState::Stranded);
        let again = bench.engine.update("vol0", &refusing, &UpdateOptions::default());
        assert_eq!((again.outcome, again.from.driver.as_str()), (Outcome::Stranded, "trouble"), "{again:?}");
        assert_eq!(outcome(&bench, &good, &UpdateOptions::default()), done(), "{queues} {mode:?}");
        load.pass(100);
        assert_eq!(load.stop(), Vec::<String>::new());
        assert_eq!(bench.engine.port("vol0").expect("port").state, PortState::Running);
        bench.engine.stop(Duration::from_secs(10));
    }
}

#[test]
fn a_stranded_port_can_be_taken_away_with_requests_in_flight() {
    let bench = Bench::new(1);
    attach(&bench, &build(&bench, &["FAIL_RECONNECT"]), 1);
    let load = bench.load("vol0", 1, 16);
    load.pass(100);
    let stranded = outcome(&bench, &build(&bench, &["FAIL_CONNECT"]), &in_mode(Mode::Adopt));
    assert_eq!(stranded.0, Outcome::Stranded, "{stranded:?}");
    bench.engine.detach("vol0", true).expect("taken away");
    let failed = load.stop();
    assert!(!failed.is_empty() && failed.iter().all(|f| f.contains("result -19")), "{failed:?}");
    attach(&bench, &build(&bench, &[]), 1);
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_stranded_port_takes_only_a_driver_that_knows_what_was_left() {
    let bench = Bench::new(1);
    attach(&bench, &build(&bench, &["FAIL_RECONNECT"]), 1);
    let (outcome_, reason) = outcome(&bench, &build(&bench, &["FAIL_CONNECT"]), &in_mode(Mode::Adopt));
    assert_eq!(outcome_, Outcome::Stranded, "{reason}");
    let (outcome_, reason) = outcome(&bench, &bench.stage("ram"), &UpdateOptions::default());
    assert_eq!(outcome_, Outcome::Refused);
    assert!(reason.contains("trouble") && reason.contains("another driver"), "{reason}");
    assert_eq!(outcome(&bench, &build(&bench, &[]), &UpdateOptions::default()), done());
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_driver_that_does_not_return_from_connect_stops_its_own_port_only() {
    let bench = Bench::new(2);
    attach(&bench, &build(&bench, &[]), 1);
    bench.attach("beside", "ram", &[("size", "1M")], Some(1));
    let (load, beside) = (bench.load("vol0", 1, 8), bench.load("beside", 1, 8));
    let gate = bench.gate("vol0");
    std::fs::write(&gate, "").expect("gate");
    let opts = UpdateOptions { deadline: Some(Duration::ZERO), ..in_mode(Mode::Adopt) };
    let (hanging, good) = (build(&bench, &["HANG"]), build(&bench, &[]));
    assert_eq!(outcome(&bench, &hanging, &opts).0, Outcome::RolledBack);
    beside.pass(100);
    load.pass(100);
    let info = bench.engine.port("vol0").expect("port");
    assert_eq!((info.swaps, info.state), (0, PortState::Running), "the old one goes on");

    std::fs::remove_file(&gate).expect("removed");
    load.pass(100);
    assert_eq!(outcome(&bench, &good, &UpdateOptions::default()), done());
    load.pass(100);
    assert_eq!((load.stop(), beside.stop()), (Vec::new(), Vec::new()));
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn what_a_refused_driver_leaves_does_not_reach_the_one_that_goes_on() {
    let bench = Bench::new(2);
    attach(&bench, &build(&bench, &[]), 2);
    let load = bench.load("vol0", 2, 8);
    load.pass(50);
    // Its disconnect, which undoes its connect, leaves a state that the old driver would refuse.
    let other = build(&bench, &["FAIL_QUEUE_START", "MARK=2"]);
    assert_eq!(outcome(&bench, &other, &UpdateOptions::default()).0, Outcome::RolledBack);
    // A region of its own is not there any more when another wants it in another size.
    let large = build(&bench, &["FAIL_CONNECT", "EXTRA=8192"]);
    assert_eq!(outcome(&bench, &large, &UpdateOptions::default()).0, Outcome::RolledBack);
    assert_eq!(outcome(&bench, &build(&bench, &["EXTRA=4096"]), &UpdateOptions::default()), done());
    // Nobody but the driver that serves or connects has a say in what devices there are.
    assert_eq!(outcome(&bench, &build(&bench, &["EARLY"]), &UpdateOptions::default()), done());
    assert_eq!(bench.engine.devices().len(), 1);
    load.pass(50);
    assert_eq!(load.stop(), Vec::<String>::new());
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_timer_that_ran_out_while_the_port_was_held_takes_nothing_along() {
    let bench = Bench::new(2);
    let ticking = build(&bench, &["TICKS=1000000", "SLOW=5000"]);
    attach(&bench, &ticking, 2);
    for _ in 0..20 {
        assert_eq!(outcome(&bench, &ticking, &in_mode(Mode::Adopt)), done());
    }
    // An operation whose event was lost would be waited for.
    let drain = UpdateOptions { deadline: Some(Duration::from_secs(5)), ..in_mode(Mode::Drain) };
    assert_eq!(outcome(&bench, &ticking, &drain), done());
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_queue_that_answers_after_the_update_was_given_up_goes_on_with_the_old_driver() {
    for mode in [Mode::Adopt, Mode::Drain] {
        // The queue gets stuck after the candidate has begun to prepare.
        let bench = Bench::new(2);
        attach(&bench, &build(&bench, &["HANG_SUBMIT"]), 2);
        let load = bench.load("vol0", 1, 8);
        load.pass(20);
        let gate = bench.gate("vol0");
        let good = build(&bench, &["SLOW_PREPARE=1000000"]);
        let (close, path) = (Duration::from_millis(300), gate.clone());
        let closing = std::thread::spawn(move || {
            std::thread::sleep(close);
            std::fs::write(path, "").expect("gate");
        });
        let opts = UpdateOptions { deadline: Some(Duration::ZERO), ..in_mode(mode) };
        assert_eq!(outcome(&bench, &good, &opts).0, Outcome::RolledBack);
        closing.join().expect("closed");
        assert_eq!(outcome(&bench, &good, &opts).0, Outcome::Busy);
        std::fs::remove_file(&gate).expect("removed");
        load.pass(50);
        let info = bench.engine.port("vol0").expect("port");
        assert_eq!((info.swaps, info.state), (0, PortState::Running));
        assert_eq!(outcome(&bench, &good, &UpdateOptions::default()), done());
        load.pass(50);
        assert_eq!(load.stop(), Vec::<String>::new());
        bench.engine.stop(Duration::from_secs(10));
    }
}

#[test]
fn busy_is_answered_at_once_whichever_queue_is_busy() {
    let bench = Bench::new(2);
    // A read that takes as long as the test may.
    attach(&bench, &build(&bench, &["READ_NS=4000000000"]), 2);
    let load = bench.load("vol0", 1, 4);
    while bench.engine.port("vol0").expect("port").in_flight < 4 {
        std::thread::yield_now();
    }
    let good = build(&bench, &[]);
    for _ in 0..20 {
        let opts = UpdateOptions { if_busy: IfBusy::Fail, ..in_mode(Mode::Drain) };
        assert_eq!(outcome(&bench, &good, &opts), (Outcome::Busy, "busy: 4 in flight".into()));
    }
    assert_eq!(load.stop(), Vec::<String>::new());
    bench.engine.stop(Duration::from_secs(10));
}

//! Requests that a driver has not begun go to the next one.

mod support;

use std::time::Duration;
use steadfast_runtime::UpdateOptions;
use steadfast_shell::receipt::{Mode, Outcome, Receipt};
use support::Bench;

/// Another private part of each request: nothing in flight can be adopted.
const OTHER: &str = "PDU=\"trouble/2\"";

fn update(bench: &Bench, defines: &[&str], mode: Option<Mode>) -> Receipt {
    let module = bench.trouble(defines);
    bench.engine.update("vol0", &module, &UpdateOptions { mode, ..UpdateOptions::default() })
}

/// Waits until `n` requests are with the driver.
fn in_flight(bench: &Bench, n: u32) {
    while bench.engine.port("vol0").expect("port").in_flight < n {
        std::thread::yield_now();
    }
}

#[test]
fn a_split_waits_for_nothing_that_was_not_begun() {
    for queues in [1, 2] {
        let bench = Bench::new(queues);
        // Drained, each read would be waited for longer than the test may take.
        let slow = bench.trouble(&["HANDS_BACK", "READ_NS=3600000000000"]);
        bench.attach_trouble("vol0", &slow, queues);
        let load = bench.load("vol0", 2, 16);
        in_flight(&bench, 32);
        let receipt = update(&bench, &["HANDS_BACK", OTHER], None);
        assert_eq!((receipt.outcome, receipt.mode), (Outcome::Done, Some(Mode::Split)), "{receipt:?}");
        let counts = (receipt.handed_back, receipt.held, receipt.drained, receipt.adopted);
        assert_eq!(counts, (32, 32, 0, 0));
        load.pass(500);
        assert_eq!(load.stop(), Vec::<String>::new());
        bench.engine.stop(Duration::from_secs(10));
    }
}

#[test]
fn what_was_handed_back_comes_back_when_the_new_driver_fails() {
    for (queues, mode) in [(1, Mode::Split), (2, Mode::Split), (1, Mode::Adopt), (2, Mode::Adopt)] {
        let bench = Bench::new(queues);
        let module = bench.trouble(&["HANDS_BACK"]);
        bench.attach_trouble("vol0", &module, queues);
        let load = bench.load("vol0", 2, 16);
        for _ in 0..10 {
            load.pass(50);
            let receipt = update(&bench, &["FAIL_CONNECT"], Some(mode));
            assert_eq!(receipt.outcome, Outcome::RolledBack, "{receipt:?}");
            load.pass(50);
            let receipt = update(&bench, &["HANDS_BACK"], Some(mode));
            assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
        }
        assert_eq!(load.stop(), Vec::<String>::new(), "each request once, with its own data");
        assert_eq!(bench.engine.port("vol0").expect("port").driver_faults, 0);
        bench.engine.stop(Duration::from_secs(10));
    }
}

/// Every slot is in use, so that the places of the waits that end are wanted again at once.
#[test]
fn all_slots_can_be_handed_back_again_and_again() {
    let bench = Bench::new(1);
    let slow = ["HANDS_BACK", "READ_NS=3600000000000"];
    let module = bench.trouble(&slow);
    bench.attach_trouble("vol0", &module, 1);
    let slots = bench.engine.port("vol0").expect("port").slots;
    let load = bench.load("vol0", 1, slots as usize);
    for _ in 0..20 {
        in_flight(&bench, slots);
        let receipt = update(&bench, &slow, Some(Mode::Split));
        assert_eq!((receipt.outcome, receipt.handed_back), (Outcome::Done, slots), "{receipt:?}");
    }
    assert_eq!(update(&bench, &["HANDS_BACK"], Some(Mode::Split)).outcome, Outcome::Done);
    load.pass(2000);
    assert_eq!(load.stop(), Vec::<String>::new());
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn a_driver_that_hands_nothing_back_cannot_be_split() {
    let bench = Bench::new(1);
    let module = bench.trouble(&[]);
    bench.attach_trouble("vol0", &module, 1);
    let receipt = update(&bench, &["HANDS_BACK"], Some(Mode::Split));
    assert_eq!(receipt.outcome, Outcome::Refused);
    assert!(receipt.reason.contains("trouble 1.0.0 cannot hand requests back"), "{}", receipt.reason);
    assert_eq!(update(&bench, &[OTHER], None).mode, Some(Mode::Drain));
    bench.engine.stop(Duration::from_secs(10));
}

//! Slots and the largest request change when a port is initialised anew, under whatever its clients do.

mod support;

#[path = "support/ask.rs"]
mod ask;
#[path = "support/count.rs"]
mod count;

use ask::{ask, request};
use count::{Walk, attach, info, stop, until};
use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_abi::block_op;
use steadfast_runtime::{ActivateOptions, UpdateOptions};
use steadfast_shell::properties::{Definition, Source};
use steadfast_shell::receipt::{Mode, Outcome, Receipt};
use support::Bench;

/// Initialises the port anew with these properties beside those that it has.
fn activate(bench: &Bench, changes: &[(&str, &str)]) -> Receipt {
    let mut set = info(bench).properties;
    for (name, value) in changes {
        let source = Source::Command { who: "a test".into() };
        set.insert((*name).to_owned(), Definition { value: (*value).to_owned(), source });
    }
    bench.engine.activate("vol0", move || Ok(set), &ActivateOptions::default())
}

#[test]
fn a_port_has_more_slots_and_fewer_again_under_load() {
    for queues in [1, 2] {
        let bench = Bench::new(queues);
        // The driver fails what has a tag beyond the slots that it was told of.
        let module = attach(&bench, queues, &[("io_slots", "128")]);
        let load = bench.load("vol0", queues * 2, 90);
        load.pass(300);
        let before = info(&bench);
        assert_eq!((before.slots, before.in_flight + before.held <= 128), (128, true), "{before:?}");
        for slots in [1024, 256, 10_240, 128, 512, 128] {
            let receipt = activate(&bench, &[("io_slots", &slots.to_string())]);
            assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
            assert_eq!(info(&bench).slots, slots);
            // Clients that waited for slots have them.
            if slots >= 512 {
                until(&bench, |port| port.in_flight > 140);
            }
            load.pass(300);
            if slots == 128 {
                until(&bench, |port| port.in_flight <= 128);
            }
            let opts = UpdateOptions { mode: Some(Mode::Adopt), ..UpdateOptions::default() };
            let receipt = bench.engine.update("vol0", &module, &opts);
            assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
        }
        assert_eq!(load.stop(), Vec::<String>::new(), "{queues} queues");
        stop(&bench);
    }
}

#[test]
fn slots_change_together_with_the_driver_while_it_takes_over_what_is_in_flight() {
    let bench = Bench::new(2);
    let module = attach(&bench, 2, &[]);
    let load = bench.load("vol0", 4, 200);
    load.pass(500);
    for slots in ["128", "2048", "256", "1024"] {
        let params = BTreeMap::from([("io_slots".to_owned(), Some(slots.to_owned()))]);
        let opts = UpdateOptions { mode: Some(Mode::Adopt), params, ..UpdateOptions::default() };
        let receipt = bench.engine.update("vol0", &module, &opts);
        assert_eq!((receipt.outcome, receipt.adopted > 0), (Outcome::Done, true), "{receipt:?}");
        assert_eq!(info(&bench).slots.to_string(), slots);
        load.pass(500);
    }
    assert_eq!(load.stop(), Vec::<String>::new());
    stop(&bench);
}

#[test]
fn the_largest_request_changes_and_what_was_begun_before_keeps_its_length() {
    let bench = Bench::new(1);
    // One at a time, so that the others stand in line while the port is initialised anew.
    let params = [("io_throttle", "1"), ("delay", "200000000"), ("max_transfer", "1388544")];
    attach(&bench, 1, &params);
    let long = 1_388_544;
    std::thread::scope(|scope| {
        let engine = &bench.engine;
        let write = |fill: u8| move || ask(engine, "vol0", request(block_op::WRITE, 0, 0, long), fill).0;
        let all: Vec<_> = (1..=3).map(|fill| scope.spawn(write(fill))).collect();
        until(&bench, |port| port.waiting >= 2);
        let receipt = activate(&bench, &[("max_transfer", "131072")]);
        assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
        for one in all {
            assert_eq!(one.join().expect("asked"), 0);
        }
    });
    let receipt = activate(&bench, &[("max_transfer", "262144"), ("delay", "0")]);
    assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
    let (result, data) = ask(&bench.engine, "vol0", request(block_op::READ, 0, 1_048_576, 262_144), 0);
    assert_eq!((result, data.len()), (0, 262_144), "a client sees no more than the port takes now");
    assert!(data.iter().all(|byte| (1..=3).contains(byte)), "what was written is there to its end");
    stop(&bench);
}

#[test]
fn a_set_that_cannot_be_leaves_the_slots_as_they_are() {
    let bench = Bench::new(1);
    attach(&bench, 1, &[("io_slots", "256")]);
    let walk = Walk::begin(&bench, 200);
    walk.pass(400);
    for (name, value) in [("io_slots", "127"), ("io_slots", "10241"), ("max_transfer", "131071")] {
        let receipt = activate(&bench, &[(name, value)]);
        assert_eq!(receipt.outcome, Outcome::Refused, "{receipt:?}");
        assert!(receipt.reason.contains(&format!("{name}={value}")), "{receipt:?}");
    }
    // One that goes back in the middle: requests in flight are not waited for.
    let mut set = info(&bench).properties;
    let source = Source::Command { who: "a test".into() };
    set.insert("io_slots".into(), Definition { value: "1024".into(), source });
    let opts = ActivateOptions { drain_timeout: Some(Duration::ZERO), ..ActivateOptions::default() };
    let receipt = bench.engine.activate("vol0", move || Ok(set), &opts);
    assert_eq!(receipt.outcome, Outcome::RolledBack, "{receipt:?}");
    assert_eq!(info(&bench).slots, 256);
    walk.pass(400);
    assert_eq!(walk.end(), Vec::<i32>::new());
    stop(&bench);
}

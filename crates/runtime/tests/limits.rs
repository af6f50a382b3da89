//! What the shell carries out under every driver: how many requests it has at a time, how fast they come,
//! how long they may take.

mod support;

#[path = "support/ask.rs"]
mod ask;
#[path = "support/count.rs"]
mod count;

use ask::{ask, request};
use count::{LAST, SIZE, Walk, attach, info, set, stop, until};
use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_abi::block_op;
use steadfast_runtime::{ActivateOptions, UpdateOptions};
use steadfast_shell::receipt::{Mode, Outcome};
use support::Bench;

#[test]
fn the_shells_parameters_are_there_under_every_driver() {
    let bench = Bench::new(1);
    bench.attach("vol0", "ram", &[("io_throttle", "7"), ("log_mask", "0x0")], None);
    let port = info(&bench);
    let value = |name: &str| port.parameters.iter().find(|p| p.name == name).and_then(|p| p.value.clone());
    assert_eq!((value("io_throttle"), value("log_mask")), (Some("7".into()), Some("0".into())));
    assert_eq!(value("request_timeout").as_deref(), Some("30"));
    // `ram` has no `param_changed`, and need not have it for what is the shell's.
    set(&bench, &[("io_throttle", "0"), ("request_timeout", "1")]);
    let changes = BTreeMap::from([("io_throttle".to_owned(), Some("9000".to_owned()))]);
    let refused = bench.engine.set_param("vol0", &changes, "a test").expect_err("too many");
    assert!(refused.to_string().contains("io_throttle=9000 (allowed 0..=8192)"), "{refused}");
    stop(&bench);
}

#[test]
fn the_driver_never_has_more_requests_than_the_throttle_says() {
    for (queues, limit) in [(1, "1"), (1, "5"), (2, "1"), (2, "3"), (4, "1"), (4, "6")] {
        let bench = Bench::new(queues);
        attach(&bench, queues, &[("io_throttle", limit), ("most", limit)]);
        let load = bench.load("vol0", queues * 2, 16);
        load.pass(400);
        let port = info(&bench);
        assert!(port.waiting > 0 && port.held == 0 && port.held_total == 0, "{port:?}");
        load.pass(400);
        assert_eq!(load.stop(), Vec::<String>::new(), "{limit} on {queues} queues");
        stop(&bench);
    }
}

#[test]
fn what_waits_for_its_turn_stays_in_order_through_swaps() {
    let bench = Bench::new(1);
    let module = attach(&bench, 1, &[("io_throttle", "3"), ("most", "20"), ("ordered", "true")]);
    let walk = Walk::begin(&bench, 64);
    walk.pass(200);
    for (i, mode) in [Mode::Adopt, Mode::Drain].into_iter().cycle().take(12).enumerate() {
        let opts = UpdateOptions { mode: Some(mode), ..UpdateOptions::default() };
        let receipt = bench.engine.update("vol0", &module, &opts);
        assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
        let n = receipt.adopted + receipt.drained;
        assert!(n <= 20, "{n} in flight: what stands in line is not the driver's: {receipt:?}");
        assert!(receipt.held < 64, "nor is it held by the update: {receipt:?}");
        set(&bench, &[("io_throttle", if i % 2 == 0 { "20" } else { "3" })]);
        walk.pass(100);
    }
    assert_eq!(walk.end(), Vec::<i32>::new());
    stop(&bench);
}

#[test]
fn a_throttle_changes_under_load_and_over_swaps() {
    for queues in [1, 3] {
        let bench = Bench::new(queues);
        let module = attach(&bench, queues, &[]);
        let load = bench.load("vol0", queues * 2, 16);
        load.pass(200);
        for (i, limit) in ["2", "0", "1", "40", "3", "0", "7", "1", "0"].into_iter().enumerate() {
            // Together with the driver's own, and so while the port is held; or alone.
            if i % 3 == 2 {
                set(&bench, &[("most", "0")]);
                set(&bench, &[("io_throttle", limit)]);
                set(&bench, &[("most", limit)]);
            } else {
                set(&bench, &[("io_throttle", limit), ("most", limit)]);
            }
            load.pass(60);
            let mode = [Mode::Adopt, Mode::Drain][i % 2];
            let opts = UpdateOptions { mode: Some(mode), ..UpdateOptions::default() };
            let receipt = bench.engine.update("vol0", &module, &opts);
            assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
            load.pass(60);
            let wrong = load.shared.wrong.lock().expect("list").clone();
            assert_eq!(wrong, Vec::<String>::new(), "at {limit}, {i}th, on {queues} queues");
        }
        assert_eq!(load.stop(), Vec::<String>::new());
        let port = info(&bench);
        assert_eq!((port.in_flight, port.waiting, port.held), (0, 0, 0));
        stop(&bench);
    }
}

#[test]
fn under_a_rate_limit_and_a_throttle_nothing_is_lost() {
    let bench = Bench::new(2);
    let params = [("link_speed", "1"), ("io_throttle", "8"), ("most", "8"), ("delay", "0")];
    let module = attach(&bench, 2, &params);
    let load = bench.load("vol0", 4, 32);
    load.pass(3000);
    let receipt = bench.engine.update("vol0", &module, &UpdateOptions::default());
    assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
    load.pass(3000);
    set(&bench, &[("io_throttle", "0"), ("most", "0")]);
    load.pass(3000);
    assert_eq!(load.stop(), Vec::<String>::new());
    stop(&bench);
}

#[test]
fn requests_in_flight_are_waited_for_as_long_as_the_port_says_where_nobody_else_does() {
    let bench = Bench::new(1);
    let module = attach(&bench, 1, &[("drain_timeout", "0"), ("delay", "1000000000")]);
    let walk = Walk::begin(&bench, 4);
    until(&bench, |port| port.in_flight == 4);
    let update = |deadline| {
        let opts = UpdateOptions { mode: Some(Mode::Drain), deadline, ..UpdateOptions::default() };
        bench.engine.update("vol0", &module, &opts)
    };
    let activate = |drain_timeout| {
        let same = info(&bench).properties;
        let opts = ActivateOptions { drain_timeout, ..ActivateOptions::default() };
        bench.engine.activate("vol0", move || Ok(same), &opts)
    };
    let long = Some(Duration::from_secs(600));
    for receipt in [update(None), activate(None)] {
        assert_eq!(receipt.outcome, Outcome::RolledBack, "{receipt:?}");
    }
    for receipt in [update(long), activate(long)] {
        assert_eq!(receipt.outcome, Outcome::Done, "what was asked for counts: {receipt:?}");
    }
    set(&bench, &[("drain_timeout", "600")]);
    for receipt in [update(None), activate(None), update(long)] {
        assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
    }
    let receipt = update(Some(Duration::ZERO));
    assert_eq!(receipt.outcome, Outcome::RolledBack, "zero is a value: {receipt:?}");
    assert_eq!(walk.end(), Vec::<i32>::new());
    stop(&bench);
}

#[test]
fn a_request_that_takes_too_long_ends_with_an_error_while_others_go_on() {
    let bench = Bench::new(1);
    attach(&bench, 1, &[("request_timeout", "1"), ("keep", "true")]);
    let walk = Walk::begin(&bench, 4);
    // The walk meets the last block too, again and again.
    let (result, _) = ask(&bench.engine, "vol0", request(block_op::READ, 0, LAST, 4096), 0);
    assert_eq!(result, -libc::ETIMEDOUT);
    walk.pass(SIZE / 4096 * 2);
    let port = until(&bench, |port| port.lost > 0);
    assert_eq!(port.driver_faults, 0, "{port:?}");
    let wrong = walk.end();
    assert!(!wrong.is_empty() && wrong.iter().all(|result| *result == -libc::ETIMEDOUT), "{wrong:?}");
    // What was lost comes back when the driver completes it, late.
    set(&bench, &[("keep", "false")]);
    assert_eq!(ask(&bench.engine, "vol0", request(block_op::READ, 0, 0, 4096), 0).0, 0);
    let port = until(&bench, |port| port.lost == 0);
    assert_eq!((port.in_flight, port.driver_faults), (0, 0), "{port:?}");
    stop(&bench);
}

#[test]
fn a_request_that_takes_too_long_ends_also_while_an_update_drains() {
    let bench = Bench::new(1);
    let module = attach(&bench, 1, &[("request_timeout", "1"), ("keep", "true")]);
    let drain = |deadline| UpdateOptions { mode: Some(Mode::Drain), deadline, ..UpdateOptions::default() };
    let engine = bench.engine.clone();
    let kept = std::thread::spawn(move || ask(&engine, "vol0", request(block_op::READ, 0, LAST, 4096), 0).0);
    until(&bench, |port| port.in_flight == 1);
    // An attempt that comes to nothing does not make the request any younger.
    let receipt = bench.engine.update("vol0", &module, &drain(Some(Duration::from_millis(600))));
    assert_eq!(receipt.outcome, Outcome::RolledBack, "{receipt:?}");
    let receipt = bench.engine.update("vol0", &module, &drain(Some(Duration::from_secs(60))));
    assert_eq!(receipt.outcome, Outcome::Done, "what it keeps is not waited for any longer: {receipt:?}");
    assert_eq!(kept.join().expect("an answer"), -libc::ETIMEDOUT);
    // Exactly once: the slot is free again with the driver that had it, and nothing is answered twice.
    let port = until(&bench, |port| port.lost == 0 && port.in_flight == 0);
    assert_eq!(port.driver_faults, 0, "{port:?}");
    assert_eq!(ask(&bench.engine, "vol0", request(block_op::READ, 0, 0, 4096), 0).0, 0);
    stop(&bench);
}

#[test]
fn what_a_port_holds_back_is_not_old_when_it_comes_to_its_driver() {
    let bench = Bench::new(1);
    let params = [("request_timeout", "2"), ("delay", "1500000000")];
    let module = attach(&bench, 1, &params);
    let engine = bench.engine.clone();
    let first = std::thread::spawn(move || ask(&engine, "vol0", request(block_op::READ, 0, 0, 4096), 0).0);
    until(&bench, |port| port.in_flight == 1);
    let engine = bench.engine.clone();
    let update = std::thread::spawn(move || {
        let opts = UpdateOptions { mode: Some(Mode::Drain), ..UpdateOptions::default() };
        engine.update("vol0", &module, &opts)
    });
    until(&bench, |port| port.state == steadfast_runtime::PortState::Held);
    // Held for more than a second, and then a second and a half under way: longer than is allowed.
    let (result, _) = ask(&bench.engine, "vol0", request(block_op::READ, 0, 4096, 4096), 0);
    assert_eq!((result, first.join().expect("an answer")), (0, 0));
    assert_eq!(update.join().expect("a receipt").outcome, Outcome::Done);
    stop(&bench);
}

#[test]
fn a_slot_that_a_driver_keeps_is_nobody_elses_until_it_is_replaced() {
    let bench = Bench::new(1);
    let module = attach(&bench, 1, &[("request_timeout", "1"), ("keep", "true"), ("delay", "0")]);
    let (result, _) = ask(&bench.engine, "vol0", request(block_op::WRITE, 0, LAST, 4096), 7);
    assert_eq!(result, -libc::ETIMEDOUT);
    until(&bench, |port| port.lost == 1);
    let load = bench.load("vol0", 1, 900);
    load.pass(5000);
    // The load's own requests for that block time out, and nothing else is wrong with any.
    let receipt = bench.engine.update("vol0", &module, &UpdateOptions::default());
    assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
    until(&bench, |port| port.lost == 0);
    set(&bench, &[("keep", "false")]);
    load.pass(1000);
    let wrong = load.stop();
    let timed_out = |what: &String| what.contains("block 1023 ") && what.contains("result -110");
    assert!(wrong.iter().all(timed_out), "{wrong:?}");
    assert_eq!(info(&bench).driver_faults, 0);
    stop(&bench);
}

#[test]
fn an_operation_under_way_is_cancelled_and_what_stands_in_line_times_out_too() {
    let bench = Bench::new(1);
    let params = [("request_timeout", "1"), ("delay", "60000000000"), ("io_throttle", "1"), ("most", "1")];
    attach(&bench, 1, &params);
    let walk = Walk::begin(&bench, 8);
    walk.pass(16);
    set(&bench, &[("request_timeout", "0"), ("delay", "1000")]);
    let wrong = {
        // The one with the operation of a minute is still there.
        set(&bench, &[("request_timeout", "1")]);
        walk.pass(50);
        walk.end()
    };
    assert!(wrong.len() >= 16 && wrong.iter().all(|result| *result == -libc::ETIMEDOUT), "{wrong:?}");
    let port = info(&bench);
    assert_eq!((port.lost, port.driver_faults, port.in_flight), (0, 0, 0), "{port:?}");
    stop(&bench);
}

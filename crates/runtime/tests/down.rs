//! Ports that are to have no driver.

mod support;

#[path = "support/ask.rs"]
mod ask;
#[path = "support/count.rs"]
mod count;

use ask::{ask, request};
use count::{SIZE, Walk, attach, info, set, stop, until};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use steadfast_abi::block_op;
use steadfast_runtime::{ActivateOptions, PortSpec, PortState, UpdateOptions};
use steadfast_shell::properties::{Definition, Source};
use steadfast_shell::receipt::{Outcome, Receipt};
use support::Bench;

/// Initialises the port anew with these properties beside those that it has.
fn activate(bench: &Bench, changes: &[(&str, &str)], force: bool) -> Receipt {
    activate_port(bench, "vol0", changes, &ActivateOptions { force, ..ActivateOptions::default() })
}

fn activate_port(bench: &Bench, port: &str, changes: &[(&str, &str)], opts: &ActivateOptions) -> Receipt {
    let mut set = bench.engine.port(port).expect("port").properties;
    for (name, value) in changes {
        let source = Source::Command { who: "a test".into() };
        set.insert((*name).to_owned(), Definition { value: (*value).to_owned(), source });
    }
    bench.engine.activate(port, move || Ok(set), opts)
}

fn done(receipt: &Receipt) {
    assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
    assert!(receipt.generation_after > receipt.generation_before, "{receipt:?}");
}

#[test]
fn a_port_goes_down_and_comes_up_with_what_was_written() {
    for queues in [1, 3] {
        let bench = Bench::new(queues);
        attach(&bench, queues, &[]);
        assert_eq!(ask(&bench.engine, "vol0", request(block_op::WRITE, 0, 8192, 4096), 7).0, 0);
        done(&activate(&bench, &[("admin_state", "down")], false));
        let port = info(&bench);
        assert_eq!((port.state, port.driver, port.devices.len()), (PortState::Down, None, 0));
        assert!(bench.engine.open_device("vol0").is_none() && bench.engine.devices().is_empty());
        assert_eq!((bench.engine.device("vol0"), bench.engine.first_device()), (None, None));
        let value = port.parameters.iter().find(|p| p.name == "admin_state").and_then(|p| p.value.clone());
        assert_eq!(value.as_deref(), Some("down"), "its parameters are there");
        // Other values take effect when it comes up.
        done(&activate(&bench, &[("delay", "0")], false));
        assert_eq!(info(&bench).state, PortState::Down);
        done(&activate(&bench, &[("admin_state", "up")], false));
        assert_eq!(info(&bench).state, PortState::Running);
        let (result, data) = ask(&bench.engine, "vol0", request(block_op::READ, 0, 8192, 4096), 0);
        assert!(result == 0 && data.iter().all(|byte| *byte == 7), "{result}");
        let load = bench.load("vol0", queues, 16);
        load.pass(300);
        assert_eq!(load.stop(), Vec::<String>::new());
        stop(&bench);
    }
}

#[test]
fn a_port_that_starts_down_runs_nothing_until_it_comes_up() {
    let bench = Bench::new(2);
    let module = attach(&bench, 2, &[("admin_state", "down")]);
    let port = info(&bench);
    assert_eq!((port.state, port.generation, &port.driver), (PortState::Down, 0, &None));
    assert!(port.handles.is_empty() && port.regions.is_empty(), "{port:?}");
    let modules = bench.engine.running_modules();
    assert_eq!(modules.len(), 1, "it uses its module all the same: {modules:?}");
    // Neither an update nor a live change brings it up.
    let receipt = bench.engine.update("vol0", &module, &UpdateOptions::default());
    assert_eq!(receipt.outcome, Outcome::Refused, "{receipt:?}");
    let changes = BTreeMap::from([("delay".to_owned(), Some("0".to_owned()))]);
    let why = bench.engine.set_param("vol0", &changes, "a test").expect_err("down").to_string();
    assert!(receipt.reason.contains("is down") && why.contains("is down"), "{receipt:?}; {why}");
    done(&activate(&bench, &[("admin_state", "up")], false));
    assert_eq!((info(&bench).state, info(&bench).generation), (PortState::Running, 1));
    assert_eq!(ask(&bench.engine, "vol0", request(block_op::READ, 0, 0, 4096), 1).0, 0);
    // Nor does an update take one down.
    let params = BTreeMap::from([("admin_state".to_owned(), Some("down".to_owned()))]);
    let receipt = bench.engine.update("vol0", &module, &UpdateOptions { params, ..UpdateOptions::default() });
    assert_eq!(receipt.outcome, Outcome::Refused, "{receipt:?}");
    assert_eq!(info(&bench).state, PortState::Running);
    done(&activate(&bench, &[("admin_state", "down")], false));
    bench.engine.detach("vol0", false).expect("a port that is down can go");
    stop(&bench);
}

#[test]
fn clients_keep_a_port_up_unless_forced_and_their_requests_end_with_an_error() {
    let bench = Bench::new(1);
    attach(&bench, 1, &[("io_throttle", "2")]);
    let walk = Walk::begin(&bench, 16);
    walk.pass(100);
    let receipt = activate(&bench, &[("admin_state", "down")], false);
    assert_eq!(receipt.outcome, Outcome::Busy, "{receipt:?}");
    assert!(receipt.reason.contains("in use by 1 client, "), "{receipt:?}");
    assert_eq!(info(&bench).state, PortState::Running);
    walk.pass(100);
    done(&activate(&bench, &[("admin_state", "down")], true));
    walk.pass(100);
    let port = info(&bench);
    assert_eq!((port.state, port.in_flight, port.held, port.waiting), (PortState::Down, 0, 0, 0));
    // The client is served again without having come anew.
    done(&activate(&bench, &[("admin_state", "up")], false));
    let port = until(&bench, |port| port.in_flight > 0);
    assert_eq!(port.clients, 1);
    walk.pass(200);
    let wrong = walk.end();
    assert!(wrong.len() >= 100 && wrong.iter().all(|result| *result == -libc::ENODEV), "{wrong:?}");
    stop(&bench);
}

#[test]
fn a_port_whose_driver_cannot_come_up_stays_down() {
    let bench = Bench::new(1);
    let path = bench.dir.path().join("disk.img");
    std::fs::File::create(&path).and_then(|file| file.set_len(4 << 20)).expect("file");
    let target = path.display().to_string();
    bench.attach("vol0", "file_1_0", &[("path", &target)], None);
    done(&activate(&bench, &[("admin_state", "down")], false));
    assert!(info(&bench).handles.is_empty(), "nothing is kept open");
    std::fs::remove_file(&path).expect("removed");
    let receipt = activate(&bench, &[("admin_state", "up")], false);
    assert_eq!(receipt.outcome, Outcome::RolledBack, "{receipt:?}");
    assert!(receipt.reason.contains("disk.img"), "{receipt:?}");
    let port = info(&bench);
    assert_eq!((port.state, port.params["admin_state"].as_str()), (PortState::Down, "down"));
    std::fs::File::create(&path).and_then(|file| file.set_len(4 << 20)).expect("file");
    done(&activate(&bench, &[("admin_state", "up")], false));
    assert_eq!(ask(&bench.engine, "vol0", request(block_op::READ, 0, 0, 4096), 1).0, 0);
    stop(&bench);
}

#[test]
fn a_driver_that_does_not_connect_leaves_the_port_down() {
    for queues in [1, 2] {
        let bench = Bench::new(queues);
        let module = bench.trouble(&["FAIL_CONNECT"]);
        let spec = PortSpec {
            name: "vol0".into(),
            module: Arc::new(module.load().expect("loaded")),
            params: BTreeMap::from([("admin_state".to_owned(), "down".to_owned())]),
            queues: Some(queues),
            adapter: None,
        };
        bench.engine.attach(spec).expect("nothing of it runs");
        for _ in 0..2 {
            let receipt = activate(&bench, &[("admin_state", "up")], false);
            assert_eq!(receipt.outcome, Outcome::RolledBack, "{receipt:?}");
            assert_eq!((info(&bench).state, info(&bench).generation), (PortState::Down, 0), "{receipt:?}");
        }
        bench.engine.detach("vol0", false).expect("a port that is down can go");
        stop(&bench);
    }
}

#[test]
fn a_driver_that_does_not_finish_in_time_keeps_its_port_up() {
    let bench = Bench::new(1);
    attach(&bench, 1, &[("keep", "true"), ("request_timeout", "0")]);
    let walk = Walk::begin(&bench, 16);
    // Once around: the last block was among them.
    walk.pass(SIZE / 4096);
    let opts = ActivateOptions {
        force: true,
        drain_timeout: Some(Duration::from_millis(300)),
        ..ActivateOptions::default()
    };
    let receipt = activate_port(&bench, "vol0", &[("admin_state", "down")], &opts);
    assert_eq!(receipt.outcome, Outcome::RolledBack, "{receipt:?}");
    assert_eq!(receipt.generation_after, receipt.generation_before, "{receipt:?}");
    let port = info(&bench);
    assert_eq!((port.state, port.params.get("admin_state")), (PortState::Running, None));
    assert!(bench.engine.open_device("vol0").is_some(), "others are let in again");
    set(&bench, &[("keep", "false")]);
    // The next request makes it complete those that it has kept.
    assert_eq!(ask(&bench.engine, "vol0", request(block_op::READ, 0, 0, 4096), 0).0, 0);
    walk.pass(100);
    assert_eq!(walk.end(), Vec::<i32>::new());
    stop(&bench);
}

#[test]
fn a_port_that_is_stranded_on_its_way_down_comes_back_with_an_update() {
    let bench = Bench::new(2);
    // It refuses to let go, and does not take over again either.
    bench.attach_trouble("vol0", &bench.trouble(&["FAIL_DISCONNECT"]), 2);
    let load = bench.load("vol0", 2, 16);
    load.pass(100);
    let receipt = activate(&bench, &[("admin_state", "down")], true);
    assert_eq!(
        (receipt.outcome, info(&bench).state),
        (Outcome::Stranded, PortState::Stranded),
        "{receipt:?}"
    );
    let receipt = bench.engine.update("vol0", &bench.trouble(&[]), &UpdateOptions::default());
    assert_eq!((receipt.outcome, info(&bench).state), (Outcome::Done, PortState::Running), "{receipt:?}");
    load.pass(100);
    assert_eq!(load.stop(), Vec::<String>::new(), "what was held was answered");
    stop(&bench);
}

#[test]
fn a_port_under_another_goes_down_after_it_and_comes_up_before_it() {
    let bench = Bench::new(3);
    bench.attach("vol0", "ram", &[("size", "4M")], Some(1));
    // It starts down where nothing below it is asked for; when it comes up it has to be on the same queues.
    bench.attach("top", "over", &[("device", "vol0"), ("admin_state", "down")], None);
    let up = |port: &str| activate_port(&bench, port, &[("admin_state", "up")], &ActivateOptions::default());
    let down = |port: &str| {
        let opts = ActivateOptions { force: true, ..ActivateOptions::default() };
        activate_port(&bench, port, &[("admin_state", "down")], &opts)
    };
    done(&up("top"));
    assert_eq!(ask(&bench.engine, "top", request(block_op::WRITE, 0, 0, 4096), 7).0, 0);
    let receipt = down("vol0");
    assert_eq!(receipt.outcome, Outcome::Busy, "{receipt:?}");
    assert!(receipt.reason.contains("top"), "{receipt:?}");
    done(&down("top"));
    done(&down("vol0"));
    let receipt = up("top");
    assert_eq!(receipt.outcome, Outcome::RolledBack, "{receipt:?}");
    assert!(receipt.reason.contains("port vol0 is down"), "{receipt:?}");
    done(&up("vol0"));
    done(&up("top"));
    let (result, data) = ask(&bench.engine, "top", request(block_op::READ, 0, 0, 4096), 0);
    assert!(result == 0 && data.iter().all(|byte| *byte == 7), "{result}");
    stop(&bench);
}

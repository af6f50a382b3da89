//! `request_timeout` where a port is held for longer than it should be: whoever waits is answered while the driver is
//! still in its call. (With the driver, in line, and while an update drains: see `limits.rs`. Without a driver, on its
//! way to its client, in pieces: tests of the whole.)

mod support;

#[path = "support/ask.rs"]
mod ask;

use ask::{ask, request};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use steadfast_abi::block_op;
use steadfast_runtime::UpdateOptions;
use steadfast_shell::receipt::Mode;
use support::Bench;

/// Holds the port's driver in a call, and asks for something meanwhile.
fn is_answered_while_it_is_held(defines: &[&str], act: impl FnOnce(&Bench) + Send) {
    let bench = Bench::new(1);
    bench.attach_trouble("vol0", &bench.trouble(defines), 1);
    let timeout = BTreeMap::from([("request_timeout".to_owned(), Some("1".to_owned()))]);
    bench.engine.set_param("vol0", &timeout, "test").expect("set");
    let gate = bench.gate("vol0");
    std::fs::write(&gate, "").expect("gate");
    std::thread::scope(|scope| {
        let acts = scope.spawn(|| act(&bench));
        wait_for(&gate.with_file_name("gate-vol0.reached"));
        let (result, _) = ask(&bench.engine, "vol0", request(block_op::READ, 0, 0, 4096), 0);
        assert_eq!(result, -libc::ETIMEDOUT);
        assert!(gate.exists() && !acts.is_finished(), "the driver is in its call");
        std::fs::remove_file(&gate).expect("removed");
        acts.join().expect("no panic");
    });
    let (result, _) = ask(&bench.engine, "vol0", request(block_op::READ, 0, 0, 4096), 0);
    assert_eq!(result, 0, "it serves again");
    assert!(bench.engine.stop(Duration::from_secs(20)));
}

fn wait_for(file: &Path) {
    for _ in 0..60_000 {
        if file.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("no {}", file.display());
}

#[test]
fn a_pause_that_is_longer_than_its_deadline_keeps_nobody_waiting() {
    is_answered_while_it_is_held(&["HANG_DISCONNECT"], |bench| {
        let module = bench.trouble(&["READ_NS=4000000"]);
        let deadline = Some(Duration::from_secs(1));
        let opts = UpdateOptions { mode: Some(Mode::Adopt), deadline, ..UpdateOptions::default() };
        bench.engine.update("vol0", &module, &opts);
    });
}

#[test]
fn a_driver_that_takes_a_live_change_in_for_too_long_keeps_nobody_waiting() {
    is_answered_while_it_is_held(&["HANG_PARAM"], |bench| {
        let level = BTreeMap::from([("level".to_owned(), Some("2".to_owned()))]);
        // It is not waited for as long as the machine may take: what comes of it is no matter here.
        drop(bench.engine.set_param("vol0", &level, "test"));
        wait_while(&bench.gate("vol0"));
    });
}

fn wait_while(file: &Path) {
    while file.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

//! A module as the shell sees it: entry points, faults, and what is left of it in memory.

mod fake;

use fake::Fake;
use std::path::PathBuf;
use steadfast_abi::{PENDING, block_op::READ};

const EIO: i32 = -libc::EIO;

/// The example `misbehave`, which `cargo test` builds beside the tests.
fn module() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.parent().unwrap().parent().unwrap().join("examples/libmisbehave.so")
}

fn running() -> Fake {
    let mut fake = Fake::load(&module());
    fake.choose("fault", 0, "none");
    assert_eq!(fake.prepare(), 0, "{:?}", fake.memory().log);
    assert_eq!(fake.connect(), 0, "{:?}", fake.memory().log);
    fake
}

#[test]
fn the_manifest_in_the_table_is_the_one_in_the_file() {
    let fake = running();
    // SAFETY: the module is loaded, and its manifest is a constant of it.
    let manifest = unsafe { fake.driver().manifest.bytes() };
    let file = std::fs::read(&fake.path).unwrap();
    assert!(file.windows(manifest.len()).any(|w| w == manifest));
    let entries: Vec<&str> = std::str::from_utf8(manifest).unwrap().split_terminator('\0').collect();
    for wanted in [
        "manifest=1",
        "name=misbehave",
        "state.write=misbehave/1",
        "pdu=misbehave/1:8",
        "param.fault=enum",
        "param.fault.range=none,panic-in-prepare,panic-in-connect,fail-in-connect,panic-in-disconnect",
        "param.fault.class=live",
        "param.fault.help=Where to fail.",
        "param.note=str",
    ] {
        assert!(entries.contains(&wanted), "{wanted} is not in {entries:?}");
    }
    assert!(fake.unload());
}

#[test]
fn a_request_goes_through_its_steps_and_is_answered_once() {
    let mut fake = running();
    assert_eq!(fake.submit(0, READ, 0), 0);
    assert_eq!(fake.submit(1, READ, 2048), PENDING);
    for _ in 0..3 {
        assert_eq!(fake.memory().completed, []);
        fake.event(0);
    }
    assert_eq!(fake.memory().completed, [(1, 0)]);
    assert!(fake.unload());
}

#[test]
fn a_parked_request_is_answered_by_a_later_one() {
    let mut fake = running();
    assert_eq!(fake.submit(2, READ, 3072), PENDING);
    assert_eq!(fake.submit(3, READ, 3584), 0);
    assert_eq!(fake.memory().completed, [(2, -libc::EBUSY)]);
    assert!(fake.unload());
}

#[test]
fn a_forgotten_request_fails_and_the_log_says_so() {
    let mut fake = running();
    assert_eq!(fake.submit(2, READ, 3072), PENDING);
    assert_eq!(fake.submit(3, READ, 4096), 0);
    assert_eq!(fake.memory().completed, [(2, EIO)]);
    assert!(fake.memory().log.iter().any(|l| l == "request 2 was dropped: failed with EIO"));
    assert!(fake.unload());
}

#[test]
fn an_unknown_request_is_refused_before_the_driver_sees_it() {
    let mut fake = running();
    assert_eq!(fake.submit(0, 99, 0), -libc::EOPNOTSUPP);
    assert!(fake.unload());
}

#[test]
fn a_panic_costs_one_request_and_the_module_still_leaves_memory() {
    let mut fake = running();
    for (tag, offset) in [(0, 1024), (1, 1536)] {
        assert_eq!(fake.submit(tag, READ, offset), PENDING);
    }
    assert_eq!(fake.submit(2, READ, 2560), PENDING);
    fake.event(0);
    assert_eq!(fake.memory().completed, [(0, EIO), (1, EIO), (2, EIO)]);
    let log = fake.memory().log.join("\n");
    assert!(log.contains("submit: panic at crates/driver/examples/misbehave.rs:"), "{log}");
    assert!(log.contains("submit was asked to panic at 1024"), "{log}");
    assert!(log.contains("event was asked to panic"), "{log}");
    assert_eq!(fake.submit(0, READ, 0), 0, "the next request is served");
    assert!(fake.unload(), "the module is still mapped");
}

#[test]
fn a_panic_while_preparing_or_connecting_is_an_error() {
    for (index, fault) in [(1, "prepare"), (2, "connect")] {
        let mut fake = Fake::load(&module());
        fake.choose("fault", index, fault);
        let result = if index == 1 { fake.prepare() } else { fake.prepare() + fake.connect() };
        assert_eq!(result, -libc::ENOTRECOVERABLE);
        let log = fake.memory().log.join("\n");
        assert!(log.contains(&format!("{fault} was asked to panic")), "{log}");
        assert!(fake.unload());
    }
}

#[test]
fn an_error_keeps_its_number_and_its_sentence() {
    let mut fake = Fake::load(&module());
    fake.choose("fault", 3, "fail-in-connect");
    assert_eq!(fake.prepare(), 0);
    assert_eq!(fake.connect(), -libc::ENODEV);
    assert_eq!(fake.memory().log.last().unwrap(), "connect: connect was asked to fail");
    assert!(fake.unload());
}

#[test]
fn after_a_panic_in_disconnect_the_port_can_be_taken_back() {
    let mut fake = running();
    fake.choose("fault", 4, "panic-in-disconnect");
    let changed = fake.driver().param_changed.unwrap();
    // SAFETY: the port is live and nobody else is inside.
    assert_eq!(unsafe { changed(&mut *fake.port, steadfast_abi::Str::new("fault")) }, 0);
    assert_eq!(fake.disconnect(), -libc::ENOTRECOVERABLE);
    assert_eq!(fake.reconnect(), 0);
    assert_eq!(fake.submit(0, READ, 0), 0);
    assert!(fake.unload());
}

#[test]
fn state_is_left_and_found_again() {
    let mut fake = running();
    assert_eq!(fake.disconnect(), 0);
    let bytes = fake.memory().state["misbehave/1"].clone();
    assert_eq!(bytes, b"\xa1\x68connects\x01");
    assert_eq!(fake.reconnect(), 0);
    assert_eq!(fake.disconnect(), 0);
    assert_eq!(fake.memory().state["misbehave/1"], b"\xa1\x68connects\x02");
    fake.memory().state.insert("misbehave/1".into(), b"\xa1\x61x\x01".to_vec());
    assert_eq!(fake.reconnect(), -libc::EPROTO);
    let log = fake.memory().log.join("\n");
    assert!(
        log.contains("reconnect: state misbehave/1: ") && log.contains("key \"connects\" is missing"),
        "{log}"
    );
    assert!(fake.unload());
}

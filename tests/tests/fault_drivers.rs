//! The drivers that make faults do what they are asked to, on a live device, and give it back unharmed.

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use steadfast_tests::nbd::{Client, command};
use steadfast_tests::{Daemon, Result, Setup, TempDir, module};

const EIO: u32 = 5;
const ENOSPC: u32 = 28;

fn update(daemon: &Daemon, driver: &str, options: Value) -> Result<Value> {
    let mut all = json!({ "allow_other": true });
    if let (Some(all), Some(options)) = (all.as_object_mut(), options.as_object()) {
        all.extend(options.clone());
    }
    daemon.api()?.update("vol0", &module(driver)?, all)
}

/// An update that must succeed.
fn must(daemon: &Daemon, driver: &str, options: Value) -> Result<Value> {
    let receipt = update(daemon, driver, options)?;
    assert_eq!(receipt["outcome"], "done", "{receipt:#}");
    Ok(receipt)
}

fn set(daemon: &Daemon, changes: &[&str]) -> Result {
    let output = daemon.cli(&[&["param", "set", "--temporary", "vol0"], changes].concat())?;
    assert!(output.status.success(), "{output:?}");
    Ok(())
}

/// Waits until so many requests are in flight.
fn in_flight(daemon: &Daemon, count: u64) -> Result {
    let begin = Instant::now();
    while daemon.device("vol0")?["in_flight"] != count {
        assert!(begin.elapsed() < Duration::from_secs(30), "{:#}", daemon.device("vol0")?);
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Sends so many flushes, which wait.
fn send(client: &mut Client, count: u64) -> Result {
    (0..count).try_for_each(|_| client.send(command::FLUSH, 0, 0, 0, &[]).map(|_| ()))
}

/// The answers to them, without an error.
fn receive(client: &mut Client, count: u64) -> Result {
    for _ in 0..count {
        assert_eq!(client.receive()?.1, 0);
    }
    Ok(())
}

#[test]
fn requests_fail_as_asked_and_the_same_ones_for_the_same_seed() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=error:8M,every=3,ops=read+flush,errno=ENOSPC").start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    let failed = |client: &mut Client| -> Result<Vec<bool>> {
        (0..30)
            .map(|_| Ok(client.read(0, 512)?.err().inspect(|e| assert_eq!(*e, ENOSPC)).is_some()))
            .collect()
    };
    let thirds: Vec<bool> = (1..=30).map(|n| n % 3 == 0).collect();
    assert_eq!(failed(&mut client)?, thirds);
    assert_eq!(client.write(0, &[1; 512], false)?, Ok(vec![]), "only reads and flushes");
    set(&daemon, &["every=0", "rate=500000", "seed=7"])?;
    let first = failed(&mut client)?;
    assert!(first.contains(&true) && first.contains(&false), "{first:?}");
    set(&daemon, &["seed=8"])?;
    assert_ne!(failed(&mut client)?, first);
    set(&daemon, &["seed=7"])?;
    assert_eq!(failed(&mut client)?, first);
    set(&daemon, &["rate=0", "every=1", "offset=4096", "length=512", "count=2"])?;
    assert_eq!(client.read(0, 4096)?.err(), None, "before the range");
    assert_eq!(client.read(4608, 512)?.err(), None, "behind it");
    let reads: Vec<Option<u32>> = (0..3).map(|_| Ok(client.read(4096, 512)?.err())).collect::<Result<_>>()?;
    assert_eq!(reads, [Some(ENOSPC), Some(ENOSPC), None], "two, and no more");
    Ok(())
}

#[test]
fn a_live_ram_device_is_given_faults_and_taken_back() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=ram:8M").start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    assert_eq!(client.write(8192, &[7; 8192], false)?, Ok(vec![]));
    must(&daemon, "error", json!({ "params": { "every": "1" } }))?;
    assert_eq!(client.read(8192, 8192)?, Err(EIO));
    must(&daemon, "delay", json!({ "params": { "every": null, "fixed_us": "1000" } }))?;
    assert_eq!(client.read(8192, 8192)?, Ok(vec![7; 8192]));
    must(&daemon, "crash", json!({ "params": { "fixed_us": null, "at": "submit" } }))?;
    assert_eq!(client.write(8192, &[8; 4096], false)?, Err(EIO));
    must(&daemon, "ram", json!({ "params": { "at": null } }))?;
    assert_eq!(client.read(8192, 8192)?, Ok(vec![7; 8192]));
    Ok(())
}

#[test]
fn requests_that_wait_for_a_slot_are_answered_too() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=hang:8M,ops=read,request_timeout=1,io_slots=128").start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    for number in 0..400 {
        client.send(command::READ, 0, number * 4096, 4096, &[])?;
    }
    for _ in 0..400 {
        assert_ne!(client.receive()?.1, 0, "an error: {}", daemon.log());
    }
    // What is of another kind is served beside one that hangs.
    client.send(command::READ, 0, 0, 4096, &[])?;
    assert_eq!(Client::connect(daemon.nbd(), "vol0")?.write(0, &[1; 4096], false)?.err(), None);
    assert_ne!(client.receive()?.1, 0);
    Ok(())
}

#[test]
fn a_request_in_pieces_has_more_time_and_not_for_ever() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=delay:2G,fixed_us=300000,ops=trim,request_timeout=1").start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    // The frontend cuts it in pieces, each of which is done in time, and all of them take longer.
    let some = client.call(command::TRIM, 0, 0, 256 << 20, &[])?;
    assert_eq!(some.err(), None, "{}", daemon.log());
    let all = client.call(command::TRIM, 0, 0, 2047 << 20, &[])?;
    assert!(all.is_err(), "its client waited for as long as all of them took");
    let one = client.call(command::TRIM, 0, 0, 4096, &[])?;
    assert_eq!(one.err(), None, "{}", daemon.log());
    Ok(())
}

#[test]
fn requests_that_wait_are_handed_back_or_adopted() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=delay:8M,fixed_us=600000000,ops=flush").start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    send(&mut client, 4)?;
    in_flight(&daemon, 4)?;
    let free = json!({ "mode": "split", "params": { "fixed_us": null, "ops": null } });
    let receipt = must(&daemon, "ram", free)?;
    assert_eq!((&receipt["handed_back"], &receipt["adopted"]), (&json!(4), &json!(0)), "{receipt:#}");
    receive(&mut client, 4)?;

    // The same as requests that have been begun: `hang` takes them over and lets them go.
    let slow = json!({ "params": { "fixed_us": "1000000", "ops": "flush", "hand_back": "false" } });
    must(&daemon, "delay", slow)?;
    send(&mut client, 4)?;
    in_flight(&daemon, 4)?;
    let receipt =
        must(&daemon, "hang", json!({ "mode": "adopt", "params": { "fixed_us": null, "ops": null } }))?;
    assert_eq!((&receipt["handed_back"], &receipt["adopted"]), (&json!(0), &json!(4)), "{receipt:#}");
    receive(&mut client, 4)
}

#[test]
fn what_hangs_outlasts_a_deadline_and_can_be_let_go() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=hang:8M,ops=flush,hand_back=false").start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    let mut other = Client::connect(daemon.nbd(), "vol0")?;
    send(&mut client, 2)?;
    in_flight(&daemon, 2)?;
    for mode in ["drain", "split"] {
        let clean = json!({ "ops": null, "hand_back": null });
        let receipt = update(&daemon, "ram", json!({ "mode": mode, "deadline_ms": 200, "params": clean }))?;
        assert_eq!(receipt["outcome"], "rolled_back", "{receipt:#}");
        assert_eq!(other.read(0, 512)?, Ok(vec![0; 512]), "others are served");
    }
    set(&daemon, &["release=true"])?;
    receive(&mut client, 2)?;
    set(&daemon, &["release=false", "hand_back=true"])?;
    send(&mut client, 2)?;
    in_flight(&daemon, 2)?;
    let clean = json!({ "ops": null, "hand_back": null, "release": null });
    let receipt = must(&daemon, "ram", json!({ "mode": "split", "params": clean }))?;
    assert_eq!(receipt["handed_back"], 2, "{receipt:#}");
    receive(&mut client, 2)
}

#[test]
fn a_crash_at_an_entry_point_goes_back_or_fails_one_request() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = Setup::device("vol0=ram:8M").start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    assert_eq!(client.write(0, &[7; 4096], false)?, Ok(vec![]));
    for how in ["panic", "error"] {
        for (at, outcome) in
            [("prepare", "refused"), ("connect", "rolled_back"), ("queue_start", "rolled_back")]
        {
            let receipt = update(&daemon, "crash", json!({ "params": { "at": at, "how": how } }))?;
            assert_eq!(receipt["outcome"], outcome, "{how} in {at}: {receipt:#}");
            assert!(receipt["reason"].as_str().is_some_and(|why| !why.is_empty()), "{receipt:#}");
            assert_eq!(daemon.device("vol0")?["driver"]["driver"], "ram");
        }
        must(&daemon, "crash", json!({ "params": { "at": "none", "how": how, "errno": "ENOSPC" } }))?;
        let error = if how == "panic" { EIO } else { ENOSPC };
        for at in ["submit", "event"] {
            set(&daemon, &[&format!("at={at}"), "after=1", "times=1"])?;
            let answers: Vec<_> = (0..3).map(|_| Ok(client.read(0, 4096)?.err())).collect::<Result<_>>()?;
            assert_eq!(answers, [None, Some(error), None], "{how} in {at}");
        }
        set(&daemon, &["at=disconnect", "after=0"])?;
        let clean = json!({ "at": null, "how": null, "errno": null, "after": null, "times": null });
        let receipt = update(&daemon, "ram", json!({ "params": clean }))?;
        assert_eq!(receipt["outcome"], "rolled_back", "{how} in disconnect: {receipt:#}");
        must(&daemon, "ram", json!({ "params": clean }))?;
        assert_eq!(client.read(0, 4096)?, Ok(vec![7; 4096]));
    }
    daemon.check_serves("vol0")
}

/// There are no parameters yet, so the hardware says what goes wrong.
#[test]
fn a_crash_at_probe_is_refused_and_one_that_takes_long_holds_nobody() -> Result {
    for (how, outcome) in [("error", "refused"), ("panic", "refused"), ("hang", "done")] {
        let dir = TempDir::new()?;
        let device = format!("vol0=ram:8M,hardware=fault:probe-{how},revision=300");
        let mut daemon = Setup::device(device).start(&dir)?;
        let receipt = update(&daemon, "crash", json!({ "deadline_ms": 100 }))?;
        assert_eq!(receipt["outcome"], outcome, "{how}: {receipt:#}");
        let reason = receipt["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("probe") || how == "hang", "{how}: {receipt:#}");
        daemon.check_serves("vol0")?;
    }
    Ok(())
}

#[test]
fn a_fault_lies_over_another_device() -> Result {
    let dir = TempDir::new()?;
    let daemon =
        Setup::device("base=ram:8M").and_device("vol0=error:4096,over=base,every=2,ops=read").start(&dir)?;
    let mut below = Client::connect(daemon.nbd(), "base")?;
    let mut above = Client::connect(daemon.nbd(), "vol0")?;
    assert_eq!(above.size, 8 << 20, "as large as the one below");
    assert_eq!(above.write(4096, &[7; 4096], true)?, Ok(vec![]));
    assert_eq!(above.flush()?, Ok(vec![]));
    assert_eq!(below.read(4096, 4096)?, Ok(vec![7; 4096]));
    assert_eq!(above.read(4096, 4096)?, Ok(vec![7; 4096]));
    assert_eq!(above.read(4096, 4096)?, Err(EIO), "every second one");
    assert_eq!(above.call(command::WRITE_ZEROES, 0, 4096, 4096, &[])?, Ok(vec![]));
    assert_eq!(below.read(4096, 4096)?, Ok(vec![0; 4096]));
    // Both are replaced; the data stays below.
    must(&daemon, "delay", json!({ "params": { "every": null, "ops": null } }))?;
    assert_eq!(daemon.api()?.update("base", &module("ram")?, json!({}))?["outcome"], "done");
    assert_eq!(below.write(0, &[9; 512], false)?, Ok(vec![]));
    assert_eq!(above.read(0, 512)?, Ok(vec![9; 512]));
    Ok(())
}

/// Wherever the running driver panics, the device ends served, and what is asked of it afterwards is
/// answered.
#[test]
fn a_panic_anywhere_leaves_the_device_served() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = Setup::device("vol0=ram:8M").start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    assert_eq!(client.write(0, &[7; 4096], false)?, Ok(vec![]));
    let points = ["queue_run", "commit", "timer", "event", "hand_back", "save_state", "release", "reconnect"];
    for at in points {
        for mode in ["split", "drain"] {
            let trap = json!({ "params": { "at": at, "how": "panic" } });
            if at == "queue_run" {
                // It does not come to serve.
                let receipt = update(&daemon, "crash", trap)?;
                assert_eq!(receipt["outcome"], "rolled_back", "{receipt:#}");
                assert!(
                    receipt["reason"].as_str().is_some_and(|why| why.contains("queue_run")),
                    "{receipt:#}"
                );
                assert_eq!(client.read(0, 4096)?, Ok(vec![7; 4096]));
                continue;
            }
            must(&daemon, "crash", trap)?;
            let answer = client.read(0, 4096)?;
            assert!(answer == Ok(vec![7; 4096]) || at == "event" && answer == Err(EIO), "{at}: {answer:?}");
            // It may have to be tried twice: a driver that fails as it lets go stays.
            let back = json!({ "mode": mode, "params": { "at": null, "how": null } });
            let receipt = update(&daemon, "ram", back.clone())?;
            println!("{at} {mode}: {} {}", receipt["outcome"], receipt["reason"]);
            if receipt["outcome"] != "done" {
                assert_eq!(receipt["outcome"], "rolled_back", "{at}, {mode}: {receipt:#}");
                set(&daemon, &["at=none"])?;
                must(&daemon, "ram", back)?;
            }
            assert_eq!(client.read(0, 4096)?, Ok(vec![7; 4096]), "{at}, {mode}");
        }
    }
    must(&daemon, "crash", json!({}))?;
    let output = daemon.cli(&["param", "set", "--temporary", "vol0", "at=param_changed"])?;
    println!("{output:?}");
    assert!(!output.status.success(), "a change that the driver panics on is refused");
    daemon.check_serves("vol0")
}

/// A driver that takes long to return from an entry point holds the device no longer than that.
#[test]
fn an_entry_point_that_hangs_for_a_while_delays_and_fails_nothing() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = Setup::device("vol0=ram:8M").start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    assert_eq!(client.write(0, &[7; 4096], false)?, Ok(vec![]));
    for at in ["prepare", "connect", "queue_start", "disconnect", "submit"] {
        let receipt =
            must(&daemon, "hang", json!({ "params": { "at": at, "for_ms": "100", "times": "2" } }))?;
        let within_the_pause = at == "connect" || at == "queue_start";
        assert_eq!(receipt["pause_ns"].as_u64() >= Some(100_000_000), within_the_pause, "{at}: {receipt:#}");
        assert_eq!(client.read(0, 4096)?, Ok(vec![7; 4096]), "{at}");
        must(&daemon, "ram", json!({ "params": { "at": null, "for_ms": null, "times": null } }))?;
    }
    daemon.check_serves("vol0")
}

//! A replacement that fails leaves the old driver serving, and the requests that were held meanwhile
//! are answered by it.

use serde_json::{Value, json};
use std::time::Duration;
use steadfast_tests::load::{Load, Shape};
use steadfast_tests::nbd::{Client, command};
use steadfast_tests::params::ends;
use steadfast_tests::{Daemon, Result, Setup, TempDir, test_module};

const SHAPE: Shape = Shape { size: 4096, depth: 32, write: false };

/// A device of 8 MiB whose requests take `delay_us`, served by one of the tests' own drivers.
fn daemon(dir: &TempDir, driver: &str, delay_us: u32) -> Result<Daemon> {
    let module = test_module(driver)?;
    Setup::device(format!("vol0={}:8M,delay_us={delay_us}", module.display())).start(dir)
}

fn update(daemon: &Daemon, driver: &str, options: Value) -> Result<Value> {
    daemon.api()?.update("vol0", &test_module(driver)?, options)
}

/// Under load, updates to a driver that fails; returns the receipt of the
/// one that held most. No request may fail, and the
/// device must be served by the same driver as before.
///
/// With `mode` *drain* the pause lasts as long as the requests in flight take, and new ones arrive
/// in it; with *adopt* it is over before the queue looks at its clients again.
fn fails_under_load(driver: &str, mode: &str, outcome: &str) -> Result<Value> {
    let dir = TempDir::new()?;
    let mut daemon = daemon(&dir, "sound", 500)?;
    let before = daemon.device("vol0")?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    assert_eq!(client.write(0, &[7; 8192], false)?, Ok(vec![]));
    let load = Load::start(daemon.nbd(), "vol0", SHAPE)?;
    std::thread::sleep(Duration::from_millis(50));
    let mut most_held = Value::Null;
    for _ in 0..5 {
        let receipt = update(&daemon, driver, json!({ "mode": mode }))?;
        assert_eq!(receipt["outcome"], outcome, "{receipt:#}");
        assert_ne!(receipt["reason"], "", "a failure says why: {receipt:#}");
        if most_held["held"].as_u64() <= receipt["held"].as_u64() {
            most_held = receipt;
        }
    }
    let failed = load.now();
    std::thread::sleep(Duration::from_millis(50));
    let spans = load.finish()?;
    assert!(spans.iter().any(|s| s.begin > failed), "requests are served after the failures");
    assert_eq!(client.read(0, 8192)?, Ok(vec![7; 8192]), "data written before is there");
    let after = daemon.device("vol0")?;
    assert_eq!(after["driver"], before["driver"]);
    assert_eq!(after["state"], "running");
    assert_eq!(after["errors"], 0);
    daemon.check_serves("vol0")?;
    // And a replacement without fault still gets in.
    assert_eq!(update(&daemon, "sound", json!({}))?["outcome"], "done");
    println!("{driver}: {} held; {}", most_held["held"], most_held["reason"]);
    Ok(most_held)
}

#[test]
fn an_error_in_prepare_is_refused() -> Result {
    let receipt = fails_under_load("prepare_error", "adopt", "refused")?;
    assert_eq!(receipt["pause_ns"], 0, "nothing was held for it");
    Ok(())
}

#[test]
fn a_panic_in_prepare_is_refused() -> Result {
    fails_under_load("prepare_panic", "adopt", "refused").map(|_| ())
}

#[test]
fn an_error_in_connect_goes_back() -> Result {
    let receipt = fails_under_load("connect_error", "drain", "rolled_back")?;
    assert!(receipt["phases"].to_string().contains("cancel_update"), "{receipt:#}");
    Ok(())
}

#[test]
fn a_panic_in_connect_goes_back() -> Result {
    fails_under_load("connect_panic", "drain", "rolled_back").map(|_| ())
}

#[test]
fn what_was_held_completes_on_the_old_driver() -> Result {
    for driver in ["connect_error", "connect_panic"] {
        let dir = TempDir::new()?;
        let mut daemon = daemon(&dir, "sound", 1_000_000)?;
        let mut client = Client::connect(daemon.nbd(), "vol0")?;
        // One request that has to be drained, and one that arrives while the port is held for that.
        let first = client.send(command::READ, 0, 0, 4096, &[])?;
        wait_for(&daemon, "in_flight", json!(1))?;
        let (mut api, module) = (daemon.api()?, test_module(driver)?);
        let updating = std::thread::spawn(move || api.update("vol0", &module, json!({ "mode": "drain" })));
        wait_for(&daemon, "state", json!("held"))?;
        let second = client.send(command::READ, 0, 0, 4096, &[])?;
        wait_for(&daemon, "held", json!(1))?;
        let receipt = updating.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the update panicked")))?;
        assert_eq!(receipt["outcome"], "rolled_back", "{receipt:#}");
        assert_eq!((&receipt["held"], &receipt["drained"]), (&json!(1), &json!(1)), "{receipt:#}");
        for cookie in [first, second] {
            assert_eq!(client.receive()?, (cookie, 0));
            std::io::Read::read_exact(client.stream(), &mut [0; 4096])?;
        }
        daemon.check_serves("vol0")?;
    }
    Ok(())
}

/// Waits until a field of the device has this value.
fn wait_for(daemon: &Daemon, field: &str, value: Value) -> Result {
    for _ in 0..20_000 {
        if daemon.device("vol0")?[field] == value {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    anyhow::bail!("{field} is never {value}: {:#}", daemon.device("vol0")?)
}

#[test]
fn an_error_in_queue_start_goes_back() -> Result {
    fails_under_load("queue_start_error", "adopt", "rolled_back").map(|_| ())
}

#[test]
fn an_error_in_adopt_goes_back_with_every_pdu_restored() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir, "sound", 3_000_000)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    for _ in 0..8 {
        client.send(command::READ, 0, 0, 4096, &[])?;
    }
    wait_for(&daemon, "in_flight", json!(8))?;
    // The candidate spoils the PDU that it refuses; the old driver checks it at the completion.
    let receipt = update(&daemon, "adopt_error", json!({ "mode": "adopt" }))?;
    assert_eq!(receipt["outcome"], "rolled_back", "{receipt:#}");
    for _ in 0..8 {
        let (_, error) = client.receive()?;
        assert_eq!(error, 0, "the old driver does not know its own request any more");
        std::io::Read::read_exact(client.stream(), &mut [0; 4096])?;
    }
    Ok(())
}

#[test]
fn requests_in_flight_are_converted_to_another_layout() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir, "sound", 500)?;
    let load = Load::start(daemon.nbd(), "vol0", SHAPE)?;
    let mut adopted = 0;
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(5));
        let receipt = update(&daemon, "other_pdu", json!({ "mode": "adopt" }))?;
        assert_eq!(receipt["outcome"], "done", "{receipt:#}");
        adopted += receipt["adopted"].as_u64().unwrap_or(0);
        // The older layout does not know the newer one.
        let refused = update(&daemon, "sound", json!({ "mode": "adopt" }))?;
        assert_eq!(refused["outcome"], "refused", "{refused:#}");
        let receipt = update(&daemon, "sound", json!({}))?;
        assert_eq!((&receipt["outcome"], &receipt["mode"]), (&json!("done"), &json!("drain")), "{receipt:#}");
    }
    // The driver answers with an error if a request's private bytes are not what it expects.
    load.finish()?;
    assert!(adopted > 0, "no request was ever in flight");
    assert_eq!(daemon.device("vol0")?["errors"], 0);
    Ok(())
}

#[test]
fn a_smaller_device_goes_back() -> Result {
    let receipt = fails_under_load("shrinks", "drain", "rolled_back")?;
    assert!(receipt["pause_ns"].as_u64() > Some(0), "{receipt:#}");
    Ok(())
}

#[test]
fn features_that_a_client_relies_on_cannot_be_withdrawn() -> Result {
    let receipt = fails_under_load("fewer_features", "adopt", "refused")?;
    let reason = receipt["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("flush"), "the reason names the feature: {reason}");
    Ok(())
}

#[test]
fn features_can_go_when_no_client_is_there() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir, "sound", 0)?;
    assert_eq!(update(&daemon, "fewer_features", json!({}))?["outcome"], "done");
    assert_eq!(Client::connect(daemon.nbd(), "vol0")?.flags & 4, 0, "flush is not offered any more");
    Ok(())
}

#[test]
fn a_driver_that_does_not_let_go_stays() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = daemon(&dir, "disconnect_error", 200)?;
    let load = Load::start(daemon.nbd(), "vol0", SHAPE)?;
    let receipt = update(&daemon, "sound", json!({}))?;
    assert_eq!(receipt["outcome"], "rolled_back", "{receipt:#}");
    load.finish()?;
    daemon.check_serves("vol0")
}

#[test]
fn a_stranded_port_holds_its_requests_until_another_update() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = daemon(&dir, "reconnect_error", 0)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    assert_eq!(client.write(4096, &[9; 4096], false)?, Ok(vec![]));
    let receipt = update(&daemon, "connect_error", json!({}))?;
    assert_eq!(receipt["outcome"], "stranded", "{receipt:#}");
    assert_eq!(daemon.device("vol0")?["state"], "stranded");
    // What is refused then does not claim that somebody serves.
    for module in ["/nonexistent/nothere.so", "null"] {
        let output = daemon.cli(&["update", "vol0", module])?;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let shown = daemon.cli(&["receipt", "show", "last"])?;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains("nothing was touched; no driver serves, as before"), "{module}: {shown}");
    }
    let cookie = client.send(command::READ, 0, 4096, 4096, &[])?;
    wait_for(&daemon, "held", json!(1))?;
    // One exit code for all that needs a driver, and the way out.
    for command in [
        &["param", "list", "vol0"][..],
        &["param", "get", "vol0", "io_throttle"],
        &["param", "set", "vol0", "io_throttle=8"],
        &["plan", "vol0"],
        &["activate", "vol0"],
        &["activate", "--reload", "vol0"],
    ] {
        let said = ends(&daemon, 1, command)?;
        assert!(said.contains("hint: `steadfast update vol0 MODULE`"), "{command:?}: {said}");
    }
    assert_eq!(update(&daemon, "sound", json!({}))?["outcome"], "done");
    assert_eq!(client.receive()?, (cookie, 0), "the held read is answered");
    let mut data = [0; 4096];
    std::io::Read::read_exact(client.stream(), &mut data)?;
    assert_eq!(data, [9; 4096]);
    daemon.check_serves("vol0")
}

#[test]
fn what_a_stranded_port_holds_ends_with_request_timeout() -> Result {
    let dir = TempDir::new()?;
    let module = test_module("reconnect_error")?;
    let spec = format!("vol0={}:8M,delay_us=300000,request_timeout=1", module.display());
    let mut daemon = Setup::device(spec).start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    // One that the driver has when it fails, and one that comes when nobody serves.
    let first = client.send(command::READ, 0, 4096, 4096, &[])?;
    wait_for(&daemon, "in_flight", json!(1))?;
    let receipt = update(&daemon, "connect_error", json!({ "mode": "adopt" }))?;
    assert_eq!(receipt["outcome"], "stranded", "{receipt:#}");
    let second = client.send(command::READ, 0, 4096, 4096, &[])?;
    let mut answered = [client.receive()?, client.receive()?];
    answered.sort_unstable();
    assert!(answered.iter().all(|(_, error)| *error != 0), "{answered:?}");
    assert_eq!(answered.map(|(cookie, _)| cookie), [first, second]);
    let device = daemon.device("vol0")?;
    assert_eq!((&device["held"], &device["in_flight"]), (&json!(0), &json!(0)), "{device:#}");
    assert_eq!((&device["shell_faults"], &device["state"]), (&json!(0), &json!("stranded")));
    // The next driver serves with every slot.
    assert_eq!(update(&daemon, "sound", json!({}))?["outcome"], "done");
    daemon.check_serves("vol0")
}

#[test]
fn a_stop_ends_what_a_stranded_port_holds_at_once() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = daemon(&dir, "reconnect_error", 0)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    assert_eq!(update(&daemon, "connect_error", json!({}))?["outcome"], "stranded");
    let cookie = client.send(command::READ, 0, 4096, 4096, &[])?;
    wait_for(&daemon, "held", json!(1))?;
    // `stop` waits less than a stop may take.
    assert_eq!(daemon.stop()?.code(), Some(0), "{}", daemon.log());
    // It is answered with an error, or its connection is closed.
    if let Ok((answered, error)) = client.receive() {
        assert!(answered == cookie && error != 0, "{answered} {error}");
    }
    Ok(())
}

#[test]
fn a_panic_in_submit_fails_that_request_alone() -> Result {
    one_cursed_page("submit_panic")
}

#[test]
fn an_error_from_submit_reaches_the_client_alone() -> Result {
    one_cursed_page("submit_error")
}

/// The replacement serves all but its second page; a sound one heals that.
fn one_cursed_page(driver: &str) -> Result {
    let dir = TempDir::new()?;
    let mut daemon = daemon(&dir, "sound", 0)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    assert_eq!(client.write(0, &[5; 12288], true)?, Ok(vec![]));
    assert_eq!(update(&daemon, driver, json!({}))?["outcome"], "done");
    for _ in 0..20 {
        assert_eq!(client.read(4096, 4096)?, Err(5), "NBD_EIO");
        assert_eq!(client.read(0, 4096)?, Ok(vec![5; 4096]));
        assert_eq!(client.read(8192, 4096)?, Ok(vec![5; 4096]));
    }
    daemon.check_serves("vol0")?;
    let receipt = update(&daemon, "sound", json!({}))?;
    assert_eq!(receipt["outcome"], "done", "{receipt:#}");
    assert_eq!(client.read(4096, 4096)?, Ok(vec![5; 4096]));
    Ok(())
}

#[test]
fn a_deadline_that_passes_resumes_the_old_driver() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = daemon(&dir, "sound", 4_000_000)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    let cookie = client.send(command::READ, 0, 0, 4096, &[])?;
    wait_for(&daemon, "in_flight", json!(1))?;
    let before = daemon.device("vol0")?["generation"].clone();
    let receipt = update(&daemon, "sound", json!({ "mode": "drain", "deadline_ms": 100 }))?;
    assert_eq!(receipt["outcome"], "rolled_back", "{receipt:#}");
    assert_eq!(daemon.device("vol0")?["generation"], before);
    let busy = update(&daemon, "sound", json!({ "mode": "drain", "if_busy": "fail" }))?;
    assert_eq!(busy["outcome"], "busy", "{busy:#}");
    assert_eq!(client.receive()?, (cookie, 0), "the old driver answers what it had");
    let mut data = [1; 4096];
    std::io::Read::read_exact(client.stream(), &mut data)?;
    assert_eq!(data, [0; 4096]);
    daemon.check_serves("vol0")
}

#[test]
fn the_command_says_how_it_ended_by_its_exit_code() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir, "sound", 4_000_000)?;
    let code = |driver: &str, more: &[&str]| -> Result<Option<i32>> {
        let module = test_module(driver)?;
        let module = module.to_string_lossy();
        Ok(daemon.cli(&[&["update", "vol0", &module], more].concat())?.status.code())
    };
    assert_eq!(code("sound", &[])?, Some(0));
    assert_eq!(code("prepare_error", &[])?, Some(1));
    assert_eq!(code("connect_error", &[])?, Some(4));
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    client.send(command::READ, 0, 0, 4096, &[])?;
    wait_for(&daemon, "in_flight", json!(1))?;
    assert_eq!(code("sound", &["--mode", "drain", "--if-busy", "fail"])?, Some(3));
    Ok(())
}

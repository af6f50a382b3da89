//! Activations that go back: because nobody confirms them, because somebody wants them back, or not at all.

use serde_json::{Value, json};
use steadfast_tests::nbd::{Client, command};
use steadfast_tests::params::{ends, file_of, generation, param, pending};
use steadfast_tests::{Daemon, Result, Setup, TempDir, until};

fn start(dir: &TempDir) -> Result<Daemon> {
    Setup::device("vol0=ram:16M").and_device("vol1=ram:16M").start(dir)
}

fn port(daemon: &Daemon, name: &str) -> Result<Value> {
    Ok(daemon.api()?.get(&format!("/v1/ports/{name}"))?.1)
}

fn both(daemon: &Daemon, name: &str, value: &str) -> Result<bool> {
    let param = param(daemon, "vol0", name)?;
    Ok(param["current"] == value && param["saved"] == value)
}

#[test]
fn only_what_was_activated_goes_back_and_somebody_may_order_it() -> Result {
    let dir = TempDir::new()?;
    let daemon = start(&dir)?;
    ends(&daemon, 0, &["param", "set", "vol0", "link_speed=16"])?;
    ends(&daemon, 0, &["activate", "vol0", "--confirm-within", "60m"])?;
    let shown = ends(&daemon, 0, &["port", "show", "vol0"])?;
    assert!(shown.contains("goes back at") && shown.contains("unless it is confirmed"), "{shown}");
    // Beside it somebody changes something else, and something that is pending.
    ends(&daemon, 0, &["param", "set", "vol0", "io_throttle=3", "io_slots=512"])?;
    let busy = ends(&daemon, 3, &["activate", "vol0"])?;
    assert!(busy.contains("steadfast rollback vol0"), "the way back is named: {busy}");
    let back = ends(&daemon, 0, &["rollback", "vol0"])?;
    assert!(back.contains("link_speed 16 -> auto"), "{back}");
    assert!(both(&daemon, "link_speed", "auto")? && both(&daemon, "io_throttle", "3")?);
    assert!(
        both(&daemon, "io_slots", "512")?,
        "what else is saved is put in force with it, as by any activation"
    );
    assert_eq!(port(&daemon, "vol0")?["unconfirmed"], Value::Null);
    ends(&daemon, 1, &["confirm", "vol0"])?;
    // One that changes nothing is nothing to go back from: what went back comes again.
    ends(&daemon, 0, &["activate", "vol0"])?;
    let again = ends(&daemon, 0, &["rollback", "vol0"])?;
    assert!(again.contains("link_speed auto -> 16"), "{again}");
    Ok(())
}

#[test]
fn what_cannot_go_back_is_tried_until_it_can() -> Result {
    let dir = TempDir::new()?;
    let daemon = start(&dir)?;
    ends(&daemon, 0, &["param", "set", "vol0", "link_speed=16"])?;
    ends(&daemon, 0, &["activate", "vol0", "--confirm-within", "5s"])?;
    let file = file_of(&daemon, "vol0")?;
    let good = std::fs::read_to_string(&file)?;
    std::fs::write(&file, format!("{good}x = = 1\n"))?;
    until("it is said that it does not go back", || {
        let problem = port(&daemon, "vol0")?["unconfirmed"]["problem"].clone();
        Ok(problem.as_str().is_some_and(|why| why.contains("ram.toml")).then_some(()))
    })?;
    let shown = ends(&daemon, 0, &["port", "show", "vol0"])?;
    assert!(shown.contains("it is tried again"), "{shown}");
    let tries = |daemon: &Daemon| -> Result<usize> {
        let receipts = daemon.api()?.get("/v1/ports/vol0/history?limit=100")?.1;
        let by = |receipt: &&Value| receipt["by"]["cause"] == "unconfirmed";
        Ok(receipts.as_array().map_or(0, |all| all.iter().filter(by).count()))
    };
    assert_eq!(tries(&daemon)?, 1, "the try left a receipt");
    std::fs::write(&file, good)?;
    until("it goes back", || Ok(both(&daemon, "link_speed", "auto")?.then_some(())))?;
    until("it is over", || Ok((port(&daemon, "vol0")?["unconfirmed"] == Value::Null).then_some(())))?;
    assert_eq!(tries(&daemon)?, 2, "tries that said nothing new left none");
    ends(&daemon, 0, &["param", "set", "vol0", "link_speed=8"])?;
    ends(&daemon, 0, &["activate", "vol0"]).map(drop)
}

#[test]
fn what_cannot_go_back_at_the_start_waits_on_and_can_be_kept() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = Setup::device("vol0=null:8M").start(&dir)?;
    ends(&daemon, 0, &["param", "set", "vol0", "size=16M"])?;
    ends(&daemon, 0, &["activate", "vol0", "--confirm-within", "60m"])?;
    daemon.kill();
    drop(daemon);
    // Another driver, which does not know what is to come back.
    let disk = dir.disk("disk.img", 16 << 20)?;
    let mut daemon = Setup::device(format!("vol0=file@1.1.0:{}", disk.display())).start(&dir)?;
    until("it is said why it does not go back", || {
        let problem = port(&daemon, "vol0")?["unconfirmed"]["problem"].clone();
        Ok(problem.as_str().is_some_and(|why| why.contains("size")).then_some(()))
    })?;
    ends(&daemon, 3, &["activate", "vol0"])?;
    ends(&daemon, 0, &["confirm", "vol0"])?;
    ends(&daemon, 0, &["activate", "vol0"])?;
    daemon.check_serves("vol0")
}

#[test]
fn a_name_that_is_used_again_is_another_device_with_nothing_to_go_back_to() -> Result {
    let dir = TempDir::new()?;
    let daemon = start(&dir)?;
    ends(&daemon, 0, &["device", "add", "nn=ram:16M"])?;
    ends(&daemon, 0, &["param", "set", "nn", "link_speed=16"])?;
    let said = ends(&daemon, 0, &["activate", "nn", "-o", "json"])?;
    let receipt = serde_json::from_str::<Value>(&said)?["receipt"]["id"].to_string();
    ends(&daemon, 0, &["device", "remove", "nn"])?;
    ends(&daemon, 0, &["device", "add", "nn=ram:8M"])?;
    let before = generation(&daemon, "nn")?;
    let said = ends(&daemon, 1, &["rollback", "nn"])?;
    assert!(said.contains("nothing was activated yet"), "{said}");
    let said = ends(&daemon, 1, &["rollback", "nn", "--to", &receipt])?;
    assert!(said.contains("another port of that name"), "{said}");
    assert_eq!(generation(&daemon, "nn")?, before);
    Ok(())
}

#[test]
fn an_activation_that_is_to_come_is_shown_and_can_be_called_off() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = start(&dir)?;
    ends(&daemon, 0, &["param", "set", "vol0", "link_speed=16"])?;
    ends(&daemon, 0, &["activate", "vol0", "--delay", "60m"])?;
    let shown = ends(&daemon, 0, &["port", "show", "vol0"])?;
    assert!(shown.contains("activation   begins at"), "{shown}");
    let busy = ends(&daemon, 3, &["activate", "vol0", "--delay", "60m"])?;
    assert!(busy.contains("is to come") && busy.contains("--call-off"), "{busy}");
    ends(&daemon, 0, &["activate", "vol0", "--call-off"])?;
    assert_eq!(port(&daemon, "vol0")?["delayed"], Value::Null);
    assert_eq!(pending(&daemon, "vol0")?, ["link_speed"], "nothing was touched");
    let history = ends(&daemon, 0, &["history", "vol0"])?;
    assert!(history.contains("called it off"), "{history}");
    ends(&daemon, 1, &["activate", "vol0", "--call-off"])?;
    // With a window to confirm it, which ends with it.
    ends(&daemon, 0, &["activate", "vol0", "--delay", "60m", "--confirm-within", "60m"])?;
    ends(&daemon, 0, &["activate", "vol0", "--call-off"])?;
    ends(&daemon, 0, &["activate", "vol0", "--delay", "60m"])?;
    assert!(daemon.stop()?.success());
    let daemon = start(&dir)?;
    let history = ends(&daemon, 0, &["history", "vol0"])?;
    assert!(history.contains("the daemon stops"), "who asked can see what became of it: {history}");
    Ok(())
}

#[test]
fn a_port_that_takes_long_to_go_back_holds_up_nobody_who_saves() -> Result {
    let dir = TempDir::new()?;
    let mut daemon =
        Setup::device("hung=hang:8M,ops=write,hand_back=false").and_device("vol0=ram:8M").start(&dir)?;
    ends(&daemon, 0, &["param", "set", "hung", "link_speed=16"])?;
    ends(&daemon, 0, &["activate", "hung"])?;
    let mut client = Client::connect(daemon.nbd(), "hung")?;
    client.send(command::WRITE, 0, 0, 4096, &[7; 4096])?;
    until("the request hangs", || Ok((port(&daemon, "hung")?["in_flight"] == 1).then_some(())))?;
    let mut api = daemon.api()?;
    let back = std::thread::spawn(move || {
        api.post("/v1/ports/hung/rollback", &json!({ "drain_timeout_ms": 600_000 }))
    });
    until("it goes back", || Ok((param(&daemon, "hung", "link_speed")?["saved"] == "auto").then_some(())))?;
    ends(&daemon, 0, &["param", "set", "vol0", "io_throttle=9"])?;
    let busy = ends(&daemon, 3, &["param", "set", "--temporary", "hung", "release=true"])?;
    assert!(busy.contains("under way") && !back.is_finished(), "it waits for the request that hangs: {busy}");
    daemon.kill();
    assert!(back.join().expect("no panic").is_err(), "nobody answers any more");
    Ok(())
}

#[test]
fn a_way_back_that_fails_leaves_its_receipt_although_the_file_was_broken_meanwhile() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("hung=hang:8M,ops=write,hand_back=false").start(&dir)?;
    ends(&daemon, 0, &["param", "set", "hung", "link_speed=16"])?;
    ends(&daemon, 0, &["activate", "hung"])?;
    let mut client = Client::connect(daemon.nbd(), "hung")?;
    client.send(command::WRITE, 0, 0, 4096, &[7; 4096])?;
    until("the request hangs", || Ok((port(&daemon, "hung")?["in_flight"] == 1).then_some(())))?;
    let mut api = daemon.api()?;
    let back = std::thread::spawn(move || {
        api.post("/v1/ports/hung/rollback", &json!({ "drain_timeout_ms": 5_000 }))
    });
    until("it goes back", || Ok((param(&daemon, "hung", "link_speed")?["saved"] == "auto").then_some(())))?;
    let file = file_of(&daemon, "hung")?;
    std::fs::write(&file, "x = = 1\n")?;
    let (status, back) = back.join().expect("no panic")?;
    let reason = back["receipt"]["reason"].as_str().unwrap_or_default();
    assert_eq!((status, &back["receipt"]["outcome"]), (422, &json!("rolled_back")), "{back:#}");
    assert!(reason.contains("hang.toml does not say again what it said"), "{reason}");
    assert_eq!(std::fs::read_to_string(&file)?, "x = = 1\n", "what somebody else wrote is left alone");
    let history = daemon.api()?.get("/v1/ports/hung/history?limit=100")?.1;
    let kept = history.as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
    assert_eq!(kept["reason"], reason, "it is in the history");
    Ok(())
}

#[test]
fn a_value_that_was_never_saved_comes_back_in_force_and_what_was_saved_stays() -> Result {
    let dir = TempDir::new()?;
    let daemon = start(&dir)?;
    let shown = |daemon: &Daemon| -> Result<(Value, Value)> {
        let param = param(daemon, "vol0", "io_throttle")?;
        Ok((param["current"].clone(), param["saved"].clone()))
    };
    let before = ("8".into(), "16".into());
    ends(&daemon, 0, &["param", "set", "vol0", "io_throttle=16"])?;
    for by_itself in [true, false] {
        ends(&daemon, 0, &["param", "set", "--temporary", "vol0", "io_throttle=8"])?;
        assert_eq!(shown(&daemon)?, before);
        let how: &[&str] = if by_itself { &["--confirm-within", "1s"] } else { &[] };
        ends(&daemon, 0, &[&["activate", "vol0"], how].concat())?;
        if by_itself {
            until("it goes back", || {
                Ok((port(&daemon, "vol0")?["unconfirmed"] == Value::Null).then_some(()))
            })?;
        } else {
            ends(&daemon, 0, &["rollback", "vol0"])?;
        }
        assert_eq!(shown(&daemon)?, before, "by itself: {by_itself}");
    }
    Ok(())
}

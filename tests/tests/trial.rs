//! Trial before commit, on the real daemon: `update --trial`.

use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use steadfast_tests::load::{Load, Shape};
use steadfast_tests::{Daemon, Result, Setup, TempDir, Verified, fio, module, test_module, until};

const READS: Shape = Shape { size: 4096, depth: 16, write: false };

fn tried(daemon: &Daemon, module: &Path, shadow: Value) -> Result<Value> {
    daemon.api()?.update("vol0", module, json!({ "shadow": shadow }))
}

fn wait_for_trial(daemon: &Daemon) -> Result<Value> {
    for _ in 0..20_000 {
        let shadow = daemon.device("vol0")?["shadow"].clone();
        if shadow["compared"].as_u64() > Some(0) {
            return Ok(shadow);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    anyhow::bail!("no trial is shown: {:#}", daemon.device("vol0")?)
}

#[test]
fn a_release_is_tried_beside_the_old_one_under_fio_and_then_replaces_it() -> Result {
    let dir = TempDir::new()?;
    dir.disk("disk.img", 64 << 20)?;
    let daemon = Setup::device(format!("vol0=file@1.0.0:{}", dir.join("disk.img").display())).start(&dir)?;
    let uri = daemon.uri("vol0");
    let mixed = ["--rw=randrw", "--bs=4k", "--iodepth=32", "--size=60m", "--verify=crc32c"];
    let options = [&mixed[..], &["--verify_backlog=256", "--verify_fatal=1"]].concat();
    let fio = std::thread::spawn(move || fio(&uri, &options));
    while daemon.device("vol0")?["bytes_read"] == 0 && !fio.is_finished() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let receipt = tried(&daemon, &module("file-1.1")?, json!({ "duration_ms": 700 }))?;
    let fio = fio.join().unwrap_or_else(|_| Err(anyhow::anyhow!("fio's thread panicked")));
    fio?;
    let report = &receipt["shadow"];
    assert_eq!((&receipt["outcome"], &report["equal"]), (&json!("done"), &json!(true)), "{receipt:#}");
    assert!(report["compared"].as_u64() > Some(0), "{receipt:#}");
    assert_eq!((&report["differ"], &report["failed"]), (&json!(0), &json!(0)), "{receipt:#}");
    let device = daemon.device("vol0")?;
    assert_eq!((&device["driver"]["version"], &device["errors"]), (&json!("1.1.0"), &json!(0)), "{device:#}");
    println!("{} reads compared, {} overlapped", report["compared"], report["overlapped"]);
    Ok(())
}

#[test]
fn a_release_that_reads_wrong_is_found_out_and_the_command_says_so() -> Result {
    let dir = TempDir::new()?;
    let sound = test_module("sound")?;
    let daemon = Setup::device(format!("vol0={}:8M,delay_us=0", sound.display())).start(&dir)?;
    let before = daemon.device("vol0")?["driver"].clone();
    let load = Load::start(daemon.nbd(), "vol0", READS)?;
    let wrong = test_module("wrong_read")?;
    let wrong = wrong.to_string_lossy();
    let out = daemon.cli(&["update", "vol0", &wrong, "--trial", "5s"])?;
    let (text, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.status.code(), Some(6), "{text}{errors}");
    assert!(errors.contains("refused") && text.contains("not equal: test 1.0.0"), "{text}{errors}");
    assert!(text.contains("of device 0: 4096 bytes at"), "{text}");
    assert!(errors.contains("the trial speaks against it"), "{errors}");

    let sound = sound.to_string_lossy();
    let only = ["update", "vol0", &sound, "--trial", "300ms", "--trial-only", "--trial-sample", "0.5"];
    let out = daemon.cli(&only)?;
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&out.stderr));
    assert!(text.contains("vol0: tried, nothing speaks against test 1.0.0"), "{text}");
    assert!(text.contains("not sampled"), "{text}");
    assert!(!load.finish()?.is_empty(), "the load went on");
    let device = daemon.device("vol0")?;
    assert_eq!((&device["driver"], &device["generation"]), (&before, &json!(1)), "{device:#}");
    Ok(())
}

#[test]
fn a_trial_is_shown_and_in_the_way_of_others_and_ends_when_the_daemon_stops() -> Result {
    let dir = TempDir::new()?;
    let sound = test_module("sound")?;
    let mut daemon = Setup::device(format!("vol0={}:8M,delay_us=0", sound.display())).start(&dir)?;
    let load = Load::start(daemon.nbd(), "vol0", READS)?;
    let mut api = daemon.api()?;
    let module = sound.clone();
    let hours = json!({ "shadow": { "duration_ms": 3_600_000 } });
    let update = std::thread::spawn(move || api.update("vol0", &module, hours));
    let shown = wait_for_trial(&daemon)?;
    assert_eq!(shown["candidate"]["driver"], "test", "{shown:#}");
    let text = daemon.cli(&["device", "show", "vol0"])?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("reads compared, 0 differ"), "{text}");
    let second = daemon.api()?.update("vol0", &sound, json!({}))?;
    assert_eq!(second["outcome"], "busy", "{second:#}");
    assert!(second["reason"].as_str().is_some_and(|r| r.contains("test 1.0.0 is on trial")), "{second:#}");
    assert_eq!(daemon.stop()?.code(), Some(0), "a clean stop:\n{}", daemon.log());
    // Its connection may have gone before the answer.
    if let Ok(Ok(receipt)) = update.join() {
        assert!(receipt["reason"].as_str().is_some_and(|r| r.contains("the daemon stops")), "{receipt:#}");
    }
    let _ = load.finish();
    Ok(())
}

/// `steadfast update vol0 MODULE --trial 1440m`, as somebody runs it.
fn begin_trial(daemon: &Daemon, module: &Path) -> Result<std::process::Child> {
    let child = std::process::Command::new(steadfast_tests::steadfast()?)
        .env("STEADFAST_SOCKET", daemon.control())
        .args(["update", "vol0", &module.to_string_lossy(), "--trial", "1440m"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    wait_for_trial(daemon)?;
    Ok(child)
}

#[test]
fn a_trial_ends_with_its_client_or_when_somebody_says_so_and_nothing_is_replaced() -> Result {
    let dir = TempDir::new()?;
    let (sound, other) = (test_module("sound")?, test_module("other_pdu")?);
    let daemon = Setup::device(format!("vol0={}:8M,delay_us=0", sound.display())).start(&dir)?;
    let before = daemon.device("vol0")?["driver"].clone();
    let load = Load::start(daemon.nbd(), "vol0", READS)?;
    let mut client = begin_trial(&daemon, &other)?;
    // Whoever wants the port meanwhile is told at once.
    let busy = daemon.cli(&["activate", "vol0"])?;
    let said = String::from_utf8_lossy(&busy.stderr).into_owned();
    assert_eq!(busy.status.code(), Some(3), "{said}");
    assert!(said.contains("on trial"), "{said}");
    client.kill()?;
    client.wait()?;
    let last = until("the trial's receipt", || {
        let all = daemon.api()?.get("/v1/receipts")?.1;
        let ended = |r: &&Value| r["shadow"]["cut_short"].as_str().is_some_and(|why| !why.is_empty());
        Ok(all.as_array().and_then(|all| all.iter().find(ended).cloned()))
    })?;
    assert_eq!(last["outcome"], "refused", "{last:#}");
    assert!(last["reason"].as_str().is_some_and(|why| why.contains("has gone away")), "{last:#}");
    // From elsewhere.
    let client = begin_trial(&daemon, &other)?;
    let ended = daemon.cli(&["update", "--end-trial", "vol0"])?;
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    let output = client.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "no verdict: {said}");
    assert!(said.contains("the trial was cut short, and nothing was replaced: somebody ended it"), "{said}");
    let none = daemon.cli(&["update", "--end-trial", "vol0"])?;
    assert!(String::from_utf8_lossy(&none.stderr).contains("no trial is under way"), "{none:?}");
    assert_eq!(daemon.device("vol0")?["driver"], before);
    assert!(!load.finish()?.is_empty(), "no request failed");
    Ok(())
}

#[test]
fn what_cannot_be_a_trial_is_a_mistake_and_no_verdict() -> Result {
    let dir = TempDir::new()?;
    let sound = test_module("sound")?;
    let daemon = Setup::device(format!("vol0={}:8M", sound.display())).start(&dir)?;
    let module = sound.to_string_lossy().into_owned();
    for (options, says) in [
        (&["--trial", "1s", "--trial-sample", "0"][..], "above 0, at most 1"),
        (&["--trial", "1s", "--trial-sample", "1.5"], "above 0, at most 1"),
        (&["--trial", "1s", "--trial-sample", "nan"], "above 0, at most 1"),
        (&["--trial", "1s", "--trial-max-latency", "0"], "above 0"),
        (&["--trial", "0s"], "at most 24 hours"),
    ] {
        let output = daemon.cli(&[&["update", "vol0", &module], options].concat())?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{options:?}: {errors}");
        assert!(errors.contains(says), "{options:?}: {errors}");
    }
    // The API says the same to other clients.
    let ask = json!({ "module": module, "shadow": { "duration_ms": 1000, "sample": 1.5 } });
    let (status, problem) = daemon.api()?.post("/v1/devices/vol0/update", &ask)?;
    assert_eq!(status, 400, "{problem:#}");
    assert!(problem["message"].as_str().is_some_and(|why| why.contains("sampling rate 1.5")), "{problem:#}");
    Ok(())
}

#[test]
fn a_trial_alone_that_passes_is_no_refusal() -> Result {
    let dir = TempDir::new()?;
    let sound = test_module("sound")?;
    let daemon = Setup::device(format!("vol0={}:8M,delay_us=0", sound.display())).start(&dir)?;
    let load = Load::start(daemon.nbd(), "vol0", READS)?;
    let module = sound.to_string_lossy().into_owned();
    let output = daemon.cli(&["update", "vol0", &module, "--trial", "500ms", "--trial-only"])?;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!load.finish()?.is_empty(), "no request failed");
    let refused = daemon.cli(&["receipt", "list", "--outcome", "refused"])?;
    assert_eq!(String::from_utf8_lossy(&refused.stdout), "no receipts\n");
    let shown = daemon.cli(&["receipt", "show", "last"])?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("tried, nothing speaks against") && !shown.contains(" ! "), "{shown}");
    assert!(shown.contains("trial beside the driver that serves"), "{shown}");
    Ok(())
}

#[test]
fn trials_again_and_again_under_a_load_that_verifies_find_nothing() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=ram:16M").arg("--queues").arg("2").start(&dir)?;
    let mut load = Verified::start(&daemon, "vol0", 0, 2, 16);
    // Its requests are never seen in flight: memory answers at once.
    while daemon.device("vol0")?["requests"] == 0 {
        load.check()?;
        std::thread::sleep(Duration::from_millis(1));
    }
    let ram = module("ram")?;
    let mut compared = 0;
    for _ in 0..6 {
        // Where fio does nothing but write there is nothing to compare.
        let receipt = tried(&daemon, &ram, json!({ "duration_ms": 200, "least_compared": 0 }))?;
        assert_eq!(receipt["outcome"], "done", "{receipt:#}");
        assert_eq!(receipt["shadow"]["differ"], 0, "{receipt:#}");
        compared += receipt["shadow"]["compared"].as_u64().unwrap_or(0);
    }
    assert!(compared > 0, "fio reads, now and then");
    load.finish()?;
    assert_eq!(daemon.device("vol0")?["errors"], 0);
    Ok(())
}

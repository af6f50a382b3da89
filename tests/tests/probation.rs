//! A driver that does worse than the one before goes back by itself, and says why; and going back by
//! hand.

use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use steadfast_tests::load::{Load, Shape};
use steadfast_tests::nbd::Client;
use steadfast_tests::{Daemon, Result, Setup, TempDir, module, test_module, until};

/// A device served by the tests' own driver; a request takes `delay_us` at least.
fn daemon(dir: &TempDir, delay_us: u32) -> Result<Daemon> {
    let module = test_module("sound")?;
    Setup::device(format!("vol0={}:8M,delay_us={delay_us}", module.display())).start(dir)
}

fn receipt(daemon: &Daemon, id: &Value) -> Result<Value> {
    Ok(daemon.api()?.get(&format!("/v1/receipts/{id}"))?.1)
}

/// The receipt of an update when its probation is over.
fn over(daemon: &Daemon, id: &Value) -> Result<Value> {
    until("the probation's end", || {
        let receipt = receipt(daemon, id)?;
        Ok((receipt["probation"]["outcome"] != "running").then_some(receipt))
    })
}

/// Reads the page that a driver of the tests fails, again and again, whatever comes of it.
struct Reader {
    stop: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result>>,
}

impl Reader {
    fn start(daemon: &Daemon) -> Result<Reader> {
        let mut client = Client::connect(daemon.nbd(), "vol0")?;
        let (stop, good) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop2, good2) = (stop.clone(), good.clone());
        let thread = std::thread::spawn(move || {
            while !stop2.load(Ordering::Relaxed) {
                let answer = client.read(4096, 4096)?;
                good2.fetch_add(u64::from(answer.is_ok()), Ordering::Relaxed);
            }
            Ok(())
        });
        Ok(Reader { stop, good, thread: Some(thread) })
    }

    /// Waits until so many more have been read without an error.
    fn wait(&self, more: u64) -> Result {
        let target = self.good.load(Ordering::Relaxed) + more;
        until("requests that succeed", || Ok((self.good.load(Ordering::Relaxed) >= target).then_some(())))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn errors_go_back_and_both_receipts_say_why() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = daemon(&dir, 50)?;
    let before = daemon.device("vol0")?["driver"].clone();
    let reader = Reader::start(&daemon)?;
    reader.wait(500)?;
    let bad = test_module("submit_error")?;
    let output = daemon.cli(&["update", "vol0", &bad.to_string_lossy(), "--probation", "60s"])?;
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(4), "{text}{errors}");
    assert!(text.contains("on probation for 60 s"), "{text}");
    assert!(errors.contains("went back after") && errors.contains("of requests failed"), "{errors}");
    reader.wait(500)?;
    drop(reader);

    let receipts = daemon.api()?.get("/v1/receipts?device=vol0")?.1;
    let (up, back) = (&receipts[0], &receipts[1]);
    assert_eq!((&up["outcome"], &up["probation"]["outcome"]), (&json!("done"), &json!("reverted")), "{up:#}");
    assert_eq!((&back["outcome"], &back["by"]["cause"]), (&json!("done"), &json!("probation")), "{back:#}");
    assert_eq!(up["probation"]["revert_receipt"], back["id"]);
    assert_eq!(back["probation"]["of_receipt"], up["id"]);
    assert_eq!(back["probation"]["reason"], up["probation"]["reason"]);
    assert!(up["probation"]["baseline"]["requests"].as_u64() >= Some(500), "{up:#}");
    assert_eq!(daemon.device("vol0")?["driver"], before);
    daemon.check_serves("vol0")
}

#[test]
fn slower_requests_go_back_with_the_parameters_as_they_were() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir, 50)?;
    let load = Load::start(daemon.nbd(), "vol0", Shape { size: 4096, depth: 32, write: false })?;
    until("a baseline", || Ok((daemon.device("vol0")?["requests"].as_u64() > Some(3000)).then_some(())))?;
    let ask = json!({
        "params": {"delay_us": "20000"},
        "probation": {"duration_ms": 60_000, "max_latency_factor": 4.0},
    });
    let up = daemon.api()?.update("vol0", &test_module("sound")?, ask)?;
    assert_eq!(up["probation"]["outcome"], "running", "{up:#}");
    let device = daemon.device("vol0")?;
    assert_eq!(device["probation"]["receipt"], up["id"]);
    assert!(device["probation"]["left_ms"].as_u64() > Some(0), "{device:#}");
    let up = over(&daemon, &up["id"])?;
    assert_eq!(up["probation"]["outcome"], "reverted", "{up:#}");
    assert!(up["probation"]["reason"].as_str().is_some_and(|why| why.contains("latency")), "{up:#}");
    let device = daemon.device("vol0")?;
    assert!(device["params"].to_string().contains("\"50\""), "{}", device["params"]);
    assert_eq!(device["probation"], Value::Null);
    assert!(!load.finish()?.is_empty(), "no request failed");
    Ok(())
}

#[test]
fn a_driver_that_lets_requests_hang_goes_back() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = daemon(&dir, 50)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    assert_eq!(client.read(0, 4096)?, Ok(vec![0; 4096]));
    // Two seconds are allowed: half of the probation.
    let ask = json!({"params": {"delay_us": "6000000"}, "probation": {"duration_ms": 4_000}});
    let up = daemon.api()?.update("vol0", &test_module("sound")?, ask)?;
    assert_eq!(client.read(0, 4096)?, Ok(vec![0; 4096]), "what hung went on, and was answered");
    let up = over(&daemon, &up["id"])?;
    assert_eq!(up["probation"]["outcome"], "reverted", "{up:#}");
    let why = up["probation"]["reason"].as_str().unwrap_or_default();
    assert!(why.starts_with("a request has not ended after 2."), "{why}");
    let back = receipt(&daemon, &up["probation"]["revert_receipt"])?;
    assert_eq!((&back["mode"], &back["adopted"]), (&json!("adopt"), &json!(1)), "{back:#}");
    daemon.check_serves("vol0")
}

#[test]
fn an_idle_device_is_not_judged_and_says_so() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir, 50)?;
    let module = test_module("sound")?;
    let output = daemon.cli(&["update", "vol0", &module.to_string_lossy(), "--probation", "300ms"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(7), "{text}");
    assert!(text.contains("unjudged after") && text.contains("too few requests to judge: 0"), "{text}");
    assert_eq!(daemon.device("vol0")?["generation"], 2, "it stays");
    let list = daemon.cli(&["receipt", "list"])?;
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains("done, unjudged"), "{list}");
    // Where it has to be judged, it does not stay.
    let line = ["update", "vol0", &module.to_string_lossy(), "--probation", "300ms", "--require-judged"];
    let output = daemon.cli(&line)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{errors}");
    assert!(
        errors.contains("went back after") && errors.contains("too few requests to judge: 0"),
        "{errors}"
    );
    Ok(())
}

#[test]
fn few_requests_that_all_fail_go_back_and_so_does_a_panic_that_ends_the_client() -> Result {
    for (bad, requests) in [("submit_error", 5), ("submit_panic", 1)] {
        let dir = TempDir::new()?;
        let daemon = daemon(&dir, 50)?;
        let ask = json!({"probation": {"duration_ms": 5_000}});
        let up = daemon.api()?.update("vol0", &test_module(bad)?, ask)?;
        assert_eq!(up["probation"]["outcome"], "running", "{up:#}");
        let mut client = Client::connect(daemon.nbd(), "vol0")?;
        for _ in 0..requests {
            assert!(client.read(4096, 4096)?.is_err(), "{bad}: the second page fails");
        }
        drop(client);
        let up = over(&daemon, &up["id"])?;
        assert_eq!(up["probation"]["outcome"], "reverted", "{bad}: {up:#}");
        let why = up["probation"]["reason"].as_str().unwrap_or_default();
        assert!(why.starts_with("100 % of requests failed"), "{bad}: {why}");
    }
    Ok(())
}

#[test]
fn the_device_and_the_receipt_agree_on_when_it_is_over() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir, 50)?;
    let (sound, other) = (test_module("sound")?, test_module("other_pdu")?);
    for round in 0..6 {
        let ask = json!({"probation": {"duration_ms": 100}});
        let module = if round % 2 == 0 { &other } else { &sound };
        let up = daemon.api()?.update("vol0", module, ask)?;
        assert_eq!(up["probation"]["outcome"], "running", "{up:#}");
        // Whichever of the two says first that it is over, the other says so too.
        if round < 3 {
            let up = over(&daemon, &up["id"])?;
            assert_eq!(daemon.device("vol0")?["probation"], Value::Null, "{up:#}");
        } else {
            until("none on probation", || {
                Ok((daemon.device("vol0")?["probation"] == Value::Null).then_some(()))
            })?;
            assert_eq!(receipt(&daemon, &up["id"])?["probation"]["outcome"], "unjudged");
        }
    }
    Ok(())
}

#[test]
fn an_update_during_probation_is_busy_unless_it_ends_it() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir, 50)?;
    let (sound, other) = (test_module("sound")?, test_module("other_pdu")?);
    let ask = json!({"probation": {"duration_ms": 3_600_000}});
    let first = daemon.api()?.update("vol0", &other, ask.clone())?;
    assert_eq!(first["outcome"], "done", "{first:#}");
    let busy = daemon.api()?.update("vol0", &sound, json!({}))?;
    assert_eq!(busy["outcome"], "busy", "{busy:#}");
    assert!(busy["reason"].as_str().is_some_and(|why| why.contains("on probation for another")), "{busy:#}");
    let mut ends = ask;
    ends["end_probation"] = json!(true);
    let second = daemon.api()?.update("vol0", &other, ends)?;
    assert_eq!(second["outcome"], "done", "{second:#}");
    let first = receipt(&daemon, &first["id"])?;
    assert_eq!(first["probation"]["outcome"], "ended", "{first:#}");
    // Going back is always possible.
    let (status, back) = daemon.api()?.post("/v1/devices/vol0/revert", &json!({}))?;
    assert_eq!((status, &back["outcome"]), (200, &json!("done")), "{back:#}");
    let second = receipt(&daemon, &second["id"])?;
    assert_eq!(second["probation"]["reason"], "somebody went back", "{second:#}");
    assert_eq!(daemon.device("vol0")?["probation"], Value::Null);
    Ok(())
}

#[test]
fn a_stop_during_probation_is_recorded() -> Result {
    let dir = TempDir::new()?;
    let mut first = daemon(&dir, 50)?;
    let ask = json!({"probation": {"duration_ms": 3_600_000}});
    let up = first.api()?.update("vol0", &test_module("other_pdu")?, ask)?;
    assert_eq!(up["outcome"], "done", "{up:#}");
    assert!(first.stop()?.success());
    let mut second = daemon(&dir, 50)?;
    let up = receipt(&second, &up["id"])?;
    assert_eq!(up["probation"]["outcome"], "stopped", "{up:#}");
    // Also when it was no stop but a kill.
    let ask = json!({"probation": {"duration_ms": 3_600_000}});
    let up = second.api()?.update("vol0", &test_module("other_pdu")?, ask)?;
    assert_eq!(up["probation"]["outcome"], "running", "{up:#}");
    second.kill();
    let third = daemon(&dir, 50)?;
    let up = receipt(&third, &up["id"])?;
    assert_eq!(up["probation"]["outcome"], "killed", "{up:#}");
    let id = up["id"].to_string();
    let shown = third.cli(&["receipt", "show", &id])?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("cut short, the daemon was killed or crashed"), "{shown}");
    Ok(())
}

#[test]
fn the_way_back_waits_no_longer_for_requests_than_the_update() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir, 0)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    // A request that is found to hang before it ends, and a way back that would have to wait for it.
    let ask = json!({
        "mode": "drain", "deadline_ms": 300, "params": {"delay_us": "10000000"},
        "probation": {"duration_ms": 4_000},
    });
    let up = daemon.api()?.update("vol0", &test_module("other_pdu")?, ask)?;
    assert_eq!(up["outcome"], "done", "{up:#}");
    client.send(steadfast_tests::nbd::command::READ, 0, 0, 4096, &[])?;
    let back = until("the way back", || {
        let all = daemon.api()?.get("/v1/receipts")?.1;
        Ok(all.as_array().and_then(|all| all.iter().find(|r| r["by"]["cause"] == "probation").cloned()))
    })?;
    assert_eq!((&back["outcome"], &back["mode"]), (&json!("rolled_back"), &json!("drain")), "{back:#}");
    let why = back["reason"].as_str().unwrap_or_default();
    assert!(why.contains("deadline of 0.3 s passed"), "{why}");
    Ok(())
}

#[test]
fn a_policy_that_wants_min_from_is_in_no_way_back() -> Result {
    let dir = TempDir::new()?;
    let device =
        format!("vol0={}:{}", module("file-1.0")?.display(), dir.disk("disk.img", 8 << 20)?.display());
    let daemon = Setup::device(device).arg("--require-min-from").start(&dir)?;
    let (new, old) = (module("file-1.1")?, module("file-1.0")?);
    let version = || -> Result<Value> { Ok(daemon.device("vol0")?["driver"]["version"].clone()) };
    // No latency at all is allowed: it goes back by itself.
    let ask = json!({"probation": {"duration_ms": 60_000, "max_latency_ns": 1}});
    let load = Load::start(daemon.nbd(), "vol0", Shape { size: 4096, depth: 8, write: false })?;
    let up = daemon.api()?.update("vol0", &new, ask)?;
    let up = over(&daemon, &up["id"])?;
    assert_eq!(up["probation"]["outcome"], "reverted", "{up:#}");
    assert_eq!(version()?, "1.0.0");
    assert_eq!(daemon.update("vol0", &new)?["outcome"], "done");
    let (_, back) = daemon.api()?.post("/v1/devices/vol0/revert", &json!({}))?;
    assert_eq!(back["outcome"], "done", "{back:#}");
    assert_eq!(daemon.update("vol0", &new)?["outcome"], "done");
    let by_hand = daemon.api()?.update("vol0", &old, json!({"allow_older": true}))?;
    assert_eq!(by_hand["outcome"], "refused", "{by_hand:#}");
    let by_hand = daemon.api()?.update("vol0", &old, json!({"allow_older": true, "allow_skip": true}))?;
    assert_eq!(by_hand["outcome"], "done", "{by_hand:#}");
    assert!(!load.finish()?.is_empty(), "no request failed");
    Ok(())
}

#[test]
fn revert_goes_back_although_the_file_has_gone_and_once_more_forward() -> Result {
    let dir = TempDir::new()?;
    let device =
        format!("vol0={}:{}", module("file-1.0")?.display(), dir.disk("disk.img", 8 << 20)?.display());
    let mut daemon = Setup::device(device.clone()).start(&dir)?;
    let nothing = daemon.cli(&["update", "--revert", "vol0"])?;
    let errors = String::from_utf8_lossy(&nothing.stderr).into_owned();
    assert_eq!(nothing.status.code(), Some(1), "{errors}");
    assert!(errors.contains("nothing to go back to"), "{errors}");

    let newer = dir.join("newer.so");
    std::fs::copy(module("file-1.1")?, &newer)?;
    assert_eq!(daemon.update("vol0", &newer)?["outcome"], "done");
    std::fs::write(&newer, "overwritten")?;
    let version =
        |daemon: &Daemon| -> Result<Value> { Ok(daemon.device("vol0")?["driver"]["version"].clone()) };
    for expected in ["1.0.0", "1.1.0", "1.0.0"] {
        let output = daemon.cli(&["update", "--revert", "vol0"])?;
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(version(&daemon)?, expected);
    }
    daemon.check_serves("vol0")?;
    // Receipts outlive the daemon, and so does what they know.
    assert!(daemon.stop()?.success());
    let daemon = Setup::device(device).start(&dir)?;
    assert_eq!(version(&daemon)?, "1.0.0");
    let (_, back) = daemon.api()?.post("/v1/devices/vol0/revert", &json!({}))?;
    assert_eq!((&back["outcome"], &back["by"]["cause"]), (&json!("done"), &json!("revert")), "{back:#}");
    assert_eq!(version(&daemon)?, "1.1.0");
    Ok(())
}

#[test]
fn impossible_bounds_are_refused() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir, 50)?;
    let module: PathBuf = test_module("sound")?;
    let module = module.to_string_lossy();
    for (option, value, says) in [
        ("--max-error-rate", "200%", "not a share"),
        ("--max-latency", "fast", "not a bound on latency"),
        ("--probation", "1ms", "100 ms to 24 hours"),
    ] {
        let probation: &[&str] = if option == "--probation" { &[] } else { &["--probation", "1s"] };
        let output = daemon.cli(&[&["update", "vol0", &module, option, value], probation].concat())?;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(says), "{option} {value}: {errors}");
    }
    assert_eq!(daemon.device("vol0")?["generation"], 1, "nothing was done");
    Ok(())
}

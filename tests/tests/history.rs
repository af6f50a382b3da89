//! Receipts outlive the daemon: a restart, a kill, a disk that takes none. Every attempt leaves one.

use serde_json::{Value, json};
use std::process::Command;
use steadfast_tests::{Daemon, Result, Setup, TempDir, api::Api, module, run, steadfast};

fn receipts(daemon: &Daemon, query: &str) -> Result<Vec<Value>> {
    let (status, list) = daemon.api()?.get(&format!("/v1/receipts?{query}"))?;
    assert_eq!(status, 200, "{list}");
    Ok(list.as_array().expect("a list").clone())
}

fn ids(list: &[Value]) -> Vec<u64> {
    list.iter().filter_map(|receipt| receipt["id"].as_u64()).collect()
}

fn update(api: &mut Api, module: &str) -> Result<(u16, Value)> {
    api.post("/v1/devices/vol0/update", &json!({ "module": module }))
}

fn ram() -> Setup {
    Setup::device("vol0=ram:1M")
}

#[test]
fn a_restart_keeps_receipts_and_numbers_go_on() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = ram().start(&dir)?;
    for _ in 0..3 {
        daemon.update("vol0", &module("ram")?)?;
    }
    assert!(daemon.stop()?.success());
    let daemon = ram().start(&dir)?;
    assert_eq!(daemon.device("vol0")?["last_receipt"]["id"], 3);
    let next = daemon.update("vol0", &module("ram")?)?;
    assert_eq!(next["id"], 4);
    let list = receipts(&daemon, "device=vol0")?;
    assert_eq!(ids(&list), [1, 2, 3, 4]);
    let (status, third) = daemon.api()?.get("/v1/receipts/3")?;
    assert_eq!((status, &third), (200, &list[2]));
    Ok(())
}

#[test]
fn a_kill_loses_no_receipt_that_was_answered() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = ram().start(&dir)?;
    let mut api = daemon.api()?;
    let worker = std::thread::spawn(move || -> u64 {
        let mut last = 0;
        while let Ok((200, receipt)) = update(&mut api, "ram") {
            last = receipt["id"].as_u64().expect("a number");
        }
        last
    });
    // Updates are under way when it is killed, whichever they are.
    while daemon.device("vol0")?["swaps"].as_u64() < Some(5) {
        std::thread::yield_now();
    }
    daemon.kill();
    let answered = worker.join().expect("no panic");
    let daemon = ram().start(&dir)?;
    // The newest thousand, should it have been that fast.
    let found = ids(&receipts(&daemon, "limit=1000")?);
    let expected: Vec<u64> = (found[0]..=answered).collect();
    assert_eq!(found[..expected.len()], expected);
    assert!(found[0] == 1 || found.len() == 1000, "{found:?}");
    assert!(found.len() <= expected.len() + 1, "{found:?}");
    Ok(())
}

#[test]
fn every_attempt_leaves_a_receipt_that_says_who_and_why() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device(format!("vol0={}:{}", "file@1.1.0", dir.disk("disk", 1 << 20)?.display()))
        .start(&dir)?;
    let mut api = daemon.api()?;
    std::fs::write(dir.join("text.so"), "no module at all")?;
    let text = dir.join("text.so").display().to_string();
    let (status, _) = update(&mut api, "nonesuch")?;
    assert_eq!(status, 404, "there is nothing to answer but that");
    for module in [text.as_str(), "file@1.0.0"] {
        assert_eq!(update(&mut api, module)?.0, 422, "{module}");
    }
    let list = receipts(&daemon, "outcome=refused")?;
    assert_eq!(ids(&list), [1, 2, 3]);
    let asked: Vec<&str> = list.iter().filter_map(|receipt| receipt["source"].as_str()).collect();
    assert_eq!(asked, ["nonesuch", &text, "file@1.0.0"]);
    for (receipt, why) in list.iter().zip(["no such driver", "no ELF header", "older than the running"]) {
        assert!(receipt["reason"].as_str().is_some_and(|reason| reason.contains(why)), "{receipt:#}");
        assert_eq!(receipt["by"]["cause"], "operator");
        let who = receipt["by"]["who"].as_str().expect("somebody");
        assert!(who.contains("uid ") && who.contains("pid "), "{who}");
        assert_eq!(receipt["from"]["version"], "1.1.0");
    }
    let rows = list[2]["checks"].as_array().expect("rows");
    let refused: Vec<&Value> = rows.iter().filter(|row| row["ok"] == false).map(|row| &row["name"]).collect();
    assert_eq!(refused, ["version"], "and the rows that passed are there too: {}", rows.len());
    assert!(rows.len() > 10);
    assert!(receipts(&daemon, "outcome=done")?.is_empty());
    assert_eq!(receipts(&daemon, "since=99999999999999")?.len(), 0);
    Ok(())
}

#[test]
fn a_history_that_cannot_be_written_harms_no_update() -> Result {
    let dir = TempDir::new()?;
    std::fs::create_dir(dir.join("state"))?;
    std::fs::write(dir.join("state/history.sqlite"), "not a database, but somebody's treasure".repeat(9))?;
    let daemon = ram().arg("--state").arg(dir.join("state").display().to_string()).start(&dir)?;
    let receipt = daemon.update("vol0", &module("ram")?)?;
    let list = receipts(&daemon, "")?;
    assert_eq!(ids(&list), [receipt["id"].as_u64().expect("a number")]);
    let (_, back) = daemon.api()?.post("/v1/devices/vol0/revert", &json!({}))?;
    let why = back["reason"].as_str().expect("a reason");
    assert!(why.contains("the history does not answer"), "not that there is nothing: {back:#}");
    let (_, health) = daemon.api()?.get("/v1/health")?;
    assert_eq!((&health["healthy"], &health["history"]["unsaved"]), (&json!(true), &json!(2)));
    let error = health["history"]["error"].as_str().expect("an error");
    assert!(error.contains("not a database"), "{error}");
    assert!(
        health["degraded"].as_str().is_some_and(|why| why.contains("lost when the daemon stops: 2;")),
        "{health:#}"
    );
    let listed = daemon.cli(&["receipt", "list"])?;
    let note = String::from_utf8_lossy(&listed.stderr).into_owned();
    assert!(note.contains("receipts may be missing") && note.contains("not a database"), "{note}");
    let mut daemon = daemon;
    assert!(daemon.stop()?.success());
    let (log, id) = (daemon.log(), receipt["id"].to_string());
    assert!(log.contains("receipts lost with this process: 2:"), "{log}");
    assert!(log.contains(&format!("lost: receipt {id}, update of port vol0")), "{log}");
    assert!(std::fs::read_to_string(dir.join("state/history.sqlite"))?.contains("treasure"));
    Ok(())
}

#[test]
fn a_second_daemon_does_not_get_at_the_first_ones_state() -> Result {
    let dir = TempDir::new()?;
    let state = dir.join("state").display().to_string();
    let mut first = ram().arg("--state").arg(&state).start(&dir)?;
    let other = TempDir::new()?;
    let refused = ram().arg("--state").arg(&state).start(&other).expect_err("the folder is taken");
    let why = format!("{refused:#}");
    assert!(why.contains(&format!("state folder {state}: another daemon uses it")), "{why}");
    first.check_serves("vol0")?;
    // A daemon that was killed leaves no lock behind.
    first.kill();
    ram().arg("--state").arg(&state).start(&other).map(drop)
}

#[test]
fn a_live_change_leaves_a_receipt_with_the_values_before_and_since() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=delay:1M").start(&dir)?;
    for (change, code) in [("fixed_us=5", 0), ("fixed_us=-1", 1)] {
        assert_eq!(
            daemon.cli(&["param", "set", "--temporary", "vol0", change])?.status.code(),
            Some(code),
            "{change}"
        );
    }
    let list = receipts(&daemon, "device=vol0")?;
    let found: Vec<_> = list.iter().map(|r| (&r["kind"], &r["outcome"], &r["source"])).collect();
    let (live, done, refused) = (json!("live"), json!("done"), json!("refused"));
    let said = [json!("fixed_us=5"), json!("fixed_us=-1")];
    assert_eq!(found, [(&live, &done, &said[0]), (&live, &refused, &said[1])]);
    let report = &list[0]["properties"];
    let change = json!([{ "name": "fixed_us", "before": "0", "after": "5", "class": "live" }]);
    assert_eq!(report["changes"], change);
    assert_eq!(
        (&report["before"]["fixed_us"], &report["after"]["fixed_us"]["value"]),
        (&json!(null), &json!("5"))
    );
    assert_eq!(report["stamp_before"], report["stamp_after"], "nothing was initialised anew");
    assert!(list[1]["reason"].as_str().is_some_and(|why| why.contains("fixed_us")), "{:#}", list[1]);
    let shown = |args: &[&str]| -> Result<String> { Ok(String::from_utf8(daemon.cli(args)?.stdout)?) };
    assert!(shown(&["receipt", "list"])?.contains("fixed_us=5"));
    let shown = shown(&["receipt", "show", "1"])?;
    assert!(shown.contains("vol0: changed while it served") && shown.contains("fixed_us 0 -> 5"), "{shown}");
    Ok(())
}

#[test]
fn the_number_of_receipts_is_bounded() -> Result {
    let dir = TempDir::new()?;
    std::fs::write(
        dir.join("sf.toml"),
        "history = 3\nstate = \"kept\"\n[device.vol0]\ndriver = \"ram\"\ntarget = \"1M\"\n",
    )?;
    let daemon =
        Setup::default().arg("--config").arg(dir.join("sf.toml").display().to_string()).start(&dir)?;
    for _ in 0..5 {
        daemon.update("vol0", &module("ram")?)?;
    }
    let (_, health) = daemon.api()?.get("/v1/health")?;
    assert_eq!(health["history"]["stored"], 3, "{health}");
    assert!(dir.join("kept/history.sqlite").exists());
    Ok(())
}

#[test]
fn a_receipt_is_listed_and_drawn_in_any_terminal() -> Result {
    let dir = TempDir::new()?;
    let daemon = ram().start(&dir)?;
    daemon.update("vol0", &module("ram")?)?;
    let shown = |args: &[&str], locale: &str| -> Result<String> {
        let mut command = Command::new(steadfast()?);
        command.env("STEADFAST_SOCKET", daemon.control()).env("LC_ALL", locale).args(args);
        let output = run(&mut command)?;
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    let list = shown(&["receipt", "list", "--device", "vol0", "--outcome", "done"], "C")?;
    assert!(list.lines().count() == 2 && list.contains("ram 1.0.0 -> 1.0.0"), "{list}");
    assert_eq!(shown(&["receipt", "list", "--outcome", "stranded"], "C")?, "no receipts\n");
    for (locale, mark) in [("C", "| connect"), ("C.UTF-8", "┃ connect")] {
        let text = shown(&["receipt", "show", "last"], locale)?;
        for part in ["receipt 1, ", "vol0: done", "the pause", mark, "finish_update", "unload"] {
            assert!(text.contains(part), "{locale}: no '{part}' in:\n{text}");
        }
        assert!(locale == "C.UTF-8" || text.is_ascii(), "{text}");
        let timeline = text.lines().skip_while(|line| !line.contains("in all"));
        assert!(timeline.into_iter().all(|line| line.chars().count() <= 80), "{text}");
    }
    let one: Value = serde_json::from_str(&shown(&["receipt", "show", "1", "-o", "json"], "C")?)?;
    let all: Value = serde_json::from_str(&shown(&["receipt", "list", "-o", "json"], "C")?)?;
    assert_eq!(all, json!([one]));
    let missing = daemon.cli(&["receipt", "show", "7"])?;
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no receipt 7"));
    Ok(())
}

#[test]
fn a_port_that_is_gone_has_its_history_still() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("a=ram:1M").and_device("b=ram:1M").start(&dir)?;
    let mut api = daemon.api()?;
    api.save("b", json!({ "io_throttle": "5" }))?;
    api.activate("b", &json!({}))?;
    assert!(daemon.cli(&["device", "remove", "b"])?.status.success());
    let (status, history) = api.get("/v1/ports/b/history")?;
    assert_eq!(status, 200, "{history}");
    let kinds: Vec<_> = history.as_array().expect("a list").iter().map(|r| r["kind"].clone()).collect();
    assert!(kinds.contains(&json!("activation")), "{history}");
    assert_eq!(kinds.last(), Some(&json!("detach")), "{history}");
    // Of what never was there is none.
    let (status, problem) = api.get("/v1/ports/c/history")?;
    assert_eq!((status, &problem["kind"]), (404, &json!("not_found")), "{problem}");
    Ok(())
}

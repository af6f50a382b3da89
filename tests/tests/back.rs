//! Ways back: none of them leads forward to what has gone back by itself, and each can be looked at first.

use serde_json::{Value, json};
use steadfast_tests::params::{cli, ends, generation, param};
use steadfast_tests::{Daemon, Result, Setup, TempDir, module, until};

fn both(daemon: &Daemon, name: &str, value: &str) -> Result<bool> {
    let param = param(daemon, "vol0", name)?;
    Ok(param["current"] == value && param["saved"] == value)
}

/// Activates what nobody confirms, and waits until it has gone back; the receipt of the activation.
fn expire(daemon: &Daemon, value: &str) -> Result<String> {
    ends(daemon, 0, &["param", "set", "vol0", value])?;
    let said = ends(daemon, 0, &["activate", "vol0", "--confirm-within", "300ms", "-o", "json"])?;
    let id = serde_json::from_str::<Value>(&said)?["receipt"]["id"].to_string();
    until("it has gone back", || {
        let receipt = daemon.api()?.get(&format!("/v1/receipts/{id}"))?.1;
        Ok((receipt["properties"]["confirmed"] == false).then_some(()))
    })?;
    until("it is over", || {
        let port = daemon.api()?.get("/v1/ports/vol0")?.1;
        Ok((port["unconfirmed"] == Value::Null).then_some(()))
    })?;
    Ok(id)
}

#[test]
fn a_rollback_does_not_put_back_in_force_what_went_back_by_itself() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=ram:16M").start(&dir)?;
    let id = expire(&daemon, "link_speed=16")?;
    assert!(both(&daemon, "link_speed", "auto")?);
    let before = generation(&daemon, "vol0")?;
    for more in [&[][..], &["--dry-run"]] {
        let said = ends(&daemon, 1, &[&["rollback", "vol0"], more].concat())?;
        assert!(said.contains("gone back by itself already") && said.contains("not confirmed"), "{said}");
        assert!(said.contains(&format!("--to {id}")), "the way that is meant: {said}");
    }
    // What changes beside it, or changes nothing, is no step either.
    ends(&daemon, 0, &["activate", "vol0"])?;
    ends(&daemon, 1, &["rollback", "vol0"])?;
    assert!(both(&daemon, "link_speed", "auto")?);
    assert_eq!(generation(&daemon, "vol0")?, before + 1);
    // It can be looked at, and it can be meant.
    let said = ends(&daemon, 0, &["rollback", "vol0", "--to", &id, "--dry-run"])?;
    assert!(said.contains("link_speed") && said.contains("nothing was touched"), "{said}");
    assert!(both(&daemon, "link_speed", "auto")?);
    ends(&daemon, 0, &["rollback", "vol0", "--to", &id])?;
    assert!(both(&daemon, "link_speed", "16")?);
    // From there, back is back.
    ends(&daemon, 0, &["rollback", "vol0"])?;
    assert!(both(&daemon, "link_speed", "auto")?);
    Ok(())
}

#[test]
fn what_waits_to_be_confirmed_is_shown_before_it_goes_back() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=ram:16M").start(&dir)?;
    ends(&daemon, 0, &["param", "set", "vol0", "link_speed=16"])?;
    ends(&daemon, 0, &["activate", "vol0", "--confirm-within", "60m"])?;
    let said = ends(&daemon, 0, &["rollback", "vol0", "--dry-run", "-o", "json"])?;
    let would = &serde_json::from_str::<Value>(&said)?["would"];
    assert_eq!(would["changes"][0]["name"], "link_speed", "{would:#}");
    assert_eq!(
        (&would["changes"][0]["current"], &would["changes"][0]["saved"]),
        (&json!("16"), &json!("auto"))
    );
    assert!(both(&daemon, "link_speed", "16")?, "it still waits");
    assert_ne!(daemon.api()?.get("/v1/ports/vol0")?.1["unconfirmed"], Value::Null);
    Ok(())
}

#[test]
fn a_revert_says_first_what_it_would_do_and_goes_to_a_receipt() -> Result {
    let dir = TempDir::new()?;
    let disk = dir.disk("disk.img", 8 << 20)?;
    let daemon =
        Setup::device(format!("vol0={}:{}", module("file-1.0")?.display(), disk.display())).start(&dir)?;
    let up = daemon.update("vol0", &module("file-1.1")?)?;
    let version = || -> Result<Value> { Ok(daemon.device("vol0")?["driver"]["version"].clone()) };
    let said = ends(&daemon, 0, &["update", "--revert", "vol0", "--dry-run"])?;
    assert!(
        said.contains("file 1.0.0 can replace file 1.1.0") && said.contains("nothing was touched"),
        "{said}"
    );
    assert_eq!(version()?, "1.1.0");
    ends(&daemon, 0, &["update", "--revert", "vol0"])?;
    assert_eq!(version()?, "1.0.0");
    ends(&daemon, 0, &["update", "--revert", "vol0", "--to", &up["id"].to_string()])?;
    assert_eq!(version()?, "1.1.0");
    let (code, out, error) = cli(&daemon, &["update", "--revert", "vol0", "--to", "999"])?;
    assert!(code == 1 && error.contains("no receipt 999"), "{out}{error}");
    Ok(())
}

#[test]
fn what_comes_and_goes_can_be_looked_at_first() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=ram:16M").start(&dir)?;
    let said = ends(&daemon, 0, &["device", "add", "vol1=ram:16M", "--dry-run"])?;
    assert!(said.contains("vol1: ram") && said.contains("would be added"), "{said}");
    let said = ends(&daemon, 1, &["device", "add", "vol0=ram:16M", "--dry-run"])?;
    assert!(said.contains("exists already"), "{said}");
    let said = ends(&daemon, 1, &["device", "add", "vol1=ram:16M,nonsense=1", "--dry-run"])?;
    assert!(said.contains("nonsense"), "{said}");
    ends(&daemon, 0, &["adapter", "add", "san0=ram", "--port", "a:1M", "--port", "b:1M", "--dry-run"])?;
    let ports = daemon.api()?.get("/v1/ports")?.1;
    assert_eq!(ports.as_array().map(Vec::len), Some(1), "nothing came: {ports:#}");
    ends(&daemon, 0, &["adapter", "add", "san0=ram", "--port", "a:1M", "--port", "b:1M"])?;
    let receipts = daemon.api()?.get("/v1/receipts")?.1;
    for what in
        [&["adapter", "remove", "san0"][..], &["port", "remove", "san0-a"], &["device", "remove", "vol0"]]
    {
        let said = ends(&daemon, 0, &[what, &["--dry-run"]].concat())?;
        assert!(said.contains("would be taken away"), "{said}");
    }
    let ports = daemon.api()?.get("/v1/ports")?.1;
    assert_eq!(ports.as_array().map(Vec::len), Some(3), "nothing went: {ports:#}");
    assert_eq!(daemon.api()?.get("/v1/receipts")?.1, receipts, "and nothing is on record");
    Ok(())
}

#[test]
fn an_adapter_that_goes_is_gone_or_whole_after_a_kill() -> Result {
    let dir = TempDir::new()?;
    for round in 0..6_u64 {
        let mut daemon = Setup::device("vol0=ram:1M").start(&dir)?;
        let mut add = vec!["adapter".to_owned(), "add".to_owned(), "san0=ram".to_owned()];
        for port in 0..12 {
            add.extend(["--port".to_owned(), format!("p{port}:1M")]);
        }
        let there = |daemon: &Daemon| -> Result<usize> {
            let ports = daemon.api()?.get("/v1/ports")?.1;
            let of = |port: &&Value| port["adapter"] == "san0";
            Ok(ports.as_array().map_or(0, |all| all.iter().filter(of).count()))
        };
        if there(&daemon)? == 0 {
            ends(&daemon, 0, &add.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        assert_eq!(there(&daemon)?, 12, "round {round}");
        let mut api = daemon.api()?;
        let remove =
            std::thread::spawn(move || api.post("/v1/adapters/san0/remove", &json!({ "force": true })));
        std::thread::sleep(std::time::Duration::from_micros(round * 1500));
        daemon.kill();
        let _ = remove.join();
        drop(daemon);
        let mut daemon = Setup::device("vol0=ram:1M").start(&dir)?;
        let left = there(&daemon)?;
        assert!(left == 0 || left == 12, "round {round}: {left} of 12 are left");
        daemon.kill();
    }
    Ok(())
}

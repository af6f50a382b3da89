//! An operator puts away drivers that do not let go, by the commands: one port, several in turn, and by an activation.

use serde_json::{Value, json};
use steadfast_tests::nbd::Client;
use steadfast_tests::{Daemon, Result, Setup, TempDir, test_module};

/// A command with `-o json`: exit code, and what it says.
fn run(daemon: &Daemon, args: &[&str]) -> Result<(i32, Value)> {
    let output = daemon.cli(&[args, &["-o", "json"]].concat())?;
    let said = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&output.stderr).into_owned()));
    Ok((output.status.code().unwrap_or(-1), said))
}

fn path(name: &str) -> Result<String> {
    Ok(test_module(name)?.display().to_string())
}

/// What `device show` says of drivers that were put away.
fn shown(daemon: &Daemon, port: &str) -> Result<(String, Value)> {
    let (_, device) = run(daemon, &["device", "show", port])?;
    let text = daemon.cli(&["device", "show", port])?;
    Ok((String::from_utf8_lossy(&text.stdout).into_owned(), device["abandoned"].clone()))
}

#[test]
fn a_driver_that_does_not_let_go_is_put_away_by_name_and_never_by_force() -> Result {
    let dir = TempDir::new()?;
    let mut daemon =
        Setup::device(format!("vol0={}:8M,delay_us=0", path("disconnect_error")?)).start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    assert!(client.write(0, &[7; 4096], false)?.is_ok());
    let sound = path("sound")?;
    let (code, receipt) = run(&daemon, &["update", "vol0", &sound, "--force"])?;
    assert_eq!((code, &receipt["outcome"]), (4, &json!("rolled_back")), "{receipt:#}");
    let (code, receipt) = run(&daemon, &["update", "vol0", &sound, "--abandon"])?;
    assert_eq!((code, &receipt["outcome"]), (0, &json!("done")), "{receipt:#}");
    assert!(receipt["abandoned"].as_str().is_some_and(|why| why.contains("disconnect")), "{receipt:#}");
    assert_eq!(receipt["unload"], "pinned", "{receipt:#}");
    let (text, list) = shown(&daemon, "vol0")?;
    assert!(list[0]["entry"] == "disconnect" && list[0]["inside"] == false, "{list:#}");
    assert!(text.contains("abandoned") && text.contains("disconnect"), "{text}");
    assert_eq!(client.read(0, 4096)?, Ok(vec![7; 4096]));
    daemon.check_serves("vol0")
}

#[test]
fn several_ports_in_turn_put_their_drivers_away() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = Setup::device("keep=null:1M").start(&dir)?;
    let driver = test_module("disconnect_error")?;
    let ports = json!(["a:8M,delay_us=0", "b:8M,delay_us=0"]);
    let body = json!({ "name": "p", "driver": driver, "ports": ports, "temporary": true });
    let (status, report) = daemon.api()?.post("/v1/adapters", &body)?;
    assert_eq!(status, 200, "{report:#}");
    // An activation leaves the module, and puts the one away that had the port.
    let (code, report) = run(&daemon, &["activate", "--adapter", "p"])?;
    assert_eq!((code, &report["outcome"]), (1, &json!("stopped")), "{report:#}");
    let (code, report) = run(&daemon, &["activate", "--adapter", "p", "--abandon"])?;
    assert_eq!((code, &report["outcome"]), (0, &json!("done")), "{report:#}");
    let sound = path("sound")?;
    let (code, report) = run(&daemon, &["update", "--adapter", "p", &sound, "--rolling"])?;
    assert_eq!(code, 4, "{report:#}");
    let (code, report) = run(&daemon, &["update", "--adapter", "p", &sound, "--rolling", "--abandon"])?;
    assert_eq!((code, &report["outcome"]), (0, &json!("done")), "{report:#}");
    for port in ["p-a", "p-b"] {
        let (_, list) = shown(&daemon, port)?;
        assert_eq!(list.as_array().map(Vec::len), Some(2), "one by each: {list:#}");
        daemon.check_serves(port)?;
    }
    Ok(())
}

//! A driver that does not let go: nothing is put away for an update that is refused, and what was put away does not
//! come back by itself.

use serde_json::json;
use steadfast_tests::nbd::Client;
use steadfast_tests::params::{ends, param};
use steadfast_tests::{Daemon, Result, Setup, TempDir, module};

/// What the way from the one driver to the other takes.
const TO_RAM: [&str; 8] =
    ["--allow-other", "--force", "--unset", "at", "--unset", "for_ms", "--unset", "times"];

/// `vol0` with a driver that does not return from `disconnect`, after an update has tried to replace it.
fn stuck(dir: &TempDir) -> Result<(Daemon, Client)> {
    let daemon = Setup::device("vol0=ram:16M").start(dir)?;
    let client = Client::connect(daemon.nbd(), "vol0")?;
    let hang = module("hang")?.display().to_string();
    let how =
        ["--allow-other", "--force", "--set", "at=disconnect", "--set", "for_ms=600000", "--set", "times=1"];
    ends(&daemon, 0, &[&["update", "vol0", &hang][..], &how].concat())?;
    let ram = module("ram")?.display().to_string();
    let said = ends(&daemon, 1, &[&["update", "vol0", &ram, "--deadline", "500ms"][..], &TO_RAM].concat())?;
    assert!(said.contains("--abandon"), "the way out is named: {said}");
    Ok((daemon, client))
}

#[test]
fn nothing_is_put_away_by_an_update_that_is_refused() -> Result {
    let dir = TempDir::new()?;
    let (daemon, client) = stuck(&dir)?;
    let ram = module("ram")?.display().to_string();
    // Another driver takes `--allow-other`.
    ends(&daemon, 1, &["update", "vol0", &ram, "--abandon"])?;
    let device = daemon.device("vol0")?;
    assert_eq!((&device["state"], &device["abandoned"]), (&json!("unresponsive"), &json!([])), "{device:#}");
    ends(&daemon, 0, &[&["update", "vol0", &ram, "--abandon"][..], &TO_RAM].concat())?;
    let device = daemon.device("vol0")?;
    assert_eq!((&device["state"], &device["driver"]["driver"]), (&json!("running"), &json!("ram")));
    assert_eq!(device["abandoned"].as_array().map(Vec::len), Some(1), "{device:#}");
    drop(client);
    Ok(())
}

#[test]
fn what_was_put_away_comes_back_only_when_it_is_meant() -> Result {
    let dir = TempDir::new()?;
    let (mut daemon, client) = stuck(&dir)?;
    let ram = module("ram")?.display().to_string();
    ends(&daemon, 0, &[&["update", "vol0", &ram, "--abandon"][..], &TO_RAM].concat())?;
    drop(client);
    let said = ends(&daemon, 1, &["update", "--revert", "vol0"])?;
    assert!(said.contains("was put away") && said.contains("--to"), "{said}");
    daemon.kill();
    let daemon = Setup::device("vol0=ram:16M").start(&dir)?;
    assert_eq!(daemon.device("vol0")?["driver"]["driver"], "ram");
    assert_eq!(param(&daemon, "vol0", "at")?, json!(null), "nothing of it is left");
    Ok(())
}

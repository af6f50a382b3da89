//! What a device comes up with when the daemon starts again: what last served it well, and never another without a
//! word.

use serde_json::{Value, json};
use std::path::Path;
use steadfast_tests::params::{ends, param};
use steadfast_tests::{Daemon, Result, Setup, TempDir, module, until};

/// A folder with the releases of a driver that it is to have.
fn modules(dir: &TempDir, releases: &[&str]) -> Result<String> {
    let folder = dir.join("modules");
    std::fs::create_dir_all(&folder)?;
    for release in releases {
        std::fs::copy(module(release)?, folder.join(format!("lib{release}.so")))?;
    }
    Ok(folder.display().to_string())
}

fn version(daemon: &Daemon) -> Result<Value> {
    Ok(daemon.device("vol0")?["driver"]["version"].clone())
}

fn setup(dir: &TempDir, driver: &str, modules: &str) -> Result<Setup> {
    let disk = dir.disk("disk.img", 8 << 20)?;
    Ok(Setup::device(format!("vol0={driver}:{}", disk.display())).arg("--modules").arg(modules))
}

/// A daemon with a configuration file that names `driver`.
fn configured(dir: &TempDir, driver: &str, more: &str, modules: &str) -> Result<Setup> {
    let disk = dir.disk("disk.img", 8 << 20)?;
    let path = dir.join("steadfast.toml");
    let text = format!(
        "# mine\n[device.vol0] # the volume\ndriver = \"{driver}\" # pinned\ntarget = \"{}\"\n{more}",
        disk.display()
    );
    std::fs::write(&path, text)?;
    Ok(Setup::default().arg("--config").arg(path.display().to_string()).arg("--modules").arg(modules))
}

fn newest(daemon: &Daemon) -> Result<Value> {
    let all = daemon.api()?.get("/v1/receipts?device=vol0")?.1;
    Ok(all.as_array().and_then(|all| all.last()).cloned().unwrap_or_default())
}

#[test]
fn a_device_comes_up_with_what_last_served_it() -> Result {
    let dir = TempDir::new()?;
    // The newest that is there is 1.1.0.
    let folder = modules(&dir, &["file-1.1"])?;
    for round in 0..2 {
        let mut daemon = setup(&dir, "file", &folder)?.start(&dir)?;
        if round == 0 {
            assert_eq!(version(&daemon)?, "1.1.0");
            let older = dir.join("older.so");
            std::fs::copy(module("file-1.0")?, &older)?;
            let receipt = daemon.api()?.update("vol0", &older, json!({"allow_older": true}))?;
            assert_eq!(receipt["outcome"], "done", "{receipt:#}");
            assert_eq!(receipt["notes"], json!([]), "the next start comes up with it: {receipt:#}");
            // Where it came from does not matter any more.
            std::fs::remove_file(&older)?;
        }
        assert_eq!(version(&daemon)?, "1.0.0", "round {round}");
        if round == 0 { daemon.kill() } else { assert!(daemon.stop()?.success()) }
    }
    // Going back still leads back, and that is remembered too.
    let mut daemon = setup(&dir, "file", &folder)?.start(&dir)?;
    daemon.logs("served it last")?;
    ends(&daemon, 0, &["update", "--revert", "vol0"])?;
    assert_eq!(version(&daemon)?, "1.1.0");
    daemon.kill();
    drop(daemon);
    let mut daemon = setup(&dir, "file", &folder)?.start(&dir)?;
    assert_eq!(version(&daemon)?, "1.1.0");
    daemon.check_serves("vol0")
}

#[test]
fn a_module_in_a_file_is_remembered_unless_the_file_has_another_since() -> Result {
    let dir = TempDir::new()?;
    let own = dir.join("driver.so");
    std::fs::copy(module("file-1.0")?, &own)?;
    let driver = own.display().to_string();
    let mut daemon = setup(&dir, &driver, "/nonexistent")?.start(&dir)?;
    daemon.update("vol0", &module("file-1.1")?)?;
    assert!(daemon.stop()?.success());
    let mut daemon = setup(&dir, &driver, "/nonexistent")?.start(&dir)?;
    assert_eq!(version(&daemon)?, "1.1.0");
    ends(&daemon, 0, &["update", "--revert", "vol0"])?;
    assert!(daemon.stop()?.success());
    // Somebody has built another one meanwhile.
    replace(&module("file-1.1")?, &own)?;
    let mut daemon = setup(&dir, &driver, "/nonexistent")?.start(&dir)?;
    assert_eq!(version(&daemon)?, "1.0.0", "what the port went back from is not new");
    daemon.kill();
    Ok(())
}

fn replace(from: &Path, to: &Path) -> Result {
    std::fs::remove_file(to)?;
    std::fs::copy(from, to)?;
    Ok(())
}

#[test]
fn a_pinned_version_wins_and_that_is_said_before_and_after() -> Result {
    let dir = TempDir::new()?;
    let folder = modules(&dir, &["file-1.0", "file-1.1"])?;
    let mut daemon = configured(&dir, "file@1.0.0", "", &folder)?.start(&dir)?;
    let said = ends(&daemon, 0, &["update", "vol0", "file@1.1.0"])?;
    assert!(said.contains("the next start comes up with file 1.0.0") && said.contains("--save"), "{said}");
    let listed = ends(&daemon, 0, &["device", "list"])?;
    assert!(listed.contains("pins `file@1.0.0`") && listed.contains("steadfast.toml:2"), "{listed}");
    assert!(daemon.stop()?.success());
    let mut daemon = configured(&dir, "file@1.0.0", "", &folder)?.start(&dir)?;
    assert_eq!(version(&daemon)?, "1.0.0");
    let receipt = newest(&daemon)?;
    assert_eq!((&receipt["by"]["cause"], &receipt["from"]["version"]), (&json!("start"), &json!("1.1.0")));
    assert!(receipt["notes"].to_string().contains("the configuration pins `file@1.0.0`"), "{receipt:#}");
    // The pin moves, in place, and everything else stays.
    let said = ends(&daemon, 0, &["update", "vol0", "file@1.1.0", "--save"])?;
    assert!(said.contains("names `file@1.1.0` now") && !said.contains("next start"), "{said}");
    let text = std::fs::read_to_string(dir.join("steadfast.toml"))?;
    let pin = "# mine\n[device.vol0] # the volume\ndriver = \"file@1.1.0\" # pinned\n";
    assert!(text.starts_with(pin), "{text}");
    let receipts = newest(&daemon)?["id"].clone();
    assert!(daemon.stop()?.success());
    let again = Setup::default().arg("--config").arg(dir.join("steadfast.toml").display().to_string());
    let daemon = again.arg("--modules").arg(&folder).start(&dir)?;
    assert_eq!(version(&daemon)?, "1.1.0");
    assert_eq!(newest(&daemon)?["id"], receipts, "nothing is different, and nothing is said");
    Ok(())
}

#[test]
fn values_that_came_with_an_update_are_saved_with_it() -> Result {
    let dir = TempDir::new()?;
    let folder = modules(&dir, &["file-1.0", "file-1.1"])?;
    let mut daemon = configured(&dir, "file@1.0.0", "", &folder)?.start(&dir)?;
    let update =
        ["update", "vol0", "file@1.1.0", "--set", "request_timeout=2m", "--set", "link_speed=16", "--save"];
    let said = ends(&daemon, 0, &update)?;
    assert!(said.contains("has link_speed, request_timeout now"), "{said}");
    for (name, value) in [("request_timeout", "120"), ("link_speed", "16")] {
        let shown = param(&daemon, "vol0", name)?;
        let seen = (&shown["current"], &shown["saved"], &shown["pending"]);
        assert_eq!(seen, (&json!(value), &json!(value), &json!(false)), "{shown:#}");
    }
    ends(&daemon, 0, &["plan", "vol0"])?;
    assert!(daemon.stop()?.success());
    let again = Setup::default().arg("--config").arg(dir.join("steadfast.toml").display().to_string());
    let daemon = again.arg("--modules").arg(&folder).start(&dir)?;
    assert_eq!(param(&daemon, "vol0", "request_timeout")?["saved"], "120");
    let said = ends(&daemon, 1, &["update", "vol0,vol0", "file@1.1.0", "--save"])?;
    assert!(said.contains("save: it is about the configuration of one device"), "{said}");
    Ok(())
}

#[test]
fn a_pin_that_cannot_be_moved_refuses_the_update() -> Result {
    let dir = TempDir::new()?;
    let folder = modules(&dir, &["file-1.0", "file-1.1"])?;
    let daemon = setup(&dir, "file@1.0.0", &folder)?.start(&dir)?;
    let said = ends(&daemon, 1, &["update", "vol0", "file@1.1.0", "--save"])?;
    assert!(said.contains("--save") && said.contains("no file that could be edited"), "{said}");
    assert_eq!(version(&daemon)?, "1.0.0", "nothing was done");
    Ok(())
}

#[test]
fn a_module_on_probation_comes_up_as_the_policy_says() -> Result {
    for (policy, killed, expected) in
        [("", false, "1.1.0"), ("", true, "1.1.0"), ("unproven = \"keep\"\n", true, "1.0.0")]
    {
        let dir = TempDir::new()?;
        let folder = modules(&dir, &["file-1.1"])?;
        let mut daemon = configured(&dir, "file", policy, &folder)?.start(&dir)?;
        let ask = json!({"allow_older": true, "probation": {"duration_ms": 3_600_000}});
        let up = daemon.api()?.update("vol0", &module("file-1.0")?, ask)?;
        assert_eq!(up["outcome"], "done", "{up:#}");
        if killed {
            daemon.kill()
        } else {
            assert!(daemon.stop()?.success())
        }
        drop(daemon);
        let daemon = configured(&dir, "file", policy, &folder)?.start(&dir)?;
        assert_eq!(version(&daemon)?, expected, "{policy} {killed}");
        daemon.logs("probation")?;
        if expected == "1.1.0" {
            let receipt = newest(&daemon)?;
            assert_eq!(receipt["id"], up["id"]);
            assert!(
                receipt["notes"].to_string().contains("on probation when the daemon ended"),
                "{receipt:#}"
            );
            let said = ends(&daemon, 1, &["update", "--revert", "vol0"])?;
            assert!(said.contains("once more would be forward"), "{said}");
        }
    }
    Ok(())
}

#[test]
fn parameters_that_came_with_a_driver_come_with_it_again() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = Setup::device("vol0=ram:8M").start(&dir)?;
    ends(&daemon, 0, &["update", "vol0", "ram", "--set", "io_throttle=7"])?;
    daemon.kill();
    drop(daemon);
    let mut daemon = Setup::device("vol0=ram:8M").start(&dir)?;
    let throttle = param(&daemon, "vol0", "io_throttle")?;
    assert_eq!((&throttle["current"], &throttle["pending"]), (&json!("7"), &json!(true)), "{throttle:#}");
    // What is saved is put in force, and holds from then on.
    ends(&daemon, 0, &["activate", "vol0"])?;
    daemon.kill();
    drop(daemon);
    let daemon = Setup::device("vol0=ram:8M").start(&dir)?;
    assert_ne!(param(&daemon, "vol0", "io_throttle")?["current"], "7");
    Ok(())
}

#[test]
fn modules_that_nobody_needs_leave_the_store() -> Result {
    let dir = TempDir::new()?;
    let folder = modules(&dir, &["file-1.1"])?;
    let mut daemon = setup(&dir, "file", &folder)?.start(&dir)?;
    let count = || -> Result<usize> {
        let entries = std::fs::read_dir(dir.join("store"))?.filter_map(std::io::Result::ok);
        Ok(entries.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "so")).count())
    };
    // Builds that differ in nothing but their hash.
    for build in 0..5_u8 {
        let path = dir.join(&format!("build{build}.so"));
        let mut bytes = std::fs::read(module("file-1.1")?)?;
        bytes.push(build);
        std::fs::write(&path, bytes)?;
        daemon.update("vol0", &path)?;
    }
    // What runs, what going back leads to, and what the configuration names.
    until("the store has no more than it needs", || Ok((count()? <= 3).then_some(())))?;
    ends(&daemon, 0, &["update", "--revert", "vol0"])?;
    daemon.kill();
    drop(daemon);
    let daemon = setup(&dir, "file", &folder)?.start(&dir)?;
    assert_eq!(version(&daemon)?, "1.1.0");
    ends(&daemon, 0, &["update", "--revert", "vol0"])?;
    until("the store has no more than it needs", || Ok((count()? <= 3).then_some(())))?;
    Ok(())
}

//! What the shell carries out under every driver, as clients of a daemon see it.

use anyhow::ensure;
use serde_json::json;
use std::time::Duration;
use steadfast_tests::nbd::Client;
use steadfast_tests::params::ends;
use steadfast_tests::{Daemon, Result, Setup, Swapper, TempDir, fio, module, until};

fn state(daemon: &Daemon, port: &str) -> Result<String> {
    let (_, port) = daemon.api()?.get(&format!("/v1/ports/{port}"))?;
    Ok(port["state"].as_str().unwrap_or("none").to_owned())
}

fn start(dir: &TempDir) -> Result<Daemon> {
    let disk = dir.join("disk.img").display().to_string();
    Setup::device(format!("vol0=file@1.1.0:{disk}")).and_device("vol1=ram:8M").start(dir)
}

#[test]
fn a_port_that_is_configured_down_starts_without_its_driver() -> Result {
    let dir = TempDir::new()?;
    let missing = dir.join("missing.img");
    // Its file need not even be there: nothing of its driver runs.
    let down = format!("vol1=file:{},admin_state=down", missing.display());
    let mut daemon = Setup::device("vol0=ram:8M").and_device(down).start(&dir)?;
    let (_, port) = daemon.api()?.get("/v1/ports/vol1")?;
    assert_eq!((&port["state"], &port["admin_state"]), (&json!("down"), &json!("down")), "{port:#}");
    let listed = String::from_utf8(daemon.cli(&["port", "list"])?.stdout)?;
    let line = listed.lines().find(|line| line.contains("vol1")).unwrap_or_default();
    assert!(line.contains("down"), "{listed}");
    // That is how it is meant to be, and nobody is offered its device.
    assert_eq!(daemon.api()?.get("/v1/health")?.1["healthy"], true);
    assert_eq!(daemon.api()?.get("/v1/devices")?.1.as_array().map(Vec::len), Some(1));
    let update = daemon.cli(&["update", "vol1", "file@1.1.0"])?;
    let said = String::from_utf8_lossy(&update.stderr).into_owned();
    assert!(!update.status.success() && said.contains("port `vol1` is down"), "{said}");
    daemon.check_serves("vol0")
}

#[test]
fn nbd_clients_go_on_while_slots_and_the_largest_request_change() -> Result {
    let dir = TempDir::new()?;
    dir.disk("disk.img", 64 << 20)?;
    let target = dir.join("disk.img");
    let daemon = Setup::device(format!("vol0=file@1.1.0:{}", target.display())).start(&dir)?;
    let sets = [("128", "131072", "drain"), ("2048", "1388544", "adopt"), ("256", "262144", "adopt")];
    let step = |(slots, most, mode): (&str, &str, &str)| {
        let params = json!({ "io_slots": slots, "max_transfer": most });
        Ok((module("file-1.1")?, json!({ "mode": mode, "params": params })))
    };
    let steps = sets.into_iter().map(step).collect::<Result<Vec<_>>>()?;
    // From a fraction of the smallest limit to some of the largest.
    let load = ["--bsrange=64k-2m", "--iodepth=64", "--verify=crc32c", "--verify_fatal=1", "--size=60m"];
    for mix in [["--rw=randwrite", "--loops=3"], ["--rw=randrw", "--verify_backlog=64"]] {
        let uri = daemon.uri("vol0");
        let fio = std::thread::spawn(move || fio(&uri, &[&load[..], &mix].concat()));
        while daemon.device("vol0")?["requests"].as_u64() == Some(0) && !fio.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let swapper = Swapper::start(&daemon, "vol0", steps.clone())?;
        fio.join().unwrap_or_else(|_| Err(anyhow::anyhow!("fio's thread panicked")))?;
        let swaps = swapper.finish()?;
        assert!(swaps.count() >= sets.len(), "{}", swaps.summary());
    }
    assert_eq!(daemon.device("vol0")?["errors"], 0);
    Ok(())
}

#[test]
fn a_port_goes_down_stays_down_over_a_restart_and_comes_up_with_its_data() -> Result {
    let dir = TempDir::new()?;
    dir.disk("disk.img", 16 << 20)?;
    let mut daemon = start(&dir)?;
    let written = Client::connect(daemon.nbd(), "vol0")?.write(8192, &[7; 4096], true)?;
    assert!(written.is_ok(), "{written:?}");
    until("the client has gone", || Ok((daemon.device("vol0")?["clients"] == 0).then_some(())))?;
    // Staged, planned, and done.
    let said = ends(&daemon, 0, &["param", "set", "vol0", "admin_state=down"])?;
    assert!(said.contains("admin_state up -> down, saved, waits for `steadfast activate vol0`"), "{said}");
    assert_eq!(state(&daemon, "vol0")?, "running");
    let planned = ends(&daemon, 2, &["plan", "vol0"])?;
    assert!(planned.contains("takes vol0 down"), "{planned}");
    let said = ends(&daemon, 0, &["activate", "vol0"])?;
    assert!(said.contains("vol0: activated, the port is down"), "{said}");
    // Everything says so.
    assert_eq!(state(&daemon, "vol0")?, "down");
    for command in [&["port", "show", "vol0"][..], &["adapter", "show", "vol0"], &["device", "list"]] {
        let said = ends(&daemon, 0, command)?;
        assert!(said.contains("down"), "{command:?}: {said}");
    }
    for command in [&["device", "show", "vol0"][..], &["update", "vol0", "file@1.0.0", "--allow-older"]] {
        let said = ends(&daemon, 1, command)?;
        assert!(said.contains("port `vol0` is down") && said.contains("admin_state=up"), "{said}");
    }
    assert!(Client::connect(daemon.nbd(), "vol0").is_err(), "its device is offered to nobody");
    assert!(Client::connect(daemon.nbd(), "").is_err(), "who had the default export must not get another");
    assert_eq!(daemon.api()?.get("/v1/health")?.1["healthy"], true, "it is meant to be down");
    let used = ends(&daemon, 3, &["driver", "unload", "file@1.1.0"])?;
    assert!(used.contains("vol0"), "{used}");
    // A live value waits for the driver that it is for, and all values are shown.
    let said = ends(&daemon, 0, &["param", "set", "vol0", "io_throttle=9"])?;
    assert!(said.contains("io_throttle 0 -> 9, saved, waits for"), "{said}");
    assert!(ends(&daemon, 0, &["param", "list", "vol0", "--pending"])?.contains("io_throttle"));
    daemon.check_serves("vol1")?;
    assert!(daemon.stop()?.success());
    let daemon = start(&dir)?;
    assert_eq!((state(&daemon, "vol0")?, state(&daemon, "vol1")?), ("down".into(), "running".into()));
    let explained = ends(&daemon, 0, &["param", "explain", "vol0", "admin_state"])?;
    assert!(explained.contains("down (load-time: ") && explained.contains("file.toml:"), "{explained}");
    ends(&daemon, 0, &["param", "set", "vol0", "admin_state=up"])?;
    assert!(ends(&daemon, 2, &["plan", "vol0"])?.contains("brings vol0 up"));
    let said = ends(&daemon, 0, &["activate", "vol0"])?;
    assert!(said.contains("vol0: activated, the port is up"), "{said}");
    assert_eq!(ends(&daemon, 0, &["param", "get", "vol0", "io_throttle"])?, "9\n");
    let answer = Client::connect(daemon.nbd(), "vol0")?.read(8192, 4096)?;
    assert!(answer == Ok(vec![7; 4096]), "what was written before is not there");
    Ok(())
}

#[test]
fn clients_keep_a_port_up_unless_forced_and_go_on_when_it_is_up_again() -> Result {
    let dir = TempDir::new()?;
    dir.disk("disk.img", 16 << 20)?;
    let daemon = start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    assert!(client.write(0, &[7; 4096], false)?.is_ok());
    ends(&daemon, 0, &["param", "set", "vol0", "admin_state=down"])?;
    let said = ends(&daemon, 3, &["activate", "vol0"])?;
    assert!(said.contains("in use by 1 client (client ") && said.contains("--force"), "{said}");
    assert!(state(&daemon, "vol0")? == "running" && client.read(0, 4096)?.is_ok());
    ends(&daemon, 0, &["activate", "vol0", "--force"])?;
    assert!(client.read(0, 4096)?.is_err(), "it is told, and the connection stays");
    // What is down cannot be attached: its file is gone. It stays down, and says why.
    std::fs::rename(dir.join("disk.img"), dir.join("other.img"))?;
    ends(&daemon, 0, &["param", "set", "vol0", "admin_state=up"])?;
    let said = ends(&daemon, 4, &["activate", "vol0"])?;
    assert!(said.contains("stays down") && said.contains("disk.img"), "{said}");
    std::fs::rename(dir.join("other.img"), dir.join("disk.img"))?;
    ends(&daemon, 0, &["activate", "vol0"])?;
    assert!(client.read(0, 4096)? == Ok(vec![7; 4096]), "what was written before is not there");
    // The way back is an activation too.
    let said = ends(&daemon, 3, &["rollback", "vol0"])?;
    assert!(said.contains("--force"), "{said}");
    ends(&daemon, 0, &["rollback", "vol0", "--force"])?;
    assert_eq!(state(&daemon, "vol0")?, "down");
    ends(&daemon, 0, &["device", "remove", "vol0", "--force"])?;
    assert_eq!(state(&daemon, "vol0")?, "none");
    Ok(())
}

#[test]
fn what_others_lie_over_is_not_saved_as_down_before_they_are() -> Result {
    let dir = TempDir::new()?;
    let setup = || Setup::device("base=ram:8M").and_device("vol0=error:4096,over=base");
    let mut daemon = setup().start(&dir)?;
    let said = ends(&daemon, 1, &["param", "set", "base", "admin_state=down"])?;
    assert!(said.contains("port vol0 lies over it and is up"), "{said}");
    assert!(said.contains("steadfast param set vol0 admin_state=down"), "what to do first: {said}");
    let plan = ends(&daemon, 0, &["plan", "base"])?;
    assert!(!plan.contains("admin_state"), "nothing was saved: {plan}");
    // From above it goes, and stays so over a restart; and up again from below.
    for port in ["vol0", "base"] {
        ends(&daemon, 0, &["param", "set", port, "admin_state=down"])?;
    }
    let said = ends(&daemon, 1, &["param", "set", "vol0", "admin_state=up"])?;
    assert!(said.contains("port base: admin_state=down"), "{said}");
    for port in ["vol0", "base"] {
        ends(&daemon, 0, &["activate", port])?;
    }
    ensure!(daemon.stop()?.success());
    let mut daemon = setup().start(&dir)?;
    for port in ["base", "vol0"] {
        assert_eq!(state(&daemon, port)?, "down");
        ends(&daemon, 0, &["param", "set", port, "admin_state=up"])?;
        ends(&daemon, 0, &["activate", port])?;
    }
    daemon.check_serves("vol0")
}

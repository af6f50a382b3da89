//! Adapters, ports and devices come and go in a daemon that serves others, and nobody else notices.

use anyhow::ensure;
use serde_json::{Value, json};
use std::io::Read;
use std::time::Duration;
use steadfast_tests::load::{Load, Shape};
use steadfast_tests::nbd::Client;
use steadfast_tests::params::{file_of, param};
use steadfast_tests::{Daemon, Result, Setup, Swapper, TempDir, Verified, module, until};

/// Runs a command: exit code, standard output, standard error.
fn cli(daemon: &Daemon, args: &[&str]) -> Result<(i32, String, String)> {
    let output = daemon.cli(args)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr)))
}

/// Runs a command that has to succeed.
fn done(daemon: &Daemon, args: &[&str]) -> Result<String> {
    let (code, out, error) = cli(daemon, args)?;
    ensure!(code == 0, "{args:?}: exit code {code}: {out}{error}");
    Ok(out)
}

fn port(daemon: &Daemon, name: &str) -> Result<Value> {
    let (status, port) = daemon.api()?.get(&format!("/v1/ports/{name}"))?;
    ensure!(status == 200, "port {name}: status {status}: {port}");
    Ok(port)
}

fn receipts(daemon: &Daemon, port: &str) -> Result<Vec<Value>> {
    let (_, all) = daemon.api()?.get(&format!("/v1/receipts?port={port}"))?;
    Ok(all.as_array().cloned().unwrap_or_default())
}

/// A spec of a file of its own, of so many MiB.
fn file(dir: &TempDir, name: &str, mib: u64) -> Result<String> {
    let path = dir.disk(name, mib << 20)?;
    Ok(path.display().to_string())
}

const PORTS: [&str; 4] = ["san0-a", "san0-b", "san0-c", "san0-d"];

/// A daemon with an adapter of four ports, each 16 MiB, added while it runs.
fn with_adapter(dir: &TempDir) -> Result<Daemon> {
    let daemon = Setup::device("keep=null:1M").arg("--queues").arg("2").start(dir)?;
    let mut args = vec!["adapter".to_owned(), "add".to_owned(), "san0=file@1.0.0".to_owned()];
    for name in ["a", "b", "c", "d"] {
        args.extend(["--port".to_owned(), format!("{name}:{}", file(dir, &format!("{name}.img"), 16)?)]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let out = done(&daemon, &args)?;
    assert!(out.contains("san0-d: added, file 1.0.0 serves it") && out.contains("kept in"), "{out}");
    Ok(daemon)
}

#[test]
fn ports_of_one_adapter_run_different_releases_and_do_not_move_for_one_another() -> Result {
    let dir = TempDir::new()?;
    let daemon = with_adapter(&dir)?;
    let mut load: Vec<_> = PORTS.iter().map(|name| Verified::start(&daemon, name, 0, 8, 8)).collect();
    for (load, name) in load.iter_mut().zip(PORTS) {
        load.busy(&daemon, name)?;
    }
    let before: Vec<Value> = PORTS.iter().map(|name| port(&daemon, name)).collect::<Result<_>>()?;
    let steps = vec![
        (module("file-1.1")?, json!({ "mode": "adopt" })),
        (module("file-1.0")?, json!({ "mode": "drain", "allow_older": true })),
    ];
    let swapper = Swapper::start(&daemon, "san0-b", steps)?;
    for one in &mut load {
        one.pass(2)?;
    }
    swapper.finish_with_refusals()?;
    daemon.api()?.update("san0-b", &module("file-1.1")?, json!({}))?;
    for (name, before) in PORTS.iter().zip(&before) {
        let now = port(&daemon, name)?;
        assert_eq!((&now["adapter"], &now["number"]), (&json!("san0"), &before["number"]), "{now:#}");
        let moved =
            now["generation"] != before["generation"] || now["epoch_unix_ms"] != before["epoch_unix_ms"];
        assert_eq!(moved, *name == "san0-b", "{name}: {before:#} and then {now:#}");
        let version = if *name == "san0-b" { "1.1.0" } else { "1.0.0" };
        assert_eq!(now["driver"]["version"], version, "{now:#}");
    }
    let numbers: Vec<&Value> = before.iter().map(|port| &port["number"]).collect();
    assert_eq!(numbers, [&json!(0), &json!(1), &json!(2), &json!(3)]);
    load.into_iter().try_for_each(|one| one.finish().map(drop))?;
    for name in PORTS {
        assert_eq!(daemon.device(name)?["errors"], 0);
    }
    Ok(())
}

#[test]
fn devices_come_and_go_under_others_load_and_beside_an_update() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = with_adapter(&dir)?;
    let mut load = Verified::start(&daemon, "san0-a", 0, 8, 16);
    load.busy(&daemon, "san0-a")?;
    let steps = vec![
        (module("file-1.1")?, json!({ "mode": "adopt" })),
        (module("file-1.0")?, json!({ "mode": "drain", "allow_older": true })),
    ];
    let swapper = Swapper::start(&daemon, "san0-b", steps)?;
    let others = ["san0-a", "san0-c", "san0-d", "keep"];
    let before: Vec<Value> = others.iter().map(|name| port(&daemon, name)).collect::<Result<_>>()?;
    let image = file(&dir, "come.img", 8)?;
    for round in 1..=20 {
        done(&daemon, &["device", "add", &format!("come=file:{image}")])?;
        // Reachable at once, and it is the device that it says it is.
        let mut client = Client::connect(daemon.nbd(), "come")?;
        assert_eq!(client.write(0, &[round; 4096], false)?, Ok(vec![]));
        assert_eq!(port(&daemon, "come")?["generation"], u64::from(round), "it goes on counting");
        drop(client);
        // The daemon may learn a moment later that the client has left.
        until("come is not in use", || {
            let (code, _, error) = cli(&daemon, &["device", "remove", "come"])?;
            ensure!(code == 0 || code == 3, "{error}");
            Ok((code == 0).then_some(()))
        })?;
        load.check()?;
    }
    load.pass(1)?;
    load.finish()?;
    assert!(swapper.finish()?.count() > 0);
    for (name, before) in others.iter().zip(&before) {
        assert_eq!(port(&daemon, name)?["generation"], before["generation"], "{name}");
    }
    assert!(Client::connect(daemon.nbd(), "come").is_err(), "it is gone");
    daemon.check_serves("san0-a")
}

#[test]
fn what_is_in_use_is_kept_unless_forced_and_then_ends_cleanly() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = with_adapter(&dir)?;
    let shape = Shape { size: 4096, depth: 16, write: true };
    let victim = Load::start(daemon.nbd(), "san0-c", shape)?;
    let mut beside = Verified::start(&daemon, "san0-d", 0, 8, 16);
    beside.busy(&daemon, "san0-d")?;
    for args in
        [&["port", "remove", "san0-c"][..], &["device", "remove", "san0-c"], &["adapter", "remove", "san0"]]
    {
        let (code, _, error) = cli(&daemon, args)?;
        assert!(
            code == 3 && error.contains("in use by 1 client (client ") && error.contains("--force"),
            "{code}: {error}"
        );
    }
    assert_eq!(daemon.device("san0-a")?["state"], "running", "an adapter goes as a whole or not at all");
    let refused = receipts(&daemon, "san0-c")?.pop().expect("a receipt");
    assert_eq!((&refused["kind"], &refused["outcome"]), (&json!("detach"), &json!("busy")), "{refused:#}");
    assert!(refused["by"]["who"].as_str().is_some_and(|who| who.contains("uid")), "{refused:#}");

    done(&daemon, &["port", "remove", "san0-c", "--force"])?;
    // The client is told: it neither waits for ever nor is answered as if nothing were.
    let why = victim.finish().expect_err("its device is gone").to_string();
    assert!(
        why.contains("closed the connection") || why.contains("NBD error") || why.contains("os error"),
        "{why}"
    );
    let gone = receipts(&daemon, "san0-c")?.pop().expect("a receipt");
    assert_eq!((&gone["kind"], &gone["outcome"]), (&json!("detach"), &json!("done")), "{gone:#}");
    assert_eq!(daemon.api()?.get("/v1/ports/san0-c")?.0, 404);
    beside.pass(1)?;
    beside.finish()?;
    assert_eq!(daemon.device("san0-d")?["errors"], 0);
    daemon.check_serves("san0-a")
}

#[test]
fn a_client_of_a_removed_device_never_gets_at_what_has_its_name_now() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("keep=null:1M").start(&dir)?;
    let (old, new) = (file(&dir, "old.img", 8)?, file(&dir, "new.img", 8)?);
    done(&daemon, &["device", "add", &format!("vol=file:{old}")])?;
    let mut client = Client::connect(daemon.nbd(), "vol")?;
    assert_eq!(client.write(0, &[1; 4096], true)?, Ok(vec![]));
    let generation = port(&daemon, "vol")?["generation"].as_u64();
    done(&daemon, &["device", "remove", "vol", "--force"])?;
    done(&daemon, &["device", "add", &format!("vol=file:{new}")])?;
    // Whatever the old client is told, it is not that its write was done.
    let answer = client.write(0, &[2; 4096], true);
    assert!(!matches!(answer, Ok(Ok(_))), "{answer:?}");
    let mut rest = Vec::new();
    client.stream().set_read_timeout(Some(Duration::from_secs(10)))?;
    let _ = client.stream().read_to_end(&mut rest);
    assert!(port(&daemon, "vol")?["generation"].as_u64() > generation, "it can be told from the one before");
    let mut client = Client::connect(daemon.nbd(), "vol")?;
    assert_eq!(client.read(0, 4096)?, Ok(vec![0; 4096]), "the other device is as it was");
    let bytes = std::fs::read(&old)?;
    assert!(bytes[..4096].iter().all(|byte| *byte == 1), "and so is the old one, with what was acknowledged");
    Ok(())
}

#[test]
fn what_hangs_is_taken_away_by_force_and_holds_up_nobody() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("keep=null:1M").start(&dir)?;
    done(&daemon, &["device", "add", "hung=hang:8M,ops=write,hand_back=false"])?;
    let mut client = Client::connect(daemon.nbd(), "hung")?;
    client.send(steadfast_tests::nbd::command::WRITE, 0, 0, 4096, &[7; 4096])?;
    until("the request hangs", || Ok((port(&daemon, "hung")?["in_flight"] == 1).then_some(())))?;
    let removal = std::thread::spawn({
        let socket = daemon.control().to_owned();
        move || {
            let mut api = steadfast_tests::api::Api::connect(&socket)?;
            api.post("/v1/devices/hung/remove", &json!({ "force": true }))
        }
    });
    // Meanwhile others come.
    done(&daemon, &["device", "add", "other=null:1M", "--temporary"])?;
    let (status, report) = removal.join().expect("no panic")?;
    assert_eq!(status, 200, "{report:#}");
    let answer = client.receive();
    assert!(!matches!(answer, Ok((_, 0))), "the write was not done: {answer:?}");
    assert_eq!(daemon.api()?.get("/v1/ports/hung")?.0, 404);
    assert_eq!(daemon.device("other")?["state"], "running");
    Ok(())
}

#[test]
fn additions_come_back_with_the_daemon_and_removals_do_not() -> Result {
    let dir = TempDir::new()?;
    let setup = || Setup::device("keep=null:1M").and_device("own=null:2M");
    let mut daemon = setup().start(&dir)?;
    let (a, b) = (file(&dir, "a.img", 4)?, file(&dir, "b.img", 4)?);
    done(&daemon, &["device", "add", &format!("vol1=file@1.0.0:{a}")])?;
    done(&daemon, &["device", "add", "vol2=null:4M", "--temporary"])?;
    done(&daemon, &["device", "add", "vol3=null:4M"])?;
    done(&daemon, &["adapter", "add", "san0=file", "--port", &format!("x:{b}")])?;
    done(&daemon, &["port", "add", "san0", "y:8M", "--driver", "null"])?;
    done(&daemon, &["port", "add", "san0", "z:8M", "--driver", "null"])?;
    done(&daemon, &["port", "remove", "san0-y"])?;
    done(&daemon, &["device", "remove", "vol3"])?;
    let out = done(&daemon, &["device", "remove", "own"])?;
    assert!(out.contains("own is defined at --device own=null:2M") && out.contains("comes back"), "{out}");
    let saved = dir.join("store/state/parameters/devices.toml");
    let text = std::fs::read_to_string(&saved)?;
    std::fs::write(&saved, format!("# mine\n{text}"))?;
    done(&daemon, &["device", "add", "vol4=null:4M"])?;
    assert!(std::fs::read_to_string(&saved)?.starts_with("# mine\n"), "comments stay");
    assert!(daemon.stop()?.success());

    // One of those that were added cannot be any more: the others come all the same.
    std::fs::remove_file(&a)?;
    let daemon = setup().start(&dir)?;
    let (_, ports) = daemon.api()?.get("/v1/ports")?;
    let names: Vec<&str> =
        ports.as_array().expect("a list").iter().filter_map(|port| port["name"].as_str()).collect();
    assert_eq!(names, ["keep", "own", "san0-x", "san0-z", "vol1", "vol4"]);
    assert_eq!(port(&daemon, "vol1")?["state"], "absent");
    assert_eq!(port(&daemon, "san0-z")?["number"], 2, "a port keeps its number");
    let failed = receipts(&daemon, "vol1")?.pop().expect("a receipt");
    assert_eq!((&failed["kind"], &failed["outcome"]), (&json!("attach"), &json!("refused")), "{failed:#}");
    daemon.logs("device vol1 is absent")?;
    // It is tried again when it is asked for, and can be forgotten.
    let (code, out, _) = cli(&daemon, &["rescan", "vol1"])?;
    assert!(code == 1 && out.contains("failed"), "{code}: {out}");
    let out = done(&daemon, &["device", "remove", "vol1"])?;
    assert!(out.contains("taken out of"), "{out}");
    assert!(!std::fs::read_to_string(&saved)?.contains("vol1"));
    Ok(())
}

#[test]
fn an_addition_that_cannot_be_leaves_nothing_behind() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("keep=null:1M").start(&dir)?;
    let image = file(&dir, "a.img", 4)?;
    let there = format!("a:{image}");
    for (args, says) in [
        (&["device", "add", "keep=null:1M"][..], "device keep exists already"),
        (&["device", "add", "x=null:nonsense"], "nonsense"),
        (&["device", "add", "x=nonesuch:1"], "nonesuch"),
        (&["device", "add", "x"], "it has no `=`"),
        (
            &["adapter", "add", "s=file", "--port", &there, "--port", "b:/nonexistent/b.img"],
            "/nonexistent/b.img",
        ),
        (&["adapter", "add", "s=file", "--port", &there, "--port", "b:x,direct=perhaps"], "perhaps"),
        (&["port", "add", "s", "c:1M"], "no adapter `s`"),
        (&["device", "remove", "nothing"], "no device `nothing`"),
    ] {
        let (code, _, error) = cli(&daemon, args)?;
        assert!(code == 1 && error.contains(says), "{args:?}: {code}: {error}");
    }
    let (_, ports) = daemon.api()?.get("/v1/ports")?;
    assert_eq!(ports.as_array().map(Vec::len), Some(1), "{ports:#}");
    assert!(!dir.join("store/state/parameters/devices.toml").exists());
    let refused = receipts(&daemon, "s-b")?.pop().expect("a receipt");
    assert_eq!((&refused["kind"], &refused["outcome"]), (&json!("attach"), &json!("refused")), "{refused:#}");
    // The file of the port that was taken back is free again.
    done(&daemon, &["adapter", "add", "s=file", "--port", &there])?;
    Ok(())
}

#[test]
fn a_device_below_another_is_not_taken_from_under_it() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("keep=null:1M").start(&dir)?;
    done(&daemon, &["device", "add", "low=ram:8M"])?;
    done(&daemon, &["device", "add", "top=delay:8M,over=low"])?;
    assert_eq!(port(&daemon, "low")?["under"], json!(["top"]));
    let (code, _, error) = cli(&daemon, &["device", "remove", "low"])?;
    assert!(code == 3 && error.contains("devices that lie over it: top"), "{code}: {error}");
    done(&daemon, &["device", "remove", "low", "--force"])?;
    let mut client = Client::connect(daemon.nbd(), "top")?;
    assert!(client.read(0, 4096)?.is_err(), "what is above fails cleanly");
    drop(client);
    until("top is not in use", || Ok((cli(&daemon, &["device", "remove", "top"])?.0 == 0).then_some(())))?;
    Ok(())
}

#[test]
fn a_rescan_attaches_what_is_new_and_shows_what_has_grown() -> Result {
    let dir = TempDir::new()?;
    let (a, b) = (file(&dir, "a.img", 8)?, file(&dir, "b.img", 8)?);
    let config = dir.join("sf.toml");
    let device =
        |name: &str, path: &str| format!("[device.{name}]\ndriver = \"file@1.1.0\"\ntarget = {path:?}\n");
    std::fs::write(&config, device("vol0", &a))?;
    let daemon = Setup::default().arg("--config").arg(config.display().to_string()).start(&dir)?;
    let client = Client::connect(daemon.nbd(), "vol0")?;
    let out = done(&daemon, &["rescan"])?;
    assert!(out.contains("vol0  unchanged"), "{out}");
    assert_eq!(port(&daemon, "vol0")?["generation"], 1, "a rescan that finds nothing changes nothing");

    std::fs::write(&config, device("vol0", &a) + &device("vol1", &b))?;
    std::fs::File::options().write(true).open(&a)?.set_len(12 << 20)?;
    let out = done(&daemon, &["rescan"])?;
    assert!(out.contains("has grown from 8388608 to 12582912 bytes"), "{out}");
    assert!(out.contains("vol1  attached"), "{out}");
    assert_eq!(daemon.device("vol0")?["size"], 12 << 20);
    assert_eq!(client.size, 8 << 20, "who is connected keeps what he was told");
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    assert_eq!(client.size, 12 << 20, "whoever comes sees the new size");
    assert_eq!(client.write((12 << 20) - 4096, &[5; 4096], false)?, Ok(vec![]));

    // What has shrunk is said and not followed; what cannot be read has its line, and the rest goes on.
    std::fs::File::options().write(true).open(&b)?.set_len(4 << 20)?;
    std::fs::write(&config, format!("{}[device.vol2]\ntarget = 3\n", device("vol0", &a)))?;
    let (code, out, _) = cli(&daemon, &["rescan"])?;
    assert!(code == 1 && out.contains("vol1  shrunk"), "{code}: {out}");
    assert!(out.contains("not read: ") && out.contains("sf.toml:4"), "{out}");
    assert_eq!(daemon.device("vol1")?["size"], 8 << 20, "what is not defined any more stays");
    Ok(())
}

#[test]
fn a_driver_in_use_is_not_unloaded_and_says_by_whom() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=null:1M").start(&dir)?;
    let out = done(&daemon, &["driver", "load", "ram"])?;
    assert!(out.contains("driver ram 1.0.0: loaded"), "{out}");
    done(&daemon, &["device", "add", "vol1=ram:1M"])?;
    done(&daemon, &["device", "add", "vol2=ram:1M"])?;
    let (code, _, error) = cli(&daemon, &["driver", "unload", "ram"])?;
    assert!(code == 3 && error.contains("in use by these ports: vol1, vol2"), "{code}: {error}");
    let (_, drivers) = daemon.api()?.get("/v1/drivers")?;
    let loaded = |name: &str| -> Option<Value> {
        drivers["loaded"].as_array()?.iter().find(|d| d["release"]["driver"] == name).cloned()
    };
    let ram = loaded("ram").expect("it is loaded");
    assert_eq!((&ram["ports"], &ram["kept"]), (&json!(["vol1", "vol2"]), &json!(true)), "{ram:#}");
    let maps = || std::fs::read_to_string(format!("/proc/{}/maps", daemon.pid()));
    let hash = ram["release"]["hash"].as_str().expect("a hash").to_owned();
    let mapped =
        |maps: &str| maps.lines().filter(|line| line.contains(&hash) && line.contains("r-x")).count();
    assert_eq!(mapped(&maps()?), 1, "its ports share one load");
    done(&daemon, &["device", "remove", "vol1"])?;
    done(&daemon, &["device", "remove", "vol2"])?;
    assert_eq!(mapped(&maps()?), 1, "it stays without a port");
    let out = done(&daemon, &["driver", "unload", &hash[..8]])?;
    assert!(out.contains("no mapping of it is left"), "{out}");
    assert_eq!(mapped(&maps()?), 0);
    let (code, _, error) = cli(&daemon, &["driver", "unload", "ram"])?;
    assert!(code == 1 && error.contains("no driver `ram` is loaded"), "{code}: {error}");
    let all = receipts(&daemon, "")?;
    let outcomes: Vec<(&str, &str)> =
        all.iter().filter_map(|r| Some((r["kind"].as_str()?, r["outcome"].as_str()?))).collect();
    assert_eq!(outcomes, [("attach", "done"), ("detach", "busy"), ("detach", "done"), ("detach", "refused")]);
    Ok(())
}

#[test]
fn what_was_saved_for_a_port_goes_with_it_and_the_next_of_its_name_is_another() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("keep=ram:1M").start(&dir)?;
    done(&daemon, &["device", "add", "vol1=ram:1M"])?;
    done(&daemon, &["param", "set", "keep", "io_throttle=4"])?;
    done(&daemon, &["param", "set", "vol1", "io_throttle=8", "admin_state=down"])?;
    let file = file_of(&daemon, "keep")?;
    let text = std::fs::read_to_string(&file)?;
    std::fs::write(&file, text.replace("[port.keep]", "# Agreed.\n[port.keep] # ours"))?;
    let out = done(&daemon, &["device", "remove", "vol1"])?;
    ensure!(out.contains("[port.vol1] is taken out of") && out.contains("ram.toml: 2 values"), "{out}");
    let left = std::fs::read_to_string(&file)?;
    ensure!(
        !left.contains("vol1") && left.contains("# Agreed.\n[port.keep] # ours\nio_throttle = 4"),
        "{left}"
    );
    let out = done(&daemon, &["device", "add", "vol1=ram:1M", "--temporary"])?;
    ensure!(out.contains("vol1: added, ram 1.0.0 serves it"), "{out}");
    ensure!(param(&daemon, "vol1", "io_throttle")?["current"] == "0");
    done(&daemon, &["param", "set", "vol1", "io_throttle=9"])?;
    let out = done(&daemon, &["port", "remove", "vol1"])?;
    ensure!(out.contains("ram.toml: 1 value"), "{out}");
    // What the configuration defines comes back with the next start, and so does what is saved for it.
    let out = done(&daemon, &["device", "remove", "keep"])?;
    ensure!(out.contains("it comes back") && out.contains("1 value of it in [port.keep]"), "{out}");
    ensure!(std::fs::read_to_string(&file)? == left, "not a byte");
    // What somebody has written for a port that is to come holds for it, and is said.
    std::fs::write(&file, format!("{left}[port.vol2]\nadmin_state = \"down\"\n"))?;
    let out = done(&daemon, &["device", "add", "vol2=ram:1M"])?;
    ensure!(out.contains("vol2: added, but ram 1.0.0 does not serve it: the port is down"), "{out}");
    ensure!(out.contains("ram.toml:") && out.contains("1 value of it in [port.vol2]"), "{out}");
    // A file that cannot be read keeps nobody from going, and it is said what stays.
    std::fs::write(&file, "[port.vol2]\nadmin_state = [\n")?;
    let out = done(&daemon, &["device", "remove", "vol2"])?;
    ensure!(out.contains("[port.vol2] STAYS in") && out.contains("ram.toml:2"), "{out}");
    Ok(())
}

//! Parameters of ports through the commands: saved, in force, pending, planned, activated, taken back.

use anyhow::ensure;
use serde_json::Value;
use steadfast_tests::load::{Load, Shape};
use steadfast_tests::params::{ends, file_of, generation, param, pending};
use steadfast_tests::{Daemon, Result, Setup, TempDir, Verified, until};

fn start(dir: &TempDir) -> Result<Daemon> {
    Setup::device("vol0=ram:16M").and_device("vol1=ram:16M").start(dir)
}

#[test]
fn what_is_saved_becomes_what_is_in_force_and_goes_back() -> Result {
    let dir = TempDir::new()?;
    let daemon = start(&dir)?;
    let said = ends(&daemon, 0, &["param", "set", "vol0", "io_throttle=8", "link_speed=16"])?;
    assert!(said.contains("vol0: io_throttle 0 -> 8, saved, in force"), "{said}");
    assert!(said.contains("link_speed auto -> 16, saved, waits for `steadfast activate vol0`"), "{said}");
    assert_eq!(ends(&daemon, 0, &["param", "get", "vol0", "io_throttle"])?, "8\n");
    assert_eq!(ends(&daemon, 0, &["param", "get", "vol0", "link_speed"])?, "auto\n");
    assert_eq!(ends(&daemon, 0, &["param", "get", "vol0", "link_speed", "--saved"])?, "16\n");
    // The running value differs from the saved one, and everything shows it.
    assert_eq!(pending(&daemon, "vol0")?, ["link_speed"]);
    assert!(ends(&daemon, 0, &["param", "list", "vol0"])?.contains("16 (pending)"));
    let explained = ends(&daemon, 0, &["param", "explain", "vol0", "link_speed"])?;
    assert!(explained.contains("ram.toml:") && explained.contains("auto, 1, 2, 4"), "{explained}");
    let plan = dir.path().join("plan.json").display().to_string();
    let planned = ends(&daemon, 2, &["plan", "vol0", "vol1", "--out", &plan])?;
    assert!(planned.contains("link_speed") && planned.contains("vol1: nothing to do"), "{planned}");
    let (before, other) = (generation(&daemon, "vol0")?, generation(&daemon, "vol1")?);
    let activated = ends(&daemon, 0, &["activate", "--plan", &plan])?;
    assert!(activated.contains("change       link_speed auto -> 16"), "{activated}");
    for step in ["parse", "collect", "stamp", "clear", "undefine", "define", "block", "reinit", "compare"] {
        assert!(activated.contains(&format!("\n  {step} ")), "{step}: {activated}");
    }
    assert_eq!(generation(&daemon, "vol0")?, before + 1);
    assert_eq!(generation(&daemon, "vol1")?, other, "the other port did not notice");
    assert!(pending(&daemon, "vol0")?.is_empty());
    ends(&daemon, 0, &["plan", "vol0"])?;
    let back = ends(&daemon, 0, &["rollback", "vol0"])?;
    assert!(back.contains("link_speed 16 -> auto"), "{back}");
    assert!(pending(&daemon, "vol0")?.is_empty(), "what is saved went back too");
    assert_eq!(param(&daemon, "vol0", "io_throttle")?["current"], "8", "it was there before the activation");
    let history = ends(&daemon, 0, &["history", "vol0"])?;
    assert!(history.contains("live") && history.contains("rollback"), "{history}");
    Ok(())
}

#[test]
fn pending_is_a_matter_of_values_and_goes_away_with_the_difference() -> Result {
    let dir = TempDir::new()?;
    let daemon = start(&dir)?;
    ends(&daemon, 0, &["param", "set", "vol0", "link_speed=8"])?;
    assert_eq!(pending(&daemon, "vol0")?, ["link_speed"]);
    ends(&daemon, 0, &["param", "set", "vol0", "link_speed=auto"])?;
    assert!(pending(&daemon, "vol0")?.is_empty(), "it is what runs");
    ends(&daemon, 0, &["param", "set", "vol0", "log_mask=4294967295"])?;
    ends(&daemon, 0, &["param", "set", "vol0", "log_mask=0xffffffff"])?;
    assert!(pending(&daemon, "vol0")?.is_empty(), "another way to write the same value");
    // Zero is a value.
    ends(&daemon, 0, &["param", "set", "vol0", "request_timeout=0"])?;
    assert_eq!(param(&daemon, "vol0", "request_timeout")?["current"], "0");
    Ok(())
}

#[test]
fn what_will_not_do_is_refused_with_all_there_is_to_know_and_nothing_changes() -> Result {
    let dir = TempDir::new()?;
    let daemon = start(&dir)?;
    let file = file_of(&daemon, "vol0")?;
    let said = ends(&daemon, 1, &["param", "set", "vol0", "io_throttle=9000", "link_speed=16"])?;
    assert!(said.contains("io_throttle=9000 (allowed 0..=8192)"), "{said}");
    assert!(!file.exists(), "nothing of it was saved");
    let said = ends(&daemon, 1, &["param", "set", "vol0", "io_throtle=9"])?;
    assert!(said.contains("io_throttle"), "{said}");
    std::fs::create_dir_all(file.parent().expect("a folder"))?;
    std::fs::write(&file, "# mine\n[port.vol0]\nlink_speed = 40 # too fast\nio_throttle = 3\n")?;
    let before = generation(&daemon, "vol0")?;
    let said = ends(&daemon, 1, &["activate", "vol0"])?;
    assert!(said.contains("ram.toml:3: not a choice: link_speed=40"), "{said}");
    assert_eq!(generation(&daemon, "vol0")?, before);
    assert_eq!(param(&daemon, "vol0", "io_throttle")?["current"], "0", "all of a set or none");
    let listed = ends(&daemon, 0, &["param", "list", "vol0"])?;
    assert!(listed.contains("cannot be activated") && listed.contains("ram.toml:3"), "{listed}");
    // An edit by command keeps what somebody wrote, and mends it.
    ends(&daemon, 0, &["param", "set", "vol0", "link_speed=32"])?;
    let text = std::fs::read_to_string(&file)?;
    assert!(
        text.contains("# mine") && text.contains("# too fast") && text.contains("io_throttle = 3"),
        "{text}"
    );
    assert_eq!(pending(&daemon, "vol0")?, ["io_throttle", "link_speed"]);
    ends(&daemon, 0, &["activate", "vol0"])?;
    assert_eq!(param(&daemon, "vol0", "io_throttle")?["current"], "3");
    Ok(())
}

#[test]
fn layers_are_shown_and_a_restart_keeps_what_is_saved() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = start(&dir)?;
    let said = ends(&daemon, 0, &["param", "set", "vol0", "io_throttle=64", "--global"])?;
    assert!(said.contains("vol0: io_throttle") && said.contains("vol1: io_throttle"), "{said}");
    ends(&daemon, 0, &["param", "set", "vol1", "io_throttle=16"])?;
    assert_eq!(param(&daemon, "vol0", "io_throttle")?["current"], "64");
    assert_eq!(param(&daemon, "vol1", "io_throttle")?["current"], "16");
    ends(&daemon, 0, &["param", "set", "vol1", "--undefine", "io_throttle"])?;
    assert_eq!(param(&daemon, "vol1", "io_throttle")?["current"], "0", "the default shows");
    assert!(daemon.stop()?.success());
    let daemon = start(&dir)?;
    let throttle = param(&daemon, "vol0", "io_throttle")?;
    assert_eq!((&throttle["current"], &throttle["layer"]), (&"64".into(), &"load-time".into()));
    assert!(throttle["source"].as_str().is_some_and(|s| s.contains("ram.toml:2")), "{throttle}");
    assert_eq!(param(&daemon, "vol1", "io_throttle")?["current"], "0");
    Ok(())
}

#[test]
fn a_plan_that_is_out_of_date_is_refused() -> Result {
    let dir = TempDir::new()?;
    let daemon = start(&dir)?;
    ends(&daemon, 0, &["param", "set", "vol0", "link_speed=16"])?;
    let plan = dir.path().join("plan.json").display().to_string();
    ends(&daemon, 2, &["plan", "vol0", "--out", &plan])?;
    ends(&daemon, 0, &["param", "set", "vol0", "link_speed=25"])?;
    let before = generation(&daemon, "vol0")?;
    let said = ends(&daemon, 5, &["activate", "--plan", &plan])?;
    assert!(said.contains("vol0") && said.contains("stale"), "{said}");
    assert_eq!(generation(&daemon, "vol0")?, before);
    Ok(())
}

#[test]
fn what_nobody_confirms_goes_back_and_what_somebody_does_stays() -> Result {
    let dir = TempDir::new()?;
    let daemon = start(&dir)?;
    ends(&daemon, 0, &["param", "set", "vol0", "link_speed=16"])?;
    ends(&daemon, 0, &["activate", "vol0", "--confirm-within", "300ms"])?;
    until("it goes back", || {
        let speed = param(&daemon, "vol0", "link_speed")?;
        Ok((speed["current"] == "auto" && speed["saved"] == "auto").then_some(()))
    })?;
    ends(&daemon, 0, &["param", "set", "vol0", "link_speed=16"])?;
    ends(&daemon, 0, &["activate", "vol0", "--confirm-within", "60m"])?;
    let said = ends(&daemon, 3, &["activate", "vol0"])?;
    assert!(said.contains("waits to be confirmed"), "{said}");
    ends(&daemon, 0, &["confirm", "vol0"])?;
    ends(&daemon, 1, &["confirm", "vol0"])?;
    assert_eq!(param(&daemon, "vol0", "link_speed")?["current"], "16");
    Ok(())
}

#[test]
fn where_one_of_several_ports_fails_it_is_said_which_have_what() -> Result {
    let dir = TempDir::new()?;
    let disk = |name: &str| -> Result<String> {
        Ok(format!("{name}=file@1.1.0:{}", dir.disk(&format!("{name}.img"), 1 << 20)?.display()))
    };
    let setup = Setup::device(disk("vol0")?).and_device(disk("vol1")?).and_device(disk("vol2")?);
    let mut daemon = setup.start(&dir)?;
    ends(&daemon, 0, &["param", "set", "vol0", "--global", "link_speed=16"])?;
    ends(&daemon, 0, &["param", "set", "vol1", "path=/nowhere/vol1.img"])?;
    let said = ends(&daemon, 4, &["activate", "vol0", "vol1", "vol2"])?;
    assert!(said.contains("vol1: ") && said.contains("/nowhere/vol1.img"), "{said}");
    assert!(said.contains("; activated before: vol0; not begun: vol2"), "{said}");
    assert_eq!(pending(&daemon, "vol0")?, [""; 0]);
    assert_eq!(pending(&daemon, "vol1")?, ["path", "link_speed"]);
    assert_eq!(pending(&daemon, "vol2")?, ["link_speed"]);
    daemon.check_serves("vol1")?;
    ends(&daemon, 0, &["param", "unset", "vol1", "path"])?;
    ends(&daemon, 0, &["activate", "vol1", "vol2"])?;
    for port in ["vol0", "vol1", "vol2"] {
        assert_eq!(pending(&daemon, port)?, [""; 0], "{port}");
        assert_eq!(param(&daemon, port, "link_speed")?["current"], "16", "{port}");
    }
    Ok(())
}

#[test]
fn a_daemon_that_is_killed_before_somebody_confirms_goes_back_when_it_starts() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = start(&dir)?;
    ends(&daemon, 0, &["param", "set", "vol0", "io_throttle=8"])?;
    ends(&daemon, 0, &["param", "set", "vol1", "link_speed=8"])?;
    ends(&daemon, 0, &["activate", "vol1", "--confirm-within", "60m"])?;
    ends(&daemon, 0, &["confirm", "vol1"])?;
    ends(&daemon, 0, &["param", "set", "vol0", "link_speed=16"])?;
    let said = ends(&daemon, 0, &["activate", "vol0", "--confirm-within", "60m", "-o", "json"])?;
    let activation = serde_json::from_str::<Value>(&said)?["receipt"]["id"].as_u64().unwrap_or(0);
    daemon.kill();
    drop(daemon);
    let mut daemon = start(&dir)?;
    for part in ["current", "saved"] {
        assert_eq!(param(&daemon, "vol0", "link_speed")?[part], "auto", "{part}");
        assert_eq!(param(&daemon, "vol0", "io_throttle")?[part], "8", "{part}: it was in force before");
        assert_eq!(param(&daemon, "vol1", "link_speed")?[part], "8", "{part}: it was confirmed");
    }
    let history = ends(&daemon, 0, &["history", "vol0"])?;
    assert!(history.contains("link_speed 16 -> auto"), "{history}");
    let receipt = ends(&daemon, 0, &["receipt", "show", &activation.to_string(), "-o", "json"])?;
    assert_eq!(serde_json::from_str::<Value>(&receipt)?["properties"]["confirmed"], false, "{receipt}");
    daemon.logs("was not confirmed before the daemon ended: it goes back")?;
    ends(&daemon, 1, &["confirm", "vol0"])?;
    // It is over: the next start changes nothing.
    ends(&daemon, 0, &["param", "set", "vol0", "link_speed=25"])?;
    daemon.kill();
    drop(daemon);
    let daemon = start(&dir)?;
    assert_eq!(param(&daemon, "vol0", "link_speed")?["current"], "25");
    Ok(())
}

#[test]
fn a_delay_is_answered_with_how_long_to_wait() -> Result {
    let dir = TempDir::new()?;
    let daemon = start(&dir)?;
    ends(&daemon, 0, &["param", "set", "vol0", "link_speed=16"])?;
    let said = ends(&daemon, 0, &["activate", "vol0", "--delay", "200ms"])?;
    assert!(said.contains("under way, over within"), "{said}");
    until(
        "it is activated",
        || Ok((param(&daemon, "vol0", "link_speed")?["current"] == "16").then_some(())),
    )?;
    ends(&daemon, 0, &["param", "set", "vol0", "link_speed=8"])?;
    ends(&daemon, 0, &["activate", "vol0", "--delay", "50ms", "--wait"])?;
    assert_eq!(param(&daemon, "vol0", "link_speed")?["current"], "8");
    Ok(())
}

#[test]
fn two_hundred_activations_of_one_port_of_four_under_verified_load() -> Result {
    let dir = TempDir::new()?;
    let ports = ["vol0", "vol1", "vol2", "vol3"];
    let disk = |name: &str| -> Result<String> {
        Ok(format!("{name}=file@1.1.0:{}", dir.disk(&format!("{name}.img"), 16 << 20)?.display()))
    };
    let mut setup = Setup::device(disk(ports[0])?);
    for port in &ports[1..] {
        setup = setup.and_device(disk(port)?);
    }
    let daemon = setup.arg("--queues").arg("2").start(&dir)?;
    let mut load: Vec<_> = ports.iter().map(|name| Verified::start(&daemon, name, 0, 8, 8)).collect();
    for (load, name) in load.iter_mut().zip(ports) {
        load.busy(&daemon, name)?;
    }
    let others: Vec<u64> = ports[1..].iter().map(|p| generation(&daemon, p)).collect::<Result<_>>()?;
    let before = generation(&daemon, "vol0")?;
    let mut api = daemon.api()?;
    for n in 0..200 {
        let speed = if n % 2 == 0 { "64" } else { "32" };
        let body = serde_json::json!({ "set": { "link_speed": speed } });
        let (status, said) = api.post("/v1/ports/vol0/params", &body)?;
        ensure!(status == 200, "{n}: {said}");
        let (status, said) = api.post("/v1/ports/vol0/activate", &serde_json::json!({}))?;
        ensure!(status == 200, "{n}: {said:#}");
        load.iter_mut().try_for_each(Verified::check)?;
    }
    assert_eq!(generation(&daemon, "vol0")?, before + 200);
    let since: Vec<u64> = ports[1..].iter().map(|p| generation(&daemon, p)).collect::<Result<_>>()?;
    assert_eq!(since, others, "the others did not notice");
    for load in load {
        load.finish()?;
    }
    for port in ports {
        assert_eq!(daemon.device(port)?["errors"], 0, "{port}");
    }
    Ok(())
}

#[test]
fn idle_only_is_busy_whenever_io_flows_and_done_whenever_none_does() -> Result {
    let dir = TempDir::new()?;
    let daemon = start(&dir)?;
    let load = Load::start(daemon.nbd(), "vol0", Shape { size: 4096, depth: 1, write: true })?;
    let before = generation(&daemon, "vol0")?;
    for _ in 0..10 {
        let said = ends(&daemon, 3, &["activate", "vol0", "--idle-only"])?;
        assert!(said.contains("vol0 is busy") && said.contains("leave --idle-only out"), "{said}");
    }
    assert_eq!(generation(&daemon, "vol0")?, before, "nothing was changed");
    load.finish()?;
    for n in 1..=5 {
        ends(&daemon, 0, &["activate", "vol0", "--idle-only"])?;
        assert_eq!(generation(&daemon, "vol0")?, before + n);
    }
    Ok(())
}

#[test]
fn a_refused_value_is_blamed_on_whoever_said_it() -> Result {
    let dir = TempDir::new()?;
    let daemon = start(&dir)?;
    let said = ends(&daemon, 1, &["param", "set", "vol0", "io_throttle=8193"])?;
    assert!(said.contains("the command: out of range: io_throttle=8193 (allowed 0..=8192)"), "{said}");
    assert!(!said.contains("ram.toml"), "the file does not say it: {said}");
    let file = file_of(&daemon, "vol0")?;
    std::fs::create_dir_all(file.parent().expect("a folder"))?;
    std::fs::write(&file, "[port.vol0]\nlog_mask = 1\n[global]\nlink_speed = 40\n")?;
    // What stands in the file is at the line that it has there, not at the one that it would have.
    let said = ends(&daemon, 1, &["param", "set", "vol0", "io_throttle=8193"])?;
    assert!(said.contains("ram.toml:4: not a choice: link_speed=40"), "{said}");
    assert!(said.contains("the command: out of range: io_throttle=8193"), "{said}");
    Ok(())
}

#[test]
fn what_is_written_and_changes_nothing_is_said() -> Result {
    let dir = TempDir::new()?;
    let daemon = start(&dir)?;
    let set = |args: &[&str]| ends(&daemon, 0, &[&["param", "set", "vol0"], args].concat());
    set(&["log_mask=0", "io_throttle=8"])?;
    let said = set(&["log_mask=0x0000"])?;
    assert!(
        said.contains("nothing changes") && said.contains("[port.vol0] log_mask = 0x0000, written"),
        "{said}"
    );
    let said = set(&["log_mask=0x0000"])?;
    assert!(said.contains("nothing changes") && !said.contains("written"), "{said}");
    ends(&daemon, 0, &["param", "set", "vol1", "io_throttle=9"])?;
    let said = set(&["io_throttle=10", "--global", "--dry-run"])?;
    assert!(said.contains("[global] io_throttle = 10, would be written"), "{said}");
    let said = set(&["io_throttle=10", "--global"])?;
    assert!(
        said.contains("nothing changes") && said.contains("[global] io_throttle = 10, written"),
        "{said}"
    );
    // A value that is saved already and is not in force.
    set(&["link_speed=16"])?;
    ends(&daemon, 0, &["activate", "vol0"])?;
    set(&["link_speed=auto"])?;
    let said = set(&["link_speed=auto"])?;
    assert!(said.contains("link_speed auto is saved already, waits for `steadfast activate vol0`"), "{said}");
    ends(&daemon, 0, &["param", "set", "--temporary", "vol0", "io_throttle=3"])?;
    let said = set(&["io_throttle=8"])?;
    assert!(said.contains("io_throttle 8 is saved already, in force"), "{said}");
    assert_eq!(param(&daemon, "vol0", "io_throttle")?["current"], "8");
    Ok(())
}

#[test]
fn the_scope_of_a_parameter_is_shown_and_what_is_a_ports_own_is_not_for_all() -> Result {
    let dir = TempDir::new()?;
    let disk = dir.disk("vol0.img", 1 << 20)?.display().to_string();
    let daemon = Setup::device(format!("vol0=file@1.1.0:{disk}")).start(&dir)?;
    assert_eq!(param(&daemon, "vol0", "path")?["scope"], "own");
    assert_eq!(param(&daemon, "vol0", "io_throttle")?["scope"], "port");
    assert!(ends(&daemon, 0, &["param", "list", "vol0"])?.contains("SCOPE"));
    let said = ends(&daemon, 0, &["param", "explain", "vol0", "path"])?;
    assert!(said.contains("own: it names what is behind this port"), "{said}");
    for args in [&["path=/x"][..], &["--undefine", "path"]] {
        let said = ends(&daemon, 1, &[&["param", "set", "vol0", "--global"], args].concat())?;
        assert!(said.contains("path names what is behind one port"), "{said}");
        assert!(said.contains("hint: without --global it is for vol0 alone"), "{said}");
    }
    assert!(!file_of(&daemon, "vol0")?.exists(), "nothing was written");
    let said = ends(&daemon, 0, &["param", "explain", "vol0", "log_mask"])?;
    for bit in ["0x1 the driver's errors", "0x100 requests that were aborted", "0x200 "] {
        assert!(said.contains(bit), "{bit}: {said}");
    }
    Ok(())
}

#[test]
fn values_take_the_units_that_options_take() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=delay,size=8m,random_us=2ms").start(&dir)?;
    assert_eq!(param(&daemon, "vol0", "size")?["current"], "8388608");
    assert_eq!(param(&daemon, "vol0", "random_us")?["current"], "2000");
    let listed = ends(&daemon, 0, &["param", "list", "vol0"])?;
    assert!(listed.contains("8388608 (8M)") && listed.contains("2000 (2ms)"), "{listed}");
    // What is saved is in the parameter's own unit; a size has the unit that shows it exactly.
    ends(
        &daemon,
        0,
        &["param", "set", "vol0", "request_timeout=2m", "drain_timeout=10s", "max_transfer=256KiB"],
    )?;
    assert_eq!(param(&daemon, "vol0", "request_timeout")?["current"], "120");
    let text = std::fs::read_to_string(file_of(&daemon, "vol0")?)?;
    for line in ["request_timeout = 120\n", "drain_timeout = 10\n", "max_transfer = \"256K\"\n"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    ends(&daemon, 0, &["param", "set", "--temporary", "vol0", "random_us=1s"])?;
    assert_eq!(param(&daemon, "vol0", "random_us")?["current"], "1000000");
    for (value, says) in [
        ("request_timeout=10G", "not a time: request_timeout=10G"),
        ("request_timeout=250ms", "not a whole number of its unit: request_timeout=250ms"),
        ("request_timeout=10S", "not a time"),
        ("request_timeout=1.5m", "not a time"),
        ("request_timeout=-1s", "out of range"),
        ("request_timeout=11m", "out of range"),
        ("request_timeout=99999999999999999999s", "out of range"),
        ("request_timeout=", "not a time"),
        ("request_timeout=10 s", "not a time"),
        ("max_transfer=10s", "not a size: max_transfer=10s"),
        ("max_transfer=256 K", "not a size"),
        ("max_transfer=256Ki", "not a size"),
        ("max_transfer=16E", "out of range"),
        ("io_throttle=4k", "not a number: io_throttle=4k"),
        ("io_throttle=10s", "not a number: io_throttle=10s"),
    ] {
        let said = ends(&daemon, 1, &["param", "set", "vol0", value])?;
        assert!(said.contains(says) && said.contains("(allowed "), "{value}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let said = ends(&daemon, 1, &["param", "set", "vol0", "request_timeout=10G"])?;
    assert!(said.contains("(allowed 0..=600 s, or with ns, us, ms, s, m or h behind)"), "{said}");
    Ok(())
}

#[test]
fn what_is_set_for_now_is_said_to_be_undone_by_an_activation() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=null:1M").start(&dir)?;
    let said = ends(&daemon, 0, &["param", "set", "--temporary", "vol0", "io_throttle=3"])?;
    assert!(
        said.contains("io_throttle: 0 -> 3") && said.contains("not saved: an activation undoes it"),
        "{said}"
    );
    for (code, args) in [
        (0, &["param", "list", "vol0"][..]),
        (0, &["param", "list", "vol0", "--pending"]),
        (2, &["plan", "vol0"]),
    ] {
        let said = ends(&daemon, code, args)?;
        assert!(said.contains("not saved") && said.contains("undoes"), "{args:?}: {said}");
    }
    let said = ends(&daemon, 0, &["param", "explain", "vol0", "io_throttle"])?;
    assert!(said.contains("was never saved, and an activation undoes it"), "{said}");
    for wrong in ["--global", "--dry-run"] {
        ends(&daemon, 1, &["param", "set", "--temporary", "vol0", "io_throttle=4", wrong])?;
    }
    // The command that it was before says what it is now, whole, and does nothing.
    let said = ends(&daemon, 1, &["device", "set", "vol0", "io_throttle=4", "--unset", "log_mask"])?;
    assert!(
        said.contains("hint: steadfast param set --temporary vol0 io_throttle=4 --unset log_mask"),
        "{said}"
    );
    assert_eq!(param(&daemon, "vol0", "io_throttle")?["current"], "3");
    ends(&daemon, 0, &["activate", "vol0"])?;
    assert_eq!(param(&daemon, "vol0", "io_throttle")?["current"], "0");
    Ok(())
}

//! Profiles through the commands: looked at, compared, applied, made of saved values.

use anyhow::ensure;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use steadfast_tests::params::{cli, ends, file_of, generation, param, pending};
use steadfast_tests::{Daemon, Result, Setup, TempDir, Verified, c_module};

const BUILT_IN: [&str; 5] = ["oltp", "streaming", "virtualization", "backup", "low-latency"];

fn start(dir: &TempDir) -> Result<Daemon> {
    Setup::device("vol0=ram:16M").and_device("vol1=ram:16M").start(dir)
}

/// Puts a profile of one's own where profiles are.
fn write(daemon: &Daemon, port: &str, name: &str, text: &str) -> Result<PathBuf> {
    let folder = file_of(daemon, port)?.with_file_name("profiles");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{name}.toml"));
    fs::write(&path, text)?;
    Ok(path)
}

fn saved(daemon: &Daemon, port: &str, name: &str) -> Result<String> {
    Ok(param(daemon, port, name)?["saved"].as_str().unwrap_or("").to_owned())
}

#[test]
fn a_profile_is_compared_applied_and_activated_as_parameters_are() -> Result {
    let dir = TempDir::new()?;
    let daemon = start(&dir)?;
    let listed = ends(&daemon, 0, &["profile", "list"])?;
    for name in BUILT_IN {
        assert!(listed.contains(name), "{listed}");
    }
    let shown = ends(&daemon, 0, &["profile", "show", "backup"])?;
    assert!(shown.contains("io_throttle") && shown.contains("leaves the device to others"), "{shown}");
    let diff = ends(&daemon, 2, &["profile", "diff", "backup", "vol0"])?;
    let line = |name: &str| diff.lines().find(|l| l.starts_with(name)).unwrap_or_default().to_owned();
    let words: Vec<String> = line("io_throttle").split_whitespace().take(5).map(str::to_owned).collect();
    assert_eq!(words, ["io_throttle", "0", "0", "16", "live"], "{diff}");
    assert!(line("io_slots").contains("waits for `steadfast activate vol0`"), "{diff}");
    // What the port does not have is said.
    assert!(diff.contains("vol0: not for this driver: failover_delay"), "{diff}");
    let file = file_of(&daemon, "vol0")?;
    let would = ends(&daemon, 0, &["profile", "apply", "backup", "vol0", "--dry-run"])?;
    assert!(would.contains("vol0: io_throttle 0 -> 16, would be saved, takes effect at once"), "{would}");
    assert!(!file.exists() && saved(&daemon, "vol0", "io_throttle")? == "0", "nothing was done");
    let applied = ends(&daemon, 0, &["profile", "apply", "backup", "vol0"])?;
    assert!(applied.contains("vol0: io_throttle 0 -> 16, saved, in force"), "{applied}");
    assert!(applied.contains("vol0: not for this driver: failover_delay"), "{applied}");
    assert_eq!(param(&daemon, "vol0", "io_throttle")?["current"], "16");
    assert_eq!(pending(&daemon, "vol0")?, ["io_slots", "max_transfer"]);
    assert!(pending(&daemon, "vol1")?.is_empty() && saved(&daemon, "vol1", "io_throttle")? == "0");
    ends(&daemon, 0, &["activate", "vol0"])?;
    assert_eq!(param(&daemon, "vol0", "io_slots")?["current"], "256");
    let diff = ends(&daemon, 0, &["profile", "diff", "backup", "vol0"])?;
    assert!(diff.contains("vol0: nothing to do"), "{diff}");
    // It is saved as `param set` saves it, and taken back the same way.
    ends(&daemon, 0, &["param", "unset", "vol0", "io_throttle"])?;
    assert_eq!(param(&daemon, "vol0", "io_throttle")?["current"], "0");
    Ok(())
}

#[test]
fn ones_own_profile_extends_another_and_is_in_json_what_the_api_says() -> Result {
    let dir = TempDir::new()?;
    let daemon = start(&dir)?;
    let text = "extends = \"oltp\"\n[params]\nio_throttle = 77 # the array's owner wants it\n";
    let path = write(&daemon, "vol0", "db", text)?;
    let json = |args: &[&str]| -> Result<Value> {
        let (code, out, error) = cli(&daemon, args)?;
        ensure!(code == 0 || code == 2, "{args:?}: {error}");
        Ok(serde_json::from_str(&out)?)
    };
    let shown = json(&["profile", "show", "db", "-o", "json"])?;
    let of = |name: &str| {
        shown["params"].as_array().and_then(|all| all.iter().find(|p| p["name"] == name)).cloned()
    };
    let throttle = of("io_throttle").expect("its own");
    assert_eq!((&throttle["value"], &throttle["why"]), (&"77".into(), &"the array's owner wants it".into()));
    assert_eq!(throttle["source"], format!("{}:3", path.display()));
    assert_eq!(of("io_slots").expect("of oltp")["source"], "profile oltp");
    for (args, path) in [
        (["profile", "list", "-o", "json"].as_slice(), "/v1/profiles"),
        (&["profile", "show", "db", "-o", "json"], "/v1/profiles/db"),
        (&["profile", "diff", "db", "vol1", "-o", "json"], "/v1/profiles/db/diff?port=vol1"),
    ] {
        let (status, document) = daemon.api()?.get(path)?;
        assert_eq!((status, document), (200, json(args)?), "{path}");
    }
    let applied = json(&["profile", "apply", "db", "vol0", "vol1", "-o", "json"])?;
    assert_eq!(applied["files"].as_array().map(Vec::len), Some(1), "one edit: {applied}");
    for port in ["vol0", "vol1"] {
        assert_eq!(param(&daemon, port, "io_throttle")?["current"], "77");
    }
    Ok(())
}

#[test]
fn what_is_wrong_with_a_profile_is_said_with_its_line_and_nothing_is_changed() -> Result {
    let dir = TempDir::new()?;
    let daemon = start(&dir)?;
    write(&daemon, "vol0", "typo", "[params]\nio_throttle = 8\nio_slot = 512\n")?;
    write(&daemon, "vol0", "wrong", "[params]\nio_throttle = 8\nio_slots = 20000\nlink_speed = 40\n")?;
    write(&daemon, "vol0", "oltp", "[params]\nio_throttle = 8\n")?;
    let said = ends(&daemon, 1, &["profile", "apply", "typo", "vol0"])?;
    assert!(said.contains("typo.toml:3: io_slot is no parameter of any driver here"), "{said}");
    assert!(said.contains("did you mean io_slots?"), "{said}");
    let said = ends(&daemon, 1, &["profile", "apply", "wrong", "vol0"])?;
    assert!(
        said.contains("wrong.toml:3: port vol0: out of range: io_slots=20000 (allowed 128..=10240)"),
        "{said}"
    );
    assert!(said.contains("wrong.toml:4: port vol0: not a choice: link_speed=40"), "every fault: {said}");
    let diff = ends(&daemon, 1, &["profile", "diff", "wrong", "vol0"])?;
    assert!(diff.contains("cannot be applied: ") && diff.contains("wrong.toml:3"), "{diff}");
    // A built-in's name means the built-in everywhere: with a file of that name neither is taken.
    let said = ends(&daemon, 1, &["profile", "apply", "oltp", "vol0"])?;
    assert!(said.contains("oltp.toml: oltp is a profile that comes with steadfast"), "{said}");
    let listed = ends(&daemon, 0, &["profile", "list"])?;
    for part in ["typo.toml:3", "oltp.toml", "unusable"] {
        assert!(listed.contains(part), "{part}: {listed}");
    }
    let said = ends(&daemon, 1, &["profile", "show", "streeming"])?;
    assert!(said.contains("no profile `streeming`") && said.contains("did you mean streaming?"), "{said}");
    ends(&daemon, 1, &["profile", "apply", "backup", "vol0", "vol7"])?;
    ends(&daemon, 1, &["profile", "apply", "backup", "vol0", "vol0"])?;
    assert!(!file_of(&daemon, "vol0")?.exists(), "nothing of it was saved");
    assert_eq!(param(&daemon, "vol0", "io_throttle")?["current"], "0");
    Ok(())
}

#[test]
fn a_port_that_refuses_leaves_all_ports_as_they_were() -> Result {
    let dir = TempDir::new()?;
    let live = c_module(&dir, "crates/runtime/tests/live.c", "live", &[])?;
    let disk = dir.disk("disk.img", 1 << 20)?;
    let setup = Setup::device(format!("vol0=file@1.1.0:{}", disk.display()));
    let daemon = setup.and_device(format!("vol1={}", live.display())).start(&dir)?;
    ends(&daemon, 0, &["param", "set", "vol1", "even=4"])?;
    let (first, second) = (file_of(&daemon, "vol0")?, file_of(&daemon, "vol1")?);
    let before = fs::read_to_string(&second)?;
    // Allowed by the manifest; the driver itself refuses it, after vol0 has its new values already.
    write(&daemon, "vol0", "odd", "[params]\nio_throttle = 8\neven = 5\nlink_speed = 16\n")?;
    let said = ends(&daemon, 1, &["profile", "apply", "odd", "vol0", "vol1"])?;
    assert!(said.contains("even"), "{said}");
    assert!(!first.exists() || fs::read_to_string(&first)?.is_empty(), "{}", fs::read_to_string(&first)?);
    assert_eq!(fs::read_to_string(&second)?, before);
    assert_eq!(param(&daemon, "vol0", "io_throttle")?["current"], "0", "taken back where it was in force");
    assert_eq!(param(&daemon, "vol1", "even")?["current"], "4");
    assert!(pending(&daemon, "vol0")?.is_empty() && pending(&daemon, "vol1")?.is_empty());
    // The same for both with an even number: two drivers' files, one command.
    write(&daemon, "vol0", "odd", "[params]\nio_throttle = 8\neven = 6\n")?;
    let said = ends(&daemon, 0, &["profile", "apply", "odd", "vol0", "vol1"])?;
    assert!(said.contains("vol0: not for this driver: even"), "{said}");
    assert_eq!(param(&daemon, "vol0", "io_throttle")?["current"], "8");
    assert_eq!(param(&daemon, "vol1", "even")?["current"], "6");
    Ok(())
}

#[test]
fn a_profile_for_a_port_that_is_down_waits_for_it_to_come_up() -> Result {
    let dir = TempDir::new()?;
    let daemon = start(&dir)?;
    ends(&daemon, 0, &["param", "set", "vol0", "admin_state=down"])?;
    ends(&daemon, 0, &["activate", "vol0"])?;
    let diff = ends(&daemon, 2, &["profile", "diff", "backup", "vol0"])?;
    assert!(!diff.contains("takes effect at once"), "{diff}");
    let said = ends(&daemon, 0, &["profile", "apply", "backup", "vol0", "vol1"])?;
    assert!(said.contains("vol0: io_throttle 0 -> 16, saved, waits for `steadfast activate vol0`"), "{said}");
    assert!(said.contains("vol1: io_throttle 0 -> 16, saved, in force"), "{said}");
    let classic = ends(&daemon, 0, &["config", "export", "ram", "--classic"])?;
    assert!(
        classic.contains("ram0-io-throttle=16;") && classic.contains("ram1-io-throttle=16;"),
        "{classic}"
    );
    assert!(ends(&daemon, 0, &["config", "lint"])?.contains("0 faults"));
    ends(&daemon, 0, &["param", "set", "vol0", "admin_state=up"])?;
    ends(&daemon, 0, &["activate", "vol0"])?;
    assert_eq!(param(&daemon, "vol0", "io_throttle")?["current"], "16");
    Ok(())
}

#[test]
fn saved_values_of_a_port_become_a_profile_without_what_is_its_own() -> Result {
    let dir = TempDir::new()?;
    let disk = |name: &str| -> Result<String> {
        Ok(format!("{name}=file@1.1.0:{}", dir.disk(&format!("{name}.img"), 1 << 20)?.display()))
    };
    let daemon = Setup::device(disk("vol0")?).and_device(disk("vol1")?).start(&dir)?;
    let said = ends(&daemon, 1, &["profile", "save", "mine", "vol0"])?;
    assert!(said.contains("no value is saved for it that a profile could have"), "{said}");
    ends(&daemon, 0, &["param", "set", "vol0", "request_timeout=9", "--global"])?;
    ends(
        &daemon,
        0,
        &["param", "set", "vol0", "io_throttle=5", "link_speed=16", "--undefine", "request_timeout"],
    )?;
    let said = ends(&daemon, 0, &["profile", "save", "mine", "vol0", "--about", "as vol0"])?;
    assert!(said.contains("left out, as they are the port's own: path"), "{said}");
    assert_eq!(saved(&daemon, "vol1", "request_timeout")?, "9");
    ends(&daemon, 0, &["profile", "apply", "mine", "vol1"])?;
    for name in ["io_throttle", "link_speed", "request_timeout"] {
        assert_eq!(saved(&daemon, "vol1", name)?, saved(&daemon, "vol0", name)?, "{name}");
    }
    assert!(param(&daemon, "vol1", "path")?["current"].as_str().is_some_and(|p| p.ends_with("vol1.img")));
    ends(&daemon, 0, &["param", "set", "vol0", "io_throttle=6"])?;
    let said = ends(&daemon, 1, &["profile", "save", "mine", "vol0"])?;
    assert!(said.contains("profile mine is there already") && said.contains("--replace"), "{said}");
    assert!(ends(&daemon, 0, &["profile", "show", "mine"])?.contains("as vol0"));
    ends(&daemon, 0, &["profile", "save", "mine", "vol0", "--replace"])?;
    let shown = ends(&daemon, 0, &["profile", "show", "mine"])?;
    assert!(shown.contains("as vol0") && shown.contains("io_throttle      6"), "{shown}");
    let said = ends(&daemon, 1, &["profile", "save", "backup", "vol0", "--replace"])?;
    assert!(said.contains("backup is a profile that comes with steadfast"), "{said}");
    ends(&daemon, 1, &["profile", "save", "../mine", "vol0"])?;
    Ok(())
}

#[test]
fn every_built_in_profile_is_applied_and_activated_under_verified_load() -> Result {
    let dir = TempDir::new()?;
    let disk = |name: &str| -> Result<String> {
        Ok(format!("{name}=file@1.1.0:{}", dir.disk(&format!("{name}.img"), 16 << 20)?.display()))
    };
    let daemon =
        Setup::device(disk("vol0")?).and_device(disk("vol1")?).arg("--queues").arg("2").start(&dir)?;
    let mut load: Vec<_> = ["vol0", "vol1"].map(|name| Verified::start(&daemon, name, 0, 8, 8)).into();
    for (load, name) in load.iter_mut().zip(["vol0", "vol1"]) {
        load.busy(&daemon, name)?;
    }
    let other = generation(&daemon, "vol1")?;
    for name in BUILT_IN.iter().chain(&BUILT_IN) {
        ends(&daemon, 0, &["profile", "apply", name, "vol0"])?;
        ends(&daemon, 0, &["activate", "vol0"])?;
        ends(&daemon, 0, &["profile", "diff", name, "vol0"])?;
        load.iter_mut().try_for_each(Verified::check)?;
    }
    assert_eq!(generation(&daemon, "vol1")?, other, "the other port did not notice");
    for load in load {
        load.finish()?;
    }
    for port in ["vol0", "vol1"] {
        assert_eq!(daemon.device(port)?["errors"], 0, "{port}");
    }
    Ok(())
}

#[test]
fn what_no_driver_here_has_is_shown_as_that() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=ram:1M").start(&dir)?;
    let shown = ends(&daemon, 0, &["profile", "show", "virtualization"])?;
    let line =
        |name: &str| shown.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default();
    assert!(line("failover_delay").contains("no driver here"), "{shown}");
    assert!(
        line("io_throttle").contains("every driver") || line("io_slots").contains("every driver"),
        "{shown}"
    );
    let (_, list) = daemon.api()?.get("/v1/profiles")?;
    let of = |name: &str| list["profiles"].as_array()?.iter().find(|p| p["name"] == name).cloned();
    let profile = of("virtualization").expect("built in");
    assert!(
        profile["not_here"].as_u64() > Some(0) && profile["not_here"].as_u64() < profile["params"].as_u64(),
        "{profile}"
    );
    Ok(())
}

//! What is saved for ports is what they start with, and what is wrong with it is said with its place.

use anyhow::ensure;
use serde_json::Value;
use std::fs;
use std::process::Command;
use steadfast_tests::params::{cli, ends, param, params};
use steadfast_tests::{Result, Setup, TempDir, run, steadfast};

fn write(dir: &TempDir, name: &str, text: &str) -> Result {
    let folder = dir.join("store/state/parameters");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), text)?;
    Ok(())
}

fn value(device: &Value, name: &str) -> String {
    let params = device["params"].as_array().cloned().unwrap_or_default();
    let found = params.iter().find(|param| param["name"] == name);
    found.and_then(|param| param["value"].as_str()).unwrap_or_default().to_owned()
}

/// What `serve --check` says, and how it exits.
fn check(dir: &TempDir, devices: &[&str]) -> Result<(i32, String)> {
    let devices = devices.iter().flat_map(|device| ["--device", device]);
    let output = run(Command::new(steadfast()?)
        .args(["serve", "--check", "--store", "store"])
        .args(devices)
        .current_dir(dir.path()))?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn ports_start_with_what_is_saved_for_them() -> Result {
    let dir = TempDir::new()?;
    let text = "[global]\nio_throttle = 64\nrequest_timeout = 60\ndrain_timeout = 5\n\
                [port.vol0]\nio_throttle = 8\nundefine = [\"request_timeout\"]\n";
    write(&dir, "null.toml", text)?;
    let setup = Setup::device("vol0=null:1M,drain_timeout=7").and_device("vol1=null:1M");
    let daemon = setup.and_device("other=ram:1M").start(&dir)?;
    for (device, name, wanted) in [
        ("vol0", "io_throttle", "8"),
        ("vol0", "drain_timeout", "7"),
        ("vol0", "request_timeout", "30"),
        ("vol1", "io_throttle", "64"),
        ("vol1", "request_timeout", "60"),
        ("other", "io_throttle", "0"),
    ] {
        let found = value(&daemon.device(device)?, name);
        ensure!(found == wanted, "{device} {name}: {found}, not {wanted}");
    }
    Ok(())
}

// Complaints 2 and 10: nothing is bent, and what is wrong is named with value, range, file and line.
#[test]
fn what_is_wrong_is_refused_at_once_with_file_and_line() -> Result {
    let dir = TempDir::new()?;
    write(&dir, "null.toml", "[global]\nio_throttle = 9000\n[port.vol1]\nio_slot = 256\n")?;
    write(&dir, "ram.toml", "[globl]\n")?;
    let devices = ["vol0=null:1M", "vol1=null:1M,request_timeout=601", "vol2=ram:1M", "vol3=ram:1M"];
    let (code, text) = check(&dir, &devices)?;
    ensure!(code == 1, "{code}: {text}");
    for wanted in [
        "null.toml:2: device `vol0`: out of range: io_throttle=9000 (allowed 0..=8192)",
        "null.toml:4: device `vol1`: unknown parameter: io_slot (did you mean io_slots?)",
        "--device vol1=null:1M,request_timeout=601: device `vol1`: out of range: request_timeout=601 (allowed 0..=600 s, or with ns, us, ms, s, m or h behind)",
        "ram.toml:1: unknown: globl (allowed [global] and [port.NAME]; did you mean global?)",
    ] {
        ensure!(text.contains(wanted), "no '{wanted}' in: {text}");
    }
    ensure!(text.matches("ram.toml:1").count() == 1, "said once for all devices: {text}");
    let refused = Setup::device("vol0=null:1M").start(&dir);
    let why = refused.err().map(|e| e.to_string()).unwrap_or_default();
    ensure!(why.contains("null.toml:2: device `vol0`"), "{why}");
    write(&dir, "null.toml", "[global]\nio_throttle = 64\n")?;
    let (code, text) = check(&dir, &["vol0=null:1M"])?;
    ensure!(code == 0 && text.contains("io_throttle=64"), "{code}: {text}");
    Ok(())
}

#[test]
fn what_is_in_force_is_shown_also_where_a_file_has_a_fault() -> Result {
    let dir = TempDir::new()?;
    write(&dir, "null.toml", "[global]\nio_throttle = 64\n")?;
    let daemon = Setup::device("vol0=null:1M").and_device("vol1=null:1M").start(&dir)?;
    write(&dir, "null.toml", "[global]\nio_throttle = 64\n[port.vol1]\nio_slots = 1.5\n")?;
    for port in ["vol0", "vol1"] {
        let (code, out, error) = cli(&daemon, &["param", "get", port, "io_throttle"])?;
        ensure!(code == 0 && out == "64\n", "{port}: {code}: {out}{error}");
        ensure!(error.contains("what is saved is not known") && error.contains("null.toml:4"), "{error}");
        let (code, out, error) = cli(&daemon, &["param", "list", port])?;
        ensure!(code == 0 && out.contains("unknown") && error.contains("null.toml:4"), "{out}{error}");
        let explained = ends(&daemon, 0, &["param", "explain", port, "io_throttle"])?;
        ensure!(explained.contains("64") && explained.contains("saved        unknown"), "{explained}");
        let all = params(&daemon, port)?;
        let fault = all["faults"][0].as_str().unwrap_or_default();
        ensure!(all["saved_known"] == false && fault.contains("null.toml:4"), "{all:#}");
        ensure!(param(&daemon, port, "io_throttle")?["saved"].is_null(), "{all:#}");
    }
    // What needs to know what is saved says that it does not.
    for command in [
        &["plan", "vol0"][..],
        &["activate", "vol0"],
        &["param", "set", "vol0", "io_throttle=8"],
        &["param", "get", "vol0", "io_throttle", "--saved"],
        &["param", "list", "vol0", "--pending"],
    ] {
        let said = ends(&daemon, 1, command)?;
        ensure!(said.contains("null.toml:4"), "{command:?}: {said}");
    }
    ensure!(ends(&daemon, 0, &["param", "get", "vol0", "io_throttle"])?.starts_with("64\n"));
    Ok(())
}

#[test]
fn a_program_reads_what_is_wrong_as_json() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=null:1M").start(&dir)?;
    for (command, kind) in [
        (&["-o", "json", "param", "list", "vol9"][..], "not_found"),
        (&["device", "show", "vol9", "-o", "json"], "not_found"),
        (&["param", "set", "vol0", "io_throttle=9000", "-o", "json"], "refused"),
        (&["update", "vol0", "nosuch", "-o", "json"], "not_found"),
        (&["config", "import", "null", "nosuch.conf", "-o", "json"], "error"),
        (&["activate", "--reload", "vol0", "--delay", "1s", "-o", "json"], "bad_request"),
    ] {
        let (code, out, error) = cli(&daemon, command)?;
        let problem: Value = serde_json::from_str(&error)?;
        ensure!(code == 1 && out.is_empty(), "{command:?}: {code}: {out}{error}");
        ensure!(problem["kind"] == kind && problem["message"] != "", "{command:?}: {error}");
    }
    Ok(())
}

#[test]
fn what_a_killed_daemon_had_half_written_is_cleared_when_the_next_one_starts() -> Result {
    let dir = TempDir::new()?;
    let folder = dir.join("store/state/parameters");
    fs::create_dir_all(folder.join("profiles"))?;
    let halves = [".steadfast-a1B2c3.new", "profiles/.steadfast-a1B2c3.new"];
    for name in halves.iter().chain(&[".mine.new", "null.toml.new"]) {
        fs::write(folder.join(name), "[glo")?;
    }
    let _daemon = Setup::device("vol0=null:1M").start(&dir)?;
    for name in halves {
        ensure!(!folder.join(name).exists(), "{name} is still there");
    }
    ensure!(
        folder.join(".mine.new").exists() && folder.join("null.toml.new").exists(),
        "what is not its own stays"
    );
    Ok(())
}

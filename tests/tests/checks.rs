//! The check of a module against a device: the whole table, nothing touched, and what policy refuses.

use serde_json::{Value, json};
use std::process::Command;
use steadfast_tests::{Daemon, Result, Setup, TempDir, module, run, steadfast};

const ROWS: [&str; 19] = [
    "abi",
    "hardware",
    "signature",
    "libraries",
    "class",
    "driver",
    "state",
    "version",
    "min_from",
    "once",
    "size",
    "contents",
    "pending",
    "features",
    "pdu",
    "memory.port",
    "memory.queue",
    "parameters",
    "load",
];

fn file(dir: &TempDir, driver: &str) -> Result<Setup> {
    Ok(Setup::device(format!("vol0={driver}:{}", dir.disk("disk", 1 << 20)?.display())))
}

fn files(dir: &TempDir) -> Result<Vec<String>> {
    let list = std::fs::read_dir(dir.join("store"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut list: Vec<String> = list.collect::<Result<_>>()?;
    list.sort();
    Ok(list)
}

fn check(daemon: &Daemon, args: &[&str]) -> Result<(Option<i32>, Value)> {
    let output = daemon.cli(&[&["driver", "check", "vol0"], args, &["-o", "json"]].concat())?;
    Ok((output.status.code(), serde_json::from_slice(&output.stdout)?))
}

fn row(report: &Value, name: &str) -> (bool, String) {
    let rows = report["rows"].as_array().expect("rows");
    let row =
        rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no row {name}: {report:#}"));
    (row["ok"] == true, row["detail"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn the_whole_table_is_shown_and_nothing_is_touched() -> Result {
    let dir = TempDir::new()?;
    let daemon = file(&dir, "file@1.0.0")?.start(&dir)?;
    let before = files(&dir)?;
    let (code, report) = check(&daemon, &["file@1.1.0"])?;
    assert_eq!(code, Some(0), "{report:#}");
    let names: Vec<&str> =
        report["rows"].as_array().expect("rows").iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(names, ROWS);
    assert_eq!(
        row(&report, "hardware"),
        (true, "file 1.1.0 serves file:regular, file:block, the port has file:regular revision 0".into())
    );
    assert!(row(&report, "size").1.contains("vol0 has 1M in blocks of"), "{report:#}");
    assert!(row(&report, "pending").1.starts_with("adopt"), "{report:#}");
    assert_eq!(files(&dir)?, before, "nothing was stored");
    assert_eq!(daemon.device("vol0")?["generation"], 1);
    let (_, receipts) = daemon.api()?.get("/v1/receipts")?;
    assert_eq!(receipts, json!([]), "a check is no attempt");
    let table = daemon.cli(&["driver", "check", "vol0", "file@1.1.0"])?;
    let text = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(ROWS.iter().all(|name| text.contains(name)), "{text}");
    assert!(text.ends_with("file 1.1.0 can replace file 1.0.0 (mode adopt)\n"), "{text}");
    // By its older name.
    let again = daemon.cli(&["driver", "check", "file@1.1.0", "--device", "vol0"])?;
    assert_eq!(again.stdout, table.stdout);
    Ok(())
}

#[test]
fn a_row_that_refuses_makes_the_check_exit_with_6() -> Result {
    let dir = TempDir::new()?;
    let daemon = file(&dir, "file@1.1.0")?.start(&dir)?;
    let (code, report) = check(&daemon, &["file@1.0.0"])?;
    assert_eq!((code, &report["ok"]), (Some(6), &json!(false)));
    assert_eq!(
        row(&report, "version"),
        (false, "1.0.0 is older than the running 1.1.0 (allow older to go back)".into())
    );
    let (code, _) = check(&daemon, &["file@1.0.0", "--allow-older"])?;
    assert_eq!(code, Some(0));
    let (code, report) = check(&daemon, &["null"])?;
    assert_eq!(code, Some(6));
    let (ok, detail) = row(&report, "state");
    assert!(
        !ok && detail.contains("written by the running file 1.1.0; null 1.0.0 reads nothing"),
        "{detail}"
    );
    Ok(())
}

#[test]
fn a_module_is_still_checked_by_itself() -> Result {
    let mut command = Command::new(steadfast()?);
    let output = run(command.args(["driver", "check"]).arg(module("ram")?))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("load") && text.ends_with("ram 1.0.0 is a usable module\n"), "{text}");
    Ok(())
}

#[test]
fn a_check_takes_the_parameters_that_the_update_would_change() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=delay:1M,fixed_us=5").start(&dir)?;
    let (code, report) = check(&daemon, &["ram", "--allow-other"])?;
    assert!(code == Some(6) && !row(&report, "parameters").0, "{report:#}");
    let (code, report) = check(&daemon, &["ram", "--allow-other", "--unset", "fixed_us"])?;
    assert_eq!(code, Some(0), "{report:#}");
    let (code, report) = check(&daemon, &["delay", "--set", "fixed_us=much"])?;
    assert!(code == Some(6) && row(&report, "parameters").1.contains("fixed_us=much"), "{report:#}");
    let (_, memory) = row(&report, "memory.port");
    assert!(memory.starts_with("delay 1.0.0 needs "), "{memory}");
    Ok(())
}

#[test]
fn once_per_start_is_once_and_can_be_overridden() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = Setup::device("vol0=ram:1M").arg("--once-per-start").start(&dir)?;
    daemon.update("vol0", &module("ram")?)?;
    let receipt = daemon.api()?.update("vol0", &module("ram")?, json!({}))?;
    assert_eq!(receipt["outcome"], "refused");
    let reason = receipt["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("replaced once already since the daemon started; policy allows one per start"),
        "{reason}"
    );
    let again = daemon.cli(&["update", "vol0", "ram"])?;
    assert!(String::from_utf8_lossy(&again.stderr).contains("--allow-again"));
    assert_eq!(daemon.cli(&["update", "vol0", "ram", "--allow-again"])?.status.code(), Some(0));
    daemon.stop()?;
    let daemon = Setup::device("vol0=ram:1M").arg("--once-per-start").start(&dir)?;
    daemon.update("vol0", &module("ram")?)?;
    Ok(())
}

#[test]
fn a_release_that_does_not_say_what_it_updates_from_is_refused_where_policy_says_so() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=ram:1M").arg("--require-min-from").start(&dir)?;
    let receipt = daemon.api()?.update("vol0", &module("ram")?, json!({}))?;
    assert_eq!(receipt["outcome"], "refused");
    let reason = receipt["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("does not say from which version it updates, which policy requires"), "{reason}");
    Ok(())
}

#[test]
fn a_device_on_the_command_line_has_its_own_rules() -> Result {
    let dir = TempDir::new()?;
    let own = "vol0=ram:1M,once_per_start=false,hardware=pci:1af4:1042,revision=3,reserve=1M";
    let daemon = Setup::device(own).arg("--once-per-start").start(&dir)?;
    for _ in 0..2 {
        daemon.update("vol0", &module("ram")?)?;
    }
    let (_, report) = check(&daemon, &["file@1.1.0"])?;
    let (ok, detail) = row(&report, "hardware");
    assert!(!ok && detail.ends_with("the port has pci:1af4:1042 revision 3"), "{detail}");
    Ok(())
}

#[test]
fn a_devices_own_rules_win_over_the_daemons() -> Result {
    let dir = TempDir::new()?;
    let text = "once_per_start = true\n[device.vol0]\ndriver = \"ram\"\ntarget = \"1M\"\nonce_per_start = false\n\
                hardware = \"pci:1af4:1042\"\nrevision = 3\n";
    std::fs::write(dir.join("sf.toml"), text)?;
    let config = dir.join("sf.toml").display().to_string();
    let daemon = Setup::default().arg("--config").arg(config).start(&dir)?;
    for _ in 0..2 {
        daemon.update("vol0", &module("ram")?)?;
    }
    let (code, report) = check(&daemon, &["file@1.1.0"])?;
    assert_eq!(code, Some(6));
    let (ok, detail) = row(&report, "hardware");
    assert!(!ok && detail.ends_with("the port has pci:1af4:1042 revision 3"), "{detail}");
    Ok(())
}

#[test]
fn a_driver_for_other_hardware_is_not_attached() -> Result {
    let dir = TempDir::new()?;
    let disk = dir.disk("disk", 1 << 20)?;
    let text = format!(
        "[device.vol0]\ndriver = \"file\"\ntarget = {disk:?}\nhardware = \"pci:1af4:1042\"\nrequired = true\n"
    );
    std::fs::write(dir.join("sf.toml"), text)?;
    let mut command = Command::new(steadfast()?);
    command.args([
        "serve",
        "--config",
        "sf.toml",
        "--store",
        "store",
        "--control",
        "c.sock",
        "--nbd",
        "unix:n.sock",
    ]);
    let output = run(command.current_dir(dir.path()))?;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("serves file:regular, file:block, the port has pci:1af4:1042 revision 0"),
        "{text}"
    );
    Ok(())
}

#[test]
fn a_file_that_was_cut_behind_a_device_in_use_is_noticed_before_anything_is_loaded() -> Result {
    let dir = TempDir::new()?;
    let daemon = file(&dir, "file@1.0.0")?.start(&dir)?;
    let _client = steadfast_tests::nbd::Client::connect(daemon.nbd(), "vol0")?;
    std::fs::OpenOptions::new().write(true).open(dir.join("disk"))?.set_len(4096)?;
    let (code, report) = check(&daemon, &["file@1.1.0"])?;
    assert_eq!(code, Some(6), "{report:#}");
    let (ok, detail) = row(&report, "size");
    assert!(!ok && detail.contains("becomes smaller: 4096 bytes"), "{detail}");
    Ok(())
}

//! A pipe, a device or a folder where a file should be: it is refused at once, and nothing else waits for it.

use std::path::Path;
use std::process::Command;
use steadfast_tests::params::{cli, ends};
use steadfast_tests::{Daemon, Result, Setup, TempDir, ok, run, steadfast};

const DEVICES: &str =
    "[device.vol0]\ndriver = \"ram\"\ntarget = \"1M\"\n[device.vol1]\ndriver = \"null\"\ntarget = \"1M\"\n";
const NO_FILE: &str = "it is no regular file";

fn pipe(path: &Path) -> Result {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    ok(Command::new("mkfifo").arg(path)).map(drop)
}

fn two_devices(dir: &TempDir) -> Result<Daemon> {
    let config = dir.join("c.toml");
    std::fs::write(&config, DEVICES)?;
    Setup::default().arg("--config").arg(config.display().to_string()).start(dir)
}

#[test]
fn a_configuration_that_is_no_file_is_refused() -> Result {
    let dir = TempDir::new()?;
    let pipe_path = dir.join("pipe");
    pipe(&pipe_path)?;
    for path in [pipe_path.as_path(), Path::new("/dev/zero"), dir.path()] {
        for check in [&["--check"][..], &[]] {
            let output = run(Command::new(steadfast()?).arg("serve").arg("--config").arg(path).args(check))?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(text.contains(NO_FILE) && text.contains(&path.display().to_string()), "{text}");
        }
    }
    Ok(())
}

#[test]
fn a_pipe_in_the_place_of_a_drivers_file_keeps_its_own_devices_from_coming_up() -> Result {
    let dir = TempDir::new()?;
    pipe(&dir.join("store/state/parameters/ram.toml"))?;
    let mut daemon = two_devices(&dir)?;
    daemon.check_serves("vol1")?;
    let absent = daemon.cli(&["device", "list"])?;
    let list = String::from_utf8_lossy(&absent.stdout).into_owned();
    assert!(list.contains("absent") && list.contains(NO_FILE), "{list}");
    assert_eq!(daemon.stop()?.code(), Some(0));
    Ok(())
}

#[test]
fn a_pipe_in_the_place_of_what_the_daemon_keeps_is_said_and_waited_for_by_nobody() -> Result {
    for file in ["serving.json", "history.db", "lost.json", "panic.txt", "parameters/instances.toml"] {
        let dir = TempDir::new()?;
        pipe(&dir.join("store/state").join(file))?;
        let mut daemon = two_devices(&dir)?;
        daemon.check_serves("vol1")?;
        assert_eq!(daemon.stop()?.code(), Some(0), "{file}: {}", daemon.log());
    }
    let dir = TempDir::new()?;
    pipe(&dir.join("store/state/parameters/devices.toml"))?;
    let refused = two_devices(&dir).expect_err("what else there is to be is not known").to_string();
    assert!(refused.contains(NO_FILE) && refused.contains("devices.toml"), "{refused}");
    Ok(())
}

#[test]
fn a_drivers_file_that_cannot_be_read_keeps_no_other_drivers_values() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = two_devices(&dir)?;
    let file = dir.join("store/state/parameters/ram.toml");
    pipe(&file)?;
    let (code, _, refused) = cli(&daemon, &["param", "set", "vol0", "request_timeout=70"])?;
    assert!(code == 1 && refused.contains(NO_FILE) && refused.contains("ram.toml"), "{code} {refused}");
    ends(&daemon, 0, &["param", "set", "vol1", "request_timeout=70"])?;
    std::fs::remove_file(&file)?;
    ends(&daemon, 0, &["param", "set", "vol0", "request_timeout=70"])?;
    std::fs::remove_file(dir.join("c.toml"))?;
    pipe(&dir.join("c.toml"))?;
    let (code, out, error) = cli(&daemon, &["rescan"])?;
    assert!(code == 1 && (out.clone() + &error).contains(NO_FILE), "{code} {out} {error}");
    daemon.check_serves("vol0")
}

#[test]
fn what_is_no_folder_is_said_by_the_key_that_names_it() -> Result {
    let dir = TempDir::new()?;
    let config = dir.join("c.toml");
    for (key, value) in [("state", "/dev/full"), ("store", "/dev/null"), ("trusted_keys", "/dev/null")] {
        std::fs::write(&config, format!("{key} = \"{value}\"\n{DEVICES}"))?;
        for check in [&["--check"][..], &[]] {
            let output =
                run(Command::new(steadfast()?).arg("serve").arg("--config").arg(&config).args(check))?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let wanted = format!("{}:1:1: {key}: {value}: it is no folder", config.display());
            assert!(output.status.code() == Some(1) && text.contains(&wanted), "{text}");
            assert!(!text.contains("parameters/"), "{text}");
        }
    }
    Ok(())
}

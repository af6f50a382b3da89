//! Folders that decide what runs: one daemon to each, and nobody else may write to them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use steadfast_tests::{Result, Setup, TempDir, run, steadfast, until};

/// A configuration whose parameters are in the folder `shared`, which all of them name.
fn configuration(dir: &TempDir, shared: &str) -> Result<String> {
    let path = dir.join("c.toml");
    let text = format!("parameters = \"{shared}\"\n[device.vol0]\ndriver = \"ram\"\ntarget = \"1M\"\n");
    fs::write(&path, text)?;
    Ok(path.display().to_string())
}

fn refused(dir: &TempDir, config: &str, words: &[&str]) -> Result {
    let serve = ["serve", "--config", config, "--control", "other.sock", "--store", "other"];
    let output = run(Command::new(steadfast()?).args(serve).current_dir(dir.path()))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for word in words {
        assert!(text.contains(word), "no '{word}' in: {text}");
    }
    Ok(())
}

#[test]
fn two_daemons_do_not_share_a_folder_of_parameters() -> Result {
    let (dir, other) = (TempDir::new()?, TempDir::new()?);
    let shared = dir.join("parameters").display().to_string();
    let mut first = Setup::default().arg("--config").arg(configuration(&dir, &shared)?).start(&dir)?;
    refused(&other, &configuration(&other, &shared)?, &["parameters folder", "another daemon uses it"])?;
    first.check_serves("vol0")
}

#[test]
fn a_folder_that_others_can_write_to_is_refused() -> Result {
    let dir = TempDir::new()?;
    let above = dir.join("above");
    let shared = above.join("parameters");
    fs::create_dir_all(&shared)?;
    let config = configuration(&dir, &shared.display().to_string())?;
    fs::set_permissions(&shared, Permissions::from_mode(0o777))?;
    refused(&dir, &config, &["parameters folder", "every user", "chmod o-w"])?;
    fs::set_permissions(&shared, Permissions::from_mode(0o755))?;
    fs::set_permissions(&above, Permissions::from_mode(0o777))?;
    refused(&dir, &config, &["above it", "chmod o-w"])?;
    fs::set_permissions(&above, Permissions::from_mode(0o755))?;
    let state = dir.join("other/state");
    fs::create_dir_all(&state)?;
    fs::set_permissions(&state, Permissions::from_mode(0o777))?;
    refused(&dir, &config, &["state folder", "chmod o-w"])
}

#[test]
fn what_the_daemon_makes_is_closed_whatever_the_umask() -> Result {
    let dir = TempDir::new()?;
    let serve =
        "umask 000; exec \"$0\" serve --device vol0=ram:1M --control c.sock --store store --nbd unix:n.sock";
    let mut shell = Command::new("sh");
    shell.args(["-c", serve]).arg(steadfast()?).current_dir(dir.path());
    let mut daemon = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let control = dir.join("c.sock");
    let cli = |args: &[&str]| run(Command::new(steadfast()?).env("STEADFAST_SOCKET", &control).args(args));
    until("an answer", || Ok(cli(&["device", "list"])?.status.success().then_some(())))?;
    assert!(cli(&["param", "set", "vol0", "io_throttle=64"])?.status.success());
    assert!(cli(&["device", "add", "vol1=ram:1M"])?.status.success());
    let mut open = Vec::new();
    let mut folders = vec![dir.join("store")];
    while let Some(folder) = folders.pop() {
        for path in [folder.clone()].into_iter().chain(fs::read_dir(&folder)?.flatten().map(|e| e.path())) {
            let meta = fs::symlink_metadata(&path)?;
            if meta.is_dir() && path != folder {
                folders.push(path.clone());
            }
            if meta.permissions().mode() & 0o002 != 0 && !meta.is_symlink() {
                open.push(path);
            }
        }
    }
    daemon.kill()?;
    daemon.wait()?;
    assert!(open.is_empty(), "every user can write to {open:?}");
    Ok(())
}

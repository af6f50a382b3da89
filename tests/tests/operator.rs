//! The commands as an operator meets them, without anything that makes them easier to test.

use steadfast_tests::{Daemon, Result, Setup, TempDir};

/// Runs a command as a user does, whose tables are not wide.
fn as_users_do(daemon: &Daemon, args: &[&str]) -> Result<(i32, String, String)> {
    let output = std::process::Command::new(steadfast_tests::steadfast()?)
        .env_remove("STEADFAST_WIDE")
        .arg("--socket")
        .arg(daemon.control())
        .args(args)
        .output()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr)))
}

#[test]
fn tables_fit_120_columns_whatever_is_in_them() -> Result {
    let dir = TempDir::new()?;
    let long = "v".repeat(40);
    let deep = dir.join(&["a-folder-with-a-long-name"; 6].join("/"));
    std::fs::create_dir_all(&deep)?;
    let disk = deep.join("disk.img");
    std::fs::File::create(&disk)?.set_len(1 << 20)?;
    let disk = disk.display().to_string();
    let daemon = Setup::device(format!("{long}=file:{disk}")).start(&dir)?;
    let _client = steadfast_tests::nbd::Client::connect(daemon.nbd(), &long)?;
    as_users_do(&daemon, &["param", "set", &long, "link_speed=16", "request_timeout=9m"])?;
    as_users_do(&daemon, &["update", &long, "null"])?;
    as_users_do(&daemon, &["activate", &long])?;
    for args in [
        &["param", "list", &long][..],
        &["param", "set", "--temporary", &long, "io_throttle=7"],
        &["plan", &long],
        &["history", &long],
        &["device", "list"],
        &["port", "list"],
        &["adapter", "list"],
        &["client", "list"],
        &["receipt", "list"],
        &["driver", "list"],
        &["driver", "check", &long, "null"],
        &["profile", "list"],
        &["profile", "show", "oltp"],
        &["profile", "diff", "oltp", &long],
        &["rescan"],
        &["status"],
        &["activate", &long, "--rolling"],
    ] {
        let (_, out, _) = as_users_do(&daemon, args)?;
        let table =
            out.lines().skip_while(|line| !line.trim_start().starts_with(|c: char| c.is_ascii_uppercase()));
        // What follows a table are sentences; its own lines have columns.
        for line in table.take_while(|line| line.contains("  ")) {
            assert!(line.chars().count() <= 120, "{args:?}: {} columns: {line}", line.chars().count());
        }
    }
    let (_, listed, _) = as_users_do(&daemon, &["--wide", "param", "list", &long])?;
    assert!(listed.contains(&disk), "whole: {listed}");
    Ok(())
}

#[test]
fn what_is_refused_is_said_once() -> Result {
    let dir = TempDir::new()?;
    let disk = dir.disk("vol0.img", 1 << 20)?.display().to_string();
    let daemon = Setup::device(format!("vol0=file@1.1.0:{disk}")).and_device("vol1=ram:8M").start(&dir)?;
    let _client = steadfast_tests::nbd::Client::connect(daemon.nbd(), "vol0")?;
    as_users_do(&daemon, &["param", "set", "vol0", "admin_state=down"])?;
    for args in [
        &["update", "vol0", "null"][..],
        &["update", "vol0", "/nowhere/libnone.so"],
        &["update", "vol0", "nonesuch"],
        &["update", "vol0", "file@1.0.0"],
        &["update", "vol0,vol1", "file@1.1.0"],
        &["update", "--revert", "vol0"],
        &["update", "vol0", "file@1.1.0", "--set", "path=/nowhere/disk.img"],
        &["update", "vol0", "file@1.1.0", "--set", "io_throttle=-1"],
        &["activate", "vol0"],
        &["activate", "vol0", "vol1"],
        &["activate", "vol0", "--rolling"],
        &["activate", "nothing"],
        &["rollback", "vol0"],
        &["param", "set", "vol1", "io_throttle=x"],
        &["param", "set", "vol0", "path=/nowhere/disk.img"],
        &["device", "add", "vol2=file:/nowhere/disk.img"],
        &["device", "add", "vol0=ram:1M"],
        &["device", "remove", "vol0"],
        &["driver", "load", "/nowhere/libnone.so"],
        &["driver", "check", "vol0", "/nowhere/libnone.so"],
        &["profile", "apply", "nonesuch", "vol0"],
        &["config", "import", "file", "/nowhere/file.conf"],
        &["activate", "--plan", "/nowhere/change.plan"],
    ] {
        let (_, out, error) = as_users_do(&daemon, args)?;
        let said = format!("{out}{error}");
        let mut clauses = std::collections::BTreeSet::new();
        let clause = |text: &str| {
            text.trim().trim_start_matches("error: ").trim_start_matches("reason").trim().to_owned()
        };
        for clause in said
            .lines()
            .flat_map(|line| line.split(": "))
            .map(clause)
            .filter(|c| c.contains(' ') && c.len() > 20)
        {
            assert!(clauses.insert(clause.clone()), "{args:?}: `{clause}` twice: {said}");
        }
        for errno in ["No such file or directory", "os error"] {
            assert!(said.matches(errno).count() <= 1, "{args:?}: {errno}: {said}");
        }
    }
    Ok(())
}

#[test]
fn a_hint_leads_to_what_is_missing() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=ram:1M").start(&dir)?;
    dir.disk("there.img", 0)?;
    let at = |name: &str| dir.join(name).display().to_string();
    for (target, hint) in [
        (at("gone.img"), format!("hint: `truncate -s 10G {}`", at("gone.img"))),
        (at("go ne.img"), format!("hint: `truncate -s 10G '{}'`", at("go ne.img"))),
        (at("there.img"), format!("hint: `truncate -s 10G {}` gives it a size", at("there.img"))),
        (at("no/such/gone.img"), format!("hint: there is no folder {}", at("no"))),
        (dir.path().display().to_string(), "hint: name the file or block device".to_owned()),
    ] {
        let (code, _, error) = as_users_do(&daemon, &["device", "add", &format!("vol1=file:{target}")])?;
        assert!(code == 1 && error.contains(&hint), "{target}: {error}");
    }
    // Of a daemon that does not start it is said, too, and nothing of modules.
    let mut serve = std::process::Command::new(steadfast_tests::steadfast()?);
    serve.args(["serve", "--device", "a=file:gone.img,required=true", "--control", "c.sock", "--store", "s"]);
    let output = steadfast_tests::run(serve.current_dir(dir.path()))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("hint: `truncate -s 10G ") && !said.contains("driver list"), "{said}");
    Ok(())
}

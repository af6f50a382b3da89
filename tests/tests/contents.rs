//! What is behind a port, as its clients and its operators see it: which file, and who else gets at it.

use anyhow::ensure;
use steadfast_tests::nbd::Client;
use steadfast_tests::params::ends;
use steadfast_tests::{Daemon, Result, Setup, TempDir, until};

/// A file of which every byte is the same.
fn disk(dir: &TempDir, name: &str, byte: u8) -> Result<String> {
    std::fs::write(dir.join(name), vec![byte; 4 << 20])?;
    Ok(dir.join(name).display().to_string())
}

fn first(client: &mut Client) -> Result<u8> {
    let read = client.read(0, 4096)?.map_err(|e| anyhow::anyhow!("error {e}"))?;
    Ok(read[0])
}

/// Waits until the daemon knows that nobody uses the device.
fn unused(daemon: &Daemon) -> Result {
    until("the client has gone", || Ok((daemon.device("vol0")?["clients"] == 0).then_some(())))
}

#[test]
fn another_file_is_put_under_clients_by_force_only() -> Result {
    let dir = TempDir::new()?;
    let (one, two) = (disk(&dir, "one.img", 1)?, disk(&dir, "two.img", 2)?);
    let daemon = Setup::device(format!("vol0=file@1.1.0:{one}")).start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    let to_two = format!("path={two}");
    ends(&daemon, 0, &["param", "set", "vol0", &to_two])?;
    // It is said before, and refused in every way.
    let said = ends(&daemon, 2, &["plan", "vol0"])?;
    assert!(said.contains("other contents under 1 client: takes --force"), "{said}");
    for refused in [
        &["activate", "vol0"][..],
        &["activate", "vol0", "--reload"],
        &["update", "vol0", "file@1.1.0", "--set", &to_two],
        &["update", "--all-of", "file", "file@1.1.0", "--set", &to_two],
    ] {
        let said = ends(&daemon, 3, refused)?;
        assert!(said.contains("vol0 is in use by 1 client (client ") && said.contains("two.img"), "{said}");
        assert!(said.contains("--force"), "what to do about it: {refused:?}: {said}");
        assert_eq!(first(&mut client)?, 1);
    }
    ends(&daemon, 0, &["activate", "vol0", "--force"])?;
    assert_eq!(first(&mut client)?, 2);
    // The way back is not refused for who uses the device.
    ends(&daemon, 0, &["rollback", "vol0"])?;
    assert_eq!(first(&mut client)?, 1);
    ends(&daemon, 0, &["param", "set", "vol0", &to_two])?;
    ends(&daemon, 0, &["activate", "vol0", "--force", "--confirm-within", "1s"])?;
    until("nobody has confirmed", || Ok((first(&mut client)? == 1).then_some(())))?;
    ends(&daemon, 0, &["update", "vol0", "file@1.1.0", "--set", &to_two, "--force"])?;
    assert_eq!(first(&mut client)?, 2);
    // By itself it is an ordinary change.
    drop(client);
    unused(&daemon)?;
    ends(&daemon, 0, &["param", "set", "vol0", &to_two])?;
    ends(&daemon, 0, &["activate", "vol0"])?;
    ends(&daemon, 0, &["param", "set", "vol0", &format!("path={one}")])?;
    let said = ends(&daemon, 2, &["plan", "vol0"])?;
    assert!(said.contains("with other contents") && !said.contains("--force"), "{said}");
    ends(&daemon, 0, &["activate", "vol0"])?;
    assert_eq!(first(&mut Client::connect(daemon.nbd(), "vol0")?)?, 1);
    Ok(())
}

#[test]
fn another_name_of_the_file_is_an_ordinary_change() -> Result {
    let dir = TempDir::new()?;
    let one = disk(&dir, "one.img", 1)?;
    let daemon = Setup::device(format!("vol0=file@1.1.0:{one}")).start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    std::fs::hard_link(&one, dir.join("link.img"))?;
    ends(&daemon, 0, &["param", "set", "vol0", &format!("path={}", dir.join("link.img").display())])?;
    let said = ends(&daemon, 2, &["plan", "vol0"])?;
    assert!(!said.contains("other contents"), "{said}");
    ends(&daemon, 0, &["activate", "vol0"])?;
    assert_eq!(first(&mut client)?, 1);
    Ok(())
}

#[test]
fn a_file_that_a_port_has_open_is_no_other_daemons_whatever_is_activated() -> Result {
    let (dir, elsewhere) = (TempDir::new()?, TempDir::new()?);
    let one = disk(&dir, "one.img", 1)?;
    let daemon = Setup::device(format!("vol0=file@1.0.0:{one}")).start(&dir)?;
    let other =
        |read_only: bool| Setup::device(format!("vol0=file:{one},read_only={read_only}")).start(&elsewhere);
    let refused = |read_only: bool| -> Result {
        let why = other(read_only).err().map_or_else(|| "it serves".to_owned(), |e| e.to_string());
        ensure!(why.contains("one.img: another process has it locked (steadfast, process "), "{why}");
        Ok(())
    };
    refused(true)?;
    for changes in [&["direct=true"][..], &["direct=false"], &["read_only=true", "direct=true"]] {
        ends(&daemon, 0, &[&["param", "set", "vol0"], changes].concat())?;
        ends(&daemon, 0, &["activate", "vol0"])?;
        refused(false)?;
    }
    // Two may read; neither comes to write then.
    let reader = other(true)?;
    ends(&daemon, 0, &["param", "set", "vol0", "read_only=false"])?;
    let said = ends(&daemon, 4, &["activate", "vol0"])?;
    assert!(said.contains("one.img: another process has it locked"), "{said}");
    drop(reader);
    ends(&daemon, 0, &["activate", "vol0"])?;
    refused(true)?;
    assert_eq!(first(&mut Client::connect(daemon.nbd(), "vol0")?)?, 1);
    Ok(())
}

#[test]
fn a_port_goes_to_a_larger_file_and_back_with_either_release() -> Result {
    let dir = TempDir::new()?;
    let small = disk(&dir, "small.img", 1)?;
    let large = dir.disk("large.img", 16 << 20)?.display().to_string();
    let daemon = Setup::device(format!("vol0=file@1.0.0:{small}")).start(&dir)?;
    let size = || -> Result<u64> { Ok(daemon.device("vol0")?["size"].as_u64().unwrap_or(0) >> 20) };
    for release in ["file@1.0.0", "file@1.1.0"] {
        ends(&daemon, 0, &["update", "vol0", release])?;
        ends(&daemon, 0, &["param", "set", "vol0", &format!("path={large}")])?;
        ends(&daemon, 0, &["activate", "vol0"])?;
        assert_eq!(size()?, 16);
        ends(&daemon, 0, &["rollback", "vol0"])?;
        assert_eq!(size()?, 4);
        ends(&daemon, 0, &["update", "vol0", release, "--set", &format!("path={large}")])?;
        assert_eq!(size()?, 16);
        let to_small = format!("path={small}");
        let said = ends(&daemon, 1, &["update", "vol0", release, "--set", &to_small])?;
        assert!(said.contains("becomes smaller"), "{said}");
        assert_eq!(size()?, 16);
        ends(&daemon, 0, &["update", "vol0", release, "--set", &to_small, "--force"])?;
        assert_eq!(size()?, 4);
    }
    ends(&daemon, 0, &["update", "vol0", "file@1.1.0", "--set", &format!("path={large}")])?;
    ends(
        &daemon,
        0,
        &["update", "vol0", "file@1.0.0", "--allow-older", "--force", "--set", &format!("path={small}")],
    )?;
    assert_eq!(size()?, 4);
    // While somebody uses it, it does not shrink, by force neither.
    let _client = Client::connect(daemon.nbd(), "vol0")?;
    let tiny = dir.disk("tiny.img", 1 << 20)?.display().to_string();
    ends(&daemon, 0, &["param", "set", "vol0", &format!("path={tiny}")])?;
    let said = ends(&daemon, 4, &["activate", "vol0", "--force"])?;
    assert!(said.contains("smaller than the 4194304 that clients use"), "{said}");
    assert_eq!(size()?, 4);
    Ok(())
}

#[test]
fn another_driver_puts_no_other_contents_under_clients_unless_forced() -> Result {
    let dir = TempDir::new()?;
    let image = disk(&dir, "one.img", 1)?;
    let daemon = Setup::device(format!("vol0=file@1.0.0:{image}")).start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    let update = ["update", "vol0", "ram", "--allow-other", "--unset", "path", "--set", "size=4M"];
    // The check says so, and the update does not do it.
    let check = ["driver", "check", "vol0", "ram", "--allow-other", "--unset", "path", "--set", "size=4M"];
    let output = daemon.cli(&check)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(6), "{said}");
    let row = said.lines().find(|line| line.starts_with("contents")).unwrap_or_default();
    assert!(
        row.contains("FAILED") && row.contains("one.img") && row.contains("in use by 1 client (client "),
        "{said}"
    );
    let said = ends(&daemon, 3, &update)?;
    assert!(said.contains("contents: ") && said.contains("--force"), "{said}");
    assert_eq!(first(&mut client)?, 1, "its contents are what they were");
    ends(&daemon, 6, &[&check[..], &["--mode", "drain"]].concat())?;
    ends(&daemon, 0, &[&check[..], &["--force"]].concat())?;
    // By force, or when nobody has it open.
    ends(&daemon, 0, &[&update[..], &["--force"]].concat())?;
    assert_eq!(first(&mut client)?, 0);
    // What lies in the port's memory is known once the next one has asked for it: the same, under clients.
    ends(&daemon, 0, &["update", "vol0", "delay", "--allow-other"])?;
    let null = ["update", "vol0", "null", "--allow-other", "--set", "size=4M"];
    let said = ends(&daemon, 3, &null)?;
    assert!(said.contains("memory `contents` of the port"), "{said}");
    drop(client);
    unused(&daemon)?;
    ends(&daemon, 0, &null)?;
    Ok(())
}

#[test]
fn going_to_another_driver_takes_the_command_that_the_refusal_names() -> Result {
    let dir = TempDir::new()?;
    let image = disk(&dir, "one.img", 1)?;
    let daemon = Setup::device("vol0=ram:4M").start(&dir)?;
    let _client = Client::connect(daemon.nbd(), "vol0")?;
    // From memory to a file: a parameter that is not its own, one that it must have, other contents.
    let said = ends(&daemon, 1, &["update", "vol0", "file"])?;
    let (_, command) = said.split_once("the whole command: `steadfast ").expect("a command");
    let command = command.split('`').next().unwrap_or_default();
    for part in ["update vol0 ", "--allow-other", "--force", "--unset size", "--set path=PATH"] {
        assert!(command.contains(part), "no {part} in: {command}");
    }
    let command = command.replace("path=PATH", &format!("path={image}"));
    ends(&daemon, 0, &command.split(' ').collect::<Vec<_>>())?;
    // And back.
    let said = ends(&daemon, 1, &["update", "vol0", "ram"])?;
    let (_, command) = said.split_once("the whole command: `steadfast ").expect("a command");
    let command = command.split('`').next().unwrap_or_default();
    assert!(command.contains("--unset path") && command.contains("--force"), "{command}");
    let command = format!("{command} --set size=4M");
    ends(&daemon, 0, &command.split(' ').collect::<Vec<_>>())?;
    Ok(())
}

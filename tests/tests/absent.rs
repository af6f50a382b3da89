//! One device that cannot come up keeps none of the others from serving.

use std::ffi::CString;
use std::fs;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use steadfast_tests::{Daemon, Result, Setup, TempDir, run, steadfast, until};

/// A configuration in `dir`; `more` is put into the table of `b`.
fn configuration(dir: &TempDir, more: &str) -> Result<String> {
    dir.disk("a.img", 1 << 20)?;
    let path = dir.join("c.toml");
    let text = format!(
        "[device.a]\ndriver = \"file\"\ntarget = \"a.img\"\n\
         [device.b]\ndriver = \"file\"\ntarget = \"b.img\"\n{more}\n"
    );
    fs::write(&path, text)?;
    Ok(path.display().to_string())
}

fn start(dir: &TempDir, more: &str) -> Result<Daemon> {
    Setup::default().arg("--config").arg(configuration(dir, more)?).start(dir)
}

fn text(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_others_serve_and_the_one_that_is_absent_is_shown_with_its_reason() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = start(&dir, "retry = \"never\"")?;
    daemon.check_serves("a")?;
    let health = daemon.api()?.get("/v1/health")?.1;
    assert_eq!(health["healthy"], false, "{health:#}");
    assert_eq!(health["troubles"][0]["code"], "absent", "{health:#}");
    assert!(health["degraded"].as_str().is_some_and(|d| d.contains("b.img")), "{health:#}");
    let list = text(&daemon.cli(&["device", "list"])?);
    assert!(list.contains("absent") && list.contains("b.img") && list.contains("not tried again"), "{list}");
    let device = daemon.device("b")?;
    assert_eq!((&device["state"], &device["absent"]["tries"]), (&"absent".into(), &1.into()), "{device:#}");
    let port = daemon.api()?.get("/v1/ports/b")?.1;
    assert_eq!(port["state"], "absent", "{port:#}");
    daemon.logs("device b is absent")?;
    daemon.logs("c.toml:4")?;
    // Whatever asks something of it is told.
    for command in [
        &["update", "b", "file@1.1"][..],
        &["activate", "b"],
        &["plan", "b"],
        &["param", "list", "b"],
        &["param", "set", "b", "io_slots=256"],
        &["device", "state", "b"],
        &["update", "--revert", "b"],
    ] {
        let output = daemon.cli(command)?;
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {text}");
        assert!(text.contains("absent") && text.contains("b.img"), "{command:?}: {text}");
        assert!(text.contains("steadfast rescan b"), "{command:?}: {text}");
    }
    let again = text(&daemon.cli(&["device", "add", "b=ram:1M"])?);
    assert!(again.contains("absent"), "its name is not free: {again}");
    // Somebody has put the disk in.
    dir.disk("b.img", 1 << 20)?;
    let output = daemon.cli(&["rescan", "b"])?;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    daemon.check_serves("b")?;
    assert_eq!(daemon.api()?.get("/v1/health")?.1["healthy"], true);
    Ok(())
}

#[test]
fn it_is_tried_again_by_itself_and_so_is_what_lies_over_it() -> Result {
    let dir = TempDir::new()?;
    let over = "retry = \"1s\"\n[device.c]\ndriver = \"delay\"\nparams = { over = \"b\" }\nretry = \"24h\"";
    let mut daemon = start(&dir, over)?;
    assert_eq!(daemon.device("c")?["state"], "absent");
    dir.disk("b.img", 1 << 20)?;
    until("both to come", || {
        let states = [daemon.device("b")?["state"].clone(), daemon.device("c")?["state"].clone()];
        Ok(states.iter().all(|state| state == "running").then_some(()))
    })?;
    daemon.check_serves("c")?;
    let receipts = text(&daemon.cli(&["receipt", "list", "--device", "b"])?);
    assert!(receipts.contains("done"), "{receipts}");
    assert_eq!(daemon.stop()?.code(), Some(0));
    Ok(())
}

#[test]
fn what_is_given_up_is_not_tried_again_and_parts_of_an_adapter_can_be_absent() -> Result {
    let dir = TempDir::new()?;
    let adapter = "[adapter.san]\ndriver = \"file\"\nretry = \"1s\"\n[adapter.san.port.x]\ntarget = \"a2.img\"\n\
                   [adapter.san.port.y]\ntarget = \"gone.img\"";
    dir.disk("a2.img", 1 << 20)?;
    let mut daemon = start(&dir, adapter)?;
    daemon.check_serves("san-x")?;
    let shown = daemon.api()?.get("/v1/adapters/san")?.1;
    assert_eq!(shown["ports"].as_array().map(Vec::len), Some(2), "{shown:#}");
    // Its number is its own although it is not there.
    let z = format!("z:{}", dir.disk("z.img", 1 << 20)?.display());
    daemon.cli(&["port", "add", "san", &z, "--temporary"])?;
    assert_eq!(daemon.api()?.get("/v1/ports/san-z")?.1["number"], 2);
    let output = daemon.cli(&["device", "remove", "b"])?;
    assert!(text(&output).contains("it comes back when the daemon starts again"), "{}", text(&output));
    let output = daemon.cli(&["adapter", "remove", "san"])?;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    dir.disk("b.img", 1 << 20)?;
    dir.disk("gone.img", 1 << 20)?;
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(daemon.api()?.get("/v1/ports")?.1.as_array().map(Vec::len), Some(1), "only a is there");
    Ok(())
}

/// How often a file of that name was put into a folder while `work` was done.
fn put(folder: &Path, name: &str, work: impl FnOnce() -> Result) -> Result<usize> {
    let path = CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY: plain calls; the path ends with a zero, and the descriptor is nobody else's.
    let mut events = unsafe {
        let watcher = libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC);
        anyhow::ensure!(watcher >= 0, "inotify: {}", std::io::Error::last_os_error());
        let events = fs::File::from_raw_fd(watcher);
        let watched = libc::inotify_add_watch(watcher, path.as_ptr(), libc::IN_MOVED_TO);
        anyhow::ensure!(watched >= 0, "{}: {}", folder.display(), std::io::Error::last_os_error());
        events
    };
    work()?;
    let mut bytes = vec![0; 64 << 10];
    let filled = events.read(&mut bytes)?;
    Ok(bytes[..filled].windows(name.len()).filter(|part| *part == name.as_bytes()).count())
}

#[test]
fn an_adapter_is_forgotten_in_one_piece_with_what_is_absent_of_it() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = start(&dir, "required = false")?;
    let disks: Vec<_> =
        ["x", "y", "z"].iter().map(|n| dir.disk(&format!("{n}.img"), 1 << 20)).collect::<Result<_>>()?;
    let ports = ["x", "y", "z"].iter().zip(&disks).map(|(name, disk)| format!("{name}:{}", disk.display()));
    let mut add = vec!["adapter".to_owned(), "add".to_owned(), "san=file".to_owned()];
    ports.for_each(|port| add.extend(["--port".to_owned(), port]));
    let add = daemon.cli(&add.iter().map(String::as_str).collect::<Vec<_>>())?;
    assert_eq!(add.status.code(), Some(0), "{}", text(&add));
    daemon.stop()?;
    disks[1..].iter().try_for_each(fs::remove_file)?;
    let mut daemon = start(&dir, "required = false")?;
    daemon.check_serves("san-x")?;
    let would = daemon.cli(&["adapter", "remove", "san", "--dry-run"])?;
    assert!(["san-x", "san-y", "san-z"].iter().all(|port| text(&would).contains(port)), "{}", text(&would));
    let folder = dir.join("store/state/parameters");
    let writes = put(&folder, "devices.toml", || {
        let output = daemon.cli(&["adapter", "remove", "san"])?;
        let said = text(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(
            ["san-x", "san-y", "san-z"].iter().all(|port| said.contains(&format!("{port} is taken out"))),
            "{said}"
        );
        Ok(())
    })?;
    assert_eq!(writes, 1, "a kill at any moment leaves all of it or nothing");
    assert!(!fs::read_to_string(folder.join("devices.toml"))?.contains("san"));
    assert_eq!(daemon.api()?.get("/v1/adapters/san")?.0, 404);
    Ok(())
}

#[test]
fn a_device_that_is_required_keeps_the_daemon_from_starting() -> Result {
    let dir = TempDir::new()?;
    let config = configuration(&dir, "required = true")?;
    let serve = ["serve", "--config", &config, "--control", "c.sock", "--store", "store"];
    let output = run(Command::new(steadfast()?).args(serve).current_dir(dir.path()))?;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("b.img") && text(&output).contains("c.toml:4"), "{}", text(&output));
    Ok(())
}

#[test]
fn the_check_looks_at_what_was_added_while_a_daemon_ran() -> Result {
    let dir = TempDir::new()?;
    dir.disk("b.img", 1 << 20)?;
    let config = configuration(&dir, "")?;
    let mut daemon = Setup::default().arg("--config").arg(&config).start(&dir)?;
    let image = dir.disk("more.img", 1 << 20)?;
    let added = daemon.cli(&["device", "add", &format!("more=file:{}", image.display())])?;
    assert!(added.status.success(), "{}", text(&added));
    assert_eq!(daemon.stop()?.code(), Some(0));
    let store = dir.join("store").display().to_string();
    let args = ["serve", "--config", &config, "--store", &store, "--check"];
    let check = || run(Command::new(steadfast()?).args(args));
    let output = check()?;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("more"), "{}", text(&output));
    fs::remove_file(&image)?;
    let output = check()?;
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("devices.toml:") && said.contains("more.img: No such file"), "{said}");
    // A file that nobody can read is the next start's end, and said here.
    let file = dir.join("store/state/parameters/devices.toml");
    fs::write(&file, "[device.more\n")?;
    let output = check()?;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("devices.toml:1"), "{}", text(&output));
    Ok(())
}

#[test]
fn the_check_opens_what_the_configuration_names() -> Result {
    let dir = TempDir::new()?;
    let over =
        "[device.c]\ndriver = \"delay\"\nparams = { over = \"b\" }\n[device.d]\ndriver = \"none-such\"";
    let config = configuration(&dir, over)?;
    let check = || run(Command::new(steadfast()?).args(["serve", "--config", &config, "--check"]));
    let output = check()?;
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in ["b.img: No such file", "c.toml:6", "lies over `b`", "none-such", "would be absent"] {
        assert!(said.contains(word), "no '{word}' in: {said}");
    }
    fs::create_dir(dir.join("b.img"))?;
    assert!(text(&check()?).contains("it is a folder"));
    fs::remove_dir(dir.join("b.img"))?;
    dir.disk("b.img", 0)?;
    assert!(text(&check()?).contains("it is empty"));
    dir.disk("b.img", 1 << 20)?;
    let config = configuration(&dir, "")?;
    let output = run(Command::new(steadfast()?).args(["serve", "--config", &config, "--check"]))?;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    Ok(())
}

//! A watched folder: installing a package upgrades the device, what is half written is never taken, and
//! what went back is not tried again.

use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;
use steadfast_tests::load::{Load, Shape};
use steadfast_tests::nbd::Client;
use steadfast_tests::{Daemon, Result, Setup, TempDir, module, ok, released_as, test_module, until};

/// How long a file has to stay the same, in these tests.
const SETTLE: Duration = Duration::from_millis(200);
const SHAPE: Shape = Shape { size: 4096, depth: 8, write: false };

/// A daemon that watches `folder`; `devices` is the rest of its configuration.
fn daemon(dir: &TempDir, folder: &Path, devices: &str) -> Result<Daemon> {
    let config = dir.join("steadfast.toml");
    let watch =
        format!("[watch]\nfolders = [{folder:?}]\nsettle = \"{}ms\"\nrescan = \"1s\"\n", SETTLE.as_millis());
    fs::write(&config, format!("{watch}{devices}"))?;
    Setup::default().arg("--config").arg(config.to_string_lossy()).start(dir)
}

/// `vol0`: a file, served by `file` 1.0, that takes what is newer.
fn file_device(dir: &TempDir) -> Result<String> {
    let (driver, disk) = (module("file-1.0")?, dir.disk("disk.img", 8 << 20)?);
    let auto = "{ policy = \"auto\", probation = \"1s\" }";
    Ok(format!("[device.vol0]\ndriver = {driver:?}\ntarget = {disk:?}\nauto_update = {auto}\n"))
}

fn version(daemon: &Daemon, device: &str) -> Result<String> {
    Ok(daemon.device(device)?["driver"]["version"].as_str().unwrap_or_default().to_owned())
}

fn wait_version(daemon: &Daemon, device: &str, wanted: &str) -> Result {
    until(&format!("{device} with version {wanted}"), || {
        Ok((version(daemon, device)? == wanted).then_some(()))
    })
}

fn receipts(daemon: &Daemon) -> Result<Vec<Value>> {
    Ok(daemon.api()?.get("/v1/receipts")?.1.as_array().cloned().unwrap_or_default())
}

/// What is available for a device and was not taken, when that is so.
fn wait_not_taken(daemon: &Daemon, device: &str, why: &str) -> Result<String> {
    until(&format!("{device} does not take it: {why}"), || {
        let device = daemon.device(device)?;
        let text = device["available"]["not_taken"].as_str().unwrap_or_default();
        Ok(text.contains(why).then(|| text.to_owned()))
    })
}

/// A Debian package with one file in it.
fn package(dir: &TempDir, version: &str, file: &str, contents: &[u8]) -> Result<PathBuf> {
    let root = dir.join(&format!("package-{version}"));
    let target = root.join(file);
    fs::create_dir_all(target.parent().unwrap_or(&root))?;
    fs::write(&target, contents)?;
    fs::create_dir_all(root.join("DEBIAN"))?;
    let control = format!(
        "Package: steadfast-driver-file\nVersion: {version}\nArchitecture: all\n\
         Maintainer: Nobody <nobody@example.org>\nDescription: A driver\n"
    );
    fs::write(root.join("DEBIAN/control"), control)?;
    let package = dir.join(&format!("driver-{version}.deb"));
    ok(Command::new("dpkg-deb").args(["--root-owner-group", "-Znone", "--build"]).arg(&root).arg(&package))?;
    Ok(package)
}

/// Installs a package below `root`: with dpkg and its database there; who is not root lets dpkg-deb
/// unpack it, which writes in place.
fn install(root: &Path, package: &Path) -> Result {
    // SAFETY: it takes nothing, always succeeds and touches no memory.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("dpkg needs root: dpkg-deb unpacks instead");
        ok(Command::new("dpkg-deb").arg("-x").arg(package).arg(root))?;
        return Ok(());
    }
    let database = root.join("var/lib/dpkg");
    for folder in ["updates", "info", "triggers"] {
        fs::create_dir_all(database.join(folder))?;
    }
    if !database.join("status").exists() {
        fs::write(database.join("status"), "")?;
        fs::write(database.join("available"), "")?;
    }
    let log = root.join("dpkg.log");
    let mut dpkg = Command::new("dpkg");
    dpkg.arg(format!("--root={}", root.display())).arg(format!("--log={}", log.display()));
    ok(dpkg.arg("--force-script-chrootless").arg("--install").arg(package))?;
    Ok(())
}

#[test]
fn a_package_that_drops_a_newer_module_upgrades_the_device_under_load() -> Result {
    let dir = TempDir::new()?;
    let root = dir.join("root");
    let file = "usr/lib/steadfast/modules/libsteadfast_driver_file.so";
    let folder = root.join("usr/lib/steadfast/modules");
    install(&root, &package(&dir, "1.0.0", file, &fs::read(module("file-1.0")?)?)?)?;
    let mut daemon = daemon(&dir, &folder, &file_device(&dir)?)?;
    let load = Load::start(daemon.nbd(), "vol0", SHAPE)?;
    install(&root, &package(&dir, "1.1.0", file, &fs::read(module("file-1.1")?)?)?)?;
    wait_version(&daemon, "vol0", "1.1.0")?;
    let receipt = until("its probation's end", || {
        let over = |receipt: &Value| receipt["probation"]["outcome"] != "running";
        Ok(receipts(&daemon)?.into_iter().next().filter(over))
    })?;
    assert!(!load.finish()?.is_empty(), "no request failed");
    assert_eq!(
        (&receipt["outcome"], &receipt["by"]["cause"]),
        (&json!("done"), &json!("folder")),
        "{receipt:#}"
    );
    assert_eq!(receipt["probation"]["outcome"], "passed", "{receipt:#}");
    assert_eq!(receipt["source"], json!(folder.join("libsteadfast_driver_file.so")));
    assert_eq!(receipts(&daemon)?.len(), 1, "what was there already was not loaded anew");
    daemon.check_serves("vol0")
}

#[test]
fn what_is_half_written_is_never_taken() -> Result {
    let dir = TempDir::new()?;
    let folder = dir.join("modules");
    fs::create_dir(&folder)?;
    let daemon = daemon(&dir, &folder, &file_device(&dir)?)?;
    let whole = fs::read(module("file-1.1")?)?;
    // A writer that stopped for good: whoever looks, looks at this for as long as it is there.
    fs::write(folder.join("stopped.so"), &whole[..whole.len() / 2])?;
    // One that is slow, and rests longer than files have to settle.
    let mut slow = fs::File::create(folder.join("slow.so"))?;
    for chunk in whole.chunks(whole.len() / 4 + 1) {
        sleep(SETTLE * 3);
        assert_eq!((version(&daemon, "vol0")?.as_str(), receipts(&daemon)?.len()), ("1.0.0", 0));
        slow.write_all(chunk)?;
    }
    slow.sync_all()?;
    drop(slow);
    wait_version(&daemon, "vol0", "1.1.0")?;
    let receipt = until("the receipt", || Ok(receipts(&daemon)?.into_iter().next()))?;
    assert_eq!(receipt["source"], json!(folder.join("slow.so")), "{receipt:#}");
    daemon.logs("stopped.so")?;
    Ok(())
}

#[test]
fn a_module_that_went_back_spares_the_others_and_is_not_tried_again() -> Result {
    let dir = TempDir::new()?;
    let folder = dir.join("modules");
    fs::create_dir(&folder)?;
    let sound = test_module("sound")?;
    let device = |name: &str| {
        let auto = "{ policy = \"auto\", probation = \"60s\" }";
        format!(
            "[device.{name}]\ndriver = {sound:?}\nauto_update = {auto}\n[device.{name}.params]\nsize = \"8M\"\n"
        )
    };
    let mut daemon = daemon(&dir, &folder, &format!("{}{}", device("vol0"), device("vol1")))?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    let place = |name: &str, contents: &[u8]| -> Result {
        fs::write(folder.join("coming.tmp"), contents)?;
        Ok(fs::rename(folder.join("coming.tmp"), folder.join(name))?)
    };
    place("test.so", &released_as(&test_module("submit_error")?, "1.0.0", "1.1.0")?)?;
    wait_version(&daemon, "vol0", "1.1.0")?;
    until("the way back", || {
        // It fails this page.
        let _ = client.read(4096, 4096)?;
        Ok((version(&daemon, "vol0")? == "1.0.0").then_some(()))
    })?;
    wait_not_taken(&daemon, "vol0", "vol0 went back from it")?;
    wait_not_taken(&daemon, "vol1", "vol0 went back from it")?;
    let seen = receipts(&daemon)?;
    assert_eq!(seen.len(), 2, "there and back: {seen:#?}");
    // Some looks later, and after a restart, nothing more has been tried.
    fs::write(folder.join("other.so"), "something else happens")?;
    sleep(SETTLE * 5);
    assert!(daemon.stop()?.success());
    drop(client);
    let devices = format!("{}{}", device("vol0"), device("vol1"));
    let mut daemon = self::daemon(&dir, &folder, &devices)?;
    wait_not_taken(&daemon, "vol1", "vol0 went back from it")?;
    assert_eq!(receipts(&daemon)?.len(), 2);
    let shown = daemon.cli(&["device", "list"])?;
    assert!(String::from_utf8_lossy(&shown.stdout).contains("(1.1.0 not taken)"));
    // Another file under the same name is another module.
    place("test.so", &released_as(&sound, "1.0.0", "1.2.0")?)?;
    wait_version(&daemon, "vol0", "1.2.0")?;
    // The second device waits for the first one's probation; a person need not.
    assert_eq!(version(&daemon, "vol1")?, "1.0.0");
    let module = folder.join("test.so");
    assert_eq!(daemon.update("vol1", &module)?["outcome"], "done");
    daemon.check_serves("vol1")
}

#[test]
fn notify_tells_and_off_does_not_and_neither_takes() -> Result {
    let dir = TempDir::new()?;
    let folder = dir.join("modules");
    fs::create_dir(&folder)?;
    let sound = test_module("sound")?;
    let device =
        |name: &str, auto: &str| format!("[device.{name}]\ndriver = {sound:?}\nauto_update = {auto}\n");
    let devices = [
        device("vol0", "\"notify\""),
        device("vol1", "\"off\""),
        device("vol2", "{ policy = \"auto\", version = \">=1.0, <1.1\" }"),
    ];
    let daemon = daemon(&dir, &folder, &devices.concat())?;
    fs::write(folder.join("newer.so"), released_as(&sound, "1.0.0", "1.1.0")?)?;
    fs::write(folder.join("major.so"), released_as(&sound, "1.0.0", "2.0.0")?)?;
    let available = until("vol0 tells of it", || {
        let available = daemon.device("vol0")?["available"].clone();
        Ok((!available.is_null()).then_some(available))
    })?;
    assert_eq!((&available["module"]["version"], &available["not_taken"]), (&json!("1.1.0"), &json!("")));
    for device in ["vol1", "vol2"] {
        assert_eq!(daemon.device(device)?["available"], Value::Null, "{device}");
    }
    assert!(receipts(&daemon)?.is_empty());
    daemon.logs("device vol0: test 1.1.0 is available")?;
    let shown = daemon.cli(&["device", "show", "vol0"])?;
    assert!(String::from_utf8_lossy(&shown.stdout).contains("available    test 1.1.0 in"));
    Ok(())
}

/// A device that takes newer modules by itself, with a probation of a minute.
fn taking(name: &str) -> Result<String> {
    let sound = test_module("sound")?;
    let auto = "{ policy = \"auto\", probation = \"60s\" }";
    Ok(format!(
        "[device.{name}]\ndriver = {sound:?}\nauto_update = {auto}\n[device.{name}.params]\nsize = \"8M\"\n"
    ))
}

#[test]
fn a_module_that_crashes_the_daemon_on_probation_is_not_taken_again() -> Result {
    let dir = TempDir::new()?;
    let folder = dir.join("modules");
    fs::create_dir(&folder)?;
    let mut first = daemon(&dir, &folder, &taking("vol0")?)?;
    let mut client = Client::connect(first.nbd(), "vol0")?;
    fs::write(folder.join("bad.so"), released_as(&test_module("submit_abort")?, "1.0.0", "1.1.0")?)?;
    wait_version(&first, "vol0", "1.1.0")?;
    // Written before the probation begins, and so there when the daemon is not any more.
    until("its receipt", || Ok((!receipts(&first)?.is_empty()).then_some(())))?;
    assert!(client.read(4096, 4096).is_err(), "the driver takes the daemon with it");
    assert!(!first.stopped()?.success());
    let mut second = daemon(&dir, &folder, &taking("vol0")?)?;
    let why = wait_not_taken(&second, "vol0", "killed or crashed while vol0 had it on probation")?;
    let seen = receipts(&second)?;
    assert_eq!((seen.len(), &seen[0]["probation"]["outcome"]), (1, &json!("killed")), "{why}: {seen:#?}");
    let revert = second.cli(&["update", "--revert", "vol0"])?;
    let said = String::from_utf8_lossy(&revert.stderr).into_owned();
    assert!(said.contains("once more would be forward"), "{said}");
    assert_eq!(version(&second, "vol0")?, "1.0.0");
    second.check_serves("vol0")?;
    // Other contents are another module.
    fs::write(folder.join("bad.so"), released_as(&test_module("sound")?, "1.0.0", "1.1.0")?)?;
    wait_version(&second, "vol0", "1.1.0")
}

#[test]
fn a_stop_during_the_probation_says_nothing_of_the_module() -> Result {
    let dir = TempDir::new()?;
    let folder = dir.join("modules");
    fs::create_dir(&folder)?;
    let mut first = daemon(&dir, &folder, &taking("vol0")?)?;
    fs::write(folder.join("good.so"), released_as(&test_module("sound")?, "1.0.0", "1.1.0")?)?;
    wait_version(&first, "vol0", "1.1.0")?;
    until("its receipt", || Ok((!receipts(&first)?.is_empty()).then_some(())))?;
    assert!(first.stop()?.success());
    let second = daemon(&dir, &folder, &taking("vol0")?)?;
    wait_version(&second, "vol0", "1.1.0")?;
    let seen = receipts(&second)?;
    assert_eq!(seen[0]["probation"]["outcome"], "stopped", "{seen:#?}");
    Ok(())
}

#[test]
fn a_module_that_crashes_the_daemon_within_the_update_leaves_a_receipt_and_is_not_taken_again() -> Result {
    let dir = TempDir::new()?;
    let folder = dir.join("modules");
    fs::create_dir(&folder)?;
    let mut first = daemon(&dir, &folder, &taking("vol0")?)?;
    fs::write(folder.join("bad.so"), released_as(&test_module("prepare_abort")?, "1.0.0", "1.1.0")?)?;
    assert!(!first.stopped()?.success(), "it takes the daemon with it");
    let mut second = daemon(&dir, &folder, &taking("vol0")?)?;
    wait_not_taken(&second, "vol0", "the daemon ended in the midst of an update of vol0 to it")?;
    let seen = receipts(&second)?;
    let receipt = &seen[0];
    assert_eq!((seen.len(), &receipt["outcome"]), (1, &json!("interrupted")), "{seen:#?}");
    assert_eq!((&receipt["to"]["version"], &receipt["by"]["cause"]), (&json!("1.1.0"), &json!("folder")));
    let shown = second.cli(&["receipt", "list", "--outcome", "interrupted"])?;
    assert!(String::from_utf8_lossy(&shown.stdout).contains("interrupted  test 1.0.0 -> 1.1.0"), "{shown:?}");
    second.check_serves("vol0")
}

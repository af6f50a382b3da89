//! How a daemon ends that found a fault of its own, or whose queue does not stop.

use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};
use steadfast_tests::nbd::{Client, command};
use steadfast_tests::{Daemon, Result, Setup, TempDir, ok, process};

/// A hang is not waited for any longer: a stop has 30 seconds for what is in flight, and some for the rest.
const LIMIT: Duration = Duration::from_secs(120);

/// The library that breaks the clock of a process.
fn library(dir: &TempDir) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("drivers/broken_clock.c");
    let library = dir.join("broken_clock.so");
    ok(Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl"))?;
    Ok(library)
}

/// Waits for the end of a daemon; `meanwhile` brings it about.
fn ended(daemon: &mut Daemon, mut meanwhile: impl FnMut(&Daemon)) -> Result<ExitStatus> {
    let begin = Instant::now();
    loop {
        if let Some(status) = daemon.has_ended()? {
            return Ok(status);
        }
        ensure!(begin.elapsed() < LIMIT, "it runs on:\n{}", daemon.log());
        meanwhile(daemon);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_panic_on_a_queue_or_in_the_control_plane_ends_the_daemon_with_its_code_and_a_place_to_look() -> Result {
    for thread in ["queue-0", "control"] {
        let dir = TempDir::new()?;
        let when = dir.join("now");
        let disk = dir.disk("disk.img", 1 << 20)?;
        let device = format!("vol0=file:{}", disk.display());
        let mut daemon = Setup::device(&device)
            .env("LD_PRELOAD", library(&dir)?.display().to_string())
            .env("PANIC_WHEN", when.display().to_string())
            .env("PANIC_ON", thread)
            .start(&dir)?;
        let mut client = Client::connect(daemon.nbd(), "vol0")?;
        ensure!(client.write(0, &[7; 4096], true)? == Ok(vec![]), "a write");
        std::fs::write(&when, "")?;
        // A driver that has been quick before is replaced on the queue's own thread, which notes when; and what is asked of
        // the control plane is noted with the time.
        let status = ended(&mut daemon, |daemon| drop(daemon.cli(&["update", "vol0", "file@1.1.0"])))?;
        ensure!(status.code() == Some(70), "{thread}: {status}:\n{}", daemon.log());
        let said = format!("a fault of the daemon: thread `{thread}` panicked at ");
        ensure!(daemon.log().contains(&said) && daemon.log().contains("exit code 70"), "{}", daemon.log());
        let file = dir.join("store/state/panic.txt");
        ensure!(std::fs::read_to_string(&file)?.contains(&said), "{} has it", file.display());
        // A supervisor starts it again: what was flushed is there, and what happened is told once.
        std::fs::remove_file(&when)?;
        let next = Setup::device(&device).start(&dir)?;
        next.logs("an earlier daemon ended by itself")?;
        let read = Client::connect(next.nbd(), "vol0")?.read(0, 4096)?;
        ensure!(read == Ok(vec![7; 4096]), "{thread}: what was flushed");
    }
    Ok(())
}

#[test]
fn a_queue_that_does_not_stop_is_an_error_of_the_daemon() -> Result {
    let dir = TempDir::new()?;
    let spec = "vol0=hang:1M,at=submit,for_ms=3600000";
    let mut daemon = Setup::device(spec).and_device("vol1=ram:1M").start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    client.send(command::READ, 0, 0, 512, &[])?;
    std::thread::sleep(Duration::from_millis(200));
    process::signal(daemon.pid(), libc::SIGTERM);
    let status = ended(&mut daemon, |_| {})?;
    ensure!(status.code() == Some(1), "{status}:\n{}", daemon.log());
    let log = daemon.log();
    ensure!(log.contains("queue-0 did not stop in 30 s"), "{log}");
    ensure!(
        log.contains("a queue did not stop in 30 s: what its devices had in flight was cut off"),
        "{log}"
    );
    ensure!(!log.contains(" stopped\n"), "it does not say that it stopped: {log}");
    // Nothing is in the way of the next one.
    let mut next = Setup::device("vol1=ram:1M").start(&dir).context("the next daemon")?;
    next.check_serves("vol1")
}

//! What only tells does not stop what works: a log that cannot be written, or that nobody reads.

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::Command;
use steadfast_tests::nbd::Client;
use steadfast_tests::{Daemon, Result, Setup, TempDir, run, steadfast};

/// A pipe of one page: the end that is read, the end that is written.
fn small_pipe() -> (File, OwnedFd) {
    let mut ends = [0; 2];
    // SAFETY: a place for two descriptors, which are nobody else's; the last call takes numbers.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        assert!(libc::fcntl(ends[1], libc::F_SETPIPE_SZ, 4096) >= 4096);
        (File::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    }
}

/// Clients that come and go: each brings about lines.
fn clients(daemon: &Daemon, count: usize) -> Result {
    for _ in 0..count {
        let mut client = Client::connect(daemon.nbd(), "vol0")?;
        assert!(client.read(0, 4096)?.is_ok());
    }
    Ok(())
}

#[test]
fn a_full_disk_under_the_log_costs_lines_and_nothing_else() -> Result {
    let dir = TempDir::new()?;
    let full = File::options().write(true).open("/dev/full")?;
    let mut daemon = Setup::device("vol0=ram:1M").log_to(full).start(&dir)?;
    clients(&daemon, 100)?;
    let health = daemon.api()?.get("/v1/health")?.1;
    assert_eq!(health["healthy"], true, "{health:#}");
    assert!(health["log"]["lost"].as_u64() > Some(3), "{health:#}");
    assert!(health["degraded"].as_str().is_some_and(|d| d.contains("log: No space left")), "{health:#}");
    assert_eq!(daemon.stop()?.code(), Some(0), "a clean stop");
    Ok(())
}

#[test]
fn a_reader_of_the_log_that_is_gone_costs_lines_and_nothing_else() -> Result {
    let dir = TempDir::new()?;
    let (read, write) = small_pipe();
    let mut daemon = Setup::device("vol0=ram:1M").log_to(write).start(&dir)?;
    drop(read);
    clients(&daemon, 100)?;
    let health = daemon.api()?.get("/v1/health")?.1;
    assert!(health["log"]["error"].as_str().is_some_and(|e| e.contains("Broken pipe")), "{health:#}");
    assert_eq!(daemon.stop()?.code(), Some(0), "a clean stop");
    Ok(())
}

#[test]
fn a_log_that_nobody_reads_stops_nothing_and_says_later_what_is_missing() -> Result {
    let dir = TempDir::new()?;
    let (mut read, write) = small_pipe();
    let mut daemon = Setup::device("vol0=ram:1M").log_to(write).start(&dir)?;
    // Far more than the pipe takes.
    clients(&daemon, 300)?;
    daemon.check_serves("vol0")?;
    // Nobody reads while it stops: it does not wait for that for ever.
    assert_eq!(daemon.stop()?.code(), Some(0), "a clean stop");
    let mut text = String::new();
    read.read_to_string(&mut text)?;
    assert!(text.contains("listening"), "{text}");
    Ok(())
}

#[test]
fn a_client_brings_about_so_many_lines_and_what_was_held_back_is_said() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = Setup::device("vol0=ram:1M").start(&dir)?;
    clients(&daemon, 1000)?;
    let health = daemon.api()?.get("/v1/health")?.1;
    assert!(health["log"]["limited"].as_u64() > Some(500), "{health:#}");
    assert_eq!(health["log"]["lost"], 0, "{health:#}");
    assert_eq!(daemon.stop()?.code(), Some(0));
    let log = daemon.log();
    let lines = log.lines().filter(|line| line.contains("client=#")).count();
    assert!(lines < 1000, "2000 lines or more would be said: {lines}");
    assert!(log.contains("lines of client unix") && log.contains("not written: too many"), "{log}");
    assert!(log.contains(" INFO stopped"), "nothing is lost at a clean stop: {log}");
    Ok(())
}

#[test]
fn the_log_has_a_form_for_programs_and_one_for_the_journal() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = Setup::device("vol0=ram:1M").arg("--log-format=json").start(&dir)?;
    clients(&daemon, 1)?;
    daemon.stop()?;
    let log = daemon.log();
    for line in log.lines() {
        let value: serde_json::Value = serde_json::from_str(line)?;
        assert!(value["time"].is_string() && value["level"].is_string(), "{line}");
        assert!(value["message"].is_string(), "{line}");
    }
    assert!(log.contains(r#""client":"#), "{log}");
    let dir = TempDir::new()?;
    let mut daemon = Setup::device("vol0=ram:1M").env("STEADFAST_LOG_FORMAT", "journal").start(&dir)?;
    daemon.stop()?;
    let log = daemon.log();
    assert!(log.lines().all(|line| line.starts_with("<6>")), "{log}");
    Ok(())
}

#[test]
fn a_command_whose_standard_error_is_gone_ends_with_its_own_code() -> Result {
    let full = File::options().write(true).open("/dev/full")?;
    let missing = ["--socket", "nowhere.sock", "device", "list"];
    let mut command = Command::new(steadfast()?);
    let status = command.args(missing).stderr(full).status()?;
    assert_eq!(status.code(), Some(1));
    let output = run(Command::new(steadfast()?).args(["serve", "--log-format=xml", "--check"]))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("xml") && text.contains("journal"), "what is allowed: {text}");
    Ok(())
}

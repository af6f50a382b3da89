//! Signals and limits of the process: none ends the daemon but those that ask for a clean stop.

use std::os::unix::net::UnixStream;
use std::process::Command;
use steadfast_tests::nbd::Client;
use steadfast_tests::process::signal;
use steadfast_tests::{Daemon, Result, Setup, TempDir, run, steadfast, until};

/// NBD's error for no space left.
const NO_SPACE: u32 = 28;

#[test]
fn no_signal_that_asks_for_nothing_ends_the_daemon() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = Setup::device("vol0=ram:1M").start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    // Those that are faults of the program when the kernel sends them, that cannot be caught, or that stop.
    let others = [
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGABRT,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGKILL,
        libc::SIGSEGV,
        libc::SIGSYS,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGQUIT,
    ];
    // 32 and 33 are the C library's own.
    for number in (1..=64).filter(|n| !others.contains(n) && ![32, 33].contains(n)) {
        signal(daemon.pid(), number);
        assert!(client.read(0, 4096)?.is_ok(), "after signal {number}");
        daemon.check_serves("vol0")?;
    }
    assert_eq!(daemon.stop()?.code(), Some(0));
    Ok(())
}

#[test]
fn sigquit_and_sigint_stop_cleanly() -> Result {
    for number in [libc::SIGQUIT, libc::SIGINT] {
        let dir = TempDir::new()?;
        let mut daemon = Setup::device("vol0=ram:1M").start(&dir)?;
        signal(daemon.pid(), number);
        assert_eq!(daemon.stopped()?.code(), Some(0), "signal {number}: {}", daemon.log());
        assert!(!daemon.control().exists() && daemon.log().contains("stopped"));
    }
    Ok(())
}

#[test]
fn another_signal_ends_a_stop_that_waits_at_once() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = Setup::device("vol0=hang:16M,ops=read,request_timeout=0").start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    client.send(0, 0, 0, 4096, &[])?;
    until("the request", || {
        let hung = daemon.device("vol0")?["in_flight"].as_u64().is_some_and(|count| count > 0);
        Ok(hung.then_some(()))
    })?;
    signal(daemon.pid(), libc::SIGTERM);
    let control = daemon.control().to_owned();
    let ended = || Ok(UnixStream::connect(&control).is_err().then_some(()));
    until("the end of the control API", ended)?;
    // What it waits for is known meanwhile, and that it is there.
    let status = daemon.cli(&["status"])?;
    let said = String::from_utf8_lossy(&status.stderr).into_owned();
    assert!(status.status.code() == Some(1) && said.contains("is stopping"), "{said}");
    daemon.logs("stop: waits for port vol0: 1 request, the oldest for")?;
    signal(daemon.pid(), libc::SIGINT);
    assert_eq!(daemon.stopped()?.code(), Some(1));
    daemon.logs("SIGINT: quitting at once")
}

#[test]
fn a_start_that_hangs_is_ended_by_a_signal() -> Result {
    let dir = TempDir::new()?;
    let mut daemon = Setup::device("vol0=hang:16M,at=prepare,for_ms=3600000").begin(&dir)?;
    // Bound before anything of the devices is looked at.
    until("the control socket", || Ok(daemon.control().exists().then_some(())))?;
    assert_eq!(daemon.stop()?.code(), Some(1));
    daemon.logs("the start does not get through within 1 s: quitting")
}

#[test]
fn sighup_rescans() -> Result {
    let dir = TempDir::new()?;
    let config = dir.join("c.toml");
    std::fs::write(&config, "[device.vol0]\ndriver = \"ram\"\ntarget = \"1M\"\n")?;
    let config = config.display().to_string();
    let mut daemon = Setup::default().arg("--config").arg(&config).start(&dir)?;
    let more = "[device.vol0]\ndriver = \"ram\"\ntarget = \"1M\"\n[device.vol1]\ndriver = \"ram\"\ntarget = \"1M\"\n";
    std::fs::write(&config, more)?;
    signal(daemon.pid(), libc::SIGHUP);
    let said = || Ok(daemon.log().contains("SIGHUP: 2 ports looked at, 1 changed").then_some(()));
    until("the rescan", said)?;
    daemon.check_serves("vol1")?;
    daemon.check_serves("vol0")
}

#[test]
fn a_write_past_the_limit_of_file_sizes_fails_for_its_client_alone() -> Result {
    let dir = TempDir::new()?;
    let disk = dir.disk("disk.img", 1 << 30)?;
    let mut daemon =
        Setup::device(format!("vol0=file:{}", disk.display())).and_device("vol1=ram:1M").start(&dir)?;
    limit_file_sizes(&daemon, 512 << 20);
    let mut client = Client::connect(daemon.nbd(), "vol0")?;
    let block = [7; 4096];
    assert!(client.write(0, &block, false)?.is_ok());
    assert_eq!(client.write(800 << 20, &block, false)?.err(), Some(NO_SPACE));
    assert!(client.write(4096, &block, true)?.is_ok(), "the same client goes on");
    daemon.check_serves("vol1")?;
    assert_eq!(daemon.stop()?.code(), Some(0));
    Ok(())
}

#[test]
fn a_limit_of_file_sizes_that_leaves_no_room_is_said_at_the_start() -> Result {
    let dir = TempDir::new()?;
    let serve = "ulimit -f 1024; exec \"$0\" serve --device vol0=ram:1M --control c.sock --store store";
    let mut shell = Command::new("sh");
    shell.args(["-c", serve]).arg(steadfast()?).current_dir(dir.path());
    let output = run(&mut shell)?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("RLIMIT_FSIZE") && text.contains("LimitFSIZE=infinity"), "{text}");
    Ok(())
}

/// Sets the soft limit of a running daemon.
fn limit_file_sizes(daemon: &Daemon, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a valid limit, and no place for the old one.
    let set = unsafe {
        libc::prlimit(daemon.pid() as i32, libc::RLIMIT_FSIZE, &raw const limit, std::ptr::null_mut())
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

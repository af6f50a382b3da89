//! Signals and limits of the process: none ends the daemon but those that ask for a clean stop.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use steadfast_tests::nbd::{Client, answers};
use steadfast_tests::process::signal;
use steadfast_tests::{Daemon, Peer, Result, Setup, TempDir, c_module, run, steadfast, until};

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

/// A file of a file system whose server is stopped and goes on, as one that is gone and comes back.
struct Fuse {
    folder: PathBuf,
    server: Peer,
}

impl Fuse {
    /// Shows the device of another daemon as a file.
    fn over(dir: &TempDir, lower: &Daemon, device: &str) -> Result<Fuse> {
        let folder = dir.join("fuse");
        std::fs::create_dir(&folder)?;
        let server = Peer::start(Command::new("nbdfuse").arg(&folder).arg(lower.uri(device)))?;
        let fuse = Fuse { folder, server };
        until("the file", || Ok(fuse.file().exists().then_some(())))?;
        Ok(fuse)
    }

    fn file(&self) -> PathBuf {
        self.folder.join("nbd")
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        signal(self.server.pid(), libc::SIGCONT);
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.folder));
    }
}

#[test]
fn a_stop_is_heard_while_a_rescan_waits_for_a_file_that_does_not_answer() -> Result {
    let below = TempDir::new()?;
    let lower = Setup::device("disk=ram:4M").start(&below)?;
    let dir = TempDir::new()?;
    let fuse = Fuse::over(&dir, &lower, "disk")?;
    let mut daemon = Setup::device(format!("vol0=file:{}", fuse.file().display()))
        .and_device("vol1=ram:1M")
        .start(&dir)?;
    daemon.check_serves("vol0")?;
    signal(fuse.server.pid(), libc::SIGSTOP);
    // What the kernel remembers of the file is forgotten after a second.
    std::thread::sleep(Duration::from_secs(2));
    signal(daemon.pid(), libc::SIGHUP);
    daemon.logs("does not answer: it is stuck")?;
    daemon.logs("SIGHUP: 2 ports looked at")?;
    daemon.check_serves("vol1")?;
    signal(daemon.pid(), libc::SIGHUP);
    std::thread::sleep(Duration::from_millis(100));
    signal(daemon.pid(), libc::SIGTERM);
    daemon.logs("SIGTERM: stopping")?;
    // Files are closed once their server answers, which the kernel waits for.
    signal(fuse.server.pid(), libc::SIGCONT);
    assert_eq!(daemon.stopped()?.code(), Some(0), "{}", daemon.log());
    Ok(())
}

#[test]
fn a_stop_ends_a_rescan_that_takes_long() -> Result {
    const PORTS: usize = 60;
    let dir = TempDir::new()?;
    let mut setup = Setup::default();
    let disks: Vec<_> = (0..PORTS).map(|n| dir.disk(&format!("{n}.img"), 1 << 20)).collect::<Result<_>>()?;
    for (n, disk) in disks.iter().enumerate() {
        setup = setup.and_device(format!("vol{n}=file:{}", disk.display()));
    }
    let mut daemon = setup.start(&dir)?;
    for disk in &disks {
        File::options().write(true).open(disk)?.set_len(2 << 20)?;
    }
    signal(daemon.pid(), libc::SIGHUP);
    until("the first is initialised anew", || {
        let receipts = daemon.api()?.get("/v1/receipts?limit=1")?.1;
        Ok(receipts.as_array().is_some_and(|all| !all.is_empty()).then_some(()))
    })?;
    signal(daemon.pid(), libc::SIGTERM);
    assert_eq!(daemon.stopped()?.code(), Some(0), "{}", daemon.log());
    let log = daemon.log();
    assert!(log.contains("it ended early, because the daemon stops"), "{log}");
    Ok(())
}

#[test]
fn a_hangup_before_it_is_ready_does_not_end_it() -> Result {
    let dir = TempDir::new()?;
    // Another daemon that is on its way out: this one waits for it.
    let state = dir.join("store/state");
    for folder in [dir.join("store"), state.clone()] {
        std::fs::create_dir(&folder)?;
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o700))?;
    }
    let lock = File::options().create(true).append(true).open(state.join("daemon.lock"))?;
    // SAFETY: a plain call on an open descriptor.
    assert_eq!(unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) }, 0);
    let mut command = Command::new(steadfast()?);
    command.args(["serve", "--device", "vol0=ram:1M", "--nbd", "unix:nbd.sock", "--control", "c.sock"]);
    command.args(["--store", "store"]).current_dir(dir.path());
    // Whoever runs the tests may pass over it.
    // SAFETY: a plain call that is allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGHUP, libc::SIG_DFL);
            Ok(())
        })
    };
    let mut daemon = Peer::start(&mut command)?;
    until("it passes over signals", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = u64::from_str_radix(ignored.unwrap_or_default().trim(), 16)?;
        Ok((ignored & 1 << (libc::SIGUSR1 - 1) != 0).then_some(()))
    })?;
    signal(daemon.pid(), libc::SIGHUP);
    drop(lock);
    until("it serves", || {
        anyhow::ensure!(!daemon.ended(), "a hangup ended it");
        Ok(answers(&dir.join("nbd.sock")).then_some(()))
    })
}

#[test]
fn a_second_signal_ends_it_at_once_and_runs_nothing_of_a_module() -> Result {
    let dir = TempDir::new()?;
    let (mark, source) = (dir.join("destructor-ran"), dir.join("marks.c"));
    let live = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/runtime/tests/live.c");
    let code = format!(
        "#include \"{}\"\n#include <fcntl.h>\n__attribute__((destructor)) static void gone(void)\n\
         {{ (void)!creat(\"{}\", 0600); }}\n",
        live.display(),
        mark.display()
    );
    std::fs::write(&source, code)?;
    let module = c_module(&dir, &source.display().to_string(), "marks", &[])?;
    let mut daemon = Setup::device("hung=hang:8M,ops=write,hand_back=false")
        .and_device(format!("vol1={}", module.display()))
        .start(&dir)?;
    let mut client = Client::connect(daemon.nbd(), "hung")?;
    client.send(1, 0, 0, 4096, &[7; 4096])?;
    until("the request hangs", || Ok((daemon.device("hung")?["in_flight"] == 1).then_some(())))?;
    // What it left when it was mapped elsewhere to be looked at.
    let _ = std::fs::remove_file(&mark);
    signal(daemon.pid(), libc::SIGTERM);
    daemon.logs("SIGTERM: stopping")?;
    // It is past all that is asked of it by now, and waits for the request.
    until("the control socket goes", || Ok(daemon.api().is_err().then_some(())))?;
    signal(daemon.pid(), libc::SIGINT);
    daemon.logs("SIGINT: quitting at once")?;
    assert_eq!(daemon.stopped()?.code(), Some(1));
    assert!(!mark.exists(), "threads may be inside the module");
    Ok(())
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

//! The daemon's sockets: whose they are, who may connect, and what becomes of them when a daemon dies or stops.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use steadfast_tests::nbd::{self, Client};
use steadfast_tests::{Result, Setup, TempDir, process, steadfast};

/// Longest that anything may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A daemon with one device and nothing of what tests otherwise do around it: its sockets are not touched before.
struct Bare(Child);

impl Bare {
    fn start(dir: &TempDir, name: &str, args: &[&str]) -> Result<Bare> {
        Bare::command(Command::new(steadfast()?), dir, name, args)
    }

    fn command(mut command: Command, dir: &TempDir, name: &str, args: &[&str]) -> Result<Bare> {
        let log = File::options().create(true).append(true).open(dir.join("log"))?;
        let child = command
            .args(["serve", "--device", &format!("{name}=ram:1M"), "--store", &format!("store-{name}")])
            .args(args)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Bare(child))
    }

    fn serves(&mut self, socket: &Path, name: &str) -> Result {
        let begin = Instant::now();
        while !Client::connect(socket, name).is_ok_and(|mut c| matches!(c.read(0, 512), Ok(Ok(_)))) {
            if let Some(status) = self.0.try_wait()? {
                let log = socket.with_file_name("log");
                panic!("the daemon ended, {status}:\n{}", std::fs::read_to_string(log)?);
            }
            assert!(begin.elapsed() < LIMIT, "{name} is not served");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn stop(mut self) -> Result {
        process::signal(self.0.id(), libc::SIGTERM);
        assert_eq!(self.0.wait()?.code(), Some(0), "a clean stop");
        Ok(())
    }

    fn kill(mut self) -> Result {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_stop_leaves_another_daemons_sockets_alone() -> Result {
    let dir = TempDir::new()?;
    let nbd = dir.join("nbd.sock");
    let mut first = Bare::start(&dir, "a", &["--control", "a.sock", "--nbd", "unix:nbd.sock"])?;
    first.serves(&nbd, "a")?;
    std::fs::remove_file(&nbd)?;
    let mut second = Bare::start(&dir, "b", &["--control", "b.sock", "--nbd", "unix:nbd.sock"])?;
    second.serves(&nbd, "b")?;
    first.stop()?;
    second.serves(&nbd, "b")?;
    second.stop()?;
    assert!(!nbd.exists(), "its own socket goes with it");
    Ok(())
}

#[test]
fn a_restart_right_after_a_kill_is_never_refused() -> Result {
    let dir = TempDir::new()?;
    let nbd = dir.join("nbd.sock");
    let args = ["--control", "a.sock", "--nbd", "unix:nbd.sock", "--nbd", "tcp:127.0.0.1:0"];
    for _ in 0..12 {
        let mut daemon = Bare::start(&dir, "a", &args)?;
        daemon.serves(&nbd, "a")?;
        // Clients of both kinds are there when it dies.
        let _client = Client::connect(&nbd, "a")?;
        let _looking = UnixStream::connect(dir.join("a.sock"))?;
        daemon.kill()?;
    }
    Ok(())
}

#[test]
fn a_live_daemons_sockets_are_not_taken() -> Result {
    let dir = TempDir::new()?;
    let nbd = dir.join("nbd.sock");
    let mut first = Bare::start(&dir, "a", &["--control", "a.sock", "--nbd", "unix:nbd.sock"])?;
    first.serves(&nbd, "a")?;
    for (control, nbd) in [("a.sock", "other.sock"), ("b.sock", "nbd.sock")] {
        let address = format!("unix:{nbd}");
        let mut second = Bare::start(&dir, "b", &["--control", control, "--nbd", &address])?;
        assert_eq!(second.0.wait()?.code(), Some(1), "{control}, {nbd}");
    }
    first.serves(&nbd, "a")
}

#[test]
fn what_a_server_in_the_background_serves_is_not_taken() -> Result {
    let dir = TempDir::new()?;
    for (place, control, nbd) in [("n", "free", "unix:n"), ("c", "c", "unix:free.nbd")] {
        // The process that begins to listen ends, as that of a server does that goes to the background; its child,
        // here this test, has the socket.
        let served = UnixListener::bind(dir.join(place))?;
        let inode = std::fs::symlink_metadata(dir.join(place))?.ino();
        let (fd, mut parent) = (served.as_raw_fd(), Command::new("true"));
        // SAFETY: one system call, on a number.
        unsafe {
            parent.pre_exec(move || match libc::listen(fd, 128) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            })
        };
        assert!(parent.status()?.success());
        let mut daemon = Bare::start(&dir, "a", &["--control", control, "--nbd", nbd])?;
        assert_eq!(daemon.0.wait()?.code(), Some(1), "{place} is taken");
        assert_eq!(std::fs::symlink_metadata(dir.join(place))?.ino(), inode, "{place} is as it was");
    }
    Ok(())
}

#[test]
fn nobody_keeps_a_daemon_from_starting_by_locking_a_file_that_can_be_read() -> Result {
    let dir = TempDir::new()?;
    let nbd = dir.join("nbd.sock");
    // As an older daemon has left it.
    let lock = dir.join("a.sock.lock");
    std::fs::write(&lock, "")?;
    std::fs::set_permissions(&lock, std::fs::Permissions::from_mode(0o644))?;
    let stranger = File::open(&lock)?;
    // SAFETY: `flock` takes no pointer; the descriptor is open.
    assert_eq!(unsafe { libc::flock(stranger.as_raw_fd(), libc::LOCK_EX) }, 0);
    let mut daemon = Bare::start(&dir, "a", &["--control", "a.sock", "--nbd", "unix:nbd.sock"])?;
    daemon.serves(&nbd, "a")?;
    assert_eq!(std::fs::metadata(&lock)?.mode() & 0o777, 0o600);
    Ok(())
}

#[test]
fn sockets_are_for_whom_it_is_said_whatever_the_umask() -> Result {
    let dir = TempDir::new()?;
    let (nbd, control) = (dir.join("nbd.sock"), dir.join("a.sock"));
    let sockets = ["--control", "a.sock", "--nbd", "unix:nbd.sock"];
    let group = std::fs::metadata(dir.path())?.gid().to_string();
    for (more, mode) in [
        (vec![], 0o600),
        (vec!["--nbd-mode", "0666", "--control-mode", "0666"], 0o666),
        (vec!["--nbd-group", &group, "--control-group", &group], 0o660),
    ] {
        let mut wide = Command::new("sh");
        wide.args(["-c", "umask 000; exec \"$0\" \"$@\""]).arg(steadfast()?);
        let mut daemon = Bare::command(wide, &dir, "a", &[&sockets[..], &more[..]].concat())?;
        daemon.serves(&nbd, "a")?;
        for socket in [&nbd, &control] {
            let meta = std::fs::metadata(socket)?;
            assert_eq!(meta.mode() & 0o777, mode, "{}, {more:?}", socket.display());
            assert_eq!(meta.gid().to_string(), group);
        }
        daemon.stop()?;
    }
    Ok(())
}

/// A daemon that was started with these sockets, in this order.
fn activated(dir: &TempDir, sockets: &[&UnixListener], names: &str, args: &[&str]) -> Result<Bare> {
    let mut command = Command::new("sh");
    command.args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\""]).arg(steadfast()?);
    command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names);
    let given: Vec<i32> = sockets.iter().map(|socket| socket.as_raw_fd()).collect();
    // SAFETY: the child makes system calls on numbers only.
    unsafe {
        command.pre_exec(move || {
            let mut copies = [0; 8];
            for (copy, fd) in copies.iter_mut().zip(&given) {
                *copy = libc::fcntl(*fd, libc::F_DUPFD, 100);
            }
            for (place, copy) in (3..).zip(&copies[..given.len()]) {
                libc::dup2(*copy, place);
                libc::close(*copy);
            }
            Ok(())
        });
    }
    Bare::command(command, dir, "a", args)
}

#[test]
fn sockets_of_a_service_manager_are_served_and_stay_through_a_restart() -> Result {
    let dir = TempDir::new()?;
    let (nbd, control) = (dir.join("nbd.sock"), dir.join("control.sock"));
    let sockets = [&UnixListener::bind(&control)?, &UnixListener::bind(&nbd)?];
    let cli = || {
        let mut command = Command::new(steadfast()?);
        steadfast_tests::run(command.arg("--socket").arg(&control).args(["device", "list"]))
    };
    // Also where the configuration names the same places.
    let same = ["--control", "control.sock", "--nbd", "unix:nbd.sock"];
    for args in [&[][..], &same, &same[2..]] {
        // Whoever comes too early waits, and is not refused.
        let early = UnixStream::connect(&nbd)?;
        let mut daemon = activated(&dir, &sockets, "control:nbd", args)?;
        daemon.serves(&nbd, "a")?;
        let listed = cli()?;
        assert!(listed.status.success() && String::from_utf8_lossy(&listed.stdout).contains("1 MiB"));
        daemon.stop()?;
        drop(early);
        assert!(nbd.exists() && control.exists(), "they are not the daemon's to remove");
    }
    // Elsewhere would be served by nobody; addresses of NBD are served beside those that were passed on.
    let mut daemon = activated(&dir, &sockets, "control:nbd", &["--control", "other.sock"])?;
    assert_eq!(daemon.0.wait()?.code(), Some(1));
    let log = std::fs::read_to_string(dir.join("log"))?;
    assert!(log.contains("other.sock is configured") && log.contains("ListenStream="), "{log}");
    let mut daemon = activated(&dir, &sockets, "control:nbd", &["--nbd", "unix:more.sock"])?;
    daemon.serves(&nbd, "a")?;
    daemon.serves(&dir.join("more.sock"), "a")?;
    daemon.stop()?;
    for (names, says) in
        [("control:what", "`what`"), ("control", "LISTEN_FDNAMES"), ("control:control", "already")]
    {
        let mut daemon = activated(&dir, &sockets, names, &[])?;
        assert_eq!(daemon.0.wait()?.code(), Some(1), "{names}");
        let log = std::fs::read_to_string(dir.join("log"))?;
        assert!(log.lines().rev().any(|line| line.contains(says)), "{names}: {log}");
    }
    Ok(())
}

#[test]
fn every_address_of_a_host_is_listened_on_and_a_wildcard_has_a_uri_that_works() -> Result {
    let dir = TempDir::new()?;
    let args = |address: &str| Setup::device("vol0=ram:1M").arg("--nbd").arg(address.to_owned());
    let v6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    let mut addresses = vec!["tcp:0.0.0.0:0", "tcp:localhost:0"];
    if v6 {
        addresses.push("tcp:[::]:0");
    } else {
        println!("skipped: [::], as this machine does without IPv6");
    }
    for address in addresses {
        let daemon = args(address).start(&dir)?;
        let uris = daemon.device("vol0")?["uris"].clone();
        let tcp: Vec<_> = uris.as_array().into_iter().flatten().filter_map(|u| u.as_str()).collect();
        let tcp: Vec<_> = tcp.into_iter().filter(|uri| uri.starts_with("nbd://")).collect();
        assert!(!tcp.is_empty(), "{address}: {uris}");
        for uri in tcp {
            let size = steadfast_tests::ok(Command::new("nbdinfo").arg("--size").arg(uri))?;
            assert_eq!(size.trim(), (1 << 20).to_string(), "{uri}");
        }
    }
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=ram:1M").start(&dir)?;
    assert!(nbd::answers(daemon.nbd()));
    Ok(())
}

#[test]
fn the_unit_files_are_what_the_daemon_understands() -> Result {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/systemd"));
    let read = |name: &str| -> Result<String> { Ok(std::fs::read_to_string(folder.join(name))?) };
    let service = read("steadfast.service")?;
    let start = service.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/steadfast serve "));
    let help = steadfast_tests::ok(Command::new(steadfast()?).args(["serve", "--help"]))?;
    for option in start.expect("what is started").split(' ').filter(|word| word.starts_with("--")) {
        assert!(help.contains(option), "{option} is no option of `steadfast serve`");
    }
    assert!(service.contains("Type=notify"), "the daemon says when it is ready");
    for (unit, name) in [("steadfast-control.socket", "control"), ("steadfast-nbd.socket", "nbd")] {
        let socket = read(unit)?;
        assert!(socket.contains(&format!("FileDescriptorName={name}\n")) && service.contains(unit), "{unit}");
        assert!(socket.contains("Service=steadfast.service") && socket.contains("SocketMode=0600"), "{unit}");
    }
    // systemd itself is asked where it is installed.
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("skipped: systemd-analyze verify, which is not installed");
        return Ok(());
    }
    let copy = TempDir::new()?;
    for unit in ["steadfast.service", "steadfast-control.socket", "steadfast-nbd.socket"] {
        let here = steadfast()?;
        let text = read(unit)?.replace("/usr/bin/steadfast", &here.to_string_lossy());
        std::fs::write(copy.join(unit), text)?;
    }
    let output = steadfast_tests::run(Command::new("systemd-analyze").args(["verify", "--man=no"]).args([
        copy.join("steadfast.service"),
        copy.join("steadfast-control.socket"),
        copy.join("steadfast-nbd.socket"),
    ]))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("steadfast")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
    Ok(())
}

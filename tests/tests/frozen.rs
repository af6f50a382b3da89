//! A file whose file system does not answer: its own trouble, and nobody else's.

use anyhow::{Context, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use steadfast_tests::nbd::{Client, command};
use steadfast_tests::process::footprint;
use steadfast_tests::{Daemon, Result, Setup, TempDir};

const BLOCK: usize = 4096;
/// For what must come; far longer than it takes.
const LONG: Duration = Duration::from_secs(60);

fn run(program: &str, args: &[&str]) -> Result {
    let done = Command::new(program).args(args).output().with_context(|| format!("{program} cannot run"))?;
    ensure!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// A file system of its own, in a file, that can be frozen: writes to it then wait in the kernel.
struct Freezer {
    place: PathBuf,
    frozen: bool,
}

impl Freezer {
    /// `None`, and said by name, where nobody may mount anything.
    fn new(dir: &TempDir) -> Result<Option<Freezer>> {
        // SAFETY: takes nothing and always succeeds.
        if unsafe { libc::geteuid() } != 0 || !Path::new("/dev/loop-control").exists() {
            println!("skipped: freezing a file system takes root and loop devices");
            return Ok(None);
        }
        let (image, place) = (dir.disk("frozen.fs", 64 << 20)?, dir.join("frozen"));
        std::fs::create_dir(&place)?;
        run("mkfs.ext4", &["-q", &image.display().to_string()])?;
        run("mount", &["-o", "loop", &image.display().to_string(), &place.display().to_string()])?;
        Ok(Some(Freezer { place, frozen: false }))
    }

    fn disk(&self, name: &str) -> Result<PathBuf> {
        let path = self.place.join(name);
        std::fs::File::create(&path)?.set_len(16 << 20)?;
        Ok(path)
    }

    fn turn(&mut self, on: bool) -> Result {
        run("fsfreeze", &[if on { "-f" } else { "-u" }, &self.place.display().to_string()])?;
        self.frozen = on;
        Ok(())
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        if self.frozen {
            let _ = self.turn(false);
        }
        let begin = Instant::now();
        while run("umount", &[&self.place.display().to_string()]).is_err() && begin.elapsed() < LONG {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Writes one block on a thread of its own; the NBD error of the answer, 0 for none.
fn writes(daemon: &Daemon, device: &str, offset: u64, byte: u8) -> Result<Receiver<u32>> {
    let mut client = Client::connect(daemon.nbd(), device)?;
    let (tx, rx) = channel();
    std::thread::spawn(move || {
        if let Ok(answer) = client.write(offset, &[byte; BLOCK], false) {
            let _ = tx.send(answer.err().unwrap_or(0));
        }
    });
    Ok(rx)
}

/// What the API says hangs behind a device.
fn hangs(daemon: &Daemon, device: &str) -> Result<Option<Value>> {
    let troubles = daemon.device(device)?["troubles"].clone();
    Ok(troubles.as_array().and_then(|all| all.iter().find(|t| t["code"] == "hangs").cloned()))
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(begin.elapsed() < LONG, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_frozen_file_stops_nobody_else_and_its_port_says_so() -> Result {
    let dir = TempDir::new()?;
    let Some(mut freezer) = Freezer::new(&dir)? else { return Ok(()) };
    let (frozen, good) = (freezer.disk("a.img")?, dir.disk("b.img", 16 << 20)?);
    // One queue for all.
    let mut daemon = Setup::device(format!("a=file:{},direct=true", frozen.display()))
        .and_device(format!("c=file:{}", freezer.disk("c.img")?.display()))
        .and_device(format!("b=file:{}", good.display()))
        .start(&dir)?;
    for device in ["a", "b", "c"] {
        assert_eq!(writes(&daemon, device, 0, 1)?.recv_timeout(LONG), Ok(0));
    }
    freezer.turn(true)?;
    // More than the helpers that a file has, in each way that a file can be asked.
    let hung: Vec<_> = (0..20)
        .map(|n| writes(&daemon, if n % 2 == 0 { "a" } else { "c" }, 4096 * (n + 1), 2))
        .collect::<Result<_>>()?;
    // Others go on, old connections and new ones.
    for n in 0..20 {
        assert_eq!(writes(&daemon, "b", 4096 * n, 3)?.recv_timeout(LONG), Ok(0), "{}", daemon.log());
    }
    daemon.check_serves("b")?;
    // What is only read is served from the frozen file system too.
    daemon.check_serves("a")?;
    for device in ["a", "c"] {
        let trouble = wait_for("it is said that it hangs", || hangs(&daemon, device))?;
        assert!(trouble["detail"].as_str().is_some_and(|d| d.contains("a write has been in the kernel")));
    }
    assert_eq!(hangs(&daemon, "b")?, None);
    let health = daemon.api()?.get("/v1/health")?.1;
    assert_eq!(health["healthy"], false, "{health:#}");
    let logged = || daemon.log().contains("it hangs, or is very slow").then_some(());
    wait_for("the log says it", || Ok(logged()))?;
    freezer.turn(false)?;
    for answer in hung {
        assert_eq!(answer.recv_timeout(LONG), Ok(0), "it is written once the file system goes on");
    }
    wait_for("it is well again", || Ok(hangs(&daemon, "a")?.is_none().then_some(())))?;
    assert_eq!(daemon.stop()?.code(), Some(0), "{}", daemon.log());
    Ok(())
}

#[test]
fn requests_that_hang_are_answered_and_nothing_late_overtakes_what_comes_after() -> Result {
    let dir = TempDir::new()?;
    let Some(mut freezer) = Freezer::new(&dir)? else { return Ok(()) };
    for direct in [false, true] {
        let disk = freezer.disk("a.img")?;
        let spec = format!("a=file:{},direct={direct},request_timeout=1", disk.display());
        let mut daemon = Setup::device(spec).start(&dir)?;
        assert_eq!(writes(&daemon, "a", 0, 1)?.recv_timeout(LONG), Ok(0));
        freezer.turn(true)?;
        let hung: Vec<_> = (0..12).map(|n| writes(&daemon, "a", 4096 * n, 2)).collect::<Result<_>>()?;
        for answer in hung {
            assert!(answer.recv_timeout(LONG)? != 0, "answered with an error: {}", daemon.log());
        }
        // Whoever tries again at once is not overtaken by the first attempt once the file system goes on.
        let again = writes(&daemon, "a", 0, 3)?;
        std::thread::sleep(Duration::from_millis(300));
        freezer.turn(false)?;
        let answer = again.recv_timeout(LONG)?;
        let mut client = Client::connect(daemon.nbd(), "a")?;
        wait_for("it serves again", || Ok(client.write(4096, &[4; BLOCK], false)?.ok()))?;
        let first = client.read(0, BLOCK as u32)?.expect("read")[0];
        assert!(first == 3 || answer != 0, "the answer was {answer}, and the block holds {first}");
        assert_eq!(daemon.stop()?.code(), Some(0), "{}", daemon.log());
    }
    Ok(())
}

#[test]
fn a_daemon_ends_and_a_device_goes_although_a_file_hangs() -> Result {
    let dir = TempDir::new()?;
    let Some(mut freezer) = Freezer::new(&dir)? else { return Ok(()) };
    let (a, c, good) = (freezer.disk("a.img")?, freezer.disk("c.img")?, dir.disk("b.img", 16 << 20)?);
    let mut daemon = Setup::device(format!("a=file:{}", a.display()))
        .and_device(format!("c=file:{},direct=true", c.display()))
        .and_device(format!("b=file:{}", good.display()))
        .start(&dir)?;
    freezer.turn(true)?;
    let hung: Vec<_> =
        ["a", "c", "a"].iter().map(|device| writes(&daemon, device, 0, 2)).collect::<Result<_>>()?;
    for device in ["a", "c"] {
        wait_for("it is said that it hangs", || hangs(&daemon, device))?;
    }
    let removed = daemon.cli(&["device", "remove", "a", "--force"])?;
    assert!(removed.status.success(), "{removed:?}\n{}", daemon.log());
    daemon.check_serves("b")?;
    // With the file system still frozen: what hangs is left behind.
    assert_eq!(daemon.stop()?.code(), Some(0), "{}", daemon.log());
    drop(hung);
    // Its sockets and its locks are free; the file is not, as long as it may be written to.
    let mut next = Setup::device(format!("b=file:{}", good.display())).start(&dir)?;
    next.check_serves("b")?;
    let refused = next.cli(&["device", "add", &format!("c=file:{}", c.display())])?;
    assert!(!refused.status.success(), "{refused:?}");
    freezer.turn(false)?;
    wait_for("the file is free", || {
        Ok(next.cli(&["device", "add", &format!("c=file:{}", c.display())])?.status.success().then_some(()))
    })?;
    assert_eq!(next.stop()?.code(), Some(0), "{}", next.log());
    Ok(())
}

#[test]
fn a_start_waits_for_no_file_that_cannot_be_written() -> Result {
    let dir = TempDir::new()?;
    let Some(mut freezer) = Freezer::new(&dir)? else { return Ok(()) };
    let mut setup = Setup::device(format!("b=file:{}", dir.disk("b.img", 16 << 20)?.display()));
    // One after the other, each given up at its deadline, they would take longer than a test waits for a start.
    for name in ["f0", "f1", "f2", "f3"] {
        let disk = freezer.disk(name)?;
        setup = setup.and_device(format!("{name}=file:{},required=false,retry=never", disk.display()));
    }
    freezer.turn(true)?;
    let mut daemon = setup.start(&dir)?;
    daemon.check_serves("b")?;
    let absent = daemon.device("f3")?["absent"].to_string();
    assert!(absent.contains("does not answer"), "{absent}");
    freezer.turn(false)?;
    let again = daemon.cli(&["rescan", "f3"])?;
    assert!(again.status.success(), "{again:?}\n{}", daemon.log());
    assert_eq!(writes(&daemon, "f3", 0, 1)?.recv_timeout(LONG), Ok(0));
    assert_eq!(daemon.stop()?.code(), Some(0), "{}", daemon.log());
    Ok(())
}

#[test]
fn requests_that_are_called_off_behind_a_hang_leave_nothing_that_grows() -> Result {
    let dir = TempDir::new()?;
    let Some(mut freezer) = Freezer::new(&dir)? else { return Ok(()) };
    let (frozen, good) = (freezer.disk("a.img")?, dir.disk("b.img", 16 << 20)?);
    // One queue for both.
    let mut daemon = Setup::device(format!("a=file:{},request_timeout=1", frozen.display()))
        .and_device(format!("b=file:{}", good.display()))
        .start(&dir)?;
    let mut clients = (0..6).map(|_| Client::connect(daemon.nbd(), "a")).collect::<Result<Vec<_>>>()?;
    freezer.turn(true)?;
    let mut settled = 0;
    for period in 0..12 {
        for (place, client) in (0..).zip(&mut clients) {
            // Apart from each other: what touches would be one operation of its driver.
            for n in 0..80 {
                client.send(command::WRITE, 0, (place * 80 + n) * 3 * 4096, BLOCK as u32, &[2; BLOCK])?;
            }
        }
        assert_eq!(writes(&daemon, "b", 0, 3)?.recv_timeout(LONG), Ok(0), "{}", daemon.log());
        for client in &mut clients {
            for _ in 0..80 {
                assert_ne!(client.receive()?.1, 0, "answered with an error");
            }
        }
        let now = footprint(daemon.pid())?.anonymous;
        if period < 3 {
            settled = now;
        }
        // Records of all of them would be half a megabyte in each period.
        assert!(now < settled + (2 << 20), "{settled} bytes, and {now} after period {period}");
    }
    freezer.turn(false)?;
    drop(clients);
    assert_eq!(daemon.stop()?.code(), Some(0), "{}", daemon.log());
    Ok(())
}

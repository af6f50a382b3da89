//! A file whose server does not answer: what asks about it gets an answer all the same, and nobody else waits.

use anyhow::bail;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use steadfast_tests::api::Api;
use steadfast_tests::nbd::Client;
use steadfast_tests::{Daemon, Peer, Result, Setup, TempDir, ok, run, steadfast};

/// For what must come; far longer than it takes.
const LONG: Duration = Duration::from_secs(60);
/// The kernel takes its own word for a file's attributes for a second.
const FORGOTTEN: Duration = Duration::from_millis(1500);

/// A file that a process serves, which can be made to answer nothing.
struct Served {
    folder: PathBuf,
    server: Peer,
}

impl Served {
    /// `None`, and said by name, where nobody may mount anything.
    fn new(dir: &TempDir) -> Result<Option<Served>> {
        // SAFETY: takes nothing and always succeeds.
        if unsafe { libc::geteuid() } != 0 || !Path::new("/dev/fuse").exists() {
            println!("skipped: a file system of one's own takes root and FUSE");
            return Ok(None);
        }
        let folder = dir.join("served");
        std::fs::create_dir(&folder)?;
        let mut command = Command::new("nbdfuse");
        command.arg(&folder).args(["--command", "nbdkit", "-s", "--exit-with-parent", "memory", "16M"]);
        let served = Served { server: Peer::start(&mut command)?, folder };
        let begin = Instant::now();
        while !served.file().exists() {
            if begin.elapsed() > LONG {
                bail!("nbdfuse shows no {}", served.file().display());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Some(served))
    }

    /// A daemon with this file as `stuck` and another one as `good`.
    fn beside(&self, good: &Path) -> Setup {
        Setup::device(format!("stuck=file:{}", self.file().display()))
            .and_device(format!("good=file:{}", good.display()))
    }

    fn file(&self) -> PathBuf {
        self.folder.join("nbd")
    }

    fn answers(&self, yes: bool) {
        let signal = if yes { libc::SIGCONT } else { libc::SIGSTOP };
        // SAFETY: a child of this process that has not been reaped.
        unsafe { libc::kill(self.server.pid() as i32, signal) };
        if !yes {
            std::thread::sleep(FORGOTTEN);
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.answers(true);
        let _ = ok(Command::new("umount").arg("--lazy").arg(&self.folder));
    }
}

#[test]
fn what_asks_about_a_file_that_does_not_answer_is_answered_and_nobody_else_waits() -> Result {
    let dir = TempDir::new()?;
    let Some(served) = Served::new(&dir)? else { return Ok(()) };
    let good = dir.disk("good.img", 16 << 20)?;
    let mut daemon = served.beside(&good).start(&dir)?;
    served.answers(false);
    let socket = daemon.control().to_owned();
    let asking =
        std::thread::spawn(move || Api::connect(&socket)?.post("/v1/rescan", &json!({ "port": "stuck" })));
    let (begin, mut others) = (Instant::now(), 0);
    // At least once while it is asked, and as often as there is time for.
    while others == 0 || !asking.is_finished() {
        daemon.check_serves("good")?;
        let (status, _) = daemon.api()?.get("/v1/health")?;
        assert!(status == 200 || status == 503, "{status}");
        assert_eq!(daemon.device("good")?["state"], "running");
        others += 1;
        assert!(begin.elapsed() < LONG, "no answer\n{}", daemon.log());
    }
    let (status, answer) = asking.join().expect("no panic")?;
    let text = answer.to_string();
    assert!(text.contains("does not answer") && text.contains("nbd"), "{status}: {text}");
    served.answers(true);
    daemon.check_serves("stuck")?;
    Ok(())
}

#[test]
fn a_start_and_an_addition_wait_for_no_file_that_hangs() -> Result {
    let dir = TempDir::new()?;
    let Some(served) = Served::new(&dir)? else { return Ok(()) };
    let (file, good) = (served.file(), dir.disk("good.img", 16 << 20)?);
    served.answers(false);
    let mut setup = Setup::device(format!("stuck=file:{},required=false,retry=never", file.display()))
        .and_device(format!("good=file:{}", good.display()));
    // One after the other they would take longer than a test waits for a start.
    for number in 0..20 {
        let direct = number % 2 == 0;
        setup = setup.and_device(format!(
            "stuck{number}=file:{},direct={direct},required=false,retry=never",
            file.display()
        ));
    }
    let mut daemon = setup.start(&dir)?;
    daemon.check_serves("good")?;
    let stuck = daemon.device("stuck")?;
    assert_eq!(stuck["state"], "absent", "{stuck:#}");
    let reason = stuck["absent"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("does not answer") && reason.contains("nbd"), "{reason}");
    assert!(Client::connect(daemon.nbd(), "stuck").is_err(), "nobody gets it");
    let added = daemon.cli(&["device", "add", &format!("more=file:{}", file.display())])?;
    let said = String::from_utf8_lossy(&added.stderr).into_owned();
    assert!(!added.status.success() && said.contains("does not answer"), "{said}");
    daemon.check_serves("good")?;
    served.answers(true);
    let again = daemon.cli(&["rescan", "stuck"])?;
    assert!(again.status.success(), "{again:?}\n{}", daemon.log());
    daemon.check_serves("stuck")?;
    assert_eq!(daemon.stop()?.code(), Some(0), "{}", daemon.log());
    // What is configured is checked within the same time.
    served.answers(false);
    let device = format!("stuck=file:{}", file.display());
    let checked = run(Command::new(steadfast()?).args(["serve", "--check", "--device", &device]))?;
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(!checked.status.success() && said.contains("does not answer"), "{said}");
    Ok(())
}

#[test]
fn a_file_that_hangs_is_said_to_although_nobody_reads_it() -> Result {
    let dir = TempDir::new()?;
    let Some(served) = Served::new(&dir)? else { return Ok(()) };
    let good = dir.disk("good.img", 16 << 20)?;
    let mut daemon = served.beside(&good).start(&dir)?;
    served.answers(false);
    let hangs = |daemon: &Daemon| -> Result<bool> {
        let device = daemon.device("stuck")?;
        let troubles = device["troubles"].as_array().cloned().unwrap_or_default();
        Ok(troubles.iter().any(|t| t["code"] == "hangs" && t["target"].to_string().contains("nbd")))
    };
    wait_for(&daemon, true, hangs)?;
    daemon.logs("it hangs, or is very slow")?;
    let status = daemon.cli(&["status"])?;
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(!status.status.success() && said.contains("stuck") && said.contains("hangs"), "{said}");
    for words in [["device", "list"], ["device", "show"], ["port", "list"]] {
        let mut words = words.to_vec();
        words.extend((words[1] == "show").then_some("stuck"));
        let shown = daemon.cli(&words)?;
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.status.success() && text.contains("stuck"), "{shown:?}");
    }
    assert_eq!(daemon.device("good")?["troubles"], json!([]));
    // Whoever connects is told what is known of it, and waits for nothing of the file.
    assert_eq!(Client::connect(daemon.nbd(), "stuck")?.size, 16 << 20);
    daemon.check_serves("good")?;
    served.answers(true);
    wait_for(&daemon, false, hangs)?;
    daemon.check_serves("stuck")?;
    assert_eq!(daemon.stop()?.code(), Some(0), "{}", daemon.log());
    Ok(())
}

#[test]
fn a_removal_and_a_stop_wait_for_no_file_that_hangs() -> Result {
    let dir = TempDir::new()?;
    let Some(served) = Served::new(&dir)? else { return Ok(()) };
    let good = dir.disk("good.img", 16 << 20)?;
    let mut daemon = served.beside(&good).start(&dir)?;
    served.answers(false);
    let removed = daemon.cli(&["device", "remove", "stuck", "--force"])?;
    assert!(removed.status.success(), "{removed:?}\n{}", daemon.log());
    daemon.check_serves("good")?;
    assert_eq!(daemon.stop()?.code(), Some(0), "{}", daemon.log());
    served.answers(true);
    // Elsewhere: there it is remembered that one was removed.
    let other = TempDir::new()?;
    let mut daemon = served.beside(&good).start(&other)?;
    served.answers(false);
    assert_eq!(daemon.stop()?.code(), Some(0), "{}", daemon.log());
    served.answers(true);
    Ok(())
}

fn wait_for(daemon: &Daemon, wanted: bool, look: impl Fn(&Daemon) -> Result<bool>) -> Result {
    let begin = Instant::now();
    while look(daemon)? != wanted {
        if begin.elapsed() > LONG {
            bail!("it is never said to be {wanted}\n{}", daemon.log());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

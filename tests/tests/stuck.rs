//! A file whose server does not answer: what asks about it gets an answer all the same, and nobody else waits.

use anyhow::bail;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use steadfast_tests::api::Api;
use steadfast_tests::{Peer, Result, Setup, TempDir, ok};

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
    let mut daemon = Setup::device(format!("stuck=file:{}", served.file().display()))
        .and_device(format!("good=file:{}", good.display()))
        .start(&dir)?;
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

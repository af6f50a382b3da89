//! Which drivers are called on a queue's own thread within the pause, as a driver sees it that says so.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use steadfast_tests::{Daemon, Result, Setup, TempDir, c_module};

/// How often a machine that is busy may make a call slow.
const TRIES: usize = 40;

fn build(dir: &TempDir, version: &str) -> Result<PathBuf> {
    let defines = ["TELLS_THREAD".to_owned(), format!("VERSION=\"{version}\"")];
    let defines: Vec<&str> = defines.iter().map(String::as_str).collect();
    c_module(dir, "crates/runtime/tests/trouble.c", version, &defines)
}

fn start(dir: &TempDir, module: &Path) -> Result<Daemon> {
    let gate = dir.join("gate");
    Setup::device(format!("vol0={}:{}", module.display(), gate.display())).start(dir)
}

/// Replaces the driver; says which thread has connected the next one.
fn replaced(dir: &TempDir, daemon: &Daemon, module: &Path) -> Result<String> {
    let receipt: Value =
        daemon.api()?.update("vol0", module, json!({ "allow_older": true, "force": true }))?;
    assert_eq!(receipt["outcome"], "done", "{receipt:#}");
    let told = std::fs::read_to_string(dir.join("gate.thread"))?;
    Ok(told.lines().last().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned())
}

/// Goes from one to the other until both have earned it.
fn earn(dir: &TempDir, daemon: &Daemon, both: &[&Path; 2]) -> Result<bool> {
    for _ in 0..TRIES {
        let threads = [replaced(dir, daemon, both[1])?, replaced(dir, daemon, both[0])?];
        if threads.iter().all(|thread| thread.starts_with("queue-")) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[test]
fn a_driver_that_was_quick_under_an_earlier_daemon_is_called_on_the_queues_thread_and_an_unknown_one_is_not()
-> Result {
    let dir = TempDir::new()?;
    let (first, second, unknown) = (build(&dir, "1.0.0")?, build(&dir, "1.1.0")?, build(&dir, "1.2.0")?);
    for _ in 0..TRIES {
        let mut daemon = start(&dir, &first)?;
        assert!(earn(&dir, &daemon, &[&first, &second])?, "it never is, by daemon");
        daemon.stop()?;
        // What serves at a start connects before anybody waits for it; what it is replaced by is what counts.
        let mut daemon = start(&dir, &first)?;
        let known = replaced(&dir, &daemon, &second)?;
        let stranger = replaced(&dir, &daemon, &unknown)?;
        assert!(!stranger.starts_with("queue-"), "{stranger}");
        daemon.stop()?;
        // The first one was called once more, at the start, and may have been slow then.
        if known.starts_with("queue-") {
            return Ok(());
        }
    }
    panic!("what an earlier daemon knew is forgotten");
}

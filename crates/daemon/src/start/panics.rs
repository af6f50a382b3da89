//! A panic of the daemon's own ends the process, so that whoever watches over it starts it again.
//!
//! Panics of drivers are caught within their modules, which have a panic hook of their own, and never come
//! here. What comes here is a fault of the daemon: its thread is gone in the middle of something, and a queue
//! that is gone takes every device on it along, without a word. Starting again is what helps, and what is
//! known is written down first.

use crate::log;
use crate::start::signals::leave;
use std::backtrace::Backtrace;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{PanicHookInfo, set_hook};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tracing::Level;

/// The exit code of a daemon that found a fault of its own (`EX_SOFTWARE` of `sysexits.h`).
pub const PANIC_EXIT: u8 = 70;

/// Where the last one is written down, within the state folder.
const FILE: &str = "panic.txt";
/// The one that a later start has told of.
const TOLD: &str = "panic.told.txt";
/// Longest time from the panic to the end of the process, whatever hangs.
const LIMIT: Duration = Duration::from_secs(5);
/// How long the log may take of that.
const LOG_LIMIT: Duration = Duration::from_secs(1);

static ENDING: AtomicBool = AtomicBool::new(false);

/// From now on a panic, on whichever thread, is written down in `folder` and ends the process.
pub(crate) fn end_the_process(folder: &Path) {
    let file = folder.join(FILE);
    set_hook(Box::new(move |info| end(&file, info)));
}

fn end(file: &Path, info: &PanicHookInfo<'_>) {
    if ENDING.swap(true, Ordering::SeqCst) {
        // Another thread is at it already.
        loop {
            thread::park();
        }
    }
    // A disk or a log that hangs does not keep the process.
    let _ = thread::Builder::new().spawn(|| {
        thread::sleep(LIMIT);
        leave(PANIC_EXIT);
    });
    let thread = thread::current();
    let name = thread.name().unwrap_or("without a name");
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let what = format!("a fault of the daemon: thread `{name}` panicked at {place}: {text}");
    let written = write_down(file, &what);
    let wheres = match &written {
        Ok(()) => format!("{} has more", file.display()),
        Err(e) => format!("{}: {e}", file.display()),
    };
    log::say(Level::ERROR, &format!("{what}; the process ends (exit code {PANIC_EXIT}); {wheres}"));
    log::flush_within(LOG_LIMIT);
    leave(PANIC_EXIT)
}

fn write_down(file: &Path, what: &str) -> std::io::Result<()> {
    let mut out = File::options().create(true).write(true).truncate(true).mode(0o600).open(file)?;
    let version = env!("CARGO_PKG_VERSION");
    writeln!(out, "steadfast {version}, process {}: {what}\n", std::process::id())?;
    // What takes time comes last.
    write!(out, "{}", Backtrace::force_capture())?;
    out.sync_all()
}

/// Says once that the last daemon ended by a panic, and where it is written down.
pub(crate) fn tell_of_the_last(folder: &Path) {
    let (file, told): (PathBuf, PathBuf) = (folder.join(FILE), folder.join(TOLD));
    let Ok(text) = steadfast_settings::read_text(&file) else { return };
    let first = text.lines().next().unwrap_or_default();
    let place = if fs::rename(&file, &told).is_ok() { &told } else { &file };
    tracing::error!("an earlier daemon ended by itself: {first}; {} has more", place.display());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// The variable that makes the test below the process that panics, and in which folder.
    const IN: &str = "STEADFAST_TEST_PANICS_IN";

    #[test]
    fn a_panic_on_any_thread_ends_the_process_with_a_code_and_a_place_to_look() {
        if let Some(folder) = std::env::var_os(IN) {
            end_the_process(Path::new(&folder));
            let queue = thread::Builder::new().name("queue-7".to_owned());
            let _ = queue.spawn(|| panic!("out of slots")).expect("a thread").join();
            return;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let place = module_path!().split_once("::").expect("a module").1;
        let name = format!("{place}::a_panic_on_any_thread_ends_the_process_with_a_code_and_a_place_to_look");
        let mut child = Command::new(std::env::current_exe().expect("this program"));
        let status = child.args(["--exact", &name]).env(IN, dir.path()).output().expect("it runs").status;
        assert_eq!(status.code(), Some(i32::from(PANIC_EXIT)));
        let text = fs::read_to_string(dir.path().join(FILE)).expect("written down");
        assert!(text.contains("thread `queue-7` panicked at ") && text.contains(": out of slots"), "{text}");
        assert!(text.lines().count() > 5, "with a backtrace: {text}");
        tell_of_the_last(dir.path());
        assert!(dir.path().join(TOLD).exists() && !dir.path().join(FILE).exists(), "told once");
    }
}

//! A module is mapped in a process of its own first.
//!
//! Whatever a damaged or a hostile file makes of the dynamic linker, of its constructors or of its
//! destructors happens to a process that nobody needs. [`answer_rehearsals`] makes a program one that can
//! be started for that; a program that has not called it maps modules without.
//!
//! ```text
//! this process                          a process of its own: /proc/self/exe --rehearse-module FILE
//!   copy of the module in the store ->    limits; no descriptor but its standard ones
//!   <- "mapping", "reading", "unmapping", "done"; or why it is refused
//!   its end, or the deadline
//! ```
//!
//! A module that went through it is not tried again as long as its store is open: what is known is known
//! by the hash of its bytes.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::elf::inspect;
use crate::error::Problem;
use crate::file;
use crate::loaded::Mapped;
use steadfast_shell::manifest::Manifest;

/// First argument of a program that is started for this.
const ARGUMENT: &str = "--rehearse-module";
/// How long it may take. A module takes a millisecond; a machine may have other things to do.
const PATIENCE: Duration = Duration::from_secs(15);
/// Most that is kept of what it says, bytes.
const MOST_SAID: usize = 16 * 1024;

const MAPPING: &str = "mapping";
const READING: &str = "reading";
const UNMAPPING: &str = "unmapping";
const DONE: &str = "done";
const REFUSED: &str = "refused ";

/// This program can be started for it.
static ANSWERS: AtomicBool = AtomicBool::new(false);

/// Makes this program one that maps every module in a process of its own first, and does so if that is
/// what it was started for: then this does not return. To be called before anything else in `main`.
pub fn answer_rehearsals() {
    let mut args = env::args_os().skip(1);
    if args.next().as_deref() != Some(OsStr::new(ARGUMENT)) {
        ANSWERS.store(true, Ordering::Relaxed);
        return;
    }
    let code = match args.next() {
        Some(path) => i32::from(answer(Path::new(&path)).is_err()),
        None => 1,
    };
    // SAFETY: ends the process at once: what a module has left behind to be run at the end is not run.
    unsafe { libc::_exit(code) }
}

/// Maps the module in this file in a process of its own, and lets it go again there.
///
/// # Errors
/// What is wrong with it, or how the process ended; or that there can be none.
pub(crate) fn rehearse(copy: &Path) -> Result<(), Problem> {
    if !ANSWERS.load(Ordering::Relaxed) {
        return Ok(());
    }
    let failed = |error: io::Error| {
        Problem::Unmappable(format!("it could not be tried in a process of its own first: {error}"))
    };
    let mut child = Command::new("/proc/self/exe")
        .arg(ARGUMENT)
        .arg(copy)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let said = listen(&mut child, Instant::now() + PATIENCE);
    let ended = match said.as_ref().map(|said| said.in_time) {
        Ok(true) => child.wait(),
        _ => end(&mut child),
    };
    judge(&said.map_err(failed)?, ended.map_err(failed)?)
}

/// Ends it, and whatever it has started.
fn end(child: &mut Child) -> io::Result<ExitStatus> {
    if let Ok(group) = i32::try_from(child.id()) {
        // SAFETY: a plain call; the group is the child's own, and it has not been waited for.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
    child.kill()?;
    child.wait()
}

/// What the process said.
#[derive(Debug, Default)]
struct Said {
    out: Vec<u8>,
    err: Vec<u8>,
    /// It ended before the deadline.
    in_time: bool,
}

/// Takes what it says until it has ended. More than is kept is taken all the same, so that nobody waits.
fn listen(child: &mut Child, deadline: Instant) -> io::Result<Said> {
    let (Some(mut out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let mut said = Said::default();
    let poll = |fd: i32| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut open = [poll(out.as_raw_fd()), poll(err.as_raw_fd())];
    while open.iter().any(|pipe| pipe.fd >= 0) {
        let left = deadline.saturating_duration_since(Instant::now()).as_millis();
        // SAFETY: two places that are writable; a negative descriptor is passed over.
        let ready = unsafe { libc::poll(open.as_mut_ptr(), 2, i32::try_from(left).unwrap_or(i32::MAX)) };
        match ready {
            0 => return Ok(said),
            ..0 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => continue,
            ..0 => return Err(io::Error::last_os_error()),
            _ => {}
        }
        let mut take = |place: usize, from: &mut dyn Read, into: &mut Vec<u8>| -> io::Result<()> {
            let mut buffer = [0; 4096];
            if open[place].revents != 0 {
                match from.read(&mut buffer)? {
                    0 => open[place].fd = -1,
                    bytes => into.extend(buffer[..bytes].iter().take(MOST_SAID - into.len().min(MOST_SAID))),
                }
            }
            Ok(())
        };
        take(0, &mut out, &mut said.out)?;
        take(1, &mut err, &mut said.err)?;
    }
    // It may have closed them and live on.
    while Instant::now() < deadline {
        if child.try_wait()?.is_some() {
            said.in_time = true;
            break;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(said)
}

/// What to make of it.
fn judge(said: &Said, ended: ExitStatus) -> Result<(), Problem> {
    let out = String::from_utf8_lossy(&said.out);
    let last = out.lines().rfind(|line| [MAPPING, READING, UNMAPPING, DONE].contains(line));
    if let Some((_, refused)) = out.split_once(REFUSED).filter(|_| said.in_time) {
        return Err(Problem::told(refused.trim_end()));
    }
    if ended.success() && last == Some(DONE) {
        return Ok(());
    }
    let when = match last {
        Some(MAPPING) => {
            "while it was being mapped: its dynamic sections are damaged, or its constructors fail"
        }
        Some(READING) => "while its tables were read",
        Some(UNMAPPING) => "while it was let go: its destructors fail",
        _ => "before it was mapped",
    };
    let how = match (said.in_time, ended.signal()) {
        (false, _) => format!("was not done after {} s, {when}", PATIENCE.as_secs()),
        (true, Some(signal)) => format!("was killed by {}, {when}", name_of(signal)),
        (true, None) => format!("ended with code {}, {when}", ended.code().unwrap_or(-1)),
    };
    let heard = String::from_utf8_lossy(&said.err);
    let heard: String = heard.lines().next().unwrap_or_default().chars().take(200).collect();
    let heard = if heard.is_empty() { heard } else { format!(" ({heard})") };
    Err(Problem::Unmappable(format!("a process of its own, in which it was tried first, {how}{heard}")))
}

fn name_of(signal: i32) -> String {
    let name = match signal {
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGBUS => "SIGBUS",
        libc::SIGILL => "SIGILL",
        libc::SIGFPE => "SIGFPE",
        libc::SIGABRT => "SIGABRT",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGSYS => "SIGSYS",
        libc::SIGKILL => "SIGKILL",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        other => return format!("signal {other}"),
    };
    format!("signal {signal} ({name})")
}

/// The other side: maps the module in this file, and says how far it came.
fn answer(path: &Path) -> io::Result<()> {
    let mut out = stand_alone()?;
    if let Err(problem) = walk(path, &mut out) {
        let text = match problem.as_told() {
            Some(told) => format!("{REFUSED}{told}\n"),
            None => format!("{REFUSED}unmappable {problem}\n"),
        };
        out.write_all(text.as_bytes())?;
        return Err(io::ErrorKind::Other.into());
    }
    Ok(())
}

fn walk(path: &Path, out: &mut fs::File) -> Result<(), Problem> {
    let mut say = |what: &str| writeln!(out, "{what}").map_err(Problem::Unreadable);
    let bytes = file::read(path)?;
    let facts = inspect(bytes.as_slice())?;
    let manifest = Manifest::parse(&facts.manifest)?;
    say(MAPPING)?;
    let mapped = Mapped::open(path)?;
    say(READING)?;
    mapped.tables(&facts, &manifest)?;
    say(UNMAPPING)?;
    mapped.close();
    say(DONE)
}

/// Gives up what a module is not to have; returns where to answer. What the module itself prints goes
/// where errors go.
fn stand_alone() -> io::Result<fs::File> {
    // The first that the machine is to take if memory is short. Where that cannot be said, it is not.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    // SAFETY: plain calls on numbers. Nobody else runs in this process, and none of its descriptors
    // beside the standard ones is in use; `dup` makes one that is nobody's yet.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0);
        for (what, most) in [
            (libc::RLIMIT_CORE, 0),
            (libc::RLIMIT_FSIZE, 0),
            (libc::RLIMIT_CPU, PATIENCE.as_secs()),
            (libc::RLIMIT_NOFILE, 64),
        ] {
            let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
            libc::setrlimit(what, &raw const limit);
        }
        let out = libc::fcntl(libc::STDOUT_FILENO, libc::F_DUPFD_CLOEXEC, 3);
        if out < 0 || libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO) < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(fs::File::from_raw_fd(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(out: &str, in_time: bool) -> Said {
        Said { out: out.as_bytes().to_vec(), err: Vec::new(), in_time }
    }

    #[test]
    fn only_the_whole_way_is_good() {
        let whole = "mapping\nreading\nunmapping\ndone\n";
        let ok = ExitStatus::from_raw(0);
        judge(&said(whole, true), ok).expect("good");
        let killed = ExitStatus::from_raw(libc::SIGSEGV);
        let cases = [
            ("mapping\n", true, killed, "killed by signal 11 (SIGSEGV), while it was being mapped"),
            ("mapping\nreading\nunmapping\n", true, killed, "while it was let go"),
            ("mapping\n", true, ExitStatus::from_raw(127 << 8), "ended with code 127"),
            ("mapping\n", false, ExitStatus::from_raw(libc::SIGKILL), "not done after"),
            ("", true, ok, "before it was mapped"),
            ("mapping\nreading\n", true, ok, "ended with code 0, while its tables were read"),
            (
                "refused contradiction no entry point connect\n",
                true,
                ExitStatus::from_raw(1 << 8),
                "contradicts itself: no entry point connect",
            ),
        ];
        for (out, in_time, ended, words) in cases {
            let text = judge(&said(out, in_time), ended).expect_err(out).to_string();
            assert!(text.contains(words), "{text} / {words}");
        }
    }
}

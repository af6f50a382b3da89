//! A daemon of the demonstration's own, in its temporary folder.

use crate::client::Client;
use crate::failure::Failure;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use steadfast_api::Health;

/// Longest that it may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(15);

/// The daemon as a process. It ends with this.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
    /// Where NBD clients connect.
    pub(crate) nbd: PathBuf,
    /// A client of its control API.
    pub(crate) client: Client,
}

impl Daemon {
    /// Starts this very program as a daemon with `devices`, and waits until it answers.
    pub(crate) fn start(folder: &Path, devices: &[String]) -> Result<Daemon, Failure> {
        let (nbd, control, log) =
            (folder.join("nbd.sock"), folder.join("control.sock"), folder.join("daemon.log"));
        let failed = |what: &str, e: io::Error| Failure::new(format!("{what}: {e}"));
        let file = File::create(&log).map_err(|e| failed("the daemon's log", e))?;
        let program = std::env::current_exe().map_err(|e| failed("this program's own path", e))?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--control").arg(&control);
        command.arg("--nbd").arg(format!("unix:{}", nbd.display()));
        command.arg("--store").arg(folder.join("store"));
        for device in devices {
            command.arg("--device").arg(device);
        }
        let out = file.try_clone().map_err(|e| failed("the daemon's log", e))?;
        command.current_dir(folder).stdin(Stdio::null()).stdout(out).stderr(file);
        detach(&mut command);
        let child = command.spawn().map_err(|e| failed("the daemon cannot be started", e))?;
        let mut daemon = Daemon { child, log, nbd, client: Client::new(control)? };
        daemon.wait_ready()?;
        Ok(daemon)
    }

    fn wait_ready(&mut self) -> Result<(), Failure> {
        let begin = Instant::now();
        loop {
            match self.client.get::<Health>("/health") {
                Ok(_) => return Ok(()),
                Err(failure) => {
                    if let Ok(Some(status)) = self.child.try_wait() {
                        return Err(self.with_log(Failure::new(format!("the daemon ended, {status}"))));
                    }
                    if begin.elapsed() > PATIENCE {
                        return Err(self.with_log(failure));
                    }
                }
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The failure, with the end of the daemon's log as a hint.
    pub(crate) fn with_log(&self, failure: Failure) -> Failure {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(15)..].join("\n  ");
        failure.hint(format!("the daemon's log ends with\n  {tail}"))
    }

    /// Asks it to stop and waits for that; fails unless it ends well.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        let pid = self.child.id() as libc::pid_t;
        // SAFETY: `kill` takes no pointer; the child was not waited for, so the id is still its own.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let begin = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(self.with_log(Failure::new(format!("the daemon ended, {status}"))));
                }
                Ok(None) if begin.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
                _ => return Err(self.with_log(Failure::new("the daemon does not stop"))),
            }
        }
    }
}

/// Ctrl-C is for the demonstration alone, which stops its daemon in order; and should it be killed,
/// its daemon goes with it.
fn detach(command: &mut Command) {
    command.process_group(0);
    let with_parent = || {
        // SAFETY: `prctl` with this option takes a number and touches no memory.
        match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec it makes one system call and allocates nothing.
    unsafe { command.pre_exec(with_parent) };
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

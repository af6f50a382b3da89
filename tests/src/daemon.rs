use crate::api::Api;
use crate::{Result, TempDir, nbd, process, run, steadfast};
use anyhow::{Context, bail};
use serde_json::Value;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest that a daemon may take to start or to stop.
const LIMIT: Duration = Duration::from_secs(30);

/// A daemon that is to be started.
#[derive(Debug, Default)]
pub struct Setup {
    args: Vec<String>,
    env: Vec<(String, String)>,
    stderr: Option<Stdio>,
}

impl Setup {
    /// A daemon with this device: `NAME=DRIVER:WHAT[,PARAMETER=VALUE...]`.
    pub fn device(spec: impl Into<String>) -> Setup {
        Setup::default().and_device(spec)
    }

    /// One device more.
    pub fn and_device(self, spec: impl Into<String>) -> Setup {
        self.arg("--device").arg(spec)
    }

    /// One argument of `steadfast serve` more.
    pub fn arg(mut self, arg: impl Into<String>) -> Setup {
        self.args.push(arg.into());
        self
    }

    /// One variable of its environment more.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Setup {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Where its log goes, instead of the file that [`Daemon::log`] reads.
    pub fn log_to(mut self, stderr: impl Into<Stdio>) -> Setup {
        self.stderr = Some(stderr.into());
        self
    }

    /// Starts it in `dir`, and waits until both of its sockets answer.
    pub fn start(self, dir: &TempDir) -> Result<Daemon> {
        let mut daemon = self.begin(dir)?;
        daemon.wait_ready()?;
        Ok(daemon)
    }

    /// Starts it in `dir`, and waits for nothing.
    pub fn begin(self, dir: &TempDir) -> Result<Daemon> {
        let (nbd, control) = (dir.join("nbd.sock"), dir.join("control.sock"));
        for socket in [&nbd, &control] {
            let _ = std::fs::remove_file(socket);
        }
        let log = dir.join("daemon.log");
        let file = File::options().create(true).append(true).open(&log)?;
        let child = Command::new(steadfast()?)
            .arg("serve")
            .args(&self.args)
            .envs(self.env)
            .args(["--nbd", &format!("unix:{}", nbd.display())])
            .arg("--control")
            .arg(&control)
            .arg("--store")
            .arg(dir.join("store"))
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(self.stderr.unwrap_or_else(|| file.into()))
            .spawn()
            .context("cannot start the daemon")?;
        Ok(Daemon { child, nbd, control, log, ended: None })
    }
}

/// A daemon that runs; ended, by its id, when this goes, and its log shown if the test failed.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    nbd: PathBuf,
    control: PathBuf,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Daemon {
    fn wait_ready(&mut self) -> Result {
        let begin = Instant::now();
        while !nbd::answers(&self.nbd) || UnixStream::connect(&self.control).is_err() {
            if let Some(status) = self.child.try_wait()? {
                self.ended = Some(status);
                bail!("the daemon ended at its start, {status}:\n{}", self.log());
            }
            if begin.elapsed() > LIMIT {
                bail!("the daemon is not ready after {} s:\n{}", LIMIT.as_secs(), self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The Unix socket that serves NBD.
    pub fn nbd(&self) -> &Path {
        &self.nbd
    }

    /// An export's NBD URI.
    pub fn uri(&self, device: &str) -> String {
        format!("nbd+unix:///{device}?socket={}", self.nbd.display())
    }

    /// A connection to its control API.
    pub fn api(&self) -> Result<Api> {
        Api::connect(&self.control)
    }

    /// The control socket.
    pub fn control(&self) -> &Path {
        &self.control
    }

    /// Runs `steadfast ARGS` against it, whatever the outcome.
    pub fn cli(&self, args: &[&str]) -> Result<Output> {
        run(Command::new(steadfast()?)
            .env("STEADFAST_SOCKET", &self.control)
            // Tests look for sentences that are whole.
            .env("STEADFAST_WIDE", "1")
            .args(args))
    }

    /// A device as the API shows it.
    pub fn device(&self, name: &str) -> Result<Value> {
        match self.api()?.get(&format!("/v1/devices/{name}"))? {
            (200, device) => Ok(device),
            (status, body) => bail!("device {name}: status {status}: {body}"),
        }
    }

    /// Replaces a device's driver through the API; fails unless it was done.
    pub fn update(&self, device: &str, module: &Path) -> Result<Value> {
        let receipt = self.api()?.update(device, module, serde_json::json!({}))?;
        if receipt["outcome"] != "done" {
            bail!("update of {device} to {}: {receipt:#}", module.display());
        }
        Ok(receipt)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has logged this. A thread of its own writes the log, so that a line may come after what it tells of.
    pub fn logs(&self, text: &str) -> Result {
        let begin = Instant::now();
        while !self.log().contains(text) {
            if begin.elapsed() > LIMIT {
                bail!("'{text}' is not logged:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.ended = self.child.wait().ok();
    }

    /// Asks it to stop, with SIGTERM, and waits for that.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        process::signal(self.pid(), libc::SIGTERM);
        self.stopped()
    }

    /// How it has ended, if it has.
    pub fn has_ended(&mut self) -> Result<Option<ExitStatus>> {
        self.ended = self.child.try_wait()?;
        Ok(self.ended)
    }

    /// Waits for the end of one that was asked to stop.
    pub fn stopped(&mut self) -> Result<ExitStatus> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.ended = Some(status);
                return Ok(status);
            }
            if begin.elapsed() > LIMIT {
                bail!("the daemon still runs {} s after SIGTERM:\n{}", LIMIT.as_secs(), self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Fails unless the daemon runs and serves reads of this device.
    pub fn check_serves(&mut self, device: &str) -> Result {
        if let Some(status) = self.child.try_wait()? {
            self.ended = Some(status);
            bail!("the daemon has ended, {status}:\n{}", self.log());
        }
        let mut client = nbd::Client::connect(&self.nbd, device)?;
        let error = client.read(0, 4096)?.err();
        match error {
            None => Ok(()),
            Some(error) => bail!("a read of {device} fails with NBD error {error}"),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.kill();
        }
        if std::thread::panicking() || std::env::var_os("STEADFAST_SHOW_LOG").is_some() {
            eprintln!("--- log of the daemon ---\n{}", self.log());
        }
    }
}

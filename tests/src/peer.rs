use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest that any one foreign program may take before the test gives up on it.
const LIMIT: Duration = Duration::from_secs(240);

/// Runs a program to its end, with its output kept. Fails when it does not start or does not end.
pub fn run(command: &mut Command) -> Result<Output> {
    let line = line(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start: {line}"))?;
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begin.elapsed() > LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            bail!("still running after {} s: {line}", LIMIT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let join = |t: std::thread::JoinHandle<Vec<u8>>| t.join().unwrap_or_default();
    Ok(Output { status, stdout: join(stdout), stderr: join(stderr) })
}

fn drain(pipe: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// Runs a program that must succeed; returns what it printed.
pub fn ok(command: &mut Command) -> Result<String> {
    let output = run(command)?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}\n{stdout}{stderr}", output.status, line(command));
    }
    Ok(stdout)
}

/// fio's nbd engine on an export, with further options; returns its JSON report. Fails on any error
/// that fio sees, wrong data among them.
pub fn fio(uri: &str, options: &[&str]) -> Result<serde_json::Value> {
    fio_all(&[("load", uri)], options)
}

/// The same on several exports at once: a job for each, by name and URI.
pub fn fio_all(jobs: &[(&str, &str)], options: &[&str]) -> Result<serde_json::Value> {
    let mut command = Command::new("fio");
    command
        .args(["--output-format=json", "--ioengine=nbd", "--thread=1", "--verify_state_save=0"])
        .args(options);
    for (name, uri) in jobs {
        command.arg(format!("--name={name}")).arg(format!("--uri={uri}"));
    }
    let text = ok(&mut command)?;
    // fio may put notes before the report.
    let json = &text[text.find('{').context("fio printed no report")?..];
    let report: serde_json::Value = serde_json::from_str(json).context("fio's report is no JSON")?;
    for job in report["jobs"].as_array().context("fio's report has no jobs")? {
        if job["error"] != 0 {
            bail!("fio: error {} in {}", job["error"], job["jobname"]);
        }
    }
    Ok(report)
}

fn line(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}

/// A foreign program that runs beside the test; ended, by its id, when this goes.
#[derive(Debug)]
pub struct Peer(Child);

impl Peer {
    /// Starts it, with nothing to read and its output thrown away; what it says of errors is shown.
    pub fn start(command: &mut Command) -> Result<Peer> {
        let line = line(command);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Ok(Peer(child.with_context(|| format!("cannot start: {line}"))?))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Has it ended?
    pub fn ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

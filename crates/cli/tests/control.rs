//! The command against a daemon of its own: control API, events, exit codes, stop.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);

fn steadfast(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
    command.current_dir(folder).env("STEADFAST_SOCKET", "control.sock").env_remove("STEADFAST_MODULES");
    command
}

/// A daemon with a RAM device `vol0`, in a folder of its own.
struct Daemon {
    folder: TempDir,
    child: Child,
}

impl Daemon {
    fn start() -> Daemon {
        let folder = tempfile::tempdir().expect("a folder");
        let child = steadfast(folder.path())
            .args(["serve", "--device", "vol0=ram:1M", "--nbd", "unix:nbd.sock", "--store", "store"])
            .stderr(Stdio::null())
            .spawn()
            .expect("the daemon starts");
        let mut daemon = Daemon { folder, child };
        let begin = Instant::now();
        while !daemon.run(&["device", "list"]).status.success() {
            assert!(daemon.child.try_wait().expect("a child").is_none(), "the daemon ended");
            assert!(begin.elapsed() < LIMIT, "the daemon is not ready");
            thread::sleep(Duration::from_millis(10));
        }
        daemon
    }

    fn run(&self, args: &[&str]) -> Output {
        steadfast(self.folder.path()).args(args).output().expect("the command runs")
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["-o", "json"]].concat());
        serde_json::from_slice(&output.stdout).expect("standard output is one JSON document")
    }

    /// One HTTP exchange: status and body.
    fn http(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = UnixStream::connect(self.folder.path().join("control.sock")).expect("it listens");
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head[9..12].parse().expect("a status");
        (status, serde_json::from_str(body).expect("the body is JSON"))
    }

    fn signal(&self, signal: i32) {
        // SAFETY: `kill` takes no pointer; the child was not waited for, so the id is still its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
    }

    fn wait(&mut self) -> Option<i32> {
        let begin = Instant::now();
        while begin.elapsed() < LIMIT {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("the daemon does not stop");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_openapi_document_describes_every_path() {
    let daemon = Daemon::start();
    let (status, document) = daemon.http("GET", "/openapi.json", "");
    assert_eq!(status, 200);
    let paths = document["paths"].as_object().expect("paths");
    for path in [
        "/v1/health",
        "/v1/devices",
        "/v1/devices/{name}",
        "/v1/devices/{name}/update",
        "/v1/devices/{name}/revert",
        "/v1/devices/{name}/events",
        "/v1/events",
        "/v1/receipts",
        "/v1/drivers",
        "/v1/drivers/check",
        "/v1/profiles",
        "/v1/profiles/{name}",
        "/v1/profiles/{name}/diff",
        "/v1/profiles/{name}/apply",
        "/v1/config/lint",
        "/v1/config/import",
        "/v1/config/export",
    ] {
        assert!(paths.contains_key(path), "{path} is not described");
    }
    for schema in ["Receipt", "Profile", "ProfileDiff", "ProfileApplied", "LintReport", "ImportReport"] {
        assert!(document["components"]["schemas"][schema].is_object(), "{schema} is not described");
    }
}

#[test]
fn what_cannot_be_is_a_problem_with_a_kind() {
    let daemon = Daemon::start();
    let cases = [
        ("GET", "/v1/nothing", "", 404, "not_found"),
        ("GET", "/v1/devices/vol1", "", 404, "not_found"),
        ("POST", "/v1/devices/vol0/update", "{", 400, "bad_request"),
        ("POST", "/v1/devices/vol0/update", "{\"modul\": \"ram\"}", 400, "bad_request"),
        ("POST", "/v1/devices/vol0/update", "{\"module\": \"./ram.so\"}", 400, "bad_request"),
        ("POST", "/v1/devices/vol0/update", "{\"module\": \"nonesuch\"}", 404, "not_found"),
        ("POST", "/v1/devices/vol1/update", "{\"module\": \"ram\"}", 404, "not_found"),
        ("GET", "/v1/receipts?limt=1", "", 400, "bad_request"),
        ("GET", "/v1/profiles/nonesuch", "", 404, "not_found"),
        ("GET", "/v1/profiles/..%2Fdevices", "", 400, "bad_request"),
        ("GET", "/v1/profiles/oltp/diff", "", 400, "bad_request"),
        ("POST", "/v1/profiles/oltp/apply", "{\"ports\": []}", 400, "bad_request"),
        ("POST", "/v1/profiles/oltp/apply", "{\"ports\": [\"vol0\"], \"dry\": true}", 400, "bad_request"),
        (
            "POST",
            "/v1/config/import",
            "{\"driver\": \"nonesuch\", \"path\": \"x\", \"text\": \"\"}",
            404,
            "not_found",
        ),
        ("GET", "/v1/config/export?driver=nonesuch", "", 404, "not_found"),
    ];
    for (method, path, body, status, kind) in cases {
        let (found, problem) = daemon.http(method, path, body);
        assert_eq!(
            (found, problem["kind"].as_str()),
            (status, Some(kind)),
            "{method} {path} {body}: {problem}"
        );
        assert!(!problem["message"].as_str().expect("a message").is_empty());
    }
    let (_, problem) = daemon.http("GET", "/v1/devices/vol1", "");
    assert_eq!(problem["hint"], "did you mean `vol0`?");
}

#[test]
fn an_update_leaves_a_receipt_and_an_event() {
    let daemon = Daemon::start();
    let mut watch = steadfast(daemon.folder.path())
        .args(["device", "watch", "vol0", "--interval", "50ms", "-o", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("watch starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("piped")).lines();
    let mut next = || -> Value {
        let line = lines.next().expect("a line").expect("text");
        serde_json::from_str(&line).expect("each line is a JSON document")
    };
    let first = next();
    assert_eq!((&first["event"], &first["data"]["name"]), (&"device".into(), &"vol0".into()));

    let output = daemon.run(&["update", "vol0", "ram"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in ["vol0: done", "generation   1 -> 2", "pause ", "connect ", "finish_update ", "unload "] {
        assert!(text.contains(part), "no '{part}' in: {text}");
    }
    while next()["event"] != "receipt" {}
    let _ = watch.kill();
    let _ = watch.wait();

    let (_, receipts) = daemon.http("GET", "/v1/receipts?port=vol0", "");
    assert_eq!(receipts.as_array().map(Vec::len), Some(1));
    assert_eq!(receipts[0]["outcome"], "done");
    let device = daemon.json(&["device", "show", "vol0"]);
    assert_eq!((device["swaps"].as_u64(), device["generation"].as_u64()), (Some(1), Some(2)));
    assert_eq!(device["last_receipt"], receipts[0]);
    let drivers = daemon.json(&["driver", "list"]);
    let ram = drivers["drivers"].as_array().expect("a list").iter().find(|d| d["name"] == "ram");
    assert_eq!(ram.expect("ram is there")["ports"][0], "vol0");
}

#[test]
fn errors_go_to_standard_error_with_a_hint() {
    let daemon = Daemon::start();
    let cases: [(&[&str], &str, &str); 4] = [
        (&["device", "show", "vol1"], "error: no device `vol1`", "hint: did you mean `vol0`?"),
        (&["update", "vol0", "nonesuch"], "nonesuch", "hint: `steadfast driver list`"),
        (
            &["--socket", "/nonexistent", "device", "list"],
            "error: no daemon at /nonexistent",
            "steadfast serve",
        ),
        (&["device", "frobnicate"], "frobnicate", "Usage"),
    ];
    for (args, message, hint) in cases {
        let output = daemon.run(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
        assert!(text.contains(message) && text.contains(hint), "{args:?}: {text}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn a_client_that_never_finishes_its_request_does_not_keep_the_daemon() {
    let mut daemon = Daemon::start();
    let mut slow = UnixStream::connect(daemon.folder.path().join("control.sock")).expect("it listens");
    slow.write_all(b"GET /v1/health HTTP/1.1\r\nHost:").expect("sent");
    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.wait(), Some(0));
    assert!(!daemon.folder.path().join("control.sock").exists());
}

#[test]
fn completions_name_the_commands() {
    let folder = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish"] {
        let output = steadfast(folder.path()).args(["completions", shell]).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("update") && text.contains("device"), "{shell}");
    }
}

#[test]
fn the_demo_is_right_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = steadfast(folder.path())
        .args(["demo", "--seconds", "1", "--swaps", "8", "--json"])
        .output()
        .expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!((report["good"].as_bool(), report["errors"].as_u64()), (Some(true), Some(0)), "{report}");
    assert!(report["swaps"].as_u64() >= Some(8), "{report}");
}

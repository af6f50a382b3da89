//! Whoever is slow on the control socket is let go in time, and keeps nobody else out.

use anyhow::ensure;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use steadfast_tests::{Daemon, Result, Setup, TempDir, until};

/// A hang is not waited for any longer.
const LIMIT: Duration = Duration::from_secs(30);

fn daemon(dir: &TempDir) -> Result<Daemon> {
    let config = dir.join("sf.toml");
    let times = "idle_timeout = \"1s\"\nbody_timeout = \"1s\"\nsend_timeout = \"1s\"\n";
    std::fs::write(&config, format!("[control]\nmax_connections = 40\n{times}"))?;
    Setup::device("vol0=ram:1M").arg("--config").arg(config.display().to_string()).start(dir)
}

fn connect(daemon: &Daemon) -> Result<UnixStream> {
    let stream = UnixStream::connect(daemon.control())?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// Sockets that the daemon has open.
fn sockets(daemon: &Daemon) -> Result<usize> {
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid()))?.flatten();
    let targets = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    Ok(targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count())
}

/// Says one byte after the other until the daemon hangs up; what it has answered by then.
fn drip(stream: &mut UnixStream, said: &[u8]) -> Result<String> {
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    let (begin, mut answer, mut bytes) = (Instant::now(), Vec::new(), said.iter());
    loop {
        ensure!(begin.elapsed() < LIMIT, "it is listened to for ever");
        if let Some(byte) = bytes.next() {
            // An answer may be there although nothing more is taken.
            let _ = stream.write(&[*byte]);
        }
        let mut part = [0; 4096];
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&part[..length]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn who_is_slow_on_the_control_socket_is_let_go_and_keeps_nobody_out() -> Result {
    let dir = TempDir::new()?;
    let daemon = daemon(&dir)?;
    daemon.cli(&["device", "list"])?;
    let before = sockets(&daemon)?;
    let others = || -> Result {
        ensure!(daemon.cli(&["device", "list"])?.status.success(), "somebody else is kept out");
        Ok(())
    };
    // Says nothing at all, many times over.
    let mut silent = (0..20).map(|_| connect(&daemon)).collect::<Result<Vec<_>>>()?;
    others()?;
    for stream in &mut silent {
        ensure!(drip(stream, b"")?.is_empty(), "nothing was asked");
    }
    // Asked once, and then nothing.
    let mut once = connect(&daemon)?;
    once.write_all(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")?;
    ensure!(drip(&mut once, b"")?.starts_with("HTTP/1.1 200"), "what was asked is answered");
    // A head that never ends, and a body that does not come.
    let mut head = connect(&daemon)?;
    let endless = format!("GET /v1/health HTTP/1.1\r\nX-Slow: {}", "y".repeat(2000));
    ensure!(!drip(&mut head, endless.as_bytes())?.contains("200 OK"), "a head without an end");
    others()?;
    let mut body = connect(&daemon)?;
    body.write_all(b"POST /v1/rescan HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n")?;
    let answer = drip(&mut body, &[b' '; 3000])?;
    ensure!(answer.starts_with("HTTP/1.1 408") && answer.contains("within 1 s"), "{answer}");
    // Asks and asks, and reads no answer.
    let mut deaf = connect(&daemon)?;
    let begin = Instant::now();
    while deaf.write_all(b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n").is_ok() {
        ensure!(begin.elapsed() < LIMIT, "it is waited for for ever");
    }
    others()?;
    drop((silent, once, head, body, deaf));
    until("every descriptor is back", || Ok((sockets(&daemon)? <= before).then_some(())))
}

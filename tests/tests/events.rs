//! Events: what happened is told once, also to whoever listens again.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use steadfast_tests::{Daemon, Result, Setup, TempDir, module};

/// One event: its name, its id, its data.
type Told = (String, String, Value);

struct Events(BufReader<UnixStream>);

impl Events {
    fn listen(daemon: &Daemon, from: Option<&str>) -> Result<Events> {
        let mut stream = UnixStream::connect(daemon.control())?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let from = from.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        write!(stream, "GET /v1/events?interval_ms=50 HTTP/1.1\r\nHost: x\r\n{from}\r\n")?;
        Ok(Events(BufReader::new(stream)))
    }

    /// The next one of that name.
    fn next(&mut self, wanted: &str) -> Result<Told> {
        let (mut name, mut id) = (String::new(), String::new());
        let mut line = String::new();
        loop {
            line.clear();
            anyhow::ensure!(self.0.read_line(&mut line)? > 0, "the events ended");
            let line = line.trim_end();
            if let Some(text) = line.strip_prefix("event: ") {
                name = text.to_owned();
            } else if let Some(text) = line.strip_prefix("id: ") {
                id = text.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ")
                && name == wanted
            {
                return Ok((name, id, serde_json::from_str(data)?));
            }
        }
    }
}

#[test]
fn who_listens_again_is_told_what_happened_meanwhile() -> Result {
    let dir = TempDir::new()?;
    let daemon = Setup::device("vol0=null:1M").start(&dir)?;
    let mut events = Events::listen(&daemon, None)?;
    let (_, _, device) = events.next("device")?;
    let params = device["params"].as_array().expect("a list");
    assert!(!params.is_empty() && params.iter().all(|param| param.get("help").is_none()), "{device:#}");
    let null = module("null")?;
    daemon.update("vol0", &null)?;
    let (_, id, first) = events.next("receipt")?;
    drop(events);
    let second = daemon.update("vol0", &null)?;
    let third = daemon.update("vol0", &null)?;
    let mut events = Events::listen(&daemon, Some(&id))?;
    let told = [events.next("receipt")?.2["id"].clone(), events.next("receipt")?.2["id"].clone()];
    assert_eq!(told, [second["id"].clone(), third["id"].clone()], "after {}", first["id"]);
    let fourth = daemon.update("vol0", &null)?;
    assert_eq!(events.next("receipt")?.2["id"], fourth["id"], "and nothing twice");
    // An id of another daemon, or of none.
    for id in ["1-1", "nonsense"] {
        let mut events = Events::listen(&daemon, Some(id))?;
        assert_eq!(events.next("missed")?.2, json!("GET /v1/receipts has them"));
    }
    Ok(())
}

use crate::client::{Client, Event, segment};
use crate::failure::{Exit, Failure};
use crate::output::{self, Table, units};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};
use steadfast_api::{Device, Receipt, event};

/// `steadfast device watch`: a table that is drawn anew with every change; with JSON, or where
/// standard output is no terminal, one line per change.
pub(crate) fn watch(
    client: &Client,
    device: Option<&str>,
    interval: Duration,
    json: bool,
) -> Result<Exit, Failure> {
    let interval = interval.as_millis().max(50);
    let path = match device {
        Some(name) => format!("/devices/{}/events?interval_ms={interval}", segment(name)),
        None => format!("/events?interval_ms={interval}"),
    };
    let live = std::io::stdout().is_terminal();
    let mut board = Board::default();
    let mut first = true;
    let mut reader = true;
    client.events(&path, |happened| {
        let text = if json {
            board.document(&happened)?
        } else {
            let change = board.take(&happened.name, &happened.data)?;
            match (live, change.is_empty()) {
                (true, _) => board.redraw(std::mem::take(&mut first)),
                (false, false) => format!("{change}\n"),
                (false, true) => String::new(),
            }
        };
        reader = output::print_on(&text)?;
        Ok(reader)
    })?;
    if reader { Err(Failure::new("the daemon has stopped")) } else { Ok(Exit::Done) }
}

/// What is known of the devices.
#[derive(Default)]
struct Board {
    rows: BTreeMap<String, Row>,
    last: String,
}

struct Row {
    device: Device,
    seen: Instant,
    rate: f64,
}

impl Board {
    /// Takes an event in; returns it as one line.
    fn take(&mut self, name: &str, data: &str) -> Result<String, Failure> {
        match name {
            event::DEVICE => Ok(self.device(parse(data)?)),
            event::RECEIPT => {
                let receipt: Receipt = parse(data)?;
                let pause = units::time(receipt.pause_ns);
                self.last = format!("{}, pause {pause}", output::receipt::sentence(&receipt.port, &receipt));
                Ok(self.last.clone())
            }
            event::REMOVED => {
                let device: String = parse(data)?;
                self.rows.remove(&device);
                Ok(format!("{device}: gone"))
            }
            // A later daemon may send more.
            _ => Ok(String::new()),
        }
    }

    /// An event as one line of JSON; empty when it is no change, as of a device that has come to rest,
    /// which is told twice.
    fn document(&mut self, happened: &Event) -> Result<String, Failure> {
        let Event { name, data } = happened;
        if name == event::DEVICE && !self.is_news(data)? {
            return Ok(String::new());
        }
        Ok(format!("{{\"event\":\"{name}\",\"data\":{data}}}\n"))
    }

    /// Whether a device is not as it was.
    fn is_news(&mut self, data: &str) -> Result<bool, Failure> {
        let device: Device = parse(data)?;
        let news = self.rows.get(&device.name).is_none_or(|row| row.device != device);
        self.device(device);
        Ok(news)
    }

    fn device(&mut self, device: Device) -> String {
        let now = Instant::now();
        let rate = self.rows.get(&device.name).map_or(0.0, |row| {
            let seconds = now.duration_since(row.seen).as_secs_f64();
            let requests = device.requests.saturating_sub(row.device.requests);
            if seconds > 0.0 { requests as f64 / seconds } else { 0.0 }
        });
        let line = format!(
            "{}: {}, {}, generation {}, {} requests/s, {} errors",
            device.name,
            output::device::driver(&device),
            device.state.name(),
            device.generation,
            units::count(rate as u64),
            units::count(device.errors)
        );
        self.rows.insert(device.name.clone(), Row { device, seen: now, rate });
        line
    }

    /// The table over what is on the screen: each line with what was right of it cleared, and what was
    /// below it. Clearing everything each time would flicker.
    fn redraw(&self, first: bool) -> String {
        let table = self.draw().replace('\n', "\x1b[K\n");
        let clear = if first { "\x1b[2J" } else { "" };
        format!("{clear}\x1b[H{table}\x1b[J")
    }

    fn draw(&self) -> String {
        let mut table = Table::new(&[
            "DEVICE",
            "STATE",
            "DRIVER",
            ">GENERATION",
            ">REQUESTS/S",
            ">IN FLIGHT",
            ">ERRORS",
            ">SWAPS",
        ]);
        for row in self.rows.values() {
            let device = &row.device;
            table.row([
                device.name.clone(),
                device.state.name().to_owned(),
                output::device::driver(device),
                device.generation.to_string(),
                units::count(row.rate as u64),
                device.in_flight.to_string(),
                units::count(device.errors),
                units::count(device.swaps),
            ]);
        }
        format!("{table}\n{}\n", self.last)
    }
}

fn parse<T: DeserializeOwned>(data: &str) -> Result<T, Failure> {
    serde_json::from_str(data).map_err(|e| Failure::new(format!("an event is not understood: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_follows_the_events() {
        let mut board = Board::default();
        let device = serde_json::to_string(&output::device::tests::sample()).expect("JSON");
        let receipt = serde_json::to_string(&output::receipt::tests::sample()).expect("JSON");
        let line = board.take(event::DEVICE, &device).expect("understood");
        assert_eq!(line, "vol0: file 1.0.0, running, generation 2, 0 requests/s, 0 errors");
        board.take(event::RECEIPT, &receipt).expect("understood");
        let drawn = board.draw();
        assert!(drawn.contains("file 1.1.0 replaced file 1.0.0, pause 23.4 us"), "{drawn}");
        assert!(!board.is_news(&device).expect("understood"), "the same again is no news");
        board.take(event::REMOVED, "\"vol0\"").expect("understood");
        assert!(!board.draw().contains("running"));
        assert_eq!(board.take("of a later version", "{}").expect("passed over"), "");
    }
}

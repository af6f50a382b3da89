//! Server-sent events: devices as they change, receipts as they are written.

#![allow(unused_qualifications, reason = "what utoipa makes of parameters in a query is qualified")]

use super::reply::{Failed, blocking};
use crate::http::{Control, stopped};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_core::Stream;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use steadfast_api::{Device, Problem, Receipt, event};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{MissedTickBehavior, interval};
use utoipa::IntoParams;

/// How often devices are looked at.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// Milliseconds, 50 to 60000; 1000 when missing. Receipts come at once.
    interval_ms: Option<u64>,
}

/// Events of all devices: first every device as it is, then what changes.
#[utoipa::path(get, path = "/v1/events", params(EventsQuery),
    responses((status = 200, description = "Events `device`, `receipt`, `removed`, `missed`; their data is JSON. An id sent back as `Last-Event-ID` goes on \
        from there",
        content_type = "text/event-stream", body = String)))]
pub(super) async fn all(
    State(control): State<Control>,
    headers: HeaderMap,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failed> {
    Ok(stream(control, None, query?.0, headers))
}

/// Events of one device.
#[utoipa::path(get, path = "/v1/devices/{name}/events",
    params(("name" = String, description = "Device"), EventsQuery),
    responses(
        (status = 200, description = "Events `device`, `receipt`, `removed`, `missed`; their data is JSON. An id sent back as `Last-Event-ID` goes on \
        from there",
            content_type = "text/event-stream", body = String),
        (status = 404, body = Problem)))]
pub(super) async fn one(
    State(control): State<Control>,
    Path(name): Path<String>,
    headers: HeaderMap,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failed> {
    let device = name.clone();
    blocking(&control, move |app| app.device(&device)).await??;
    Ok(stream(control, Some(name), query?.0, headers))
}

fn stream(
    control: Control,
    device: Option<String>,
    query: EventsQuery,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (sender, receiver) = mpsc::channel(16);
    let every = Duration::from_millis(query.interval_ms.unwrap_or(1000).clamp(50, 60_000));
    let from = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    tokio::spawn(async move {
        let mut stop = control.stop.clone();
        let daemon = control.app.started_unix_ms;
        let told = control.app.receipts.version();
        let mut listener = Listener { sender: &sender, daemon, told, behind: false, all: device.is_none() };
        if let Some(from) = from {
            listener.behind = true;
            // Of another daemon, or nothing that was ever sent: it is not known what was missed.
            listener.told = read_id(&from, daemon).unwrap_or(u64::MAX - 1);
        }
        tokio::select! {
            () = follow(&control, device, every, listener) => {}
            () = stopped(&mut stop) => {}
            () = sender.closed() => {}
        }
    });
    Sse::new(Receiver(receiver)).keep_alive(KeepAlive::default())
}

/// Whoever listens, and how far it has been told.
struct Listener<'s> {
    sender: &'s mpsc::Sender<Event>,
    /// The daemon's start: numbers of another daemon are others.
    daemon: u64,
    /// Number of the last receipt that it was told.
    told: u64,
    /// It is to be told what it has missed.
    behind: bool,
    /// It listens to all devices, and not to one.
    all: bool,
}

/// The number within an event's id, if it is one of this daemon's.
fn read_id(id: &str, daemon: u64) -> Option<u64> {
    let (of, number) = id.split_once('-')?;
    (of.parse() == Ok(daemon)).then(|| number.parse().ok()).flatten()
}

impl Listener<'_> {
    /// Sends an event, with an id from which it can be gone on later.
    async fn send(&self, name: &str, data: &impl serde::Serialize) -> Option<()> {
        let id = format!("{}-{}", self.daemon, self.told);
        let event = Event::default().event(name).id(id).json_data(data).ok()?;
        self.sender.send(event).await.ok()
    }

    /// Sends a receipt, if it is of a device that is listened to.
    async fn tell(&mut self, number: u64, receipt: &Receipt, known: &Known) -> Option<()> {
        self.told = number;
        // Also of a port that has no device just now, unless a device was asked for.
        if !self.all && known.values().all(|(device, _)| device.port != receipt.port) {
            return Some(());
        }
        self.send(event::RECEIPT, receipt).await
    }

    /// Sends the receipts that were missed, or says that some were.
    async fn catch_up(&mut self, control: &Control, known: &Known) -> Option<()> {
        self.behind = false;
        match control.app.receipts.told_after(self.told) {
            Some(missed) => {
                for (number, receipt) in &missed {
                    self.tell(*number, receipt, known).await?;
                }
                Some(())
            }
            None => {
                self.told = control.app.receipts.version();
                self.send(event::MISSED, &"GET /v1/receipts has them").await
            }
        }
    }
}

/// Devices as they were told last, and whether that was a change.
type Known = BTreeMap<String, (Device, bool)>;

/// Sends until the listener has gone.
async fn follow(control: &Control, only: Option<String>, every: Duration, mut listener: Listener<'_>) {
    let mut receipts = control.app.receipts.listen();
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = Known::new();
    loop {
        let sent = tokio::select! {
            _ = ticks.tick() => look(control, only.as_deref(), &mut known, &listener).await,
            receipt = receipts.recv() => match receipt {
                Ok((number, receipt)) if number > listener.told && !listener.behind => {
                    listener.tell(number, &receipt, &known).await
                }
                // It was told, or will be with what was missed.
                Ok(_) => Some(()),
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    listener.behind = true;
                    Some(())
                }
                Err(broadcast::error::RecvError::Closed) => None,
            },
        };
        let sent = match sent {
            // Only now is it known which devices are listened to.
            Some(()) if listener.behind && (listener.all || !known.is_empty()) => {
                listener.catch_up(control, &known).await
            }
            sent => sent,
        };
        if sent.is_none() {
            return;
        }
    }
}

/// Sends the devices that are not as they were, and once more those that have just come to rest, so
/// that whoever computes rates sees that they are 0.
async fn look(
    control: &Control,
    only: Option<&str>,
    known: &mut Known,
    listener: &Listener<'_>,
) -> Option<()> {
    let mut devices = blocking(control, |app| app.all_devices()).await.ok()?;
    devices.retain(|device| only.is_none_or(|name| device.name == name));
    let gone: Vec<String> =
        known.keys().filter(|name| devices.iter().all(|device| device.name != **name)).cloned().collect();
    for name in gone {
        known.remove(&name);
        listener.send(event::REMOVED, &name).await?;
    }
    for device in devices.into_iter().map(brief) {
        let before = known.get(&device.name);
        let changed = before.is_none_or(|(before, _)| *before != device);
        if changed || before.is_some_and(|(_, moving)| *moving) {
            listener.send(event::DEVICE, &device).await?;
        }
        known.insert(device.name.clone(), (device, changed));
    }
    Some(())
}

/// A device as events tell it: texts for people are where the device itself is asked for.
fn brief(mut device: Device) -> Device {
    device.params.iter_mut().for_each(|param| param.help.clear());
    device
}

/// The receiving end of a channel as a stream.
struct Receiver(mpsc::Receiver<Event>);

impl Stream for Receiver {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|event| event.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_of_one_daemon() {
        assert_eq!(read_id("17-3", 17), Some(3));
        for other in ["16-3", "17", "17-", "17-x", "-3", ""] {
            assert_eq!(read_id(other, 17), None, "{other}");
        }
    }
}

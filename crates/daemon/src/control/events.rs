//! Server-sent events: devices as they change, receipts as they are written.

#![allow(unused_qualifications, reason = "what utoipa makes of parameters in a query is qualified")]

use super::reply::{Failed, blocking};
use super::{Control, stopped};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_core::Stream;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use steadfast_api::{Device, Problem, event};
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
    responses((status = 200, description = "Events `device`, `receipt`, `removed`; their data is JSON",
        content_type = "text/event-stream", body = String)))]
pub(super) async fn all(
    State(control): State<Control>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failed> {
    Ok(stream(control, None, query?.0))
}

/// Events of one device.
#[utoipa::path(get, path = "/v1/devices/{name}/events",
    params(("name" = String, description = "Device"), EventsQuery),
    responses(
        (status = 200, description = "Events `device`, `receipt`, `removed`; their data is JSON",
            content_type = "text/event-stream", body = String),
        (status = 404, body = Problem)))]
pub(super) async fn one(
    State(control): State<Control>,
    Path(name): Path<String>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failed> {
    let device = name.clone();
    blocking(&control, move |app| app.device(&device)).await??;
    Ok(stream(control, Some(name), query?.0))
}

fn stream(
    control: Control,
    device: Option<String>,
    query: EventsQuery,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (sender, receiver) = mpsc::channel(16);
    let every = Duration::from_millis(query.interval_ms.unwrap_or(1000).clamp(50, 60_000));
    tokio::spawn(async move {
        let mut stop = control.stop.clone();
        tokio::select! {
            () = follow(&control, device, every, &sender) => {}
            () = stopped(&mut stop) => {}
            () = sender.closed() => {}
        }
    });
    Sse::new(Receiver(receiver)).keep_alive(KeepAlive::default())
}

/// Devices as they were told last, and whether that was a change.
type Known = BTreeMap<String, (Device, bool)>;

/// Sends until the listener has gone.
async fn follow(control: &Control, only: Option<String>, every: Duration, sender: &mpsc::Sender<Event>) {
    let mut receipts = control.app.receipts.listen();
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = Known::new();
    loop {
        let sent = tokio::select! {
            _ = ticks.tick() => look(control, only.as_deref(), &mut known, sender).await,
            receipt = receipts.recv() => match receipt {
                Ok(receipt) => {
                    // Also of a port that has no device just now, unless a device was asked for.
                    let heard = only.is_none() || known.values().any(|(d, _)| d.port == receipt.port);
                    if heard { send(event::RECEIPT, &receipt, sender).await } else { Some(()) }
                }
                // Too slow for all of them: GET /v1/receipts has them.
                Err(broadcast::error::RecvError::Lagged(_)) => Some(()),
                Err(broadcast::error::RecvError::Closed) => None,
            },
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
    sender: &mpsc::Sender<Event>,
) -> Option<()> {
    let mut devices = blocking(control, |app| app.all_devices()).await.ok()?;
    devices.retain(|device| only.is_none_or(|name| device.name == name));
    let gone: Vec<String> =
        known.keys().filter(|name| devices.iter().all(|device| device.name != **name)).cloned().collect();
    for name in gone {
        known.remove(&name);
        send(event::REMOVED, &name, sender).await?;
    }
    for device in devices {
        let before = known.get(&device.name);
        let changed = before.is_none_or(|(before, _)| *before != device);
        if changed || before.is_some_and(|(_, moving)| *moving) {
            send(event::DEVICE, &device, sender).await?;
        }
        known.insert(device.name.clone(), (device, changed));
    }
    Some(())
}

async fn send(name: &str, data: &impl serde::Serialize, sender: &mpsc::Sender<Event>) -> Option<()> {
    let event = Event::default().event(name).json_data(data).ok()?;
    sender.send(event).await.ok()
}

/// The receiving end of a channel as a stream.
struct Receiver(mpsc::Receiver<Event>);

impl Stream for Receiver {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|event| event.map(Ok))
    }
}

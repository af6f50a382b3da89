//! `steadfast status`: everything that needs somebody, on one screen, and in the exit code.

use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output;
use serde::Serialize;
use steadfast_api::{Device, Health, Port, Receipt};

/// Receipts that are shown: enough to see what the last hand did.
const RECENT: usize = 5;

/// What it prints for programs: the control API's own documents.
#[derive(Serialize)]
struct Status<'a> {
    health: &'a Health,
    devices: &'a [Device],
    ports: &'a [Port],
    receipts: &'a [Receipt],
}

/// Prints how things are. Ends with [`Exit::Mismatch`] where something needs somebody; a daemon that does not answer
/// is an error like any other.
pub(crate) fn status(client: &Client, json: bool) -> Result<Exit, Failure> {
    let health: Health = client.get("/health")?;
    let devices: Vec<Device> = client.get("/devices")?;
    let ports: Vec<Port> = client.get("/ports")?;
    let receipts: Vec<Receipt> = client.get(&format!("/receipts?limit={RECENT}"))?;
    if json {
        output::json(&Status { health: &health, devices: &devices, ports: &ports, receipts: &receipts })?;
    } else {
        output::print(&output::status::show(&health, &devices, &ports, &receipts, now_unix_ms()))?;
    }
    Ok(if needs_somebody(&health) { Exit::Mismatch } else { Exit::Done })
}

/// Whether anything is wrong, also where every device is served.
fn needs_somebody(health: &Health) -> bool {
    !health.healthy || !health.degraded.is_empty()
}

fn now_unix_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |time| time.as_millis() as u64)
}

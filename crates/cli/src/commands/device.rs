//! `steadfast device list` and `show`.

use crate::client::{Client, segment};
use crate::failure::{Exit, Failure};
use crate::output;
use steadfast_api::Device;

/// Prints all devices.
pub(crate) fn list(client: &Client, json: bool) -> Result<Exit, Failure> {
    let devices: Vec<Device> = client.get("/devices")?;
    if json {
        output::json(&devices)?;
    } else {
        output::print(&output::device::list(&devices))?;
    }
    Ok(Exit::Done)
}

/// Prints one device.
pub(crate) fn show(client: &Client, name: &str, json: bool) -> Result<Exit, Failure> {
    let device: Device = client.get(&format!("/devices/{}", segment(name)))?;
    if json {
        output::json(&device)?;
    } else {
        output::print(&output::device::show(&device))?;
    }
    Ok(Exit::Done)
}

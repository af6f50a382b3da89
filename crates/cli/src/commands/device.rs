//! `steadfast device list`, `show` and `set`.

use crate::client::{Client, segment};
use crate::failure::{Exit, Failure};
use crate::output;
use std::collections::BTreeMap;
use steadfast_api::{Device, DeviceState, ParamsReport, ParamsRequest, Port};

/// Prints all devices.
pub(crate) fn list(client: &Client, json: bool) -> Result<Exit, Failure> {
    let devices: Vec<Device> = client.get("/devices")?;
    if json {
        output::json(&devices)?;
    } else {
        let ports: Vec<Port> = client.get("/ports")?;
        output::print(&output::device::list(&devices, &ports))?;
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

/// Prints what state a device's driver has.
pub(crate) fn state(client: &Client, name: &str, json: bool) -> Result<Exit, Failure> {
    let state: DeviceState = client.get(&format!("/devices/{}/state", segment(name)))?;
    if json {
        output::json(&state)?;
    } else {
        output::print(&output::state::show(&state))?;
    }
    Ok(Exit::Done)
}

/// Changes live parameters and prints what was changed.
pub(crate) fn set(
    client: &Client,
    device: &str,
    set: Vec<(String, String)>,
    unset: Vec<String>,
    json: bool,
) -> Result<Exit, Failure> {
    let mut request = ParamsRequest { set: BTreeMap::new(), unset };
    for (name, value) in set {
        if request.set.insert(name.clone(), value).is_some() {
            return Err(Failure::new(format!("parameter `{name}` is named twice")));
        }
    }
    let report: ParamsReport = client.post(&format!("/devices/{}/params", segment(device)), &request)?;
    if json {
        output::json(&report)?;
    } else {
        output::print(&output::device::changed(device, &report))?;
    }
    Ok(Exit::Done)
}

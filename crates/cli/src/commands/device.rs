//! `steadfast device list`, `show` and `state`.

use crate::client::{Client, segment};
use crate::failure::{Exit, Failure};
use crate::output;
use steadfast_api::{Device, DeviceState, Port};

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

/// `device set` has gone: says what to type in its place.
pub(crate) fn no_set(device: &str, set: &[String], unset: &[String]) -> Failure {
    let mut words = vec![device.to_owned()];
    words.extend_from_slice(set);
    words.extend(unset.iter().flat_map(|name| ["--unset".to_owned(), name.clone()]));
    let words: Vec<String> = words.iter().map(|word| steadfast_api::quoted(word)).collect();
    Failure::new("`device set` is `param set --temporary`: a live value that is not saved")
        .hint(format!("steadfast param set --temporary {}", words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_in_the_place_of_device_set_is_whole() {
        let said = no_set("vol0", &["a=1".into(), "b=two words".into()], &["it's".into()]);
        assert_eq!(said.hint, r"steadfast param set --temporary vol0 a=1 'b=two words' --unset 'it'\''s'");
    }
}

//! `steadfast client`.

use crate::args::doors::ClientCommand;
use crate::client::{Client, segment};
use crate::failure::{Exit, Failure};
use crate::output;
use steadfast_api::{Client as Shown, DisconnectRequest, Disconnected};

/// Looks at clients, or disconnects one.
pub(crate) fn client(client: &Client, command: &ClientCommand, json: bool) -> Result<Exit, Failure> {
    match command {
        ClientCommand::List { device } => {
            let query =
                device.as_deref().map(|name| format!("?device={}", segment(name))).unwrap_or_default();
            let clients: Vec<Shown> = client.get(&format!("/clients{query}"))?;
            if json {
                output::json(&clients)?
            } else {
                output::print(&output::clients::list(&clients))?
            }
            Ok(Exit::Done)
        }
        ClientCommand::Show { client: id } => {
            let shown: Shown = client.get(&format!("/clients/{id}"))?;
            if json {
                output::json(&shown)?
            } else {
                output::print(&output::clients::show(&shown))?
            }
            Ok(Exit::Done)
        }
        ClientCommand::Disconnect { client: id, now } => {
            let request = DisconnectRequest { at_once: *now };
            let done: Disconnected = client.post(&format!("/clients/{id}/disconnect"), &request)?;
            if json {
                output::json(&done)?
            } else {
                output::print(&output::clients::disconnected(&done))?
            }
            // Its connection is closed, but the device has its requests still.
            Ok(if done.gone { Exit::Done } else { Exit::Busy })
        }
    }
}

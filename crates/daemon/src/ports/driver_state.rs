//! A driver's state, for people to read.

use crate::app::App;
use steadfast_api::{DeviceState, Problem, ProblemKind, SchemaState};
use steadfast_runtime::{ErrorKind, SavedState};
use steadfast_shell::state::{hex, read};

impl App {
    /// The state of the driver behind a device.
    pub(crate) fn state(&self, name: &str) -> Result<DeviceState, Problem> {
        let device = self.device_info(name)?;
        let saved = self.engine.save_state(&device.port).map_err(|e| {
            let kind = match e.kind() {
                ErrorKind::NotFound => ProblemKind::NotFound,
                ErrorKind::Busy => ProblemKind::Busy,
                ErrorKind::Unsupported => ProblemKind::BadRequest,
                _ => ProblemKind::Internal,
            };
            Problem::new(kind, e.to_string())
        })?;
        let nobody = || self.engine.port(&device.port).is_some_and(|port| port.driver.is_none());
        if saved.is_empty() && nobody() {
            let text = format!("device {name}: no driver serves it, and the last one has left no state");
            return Err(Problem::new(ProblemKind::BadRequest, text).hint(
                "`steadfast device show` says what is wrong; an update that succeeds puts a driver there",
            ));
        }
        Ok(DeviceState { device: name.to_owned(), states: saved.iter().map(describe).collect() })
    }
}

fn describe(saved: &SavedState) -> SchemaState {
    let (value, raw) = match read(&saved.bytes) {
        Ok(value) => (serde_json::to_value(&value).ok(), None),
        // Not every driver writes maps.
        Err(_) => (None, Some(hex(&saved.bytes))),
    };
    SchemaState { schema: saved.schema.clone(), bytes: saved.bytes.len() as u64, value, raw }
}

//! The state of a port's driver, looked at while the port runs.

use crate::change::hold::visit;
use crate::control::Control;
use crate::error::{EngineError, ErrorKind};
use std::sync::{Arc, Mutex};
use steadfast_shell::sync::lock;

/// State of one schema, as a driver has written it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedState {
    /// `NAME/N`.
    pub schema: String,
    /// What the driver wrote: of the SDK's drivers a CBOR map, see
    /// [`steadfast_shell::state`].
    pub bytes: Vec<u8>,
}

impl Control {
    /// As [`Engine::save_state`](crate::Engine::save_state).
    pub(crate) fn save_state(&self, name: &str) -> Result<Vec<SavedState>, EngineError> {
        let port = self.find(name).ok_or_else(|| self.not_found(name))?;
        let _turn = self.turn(&port, "a look at its state")?;
        let readable = |(schema, bytes): (String, Vec<u8>)| SavedState { schema, bytes };
        let (serving, left) = {
            let inner = lock(&port.inner);
            (inner.serving.clone(), inner.states.list().to_vec())
        };
        let Some(instance) = serving else {
            return Ok(left.into_iter().map(readable).collect());
        };
        let manifest = instance.module.manifest();
        if manifest.state_write.is_empty() {
            return Ok(Vec::new());
        }
        if instance.module.driver().save_state.is_none() {
            let what = format!(
                "port {name}: {} {} cannot write its state while it serves (it has no `save_state`)",
                manifest.name, manifest.version
            );
            return Err(EngineError::new(ErrorKind::Unsupported, what));
        }
        let saved = Arc::new(Mutex::new(Vec::new()));
        let place = saved.clone();
        visit(&port, "save_state", move || {
            *lock(&place) = instance.saved_state()?;
            Ok(())
        })?;
        let saved = std::mem::take(&mut *lock(&saved));
        Ok(saved.into_iter().map(readable).collect())
    }
}

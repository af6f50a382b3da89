//! What has become of what is behind a port: its file or block device may have grown.
//!
//! A driver learns a size when it prepares. So what has grown is first noted with the handle, and shown
//! to clients once the port has been initialised anew; a driver is not told behind its back.

use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use crate::handle::ask::ask_file;
use crate::handle::size::size_of_file;
use crate::handle::{Handle, with_file};
use crate::port::Port;
use std::sync::atomic::Ordering;
use steadfast_shell::sync::lock;

/// What is behind one handle of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The file, block device or device of the daemon.
    pub target: String,
    /// Bytes that the driver knows of.
    pub known: u64,
    /// Bytes that there are.
    pub now: u64,
}

impl Engine {
    /// What is behind a port and is not as large as its driver knows it; nothing is changed.
    ///
    /// # Errors
    /// `NotFound`; `Busy`: a file does not answer.
    pub fn look_behind(&self, name: &str) -> Result<Vec<Behind>, EngineError> {
        let port = self.control.find(name).ok_or_else(|| self.control.not_found(name))?;
        let found = sizes_behind(&port)?.into_iter().filter(|(_, behind)| behind.known != behind.now);
        Ok(found.map(|(_, behind)| behind).collect())
    }

    /// Notes what has grown behind a port, for the next driver that prepares on it to find. What has
    /// shrunk stays as it was known.
    ///
    /// # Errors
    /// `NotFound`; `Busy`: a transaction is under way, or a file does not answer.
    pub fn note_growth(&self, name: &str) -> Result<(), EngineError> {
        let port = self.control.find(name).ok_or_else(|| self.control.not_found(name))?;
        let _turn = self.control.turn(&port, "a look at what is behind it")?;
        // Before the lock: a file may not answer. The turn keeps the handles what they are.
        let found = sizes_behind(&port)?;
        let mut inner = lock(&port.inner);
        for (number, Behind { known, now, .. }) in found {
            let Some(Some(handle)) = inner.handles.get_mut(number) else { continue };
            if handle.device.is_none() && now > known {
                handle.info.size = now;
                if let Some(sight) = &handle.sight {
                    sight.resize(now);
                }
            }
        }
        Ok(())
    }
}

/// The sizes of what is behind each of a port's handles, by number.
fn sizes_behind(port: &Port) -> Result<Vec<(usize, Behind)>, EngineError> {
    let handles = lock(&port.inner).handles.clone();
    let targets: Vec<String> = handles.iter().flatten().map(|handle| handle.spec.target.clone()).collect();
    let question = move || {
        let known = handles.iter().enumerate().filter_map(|(number, handle)| {
            let handle = handle.as_ref()?;
            let (known, now) = sizes(handle)?;
            Some((number, Behind { target: handle.spec.target.clone(), known, now }))
        });
        known.collect()
    };
    ask_file(&port.name, question).ok_or_else(|| {
        let what = format!("port {}: {} does not answer: it is stuck", port.name, targets.join(", "));
        EngineError::new(ErrorKind::Busy, what)
    })
}

/// Bytes that the handle's driver knows of, and bytes that there are.
fn sizes(handle: &Handle) -> Option<(u64, u64)> {
    if let Some(device) = &handle.device {
        return Some(device.sizes());
    }
    let end = handle.sight.as_ref().map_or(u64::MAX, |sight| sight.end().load(Ordering::Relaxed));
    Some((handle.info.size, with_file(handle.file.as_ref()?, size_of_file)?.min(end)))
}

//! What has become of what is behind a port: its file or block device may have grown.
//!
//! A driver learns a size when it prepares. So what has grown is first noted with the handle, and shown
//! to clients once the port has been initialised anew; a driver is not told behind its back.

#![allow(unsafe_code)] // the size of a block device

use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use crate::handle::ask::ask_file;
use crate::handle::{Handle, lock, with_file};
use crate::port::Port;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::sync::atomic::Ordering;

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
        let port = self.find(name).ok_or_else(|| self.not_found(name))?;
        let found = sizes_behind(&port)?.into_iter().filter(|(_, behind)| behind.known != behind.now);
        Ok(found.map(|(_, behind)| behind).collect())
    }

    /// Notes what has grown behind a port, for the next driver that prepares on it to find. What has
    /// shrunk stays as it was known.
    ///
    /// # Errors
    /// `NotFound`; `Busy`: a transaction is under way, or a file does not answer.
    pub fn note_growth(&self, name: &str) -> Result<(), EngineError> {
        let port = self.find(name).ok_or_else(|| self.not_found(name))?;
        let _turn = self.turn(&port, "a look at what is behind it")?;
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

/// Bytes of a regular file or block device.
pub(crate) fn size_of_file(file: &File) -> Option<u64> {
    let meta = file.metadata().ok()?;
    if meta.file_type().is_block_device() { block_size(file) } else { Some(meta.len()) }
}

fn block_size(file: &File) -> Option<u64> {
    // From linux/fs.h.
    const BLKGETSIZE64: libc::c_ulong = 0x8008_1272;
    let mut size = 0_u64;
    // SAFETY: the ioctl writes one number of the type that its argument points to.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), BLKGETSIZE64 as _, &mut size) } == 0;
    done.then_some(size)
}

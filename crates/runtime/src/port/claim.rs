//! A client's claim on a device.

use crate::ids::PortId;
use crate::info::DeviceInfo;
use crate::port::Port;
use std::sync::Arc;
use steadfast_shell::sync::lock;

/// A frontend's right to use a device, for one client.
///
/// While it lives, the device can neither shrink nor lose a feature that it had when the claim was
/// made, and the port is not detached without force.
#[derive(Debug)]
pub struct DeviceClaim {
    /// The device at the time of the claim.
    pub info: DeviceInfo,
    /// Its port.
    pub port: PortId,
    /// The engine's number of the queue that was chosen for this client.
    pub queue: usize,
    /// Slots that the port had on each queue at the time of the claim.
    pub slots: u32,
    pub(crate) owner: Arc<Port>,
}

impl Drop for DeviceClaim {
    fn drop(&mut self) {
        let mut inner = lock(&self.owner.inner);
        if let Some(offers) = inner.offers.get_mut(&self.info.number) {
            offers.remove(self.info.features);
        }
    }
}

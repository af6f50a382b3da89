//! Which ports there are, and what they share: numbers, adapters, media, what is known of drivers.

use crate::handle::FileSlots;
use crate::handle::medium::Media;
use crate::ids::PortId;
use crate::info::DeviceInfo;
use crate::port::Port;
use crate::port::adapters::Adapters;
use crate::port::claim::DeviceClaim;
use crate::port::config::{ClientNames, EngineConfig};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use steadfast_shell::earned::Earned;
use steadfast_shell::sync::lock;

/// What all ports of an engine share.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) config: EngineConfig,
    /// The engine is being stopped: nobody is waited for who may take long.
    pub(crate) ending: AtomicBool,
    pub(crate) ports: RwLock<BTreeMap<String, Arc<Port>>>,
    pub(crate) receipts: AtomicU64,
    pub(crate) files: Arc<FileSlots>,
    pub(crate) media: Media,
    /// Held while a device is opened over another, so that no two make a circle.
    pub(crate) stacking: Mutex<()>,
    pub(crate) adapters: Adapters,
    /// Which drivers may be called on a queue's own thread.
    pub(crate) earned: Mutex<Earned>,
    /// The generation that a port had when it was taken away, by name: its successor goes on from there.
    pub(crate) generations: Mutex<BTreeMap<String, u64>>,
    next_port: AtomicU32,
    pub(crate) next_queue: AtomicUsize,
    /// Whoever looks at the files behind ports does so at once.
    look_now: SyncSender<()>,
    pub(crate) client_names: OnceLock<ClientNames>,
}

impl Directory {
    /// `files`: places for files in the rings' tables. Whoever looks at the files behind ports listens to `look_now`.
    pub(crate) fn new(mut config: EngineConfig, files: u32, look_now: SyncSender<()>) -> Directory {
        let media = Media::knowing(std::mem::take(&mut config.lost), config.loss_book.take());
        let mut earned = Earned::default();
        std::mem::take(&mut config.calls).iter().for_each(|times| earned.learn(times));
        Directory {
            ending: AtomicBool::new(false),
            receipts: AtomicU64::new(config.last_receipt),
            config,
            ports: RwLock::default(),
            files: Arc::new(FileSlots::new(files)),
            media,
            stacking: Mutex::new(()),
            adapters: Adapters::default(),
            earned: Mutex::new(earned),
            generations: Mutex::default(),
            next_port: AtomicU32::new(0),
            next_queue: AtomicUsize::new(0),
            look_now,
            client_names: OnceLock::new(),
        }
    }

    /// Has the files behind all ports looked at soon; waits for nothing.
    pub(crate) fn look_soon(&self) {
        // Full: it will be done as it is.
        let _ = self.look_now.try_send(());
    }

    /// A number that no port had.
    pub(crate) fn next_port_id(&self) -> PortId {
        PortId(self.next_port.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Port>> {
        let ports = self.ports.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        ports.get(name).cloned()
    }

    pub(crate) fn all_ports(&self) -> Vec<Arc<Port>> {
        let ports = self.ports.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        ports.values().cloned().collect()
    }

    /// All devices, by the name of their port.
    pub(crate) fn devices(&self) -> Vec<DeviceInfo> {
        self.all_ports().iter().flat_map(|port| devices_of(port)).collect()
    }

    /// Devices of up to `most` ports whose names come after `after`, and the last of these ports where there may be more:
    /// for whoever must not take long.
    pub(crate) fn devices_after(&self, after: &str, most: usize) -> (Vec<DeviceInfo>, Option<String>) {
        let ports: Vec<Arc<Port>> = {
            let ports = self.ports.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            let behind = ports.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
            behind.take(most).map(|(_, port)| port.clone()).collect()
        };
        let more = ports.last().filter(|_| ports.len() == most).map(|port| port.name.clone());
        (ports.iter().flat_map(|port| devices_of(port)).collect(), more)
    }

    /// A device, by its name.
    pub(crate) fn device(&self, name: &str) -> Option<DeviceInfo> {
        let (port, number) = self.resolve(name)?;
        let inner = lock(&port.inner);
        // What a port that is down had is kept for its clients, and shown to nobody.
        let mut known = inner.devices.iter().filter(|_| inner.down.is_none());
        let device = known.find(|d| d.number == number)?.clone();
        drop(inner);
        Some(port.device_info(&device)).filter(|info| info.name == name)
    }

    /// Claims a device for a client, and chooses the queue to serve that client.
    pub(crate) fn open_device(&self, name: &str) -> Option<DeviceClaim> {
        let (port, number) = self.resolve(name)?;
        let mut inner = lock(&port.inner);
        if inner.down.is_some() || inner.shut || inner.accepting > 0 {
            return None;
        }
        let mut device = inner.devices.iter().find(|d| d.number == number)?.clone();
        // While a driver takes over, a client is offered only what both can keep.
        if let Some(next) = inner.announced.iter().find(|d| d.number == number) {
            device.keep_common(next);
        }
        inner.offers.entry(number).or_default().add(device.features);
        drop(inner);
        let turn = port.next_queue.fetch_add(1, Ordering::Relaxed) as usize;
        let queue = port.queues[turn % port.queues.len()];
        let slots = port.limits.slots();
        Some(DeviceClaim { info: port.device_info(&device), port: port.id, queue, slots, owner: port })
    }

    pub(crate) fn resolve(&self, name: &str) -> Option<(Arc<Port>, u32)> {
        if let Some(port) = self.find(name) {
            return Some((port, 0));
        }
        let (port, number) = name.rsplit_once('.')?;
        Some((self.find(port)?, number.parse().ok()?))
    }

    /// Names of all ports, in their order. Unlike [`ports`](crate::Engine::ports) it asks no queue.
    pub(crate) fn port_names(&self) -> Vec<String> {
        let ports = self.ports.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        ports.keys().cloned().collect()
    }

    /// The lowest number that a new port of an adapter can have.
    pub(crate) fn free_port_number(&self, adapter: &str) -> u32 {
        self.adapters.free_number(adapter)
    }
}

/// What a port shows to others; what one that is down had is kept for its clients.
fn devices_of(port: &Port) -> Vec<DeviceInfo> {
    let devices = {
        let inner = lock(&port.inner);
        if inner.down.is_some() { Vec::new() } else { inner.devices.clone() }
    };
    devices.iter().map(|device| port.device_info(device)).collect()
}

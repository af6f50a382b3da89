//! Devices over devices: a driver opens another device of the daemon as it would open a file.
//!
//! ```text
//!   upper's driver --issue--> upper's lane --Stacked--> Stack --request--> lower's lane --> lower's driver
//!          ^                                              |
//!          +---- event, to whoever serves by then --------+<------- completion
//! ```
//!
//! To the lower device a [`queue::Stack`] is a frontend like any other: it takes slots, waits for them
//! when there are none, and its requests are held or drained in a swap as anybody's. To the upper one
//! its work is an operation in flight like any other, so either driver can be replaced in any mode. A
//! driver is never entered from inside another's call: what `issue` brings is put on a list, and the
//! queue's loop goes through it.
//!
//! Nobody waits for anybody in a circle: a device cannot lie over itself, so what an operation waits
//! for, slots below or the end of a swap below, never waits for the operation.

mod copy;
pub(crate) mod feed;
pub(crate) mod queue;

use crate::handle::contents::Contents;
use crate::handle::{Handle, OpenSpec};
use crate::ids::{PortId, StackId};
use crate::port::Port;
use crate::port::claim::DeviceClaim;
use crate::port::directory::Directory;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use steadfast_abi::{HandleInfo, block_feature, handle_kind, open_flag, path};
use steadfast_shell::sync::lock;

/// A device that a port has open.
#[derive(Debug)]
pub(crate) struct DeviceHandle {
    /// What the device offers stays offered while the handle is open.
    claim: DeviceClaim,
    /// Bytes; grows with the device when somebody looks.
    size: AtomicU64,
    writable: bool,
    /// The handle's side on each of the upper port's queues.
    stacks: OnceLock<Vec<StackId>>,
}

type Refused = (i32, String);

impl DeviceHandle {
    /// Name of the device.
    pub(crate) fn name(&self) -> String {
        self.claim.info.name.clone()
    }

    pub(crate) fn lower(&self) -> &Arc<Port> {
        &self.claim.owner
    }

    /// Where operations go that are issued on the upper port's queue `index`.
    pub(crate) fn stack(&self, index: usize) -> Option<StackId> {
        self.stacks.get()?.get(index).copied()
    }

    /// The device below is there no more.
    fn is_dead(&self, directory: &Directory) -> bool {
        directory.find(&self.lower().name).is_none_or(|port| port.id != self.lower().id)
    }

    /// Bytes that the driver above was told last, and bytes that the device has now.
    pub(crate) fn sizes(&self) -> (u64, u64) {
        let told = self.size.load(Ordering::Relaxed);
        let inner = lock(&self.lower().inner);
        let now = inner.devices.iter().find(|d| d.number == self.claim.info.number);
        (told, now.map_or(told, |d| d.size))
    }

    fn offers(&self, feature: u64) -> bool {
        self.claim.info.features & feature != 0
    }

    /// What is behind the handle now.
    pub(crate) fn info(&self) -> HandleInfo {
        let claimed = &self.claim.info;
        let inner = lock(&self.lower().inner);
        let now = inner.devices.iter().find(|d| d.number == claimed.number);
        let size = now.map_or(claimed.size, |d| d.size).max(claimed.size);
        drop(inner);
        self.size.store(size, Ordering::Relaxed);
        let offers = |feature| u32::from(self.offers(feature));
        HandleInfo {
            struct_size: size_of::<HandleInfo>() as u32,
            kind: handle_kind::DEVICE,
            size,
            block_size: claimed.block_size,
            preferred_block_size: claimed.preferred_block_size,
            read_only: u32::from(!self.writable),
            rotational: offers(block_feature::ROTATIONAL),
            can_punch: offers(block_feature::TRIM),
            can_zero: offers(block_feature::WRITE_ZEROES),
            features: claimed.features,
            path: path::UNKNOWN,
            reserved: 0,
        }
    }
}

impl Port {
    /// The ports that this one has devices of open.
    pub(crate) fn lowers(&self) -> Vec<Arc<Port>> {
        let inner = lock(&self.inner);
        let devices = inner.handles.iter().flatten().filter_map(|h| h.device.as_ref());
        devices.map(|d| d.lower().clone()).collect()
    }

    /// Opens another device of the daemon; returns the handle's number.
    pub(crate) fn open_device(&self, key: &str, spec: &OpenSpec) -> Result<u32, Refused> {
        let gone = || (libc::ENODEV, "the daemon ends".to_owned());
        let directory = self.directory.upgrade().ok_or_else(gone)?;
        let _one_by_one = lock(&directory.stacking);
        let device = Arc::new(self.claim_device(&directory, spec)?);
        let stacks = self.add_stacks(&device)?;
        let _ = device.stacks.set(stacks);
        let (info, contents) = (device.info(), Contents::Device(device.name()));
        let (key, spec, device) = (key.to_owned(), spec.clone(), Some(device));
        let (fixed, file, desks, share, watch) = (u32::MAX, None, None, None, None);
        let (sight, stale) = (None, false);
        let handle =
            Handle { key, spec, file, device, desks, fixed, info, contents, share, watch, sight, stale };
        Ok(self.add_handle(handle))
    }

    fn claim_device(&self, directory: &Directory, spec: &OpenSpec) -> Result<DeviceHandle, Refused> {
        let name = &spec.target;
        if spec.flags & !open_flag::WRITE != 0 {
            let what = format!("device {name}: open flags {:#x} are not for devices", spec.flags);
            return Err((libc::EINVAL, what));
        }
        let claim = directory.open_device(name).ok_or_else(|| not_found(directory, &self.name, name))?;
        let lower = claim.owner.clone();
        if self.is_under(&lower) {
            let what = format!("device {name}: {} would lie over itself", self.name);
            return Err((libc::ELOOP, what));
        }
        if !self.queues.iter().all(|queue| lower.queues.contains(queue)) {
            let (mine, theirs) = (list(&self.queues), list(&lower.queues));
            let all = || (0..directory.config.queues).collect();
            lock(&self.inner).suits.get_or_insert_with(all).retain(|queue| lower.queues.contains(queue));
            let what = format!(
                "device {name} is on the queues {theirs}, and {} on {mine}: a device that lies over another \
                 can be only on its queues",
                self.name
            );
            return Err((libc::EXDEV, what));
        }
        let writable = spec.flags & open_flag::WRITE != 0;
        if writable && claim.info.features & block_feature::READ_ONLY != 0 {
            return Err((libc::EROFS, format!("device {name} is read-only")));
        }
        Ok(DeviceHandle { size: AtomicU64::new(claim.info.size), claim, writable, stacks: OnceLock::new() })
    }

    /// Whether `other`, or what it lies over, is this port.
    fn is_under(&self, other: &Arc<Port>) -> bool {
        let (mut seen, mut left) = (Vec::<PortId>::new(), vec![other.clone()]);
        while let Some(port) = left.pop() {
            if port.id == self.id {
                return true;
            }
            if !seen.contains(&port.id) {
                seen.push(port.id);
                left.extend(port.lowers());
            }
        }
        false
    }

    fn add_stacks(&self, device: &Arc<DeviceHandle>) -> Result<Vec<StackId>, Refused> {
        let mut stacks = Vec::new();
        for remote in &self.remotes {
            let own = device.clone();
            match remote.call(move |rt| rt.add_stack(own)).flatten() {
                Some(stack) => stacks.push(stack),
                None => {
                    self.remove_stacks(&stacks);
                    return Err((
                        libc::ENODEV,
                        format!("device {} is being taken away", device.claim.info.name),
                    ));
                }
            }
        }
        Ok(stacks)
    }

    fn remove_stacks(&self, stacks: &[StackId]) {
        for (remote, stack) in self.remotes.iter().zip(stacks.iter().copied()) {
            remote.call(move |rt| rt.remove_stack(stack));
        }
    }

    /// Whether an open handle is still good for anything.
    pub(crate) fn is_alive(&self, handle: &Handle) -> bool {
        let Some(device) = &handle.device else { return true };
        self.directory.upgrade().is_some_and(|directory| !device.is_dead(&directory))
    }

    /// Lets go of a device. Operations in flight end first.
    pub(crate) fn close_device(&self, device: &DeviceHandle) {
        if let Some(stacks) = device.stacks.get() {
            self.remove_stacks(stacks);
        }
    }
}

fn list(queues: &[usize]) -> String {
    queues.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn not_found(directory: &Directory, me: &str, name: &str) -> Refused {
    if let Some((port, _)) = directory.resolve(name).filter(|(port, _)| port.waiting_module().is_some()) {
        return (libc::ENODEV, format!("device {name}: port {} is down (admin_state)", port.name));
    }
    let known: Vec<String> = directory.devices().into_iter().map(|d| d.name).filter(|n| n != me).collect();
    let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
    if me == name {
        return (libc::ELOOP, format!("device {name}: it would lie over itself (others: {known})"));
    }
    (libc::ENOENT, format!("no device {name} (devices: {known})"))
}

impl Directory {
    /// Names of the ports that have a device of `port` open.
    pub(crate) fn uppers(&self, port: &Port) -> Vec<String> {
        let over = |p: &Arc<Port>| p.lowers().iter().any(|lower| lower.id == port.id);
        self.all_ports().into_iter().filter(over).map(|p| p.name.clone()).collect()
    }

    /// All ports, those that lie over others before these.
    pub(crate) fn ports_from_above(&self) -> Vec<Arc<Port>> {
        let (mut left, mut order) = (self.all_ports(), Vec::new());
        while !left.is_empty() {
            let below: Vec<PortId> = left.iter().flat_map(|p| p.lowers()).map(|p| p.id).collect();
            let (lower, upper): (Vec<_>, Vec<_>) = left.into_iter().partition(|p| below.contains(&p.id));
            if upper.is_empty() {
                // There are no circles; were there one, everything in it would have to go all the same.
                order.extend(lower);
                break;
            }
            order.extend(upper);
            left = lower;
        }
        order
    }
}

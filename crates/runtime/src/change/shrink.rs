//! Devices that would become smaller than they were: who has a file system or a partition table on one loses
//! the end of it, whether anybody uses it just now or not.

use crate::control::Control;
use crate::handle::ask::ask_file;
use crate::handle::size::size_of_file;
use crate::handle::{Handle, direct_alignment, with_file};
use crate::helpers::close::PortFile;
use crate::info::Shrink;
use crate::port::{Device, Port, PortInner};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use steadfast_abi::{handle_kind, open_flag};
use steadfast_shell::sync::lock;

/// The parameter that file drivers take for *past the page cache*.
const DIRECT: &str = "direct";

/// What a port lies on, where that is one file.
pub(crate) struct Base {
    target: String,
    direct: bool,
    file: Arc<PortFile>,
    device: u64,
}

impl PortInner {
    /// The one file that the port's one device lies on.
    pub(crate) fn base(&self) -> Option<Base> {
        let mut handles = self.handles.iter().flatten();
        // With several, none of them need have anything to do with a device's size.
        let handle: &Handle = handles.next().filter(|_| handles.next().is_none())?;
        let [device] = &self.devices[..] else { return None };
        let block = handle.info.kind == handle_kind::BLOCK;
        if handle.info.size < device.size || !(block || handle.info.kind == handle_kind::REGULAR) {
            return None;
        }
        let file = handle.file.clone()?;
        let direct = handle.spec.flags & open_flag::DIRECT != 0;
        Some(Base { target: handle.spec.target.clone(), direct, file, device: device.size })
    }

    /// Devices that were announced smaller than they were, in words; none is smaller when empty.
    pub(crate) fn shrunk(&self, port: &str) -> Vec<String> {
        smaller(port, &self.devices, &self.announced)
    }
}

/// Devices of `now` that are smaller than they were, in words.
pub(crate) fn smaller(port: &str, before: &[Device], now: &[Device]) -> Vec<String> {
    let pairs = before.iter().filter_map(|b| Some((b, now.iter().find(|n| n.number == b.number)?)));
    let less = pairs.filter(|(before, now)| now.size < before.size);
    less.map(|(before, now)| becomes_smaller(port, before.number, before.size, now.size)).collect()
}

fn becomes_smaller(port: &str, number: u32, from: u64, to: u64) -> String {
    let name = if number == 0 { port.to_owned() } else { format!("{port}.{number}") };
    format!("device {name} becomes smaller, {to} bytes in the place of {from}")
}

impl Base {
    /// Bytes that a driver would find under these parameters, and which of them makes the difference.
    fn under(
        &self,
        values: &BTreeMap<String, String>,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Option<(u64, String)> {
        let mut param = String::new();
        let moved = changes.iter().find_map(|(name, to)| {
            let to = to.as_ref().filter(|_| values.get(name) == Some(&self.target))?;
            param.clone_from(name);
            Some(to)
        });
        let other = match moved {
            Some(target) if *target != self.target => Some(look(target)?),
            _ => None,
        };
        let direct = match changes.get(DIRECT) {
            Some(to) => {
                DIRECT.clone_into(&mut param);
                to.as_deref() == Some("true")
            }
            None => self.direct,
        };
        let size = match other {
            Some(file) => whole_blocks(&file, direct),
            None => with_file(&self.file, |file| whole_blocks(file, direct)),
        };
        Some((size?, param))
    }

    /// The same, where it is less than the device has.
    pub(crate) fn shrinks(
        &self,
        values: &BTreeMap<String, String>,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Option<Shrink> {
        let (to, param) = self.under(values, changes)?;
        (to < self.device).then_some(Shrink { from: self.device, to, param })
    }
}

/// Bytes of a file, or of its whole blocks where it is used past the page cache.
fn whole_blocks(file: &File, direct: bool) -> Option<u64> {
    let size = size_of_file(file)?;
    let unit = if direct && file.metadata().ok()?.is_file() { direct_alignment(file) } else { 1 };
    Some(size - size % u64::from(unit))
}

/// Opens a file to look at its size.
fn look(target: &str) -> Option<File> {
    let meta = std::fs::metadata(target).ok()?;
    if meta.is_dir() {
        return None;
    }
    File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(target).ok()
}

impl Port {
    /// Devices that have fewer bytes than those, in words.
    pub(crate) fn too_small(&self, at_least: &BTreeMap<u32, u64>) -> Vec<String> {
        let devices = lock(&self.inner).devices.clone();
        let less = devices.iter().filter_map(|d| Some((d, *at_least.get(&d.number)?)));
        less.filter(|(device, least)| device.size < *least)
            .map(|(device, least)| becomes_smaller(&self.name, device.number, least, device.size))
            .collect()
    }

    /// What makes the port's device smaller, if these parameters changed.
    pub(crate) fn shrinks(&self, changes: &BTreeMap<String, Option<String>>) -> Option<Shrink> {
        let (base, values) = {
            let inner = lock(&self.inner);
            let serving = inner.serving.as_ref()?;
            let values = serving.values().into_iter().map(|(name, value)| (name, value.to_string()));
            (inner.base()?, values.collect())
        };
        let changes = changes.clone();
        // What does not answer is not known. Whoever opens it next learns that.
        ask_file(&self.name, move || base.shrinks(&values, &changes)).flatten()
    }
}

impl Control {
    /// As [`Engine::shrinks`](crate::Engine::shrinks).
    pub(crate) fn shrinks(&self, port: &str, changes: &BTreeMap<String, Option<String>>) -> Option<Shrink> {
        self.find(port)?.shrinks(changes)
    }
}

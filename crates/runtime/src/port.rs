//! What belongs to a port whichever driver serves it: slots, state, regions, handles, devices.

use crate::abandon::Pinned;
use crate::adapters::Seat;
use crate::arena::Arenas;
use crate::contents::{self, Contents};
use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use crate::filelock::{FileLock, Share};
use crate::handle::{FileSlots, Handle, OpenSpec, Opened, lock, open_file};
use crate::helpers::Desks;
use crate::instance::{Instance, Made};
use crate::job::Job;
use crate::left::States;
use crate::limits::{Limits, slots_per_queue};
use crate::memory::{Mapping, pages};
use crate::remote::Remote;
use crate::rules::PortRules;
use crate::shadow::Trial;
use crate::sight::Sight;
use crate::stack::WeakEngine;
use crate::turn::Turns;
use crate::visit::Visit;
use crate::{DeviceInfo, PortId, RegionSummary};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use steadfast_abi as abi;
use steadfast_abi::block_feature;
use steadfast_loader::LoadedModule;
use steadfast_shell::manifest::Manifest;
use steadfast_shell::params::{IO_SLOTS, MAX_TRANSFER, ShellDefaults, ShellParams};
use steadfast_shell::properties::Properties;
use steadfast_shell::receipt::{Receipt, Release};

/// Bytes from one request header to the next.
pub(crate) const SLOT_STRIDE: usize = 64;
/// Bytes from one PDU to the next, and so the most that a driver can have.
pub(crate) const PDU_STRIDE: usize = 256;
/// Bytes before each data buffer that are not the driver's: room for a frontend's reply header, and
/// a page so that the buffer stays page-aligned.
pub(crate) const DATA_LEAD: usize = 4096;

/// The slots of one port on one queue, in memory.
///
/// Their addresses stay what they are when a port comes to have more of them, or larger ones: it is mapped
/// for as many and as large ones as there can be, and what nobody has touched takes no memory.
#[derive(Debug)]
pub(crate) struct SlotMemory {
    map: Mapping,
    /// Most slots that there is room for.
    pub(crate) room: u32,
    /// Most bytes of data in one that there is room for.
    pub(crate) data_room: u32,
    /// Most bytes that a request has ever been allowed to have: there may be one of them yet.
    most_data: AtomicU32,
    pdus: usize,
    data: usize,
    pub(crate) data_stride: usize,
}

impl SlotMemory {
    /// For whatever the port's parameters can become; where the process may not map that much, for what
    /// they are now.
    pub(crate) fn new(port: &str, queues: usize, params: &ShellParams) -> std::io::Result<SlotMemory> {
        let (count, data_size) = (slots_per_queue(params.io_slots, queues), params.max_transfer);
        let most = slots_per_queue(*IO_SLOTS.end() as u32, queues);
        let memory = SlotMemory::exactly(port, most, *MAX_TRANSFER.end() as u32);
        let memory = memory.or_else(|_| SlotMemory::exactly(port, count, data_size))?;
        memory.most_data.store(data_size, Ordering::Relaxed);
        Ok(memory)
    }

    /// For so many slots of that size and no others.
    pub(crate) fn exactly(port: &str, count: u32, data_size: u32) -> std::io::Result<SlotMemory> {
        let n = count as usize;
        let pdus = pages(n * SLOT_STRIDE);
        let data = pdus + pages(n * PDU_STRIDE);
        let data_stride = DATA_LEAD + pages(data_size as usize);
        let name = CString::new(format!("steadfast-slots-{port}")).unwrap_or_default();
        let map = Mapping::new(&name, data + n * data_stride)?;
        map.leave_out_of_dumps();
        let most_data = AtomicU32::new(data_size);
        Ok(SlotMemory { map, room: count, data_room: data_size, most_data, pdus, data, data_stride })
    }

    /// Most bytes that a request can have, those included that were made under a larger `max_transfer`.
    pub(crate) fn most_data(&self) -> u32 {
        self.most_data.load(Ordering::Acquire)
    }

    /// Requests may have so many bytes from here on.
    pub(crate) fn allow_data(&self, bytes: u32) {
        self.most_data.fetch_max(bytes.min(self.data_room), Ordering::AcqRel);
    }

    pub(crate) fn slots(&self) -> *mut u8 {
        self.map.base()
    }

    pub(crate) fn pdus(&self) -> *mut u8 {
        self.map.base().wrapping_add(self.pdus)
    }

    /// The data buffer of slot 0.
    pub(crate) fn data(&self) -> *mut u8 {
        self.map.base().wrapping_add(self.data + DATA_LEAD)
    }
}

/// A device that a port serves.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) number: u32,
    pub(crate) size: u64,
    pub(crate) block_size: u32,
    pub(crate) preferred_block_size: u32,
    pub(crate) max_transfer: u32,
    pub(crate) features: u64,
    pub(crate) wwid: String,
}

impl Device {
    /// Leaves what this device and `other` have in common: less room, fewer features, larger blocks.
    pub(crate) fn keep_common(&mut self, other: &Device) {
        let read_only = (self.features | other.features) & block_feature::READ_ONLY;
        self.features = self.features & other.features | read_only;
        self.size = self.size.min(other.size);
        self.block_size = self.block_size.max(other.block_size);
        self.preferred_block_size = self.preferred_block_size.max(other.preferred_block_size);
    }
}

/// What the clients of one device have been offered.
#[derive(Clone, Debug)]
pub(crate) struct Offers {
    pub(crate) clients: u32,
    features: [u32; 64],
}

impl Default for Offers {
    fn default() -> Offers {
        Offers { clients: 0, features: [0; 64] }
    }
}

impl Offers {
    pub(crate) fn add(&mut self, features: u64) {
        self.clients += 1;
        for (bit, n) in self.features.iter_mut().enumerate() {
            *n += (features >> bit & 1) as u32;
        }
    }

    pub(crate) fn remove(&mut self, features: u64) {
        self.clients = self.clients.saturating_sub(1);
        for (bit, n) in self.features.iter_mut().enumerate() {
            *n = n.saturating_sub((features >> bit & 1) as u32);
        }
    }

    /// Features that at least one client relies on.
    pub(crate) fn relied_on(&self) -> u64 {
        self.features.iter().enumerate().fold(0, |all, (bit, n)| all | u64::from(*n > 0) << bit)
    }
}

/// Features whose absence breaks a promise to a client. The others describe, or switch on something
/// that a client must be ready to do without.
pub(crate) const PROMISES: u64 = block_feature::FLUSH
    | block_feature::FUA
    | block_feature::TRIM
    | block_feature::WRITE_ZEROES
    | block_feature::FAST_ZERO
    | block_feature::CACHE
    | block_feature::STATUS
    | block_feature::MULTI_CONN;

/// The driver that served a port before nobody did.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) manifest: Manifest,
    pub(crate) release: Release,
    pub(crate) opened: Vec<contents::Opened>,
}

impl Left {
    pub(crate) fn pdu_size(&self) -> usize {
        self.manifest.pdu.as_ref().map_or(0, |pdu| pdu.size as usize)
    }
}

/// A region of memory by name.
#[derive(Debug)]
pub(crate) struct RegionMemory {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) map: Mapping,
}

impl RegionMemory {
    /// The same contents at another address, which changes leave as they are here.
    pub(crate) fn private_copy(&self) -> std::io::Result<RegionMemory> {
        Ok(RegionMemory { name: self.name.clone(), size: self.size, map: self.map.private_copy()? })
    }

    pub(crate) fn summary(&self) -> RegionSummary {
        RegionSummary { name: self.name.clone(), size: self.size }
    }
}

/// The parts of a port that change, all off the hot path.
#[derive(Debug, Default)]
pub(crate) struct PortInner {
    /// What was defined, where and in which layer.
    pub(crate) properties: Properties,
    pub(crate) rules: PortRules,
    pub(crate) states: States,
    /// By number; a gap is one that only a refused driver had.
    pub(crate) regions: Vec<Option<RegionMemory>>,
    /// By handle number; a gap is a handle that was given up.
    pub(crate) handles: Vec<Option<Handle>>,
    pub(crate) devices: Vec<Device>,
    /// What a driver announced within `connect`: replaces `devices` when the update succeeds.
    pub(crate) announced: Vec<Device>,
    pub(crate) offers: BTreeMap<u32, Offers>,
    pub(crate) serving: Option<Arc<Instance>>,
    /// Set while nobody serves although there was somebody.
    pub(crate) left: Option<Left>,
    /// Set while nobody is to serve: the module of who does once the port comes up.
    pub(crate) down: Option<Arc<LoadedModule>>,
    /// Nobody else gets a device of it: it is being taken down, or gets other contents.
    pub(crate) shut: bool,
    /// Likewise as long as it is not 0: somebody is about to accept what its medium has lost.
    pub(crate) accepting: u32,
    /// The driver that comes may announce smaller devices than there were.
    pub(crate) may_shrink: bool,
    /// A transaction that a queue has not taken part in to the end.
    pub(crate) unfinished: Option<Arc<Job>>,
    /// Queues that every device which its driver wanted to open is on, once one was on others.
    pub(crate) suits: Option<Vec<usize>>,
    /// Parameters that a driver has been told of and has not answered for.
    pub(crate) visit: Option<Arc<Visit>>,
    pub(crate) swaps: u64,
    pub(crate) driver_faults: u64,
    pub(crate) last_receipt: Option<Receipt>,
    /// Drivers that were left to themselves.
    pub(crate) abandoned: Vec<Pinned>,
    /// A candidate is on trial beside the driver.
    pub(crate) trial: Option<Arc<Trial>>,
}

impl PortInner {
    /// Clients of all of its devices.
    pub(crate) fn clients(&self) -> u32 {
        self.offers.values().map(|o| o.clients).sum()
    }
}

/// A port.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) id: PortId,
    pub(crate) name: String,
    /// Its place at its adapter.
    pub(crate) seat: Seat,
    /// Engine's numbers of the queues that the port is spread over.
    pub(crate) queues: Vec<usize>,
    pub(crate) remotes: Vec<Arc<Remote>>,
    pub(crate) memory: Vec<SlotMemory>,
    pub(crate) files: Arc<FileSlots>,
    pub(crate) engine: WeakEngine,
    pub(crate) generation: AtomicU64,
    pub(crate) epoch_unix_ms: AtomicU64,
    pub(crate) next_queue: AtomicU64,
    pub(crate) inner: Mutex<PortInner>,
    pub(crate) arenas: Arenas,
    /// Of the one transaction that a port can be in.
    pub(crate) turns: Turns,
    /// What the shell's own parameters are where nobody says it.
    pub(crate) shell: ShellDefaults,
    pub(crate) limits: Limits,
    /// Set for the port of a candidate on trial.
    pub(crate) shadow: Option<Arc<Trial>>,
}

impl Port {
    /// It has other devices than before, or one is another.
    pub(crate) fn devices_changed(&self) {
        if let Some(engine) = self.engine.upgrade() {
            engine.devices_changed();
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Finds an open handle, or opens one: its number and whether it was opened, or an errno and why.
    pub(crate) fn open(
        &self,
        key: &str,
        spec: &OpenSpec,
        may_open: bool,
    ) -> Result<(u32, bool), (i32, String)> {
        {
            let inner = lock(&self.inner);
            let same = |h: &Handle| h.key == key && h.spec == *spec && !h.stale && self.is_alive(h);
            let known = |h: &Option<Handle>| h.as_ref().is_some_and(same);
            if let Some(number) = inner.handles.iter().position(known) {
                return Ok((number as u32, false));
            }
        }
        if self.shadow.is_some() {
            let what = "the driver that serves does not have it open so, and a trial opens nothing";
            return Err((libc::EPERM, format!("{}: {what}", spec.target)));
        }
        if !may_open {
            return Err((libc::EPERM, format!("{}: resources are opened in `prepare` only", spec.target)));
        }
        if spec.kind == abi::open_kind::DEVICE {
            return self.open_device(key, spec).map(|number| (number, true));
        }
        if spec.kind != abi::open_kind::FILE {
            return Err((libc::EOPNOTSUPP, format!("kind {} cannot be opened here", spec.kind)));
        }
        let Opened { file, contents, info, tries, share } =
            open_file(spec, |contents| self.lock_on(contents))?;
        self.check_overlap(share.as_deref(), spec, info.read_only == 0)?;
        let gone = || (libc::ENODEV, "the daemon ends".to_owned());
        let media = &self.engine.upgrade().ok_or_else(gone)?.media;
        let cached = spec.flags & abi::open_flag::WRITE != 0 && spec.flags & abi::open_flag::DIRECT == 0;
        let watch = media.watch(&file, &contents, &spec.target, cached);
        let sight = Sight::new(&self.name, &spec.target, &contents, &info, watch.clone());
        let full = (libc::EMFILE, "every place for open files is taken".to_owned());
        let fixed = self.files.take().ok_or(full)?;
        self.register(fixed, file.as_raw_fd());
        let regular = info.kind == abi::handle_kind::REGULAR;
        let direct = spec.flags & abi::open_flag::DIRECT != 0;
        let label = format!("port {}: {}", self.name, spec.target);
        let queues = self.queues.len();
        let desks = Desks::new(file.clone(), sight.end(), regular, (direct, tries), label, queues);
        let (key, spec, file) = (key.to_owned(), spec.clone(), Some(file));
        let (device, desks) = (None, Some(Arc::new(desks)));
        let (watch, sight, stale) = (Some(watch), Some(sight), false);
        let handle =
            Handle { key, spec, file, device, desks, fixed, info, contents, share, watch, sight, stale };
        Ok((self.add_handle(handle), true))
    }

    /// What locks a file for the port already.
    fn lock_on(&self, contents: &Contents) -> Option<Arc<FileLock>> {
        let inner = lock(&self.inner);
        inner.handles.iter().flatten().find_map(|handle| handle.share.as_ref()?.on(contents))
    }

    /// No other port writes to bytes that this one reads, nor reads bytes that it writes: by another node, as a
    /// partition of it or the disk that it is a partition of, or as what one of them lies on, such as the file of a
    /// loop device. Of two who write to one block device, the kernel's claim keeps one away.
    fn check_overlap(&self, mine: Option<&Share>, spec: &OpenSpec, write: bool) -> Result<(), (i32, String)> {
        let (Some(mine), Some(engine)) = (mine, self.engine.upgrade()) else { return Ok(()) };
        for port in (Engine { inner: engine }).all_ports().into_iter().filter(|port| port.id != self.id) {
            for handle in lock(&port.inner).handles.iter().flatten() {
                let Some(theirs) = &handle.share else { continue };
                if (write || handle.info.read_only == 0) && mine.ground().shares_bytes(theirs.ground()) {
                    let (target, name, other) = (&spec.target, &port.name, &handle.spec.target);
                    let what = format!(
                        "{target}: port {name} has it, what it lies on, its disk or a partition of it as {other}"
                    );
                    return Err((libc::EBUSY, what));
                }
            }
        }
        Ok(())
    }

    /// Slots of each queue under `params`, where there is room for them and for the largest request.
    pub(crate) fn room_for(&self, params: &ShellParams) -> Result<u32, String> {
        let slots = slots_per_queue(params.io_slots, self.queues.len());
        if self.memory.iter().all(|m| slots <= m.room && params.max_transfer <= m.data_room) {
            return Ok(slots);
        }
        Err(format!(
            "io_slots={} and max_transfer={}: the process may not map memory for more than it began with; \
             they take effect at the next start (see `ulimit -v`)",
            params.io_slots, params.max_transfer
        ))
    }

    /// Gives a handle its number.
    pub(crate) fn add_handle(&self, handle: Handle) -> u32 {
        let mut inner = lock(&self.inner);
        match inner.handles.iter().position(Option::is_none) {
            Some(gap) => {
                inner.handles[gap] = Some(handle);
                gap as u32
            }
            None => {
                inner.handles.push(Some(handle));
                inner.handles.len() as u32 - 1
            }
        }
    }

    /// Puts `fd` (-1: nothing) at place `fixed` of the file table of each of the port's rings, and
    /// waits until it is there.
    fn register(&self, fixed: u32, fd: i32) {
        for remote in &self.remotes {
            remote.call(move |rt| rt.register_file(fixed, fd));
        }
    }

    /// Closes every handle whose number is not in `keep`.
    pub(crate) fn close_all_but(&self, keep: &[u32]) {
        self.close_where(|number| !keep.contains(&number));
    }

    /// Takes back what a driver got that never served.
    pub(crate) fn take_back(&self, made: &Made) {
        self.close_where(|number| made.handles.contains(&number));
        let mut inner = lock(&self.inner);
        for number in &made.regions {
            if let Some(region) = inner.regions.get_mut(*number as usize) {
                *region = None;
            }
        }
    }

    fn close_where(&self, gone: impl Fn(u32) -> bool) {
        let gone: Vec<Handle> = {
            let mut inner = lock(&self.inner);
            let places = inner.handles.iter_mut().enumerate();
            places.filter(|(i, _)| gone(*i as u32)).filter_map(|(_, h)| h.take()).collect()
        };
        for handle in gone {
            if let Some(device) = &handle.device {
                self.close_device(device);
                continue;
            }
            self.register(handle.fixed, -1);
            let hangs = handle.desks.as_ref().is_some_and(|desks| !desks.close());
            if hangs {
                let target = &handle.spec.target;
                tracing::warn!(
                    port = self.name,
                    "{target} stays open, and locked: a call on it hangs in the kernel"
                );
            }
            self.files.give(handle.fixed);
        }
    }

    /// Finds or makes a region: number, address, size, whether it is new.
    pub(crate) fn region(
        &self,
        name: &str,
        size: u64,
        may_make: bool,
    ) -> Result<(u32, usize, u64, bool), i32> {
        let mut inner = lock(&self.inner);
        let mut known = inner.regions.iter().enumerate().filter_map(|(i, r)| Some((i, r.as_ref()?)));
        if let Some((number, r)) = known.find(|(_, r)| r.name == name) {
            let same = size == 0 || r.size == size;
            return if same {
                Ok((number as u32, r.map.base() as usize, r.size, false))
            } else {
                Err(libc::EEXIST)
            };
        }
        if !may_make || size == 0 {
            return Err(libc::ENOENT);
        }
        let len = usize::try_from(size).map_err(|_| libc::ENOMEM)?;
        let label = CString::new(format!("steadfast-{}-{name}", self.name)).unwrap_or_default();
        let map = Mapping::copyable(&label, len).map_err(|e| e.raw_os_error().unwrap_or(libc::ENOMEM))?;
        let base = map.base() as usize;
        let region = Some(RegionMemory { name: name.to_owned(), size, map });
        let number = match inner.regions.iter().position(Option::is_none) {
            Some(gap) => gap,
            None => {
                inner.regions.push(None);
                inner.regions.len() - 1
            }
        };
        inner.regions[number] = region;
        Ok((number as u32, base, size, true))
    }

    /// Checks a device that a driver announces against sense and against what clients rely on.
    pub(crate) fn check_announcement(&self, device: &Device) -> Result<(), (i32, String)> {
        let d = device;
        let invalid = |what: String| Err((libc::EINVAL, format!("device {}: {what}", d.number)));
        if !d.block_size.is_power_of_two() || d.block_size > 65536 {
            return invalid(format!("block size {} is not a power of two from 1 to 65536", d.block_size));
        }
        if !d.preferred_block_size.is_power_of_two() || d.preferred_block_size < d.block_size {
            let (p, b) = (d.preferred_block_size, d.block_size);
            return invalid(format!(
                "preferred block size {p} is not a power of two from the block size {b} up"
            ));
        }
        if d.size == 0 || !d.size.is_multiple_of(u64::from(d.block_size)) || d.size > i64::MAX as u64 {
            let (s, b) = (d.size, d.block_size);
            return invalid(format!("size {s} is not a positive multiple of the block size {b}"));
        }
        if d.max_transfer != 0 && d.max_transfer < d.block_size {
            return invalid(format!(
                "largest request {} is below the block size {}",
                d.max_transfer, d.block_size
            ));
        }
        self.check_kept(device)
    }

    fn check_kept(&self, d: &Device) -> Result<(), (i32, String)> {
        let inner = lock(&self.inner);
        let Some(offers) = inner.offers.get(&d.number).filter(|o| o.clients > 0) else { return Ok(()) };
        let Some(now) = inner.devices.iter().find(|known| known.number == d.number) else { return Ok(()) };
        let busy = |what: String| Err((libc::EBUSY, format!("device {}: {what}", d.number)));
        if d.size < now.size {
            return busy(format!("size {} is smaller than the {} that clients use", d.size, now.size));
        }
        if d.block_size > now.block_size {
            let (new, old) = (d.block_size, now.block_size);
            return busy(format!("block size {new} is larger than the {old} that clients use"));
        }
        let lost = offers.relied_on() & PROMISES & !d.features;
        if lost != 0 {
            return busy(format!("features that clients rely on are missing: {}", feature_names(lost)));
        }
        if !now.wwid.is_empty() && d.wwid != now.wwid {
            let (new, old) = (&d.wwid, &now.wwid);
            return busy(format!("it is another device ({new:?}) than the one that clients use ({old:?})"));
        }
        if d.features & block_feature::READ_ONLY & !now.features != 0 {
            return busy("it would become read-only under its clients".to_owned());
        }
        Ok(())
    }

    /// A device as the control plane shows it.
    pub(crate) fn device_info(&self, device: &Device) -> DeviceInfo {
        DeviceInfo {
            name: if device.number == 0 {
                self.name.clone()
            } else {
                format!("{}.{}", self.name, device.number)
            },
            port: self.name.clone(),
            number: device.number,
            size: device.size,
            block_size: device.block_size,
            preferred_block_size: device.preferred_block_size,
            max_transfer: device.max_transfer,
            features: device.features,
            feature_names: feature_list(device.features),
            wwid: device.wwid.clone(),
            generation: self.generation(),
        }
    }

    /// Refuses names that could not be an export, a file name or a word in a table.
    pub(crate) fn check_name(name: &str) -> Result<(), EngineError> {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if !name.is_empty() && name.len() <= 64 && name.chars().all(fine) {
            return Ok(());
        }
        let what = format!("name {name:?}: allowed are 1 to 64 letters, digits, '-' and '_'");
        Err(EngineError::new(ErrorKind::Invalid, what))
    }
}

/// Names of feature bits, in the order of the bits.
pub(crate) fn feature_list(features: u64) -> Vec<String> {
    let named = |bit: u32| {
        let name = block_feature::NAMES.get(bit as usize);
        name.map_or_else(|| format!("bit-{bit}"), |n| (*n).to_owned())
    };
    (0..64).filter(|bit| features >> bit & 1 == 1).map(named).collect()
}

fn feature_names(features: u64) -> String {
    feature_list(features).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_are_relied_on_while_a_client_has_them() {
        let mut offers = Offers::default();
        offers.add(block_feature::TRIM | block_feature::FLUSH);
        offers.add(block_feature::FLUSH);
        offers.remove(block_feature::TRIM | block_feature::FLUSH);
        assert_eq!((offers.clients, offers.relied_on()), (1, block_feature::FLUSH));
    }

    #[test]
    fn what_two_devices_have_in_common_is_the_lesser_of_both() {
        let device = |size, block_size, features| Device {
            number: 0,
            size,
            block_size,
            preferred_block_size: block_size,
            max_transfer: 0,
            features,
            wwid: String::new(),
        };
        let mut old = device(8192, 1, block_feature::TRIM | block_feature::FLUSH);
        old.keep_common(&device(4096, 512, block_feature::FLUSH | block_feature::READ_ONLY));
        assert_eq!((old.size, old.block_size), (4096, 512));
        assert_eq!(old.features, block_feature::FLUSH | block_feature::READ_ONLY);
    }

    #[test]
    fn names_are_words() {
        assert!(Port::check_name("vol-0_A").is_ok());
        for bad in ["", "a b", "../x", "a/b", "ä", &"x".repeat(65)] {
            assert!(Port::check_name(bad).is_err(), "{bad}");
        }
    }
}

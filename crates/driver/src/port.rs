//! A port as its driver sees it: devices, handles, regions.

use crate::log::{self, Level, Log};
use crate::{Errno, Error, Result};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use steadfast_abi as abi;

/// The port that an entry point is called for.
pub struct Port<'a> {
    raw: *mut abi::Port,
    life: PhantomData<&'a ()>,
}

impl Port<'_> {
    /// # Safety
    /// `raw` is live for the lifetime that the caller gives the result, with a shell table.
    pub(crate) unsafe fn new(raw: *mut abi::Port) -> Self {
        Port { raw, life: PhantomData }
    }

    pub(crate) fn raw(&self) -> *mut abi::Port {
        self.raw
    }

    pub(crate) fn abi(&self) -> &abi::Port {
        // SAFETY: live while `self` is, by `new`; the shell does not write to it within an entry.
        unsafe { &*self.raw }
    }

    pub(crate) fn shell(&self) -> &abi::ShellOps {
        // SAFETY: the shell's table is a constant that outlives the port.
        unsafe { &*self.abi().shell }
    }

    /// Number of the port within its adapter.
    pub fn number(&self) -> u32 {
        self.abi().number
    }

    /// Queues that the port is spread over.
    pub fn queues(&self) -> u32 {
        self.abi().queues
    }

    /// Features that the shell lets the driver use.
    pub fn features(&self) -> u64 {
        self.abi().features
    }

    /// Monotonic clock, nanoseconds.
    pub fn now_ns(&self) -> u64 {
        // SAFETY: `now` takes nothing and may be called anywhere.
        self.shell().now.map_or(0, |now| unsafe { now() })
    }

    /// Announces a device, or says that its properties changed. Features that the shell does not
    /// allow are left out.
    pub fn announce(&mut self, device: &Device<'_>) -> Result<()> {
        let block = abi::BlockDevice {
            struct_size: size_of::<abi::BlockDevice>() as u32,
            number: device.number,
            size: device.size,
            block_size: device.block_size,
            preferred_block_size: device.preferred_block_size.max(device.block_size),
            max_transfer: device.max_transfer,
            reserved: 0,
            features: device.features & self.features(),
            wwid: abi::Str::new(device.wwid),
        };
        let announce = self.shell().announce.ok_or(Errno::NOSYS)?;
        // SAFETY: the port is live; `block` and what it points to outlive the call.
        let result = Errno::check(unsafe { announce(self.raw, &block) });
        result.map(|_| ()).map_err(|e| {
            Error::new(
                e,
                format!(
                    "device {}: size {}, block size {}: {e}",
                    device.number, device.size, device.block_size
                ),
            )
        })
    }

    /// Withdraws the device `number`.
    pub fn withdraw(&mut self, number: u32) -> Result<()> {
        let withdraw = self.shell().withdraw.ok_or(Errno::NOSYS)?;
        // SAFETY: the port is live.
        Errno::check(unsafe { withdraw(self.raw, number) })?;
        Ok(())
    }

    /// Says what is behind a handle.
    pub fn handle_info(&self, handle: Handle) -> Result<HandleInfo> {
        let mut info = abi::HandleInfo {
            struct_size: size_of::<abi::HandleInfo>() as u32,
            ..abi::HandleInfo::default()
        };
        let handle_info = self.shell().handle_info.ok_or(Errno::NOSYS)?;
        // SAFETY: the port is live; the shell only writes to `info`.
        Errno::check(unsafe { handle_info(self.raw, handle.0, &mut info) })?;
        Ok(HandleInfo {
            is_block_device: info.kind == abi::handle_kind::BLOCK,
            size: info.size,
            block_size: info.block_size.max(1),
            preferred_block_size: info.preferred_block_size.max(info.block_size).max(1),
            read_only: info.read_only != 0,
            rotational: info.rotational != 0,
            can_punch: info.can_punch != 0,
            can_zero: info.can_zero != 0,
            is_device: info.kind == abi::handle_kind::DEVICE,
            features: info.features,
        })
    }

    /// Says that a feature is left out because memory is short, and why, in words for operators. Within
    /// `prepare`, `connect` and `queue_start`; a shell too old to be told is passed over.
    pub fn reduce(&self, feature: &str, why: &str) {
        if let Some(reduce) = self.shell().reduce {
            // SAFETY: the port is live; the shell copies both texts within the call.
            unsafe { reduce(self.raw, abi::Str::new(feature), abi::Str::new(why)) };
        }
    }

    pub(crate) fn set_state(&self, schema: &str, bytes: &[u8]) -> Result<()> {
        let set_state = self.shell().set_state.ok_or(Errno::NOSYS)?;
        let bytes = abi::Str { ptr: bytes.as_ptr(), len: bytes.len() };
        // SAFETY: the port is live; the shell copies the bytes within the call.
        Errno::check(unsafe { set_state(self.raw, abi::Str::new(schema), bytes) })
            .map_err(|e| Error::new(e, format!("state {schema}: {} bytes: {e}", bytes.len)))?;
        Ok(())
    }

    pub(crate) fn get_state<'b>(&'b self, schema: &str) -> Result<Option<&'b [u8]>> {
        let get_state = self.shell().get_state.ok_or(Errno::NOSYS)?;
        let mut bytes = abi::Str::EMPTY;
        // SAFETY: the port is live; the shell only writes to `bytes`.
        match Errno::check(unsafe { get_state(self.raw, abi::Str::new(schema), &mut bytes) }) {
            // SAFETY: valid until `connect` returns, and `'b` ends before that.
            Ok(_) => Ok(Some(unsafe { bytes.bytes() })),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::new(e, format!("state {schema}: {e}"))),
        }
    }
}

impl Log for Port<'_> {
    fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        // SAFETY: the port is live while `self` is.
        unsafe { log::write(self.raw, level, line) };
    }
}

/// A port while its driver gets ready: the only time to open handles and make regions.
pub struct Prepare<'a> {
    pub(crate) port: Port<'a>,
}

impl<'a> Deref for Prepare<'a> {
    type Target = Port<'a>;
    fn deref(&self) -> &Port<'a> {
        &self.port
    }
}

impl Log for Prepare<'_> {
    fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        self.port.log(level, line);
    }
}

impl Prepare<'_> {
    /// Opens a resource under `key`, or finds it open already: a handle survives a swap.
    pub fn open(&mut self, key: &str, what: &Open<'_>) -> Result<Handle> {
        let open = abi::Open {
            size: size_of::<abi::Open>() as u32,
            kind: what.kind,
            flags: what.flags,
            key: abi::Str::new(key),
            target: abi::Str::new(what.target),
            local: abi::Str::EMPTY,
            options: abi::Str::EMPTY,
        };
        let call = self.shell().open.ok_or(Errno::NOSYS)?;
        // SAFETY: the port is live; `open` and what it points to outlive the call.
        let handle = Errno::check(unsafe { call(self.raw(), &open) });
        handle.map(Handle).map_err(|e| Error::new(e, format!("{}: {e}", what.target)))
    }

    /// Memory of the port that outlives its drivers, by name; zeroed when new.
    pub fn region(&mut self, name: &str, size: u64) -> Result<Region> {
        let mut region = abi::Region {
            struct_size: size_of::<abi::Region>() as u32,
            number: 0,
            data: std::ptr::null_mut(),
            size: 0,
            created: 0,
            reserved: 0,
        };
        let call = self.shell().region.ok_or(Errno::NOSYS)?;
        // SAFETY: the port is live; the shell only writes to `region`.
        let made = Errno::check(unsafe { call(self.raw(), abi::Str::new(name), size, &mut region) });
        made.map_err(|e| match e {
            // What it holds is not copied, and may not be lost.
            Errno::EXIST => {
                let what = "it is there with another size, which it keeps as long as the port is there";
                Error::new(e, format!("region {name} of {size} bytes: {what}"))
            }
            _ => Error::new(e, format!("region {name} of {size} bytes: {e}")),
        })?;
        if region.data.is_null() || region.size < size {
            return Err(Error::new(Errno::NOMEM, format!("region {name}: {} bytes of {size}", region.size)));
        }
        Ok(Region { number: region.number, data: region.data, size, created: region.created != 0 })
    }
}

/// A block device to announce.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    number: u32,
    size: u64,
    block_size: u32,
    preferred_block_size: u32,
    max_transfer: u32,
    features: u64,
    wwid: &'a str,
}

impl<'a> Device<'a> {
    /// Device `number` of `size` bytes, in blocks of 512, preferred 4096.
    pub fn new(number: u32, size: u64) -> Device<'a> {
        let preferred_block_size = 4096;
        Device { number, size, block_size: 512, preferred_block_size, max_transfer: 0, features: 0, wwid: "" }
    }

    /// Smallest unit of a request; a power of two.
    pub fn block_size(mut self, bytes: u32) -> Self {
        self.block_size = bytes;
        self
    }

    /// Unit that performs best; a power of two.
    pub fn preferred_block_size(mut self, bytes: u32) -> Self {
        self.preferred_block_size = bytes;
        self
    }

    /// Largest request; 0 for no limit of the driver's own.
    pub fn max_transfer(mut self, bytes: u32) -> Self {
        self.max_transfer = bytes;
        self
    }

    /// Bits of [`feature`](crate::feature).
    pub fn features(mut self, bits: u64) -> Self {
        self.features = bits;
        self
    }

    /// World-wide identity.
    pub fn wwid(mut self, text: &'a str) -> Self {
        self.wwid = text;
        self
    }
}

/// What to open.
#[derive(Clone, Copy, Debug)]
pub struct Open<'a> {
    kind: u32,
    target: &'a str,
    flags: u64,
}

impl<'a> Open<'a> {
    /// A regular file or block device, for reading.
    pub fn file(path: &'a str) -> Open<'a> {
        Open { kind: abi::open_kind::FILE, target: path, flags: 0 }
    }

    /// Another device of the daemon, by name, for reading.
    ///
    /// Reads, writes, syncs, `fallocate` (a hole is a trim, a zeroed range is write-zeroes) and extents
    /// become requests to it. Its driver and this one can be replaced at any time.
    pub fn device(name: &'a str) -> Open<'a> {
        Open { kind: abi::open_kind::DEVICE, target: name, flags: 0 }
    }

    /// For writing too, if `yes`.
    pub fn write(self, yes: bool) -> Self {
        self.flag(abi::open_flag::WRITE, yes)
    }

    /// Past the page cache, if `yes`.
    pub fn direct(self, yes: bool) -> Self {
        self.flag(abi::open_flag::DIRECT, yes)
    }

    /// Refuse if another process has it locked, and keep it locked.
    pub fn lock(self) -> Self {
        self.flag(abi::open_flag::LOCK, true)
    }

    fn flag(mut self, flag: u64, yes: bool) -> Self {
        self.flags |= if yes { flag } else { 0 };
        self
    }
}

/// An open resource that the shell owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle(pub(crate) u32);

/// What is behind a handle.
#[derive(Clone, Copy, Debug)]
pub struct HandleInfo {
    /// A block device, otherwise a regular file.
    pub is_block_device: bool,
    /// Bytes.
    pub size: u64,
    /// Alignment that reads and writes need: 1 when buffered.
    pub block_size: u32,
    /// Unit that performs best, bytes.
    pub preferred_block_size: u32,
    /// Opened for reading only.
    pub read_only: bool,
    /// Rotating media.
    pub rotational: bool,
    /// Holes can be punched.
    pub can_punch: bool,
    /// Ranges can be zeroed.
    pub can_zero: bool,
    /// Another device of the daemon.
    pub is_device: bool,
    /// Of a device: what it offers, bits of [`feature`](crate::feature); else 0.
    pub features: u64,
}

/// Memory of the port that outlives its drivers.
///
/// It is shared like the medium of a disk: two requests that touch the same bytes at the same time
/// leave the bytes of either, and no more is promised. So it is copied from and to, never borrowed.
#[derive(Debug)]
pub struct Region {
    pub(crate) number: u32,
    pub(crate) data: *mut u8,
    pub(crate) size: u64,
    created: bool,
}

// SAFETY: the memory belongs to the shell and outlives the driver; all access is by copying bytes.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// It was made just now and is all zeroes; otherwise a driver before this one made it.
    pub fn is_new(&self) -> bool {
        self.created
    }

    /// Address of `len` bytes at `offset`, if they are within.
    pub(crate) fn at(&self, offset: u64, len: u64) -> Result<*mut u8, Errno> {
        match offset.checked_add(len) {
            // SAFETY: `offset` is within the region, by the test.
            Some(end) if end <= self.size => Ok(unsafe { self.data.add(offset as usize) }),
            _ => Err(Errno::INVAL),
        }
    }

    /// Fills `len` bytes at `offset` with `byte`.
    pub fn fill(&self, offset: u64, len: u64, byte: u8) -> Result<(), Errno> {
        let to = self.at(offset, len)?;
        // SAFETY: `at` checked the range; bytes have no invalid value.
        unsafe { std::ptr::write_bytes(to, byte, len as usize) };
        Ok(())
    }
}

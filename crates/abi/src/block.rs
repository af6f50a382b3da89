use crate::{Queue, Str};

/// One request in its slot. The shell fills it; a driver reads it, and owns it from `submit` until it
/// completes it, exactly once.
///
/// It lies in memory that processes may share, and holds no pointer: see [`Queue`] for where its PDU
/// and its data are.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Request {
    /// Number of the slot in its queue.
    pub tag: u32,
    /// Device within the port that the request is for.
    pub device: u32,
    /// What is asked; a number of the class, for example [`block_op`].
    pub op: u16,
    /// Flags of the class, for example [`block_flag`].
    pub flags: u16,
    /// Counts the uses of the slot, so that a stale tag can be told from a live one.
    pub serial: u32,
    /// Block: first byte on the device.
    pub offset: u64,
    /// Block: bytes.
    pub length: u64,
    /// Monotonic clock when the frontend submitted it, nanoseconds; 0 where it was not measured.
    pub submitted_ns: u64,
    /// What the driver answers where it takes requests or events in batches ([`BlockOps::submit_many`],
    /// [`Driver::events`](crate::Driver::events)): [`PENDING`](crate::PENDING) when it gets the request, else as the
    /// result of `submit`. The one field that a driver writes, and no other way of answering reads it. Since ABI 1.2.
    pub result: i32,
    /// Zero; for later fields.
    pub reserved: [u32; 3],
}

/// Request codes of block devices.
pub mod block_op {
    /// Device to data buffer.
    pub const READ: u16 = 1;
    /// Data buffer to device.
    pub const WRITE: u16 = 2;
    /// Everything that was completed before is durable when this completes.
    pub const FLUSH: u16 = 3;
    /// The range's contents are not needed any more; it may read as anything until written.
    pub const TRIM: u16 = 4;
    /// The range reads as zeroes afterwards.
    pub const WRITE_ZEROES: u16 = 5;
    /// Bring the range into cache.
    pub const CACHE: u16 = 6;
    /// Fill the data buffer with [`Extent`](super::Extent)s that cover the range from its first byte
    /// on, as many as are known and fit; the result is their number, at least 1.
    pub const STATUS: u16 = 7;
}

/// Request flags of block devices.
pub mod block_flag {
    /// Force unit access: durable when it completes.
    pub const FUA: u16 = 1 << 0;
    /// Write zeroes without punching holes: the range stays allocated.
    pub const NO_HOLE: u16 = 1 << 1;
    /// Write zeroes only if that is faster than writing them; else fail with `EOPNOTSUPP`.
    pub const FAST_ONLY: u16 = 1 << 2;
}

/// Features of block devices, as bits of [`BlockDevice::features`] and as names in the manifest.
pub mod block_feature {
    /// `flush`: has a volatile cache and obeys FLUSH.
    pub const FLUSH: u64 = 1 << 0;
    /// `fua`: obeys the FUA flag.
    pub const FUA: u64 = 1 << 1;
    /// `trim`: obeys TRIM.
    pub const TRIM: u64 = 1 << 2;
    /// `write-zeroes`: obeys WRITE_ZEROES, quickly or not.
    pub const WRITE_ZEROES: u64 = 1 << 3;
    /// `fast-zero`: can tell whether WRITE_ZEROES is quick (the FAST_ONLY flag).
    pub const FAST_ZERO: u64 = 1 << 4;
    /// `cache`: obeys CACHE.
    pub const CACHE: u64 = 1 << 5;
    /// `status`: can say which ranges are holes or zeroes (STATUS).
    pub const STATUS: u64 = 1 << 6;
    /// `read-only`: refuses everything that writes.
    pub const READ_ONLY: u64 = 1 << 7;
    /// `multi-conn`: a flush through one client's connection covers what was completed through all.
    pub const MULTI_CONN: u64 = 1 << 8;
    /// `rotational`: a seek costs time.
    pub const ROTATIONAL: u64 = 1 << 9;

    /// Names in the manifest, by bit number.
    pub const NAMES: [&str; 10] = [
        "flush",
        "fua",
        "trim",
        "write-zeroes",
        "fast-zero",
        "cache",
        "status",
        "read-only",
        "multi-conn",
        "rotational",
    ];
}

entry_points! {
    /// The class table of block drivers.
    pub struct BlockOps {
        /// `sizeof` of this structure where the driver was built.
        data size: u32,
        /// Zero.
        data reserved: u32,
        /// A request. Returns 0 when it is done, a negative errno when it failed, or
        /// [`PENDING`](crate::PENDING) when [`ShellOps::complete`](crate::ShellOps::complete) will be
        /// called for it. Required.
        required submit: unsafe extern "C" fn(queue: *mut Queue, request: *mut Request) -> i32,
        /// The shell has submitted what it has for now: a driver that gathers requests issues them.
        /// Called after one or more `submit`s and before the queue sleeps or swaps. Optional.
        optional commit: unsafe extern "C" fn(queue: *mut Queue),
        /// Give this request up early if that can be done; it still completes exactly once, with
        /// `-ECANCELED` or its own result. Optional.
        optional abort: unsafe extern "C" fn(queue: *mut Queue, request: *mut Request) -> i32,

        // Since ABI 1.2.
        /// Several requests at once, by tag, in the order in which they came; `count` is at least 1. Each is answered in
        /// [`Request::result`], which is [`PENDING`](crate::PENDING) before the call. A driver that has it must have
        /// `submit` too, for one request, and because a shell may call either; this shell calls `submit`. Optional.
        optional submit_many: unsafe extern "C" fn(queue: *mut Queue, tags: *const u32, count: u32),
    }
}

// SAFETY: a `BlockOps` is a constant of its module; nobody writes to it.
unsafe impl Sync for BlockOps {}

/// A block device, as [`ShellOps::announce`](crate::ShellOps::announce) takes it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BlockDevice {
    /// `sizeof` of this structure where the driver was built.
    pub struct_size: u32,
    /// Number within the port; requests carry it.
    pub number: u32,
    /// Bytes; a multiple of `block_size`, not 0.
    pub size: u64,
    /// Smallest unit of a request: a power of two, 1 to 65536. Requests are always aligned to it.
    pub block_size: u32,
    /// Unit that performs best: a power of two, at least `block_size`.
    pub preferred_block_size: u32,
    /// Largest request the driver takes, bytes; 0 for no limit of its own.
    pub max_transfer: u32,
    /// Zero.
    pub reserved: u32,
    /// Bits of [`block_feature`].
    pub features: u64,
    /// World-wide identity, `naa.…`, `eui.…`, `uuid.…` or any stable text; empty where there is none.
    pub wwid: Str,
}

/// One answer of STATUS. The extents of an answer follow one another without gaps.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Bytes.
    pub length: u64,
    /// Bits of [`extent`].
    pub flags: u64,
}

/// Flags of an [`Extent`].
pub mod extent {
    /// Not allocated.
    pub const HOLE: u64 = 1 << 0;
    /// Reads as zeroes.
    pub const ZERO: u64 = 1 << 1;
}

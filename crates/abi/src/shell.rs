use crate::{BlockDevice, Op, Port, Queue, Seg, Str};

/// The shell's functions. One constant table, valid as long as any module is loaded.
///
/// Functions return 0 or a number on success and a negative errno otherwise.
#[repr(C)]
pub struct ShellOps {
    /// `sizeof` of this structure where the shell was built.
    pub size: u32,
    /// [`ABI_MAJOR`](crate::ABI_MAJOR) of the shell.
    pub abi_major: u16,
    /// [`ABI_MINOR`](crate::ABI_MINOR) of the shell.
    pub abi_minor: u16,

    /// Issues an operation; returns its number. `-EINVAL`: malformed; `-EBADF`: no such handle;
    /// `-EFAULT`: memory that is not the driver's; `-EAGAIN`: more in flight than the manifest's
    /// `ops` and `port-ops` allow; `-EPERM`: while the port is held, that is within `connect`,
    /// `queue_start` and their like (see [`Driver::queue_run`](crate::Driver::queue_run)).
    pub issue: Option<unsafe extern "C" fn(queue: *mut Queue, op: *const Op) -> i32>,
    /// Asks for an operation to end early. Its event comes all the same, once.
    pub cancel: Option<unsafe extern "C" fn(queue: *mut Queue, id: u32) -> i32>,
    /// Completes the request in slot `tag` with 0 (or a count, for STATUS) or a negative errno. The
    /// driver owns it no more. Completing a request that the driver does not own returns `-EINVAL`
    /// and is recorded as a fault of the driver.
    pub complete: Option<unsafe extern "C" fn(queue: *mut Queue, tag: u32, result: i32) -> i32>,
    /// Calls `timer(id)` after `ns` nanoseconds; setting it again replaces it, 0 stops it. `id` runs
    /// below [`TIMERS`]. A timer survives a swap.
    pub timer: Option<unsafe extern "C" fn(queue: *mut Queue, id: u32, ns: u64) -> i32>,

    /// Leaves state of one schema with the shell, which copies it. At most [`MAX_STATE`] bytes. Only
    /// within `disconnect` and `save_state`.
    pub set_state: Option<unsafe extern "C" fn(port: *mut Port, schema: Str, bytes: Str) -> i32>,
    /// State of the given schema: 0 and the bytes, valid until `connect` returns, or `-ENOENT`. Only
    /// within `connect` and `reconnect`.
    pub get_state: Option<unsafe extern "C" fn(port: *mut Port, schema: Str, bytes: *mut Str) -> i32>,

    /// Announces a block device or says that its properties changed. Within `connect` it takes effect
    /// only when the update succeeds. `-EINVAL`: impossible sizes; `-EBUSY`: smaller than, or without
    /// features of, what the OS relies on.
    pub announce: Option<unsafe extern "C" fn(port: *mut Port, device: *const BlockDevice) -> i32>,
    /// Withdraws a device.
    pub withdraw: Option<unsafe extern "C" fn(port: *mut Port, number: u32) -> i32>,

    /// Opens a resource, or finds it open already under the same key with the same description (so a
    /// handle survives a swap); returns the handle. Opening is done only within `prepare`; elsewhere
    /// an open handle is found, or `-EPERM`.
    pub open: Option<unsafe extern "C" fn(port: *mut Port, open: *const Open) -> i32>,
    /// Gives a handle up. It is closed when no driver of the port uses it any more.
    pub close: Option<unsafe extern "C" fn(port: *mut Port, handle: u32) -> i32>,
    /// Says what is behind a handle.
    pub handle_info: Option<unsafe extern "C" fn(port: *mut Port, handle: u32, info: *mut HandleInfo) -> i32>,

    /// Memory of the port that outlives its drivers, by name, zeroed when new; returns its number.
    /// Made only within `prepare`; elsewhere found, or `-ENOENT`. A region that exists with another
    /// size is `-EEXIST`.
    pub region:
        Option<unsafe extern "C" fn(port: *mut Port, name: Str, size: u64, region: *mut Region) -> i32>,

    /// The current value of a parameter; `-ENOENT` when the manifest does not have it. Strings stay
    /// valid until the end of the entry point that asked.
    pub property: Option<unsafe extern "C" fn(port: *mut Port, name: Str, value: *mut Value) -> i32>,
    /// Writes to the log: one line, no newline, attributed to the port.
    pub log: Option<unsafe extern "C" fn(port: *mut Port, level: u32, message: Str)>,
    /// Monotonic clock, nanoseconds.
    pub now: Option<unsafe extern "C" fn() -> u64>,

    // Since ABI 1.1.
    /// Returns a request that was not begun; the driver owns it no more. Operations of it that only
    /// wait (`TIMEOUT`, `NOP`) end without an event. Only within `hand_back`. `-EBUSY`: another
    /// operation of it is in flight; `-EINVAL`: the request is not the driver's.
    pub give_back: Option<unsafe extern "C" fn(queue: *mut Queue, tag: u32) -> i32>,
    /// Says that a feature is left out because memory is short (less than the manifest's *wanted*),
    /// and why, in words for operators. Only within `prepare`, `connect` and `queue_start`.
    pub reduce: Option<unsafe extern "C" fn(port: *mut Port, feature: Str, why: Str) -> i32>,

    // Since ABI 1.2.
    /// Completes the request in slot `tag` if its [`serial`](crate::Request::serial) is this one. A request of another
    /// serial is another request: `-ESTALE`, recorded as a fault of the driver, and nothing is completed. Otherwise as
    /// `complete`.
    pub complete_serial:
        Option<unsafe extern "C" fn(queue: *mut Queue, tag: u32, serial: u32, result: i32) -> i32>,
    /// Completes several requests, each as `complete_serial` does. Returns how many were completed; what was refused
    /// is recorded and harms no other.
    pub complete_many:
        Option<unsafe extern "C" fn(queue: *mut Queue, completions: *const Completion, count: u32) -> i32>,
    /// Issues several operations, in order, each as `issue` does. Returns how many were issued: the first that is
    /// refused ends it. `ids[i]` becomes what `issue` would have returned for `ops[i]`, the refusal included; those
    /// behind it are not written. `ids` has room for `count`. All of `ops` have the size that the first one says.
    pub issue_many:
        Option<unsafe extern "C" fn(queue: *mut Queue, ops: *const Op, count: u32, ids: *mut i32) -> i32>,
    /// Where the bytes of a request's data are, contiguous, for as long as the driver owns the request: for a driver
    /// whose manifest says `data=segments`, which names data in operations and looks at the bytes of few requests.
    /// `-EINVAL`: the request is not the driver's.
    pub map_data: Option<unsafe extern "C" fn(queue: *mut Queue, tag: u32, data: *mut *mut u8) -> i32>,
    /// A region that holds a table of a schema, `NAME/N`, which a later driver of the port finds, and which one that
    /// does not know the schema is refused over before the pause. Otherwise as `region`. Reserved: `-EOPNOTSUPP`.
    pub table: Option<
        unsafe extern "C" fn(port: *mut Port, name: Str, schema: Str, size: u64, region: *mut Region) -> i32,
    >,
    /// Makes a stretch of `DATA`, `PDU` or a region reachable for a device that reads and writes memory itself; never
    /// an arena, which goes with its driver. Reserved: `-EOPNOTSUPP`.
    pub dma: Option<unsafe extern "C" fn(queue: *mut Queue, seg: *const Seg, dma: *mut Dma) -> i32>,
}

// SAFETY: the one `ShellOps` is a constant; nobody writes to it.
unsafe impl Sync for ShellOps {}

/// A request that is done, for [`ShellOps::complete_many`]. Since ABI 1.2.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    /// Its slot.
    pub tag: u32,
    /// Its [`serial`](crate::Request::serial).
    pub serial: u32,
    /// As for [`ShellOps::complete`].
    pub result: i32,
    /// Zero.
    pub reserved: u32,
}

/// Memory as a device sees it. Reserved by ABI 1.2.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Dma {
    /// `sizeof` of this structure where the caller was built.
    pub struct_size: u32,
    /// Bits of [`dma_flag`].
    pub flags: u32,
    /// Address on the device's bus.
    pub address: u64,
    /// Bytes from there that follow one another.
    pub length: u64,
}

/// Flags of [`Dma`].
pub mod dma_flag {
    /// The device reads it.
    pub const TO_DEVICE: u32 = 1 << 0;
    /// The device writes it.
    pub const FROM_DEVICE: u32 = 1 << 1;
    /// What the device writes is seen by the processor without more ado, and the other way round.
    pub const COHERENT: u32 = 1 << 2;
}

/// Timers per port and queue.
pub const TIMERS: u32 = 8;
/// Most bytes of state of one schema.
pub const MAX_STATE: usize = 64 * 1024;

/// Levels of [`ShellOps::log`].
pub mod level {
    /// Something failed.
    pub const ERROR: u32 = 1;
    /// Something is wrong and was coped with.
    pub const WARN: u32 = 2;
    /// Something that an operator wants to know.
    pub const INFO: u32 = 3;
    /// For developers.
    pub const DEBUG: u32 = 4;
}

/// What to open.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Open {
    /// `sizeof` of this structure where the driver was built.
    pub size: u32,
    /// One of [`open_kind`].
    pub kind: u32,
    /// Bits of [`open_flag`].
    pub flags: u64,
    /// Name of the handle within the port, chosen by the driver; the same key finds it again.
    pub key: Str,
    /// FILE: path. TCP: `host:port`. DEVICE: name of the device.
    pub target: Str,

    // Since ABI 1.2.
    /// TCP: the local address, `host:port` or `host`; empty for whichever the system takes. Others: empty.
    pub local: Str,
    /// TCP: options `key=value`, separated by commas. Others: empty.
    pub options: Str,
}

/// Kinds of handles.
pub mod open_kind {
    /// A regular file or block device.
    pub const FILE: u32 = 1;
    /// A TCP endpoint: a peer, a local address, options. It outlives its connections, which are made and ended by
    /// operations ([`op::CONNECT`](crate::op::CONNECT)). Reserved: `-EOPNOTSUPP` so far.
    pub const TCP: u32 = 2;
    /// A PCI function. Reserved: `-EOPNOTSUPP` so far.
    pub const PCI: u32 = 3;
    /// Another device of the same daemon, by name. Since ABI 1.1.
    ///
    /// `READ`, `WRITE` (with `FUA` or without), `FSYNC`, `FDATASYNC`, `FALLOCATE` with `PUNCH_HOLE` (a
    /// trim) or with `ZERO_RANGE` (write zeroes) and `EXTENTS` become requests to it. It keeps what it
    /// offers while it is open, and cannot be taken away but by force: then operations fail with
    /// `-ENODEV`. Both drivers can be replaced at any time. `-ENOENT`: no such device; `-ELOOP`: the
    /// port would lie over itself; `-EXDEV`: the device is not on all of the port's queues; `-EROFS`: for
    /// writing, and it is read-only. Of [`open_flag`](crate::open_flag) only `WRITE` is for devices.
    pub const DEVICE: u32 = 4;
}

/// Flags of [`Open`].
pub mod open_flag {
    /// For writing too.
    pub const WRITE: u64 = 1 << 0;
    /// Past the page cache (`O_DIRECT`).
    pub const DIRECT: u64 = 1 << 1;
    /// Refuse if another process has it locked, and keep it locked.
    pub const LOCK: u64 = 1 << 2;
}

/// What is behind a handle.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct HandleInfo {
    /// `sizeof` of this structure where the caller was built; the shell fills no more.
    pub struct_size: u32,
    /// One of [`handle_kind`].
    pub kind: u32,
    /// Bytes.
    pub size: u64,
    /// Alignment that reads and writes need: 1 when buffered.
    pub block_size: u32,
    /// Unit that performs best, bytes.
    pub preferred_block_size: u32,
    /// 1 when it was opened for reading only.
    pub read_only: u32,
    /// 1 for rotating media.
    pub rotational: u32,
    /// 1 when `FALLOCATE` with `PUNCH_HOLE` works on it (tried when it was opened, harmlessly).
    pub can_punch: u32,
    /// 1 when `FALLOCATE` with `ZERO_RANGE` works on it.
    pub can_zero: u32,
    /// DEVICE: what the device offers, bits of [`block_feature`](crate::block_feature); 0 for others.
    /// Since ABI 1.1.
    pub features: u64,
    /// The state of the path behind it, one of [`path`](crate::path); `UNKNOWN` so far. Since ABI 1.2.
    pub path: u32,
    /// Zero.
    pub reserved: u32,
}

/// Values of [`HandleInfo::kind`].
pub mod handle_kind {
    /// A regular file.
    pub const REGULAR: u32 = 1;
    /// A block device.
    pub const BLOCK: u32 = 2;
    /// Another device of the daemon. Since ABI 1.1.
    pub const DEVICE: u32 = 3;
}

/// A region of memory.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// `sizeof` of this structure where the caller was built.
    pub struct_size: u32,
    /// Its number, for [`Seg::index`](crate::Seg::index).
    pub number: u32,
    /// First byte, page-aligned.
    pub data: *mut u8,
    /// Bytes.
    pub size: u64,
    /// 1 when it was made by this call, and so is all zeroes.
    pub created: u32,
    /// Zero.
    pub reserved: u32,
}

/// A parameter's value.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Value {
    /// `sizeof` of this structure where the caller was built.
    pub struct_size: u32,
    /// One of [`value_kind`].
    pub kind: u32,
    /// BOOL: 0 or 1. UNSIGNED: the value. SIGNED: the value's two's complement. ENUM: index in the
    /// manifest's range.
    pub number: u64,
    /// STRING, ENUM: the text.
    pub text: Str,
}

/// Values of [`Value::kind`].
pub mod value_kind {
    /// Neither set nor defaulted.
    pub const NONE: u32 = 0;
    /// `bool`.
    pub const BOOL: u32 = 1;
    /// `u32`, `u64`, `size`.
    pub const UNSIGNED: u32 = 2;
    /// `i64`.
    pub const SIGNED: u32 = 3;
    /// `str`, `path`.
    pub const STRING: u32 = 4;
    /// `enum`.
    pub const ENUM: u32 = 5;
}

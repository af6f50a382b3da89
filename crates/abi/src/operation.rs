use crate::Request;

/// An operation on a handle, issued by a driver with [`ShellOps::issue`](crate::ShellOps::issue) and
/// owned by the shell from then on: its completion comes as an [`Event`] to whichever driver serves
/// the port at that time.
///
/// The structure and its segments are read during the call only. The memory that the segments name
/// is the shell's, so it outlives the driver.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Op {
    /// `sizeof` of this structure where the driver was built.
    pub size: u32,
    /// One of [`op`].
    pub code: u16,
    /// Bits of [`op_flag`].
    pub flags: u16,
    /// Handle from [`ShellOps::open`](crate::ShellOps::open); not used by `NOP`, `TIMEOUT`.
    pub handle: u32,
    /// Request that the operation is part of, or [`NO_TAG`](crate::NO_TAG).
    pub tag: u32,
    /// For the driver; comes back in the event.
    pub cookie: u64,
    /// READ, WRITE, FALLOCATE, EXTENTS: first byte on the handle. TIMEOUT: nanoseconds from now.
    pub offset: u64,
    /// FALLOCATE, EXTENTS: bytes. Others: the segments say it.
    pub length: u64,
    /// FALLOCATE: mode ([`fallocate`]). POLL: event mask. SEND, RECV: `MSG_*` flags.
    pub arg: u64,
    /// Memory to read into or write from; `seg_count` of them.
    pub segs: *const Seg,
    /// Segments at `segs`: at most [`MAX_SEGS`].
    pub seg_count: u32,
    /// Zero.
    pub reserved: u32,
}

/// Most segments in one operation.
pub const MAX_SEGS: usize = 64;

/// Operation codes.
pub mod op {
    /// Completes with 0 through the ring; nothing else.
    pub const NOP: u16 = 0;
    /// Read at `offset` into the segments. Result: bytes, fewer only at the end of the file.
    pub const READ: u16 = 1;
    /// Write the segments at `offset`. Result: bytes.
    pub const WRITE: u16 = 2;
    /// Make everything written to the handle durable, data and metadata.
    pub const FSYNC: u16 = 3;
    /// Make the data written to the handle durable.
    pub const FDATASYNC: u16 = 4;
    /// Allocate, punch or zero `length` bytes at `offset`.
    pub const FALLOCATE: u16 = 5;
    /// Send the segments on a socket.
    pub const SEND: u16 = 6;
    /// Receive into the segments from a socket.
    pub const RECV: u16 = 7;
    /// Wait for readiness.
    pub const POLL: u16 = 8;
    /// Wait for `offset` nanoseconds. Result: 0.
    pub const TIMEOUT: u16 = 9;
    /// NVMe passthrough command: the first segment holds the command. Reserved: `-EOPNOTSUPP` so far.
    pub const NVME: u16 = 10;
    /// Fill the segment with [`Extent`](crate::Extent)s of `length` bytes at `offset`. Result: their
    /// number. Carried out off the queue's thread.
    pub const EXTENTS: u16 = 11;

    // Reserved by ABI 1.2; each is `-EOPNOTSUPP` until a class needs it.
    /// Connect an endpoint to its peer. Opening it in `prepare` connects nothing, and it outlives its connections.
    pub const CONNECT: u16 = 12;
    /// End an endpoint's connection; `arg` as `how` of `shutdown(2)`.
    pub const SHUTDOWN: u16 = 13;
    /// Open what the segment names below a handle. Result: a dynamic handle, the shell's and the port's, whose number
    /// carries a generation, so that one that was closed is `-EBADF` and never another's.
    pub const OPEN_AT: u16 = 14;
    /// Close a dynamic handle.
    pub const CLOSE: u16 = 15;
    /// Read names below a handle into the segment. Result: bytes.
    pub const READ_NAMES: u16 = 16;
    /// Complete once the path behind a handle is in another state than `arg` (one of [`path`](crate::path)).
    /// Result: the state.
    pub const PATH: u16 = 17;
}

/// Operation flags.
pub mod op_flag {
    /// WRITE: durable when it completes. FALLOCATE on a device: the same.
    pub const FUA: u16 = 1 << 0;
    /// FALLOCATE with `ZERO_RANGE` on a device: the range stays allocated. Since ABI 1.1.
    pub const NO_HOLE: u16 = 1 << 1;
    /// FALLOCATE with `ZERO_RANGE` on a device: only if that is faster than writing zeroes, else
    /// `-EOPNOTSUPP`. Since ABI 1.1.
    pub const FAST_ONLY: u16 = 1 << 2;
}

/// Modes of FALLOCATE (those of `fallocate(2)`).
pub mod fallocate {
    /// Do not change the file's size.
    pub const KEEP_SIZE: u64 = 0x01;
    /// Deallocate (with `KEEP_SIZE`); reads as zeroes afterwards.
    pub const PUNCH_HOLE: u64 = 0x02;
    /// Read as zeroes afterwards, allocated where possible.
    pub const ZERO_RANGE: u64 = 0x10;
}

/// A stretch of the shell's memory. Checked by the shell: it lies within what it names, and a request
/// that it names is the driver's at that moment.
///
/// A driver that gathers requests names the data of others than the operation's own too: of reads in what
/// reads, of writes in what writes, and no more than they asked for. The operation is in flight for each of
/// them. Anything else is `-EFAULT` and a fault of the driver.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Seg {
    /// One of [`memory`].
    pub memory: u32,
    /// `DATA`, `PDU`: the tag of a request. `REGION`: the region's number. Others: 0.
    pub index: u32,
    /// First byte within it.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// Kinds of memory that a [`Seg`] can name.
pub mod memory {
    /// The data buffer of a request.
    pub const DATA: u32 = 1;
    /// The private bytes of a request.
    pub const PDU: u32 = 2;
    /// A region of the port.
    pub const REGION: u32 = 3;
    /// The data of a request wherever it lies: a guest's memory, a buffer that the kernel knows by number, another
    /// process. Only the shell reaches it, so only operations name it. Reserved by ABI 1.2: `-EOPNOTSUPP`; the data of
    /// every request is [`DATA`].
    pub const EXTERNAL: u32 = 4;
}

/// States of the path behind a handle on a device. Reserved by ABI 1.2.
pub mod path {
    /// Nothing is known of it.
    pub const UNKNOWN: u32 = 0;
    /// It is the best one.
    pub const OPTIMIZED: u32 = 1;
    /// It works, at a price.
    pub const NON_OPTIMIZED: u32 = 2;
    /// The target is there and does not serve over it.
    pub const INACCESSIBLE: u32 = 3;
    /// The target is not reached: operations end with [`ENOLINK`](crate::ENOLINK).
    pub const LOST: u32 = 4;
}

/// The completion of an [`Op`].
#[repr(C)]
#[derive(Debug)]
pub struct Event {
    /// `sizeof` of this structure where the shell was built.
    pub size: u32,
    /// The operation's code.
    pub code: u16,
    /// Zero.
    pub flags: u16,
    /// The operation's request, or [`NO_TAG`](crate::NO_TAG).
    pub tag: u32,
    /// Number that [`ShellOps::issue`](crate::ShellOps::issue) returned.
    pub id: u32,
    /// The operation's cookie.
    pub cookie: u64,
    /// Bytes, a count, or 0; a negative errno when it failed.
    pub result: i64,
    /// The request, in its slot; null when there is none.
    pub request: *mut Request,
}

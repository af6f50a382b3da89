//! The binary interface between the Steadfast shell and its drivers.
//!
//! A driver is one shared object (`.so`) with two things in it that the shell looks for:
//!
//! - an ELF section named [`MANIFEST_SECTION`] that holds the [manifest]: text that says what the
//!   driver is and what it needs. It is read from the file; no code of the module runs for it;
//! - a data symbol named [`DRIVER_SYMBOL`], a [`Driver`]: the table of entry points.
//!
//! Everything here is `repr(C)`, integers and pointers only, and `include/steadfast.h` says the
//! same in C (a test compiles the two against each other).
//!
//! # Rules of evolution
//!
//! - Every structure that crosses the boundary by pointer begins with its own `size`. Fields are
//!   only ever appended. Who reads a structure copies `min(size)` bytes and takes the rest as zero,
//!   so an absent function pointer is a null one.
//! - A driver built against ABI 1.x runs on every shell of ABI 1.y. A driver may use what a newer
//!   minor version added only after looking at the size of the structure that holds it.
//! - A new device class adds a class number, a class table and request codes of its own. It changes
//!   nothing that is here: [`Driver`], [`Port`], [`Queue`], [`Op`] and [`Event`] know no class, and
//!   a [`Request`]'s `offset` and `length` mean what its class says they mean.
//!
//! # Who calls what, and from where
//!
//! | entry point | thread | the port at that moment |
//! |---|---|---|
//! | `probe`, `prepare`, `release` | a control thread | served by another driver, or not at all |
//! | `connect`, `disconnect`, `reconnect`, `queue_start`, `queue_stop`, `adopt`, `save_state` | a queue's thread, or one of the shell's for this call | held: nobody is in `submit`, `event` or `timer` on any queue |
//! | `submit`, `submit_many`, `commit`, `abort`, `event`, `event_answer`, `events`, `timer`, `queue_run` | the thread of the [`Queue`] passed | running |
//! | `hand_back` | the thread of the [`Queue`] passed | held: nobody is in another entry point on this queue |
//! | `param_changed` | a thread of the shell's for this call | held |
//!
//! Nothing is ever entered twice at the same time on one queue; two queues of one port may be
//! inside at once. Shell calls that take a [`Queue`] may be made only from that queue's thread.
//!
//! # A driver is code only
//!
//! What must outlive a driver is the shell's: slots, data buffers, private bytes of a request
//! (PDU), arenas, regions, handles, timers and every operation in flight. A driver has no threads,
//! no file descriptors, no thread-locals and no heap that must survive.

#![no_std]

#[macro_use]
mod table;
mod block;
mod driver;
pub mod manifest;
mod operation;
mod shell;

pub use block::*;
pub use driver::*;
pub use operation::*;
pub use shell::*;
pub use table::{Field, FieldKind};

/// Major version of this interface. Drivers of another major version are refused.
pub const ABI_MAJOR: u16 = 1;
/// Minor version of this interface: grows with every appended field or function. 1 added
/// [`Driver::hand_back`], [`Driver::save_state`], [`ShellOps::give_back`], [`ShellOps::reduce`] and
/// [`open_kind::DEVICE`]. 2 added answers by return value ([`Driver::event_answer`]), batches
/// ([`BlockOps::submit_many`], [`Driver::events`], [`ShellOps::issue_many`], [`ShellOps::complete_many`]), completions
/// that name the request's serial ([`ShellOps::complete_serial`]), data by segment ([`ShellOps::map_data`]),
/// [`ENOLINK`], and room for what later classes need: [`ShellOps::table`], [`ShellOps::dma`],
/// [`op::CONNECT`] to [`op::PATH`], [`memory::EXTERNAL`].
pub const ABI_MINOR: u16 = 2;

/// Name of the ELF section that holds the manifest text.
pub const MANIFEST_SECTION: &str = ".steadfast.manifest";
/// Name of the exported data symbol of type [`Driver`].
pub const DRIVER_SYMBOL: &str = "steadfast_driver";

/// What `submit` returns when the request is not finished yet: the driver will call
/// [`ShellOps::complete`] for it later. Zero means done; a negative errno means failed.
pub const PENDING: i32 = i32::MAX;

/// The errno of an operation or a request whose path is lost: the target was not reached, or its answer was not, and
/// another path may do better. What the target itself said is any other errno. Its number is Linux's. Since ABI 1.2.
pub const ENOLINK: i32 = 67;

/// "No request": the tag of an operation that belongs to the port and not to a request.
pub const NO_TAG: u32 = u32::MAX;

/// Device class numbers, the value of [`Driver::class`].
pub mod class {
    /// Block devices; the class table is [`BlockOps`](crate::BlockOps).
    pub const BLOCK: u32 = 1;
    /// Reserved for file systems.
    pub const FILE_SYSTEM: u32 = 2;
    /// Reserved for network interfaces.
    pub const NETWORK: u32 = 3;
}

/// A string that is not NUL-terminated: UTF-8, `len` bytes. Owned by whoever the function that
/// carries it says; a null `ptr` with `len` 0 is the empty string.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Str {
    /// First byte; may be null when `len` is 0.
    pub ptr: *const u8,
    /// Bytes.
    pub len: usize,
}

impl Str {
    /// The empty string.
    pub const EMPTY: Str = Str { ptr: core::ptr::null(), len: 0 };

    /// Borrows a Rust string. The callee must not keep it past the call.
    pub const fn new(s: &str) -> Str {
        Str { ptr: s.as_ptr(), len: s.len() }
    }

    /// The bytes.
    ///
    /// # Safety
    /// `ptr` is null with `len` 0, or points to `len` readable bytes that nobody changes during `'a`.
    pub const unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.ptr.is_null() {
            &[]
        } else {
            // SAFETY: the caller promises `len` readable, unchanging bytes at a non-null `ptr`.
            unsafe { core::slice::from_raw_parts(self.ptr, self.len) }
        }
    }
}

// SAFETY: a `Str` is an address and a length; what may be done with it is said where it is used.
unsafe impl Send for Str {}
// SAFETY: as above.
unsafe impl Sync for Str {}

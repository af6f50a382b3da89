use crate::{Event, Request, ShellOps, Str};
use core::ffi::c_void;

entry_points! {
    /// The table of entry points that a module exports as `steadfast_driver`.
    ///
    /// The table and all it points to are constants of the module: valid from the load to the unload of
    /// it, never written.
    pub struct Driver {
        /// `sizeof` of this structure where the driver was built.
        data size: u32,
        /// [`ABI_MAJOR`](crate::ABI_MAJOR) the driver was built against.
        data abi_major: u16,
        /// [`ABI_MINOR`](crate::ABI_MINOR) the driver was built against.
        data abi_minor: u16,
        /// One of [`class`](crate::class).
        data class: u32,
        /// Bytes of a request's PDU; equal to the manifest's `pdu`.
        data pdu_size: u32,
        /// The bytes of the manifest section. The loader refuses a module whose pointer and section
        /// differ.
        data manifest: Str,

        /// May this driver serve that hardware? Optional; absent means yes. Returns 0 or a negative
        /// errno. Called once per load, before anything else, on a control thread.
        optional probe: unsafe extern "C" fn(probe: *const Probe) -> i32,
        /// Gets everything ready that can be made ready while another driver serves the port: opens
        /// handles ([`ShellOps::open`]), asks for regions, parses parameters into its own arena.
        /// Optional. Returns 0 or a negative errno; after an error `release` is called.
        optional prepare: unsafe extern "C" fn(port: *mut Port) -> i32,
        /// Takes the port over: reads the state with [`ShellOps::get_state`] (there is none at the first
        /// attach), announces its devices. Runs inside the pause: no opening, no allocation. Required.
        /// Returns 0 or a negative errno; after an error `disconnect` is *not* called.
        required connect: unsafe extern "C" fn(port: *mut Port) -> i32,
        /// Lets the port go and leaves its state with [`ShellOps::set_state`], once for each schema it
        /// can write. Must leave its arena such that `reconnect` can go on from it. Required.
        required disconnect: unsafe extern "C" fn(port: *mut Port) -> i32,
        /// Takes the port back after `disconnect`, because its replacement failed. The arena and the
        /// state are as `disconnect` left them. Required.
        required reconnect: unsafe extern "C" fn(port: *mut Port) -> i32,
        /// The last call for this port: after `disconnect`, or after a failed `prepare` or `connect`.
        /// Gives back what `prepare` took outside the shell's memory (which should be nothing).
        /// Optional. On a control thread.
        optional release: unsafe extern "C" fn(port: *mut Port),
        /// Makes one queue ready; after `connect`, once per queue. Optional.
        optional queue_start: unsafe extern "C" fn(queue: *mut Queue) -> i32,
        /// The counterpart of `queue_start`, before `disconnect`. Optional.
        optional queue_stop: unsafe extern "C" fn(queue: *mut Queue),
        /// An operation has completed; the operation may have been issued by the driver before this
        /// one. Required by drivers that issue operations.
        optional event: unsafe extern "C" fn(queue: *mut Queue, event: *const Event),
        /// A timer set with [`ShellOps::timer`] has run out. Optional.
        optional timer: unsafe extern "C" fn(queue: *mut Queue, id: u32),
        /// A request that another driver issued is now this driver's, in flight, its PDU of schema
        /// `schema`: convert the PDU. It is to be reached by `queue.pdus` as it is during the call, not by an
        /// address that was kept: a copy lies there, which becomes the request's own when this driver comes to
        /// serve. Called between `queue_start` and the first `event`, for each such request. Required by drivers
        /// whose manifest has `pdu.adopt`. Returns 0 or a negative errno, which makes the update go back.
        optional adopt: unsafe extern "C" fn(queue: *mut Queue, request: *mut Request, schema: Str) -> i32,
        /// A live parameter has a new value, already visible to [`ShellOps::property`]. Optional.
        /// Returns 0, or a negative errno that refuses the value: then the old one is put back, and this is
        /// called again for it and for each that was changed together with it.
        optional param_changed: unsafe extern "C" fn(port: *mut Port, name: Str) -> i32,

        /// The class table: [`BlockOps`](crate::BlockOps) for [`class::BLOCK`](crate::class::BLOCK).
        data class_ops: *const c_void,

        /// The swap is final: start the operations that belong to the port and not to a request
        /// (receive, keep-alive, timers). Before any request or event of the queue; not
        /// called for a driver that did not come to serve. Optional.
        ///
        /// Called again for the driver that stays when a driver change that went back had asked it to end
        /// its port operations (every mode but *adopt*); some of them may still be in flight.
        ///
        /// It has no result. What the driver logs as an error ([`level::ERROR`](crate::level::ERROR)) from here on,
        /// and before it has answered a request, says that it cannot serve: then the driver before is put back.
        optional queue_run: unsafe extern "C" fn(queue: *mut Queue),

        // Since ABI 1.1.
        /// The port is about to change drivers: return every request that was not begun, in the order in
        /// which they came, with [`ShellOps::give_back`]. They go to the next driver, or come back through
        /// `submit` when there is none. Called for each queue before anything else of the
        /// change, in the modes *split* and *adopt*. Returns 0, or a negative errno when it could not: then
        /// the driver stays. Optional: without it *split* is not possible.
        optional hand_back: unsafe extern "C" fn(queue: *mut Queue) -> i32,
        /// Leaves the state as `disconnect` does, with [`ShellOps::set_state`], and goes on serving.
        /// Optional: without it the state can be neither shown nor tried out. Returns 0 or a negative
        /// errno.
        optional save_state: unsafe extern "C" fn(port: *mut Port) -> i32,

        // Since ABI 1.2.
        /// As `event`, and answers the event's request by what it returns, as `submit` does: 0 or a count (done), a
        /// negative errno (failed), or [`PENDING`](crate::PENDING): not finished yet, or completed within the call. For
        /// an event without a request (`request` is null) it returns [`PENDING`](crate::PENDING). Called instead of
        /// `event` by a shell that knows it; a driver for older shells too has both. Optional.
        optional event_answer: unsafe extern "C" fn(queue: *mut Queue, event: *const Event) -> i32,
        /// Several events at once, in the order in which they came; `count` is at least 1. Requests are answered in
        /// [`Request::result`](crate::Request::result), which is [`PENDING`](crate::PENDING) before the call. A
        /// driver that has it must have `event` or `event_answer` too; this shell calls these. All of `events` have the
        /// size that the first one says. Optional.
        optional events: unsafe extern "C" fn(queue: *mut Queue, events: *const Event, count: u32),
    }
}

// SAFETY: a `Driver` is a constant of its module; nobody writes to it or to what it points to.
unsafe impl Sync for Driver {}

/// What `probe` is shown: the hardware, before any of the port's resources.
#[repr(C)]
#[derive(Debug)]
pub struct Probe {
    /// `sizeof` of this structure where the shell was built.
    pub size: u32,
    /// Hardware revision; 0 where there is none.
    pub revision: u32,
    /// Hardware id `bus:id`, for example `file:regular`; empty where there is none.
    pub hwid: Str,
}

/// One port as one driver sees it: an instance of an adapter.
///
/// Owned by the shell, valid from `prepare` to the end of `release`. Each driver that is attached to
/// a port, the running one and a candidate, has a `Port` and an arena of its own.
#[repr(C)]
pub struct Port {
    /// `sizeof` of this structure where the shell was built.
    pub size: u32,
    /// Number of the port within its adapter.
    pub number: u32,
    /// Number of the adapter.
    pub adapter: u32,
    /// Queues that the port is spread over; `Queue::index` runs below it.
    pub queues: u32,
    /// The shell's functions.
    pub shell: *const ShellOps,
    /// This driver's memory for the port, zeroed at first, page-aligned; the shell's own.
    pub arena: *mut u8,
    /// Bytes at `arena`: at least the manifest's *needed*, at most its *wanted*.
    pub arena_size: u64,
    /// Features that the shell lets the driver use; others must stay off although the driver has
    /// them (too little memory, or policy). Bits of the class, for example
    /// [`block_feature`](crate::block_feature).
    pub features: u64,
    /// For the driver: not touched by the shell. Zero before `prepare`.
    pub driver_data: u64,
    /// The shell's own; not for the driver.
    pub cx: *mut c_void,
}

/// One queue of one port as one driver sees it. Owned by the shell, valid as its [`Port`] is.
///
/// Slots, PDUs and data buffers are addressed by tag: slot `t` begins `t * stride` bytes behind the
/// base. The bases may differ between two processes that share the memory, and so no structure in
/// that memory holds a pointer.
#[repr(C)]
pub struct Queue {
    /// `sizeof` of this structure where the shell was built.
    pub size: u32,
    /// Number of the queue within the port.
    pub index: u32,
    /// The port.
    pub port: *mut Port,
    /// The shell's functions; the same as the port's.
    pub shell: *const ShellOps,
    /// First [`Request`].
    pub slots: *mut u8,
    /// First PDU, 64-byte aligned; of the running driver's `pdu_size`.
    pub pdus: *mut u8,
    /// First data buffer, page-aligned.
    pub data: *mut u8,
    /// Bytes from one slot to the next.
    pub slot_stride: u32,
    /// Bytes from one PDU to the next.
    pub pdu_stride: u32,
    /// Bytes from one data buffer to the next.
    pub data_stride: u64,
    /// Usable bytes of one data buffer.
    pub data_size: u32,
    /// Slots; tags run below it.
    pub slot_count: u32,
    /// This driver's memory for the queue, zeroed at first, page-aligned.
    pub arena: *mut u8,
    /// Bytes at `arena`.
    pub arena_size: u64,
    /// For the driver: not touched by the shell. Zero before `queue_start`.
    pub driver_data: u64,
    /// The shell's own; not for the driver.
    pub cx: *mut c_void,
}

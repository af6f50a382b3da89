//! What runs the shell: queues on io_uring, slots, handles, regions, arenas, and the transactions that
//! attach, replace and detach drivers.
//!
//! ```text
//!   Engine            control plane: attach, update, detach, look at
//!     | tasks
//!   Reactor           one per queue: thread, io_uring, loop
//!     |-- Frontend    a listener, a connection (in another crate)
//!     `-- Lane        one port on this queue: gate, slots, entry points of the driver
//!           |
//!         Instance    one driver on one port: its arenas, its module
//! ```
//!
//! On the path of a request there is no lock, no allocation and no system call but
//! `io_uring_enter`, once per turn of the loop. Everything that changes a port (attach, update,
//! detach) is a [`job`] that each of its queues carries out on its own thread.

mod abandon;
mod activate;
mod adapters;
mod adoption;
mod arena;
mod asking;
mod attach;
mod away;
mod behind;
mod closing;
mod contents;
mod core;
mod down;
mod engine;
mod error;
mod exchange;
mod fileio;
mod filelock;
mod first;
mod frontend;
mod ground;
mod guard;
mod handle;
mod headroom;
mod helpers;
mod idle;
mod info;
mod instance;
mod job;
mod lane;
mod left;
mod limit;
mod limits;
mod live;
mod lost;
mod medium;
mod memory;
mod metrics;
mod modules;
mod numbers;
mod ops;
mod other;
mod outside;
mod port;
mod reactor;
mod ready;
mod remote;
mod rules;
mod services;
mod shadow;
mod sight;
mod smaller;
mod stack;
mod state;
mod stop;
mod stuck;
mod transact;
mod trouble;
mod turn;
mod visit;
mod words;

pub use abandon::Abandoned;
pub use activate::{ActivateOptions, CallOff};
pub use adapters::AdapterRef;
pub use arena::MemoryInfo;
pub use asking::{ask_file, is_stuck};
pub use behind::Behind;
pub use contents::{Exchange, identity_of};
pub use engine::{ClientNames, Engine, EngineConfig, PortSpec};
pub use error::{EngineError, ErrorKind};
pub use filelock::process_name;
pub use frontend::Frontend;
pub use info::{
    CheckReport, DeviceClaim, DeviceInfo, HandleSummary, ParamInfo, PortInfo, PortState, RegionSummary,
};
pub use live::{ParamChange, ParamReport};
pub use lost::{LossBook, Lost, MediumId};
pub use metrics::{OperationCounts, PortMetrics};
pub use modules::RunningModule;
pub use reactor::Reactor;
pub use remote::Task;
pub use rules::{HardwareId, PortRules};
pub use services::DRIVER_LINES;
pub use shadow::{Shadow, ShadowInfo};
pub use smaller::Shrink;
pub use state::SavedState;
pub use steadfast_shell::slots::Tag;
pub use transact::{Begins, UpdateOptions};
pub use trouble::{Trouble, TroubleCode};

/// A port, by its number in the engine; never used twice while the engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u32);

/// A port on one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(pub(crate) u32);

/// A frontend on one queue; used again after the frontend was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrontendId(pub(crate) u32);

/// A request to a block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRequest {
    /// One of [`block_op`](steadfast_abi::block_op).
    pub op: u16,
    /// Bits of [`block_flag`](steadfast_abi::block_flag).
    pub flags: u16,
    /// Device within the port.
    pub device: u32,
    /// First byte; aligned to the device's block size.
    pub offset: u64,
    /// Bytes; aligned likewise, at most [`Reactor::data_size`] where data is moved.
    pub length: u64,
}

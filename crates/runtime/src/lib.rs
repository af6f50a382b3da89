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
//! detach) is a job (`change::swap`) that each of its queues carries out on its own thread.

mod change;
mod clock;
mod control;
mod driver;
mod engine;
mod error;
mod handle;
mod helpers;
mod ids;
mod info;
mod lane;
mod port;
mod queue;
mod resources;
mod ring;
mod stack;
mod trial;

pub use change::activate::{ActivateOptions, CallOff};
pub use change::contents::Exchange;
pub use change::options::TrialOptions;
pub use change::params::{ParamChange, ParamReport};
pub use change::read_state::SavedState;
pub use change::update::{Begins, UpdateOptions};
pub use engine::Engine;
pub use engine::growth::Behind;
pub use engine::metrics::PortMetrics;
pub use engine::modules::RunningModule;
pub use engine::port_info::PortGlance;
pub use error::{EngineError, ErrorKind};
pub use handle::ask::{ask_file, is_stuck};
pub use handle::contents::identity_of;
pub use handle::file_lock::process_name;
pub use handle::lost_writes::{LossBook, Lost, MediumId};
pub use ids::{BlockRequest, FrontendId, LaneId, PortId, Tag};
pub use info::{
    Abandoned, CheckReport, DeviceInfo, HandleSummary, MemoryInfo, ParamInfo, PortInfo, PortState,
    RegionSummary, ShadowInfo, Shrink, Trouble, TroubleCode,
};
pub use lane::counters::OperationCounts;
pub use lane::shell_calls::DRIVER_LINES;
pub use port::adapters::AdapterRef;
pub use port::claim::DeviceClaim;
pub use port::config::{ClientNames, EngineConfig, PortSpec};
pub use port::rules::{HardwareId, PortRules};
pub use queue::Reactor;
pub use queue::frontend::Frontend;
pub use queue::remote::Task;

//! The daemon: configuration, module search path, control API, and the start and stop of everything.
//!
//! [`serve`] is all of it. It opens the control socket, checks the configured devices, makes the
//! engine, attaches them, opens the NBD server, and lasts until a signal. The control API runs on one
//! thread, with a small pool beside it for calls into the engine that block; no I/O of a device passes
//! through here.

mod app;
mod config;
mod files;
mod http;
pub mod log;
mod params;
mod ports;
mod receipts;
mod serving;
mod start;
mod updates;

pub use config::module_path::{ModulePath, check_module, examine_module, is_module_path};
pub use config::{
    AutoConfig, Config, ConfigError, ConfigErrors, Control, DeviceConfig, MAX_QUEUES, Nbd, NbdLimits,
    Permissions, Place, WatchConfig, parse_client_time, parse_clients, parse_device, parse_duration,
    parse_latency_bound, parse_share, parse_socket_group, parse_socket_mode,
};
pub use files::user::effective_uid;
pub use start::control_socket::{SocketError, daemon_holds};
pub use start::error::ServeError;
pub use start::panics::PANIC_EXIT;
pub use start::serve::{check, serve};
pub use start::signals::leave;
pub use steadfast_loader::{Trust, answer_rehearsals};
pub use steadfast_nbd::ListenAddr;
pub use steadfast_settings::{MAX_FILE_BYTES, read_text};
pub use steadfast_shell::manifest::check_driver_name;
pub use steadfast_shell::params::show_quantity;
pub use steadfast_shell::probation::LatencyBound;

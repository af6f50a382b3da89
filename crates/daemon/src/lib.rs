//! The daemon: configuration, module search path, control API, and the start and stop of everything.
//!
//! [`serve`] is all of it. It makes the engine, attaches the configured devices, opens the NBD
//! server, then the control socket, and lasts until a signal. The control API runs on one thread
//! with a small pool beside it for engine calls that block; no I/O of a device passes through here.

mod config;
mod control_socket;
mod notify;

pub use config::{
    Config, ConfigError, ConfigErrors, Control, DeviceConfig, Place, parse_device, parse_duration, parse_size,
};

/// x
#[derive(Clone, Debug)]
pub struct ListenAddr(String);
impl std::str::FromStr for ListenAddr {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        if s.starts_with("unix:") { Ok(ListenAddr(s.into())) } else { Err(format!("bad `{s}`")) }
    }
}

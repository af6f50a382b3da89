//! Start and stop: the folder of state, the sockets, signals, and everything that comes up.

pub(crate) mod control_socket;
pub(crate) mod error;
pub(crate) mod named_folders;
pub(crate) mod notify;
pub(crate) mod panics;
pub(crate) mod serve;
pub(crate) mod signals;
pub(crate) mod state_lock;
pub(crate) mod targets;

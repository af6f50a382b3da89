//! NBD frontend: devices over the Network Block Device protocol.
//!
//! The protocol itself is pure and total: [`handshake`], [`request`] and [`reply`] take bytes and
//! give bytes, and have no input or output, no clock and no unsafe code. Around it are two frontends
//! of a queue: one that greets a client, on the queue that accepted it, and the connection, on a
//! queue of the device's port. See `conn` for how bytes go through it without being waited for,
//! allocated for or copied more than once.

mod clients;
mod conn;
pub mod errno;
pub mod export;
mod greet;
pub mod handshake;
mod listen;
mod options;
mod peer;
pub mod reply;
pub mod request;
mod server;
mod share;
mod socket;
pub mod wire;

pub use clients::ClientInfo;
pub use listen::{BoundAddr, ListenAddr, NbdError};
pub use peer::Origin;
pub use server::{Doors, NbdOptions, NbdServer};

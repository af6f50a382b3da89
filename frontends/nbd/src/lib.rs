//! NBD frontend: devices over the Network Block Device protocol.
//!
//! The protocol itself is pure and total: [`handshake`], [`request`] and [`reply`] take bytes and
//! give bytes, and have no input or output, no clock and no unsafe code.

pub mod errno;
pub mod export;
pub mod handshake;
mod options;
pub mod reply;
pub mod request;
pub mod wire;

//! What the tests of the whole and the benchmarks share: a real daemon in a folder of its own, the
//! programs that talk to it, and a small NBD client for what no ordinary client would do.
//!
//! Nothing here links the product: the daemon is a process, reached as a user reaches it.

#![allow(clippy::missing_errors_doc)]

pub mod api;
mod binary;
mod daemon;
pub mod disks;
pub mod load;
pub mod nbd;
pub mod params;
mod peer;
pub mod process;
mod release;
mod swapper;
mod temp;
mod verified;

pub use binary::{c_module, module, steadfast, test_module};
pub use daemon::{Daemon, Setup};
pub use peer::{Peer, fio, fio_all, ok, run};
pub use release::{released_as, until};
pub use swapper::{Swapper, Swaps};
pub use temp::TempDir;
pub use verified::Verified;

/// The shorthand that tests use.
pub type Result<T = ()> = anyhow::Result<T>;

/// The code in the guide for driver authors, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/driver-guide.md")]
mod driver_guide {}

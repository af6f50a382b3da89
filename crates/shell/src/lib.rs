//! The shell's state machines: pure, no I/O, no clock, no threads.
//!
//! Time comes in as a number, work goes out as an action; the same code runs in the daemon, in tests
//! and in a simulator.

#![forbid(unsafe_code)]

pub mod activation;
pub mod auto;
pub mod check;
pub mod comeback;
pub mod earned;
pub mod gate;
pub mod histogram;
pub mod mailbox;
pub mod manifest;
pub mod pace;
pub mod params;
pub mod probation;
pub mod properties;
pub mod quote;
pub mod receipt;
pub mod reload;
pub mod rendezvous;
pub mod rolling;
pub mod shadow;
pub mod slots;
pub mod state;
pub mod sync;
pub mod throttle;
pub mod update;

//! What the drivers that make faults on purpose share: `error`, `delay`, `hang`, `crash`.
//!
//! - [`Backend`]: where the data is. Standing alone it is the region that the driver `ram` keeps its
//!   contents in, so a live `ram` device can be given a faulty driver and taken back without losing
//!   a byte; stacked it is another device of the daemon.
//! - [`Rule`]: which requests a fault is for.
//! - [`Trap`]: at which entry point a driver misbehaves, and after how many calls.
//! - [`Waiting`]: requests that have not been begun, and can be handed back.
//! - [`Progress`]: what is kept of a request in flight. All of these drivers, and `ram`, leave it in a
//!   form that each of them can adopt.

#![forbid(unsafe_code)]

mod backend;
mod kinds;
mod names;
mod progress;
mod rule;
mod trap;
mod under;
mod waiting;

pub use backend::{Backend, FEATURES};
pub use kinds::Kinds;
pub use names::{Entry, ErrorNumber};
pub use progress::{ADOPTS, Carries, Progress, adopt, stage};
pub use rule::{Rule, Sequence};
pub use trap::{How, Trap};
pub use under::Under;
pub use waiting::Waiting;

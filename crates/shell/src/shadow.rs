//! The trial before the commit: a candidate answers a copy of the device's reads beside the driver that
//! serves, and what both said is compared. Here is what decides; the runtime carries out.
//!
//! A comparison means something only if nothing that changes the range came in between: the two
//! reads happen one after the other. [`Writes`] knows that. [`Tally`] counts what was seen, and
//! [`Bounds::judge`] says whether the candidate may go on.

mod report;
mod tally;
mod writes;

pub use report::ShadowReport;
pub use tally::{Bounds, Difference, Reading, Tally};
pub use writes::{GRANULE, Range, Writes};

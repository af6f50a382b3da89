//! A seeded simulator of updates and activations under load.
//!
//! What decides is the real code of `steadfast-shell`: the update machine, the activation machine, the
//! rendezvous of the queues, gates, slots, properties, parameters, the check and the choice of the mode.
//! Around it everything is modelled: ports that share queues and their threads, drivers, clients, a device
//! with a volatile write cache for each port, time. A run is made from one number, its seed; whatever goes
//! wrong in it goes wrong again when that number is run again.
//!
//! What is checked, at every step and at the end:
//! - each request is answered once, and fails only when the device failed it or its port was taken away;
//! - reads find what was written; what was acknowledged and flushed is on the medium;
//! - held requests are released in order, and none overtakes them;
//! - nobody enters a driver while the port is held, and never one that is not connected;
//! - no two drivers of a port are connected at a time; each has its last call once, when no queue knows it;
//! - each port ends served by one driver, or by none when both failed, and then the next update helps;
//! - a port's generation grows by one with each success on it, and never else;
//! - where every call returns, a port is held no longer than the deadline and the calls take; a driver that
//!   connects too late does not come to serve; adopting waits for no request;
//! - a second transaction is refused as busy and changes nothing;
//! - state goes from driver to driver; private bytes are read by who can read them;
//! - a receipt has its phases in order, and a reason unless all went well.
//!
//! And of activations:
//! - when one is over, exactly the new set is in force where it is done, and exactly the previous one
//!   otherwise: in the properties, in the driver that serves, and in the shell;
//! - the generation has grown if and only if it is done, whatever the clock, an update in the delay or the
//!   re-initialisation itself says;
//! - under flow an idle-only one is busy; on an idle port it is done;
//! - from the block to the end whoever else wants to change the port is turned away, and told by what; then
//!   it is let in again, however it ended;
//! - what was said after the configuration was read is not overwritten;
//! - where nothing goes wrong and nobody comes in between, it is done.

#![forbid(unsafe_code)]

mod activate;
mod client;
mod control;
mod coverage;
mod device;
mod driver;
mod fault;
mod job;
mod lane;
mod manage;
mod manifests;
mod mutation;
mod plan;
mod ports;
mod promise;
mod receipt;
mod rng;
mod run;
mod upset;
mod values;
mod wish;
mod world;

pub use coverage::Coverage;
pub use mutation::Mutation;
pub use plan::{Kind, MODES, PHASES, can_happen};
pub use run::{Failure, Report, run};
pub use wish::{Upset, can_upset};

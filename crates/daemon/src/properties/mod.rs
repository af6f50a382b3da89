//! Parameters of ports: what is saved, what is in force, and how the one becomes the other.
//!
//! ```text
//!  driver's file [global]  <  the daemon's configuration  <  driver's file [port.NAME]     saved
//!        |  at start, and with an activation; live ones at once
//!        v
//!  load-time properties  <  driver properties                                              in force
//! ```
//! What is pending is never kept anywhere: it is what the two differ in, value by value.

mod activate;
mod change;
mod confirm;
mod delayed;
mod files;
mod known;
mod numbers;
mod plan;
mod profiles;
mod reload;
mod saved;
mod sections;
mod show;
mod stage;
mod unconfirmed;

use std::path::Path;
use std::sync::Mutex;

pub(crate) use confirm::Confirms;
pub(crate) use delayed::Delays;
pub(crate) use unconfirmed::{Notes, WentBack, go_back, tell};

/// What the daemon keeps of changes that are under way.
#[derive(Debug)]
pub(crate) struct Edits {
    /// Held while a driver's file is read, changed and written.
    editing: Mutex<()>,
    /// Held while numbers of ports are given and written.
    numbering: Mutex<()>,
    pub(crate) confirms: Confirms,
    pub(crate) delayed: Delays,
}

impl Edits {
    /// Those of a daemon whose history is in `state`.
    pub(crate) fn of(state: &Path) -> Edits {
        Edits {
            editing: Mutex::default(),
            numbering: Mutex::default(),
            confirms: Confirms::new(Notes::within(state)),
            delayed: Delays::default(),
        }
    }
}

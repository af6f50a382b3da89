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
mod confirm;
mod confirm_notes;
mod delayed;
mod import_export;
mod instance_numbers;
mod known_drivers;
pub(crate) mod live;
mod plan;
mod port_sections;
mod profiles;
mod reload;
mod save;
pub(crate) mod saved_set;
mod set;
mod show;
mod view;

use std::path::Path;
use std::sync::Mutex;

pub(crate) use confirm::Confirms;
pub(crate) use confirm_notes::{Notes, WentBack, go_back, tell};
pub(crate) use delayed::Delays;

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

//! The saved configuration of ports: what an administrator has written down, as opposed to what is in
//! force.
//!
//! ```text
//!  parameters/            the parameters folder
//!    file.toml            one file per driver: [global], then [port.NAME]      DriverFile
//!    instances.toml       which port has which number of its driver            Instances
//!    profiles/db.toml     a named set of values                                Profile
//! ```
//! The *saved set* of a port is what `[global]`, the daemon's own configuration and `[port.NAME]` come to,
//! the last word winning ([`Saved`]). Files are read with the line of every entry, so that each value and
//! each error can say where it comes from. They are edited in place: comments, order and formatting stay.
//! They are written whole or not at all, and never over what somebody else has written meanwhile.
//!
//! This crate touches files and nothing else: no ports, no daemon.

#![forbid(unsafe_code)]

pub mod classic;
mod disk;
pub mod driver_file;
mod fault;
mod instances;
pub mod lint;
mod names;
pub mod profile;
mod reader;
mod saved;
mod text;
mod toml_reader;

pub use disk::{NEW, clear_unfinished, make_folder, replace_file};
pub use driver_file::{DriverFile, Entry, Section, Written};
pub use fault::{Fault, FaultKind, Faults, SettingsError};
pub use instances::{INSTANCES, Instances};
pub use names::{check_param_name, check_port_name};
pub use profile::{NewProfile, Profile, ProfileValue, Profiles};
pub use reader::{MAX_FILE_BYTES, read_bytes, read_text};
pub use saved::{Layered, Origin, Saved, SetFault, validate};

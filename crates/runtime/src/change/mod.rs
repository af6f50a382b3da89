//! Changes of one port: attach, update, activate, put down; and what they have in common.

pub(crate) mod abandoned;
pub(crate) mod activate;
pub(crate) mod attach;
pub(crate) mod contents;
pub(crate) mod down;
pub(crate) mod first_steps;
pub(crate) mod hold;
pub(crate) mod options;
pub(crate) mod other_driver;
pub(crate) mod params;
pub(crate) mod pause_calls;
pub(crate) mod phases;
pub(crate) mod prepare;
pub(crate) mod read_state;
pub(crate) mod shrink;
pub(crate) mod swap;
pub(crate) mod time_limit;
pub(crate) mod update;

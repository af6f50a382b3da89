//! Files that the daemon keeps for itself.

pub(crate) mod kept;
pub(crate) mod lock_file;
pub(crate) mod user;

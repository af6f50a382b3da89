//! Sockets that a daemon listens on: made, given their permissions, inherited, and taken away again.
//!
//! Both front doors use it, the control API and NBD. Three rules hold for both:
//! - nobody can connect before the socket has its mode and its group;
//! - a socket that a live process listens on is never taken; one that a dead one has left always is, also in the
//!   moment in which the kernel still closes its descriptors;
//! - only what this process bound is removed from its path: by inode, not by name.

mod access;
mod inherited;
mod sys;
mod tcp;
mod unix;

pub use access::{Access, group};
pub use inherited::{InheritError, Inherited, NAMES};
pub use tcp::listen as listen_tcp;
pub use unix::{BindError, MAX_PATH, UnixSocket, answers};

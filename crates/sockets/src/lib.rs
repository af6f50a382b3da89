//! Sockets that a daemon listens on: made, given their permissions, inherited, and taken away again.
//!
//! Both front doors use it, the control API and NBD. Three rules hold for both:
//! - nobody can connect before the socket has its mode and its group;
//! - a socket that takes connections is never taken, whoever began to listen there; one that a dead process has left
//!   always is, once the kernel has closed its descriptors, which is waited for;
//! - only what this process bound is removed from its path: by inode, not by name.

mod access;
mod inherited;
mod sys;
mod tcp;
mod unix;

pub use access::{Access, group};
pub use inherited::{InheritError, Inherited, NAMES};
pub use tcp::listen as listen_tcp;
pub use unix::{BindError, Listener, MAX_PATH, UnixSocket, listener};

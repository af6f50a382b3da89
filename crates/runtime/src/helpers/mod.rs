//! Calls on files that may take long, or for ever, away from the queues.
//!
//! A file system that is frozen, a server that has died, a disk that does not answer: a call on such a file
//! does not return, and nothing can end it. So whatever may sleep on a file (buffered writes, reads of what
//! is not in the page cache, flushes, zeroing, asking for holes, and direct I/O that the kernel says would
//! sleep) is done by *helpers*, which belong to one open file on one queue:
//!
//! ```text
//!  lane --Call--> Desk --> helper of the writes        --> pwritev2
//!   ^                \--> helpers of everything else   --> preadv2, fdatasync, fallocate, lseek
//!   |                                                       |
//!   `----------------------- Home <-------------------------'
//! ```
//!
//! A helper is a process of its own that shares the daemon's memory and nothing else: it has one file open,
//! and no socket and no lock of anybody else. What hangs in one is its file's trouble alone, and when the
//! daemon ends, what hangs is left behind: a thread that does not return from the kernel would keep the whole
//! process, its sockets and its locks. The file stays locked by the one who may still write to it.
//!
//! Helpers are made when there is work for them (see [`foreman`]), and go when there has been none for a while.
//! Their code ([`body`]) uses nothing of the standard library that belongs to a thread, and takes no lock; who has a
//! seat and who sleeps is said by one step each, never by a count. So one that is killed takes the call with it that it
//! had, which fails, and nothing else.

mod attempts;
mod backlog;
mod body;
mod call;
pub(crate) mod close;
mod crew;
mod desk;
mod foreman;
pub(crate) mod raw;
pub(crate) mod ready_threads;
#[cfg(test)]
mod tests;

pub(crate) use backlog::Backlog;
pub(crate) use call::{Call, Home, Stage};
pub(crate) use desk::{Desk, Desks, HANGS_NS, Kind};
pub(crate) use foreman::Foreman;

//! The queues of an engine: the ways to their threads, and what ends with them.

use crate::helpers::Foreman;
use crate::queue::remote::Remote;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// All queues of an engine.
#[derive(Debug)]
pub(crate) struct Queues {
    /// The way to each.
    pub(crate) remotes: Vec<Arc<Remote>>,
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
    pub(crate) foreman: Mutex<Option<Arc<Foreman>>>,
}

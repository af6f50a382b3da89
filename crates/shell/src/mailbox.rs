//! The way to a queue's thread: tasks, and a bell that is rung only when the thread may be asleep.
//!
//! Whoever leaves something (a task, or anything else that the thread looks at in its turn) and is told
//! to ring must ring: then the thread will look. The runtime's bell is an eventfd.

use crate::sync::{AtomicBool, Mutex, Ordering, lock};
use std::sync::Arc;

/// Whether a thread will look by itself at what was left for it, or has to be woken.
#[derive(Debug)]
pub struct Awake(AtomicBool);

impl Default for Awake {
    fn default() -> Awake {
        Awake(AtomicBool::new(false))
    }
}

impl Awake {
    /// Makes the thread take a turn, in which it sees what was done before. True: ring.
    #[must_use]
    pub fn wake(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// The thread is about to look; called after the bell has rung and is silent again.
    fn looks(&self) {
        // A swap, not a store: what was done before a wake that found it set is seen from here on.
        self.0.swap(false, Ordering::AcqRel);
    }
}

/// Tasks for one thread.
#[derive(Debug)]
pub struct Mailbox<T> {
    tasks: Mutex<Vec<T>>,
    awake: Arc<Awake>,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Mailbox<T> {
        Mailbox::new(Arc::default())
    }
}

impl<T> Mailbox<T> {
    /// Of the thread that `awake` tells of.
    pub fn new(awake: Arc<Awake>) -> Mailbox<T> {
        Mailbox { tasks: Mutex::new(Vec::new()), awake }
    }

    /// Leaves a task. True: ring.
    #[must_use]
    pub fn post(&self, task: T) -> bool {
        lock(&self.tasks).push(task);
        self.awake.wake()
    }

    /// Makes the thread take a turn, in which it sees what was done before. True: ring.
    #[must_use]
    pub fn wake(&self) -> bool {
        self.awake.wake()
    }

    /// The tasks that are there; called by the thread after the bell has rung and is silent again.
    pub fn take(&self) -> Vec<T> {
        self.awake.looks();
        std::mem::take(&mut *lock(&self.tasks))
    }
}

//! The way to a queue's thread: tasks, and a bell that is rung only when the thread may be asleep.
//!
//! Whoever leaves something (a task, or anything else that the thread looks at in its turn) and is told
//! to ring must ring: then the thread will look. The runtime's bell is an eventfd.

use crate::sync::{AtomicBool, Mutex, Ordering, lock};

/// Tasks for one thread.
#[derive(Debug)]
pub struct Mailbox<T> {
    tasks: Mutex<Vec<T>>,
    awake: AtomicBool,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Mailbox<T> {
        Mailbox { tasks: Mutex::new(Vec::new()), awake: AtomicBool::new(false) }
    }
}

impl<T> Mailbox<T> {
    /// Leaves a task. True: ring.
    #[must_use]
    pub fn post(&self, task: T) -> bool {
        lock(&self.tasks).push(task);
        self.wake()
    }

    /// Makes the thread take a turn, in which it sees what was done before. True: ring.
    #[must_use]
    pub fn wake(&self) -> bool {
        !self.awake.swap(true, Ordering::AcqRel)
    }

    /// The tasks that are there; called by the thread after the bell has rung and is silent again.
    pub fn take(&self) -> Vec<T> {
        // A swap, not a store: what was done before a wake that found `awake` set is seen from here on.
        self.awake.swap(false, Ordering::AcqRel);
        std::mem::take(&mut *lock(&self.tasks))
    }
}

//! The way from other threads to a queue's own.

use crate::clock::unix_ms;
use crate::error::EngineError;
use crate::queue::Reactor;
use crate::ring::bell::Bell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use steadfast_shell::mailbox::{Awake, Mailbox};

/// Work for a queue's thread.
pub type Task = Box<dyn FnOnce(&mut Reactor) + Send>;

/// The way to a queue's thread.
#[derive(Debug)]
pub(crate) struct Remote {
    tasks: Mailbox<TaskBox>,
    pub(crate) bell: Arc<Bell>,
    /// A question was not answered in time, and the thread has not taken its tasks since.
    silent: AtomicBool,
    /// When that was found, milliseconds since 1970.
    silent_since_unix_ms: AtomicU64,
    /// The log says so.
    told: AtomicBool,
}

struct TaskBox(Task);

impl std::fmt::Debug for TaskBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Task")
    }
}

impl Remote {
    pub(crate) fn new() -> Result<Remote, EngineError> {
        let awake = Arc::new(Awake::default());
        Ok(Remote {
            tasks: Mailbox::new(awake.clone()),
            bell: Arc::new(Bell::new(awake)?),
            silent: AtomicBool::new(false),
            silent_since_unix_ms: AtomicU64::new(0),
            told: AtomicBool::new(false),
        })
    }

    /// Since when it has not answered, milliseconds since 1970.
    pub(crate) fn silent_since_unix_ms(&self) -> u64 {
        self.silent_since_unix_ms.load(Ordering::Relaxed)
    }

    /// True once for each time that it does not answer.
    pub(crate) fn is_news(&self) -> bool {
        !self.told.swap(true, Ordering::Relaxed)
    }

    /// Lets the queue's thread do something.
    pub(crate) fn post(&self, task: Task) {
        if self.tasks.post(TaskBox(task)) {
            self.bell.ring();
        }
    }

    /// Makes the queue's thread take a turn.
    pub(crate) fn wake(&self) {
        if self.tasks.wake() {
            self.bell.ring();
        }
    }

    /// The tasks that are there; called by the queue's thread after a wake.
    pub(crate) fn take(&self) -> impl Iterator<Item = Task> + use<> {
        self.silent.store(false, Ordering::Relaxed);
        self.told.store(false, Ordering::Relaxed);
        self.tasks.take().into_iter().map(|t| t.0)
    }

    /// Lets the queue's thread do something and waits for the answer, for a while.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        patience: Duration,
        f: impl FnOnce(&mut Reactor) -> T + Send + 'static,
    ) -> Option<T> {
        let (tx, rx) = mpsc::sync_channel(1);
        self.post(Box::new(move |rt| {
            let _ = tx.try_send(f(rt));
        }));
        rx.recv_timeout(patience).ok()
    }

    /// Looks at something on the queue's thread, for a while. A thread that has not answered before is not waited for
    /// again until it has been seen at work: whoever asks about many ports waits once. Nothing is left behind for it
    /// to do then.
    pub(crate) fn look<T: Send + 'static>(
        &self,
        patience: Duration,
        f: impl FnOnce(&mut Reactor) -> T + Send + 'static,
    ) -> Option<T> {
        if self.silent.load(Ordering::Relaxed) {
            return None;
        }
        let answer = self.ask(patience, f);
        if answer.is_none() {
            self.silent_since_unix_ms.store(unix_ms(), Ordering::Relaxed);
            self.silent.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// The same with much patience: for what must have happened before things can go on.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Reactor) -> T + Send + 'static,
    ) -> Option<T> {
        let answer = self.ask(Duration::from_secs(30), f);
        if answer.is_none() {
            tracing::error!("a queue's thread does not answer");
        }
        answer
    }
}

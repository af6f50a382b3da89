//! The way from other threads to a queue's own.

#![allow(unsafe_code)] // eventfd

use crate::error::{EngineError, ErrorKind};
use crate::reactor::Reactor;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use steadfast_shell::mailbox::Mailbox;

/// Work for a queue's thread.
pub type Task = Box<dyn FnOnce(&mut Reactor) + Send>;

/// The way to a queue's thread.
#[derive(Debug)]
pub(crate) struct Remote {
    tasks: Mailbox<TaskBox>,
    eventfd: OwnedFd,
    /// A question was not answered in time, and the thread has not taken its tasks since.
    silent: AtomicBool,
}

struct TaskBox(Task);

impl std::fmt::Debug for TaskBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Task")
    }
}

impl Remote {
    pub(crate) fn new() -> Result<Remote, EngineError> {
        // SAFETY: plain call; the result is checked before it is owned.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            let what = format!("eventfd: {}", std::io::Error::last_os_error());
            return Err(EngineError::new(ErrorKind::Unsupported, what));
        }
        // SAFETY: just created, nobody else has it.
        let eventfd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Remote { tasks: Mailbox::default(), eventfd, silent: AtomicBool::new(false) })
    }

    pub(crate) fn eventfd(&self) -> &OwnedFd {
        &self.eventfd
    }

    /// Lets the queue's thread do something.
    pub(crate) fn post(&self, task: Task) {
        if self.tasks.post(TaskBox(task)) {
            self.ring();
        }
    }

    /// Makes the queue's thread take a turn.
    pub(crate) fn wake(&self) {
        if self.needs_bell() {
            self.ring();
        }
    }

    /// What was done before is to be seen by the queue's thread. True: the bell is to be rung for it.
    pub(crate) fn needs_bell(&self) -> bool {
        self.tasks.wake()
    }

    pub(crate) fn ring(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: eight bytes from a local array to a descriptor that we own.
        unsafe { libc::write(self.eventfd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// The tasks that are there; called by the queue's thread after a wake.
    pub(crate) fn take(&self) -> impl Iterator<Item = Task> + use<> {
        self.silent.store(false, Ordering::Relaxed);
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

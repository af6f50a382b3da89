//! The way from other threads to a queue's own.

#![allow(unsafe_code)] // eventfd

use crate::clock::unix_ms;
use crate::error::{EngineError, ErrorKind};
use crate::queue::Reactor;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use steadfast_shell::gate::Entry;
use steadfast_shell::mailbox::Mailbox;

/// Work for a queue's thread.
pub type Task = Box<dyn FnOnce(&mut Reactor) + Send>;

/// Entry points that a queue's thread can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Inside {
    Submit = 1,
    Commit,
    Event,
    Timer,
    Abort,
    HandBack,
    QueueRun,
}

impl Inside {
    const ALL: [Inside; 7] = [
        Inside::Submit,
        Inside::Commit,
        Inside::Event,
        Inside::Timer,
        Inside::Abort,
        Inside::HandBack,
        Inside::QueueRun,
    ];

    const fn name(self) -> &'static str {
        match self {
            Inside::Submit => Entry::Submit.name(),
            Inside::Commit => Entry::Commit.name(),
            Inside::Event => Entry::Event.name(),
            Inside::Timer => Entry::Timer.name(),
            Inside::Abort => Entry::Abort.name(),
            Inside::HandBack => "hand_back",
            Inside::QueueRun => "queue_run",
        }
    }
}

impl From<Entry> for Inside {
    #[inline]
    fn from(entry: Entry) -> Inside {
        match entry {
            Entry::Submit => Inside::Submit,
            Entry::Commit => Inside::Commit,
            Entry::Event => Inside::Event,
            Entry::Timer => Inside::Timer,
            Entry::Abort => Inside::Abort,
        }
    }
}

/// The way to a queue's thread.
#[derive(Debug)]
pub(crate) struct Remote {
    tasks: Mailbox<TaskBox>,
    eventfd: OwnedFd,
    /// A question was not answered in time, and the thread has not taken its tasks since.
    silent: AtomicBool,
    /// When that was found, milliseconds since 1970.
    silent_since_unix_ms: AtomicU64,
    /// The log says so.
    told: AtomicBool,
    /// Port and entry point of the driver that the thread is in; 0: none.
    inside: AtomicU64,
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
        Ok(Remote {
            tasks: Mailbox::default(),
            eventfd,
            silent: AtomicBool::new(false),
            silent_since_unix_ms: AtomicU64::new(0),
            told: AtomicBool::new(false),
            inside: AtomicU64::new(0),
        })
    }

    /// The thread goes into a driver. Only the thread itself says so: these are plain stores.
    #[inline]
    pub(crate) fn goes_in(&self, port: u32, entry: Inside) {
        self.inside.store(u64::from(port) << 8 | entry as u64, Ordering::Relaxed);
    }

    /// It has come out.
    #[inline]
    pub(crate) fn comes_out(&self) {
        self.inside.store(0, Ordering::Relaxed);
    }

    /// In which port's driver the thread is, and in which entry point.
    pub(crate) fn inside(&self) -> Option<(u32, &'static str)> {
        let inside = self.inside.load(Ordering::Relaxed);
        let entry = Inside::ALL.into_iter().find(|entry| *entry as u64 == inside & 0xff)?;
        Some(((inside >> 8) as u32, entry.name()))
    }

    /// Since when it has not answered, milliseconds since 1970.
    pub(crate) fn silent_since_unix_ms(&self) -> u64 {
        self.silent_since_unix_ms.load(Ordering::Relaxed)
    }

    /// True once for each time that it does not answer.
    pub(crate) fn is_news(&self) -> bool {
        !self.told.swap(true, Ordering::Relaxed)
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

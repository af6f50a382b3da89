//! The bell of one queue's thread: it makes the thread take a turn, and shows in which driver the thread is.

#![allow(unsafe_code)] // eventfd

use crate::error::{EngineError, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use steadfast_shell::gate::Entry;
use steadfast_shell::mailbox::Awake;

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

/// One queue's bell.
#[derive(Debug)]
pub(crate) struct Bell {
    awake: Arc<Awake>,
    eventfd: OwnedFd,
    /// Port and entry point of the driver that the thread is in; 0: none.
    inside: AtomicU64,
}

impl Bell {
    pub(crate) fn new(awake: Arc<Awake>) -> Result<Bell, EngineError> {
        // SAFETY: plain call; the result is checked before it is owned.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            let what = format!("eventfd: {}", std::io::Error::last_os_error());
            return Err(EngineError::new(ErrorKind::Unsupported, what));
        }
        // SAFETY: just created, nobody else has it.
        let eventfd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Bell { awake, eventfd, inside: AtomicU64::new(0) })
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

    pub(crate) fn eventfd(&self) -> &OwnedFd {
        &self.eventfd
    }

    /// What was done before is to be seen by the queue's thread. True: the bell is to be rung for it.
    pub(crate) fn needs_bell(&self) -> bool {
        self.awake.wake()
    }

    pub(crate) fn ring(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: eight bytes from a local array to a descriptor that we own.
        unsafe { libc::write(self.eventfd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

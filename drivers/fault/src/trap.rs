//! At which entry point a driver misbehaves.

use crate::Entry;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use steadfast_driver::{Errno, Error, Result};

/// How a driver misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It panics.
    Panic,
    /// It answers with an error number.
    Error(Errno),
    /// It ends the process.
    Abort,
    /// It blocks the thread that entered it.
    Block(Duration),
}

impl How {
    /// Misbehaves, in the entry point `at`.
    ///
    /// # Errors
    /// The error number of the fault, when it is one.
    pub fn happen(self, at: &str) -> Result<()> {
        match self {
            How::Panic => panic!("asked to panic in {at}"),
            How::Error(errno) => return Err(Error::new(errno, format!("asked to fail in {at}"))),
            How::Abort => std::process::abort(),
            How::Block(time) => std::thread::sleep(time),
        }
        Ok(())
    }
}

/// A fault at one entry point.
#[derive(Debug)]
pub struct Trap {
    at: Entry,
    how: How,
    after: u64,
    times: u64,
    calls: AtomicU64,
}

impl Trap {
    /// At `at`, after `after` calls that go well, `times` times; 0: from then on.
    pub fn new(at: Entry, how: How, after: u64, times: u64) -> Trap {
        Trap { at, how, after, times, calls: AtomicU64::new(0) }
    }

    /// Whether it is at this entry point.
    #[inline]
    pub fn is_at(&self, entry: Entry) -> bool {
        self.at == entry
    }

    /// The driver is entered at `entry`.
    ///
    /// # Errors
    /// The error number of the fault, when it is one.
    #[inline]
    pub fn enter(&self, entry: Entry) -> Result<()> {
        if self.at == entry { self.spring() } else { Ok(()) }
    }

    #[cold]
    fn spring(&self) -> Result<()> {
        let past = self.calls.fetch_add(1, Relaxed).checked_sub(self.after);
        if past.is_none_or(|past| self.times > 0 && past >= self.times) {
            return Ok(());
        }
        self.how.happen(self.at.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_springs_after_some_calls_and_so_many_times() {
        let trap = Trap::new(Entry::Submit, How::Error(Errno::IO), 2, 1);
        let failed: Vec<bool> = (0..5).map(|_| trap.enter(Entry::Submit).is_err()).collect();
        assert_eq!(failed, [false, false, true, false, false]);
        assert!(trap.enter(Entry::Connect).is_ok());
    }

    #[test]
    fn without_a_number_of_times_it_stays() {
        let trap = Trap::new(Entry::Connect, How::Error(Errno::IO), 1, 0);
        let failed: Vec<bool> = (0..4).map(|_| trap.enter(Entry::Connect).is_err()).collect();
        assert_eq!(failed, [false, true, true, true]);
    }
}

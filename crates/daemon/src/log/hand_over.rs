//! Lines on their way to the log's thread: at most so many, and giving one never waits.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most lines that wait.
const LINES: usize = 4096;
/// Most bytes of lines that wait.
const BYTES: usize = 4 << 20;

/// What the log's thread is given.
pub(super) enum Message {
    /// A line with its line feed.
    Line(String),
    /// Everything before this has been written, or counted, once it is answered.
    Flush(SyncSender<()>),
}

/// What became of the lines.
#[derive(Debug, Default)]
pub(super) struct Counts {
    waiting_bytes: AtomicUsize,
    written: AtomicU64,
    /// There was no room for them, or they could not be written.
    lost: AtomicU64,
    /// There was no room for the last one.
    full: AtomicBool,
    /// The last one could not be written.
    failing: AtomicBool,
    error: Mutex<String>,
}

impl Counts {
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Why the last line was not written; empty once one was.
    pub(super) fn error(&self) -> String {
        match (self.failing.load(Ordering::Relaxed), self.full.load(Ordering::Relaxed)) {
            (true, _) => self.error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            (false, true) => "nobody takes its lines".to_owned(),
            (false, false) => String::new(),
        }
    }

    /// A line was written.
    pub(super) fn wrote(&self) {
        self.written.fetch_add(1, Ordering::Relaxed);
        self.failing.store(false, Ordering::Relaxed);
        self.full.store(false, Ordering::Relaxed);
    }

    /// A line could not be written.
    pub(super) fn lose(&self, why: String) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = why;
        self.failing.store(true, Ordering::Relaxed);
    }

    /// A line has left the queue.
    pub(super) fn taken(&self, line: &str) {
        self.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
    }
}

/// The giving end.
#[derive(Debug)]
pub(super) struct HandOver {
    queue: SyncSender<Message>,
    counts: Arc<Counts>,
}

impl HandOver {
    pub(super) fn new() -> (HandOver, Receiver<Message>) {
        let (queue, taken) = sync_channel(LINES);
        (HandOver { queue, counts: Arc::default() }, taken)
    }

    pub(super) fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Hands a line over, or counts it where there is no room. It never waits.
    pub(super) fn give(&self, line: String) {
        let bytes = line.len();
        let before = self.counts.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= BYTES;
        if !fits || self.queue.try_send(Message::Line(line)).is_err() {
            self.counts.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
            self.counts.full.store(true, Ordering::Relaxed);
        }
    }

    /// Waits until what was given before has been dealt with, at most `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let (done, answered) = sync_channel(1);
        let mut message = Message::Flush(done);
        loop {
            match self.queue.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Full(again)) if Instant::now() < until => message = again,
                Err(_) => return,
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = answered.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_takes_is_counted_and_never_waited_for() {
        let (give, taken) = HandOver::new();
        for number in 0..LINES + 10 {
            give.give(format!("{number}\n"));
        }
        assert_eq!(give.counts().lost(), 10, "there is room for {LINES}");
        assert_eq!(taken.try_iter().count(), LINES);
        // The bytes of what was lost are not held against what comes later.
        let (give, _taken) = HandOver::new();
        give.give("x".repeat(BYTES + 1));
        give.give("x".repeat(BYTES));
        assert_eq!(give.counts().lost(), 1);
        give.flush(Duration::from_millis(10));
    }
}

//! What the control thread and the queues share of one trial.

use crate::info::ShadowInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use steadfast_abi as abi;
use steadfast_abi::{block_op, op};
use steadfast_shell::receipt::Release;
use steadfast_shell::shadow::{Range, Tally, Writes};
use steadfast_shell::sync::lock;

/// One trial.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) candidate: Release,
    /// What is being changed on the device, and what was.
    pub(crate) writes: Writes,
    /// Reads that came earlier are not copied: not every queue noted changes yet.
    from_ns: AtomicU64,
    /// Operations that would have changed something.
    refused: AtomicU64,
    /// Flushes that had nothing to do.
    swallowed: AtomicU64,
    /// Sampling rate, in 65536ths.
    pub(crate) sample: u32,
    until: Mutex<Instant>,
    seen: Mutex<Tally>,
    /// Why it is to end before its time.
    ended: Mutex<Option<String>>,
    wake: Condvar,
}

/// 1, as a sampling rate.
pub(crate) const ALL: u32 = 1 << 16;

impl Trial {
    pub(crate) fn new(candidate: Release, bytes: u64, sample: f64) -> Trial {
        Trial {
            candidate,
            writes: Writes::new(bytes),
            from_ns: AtomicU64::new(u64::MAX),
            refused: AtomicU64::new(0),
            swallowed: AtomicU64::new(0),
            sample: (sample.clamp(0.0, 1.0) * f64::from(ALL)).ceil() as u32,
            until: Mutex::new(Instant::now()),
            seen: Mutex::default(),
            ended: Mutex::new(None),
            wake: Condvar::new(),
        }
    }

    /// Every queue notes changes: reads that come from now on are copied.
    pub(crate) fn begin(&self, now_ns: u64, duration: Duration) {
        *lock(&self.until) = Instant::now() + duration;
        self.from_ns.store(now_ns, Ordering::Release);
    }

    /// Whether a read that was submitted then may be compared.
    pub(crate) fn covers(&self, submitted_ns: u64) -> bool {
        submitted_ns >= self.from_ns.load(Ordering::Acquire)
    }

    /// Ends it before its time. The first reason stands.
    pub(crate) fn end(&self, why: &str) {
        lock(&self.ended).get_or_insert_with(|| why.to_owned());
        self.wake.notify_all();
    }

    /// Why it was ended before its time.
    pub(crate) fn ended(&self) -> Option<String> {
        lock(&self.ended).clone()
    }

    /// Sleeps, unless the trial is to end.
    pub(crate) fn sleep(&self, time: Duration) {
        let ended = lock(&self.ended);
        if ended.is_none() {
            let _ = self.wake.wait_timeout(ended, time).map_err(PoisonError::into_inner);
        }
    }

    pub(crate) fn left(&self) -> Duration {
        lock(&self.until).saturating_duration_since(Instant::now())
    }

    /// What the queues had counted when they were last asked.
    pub(crate) fn set_seen(&self, tally: Tally) {
        *lock(&self.seen) = tally;
    }

    pub(crate) fn info(&self) -> ShadowInfo {
        let seen = lock(&self.seen);
        ShadowInfo {
            candidate: self.candidate.clone(),
            compared: seen.judged(),
            differ: seen.differ,
            failed: seen.failed,
            left_ms: u64::try_from(self.left().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// In words, for who is refused because of it.
    pub(crate) fn describe(&self) -> String {
        let (driver, version) = (&self.candidate.driver, &self.candidate.version);
        format!("{driver} {version} is on trial, {} s left", self.left().as_secs())
    }

    /// What becomes of an operation that the candidate issues: as it is, without effect, or an errno.
    pub(crate) fn tame(&self, op: &abi::Op) -> Result<abi::Op, i32> {
        match op.code {
            op::NOP | op::READ | op::TIMEOUT | op::POLL | op::EXTENTS => Ok(*op),
            op::FSYNC | op::FDATASYNC => {
                self.swallowed.fetch_add(1, Ordering::Relaxed);
                Ok(abi::Op { code: op::NOP, ..*op })
            }
            _ => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Err(libc::EROFS)
            }
        }
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn swallowed(&self) -> u64 {
        self.swallowed.load(Ordering::Relaxed)
    }

    /// A request is on its way to the driver that serves.
    #[cold]
    pub(crate) fn request_begins(&self, request: &abi::Request) {
        if changes(request.op) {
            self.writes.begin(range(request));
        }
    }

    /// That driver has completed it.
    #[cold]
    pub(crate) fn request_ended(&self, request: &abi::Request) {
        if changes(request.op) {
            self.writes.end(range(request), crate::clock::now_ns());
        }
    }
}

/// Whether a request changes what the device holds.
fn changes(code: u16) -> bool {
    matches!(code, block_op::WRITE | block_op::TRIM | block_op::WRITE_ZEROES)
}

pub(crate) fn range(request: &abi::Request) -> Range {
    Range { device: request.device, offset: request.offset, length: request.length }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial() -> Trial {
        let candidate = Release { driver: "file".into(), version: "1.1.0".into(), hash: String::new() };
        Trial::new(candidate, 1 << 20, 1.0)
    }

    fn an_op(code: u16) -> abi::Op {
        abi::Op {
            size: size_of::<abi::Op>() as u32,
            code,
            flags: 0,
            handle: 0,
            tag: abi::NO_TAG,
            cookie: 0,
            offset: 0,
            length: 0,
            arg: 0,
            segs: std::ptr::null(),
            seg_count: 0,
            reserved: 0,
        }
    }

    #[test]
    fn whatever_would_change_something_is_refused_and_counted() {
        let trial = trial();
        for code in [op::WRITE, op::FALLOCATE, op::SEND, op::RECV, op::NVME, 77] {
            assert_eq!(trial.tame(&an_op(code)).map(|op| op.code), Err(libc::EROFS), "{code}");
        }
        for code in [op::NOP, op::READ, op::TIMEOUT, op::POLL, op::EXTENTS] {
            assert_eq!(trial.tame(&an_op(code)).map(|op| op.code), Ok(code));
        }
        for code in [op::FSYNC, op::FDATASYNC] {
            assert_eq!(trial.tame(&an_op(code)).map(|op| op.code), Ok(op::NOP), "nothing to make durable");
        }
        assert_eq!((trial.refused(), trial.swallowed()), (6, 2));
    }

    #[test]
    fn it_ends_at_once_when_it_is_told_to() {
        let trial = trial();
        trial.begin(5, Duration::from_secs(3600));
        assert!(trial.covers(5) && !trial.covers(4));
        trial.end("stop");
        trial.end("another reason");
        trial.sleep(Duration::from_secs(3600));
        assert_eq!(trial.ended().as_deref(), Some("stop"));
    }
}

//! The parameters of a port that the shell carries out itself, as its queues and the control plane read
//! them.
//!
//! They are stored here when an instance comes to serve, and when a live one changes. Each lane then takes
//! them over on its own thread ([`Lane::take_over`](crate::lane::Lane::take_over)), so that on the path of
//! a request it looks at nothing but what is its own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use steadfast_shell::pace::Pace;
use steadfast_shell::params::ShellParams;
use steadfast_shell::throttle::Throttle;

/// Slots that a port has on each queue, whatever it has in all.
const LEAST_SLOTS: u32 = 16;

/// The limits of one port.
#[derive(Debug)]
pub(crate) struct Limits {
    queues: usize,
    pub(crate) throttle: Throttle,
    pub(crate) pace: Pace,
    request_timeout_s: AtomicU32,
    drain_timeout_s: AtomicU32,
    log_mask: AtomicU32,
    io_slots: AtomicU32,
    max_transfer: AtomicU32,
}

/// Slots of each queue when a port has `io_slots` over `queues` queues.
pub(crate) fn slots_per_queue(io_slots: u32, queues: usize) -> u32 {
    (io_slots / queues.max(1) as u32).max(LEAST_SLOTS)
}

impl Limits {
    /// The limits of a port that is spread over `queues` queues.
    pub(crate) fn new(queues: usize, params: &ShellParams) -> Limits {
        let limits = Limits {
            queues,
            throttle: Throttle::new(queues),
            pace: Pace::default(),
            request_timeout_s: AtomicU32::new(0),
            drain_timeout_s: AtomicU32::new(0),
            log_mask: AtomicU32::new(0),
            io_slots: AtomicU32::new(0),
            max_transfer: AtomicU32::new(0),
        };
        limits.apply(params);
        limits
    }

    /// These are the values from now on. Lanes must take them over.
    pub(crate) fn apply(&self, params: &ShellParams) {
        self.throttle.set_limit(params.io_throttle);
        self.pace.set_byte_cost(params.byte_cost());
        let store = |place: &AtomicU32, value| place.store(value, Ordering::Release);
        store(&self.request_timeout_s, params.request_timeout_s);
        store(&self.drain_timeout_s, params.drain_timeout_s);
        store(&self.log_mask, params.log_mask);
        store(&self.io_slots, params.io_slots);
        store(&self.max_transfer, params.max_transfer);
    }

    /// How long a request may take, nanoseconds; 0: for ever.
    pub(crate) fn request_timeout_ns(&self) -> u64 {
        u64::from(self.request_timeout_s.load(Ordering::Acquire)) * 1_000_000_000
    }

    /// How long requests in flight are waited for where nobody says it.
    pub(crate) fn drain_timeout(&self) -> Duration {
        Duration::from_secs(self.drain_timeout_s.load(Ordering::Acquire).into())
    }

    /// Slots of each queue.
    pub(crate) fn slots(&self) -> u32 {
        slots_per_queue(self.io_slots.load(Ordering::Acquire), self.queues)
    }

    /// Largest request that is passed on, bytes.
    pub(crate) fn max_transfer(&self) -> u32 {
        self.max_transfer.load(Ordering::Acquire)
    }

    /// Whether messages of a kind reach the log: a bit of
    /// [`log_mask`](steadfast_shell::params::log_mask).
    pub(crate) fn logs(&self, bit: u32) -> bool {
        self.log_mask.load(Ordering::Relaxed) & bit != 0
    }
}

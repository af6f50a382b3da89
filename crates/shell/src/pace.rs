//! A rate limit in bytes: a virtual clock that each request puts forward by what its bytes take.
//!
//! Where the clock is ahead of the real one by more than a burst, requests wait. So over any time `t` no
//! more passes than `t` and one burst allow, and one request; and nothing is saved up while the port is
//! idle (the generic cell rate algorithm, ITU-T I.371).

use std::sync::atomic::{AtomicU64, Ordering};

/// How far ahead the virtual clock may be when a request is let in, nanoseconds.
pub const BURST_NS: u64 = 2_000_000;

/// The clock of one port; its queues share it.
#[derive(Debug, Default)]
pub struct Pace {
    /// Nanoseconds that one byte takes, in 1/1024; 0: no limit.
    byte_cost: AtomicU64,
    clock_ns: AtomicU64,
}

impl Pace {
    /// What one byte takes, nanoseconds in 1/1024; 0: no limit.
    pub fn byte_cost(&self) -> u64 {
        self.byte_cost.load(Ordering::Relaxed)
    }

    /// Sets what one byte takes.
    pub fn set_byte_cost(&self, cost: u64) {
        self.byte_cost.store(cost, Ordering::Relaxed);
    }

    /// Until when a request has to wait; `None`: it need not.
    pub fn wait(&self, now_ns: u64) -> Option<u64> {
        let until = self.clock_ns.load(Ordering::Relaxed).saturating_sub(BURST_NS);
        (until > now_ns).then_some(until)
    }

    /// A request of `bytes` is let in.
    pub fn charge(&self, now_ns: u64, bytes: u64) {
        let ns = cost_ns(self.byte_cost(), bytes);
        let put = |clock: u64| Some(clock.max(now_ns).saturating_add(ns));
        let _ = self.clock_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, put);
    }
}

/// Nanoseconds that `bytes` take, rounded up.
fn cost_ns(byte_cost: u64, bytes: u64) -> u64 {
    bytes.saturating_mul(byte_cost).div_ceil(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::ShellParams;

    const SECOND: u64 = 1_000_000_000;

    fn pace(gbps: u32) -> Pace {
        let pace = Pace::default();
        pace.set_byte_cost(ShellParams { link_speed_gbps: gbps, ..ShellParams::default() }.byte_cost());
        pace
    }

    /// Bytes that a client gets through in `ns` which always has a request of `size` waiting.
    fn through(pace: &Pace, from_ns: u64, ns: u64, size: u64) -> u64 {
        let (mut now, mut bytes) = (from_ns, 0);
        loop {
            now = pace.wait(now).unwrap_or(now);
            if now >= from_ns + ns {
                return bytes;
            }
            pace.charge(now, size);
            bytes += size;
        }
    }

    #[test]
    fn a_rate_holds_for_requests_of_any_size() {
        for gbps in [1, 2, 4, 8, 10, 16, 25, 32, 64] {
            for size in [512, 4096, 131_072, 1_388_544] {
                let bytes = through(&pace(gbps), 5 * SECOND, SECOND, size);
                let rate = u64::from(gbps) * SECOND / 8;
                let most = rate + rate / (SECOND / BURST_NS) + size;
                // What one byte takes is rounded down to 1/1024 ns: 0.5 % at 25 Gb/s.
                assert!(bytes <= most + most / 200, "{gbps} Gb/s, {size}: {bytes} of {most}");
                assert!(bytes >= rate - rate / 100, "{gbps} Gb/s, {size}: {bytes} of {rate}");
            }
        }
    }

    #[test]
    fn nothing_is_saved_up_while_it_is_idle() {
        let pace = pace(8);
        pace.charge(SECOND, 1000);
        let bytes = through(&pace, 100 * SECOND, SECOND / 100, 4096);
        assert!(bytes <= SECOND / 100 + BURST_NS + 4096, "{bytes} at one byte per nanosecond");
    }

    #[test]
    fn who_comes_late_waits_for_what_others_have_taken() {
        let pace = pace(8);
        assert_eq!(pace.wait(SECOND), None);
        pace.charge(SECOND, 10_000_000);
        assert_eq!(pace.wait(SECOND), Some(SECOND + 10_000_000 - BURST_NS));
        assert_eq!(pace.wait(SECOND + 10_000_000), None);
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let pace = pace(0);
        pace.charge(7, u64::MAX);
        assert_eq!(pace.wait(7), None);
    }
}

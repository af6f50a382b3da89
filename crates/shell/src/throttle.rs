//! How many requests the driver of a port may have at a time, over all its queues.
//!
//! Each request that a queue lets in takes a token, and brings it back when the driver has completed it. A
//! queue that finds none says that it waits; whoever brings one back hands it on to the next that does,
//! in turn, so that no queue starves beside a busy one. A queue that goes under the throttle brings what
//! its driver has already into the account, and takes it out again when it leaves.
//!
//! Only atomics, and nothing is waited for: whoever is handed a token hears of it from the one who
//! hands it over.

use crate::sync::{AtomicBool, AtomicU32, Ordering};

/// The account of one port.
#[derive(Debug)]
pub struct Throttle {
    /// Most requests at a time; 0: no limit.
    limit: AtomicU32,
    /// Tokens that are out: with requests, or on their way to a queue that waits.
    out: AtomicU32,
    /// By queue: it has requests that wait for a token.
    waiting: Vec<AtomicBool>,
    /// The queue whose turn it is.
    next: AtomicU32,
}

impl Throttle {
    /// An account for `queues` queues, without a limit.
    pub fn new(queues: usize) -> Throttle {
        Throttle {
            limit: AtomicU32::new(0),
            out: AtomicU32::new(0),
            waiting: (0..queues).map(|_| AtomicBool::new(false)).collect(),
            next: AtomicU32::new(0),
        }
    }

    /// Most requests at a time; 0: no limit.
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::SeqCst)
    }

    /// Sets the limit. Queues that wait must look again afterwards.
    pub fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::SeqCst);
    }

    /// Tokens that are out.
    pub fn out(&self) -> u32 {
        self.out.load(Ordering::SeqCst)
    }

    /// Whether no more tokens are out than the limit says: else one that was handed over before the limit
    /// became lower must be brought back.
    pub fn is_within(&self) -> bool {
        let limit = self.limit();
        limit == 0 || self.out() <= limit
    }

    /// A queue whose driver has `issued` requests goes under the throttle.
    pub fn join(&self, issued: u32) {
        self.out.fetch_add(issued, Ordering::SeqCst);
    }

    /// A queue leaves the throttle with `held` tokens.
    pub fn leave(&self, queue: usize, held: u32) {
        self.stop_waiting(queue);
        self.out.fetch_sub(held, Ordering::SeqCst);
    }

    fn take(&self) -> bool {
        let mut out = self.out.load(Ordering::SeqCst);
        loop {
            let limit = self.limit.load(Ordering::SeqCst);
            if limit != 0 && out >= limit {
                return false;
            }
            match self.out.compare_exchange(out, out + 1, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return true,
                Err(now) => out = now,
            }
        }
    }

    /// Takes a token for a queue; without one, notes that the queue waits.
    pub fn take_or_wait(&self, queue: usize) -> bool {
        let others = || self.waiting.iter().enumerate().any(|(i, w)| i != queue && w.load(Ordering::SeqCst));
        if !others() && self.take() {
            return true;
        }
        let Some(waits) = self.waiting.get(queue) else { return false };
        waits.store(true, Ordering::SeqCst);
        // One may have come back in between, and found nobody.
        if self.take() {
            waits.store(false, Ordering::SeqCst);
            return true;
        }
        false
    }

    /// A queue waits no more.
    pub fn stop_waiting(&self, queue: usize) {
        if let Some(waits) = self.waiting.get(queue) {
            waits.store(false, Ordering::SeqCst);
        }
    }

    /// Brings a token back. Says which queue is handed one in its place, if one waits: it must be told.
    pub fn give_back(&self) -> Option<usize> {
        self.out.fetch_sub(1, Ordering::SeqCst);
        loop {
            if !self.waiting.iter().any(|w| w.load(Ordering::SeqCst)) || !self.take() {
                return None;
            }
            if let Some(queue) = self.choose() {
                return Some(queue);
            }
            // Whoever waited has found one itself.
            self.out.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// The next queue that waits, and that does not from here on.
    fn choose(&self) -> Option<usize> {
        let count = self.waiting.len();
        let first = self.next.load(Ordering::SeqCst) as usize;
        for queue in (0..count).map(|i| (first + i) % count) {
            if self.waiting[queue].swap(false, Ordering::SeqCst) {
                self.next.store((queue as u32 + 1) % count as u32, Ordering::SeqCst);
                return Some(queue);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_out_than_the_limit_says() {
        let throttle = Throttle::new(2);
        throttle.set_limit(2);
        assert!(throttle.take_or_wait(0) && throttle.take_or_wait(1));
        assert!(!throttle.take_or_wait(0));
        assert_eq!(throttle.give_back(), Some(0), "handed on");
        assert_eq!(throttle.out(), 2);
        assert_eq!((throttle.give_back(), throttle.out()), (None, 1));
    }

    #[test]
    fn who_waits_gets_one_in_turn() {
        let throttle = Throttle::new(4);
        throttle.set_limit(1);
        assert!(throttle.take_or_wait(0));
        let mut order = Vec::new();
        for _ in 0..8 {
            (0..4).for_each(|queue| assert!(!throttle.take_or_wait(queue)));
            order.extend(throttle.give_back());
        }
        assert_eq!(order, [0, 1, 2, 3, 0, 1, 2, 3]);
        assert_eq!(throttle.out(), 1);
    }

    #[test]
    fn a_newcomer_does_not_overtake_who_waits() {
        let throttle = Throttle::new(2);
        throttle.set_limit(1);
        throttle.join(1);
        assert!(!throttle.take_or_wait(1));
        throttle.set_limit(3);
        assert!(throttle.take_or_wait(1), "looks again when the limit has changed");
        assert!(throttle.take_or_wait(0));
        assert_eq!(throttle.out(), 3);
    }

    #[test]
    fn what_is_out_already_is_waited_for() {
        let throttle = Throttle::new(1);
        throttle.set_limit(2);
        throttle.join(5);
        assert!(!throttle.take_or_wait(0));
        assert_eq!((throttle.give_back(), throttle.give_back(), throttle.give_back()), (None, None, None));
        assert_eq!((throttle.give_back(), throttle.out()), (Some(0), 2), "below the limit at last");
        throttle.leave(0, 2);
        assert_eq!(throttle.out(), 0);
    }

    #[test]
    fn a_token_from_under_a_higher_limit_is_not_good_under_a_lower_one() {
        let throttle = Throttle::new(2);
        throttle.set_limit(2);
        throttle.join(2);
        assert!(!throttle.take_or_wait(1));
        assert_eq!(throttle.give_back(), Some(1));
        throttle.set_limit(1);
        assert!(!throttle.is_within());
        assert_eq!((throttle.give_back(), throttle.is_within()), (None, true));
        assert!(!throttle.take_or_wait(1));
        assert_eq!(throttle.give_back(), Some(1), "the next one is its own");
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let throttle = Throttle::new(1);
        assert!((0..10_000).all(|_| throttle.take_or_wait(0)));
    }
}

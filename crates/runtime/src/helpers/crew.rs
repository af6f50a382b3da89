//! Calls that wait for a helper of one kind, and how many helpers there are: one producer, the queue's thread,
//! and several takers, without a lock.

use super::call::Call;
use super::raw;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Calls that can wait here; more wait with the queue.
const ROOM: u32 = 128;

#[derive(Debug)]
pub(super) struct Crew {
    ring: Box<[AtomicPtr<Call>]>,
    /// Taken so far.
    head: AtomicU32,
    /// Left so far; who finds nothing sleeps at it.
    tail: AtomicU32,
    sleepers: AtomicU32,
    /// Helpers there are, and those that have been asked for.
    pub(super) helpers: AtomicU32,
    most: u32,
}

impl Crew {
    pub(super) fn new(most: u32) -> Crew {
        let ring = (0..ROOM).map(|_| AtomicPtr::default()).collect();
        let zero = || AtomicU32::new(0);
        Crew { ring, head: zero(), tail: zero(), sleepers: zero(), helpers: zero(), most }
    }

    /// Leaves a call; false: there is no room. Only the queue's thread does this.
    pub(super) fn push(&self, call: *mut Call) -> bool {
        let tail = self.tail.load(Ordering::Relaxed);
        if tail.wrapping_sub(self.head.load(Ordering::Acquire)) >= ROOM {
            return false;
        }
        self.ring[(tail % ROOM) as usize].store(call, Ordering::Relaxed);
        // SeqCst, with `take` and `retire`: either they see the call, or `rouse` sees them asleep or gone.
        self.tail.store(tail.wrapping_add(1), Ordering::SeqCst);
        true
    }

    /// Takes the call that has waited longest.
    pub(super) fn take(&self) -> Option<*mut Call> {
        loop {
            let head = self.head.load(Ordering::SeqCst);
            if head == self.tail.load(Ordering::SeqCst) {
                return None;
            }
            let call = self.ring[(head % ROOM) as usize].load(Ordering::Relaxed);
            let next = head.wrapping_add(1);
            if self.head.compare_exchange(head, next, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                return Some(call);
            }
        }
    }

    fn waiting(&self) -> u32 {
        self.tail.load(Ordering::SeqCst).wrapping_sub(self.head.load(Ordering::SeqCst))
    }

    pub(super) fn has_any(&self) -> bool {
        self.waiting() > 0
    }

    /// Wakes helpers for what waits. True: there is more than they can begin, and one more helper is allowed,
    /// which counts from here on.
    pub(super) fn rouse(&self) -> bool {
        let (waiting, asleep) = (self.waiting(), self.sleepers.load(Ordering::SeqCst));
        if waiting == 0 {
            return false;
        }
        if asleep > 0 {
            raw::wake(&self.tail, waiting.min(asleep));
            return false;
        }
        let helpers = self.helpers.load(Ordering::SeqCst);
        let more = helpers < self.most;
        if more {
            self.helpers.fetch_add(1, Ordering::SeqCst);
        }
        more
    }

    pub(super) fn wake_all(&self) {
        raw::wake(&self.tail, u32::MAX >> 1);
    }

    /// Sleeps until there may be a call; false: there was none for that long.
    pub(super) fn sleep(&self, timeout_ns: u64) -> bool {
        let seen = self.tail.load(Ordering::SeqCst);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let woken = self.waiting() > 0 || raw::wait(&self.tail, seen, timeout_ns);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        woken
    }

    /// A helper goes; false: there is a call after all, and it stays.
    pub(super) fn retire(&self) -> bool {
        self.helpers.fetch_sub(1, Ordering::SeqCst);
        if self.waiting() > 0 {
            self.helpers.fetch_add(1, Ordering::SeqCst);
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr;

    fn call(number: usize) -> *mut Call {
        ptr::without_provenance_mut(number)
    }

    #[test]
    fn each_call_is_taken_once_and_in_order_and_room_is_bounded() {
        let crew = Crew::new(1);
        for round in 0..3 {
            let first = round * 1000 + 1;
            (first..first + ROOM as usize).for_each(|n| assert!(crew.push(call(n))));
            assert!(!crew.push(call(1)), "no room");
            (first..first + ROOM as usize).for_each(|n| assert_eq!(crew.take(), Some(call(n))));
            assert_eq!(crew.take(), None);
        }
    }

    #[test]
    fn several_takers_leave_nothing_and_take_nothing_twice() {
        const CALLS: usize = 100_000;
        let crew = Crew::new(4);
        let sum = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    loop {
                        match crew.take() {
                            Some(end) if end.addr() == usize::MAX => break,
                            Some(call) => drop(sum.fetch_add(call.addr() as u32, Ordering::Relaxed)),
                            None => drop(crew.sleep(1_000_000)),
                        }
                    }
                });
            }
            for number in (1..=CALLS).chain([usize::MAX; 3]) {
                while !crew.push(call(number)) {
                    std::thread::yield_now();
                }
                crew.rouse();
            }
        });
        let expected = (1..=CALLS).fold(0_u32, |sum, n| sum.wrapping_add(n as u32));
        assert_eq!(sum.into_inner(), expected);
    }

    #[test]
    fn a_helper_is_asked_for_when_nobody_is_free_and_stays_when_there_is_work() {
        let crew = Crew::new(1);
        assert!(!crew.rouse(), "nothing to do");
        assert!(crew.push(call(1)) && crew.rouse(), "the first helper");
        assert!(!crew.rouse(), "there are as many as may be");
        assert!(!crew.retire());
        assert!(crew.take().is_some() && crew.retire());
        assert!(crew.push(call(2)) && crew.rouse(), "the one that went is made again");
    }
}

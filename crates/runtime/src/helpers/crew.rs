//! Calls that wait for a helper of one kind, and which helpers sleep: one producer, the queue's thread, and several
//! takers, without a lock.

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
    /// Who sleeps, a bit for each seat: a count would be wrong for ever after somebody who sleeps was killed.
    asleep: AtomicU32,
}

impl Crew {
    pub(super) fn new() -> Crew {
        let ring = (0..ROOM).map(|_| AtomicPtr::default()).collect();
        let zero = || AtomicU32::new(0);
        Crew { ring, head: zero(), tail: zero(), asleep: zero() }
    }

    /// Leaves a call; false: there is no room. Only the queue's thread does this.
    pub(super) fn push(&self, call: *mut Call) -> bool {
        let tail = self.tail.load(Ordering::Relaxed);
        if tail.wrapping_sub(self.head.load(Ordering::Acquire)) >= ROOM {
            return false;
        }
        self.ring[(tail % ROOM) as usize].store(call, Ordering::Relaxed);
        // SeqCst, with `take` and `Seat::leave`: either they see the call, or `Desk::rouse` sees them asleep or gone.
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

    /// Wakes helpers for what waits. True: something waits, and nobody sleeps.
    pub(super) fn rouse(&self) -> bool {
        let waiting = self.waiting();
        let asleep = self.asleep.load(Ordering::SeqCst).count_ones();
        if waiting > 0 && asleep > 0 {
            raw::wake(&self.tail, waiting.min(asleep));
        }
        waiting > 0 && asleep == 0
    }

    pub(super) fn wake_all(&self) {
        raw::wake(&self.tail, u32::MAX >> 1);
    }

    /// Sleeps until there may be a call; false: there was none for that long. `seat`: below 32, who does.
    pub(super) fn sleep(&self, seat: usize, timeout_ns: u64) -> bool {
        let seen = self.tail.load(Ordering::SeqCst);
        self.asleep.fetch_or(1 << seat, Ordering::SeqCst);
        let woken = self.has_any() || raw::wait(&self.tail, seen, timeout_ns);
        self.wakes(seat);
        woken
    }

    /// That one does not sleep any more.
    pub(super) fn wakes(&self, seat: usize) {
        self.asleep.fetch_and(!(1 << seat), Ordering::SeqCst);
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
        let crew = Crew::new();
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
        let crew = Crew::new();
        let sum = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for seat in 0..3 {
                let (crew, sum) = (&crew, &sum);
                scope.spawn(move || {
                    loop {
                        match crew.take() {
                            Some(end) if end.addr() == usize::MAX => break,
                            Some(call) => drop(sum.fetch_add(call.addr() as u32, Ordering::Relaxed)),
                            None => drop(crew.sleep(seat, 1_000_000)),
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
    fn more_hands_are_wanted_when_something_waits_and_nobody_sleeps() {
        let crew = Crew::new();
        assert!(!crew.rouse(), "nothing to do");
        crew.asleep.store(0b10, Ordering::SeqCst);
        assert!(crew.push(call(1)) && !crew.rouse(), "somebody sleeps");
        crew.wakes(1);
        crew.wakes(1);
        assert!(crew.rouse());
        assert!(crew.take().is_some() && !crew.rouse());
    }
}

//! When a queue with nothing to do sleeps, and when it stays awake for a moment. (Helpers do the same.)
//!
//! Waking a sleeping thread costs the client that does it far more than its request, most of all in
//! a virtual machine. So while work comes soon after work, a queue watches for it instead, and gives
//! the processor to anybody who wants it between two looks. Two kinds of load want two kinds of
//! watching: one that comes a request at a time wants an answer at once; one that comes in numbers
//! wants to gather a little, or every request is a turn of its own. Which it is, an ordinary sleep
//! tells every now and then: by how long it lasted, and how many requests there were behind it.
//!
//! Where others want the processor too, giving it up is giving it away for milliseconds, and a thread that
//! wakes from sleep is let in sooner than one that has given its turn up. So a queue that had to wait for
//! the processor does not watch for a while, and the longer the more often that happens.

/// A sleep that ends within this time was not worth it.
const SOON_NS: u64 = 60_000;
/// How long to watch for a single request.
const WATCH_NS: u64 = 50_000;
/// How long to let requests gather.
const GATHER_NS: u64 = 20_000;
/// Requests behind one sleep that are "numbers".
const MANY: u32 = 3;
/// Moments of watching between two sleeps that are measured.
const WATCHES: u32 = 64;
/// Giving the processor up took so long that somebody else had work for it.
const CROWDED_NS: u64 = 200_000;
/// Fewest and most sleeps before a queue that was crowded out watches again.
const RESTS: (u32, u32) = (64, 8192);
/// Moments of watching without being crowded out after which half of that is forgotten. Being crowded out
/// once costs as much as hundreds of moments of watching are worth.
const FORGIVEN: u32 = 4096;

/// What to do now that there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// Sleep until something completes.
    Sleep,
    /// Look for completions from `from_ns` after now on; at `until_ns` sleep.
    Watch { from_ns: u64, until_ns: u64 },
}

/// What the last sleep taught.
#[derive(Debug, Default)]
pub(crate) struct Watcher {
    watches: u32,
    gather: bool,
    /// Sleeps to come before it watches again.
    rest: u32,
    /// The last such number; 0 when it has not been crowded out lately.
    rested: u32,
    /// Moments of watching since it was crowded out, or since that was half forgotten.
    watched: u32,
    slept_ns: Option<u64>,
    requests: u32,
}

impl Watcher {
    /// What to do now.
    pub(crate) fn next(&mut self) -> Idle {
        if self.watches == 0 {
            return Idle::Sleep;
        }
        self.watches -= 1;
        self.watched += 1;
        if self.watched == FORGIVEN {
            (self.rested, self.watched) = (self.rested / 2, 0);
        }
        if self.gather {
            Idle::Watch { from_ns: GATHER_NS, until_ns: GATHER_NS }
        } else {
            Idle::Watch { from_ns: 0, until_ns: WATCH_NS }
        }
    }

    /// Whether a request was submitted since the last sleep.
    #[inline]
    pub(crate) fn has_asked(&self) -> bool {
        self.requests > 0
    }

    /// A request was submitted.
    #[inline]
    pub(crate) fn request(&mut self) {
        self.requests += 1;
    }

    /// Watching was in vain: less of it.
    pub(crate) fn in_vain(&mut self) {
        self.watches /= 2;
    }

    /// The processor was given up, and came back after `ns`. True when others wanted it: no more watching.
    pub(crate) fn yielded(&mut self, ns: u64) -> bool {
        if ns < CROWDED_NS {
            return false;
        }
        (self.watches, self.watched) = (0, 0);
        self.rested = (self.rested * 2).clamp(RESTS.0, RESTS.1);
        self.rest = self.rested;
        true
    }

    /// A sleep took `ns`; what it brought is dealt with before [`Watcher::learn`].
    pub(crate) fn slept(&mut self, ns: u64) {
        self.slept_ns = Some(ns);
        self.requests = 0;
    }

    /// The turn after a sleep is over.
    #[inline]
    pub(crate) fn learn(&mut self) {
        let Some(ns) = self.slept_ns.take() else { return };
        self.gather = self.requests >= MANY;
        if self.rest > 0 {
            self.rest -= 1;
            return;
        }
        self.watches = if ns < SOON_NS && self.requests > 0 { WATCHES } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_sleep(ns: u64, requests: u32) -> Watcher {
        let mut watcher = Watcher::default();
        assert_eq!(watcher.next(), Idle::Sleep, "at first");
        watcher.slept(ns);
        (0..requests).for_each(|_| watcher.request());
        watcher.learn();
        watcher
    }

    #[test]
    fn a_queue_that_is_seldom_used_sleeps() {
        assert_eq!(after_sleep(SOON_NS, 1).next(), Idle::Sleep);
        assert_eq!(after_sleep(10, 0).next(), Idle::Sleep, "woken for something else");
    }

    #[test]
    fn single_requests_are_watched_for_and_many_gather() {
        assert_eq!(after_sleep(5_000, 1).next(), Idle::Watch { from_ns: 0, until_ns: WATCH_NS });
        assert_eq!(after_sleep(5_000, 9).next(), Idle::Watch { from_ns: GATHER_NS, until_ns: GATHER_NS });
    }

    #[test]
    fn a_queue_that_is_crowded_out_sleeps_for_longer_and_longer() {
        let mut watcher = after_sleep(5_000, 1);
        let mut rests = || {
            assert!(!watcher.yielded(CROWDED_NS - 1) && watcher.next() != Idle::Sleep, "it has it to itself");
            assert!(watcher.yielded(CROWDED_NS));
            let mut sleeps = 0;
            while watcher.next() == Idle::Sleep {
                watcher.slept(5_000);
                watcher.request();
                watcher.learn();
                sleeps += 1;
            }
            sleeps
        };
        assert_eq!((rests(), rests()), (RESTS.0 + 1, RESTS.0 * 2 + 1));
        assert!((0..20).map(|_| rests()).is_sorted());
        assert_eq!(rests(), RESTS.1 + 1, "but not for ever");
    }

    #[test]
    fn to_have_been_crowded_out_is_forgotten_slowly() {
        let mut watcher = Watcher::default();
        (0..20).for_each(|_| assert!(watcher.yielded(CROWDED_NS)));
        let mut watch = |moments: u32| {
            for _ in 0..moments {
                while watcher.next() == Idle::Sleep {
                    watcher.slept(5_000);
                    watcher.request();
                    watcher.learn();
                }
            }
            watcher.rested
        };
        assert_eq!(watch(FORGIVEN - 1), RESTS.1);
        assert_eq!(watch(1), RESTS.1 / 2);
        assert_eq!(watch(16 * FORGIVEN), 0);
    }

    #[test]
    fn watching_ends_by_itself_and_sooner_in_vain() {
        let mut watcher = after_sleep(5_000, 1);
        (0..WATCHES).for_each(|_| assert_ne!(watcher.next(), Idle::Sleep));
        assert_eq!(watcher.next(), Idle::Sleep, "to be measured again");
        let mut watcher = after_sleep(5_000, 1);
        let mut watches = 0;
        while watcher.next() != Idle::Sleep {
            watcher.in_vain();
            watches += 1;
        }
        assert!(watches <= 7, "{watches}");
    }
}

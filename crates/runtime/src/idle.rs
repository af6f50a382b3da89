//! When a queue with nothing to do sleeps, and when it stays awake for a moment.
//!
//! Waking a sleeping thread costs the client that does it far more than its request, most of all in
//! a virtual machine. So while work comes soon after work, a queue watches for it instead, and gives
//! the processor to anybody who wants it between two looks. Two kinds of load want two kinds of
//! watching: one that comes a request at a time wants an answer at once; one that comes in numbers
//! wants to gather a little, or every request is a turn of its own. Which it is, an ordinary sleep
//! tells every now and then: by how long it lasted, and how many requests there were behind it.

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

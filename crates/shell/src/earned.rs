//! Which drivers have earned it to be called on a queue's own thread within the pause.
//!
//! A call there costs no hand-over to another thread, and a driver that takes its time in it takes the time of every
//! port on the queue. So it is for those that were called before and were quick, and a driver is known by its module
//! *and* its values: with other values it may be another thing altogether.
//!
//! A driver that serves is called again and again for its timers and batches: that is a habit ([`Habit`]), which it has to
//! show on each queue anew.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest call that is quick, nanoseconds.
pub const QUICK_NS: u64 = 250_000;
/// Most drivers that are remembered.
const MOST: usize = 4096;

/// A call within the pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `connect` or `reconnect`, with what belongs to them.
    Connect,
    /// `queue_stop` and `disconnect`.
    Disconnect,
}

/// What the last calls of one driver took; none where there was none.
#[derive(Clone, Copy, Debug, Default)]
struct Calls {
    connect_ns: Option<u64>,
    disconnect_ns: Option<u64>,
}

/// What the last calls of a driver took, as receipts tell it to the next daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallTimes {
    /// The driver: its module's hash, and a digest of the values that it had.
    pub driver: String,
    /// `connect`, nanoseconds; missing where it is not known, or a call since then was not quick.
    pub connect_ns: Option<u64>,
    /// `disconnect`, likewise.
    pub disconnect_ns: Option<u64>,
}

/// What is known of drivers.
#[derive(Clone, Debug, Default)]
pub struct Earned {
    known: BTreeMap<String, Calls>,
}

impl Earned {
    /// A call of the driver that `key` names took so long.
    pub fn note(&mut self, key: &str, entry: Entry, ns: u64) {
        if self.known.len() >= MOST && !self.known.contains_key(key) {
            // They earn it again: that costs each of them one hand-over.
            self.known.clear();
        }
        let calls = self.known.entry(key.to_owned()).or_default();
        match entry {
            Entry::Connect => calls.connect_ns = Some(ns),
            Entry::Disconnect => calls.disconnect_ns = Some(ns),
        }
        if ns > QUICK_NS {
            // Once is enough, whatever it was before.
            *calls = Calls::default();
        }
    }

    /// A call of the driver did not return in time.
    pub fn forfeit(&mut self, key: &str) {
        self.known.remove(key);
    }

    /// What is known of one, to be told to the next daemon.
    pub fn times(&self, key: &str) -> CallTimes {
        let Calls { connect_ns, disconnect_ns } = self.known.get(key).copied().unwrap_or_default();
        CallTimes { driver: key.to_owned(), connect_ns, disconnect_ns }
    }

    /// An earlier daemon has told this; what is told later counts.
    pub fn learn(&mut self, times: &CallTimes) {
        self.forfeit(&times.driver);
        let told = [(Entry::Connect, times.connect_ns), (Entry::Disconnect, times.disconnect_ns)];
        for (entry, ns) in told {
            if let Some(ns) = ns {
                self.note(&times.driver, entry, ns);
            }
        }
    }

    /// Whether both of its calls were quick, the last time.
    pub fn has(&self, key: &str) -> bool {
        let quick = |ns: Option<u64>| ns.is_some_and(|ns| ns <= QUICK_NS);
        self.known.get(key).is_some_and(|calls| quick(calls.connect_ns) && quick(calls.disconnect_ns))
    }
}

/// Quick calls that it takes before an entry point is called on the queue's own thread, and that make up for one that was
/// not quick.
pub const MANY: u32 = 16;

/// Timers that run out less often than that are rare, nanoseconds: a hand-over for each costs nobody anything.
pub const RARE_NS: u64 = 100_000_000;

/// Longest call of these that is quick, nanoseconds: nobody on a queue waits longer for another's driver.
const OWN_NS: u64 = 1_000_000;
/// One that takes so long was not only interrupted for others' sake on a busy machine, nanoseconds.
const SLEPT_NS: u64 = 20_000_000;
/// Most quick calls that count.
const MOST_QUICK: u32 = 8 * MANY;

/// What a driver that serves is like in an entry point that it is called for again and again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Habit {
    /// Quick calls, less [`MANY`] for each that was not.
    quick: u32,
    last_ns: u64,
}

impl Habit {
    /// That of a driver that is known to be quick in other calls.
    pub const fn formed() -> Habit {
        Habit { quick: MOST_QUICK, last_ns: 0 }
    }

    /// A call that began at `now_ns` took so long. One that slept is enough, whatever it was before; a thread that is
    /// interrupted in a call now and then is not the driver's fault.
    pub fn note(&mut self, now_ns: u64, took_ns: u64) {
        self.quick = if took_ns <= OWN_NS {
            (self.quick + 1).min(MOST_QUICK)
        } else if took_ns <= SLEPT_NS {
            self.quick.saturating_sub(MANY)
        } else {
            0
        };
        self.last_ns = now_ns;
    }

    /// Whether it was quick in as many calls as it takes.
    #[inline]
    pub fn is_quick(&self) -> bool {
        self.quick >= MANY
    }

    /// The same, and called so often that a hand-over for each call would be felt.
    pub fn is_quick_and_frequent(&self, now_ns: u64) -> bool {
        self.is_quick() && now_ns.saturating_sub(self.last_ns) <= RARE_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_habit_is_formed_by_many_calls_and_lost_by_few() {
        let mut habit = Habit::default();
        for _ in 0..MANY {
            assert!(!habit.is_quick());
            habit.note(7, OWN_NS);
        }
        assert!(habit.is_quick() && Habit::formed().is_quick());
        assert!(habit.is_quick_and_frequent(7 + RARE_NS) && !habit.is_quick_and_frequent(8 + RARE_NS));
        habit.note(7, OWN_NS + 1);
        assert!(!habit.is_quick());
        habit.note(7, 1);
        assert!(!habit.is_quick(), "it begins anew");
        // One that was quick for long may be interrupted now and then, and not again and again.
        let mut habit = Habit::formed();
        for _ in 0..7 {
            habit.note(7, SLEPT_NS);
            assert!(habit.is_quick());
        }
        habit.note(7, SLEPT_NS);
        assert!(!habit.is_quick());
        for _ in 0..1000 {
            habit.note(7, 1);
        }
        assert_eq!(habit, Habit { last_ns: 7, ..Habit::formed() });
        habit.note(7, SLEPT_NS + 1);
        assert!(!habit.is_quick(), "it slept");
    }

    #[test]
    fn both_calls_must_have_been_quick_and_one_that_was_not_loses_it() {
        let mut earned = Earned::default();
        assert!(!earned.has("a"));
        earned.note("a", Entry::Connect, 10);
        assert!(!earned.has("a"), "nobody knows what its disconnect takes");
        earned.note("a", Entry::Disconnect, QUICK_NS);
        assert!(earned.has("a") && !earned.has("b"));
        earned.note("a", Entry::Connect, QUICK_NS + 1);
        assert!(!earned.has("a"));
        earned.note("a", Entry::Connect, 10);
        assert!(!earned.has("a"), "its disconnect counts anew too");
        earned.note("a", Entry::Disconnect, 10);
        assert!(earned.has("a"));
        earned.forfeit("a");
        assert!(!earned.has("a"));
    }

    #[test]
    fn what_one_daemon_knows_the_next_one_learns_and_the_last_word_counts() {
        let (mut earned, mut next) = (Earned::default(), Earned::default());
        earned.note("a", Entry::Connect, 10);
        earned.note("a", Entry::Disconnect, 20);
        next.learn(&earned.times("a"));
        assert!(next.has("a") && !next.has("b"));
        // It was slow since then, or did not return.
        earned.note("a", Entry::Connect, QUICK_NS + 1);
        next.learn(&earned.times("a"));
        assert!(!next.has("a"));
        // Whatever a receipt says, what is not quick is not.
        let times = |connect_ns| CallTimes { driver: "b".into(), connect_ns, disconnect_ns: Some(1) };
        next.learn(&times(Some(QUICK_NS + 1)));
        assert!(!next.has("b"));
        next.learn(&times(None));
        assert!(!next.has("b"));
    }

    #[test]
    fn their_number_is_bounded() {
        let mut earned = Earned::default();
        for n in 0..3 * MOST {
            earned.note(&n.to_string(), Entry::Connect, 1);
            assert!(earned.known.len() <= MOST);
        }
    }
}

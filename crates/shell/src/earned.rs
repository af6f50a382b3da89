//! Which drivers have earned it to be called on a queue's own thread within the pause.
//!
//! A call there costs no hand-over to another thread, and a driver that takes its time in it takes the time of every
//! port on the queue. So it is for those that were called before and were quick, and a driver is known by its module
//! *and* its values: with other values it may be another thing altogether.

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

    /// Whether both of its calls were quick, the last time.
    pub fn has(&self, key: &str) -> bool {
        let quick = |ns: Option<u64>| ns.is_some_and(|ns| ns <= QUICK_NS);
        self.known.get(key).is_some_and(|calls| quick(calls.connect_ns) && quick(calls.disconnect_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn their_number_is_bounded() {
        let mut earned = Earned::default();
        for n in 0..3 * MOST {
            earned.note(&n.to_string(), Entry::Connect, 1);
            assert!(earned.known.len() <= MOST);
        }
    }
}

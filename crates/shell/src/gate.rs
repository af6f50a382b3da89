//! Entry points of a driver, and the counts of who is inside each.
//!
//! Only a queue's own thread enters a driver through that queue, so the counts are plain numbers and
//! exact. A swap closes the gate; the port is quiescent when nobody is inside on any queue.

use serde::{Deserialize, Serialize};

/// Entry points that a queue's thread uses while the port runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(usize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A request.
    Submit,
    /// End of a batch of requests.
    Commit,
    /// Completion of an operation.
    Event,
    /// A timer ran out.
    Timer,
    /// Give a request up.
    Abort,
}

impl Entry {
    /// All, in the order of their numbers.
    pub const ALL: [Entry; 5] = [Entry::Submit, Entry::Commit, Entry::Event, Entry::Timer, Entry::Abort];

    /// The name that the ABI gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Entry::Submit => "submit",
            Entry::Commit => "commit",
            Entry::Event => "event",
            Entry::Timer => "timer",
            Entry::Abort => "abort",
        }
    }
}

/// Counts for one port on one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Gate {
    open: bool,
    inside: [u32; Entry::ALL.len()],
    entered: [u64; Entry::ALL.len()],
}

impl Gate {
    /// Whether new requests may enter.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// start_update: new requests are held from now on.
    pub fn close(&mut self) {
        self.open = false;
    }

    /// finish_update or cancel_update.
    pub fn open(&mut self) {
        self.open = true;
    }

    /// Notes that the thread goes in.
    #[inline]
    pub fn enter(&mut self, entry: Entry) {
        self.inside[entry as usize] += 1;
        self.entered[entry as usize] += 1;
    }

    /// Notes that the thread came out.
    #[inline]
    pub fn leave(&mut self, entry: Entry) {
        self.inside[entry as usize] -= 1;
    }

    /// How many are inside `entry`: on one queue, 0 or 1.
    pub fn inside(&self, entry: Entry) -> u32 {
        self.inside[entry as usize]
    }

    /// How often `entry` was entered since the port was attached.
    pub fn entered(&self, entry: Entry) -> u64 {
        self.entered[entry as usize]
    }

    /// Nobody is inside any entry point.
    pub fn is_quiescent(&self) -> bool {
        self.inside.iter().all(|n| *n == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_who_is_inside_each_entry_point() {
        let mut gate = Gate::default();
        assert!(!gate.is_open(), "a port is held until its driver is connected");
        gate.open();
        gate.enter(Entry::Submit);
        assert_eq!((gate.inside(Entry::Submit), gate.inside(Entry::Event)), (1, 0));
        assert!(!gate.is_quiescent());
        gate.close();
        gate.leave(Entry::Submit);
        assert!(gate.is_quiescent());
        assert_eq!(gate.entered(Entry::Submit), 1);
    }
}

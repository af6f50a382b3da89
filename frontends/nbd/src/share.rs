//! How much of a queue's slots a connection may have.
//!
//! The slots of a port on a queue are in two halves. One half is given away in advance: every connection has some that
//! nobody else ever uses, however many of the others wait for their clients to read. The other half is for whoever
//! needs more, an even share each at the most. A slot counts as a connection's from the moment that it takes it until
//! its data has left, so that a client that reads nothing keeps what it has from the others, and no more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use steadfast_runtime::PortId;

/// Most slots that a connection has for itself.
const MOST_OWN: u32 = 16;
/// Slots beyond its own that any connection may try for, however many there are.
const LEAST_MORE: u32 = 16;

/// The slots of every port on every queue, as the connections of one server share them.
#[derive(Debug, Default)]
pub(crate) struct Ledgers(Mutex<HashMap<(PortId, usize), Arc<Ledger>>>);

/// What is given away of one port's slots on one queue. The counts of members are changed by any thread, the count of
/// what is taken in common by that queue's own.
#[derive(Debug, Default)]
struct Ledger {
    members: AtomicU32,
    /// Members with as many slots for themselves as [`own`] says.
    large: AtomicU32,
    /// Members with one slot for themselves.
    small: AtomicU32,
    common: AtomicU32,
}

/// A connection's share. Its slots must all be given back before it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    ledger: Arc<Ledger>,
    own: u32,
    large: bool,
}

/// Slots that each of the first connections has for itself, of `total`.
fn own(total: u32) -> u32 {
    (total / 64).clamp(1, MOST_OWN)
}

impl Ledgers {
    /// Joins the connections that share `total` slots of a port on a queue; none where every slot that could be this
    /// connection's own is another's.
    pub(crate) fn join(&self, port: PortId, queue: usize, total: u32) -> Option<Share> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of ports that have gone, or that nobody uses, need no place.
        all.retain(|_, ledger| Arc::strong_count(ledger) > 1);
        let ledger = all.entry((port, queue)).or_default().clone();
        let own = own(total);
        let (large, small) = (ledger.large.load(Ordering::Relaxed), ledger.small.load(Ordering::Relaxed));
        let share = if large < (total / 4 / own).max(1) {
            ledger.large.fetch_add(1, Ordering::Relaxed);
            Share { ledger: ledger.clone(), own, large: true }
        } else if small < total / 4 {
            ledger.small.fetch_add(1, Ordering::Relaxed);
            Share { ledger: ledger.clone(), own: 1, large: false }
        } else {
            return None;
        };
        ledger.members.fetch_add(1, Ordering::Relaxed);
        Some(share)
    }
}

impl Share {
    /// May a connection that has `held` of `total` slots take one more?
    #[inline]
    pub(crate) fn may_take(&self, held: u32, total: u32) -> bool {
        held < self.own || self.may_take_more(held - self.own, total)
    }

    fn may_take_more(&self, beyond: u32, total: u32) -> bool {
        let pool = total / 2;
        let members = self.ledger.members.load(Ordering::Relaxed).max(1);
        let even = (pool / members).max(LEAST_MORE);
        beyond < even && self.ledger.common.load(Ordering::Relaxed) < pool
    }

    /// It has taken one, and had `held` before.
    #[inline]
    pub(crate) fn took(&self, held: u32) {
        if held >= self.own {
            // This queue's thread alone changes it.
            let common = self.ledger.common.load(Ordering::Relaxed);
            self.ledger.common.store(common + 1, Ordering::Relaxed);
        }
    }

    /// It has given one back, and has `held` now.
    #[inline]
    pub(crate) fn gave(&self, held: u32) {
        if held >= self.own {
            let common = self.ledger.common.load(Ordering::Relaxed);
            debug_assert!(common > 0, "a slot is given back that nobody took");
            self.ledger.common.store(common.saturating_sub(1), Ordering::Relaxed);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.ledger.members.fetch_sub(1, Ordering::Relaxed);
        let kind = if self.large { &self.ledger.large } else { &self.ledger.small };
        kind.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: PortId = PortId(1);

    /// A connection, and how many slots it has.
    struct Client(Share, u32);

    impl Client {
        /// Takes all that it can get of `total`, of which `left` are free.
        fn grab(&mut self, total: u32, left: &mut u32) {
            while *left > 0 && self.0.may_take(self.1, total) {
                self.0.took(self.1);
                self.1 += 1;
                *left -= 1;
            }
        }

        fn give_all(&mut self, left: &mut u32) {
            while self.1 > 0 {
                self.1 -= 1;
                self.0.gave(self.1);
                *left += 1;
            }
        }
    }

    fn join(ledgers: &Ledgers, total: u32) -> Option<Client> {
        ledgers.join(PORT, 0, total).map(|share| Client(share, 0))
    }

    #[test]
    fn however_many_take_all_that_they_can_a_newcomer_has_slots_of_its_own() {
        for total in [16, 40, 128, 341, 1024, 10_240] {
            let ledgers = Ledgers::default();
            let (mut clients, mut left) = (Vec::new(), total);
            while let Some(mut client) = join(&ledgers, total) {
                client.grab(total, &mut left);
                assert!(client.1 >= client.0.own, "{} clients of {total} slots: {}", clients.len(), client.1);
                clients.push(client);
            }
            let least = if total < 64 { 6 } else { 40.min(total / 4) };
            assert!(clients.len() as u32 >= least, "{total} slots are enough for {} clients", clients.len());
            assert!(clients[0].1 <= total / 2 + MOST_OWN, "{total}: the first has {}", clients[0].1);
            // When they have gone nothing is left of them.
            clients.iter_mut().for_each(|client| client.give_all(&mut left));
            let ledger = clients[0].0.ledger.clone();
            clients.clear();
            assert_eq!((left, ledger.common.load(Ordering::Relaxed)), (total, 0));
            assert_eq!(ledger.members.load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn what_others_have_beyond_their_own_is_given_back_in_any_order() {
        let ledgers = Ledgers::default();
        let (mut left, total) = (128, 128);
        let mut clients: Vec<Client> = (0..7).filter_map(|_| join(&ledgers, total)).collect();
        for round in 0..100_usize {
            let at = round % clients.len();
            clients[at].grab(total, &mut left);
            let other = (round * 3 + 1) % clients.len();
            clients[other].give_all(&mut left);
            let taken: u32 = clients.iter().map(|c| c.1).sum();
            let common: u32 = clients.iter().map(|c| c.1.saturating_sub(c.0.own)).sum();
            assert_eq!((taken + left, common), (total, clients[0].0.ledger.common.load(Ordering::Relaxed)));
        }
    }

    #[test]
    fn one_alone_may_have_half_and_its_own_and_two_share_evenly() {
        let ledgers = Ledgers::default();
        let mut left = 1024;
        let mut first = join(&ledgers, 1024).expect("room");
        first.grab(1024, &mut left);
        assert_eq!(first.1, 512 + 16);
        first.give_all(&mut left);
        let mut second = join(&ledgers, 1024).expect("room");
        first.grab(1024, &mut left);
        second.grab(1024, &mut left);
        assert_eq!((first.1, second.1), (256 + 16, 256 + 16));
        let elsewhere = ledgers.join(PORT, 1, 1024).expect("room");
        assert!(elsewhere.may_take(500, 1024), "another queue has slots of its own");
    }
}

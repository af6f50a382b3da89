//! Operations in flight that drivers have issued: a fixed table per queue, by number.

use crate::lane::Lane;
use std::ptr::NonNull;

const NONE: u32 = u32::MAX;
/// An operation that names no other request.
pub(crate) const NOTHING: u32 = NONE;

/// Most timers of one lane that were stopped and whose completions have not arrived: a driver may set
/// one again for every request of a turn.
pub(crate) const STOPPED_TIMERS: u32 = 256;
/// Places for the timers of one lane, running and stopped.
pub(crate) const TIMER_ROOM: u32 = steadfast_abi::TIMERS + STOPPED_TIMERS;

/// What a table entry is in flight for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpKind {
    /// An operation that a driver issued; its event goes to whoever serves the port.
    Driver,
    /// The timer with that id.
    Timer(u32),
    /// A timer that was set again or stopped; its completion is dropped.
    Dropped,
    /// A wait for a request that was handed back; its completion is dropped.
    Orphan,
    /// It hangs in the kernel, and its lane has gone without it; its completion is dropped.
    Abandoned,
}

/// One operation in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpEntry {
    pub(crate) lane: NonNull<Lane>,
    pub(crate) kind: OpKind,
    pub(crate) code: u16,
    /// Where its lane keeps what it makes durable; [`NO_SYNC`] for one that does not.
    pub(crate) sync: u16,
    /// The first of the other requests that it names, in [`OpTable`]'s list; [`NOTHING`] for none.
    pub(crate) named: u32,
    pub(crate) tag: u32,
    pub(crate) cookie: u64,
}

/// An operation that makes nothing durable.
pub(crate) const NO_SYNC: u16 = u16::MAX;

#[derive(Clone, Copy, Debug)]
enum Place {
    Free(u32),
    Used(OpEntry),
}

/// The table. Room is made when a port is attached, never while one runs; a place that was never used
/// was never touched.
#[derive(Debug)]
pub(crate) struct OpTable {
    places: Vec<Place>,
    room: usize,
    free: u32,
    /// Requests that operations name beside their own, each with the place of the next.
    named: Vec<(u32, u32)>,
    free_named: u32,
}

impl OpTable {
    pub(crate) fn new() -> OpTable {
        OpTable { places: Vec::new(), room: 0, free: NONE, named: Vec::new(), free_named: NONE }
    }

    /// Makes room for `count` more operations.
    pub(crate) fn grow(&mut self, count: u32) {
        self.room += count as usize;
        self.places.reserve_exact(self.room.saturating_sub(self.places.len()));
        // A request is named by one operation at a time, as a rule.
        self.named.reserve_exact(self.room.saturating_sub(self.named.len()));
    }

    /// Takes back room for `count` operations.
    pub(crate) fn shrink(&mut self, count: u32) {
        self.room = self.room.saturating_sub(count as usize);
    }

    #[inline]
    pub(crate) fn insert(&mut self, entry: OpEntry) -> Option<u32> {
        let id = self.free;
        let Some(place) = self.places.get_mut(id as usize) else { return self.insert_fresh(entry) };
        let Place::Free(next) = *place else { return None };
        self.free = next;
        *place = Place::Used(entry);
        Some(id)
    }

    #[cold]
    fn insert_fresh(&mut self, entry: OpEntry) -> Option<u32> {
        if self.places.len() >= self.room {
            return None;
        }
        self.places.push(Place::Used(entry));
        Some(self.places.len() as u32 - 1)
    }

    pub(crate) fn get(&self, id: u32) -> Option<&OpEntry> {
        match self.places.get(id as usize)? {
            Place::Used(entry) => Some(entry),
            Place::Free(_) => None,
        }
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut OpEntry> {
        match self.places.get_mut(id as usize)? {
            Place::Used(entry) => Some(entry),
            Place::Free(_) => None,
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, id: u32) -> Option<OpEntry> {
        let place = self.places.get_mut(id as usize)?;
        let Place::Used(entry) = *place else { return None };
        *place = Place::Free(self.free);
        self.free = id;
        Some(entry)
    }

    /// Notes that an operation names another request's memory.
    pub(crate) fn name(&mut self, id: u32, tag: u32) {
        let first = self.free_named;
        let Some(Place::Used(entry)) = self.places.get_mut(id as usize) else { return };
        let place = (tag, entry.named);
        match self.named.get_mut(first as usize) {
            Some(free) => {
                self.free_named = free.1;
                *free = place;
                entry.named = first;
            }
            None => {
                entry.named = self.named.len() as u32;
                self.named.push(place);
            }
        }
    }

    /// Takes one of the requests that an operation named, which is over.
    pub(crate) fn next_named(&mut self, entry: &mut OpEntry) -> Option<u32> {
        let place = entry.named;
        let (tag, next) = self.named.get(place as usize).copied()?;
        self.named[place as usize].1 = std::mem::replace(&mut self.free_named, place);
        entry.named = next;
        Some(tag)
    }

    /// Whether an operation is a request's, or names its memory.
    pub(crate) fn concerns(&self, id: u32, tag: u32) -> bool {
        let Some(entry) = self.get(id) else { return false };
        let mut next = entry.named;
        while let Some((named, after)) = self.named.get(next as usize).copied() {
            if named == tag {
                return true;
            }
            next = after;
        }
        entry.tag == tag
    }

    /// Numbers of the operations in flight for one port.
    pub(crate) fn of_lane(&self, lane: NonNull<Lane>) -> impl Iterator<Item = u32> + '_ {
        self.places.iter().enumerate().filter_map(move |(i, p)| match p {
            Place::Used(e) if e.lane == lane => Some(i as u32),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(cookie: u64) -> OpEntry {
        OpEntry {
            lane: NonNull::dangling(),
            kind: OpKind::Driver,
            code: 1,
            sync: NO_SYNC,
            named: NOTHING,
            tag: 0,
            cookie,
        }
    }

    #[test]
    fn numbers_are_used_again_and_room_is_bounded() {
        let mut table = OpTable::new();
        assert!(table.insert(entry(0)).is_none(), "no room before grow");
        table.grow(2);
        let a = table.insert(entry(1)).expect("room");
        let b = table.insert(entry(2)).expect("room");
        assert!(table.insert(entry(3)).is_none());
        assert_eq!(table.remove(a).expect("used").cookie, 1);
        assert!(table.remove(a).is_none(), "a completion is taken once");
        assert_eq!(table.insert(entry(4)), Some(a));
        assert_eq!(table.get(b).expect("used").cookie, 2);
        assert!(table.get(99).is_none() && table.remove(99).is_none());
    }

    #[test]
    fn an_operation_gives_back_each_request_that_it_names_once() {
        let mut table = OpTable::new();
        table.grow(2);
        let ids = [table.insert(entry(1)).expect("room"), table.insert(entry(2)).expect("room")];
        for round in 0..3 {
            for tag in 0..5 {
                table.name(ids[tag as usize % 2], 10 * round + tag);
            }
            for (id, tags) in [(ids[1], vec![3, 1]), (ids[0], vec![4, 2, 0])] {
                let mut entry = *table.get(id).expect("in flight");
                let named: Vec<u32> = std::iter::from_fn(|| table.next_named(&mut entry)).collect();
                assert_eq!(named, tags.iter().map(|tag| 10 * round + tag).collect::<Vec<_>>());
                table.get_mut(id).expect("in flight").named = NOTHING;
            }
        }
        assert_eq!(table.named.len(), 5, "places are used again");
    }
}

//! Operations in flight that drivers have issued: a fixed table per queue, by number.

use crate::lane::Lane;
use std::ptr::NonNull;

const NONE: u32 = u32::MAX;

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
}

/// One operation in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpEntry {
    pub(crate) lane: NonNull<Lane>,
    pub(crate) kind: OpKind,
    pub(crate) code: u16,
    /// Where its lane keeps what it makes durable; [`NO_SYNC`] for one that does not.
    pub(crate) sync: u16,
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
}

impl OpTable {
    pub(crate) fn new() -> OpTable {
        OpTable { places: Vec::new(), room: 0, free: NONE }
    }

    /// Makes room for `count` more operations.
    pub(crate) fn grow(&mut self, count: u32) {
        self.room += count as usize;
        self.places.reserve_exact(self.room.saturating_sub(self.places.len()));
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
        OpEntry { lane: NonNull::dangling(), kind: OpKind::Driver, code: 1, sync: NO_SYNC, tag: 0, cookie }
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
}

//! The requests of a connection that have not been answered yet.

use crate::request::Change;

/// Most requests of one connection that are not answered, or whose answers are not sent.
pub(super) const MAX_OPEN: u32 = 512;

/// What kind of reply a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A read in one slot.
    Read,
    /// A read in several slots, each a chunk of its own.
    Chunks,
    /// A read in several slots whose data goes out in order, wave by wave.
    Waves,
    /// Something that is answered with "done" or an error.
    Change,
    /// A status request.
    Status {
        /// One extent only.
        one: bool,
    },
}

/// One request, from its header to its reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) kind: Kind,
    pub(super) cookie: u64,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// How the device changes; for [`Kind::Change`].
    pub(super) change: Change,
    /// Most bytes in a part of a read or write: as it was when the request came, whatever it is since.
    pub(super) part_bytes: u64,
    /// Parts that have not completed.
    pub(super) parts: u32,
    /// Bytes of an operation without data that were submitted.
    pub(super) submitted: u64,
    /// The first error of a part, as a positive errno; 0 for none.
    pub(super) errno: i32,
}

impl Open {
    /// The length of the part that begins `at` bytes into the request.
    pub(super) fn part(&self, at: u64) -> u64 {
        (self.length - at).min(self.part_bytes)
    }

    /// The parts that have completed are not all of it.
    pub(super) fn has_more(&self) -> bool {
        self.submitted < self.length || self.change.then_flush
    }
}

/// Number of a request in its [`Table`].
pub(super) type Index = u32;

/// A fixed number of places for requests.
#[derive(Debug)]
pub(super) struct Table {
    places: Vec<Open>,
    free: Vec<Index>,
}

impl Table {
    pub(super) fn new() -> Table {
        Table { places: Vec::with_capacity(MAX_OPEN as usize), free: Vec::with_capacity(MAX_OPEN as usize) }
    }

    pub(super) fn len(&self) -> u32 {
        (self.places.len() - self.free.len()) as u32
    }

    /// Takes a place. The caller has looked that there are fewer than [`MAX_OPEN`], and so there is
    /// one without allocating.
    #[inline]
    pub(super) fn insert(&mut self, open: Open) -> Index {
        if let Some(index) = self.free.pop() {
            self.places[index as usize] = open;
            return index;
        }
        self.places.push(open);
        (self.places.len() - 1) as Index
    }

    #[inline]
    pub(super) fn get(&mut self, index: Index) -> &mut Open {
        &mut self.places[index as usize]
    }

    #[inline]
    pub(super) fn remove(&mut self, index: Index) -> Open {
        self.free.push(index);
        self.places[index as usize]
    }
}

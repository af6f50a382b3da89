//! The ports of a run: what each knows of itself, and which lanes are its own.

use crate::device::{BLOCKS, Device, Image};
use crate::driver::State;
use crate::plan::Spec;
use crate::world::World;
use std::ops::Range;

/// One port, with its device.
#[derive(Debug, Default)]
pub(crate) struct Port {
    /// Its lanes among all.
    pub(crate) lanes: Range<usize>,
    pub(crate) serving: Option<usize>,
    pub(crate) generation: u64,
    /// What ran when the port was stranded.
    pub(crate) left: Option<Spec>,
    /// What served last.
    pub(crate) last: Option<Spec>,
    pub(crate) state: Option<State>,
    pub(crate) turn: bool,
    pub(crate) unfinished: Option<usize>,
    pub(crate) gone: bool,
    pub(crate) device: Device,
    /// Newest version that a client was told is written, by block.
    pub(crate) acknowledged: Image,
    /// What must be on the medium.
    pub(crate) durable: Image,
    /// Newest version that a client has asked to be written.
    pub(crate) newest: Image,
    /// Writes in flight, by block.
    pub(crate) writes: [u8; BLOCKS],
    /// Requests that drivers answered.
    pub(crate) served: u32,
    /// It is between its drivers: every queue has arrived, and there is no verdict.
    pub(crate) exchanging: bool,
    pub(crate) failing_ops: bool,
    /// A driver kept requests that are older than some that it gave back.
    pub(crate) order_lost: bool,
    /// It is to be taken away in the end.
    pub(crate) stopping: bool,
    pub(crate) next_ask: usize,
}

impl World {
    pub(crate) fn lanes_of(&self, p: usize) -> Range<usize> {
        self.ports[p].lanes.clone()
    }

    /// The other lanes of its port.
    pub(crate) fn lanes_beside(&self, q: usize) -> impl Iterator<Item = usize> + use<> {
        self.lanes_of(self.lanes[q].port).filter(move |other| *other != q)
    }

    /// Another port's driver kept a queue that this one is on, for longer than anybody waits.
    pub(crate) fn is_kept_by_others(&self, p: usize) -> bool {
        let others = |q: usize| self.threads[self.lanes[q].thread].hung_by & !(1 << p);
        self.lanes_of(p).any(|q| others(q) != 0)
    }

    /// The thread of a lane's queue is inside a call that has not returned.
    pub(crate) fn is_inside(&self, q: usize) -> bool {
        self.threads[self.lanes[q].thread].inside
    }
}

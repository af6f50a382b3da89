//! The ports of a run: what each knows of itself, and which lanes are its own.

use crate::device::{BLOCKS, Device, Image};
use crate::driver::State;
use crate::plan::Spec;
use crate::values::{Given, Values};
use crate::world::World;
use std::ops::Range;
use steadfast_shell::properties::{Definitions, Properties};

/// Who is changing a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A transaction, by its number.
    Attempt(usize),
    /// An activation, by its number.
    Activation(usize),
    /// A change of live parameters.
    Live,
}

/// One port, with its device.
#[derive(Debug, Default)]
pub(crate) struct Port {
    /// Its lanes among all.
    pub(crate) lanes: Range<usize>,
    pub(crate) serving: Option<usize>,
    pub(crate) generation: u64,
    /// Wall clock of the last attach.
    pub(crate) epoch_unix_ms: u64,
    /// What ran when the port was stranded.
    pub(crate) left: Option<Spec>,
    /// What served last.
    pub(crate) last: Option<Spec>,
    pub(crate) state: Option<State>,
    /// Who is changing it.
    pub(crate) turn: Option<Holder>,
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
    pub(crate) properties: Properties,
    /// How often they changed.
    pub(crate) revision: u32,
    /// What the lanes go by.
    pub(crate) values: Values,
    /// What must be in force, kept apart from the properties.
    pub(crate) expected: Given,
    pub(crate) load_time: Definitions,
    /// Requests that clients made.
    pub(crate) made: u32,
    /// Those that were answered.
    pub(crate) ended: u32,
    /// When a live parameter was last changed.
    pub(crate) live_ns: u64,
    /// When a request last came or went.
    pub(crate) moved_ns: u64,
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

//! Requests of one queue that wait, in the order in which they came.

use steadfast_driver::{Block, Io, Parked, Request};

/// Requests that wait and for which nothing has been done: they can be handed back.
#[derive(Debug, Default)]
pub struct Waiting {
    /// By tag: when the request in that slot came, counted from 1; 0: it does not wait.
    slots: Vec<(u64, Parked)>,
    /// Room for all of them, made before the pause.
    order: Vec<(u64, Parked)>,
    came: u64,
}

impl Waiting {
    /// The request waits from now on.
    pub fn add<D: Block>(&mut self, io: &Io<'_, D>, req: &Request<'_, D>) {
        if self.slots.is_empty() {
            let slots = io.slots() as usize;
            self.slots.resize(slots, (0, Parked::NONE));
            self.order.reserve(slots);
        }
        self.came += 1;
        if let Some(place) = self.slots.get_mut(req.tag() as usize) {
            *place = (self.came, req.parked());
        }
    }

    /// The request waits no more.
    pub fn remove<D: Block>(&mut self, req: &Request<'_, D>) {
        if let Some(place) = self.slots.get_mut(req.tag() as usize) {
            place.0 = 0;
        }
    }

    /// Gives them all back to the shell, the first one first.
    pub fn hand_back<D: Block>(&mut self, io: &mut Io<'_, D>) {
        self.order.clear();
        self.order.extend(self.slots.iter().filter(|(came, _)| *came > 0));
        self.order.sort_unstable_by_key(|(came, _)| *came);
        for (_, parked) in &self.order {
            // What the shell does not take back stays in flight and ends as it would have.
            let _ = io.give_back(*parked);
        }
        self.slots.fill((0, Parked::NONE));
    }
}

//! Clients, and what they may rely on: answers come once, reads find what was written, and what was
//! acknowledged and flushed is on the medium.

use crate::device::{BLOCKS, Image, Version};
use crate::world::{Event, Request, What, World};

/// A client with its connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// The queue that serves its connection.
    pub(crate) queue: usize,
    /// Requests in flight at a time.
    pub(crate) depth: usize,
    pub(crate) in_flight: usize,
    /// Requests that it is still going to make.
    pub(crate) left: usize,
    pub(crate) lost: bool,
    waits: bool,
}

impl World {
    pub(crate) fn add_clients(&mut self) {
        for c in 0..self.plan.clients {
            let queue = self.rng.below(self.lanes.len());
            let depth = self.rng.range(1, 4) as usize;
            let left = self.plan.requests;
            self.clients.push(Client { queue, depth, in_flight: 0, left, lost: false, waits: false });
            self.after(1, 200_000, Event::Client(c));
        }
    }

    /// A client makes requests until it has as many in flight as it likes.
    pub(crate) fn client_turn(&mut self, c: usize) {
        self.clients[c].waits = false;
        while self.failure.is_none() {
            let client = &self.clients[c];
            if client.lost || client.left == 0 || client.in_flight >= client.depth {
                return;
            }
            let q = client.queue;
            let Some((what, block)) = self.choose(c) else { return };
            let Some(tag) = self.lanes[q].slots.reserve() else {
                if !self.clients[c].waits {
                    self.clients[c].waits = true;
                    self.lanes[q].waiting.push(c);
                }
                return;
            };
            self.clients[c].left -= 1;
            self.clients[c].in_flight += 1;
            let number = self.requests.len();
            let version = if matches!(what, What::Write | What::WriteFua) {
                self.next_version += 1;
                self.next_version
            } else {
                0
            };
            let acknowledged = self.acknowledged;
            self.requests.push(Request {
                client: c,
                what,
                block,
                version,
                acknowledged,
                completed: false,
                may_fail: false,
            });
            self.say(|_| format!("client {c}: request {number}: {what:?} block {block} version {version}"));
            self.submit(q, tag, number);
        }
    }

    /// What to ask for. A client writes blocks of its own, each with one write in flight.
    fn choose(&mut self, c: usize) -> Option<(What, u8)> {
        let what = match self.rng.below(10) {
            0..=4 => What::Write,
            5 => What::WriteFua,
            6 | 7 => What::Flush,
            _ => What::Read,
        };
        if what == What::Flush {
            return Some((what, 0));
        }
        let per = BLOCKS / 3;
        let block = (c * per + self.rng.below(per)) as u8;
        let busy = self
            .requests
            .iter()
            .any(|r| !r.completed && r.block == block && matches!(r.what, What::Write | What::WriteFua));
        if busy && what != What::Read { Some((What::Read, block)) } else { Some((what, block)) }
    }

    /// An answer has come.
    pub(crate) fn check_answer(&mut self, number: usize, result: Result<Version, ()>) {
        let request = &mut self.requests[number];
        if std::mem::replace(&mut request.completed, true) {
            return self.violate(format!("request {number} is answered twice"));
        }
        let Request { client, what, block, version, acknowledged, .. } = *request;
        self.say(|_| format!("client {client}: request {number}: {what:?} answered: {result:?}"));
        if self.clients[client].lost {
            return;
        }
        let at = usize::from(block);
        match (what, result) {
            (_, Err(())) => {
                if !self.requests[number].may_fail && !self.port.gone {
                    self.violate(format!("request {number} fails, and nothing of it did"));
                }
            }
            (What::Read, Ok(found)) => {
                let newest = self.requests.iter().filter(|r| r.block == block).map(|r| r.version).max();
                if found < acknowledged[at] || found > newest.unwrap_or(0) {
                    let known = acknowledged[at];
                    self.violate(format!(
                        "request {number} read version {found} of block {block}, of which {known} was known"
                    ));
                }
            }
            (What::Write, Ok(_)) => self.acknowledged[at] = self.acknowledged[at].max(version),
            (What::WriteFua, Ok(_)) => {
                self.acknowledged[at] = self.acknowledged[at].max(version);
                self.durable[at] = self.durable[at].max(version);
            }
            (What::Flush, Ok(_)) => {
                for (durable, known) in self.durable.iter_mut().zip(acknowledged) {
                    *durable = (*durable).max(known);
                }
            }
        }
        self.check_medium();
    }

    /// What was acknowledged and flushed survives a loss of power now.
    pub(crate) fn check_medium(&mut self) {
        let (medium, durable): (Image, Image) = (self.device.medium, self.durable);
        for block in 0..BLOCKS {
            if medium[block] < durable[block] {
                return self.violate(format!(
                    "block {block} has version {} on the medium, and {} was acknowledged and flushed",
                    medium[block], durable[block]
                ));
            }
        }
    }
}

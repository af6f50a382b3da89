//! Clients, and what they may rely on: answers come once, reads find what was written, and what was
//! acknowledged and flushed is on the medium.

use crate::device::{BLOCKS, Image, Version};
use crate::mutation::Mutation;
use crate::plan::PortPlan;
use crate::world::{Event, Request, What, World};
use steadfast_shell::slots::Tag;

/// A client with its connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) port: usize,
    /// Its place among the port's clients: each writes blocks of its own.
    number: usize,
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
        for (p, number) in self.places_of_clients() {
            let lanes = self.lanes_of(p);
            let (c, queue) = (self.clients.len(), lanes.start + self.rng.below(lanes.len()));
            let depth = self.rng.range(1, 4) as usize;
            let left = self.plan.ports[p].requests;
            self.clients.push(Client {
                port: p,
                number,
                queue,
                depth,
                in_flight: 0,
                left,
                lost: false,
                waits: false,
            });
            self.after(1, 200_000, Event::Client(c));
        }
    }

    fn places_of_clients(&self) -> Vec<(usize, usize)> {
        let of = |(p, port): (usize, &PortPlan)| (0..port.clients).map(move |number| (p, number));
        self.plan.ports.iter().enumerate().flat_map(of).collect()
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
            let slots = u32::from(self.ports[self.clients[c].port].values.slots);
            let room = self.lanes[q].slots.used() < slots;
            let lane = &mut self.lanes[q];
            let Some(tag) = room.then(|| lane.slots.reserve()).flatten() else {
                if !self.clients[c].waits {
                    self.clients[c].waits = true;
                    self.lanes[q].waiting.push(c);
                }
                return;
            };
            self.clients[c].left -= 1;
            self.clients[c].in_flight += 1;
            let number = self.requests.len();
            let version = if matches!(what, What::Write | What::WriteFua | What::WriteAndFlush) {
                self.next_version += 1;
                self.next_version
            } else {
                0
            };
            let port = &mut self.ports[self.clients[c].port];
            let acknowledged = port.acknowledged;
            (port.made, port.moved_ns) = (port.made + 1, self.now);
            if version > 0 {
                port.newest[usize::from(block)] = version;
                port.writes[usize::from(block)] += 1;
            }
            let (piece, more) = match what {
                What::WriteAndFlush => (What::Write, 1),
                // Those of several pieces, as a range that is too long for one.
                What::Write | What::Flush if self.rng.chance(20) => (what, self.rng.range(1, 3) as u8),
                _ => (what, 0),
            };
            self.requests.push(Request {
                client: c,
                what,
                piece,
                more,
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

    /// A piece of a request is done: the next one goes in the same slot. False: that was the last.
    pub(crate) fn submit_next(&mut self, q: usize, tag: Tag, number: usize) -> bool {
        let request = &mut self.requests[number];
        if request.more == 0 || request.completed || self.clients[request.client].lost {
            return false;
        }
        request.more -= 1;
        if request.what == What::WriteAndFlush {
            request.piece = What::Flush;
        }
        let (piece, left, p) = (request.piece, request.more, self.clients[request.client].port);
        self.say(|_| format!("request {number}: the next piece: {piece:?}, {left} more"));
        let port = &mut self.ports[p];
        (port.made, port.moved_ns) = (port.made + 1, self.now);
        if !matches!(self.mutation, Some(Mutation::ForgetRenew | Mutation::SwallowRefusal))
            && let Err(e) = self.lanes[q].slots.renew(tag)
        {
            self.violate(format!("renew: {e}"));
        }
        self.submit(q, tag, number);
        true
    }

    /// What to ask for. A client writes blocks of its own, each with one write in flight.
    fn choose(&mut self, c: usize) -> Option<(What, u8)> {
        let what = match self.rng.below(10) {
            0..=3 => What::Write,
            4 => What::WriteAndFlush,
            5 => What::WriteFua,
            6 | 7 => What::Flush,
            _ => What::Read,
        };
        if what == What::Flush {
            return Some((what, 0));
        }
        let per = BLOCKS / 3;
        let (p, number) = (self.clients[c].port, self.clients[c].number);
        let block = (number * per + self.rng.below(per)) as u8;
        let busy = self.ports[p].writes[usize::from(block)] > 0;
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
        let p = self.clients[client].port;
        self.ports[p].moved_ns = self.now;
        self.ports[p].ended += 1;
        if version > 0 {
            self.ports[p].writes[usize::from(block)] -= 1;
        }
        if self.clients[client].lost {
            return;
        }
        let at = usize::from(block);
        match (what, result) {
            (_, Err(())) => {
                if !self.requests[number].may_fail && !self.ports[p].gone {
                    self.violate(format!("request {number} fails, and nothing of it did"));
                }
            }
            (What::Read, Ok(found)) => {
                if found < acknowledged[at] || found > self.ports[p].newest[at] {
                    let known = acknowledged[at];
                    self.violate(format!(
                        "request {number} read version {found} of block {block}, of which {known} was known"
                    ));
                }
            }
            (What::Write, Ok(_)) => {
                let known = &mut self.ports[p].acknowledged[at];
                *known = (*known).max(version);
            }
            (What::WriteFua | What::WriteAndFlush, Ok(_)) => {
                let port = &mut self.ports[p];
                port.acknowledged[at] = port.acknowledged[at].max(version);
                port.durable[at] = port.durable[at].max(version);
            }
            (What::Flush, Ok(_)) => {
                for (durable, known) in self.ports[p].durable.iter_mut().zip(acknowledged) {
                    *durable = (*durable).max(known);
                }
            }
        }
        self.check_medium(p);
    }

    /// What was acknowledged and flushed survives a loss of power now.
    pub(crate) fn check_medium(&mut self, p: usize) {
        let (medium, durable): (Image, Image) = (self.ports[p].device.medium, self.ports[p].durable);
        for block in 0..BLOCKS {
            if medium[block] < durable[block] {
                return self.violate(format!(
                    "block {block} of port {p} has version {} on the medium, and {} was acknowledged and flushed",
                    medium[block], durable[block]
                ));
            }
        }
    }
}

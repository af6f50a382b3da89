//! Modelled drivers: they work on a few requests at a time, in one step or several, and keep their
//! place in each request's private bytes.

use crate::device::OpCode;
use crate::lane::{Completion, OpError, Pdu};
use crate::mutation::Mutation;
use crate::plan::Spec;
use crate::values::Values;
use crate::world::{Request, What, World};
use std::collections::VecDeque;
use std::ops::Range;
use steadfast_shell::slots::Tag;

/// Where a driver is in its life on the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Prepared,
    Connected,
    Disconnected,
    Released,
}

/// What a driver leaves with the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// Schemas that it was written in: bits.
    pub(crate) schemas: u8,
    /// Requests that the drivers of this port have answered.
    pub(crate) served: u32,
}

/// One driver attached to the port.
#[derive(Clone, Debug)]
pub(crate) struct Driver {
    /// The port that it is made for.
    pub(crate) port: usize,
    pub(crate) spec: Spec,
    pub(crate) stage: Stage,
    pub(crate) values: Values,
    pub(crate) served: u32,
    /// By queue: requests that were not begun, in the order they came.
    backlog: Vec<VecDeque<Tag>>,
    /// By queue: requests that are being worked on.
    begun: Vec<u8>,
    /// By queue: the operation of no request is in flight.
    polling: Vec<bool>,
    /// By queue: do not start it again.
    resting: Vec<bool>,
    /// How often it is still started again: a run ends.
    polls: u8,
}

impl Driver {
    pub(crate) fn new(port: usize, spec: Spec, queues: usize, values: Values) -> Driver {
        Driver {
            port,
            spec,
            stage: Stage::Prepared,
            values,
            served: 0,
            backlog: vec![VecDeque::new(); queues],
            begun: vec![0; queues],
            polling: vec![false; queues],
            resting: vec![false; queues],
            polls: 6,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.stage == Stage::Connected
    }

    /// How it notes that a request has come to `step`: each layout has its own way.
    fn note(&self, step: u8) -> Pdu {
        Pdu { raw: step + 10 * self.spec.pdu }
    }

    /// What the private bytes say, or nothing when they are not in its layout. A request that no driver
    /// has begun has none.
    pub(crate) fn step_of(&self, pdu: Pdu) -> Option<u8> {
        if pdu.raw == 0 {
            return Some(0);
        }
        pdu.raw.checked_sub(10 * self.spec.pdu).filter(|step| (1..10).contains(step))
    }

    /// Takes what the other layout says into its own.
    pub(crate) fn convert(&self, pdu: Pdu) -> Pdu {
        let step = pdu.raw % 10;
        if step == 0 { Pdu::default() } else { self.note(step) }
    }
}

impl World {
    pub(crate) fn driver_submit(&mut self, d: usize, q: usize, tag: Tag) {
        let i = self.lanes[q].place;
        let driver = &mut self.drivers[d];
        driver.backlog[i].push_back(tag);
        if driver.spec.gathers {
            self.lanes[q].commit_due = true;
        } else {
            self.driver_run(d, q);
        }
    }

    /// Begins what there is room for.
    pub(crate) fn driver_run(&mut self, d: usize, q: usize) {
        let i = self.lanes[q].place;
        let depth = self.drivers[d].spec.depth.min(self.drivers[d].values.depth);
        while self.drivers[d].begun[i] < depth {
            let Some(tag) = self.drivers[d].backlog[i].pop_front() else { return };
            self.drivers[d].begun[i] += 1;
            self.go_on(d, q, tag, 1);
        }
    }

    /// Issues the operation of one step.
    fn go_on(&mut self, d: usize, q: usize, tag: Tag, step: u8) {
        self.lanes[q].pdus[tag.0 as usize] = self.drivers[d].note(step);
        let request = self.request_of(q, tag);
        let (what, block, version) = (request.piece, request.block, request.version);
        let fua = self.drivers[d].spec.fua;
        let code = match (what, step) {
            (What::Read, _) => OpCode::Read { block },
            (What::Write | What::WriteAndFlush, _) => OpCode::Write { block, version, fua: false },
            (What::WriteFua, 1) => OpCode::Write { block, version, fua },
            (What::WriteFua, _) | (What::Flush, _) => OpCode::Flush,
        };
        self.issue(q, Some(tag), code);
    }

    pub(crate) fn request_of(&self, q: usize, tag: Tag) -> &Request {
        &self.requests[self.lanes[q].users[tag.0 as usize].request]
    }

    /// An operation has completed: the next step, or the end of the request.
    pub(crate) fn driver_event(&mut self, d: usize, completion: Completion) {
        let q = completion.op.queue;
        let Some(tag) = completion.op.tag else {
            let i = self.lanes[q].place;
            self.drivers[d].polling[i] = false;
            if !self.drivers[d].resting[i] {
                self.poll(d, q);
            }
            return;
        };
        let Some(step) = self.drivers[d].step_of(self.lanes[q].pdus[tag.0 as usize]).filter(|s| *s > 0)
        else {
            let raw = self.lanes[q].pdus[tag.0 as usize].raw;
            return self.violate(format!("driver {d} finds private bytes {raw} that are not its own"));
        };
        let what = self.request_of(q, tag).piece;
        let more = what == What::WriteFua && step == 1 && completion.op.code != OpCode::Flush;
        match completion.result {
            Err(OpError::Again) => return self.go_on(d, q, tag, step),
            Ok(_) if more && !is_fua(completion.op.code) && self.mutation != Some(Mutation::ForgetFua) => {
                return self.go_on(d, q, tag, 2);
            }
            Ok(value) => self.answer(d, q, tag, Ok(value)),
            Err(_) => self.answer(d, q, tag, Err(())),
        }
        if self.drivers[d].spec.gathers {
            self.lanes[q].commit_due = true;
        } else {
            self.driver_run(d, q);
        }
    }

    fn answer(&mut self, d: usize, q: usize, tag: Tag, result: Result<u16, ()>) {
        let (p, i) = (self.lanes[q].port, self.lanes[q].place);
        self.drivers[d].begun[i] = self.drivers[d].begun[i].saturating_sub(1);
        self.drivers[d].served += 1;
        self.ports[p].served += 1;
        self.finish(q, tag, result);
    }

    /// Returns what it has not begun; with `panics`, only the first half of it.
    pub(crate) fn driver_hand_back(&mut self, d: usize, q: usize, panics: bool) -> u32 {
        let (now, p, place) = (self.now, self.lanes[q].port, self.lanes[q].place);
        let mut back = self.drivers[d].backlog[place].len();
        if panics {
            // What it gives back comes again behind what it keeps.
            back /= 2;
            self.ports[p].order_lost = true;
        }
        self.lanes[q].slots.begin_giving_back();
        for i in 0..back {
            let Some(tag) = self.drivers[d].backlog[place].pop_front() else { break };
            if self.mutation == Some(Mutation::LoseHandedBack) && i == 1 {
                continue;
            }
            if let Err(e) = self.lanes[q].slots.give_back(tag, now) {
                self.violate(format!("give_back: {e}"));
            }
        }
        back as u32
    }

    /// Starts what belongs to the port, and what was adopted without being begun.
    pub(crate) fn driver_queue_run(&mut self, d: usize, q: usize) {
        let i = self.lanes[q].place;
        self.drivers[d].resting[i] = false;
        if self.drivers[d].spec.poll && !self.drivers[d].polling[i] {
            self.poll(d, q);
        }
        self.driver_run(d, q);
    }

    fn poll(&mut self, d: usize, q: usize) {
        let driver = &mut self.drivers[d];
        if driver.spec.poll && driver.polls > 0 {
            driver.polls -= 1;
            driver.polling[self.lanes[q].place] = true;
            self.issue(q, None, OpCode::Read { block: 0 });
        }
    }

    /// Its operations of no request are asked to end.
    pub(crate) fn driver_rest(&mut self, d: usize, q: usize) {
        self.drivers[d].resting[self.lanes[q].place] = true;
    }

    /// `connect`'s part on each queue: finds the requests that the driver before had in flight.
    pub(crate) fn driver_take_over(&mut self, d: usize, lanes: Range<usize>) {
        for q in lanes {
            let i = self.lanes[q].place;
            let tags: Vec<Tag> = self.lanes[q].slots.issued_tags().collect();
            self.drivers[d].backlog[i].clear();
            self.drivers[d].begun[i] = 0;
            self.drivers[d].polling[i] =
                self.lanes[q].port_ops > 0 || self.lanes[q].deferred.iter().any(|c| c.op.tag.is_none());
            for tag in tags {
                if self.lanes[q].pdus[tag.0 as usize].raw == 0 {
                    self.drivers[d].backlog[i].push_back(tag);
                } else {
                    self.drivers[d].begun[i] += 1;
                }
            }
            let order = |tag: &Tag| self.lanes[q].users[tag.0 as usize].order;
            self.drivers[d].backlog[i].make_contiguous().sort_by_key(order);
        }
    }
}

fn is_fua(code: OpCode) -> bool {
    matches!(code, OpCode::Write { fua: true, .. })
}

//! A port on one queue, as `crates/runtime/src/lane` has it: the real gate and slots, modelled entries.

use crate::device::{Image, OpCode, Version};
use crate::mutation::Mutation;
use crate::world::World;
use steadfast_shell::gate::{Entry, Gate};
use steadfast_shell::slots::{Slots, Tag};

/// Who uses a slot.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct User {
    pub(crate) request: usize,
    /// When it was submitted: as the how many-th.
    pub(crate) order: u32,
    /// Operations in flight for the request.
    pub(crate) ops: u32,
}

/// The private bytes of a request, as whichever driver wrote them last laid them out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pdu {
    pub(crate) raw: u8,
}

/// An operation in flight, or one that has completed and waits to be delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    pub(crate) queue: usize,
    /// `None`: it belongs to the port.
    pub(crate) tag: Option<Tag>,
    pub(crate) code: OpCode,
    pub(crate) covered: Image,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) op: Op,
    pub(crate) result: Result<Version, OpError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpError {
    /// Worth another try.
    Again,
    /// The device failed.
    Failed,
}

#[derive(Debug)]
pub(crate) struct Lane {
    /// The port that it is of.
    pub(crate) port: usize,
    /// Its place among the port's lanes.
    pub(crate) place: usize,
    /// The queue, with its thread, that it is on.
    pub(crate) thread: usize,
    pub(crate) gate: Gate,
    pub(crate) slots: Slots,
    pub(crate) users: Vec<User>,
    pub(crate) pdus: Vec<Pdu>,
    pub(crate) bound: Option<usize>,
    pub(crate) may_issue: bool,
    pub(crate) sealed: bool,
    pub(crate) deferring: bool,
    pub(crate) deferred: Vec<Completion>,
    pub(crate) port_ops: u32,
    pub(crate) commit_due: bool,
    pub(crate) done: Vec<(Tag, Result<Version, ()>)>,
    pub(crate) job: Option<usize>,
    /// When the loop wakes to look at a deadline.
    pub(crate) wakes_at: u64,
    /// Clients that wait for a slot.
    pub(crate) waiting: Vec<usize>,
    pub(crate) gone: bool,
}

impl Lane {
    pub(crate) fn new(port: usize, place: usize, thread: usize, slots: u32) -> Lane {
        Lane {
            port,
            place,
            thread,
            gate: Gate::default(),
            slots: Slots::new(slots),
            users: vec![User::default(); slots as usize],
            pdus: vec![Pdu::default(); slots as usize],
            bound: None,
            may_issue: false,
            sealed: false,
            deferring: false,
            deferred: Vec::new(),
            port_ops: 0,
            commit_due: false,
            done: Vec::new(),
            job: None,
            wakes_at: u64::MAX,
            waiting: Vec::new(),
            gone: false,
        }
    }

    /// Requests, and operations of no request, that the driver must finish before it can let go.
    pub(crate) fn busy(&self) -> u32 {
        self.slots.issued() + self.port_ops
    }

    pub(crate) fn seal(&mut self) {
        self.sealed = true;
        self.may_issue = false;
        self.deferring = true;
    }
}

impl World {
    /// A request from a client, or a piece of one: into the driver, or held. Where the slot's state does not
    /// allow it, it ends with an error.
    pub(crate) fn submit(&mut self, q: usize, tag: Tag, request: usize) {
        self.submissions += 1;
        let (now, order) = (self.now, self.submissions);
        let lane = &mut self.lanes[q];
        lane.users[tag.0 as usize] = User { request, order, ops: 0 };
        lane.pdus[tag.0 as usize] = Pdu::default();
        let open = lane.gate.is_open();
        if open && lane.slots.held() > 0 {
            return self.violate(format!("request {request} overtakes requests that are held on queue {q}"));
        }
        let placed = match (open, lane.gone) {
            (true, _) => lane.slots.issue(tag),
            (false, true) => lane.slots.refuse(tag),
            (false, false) => lane.slots.hold(tag, now),
        };
        match (placed, open) {
            (Ok(()), true) => self.enter_submit(q, tag),
            (Ok(()), false) if lane.gone => lane.done.push((tag, Err(()))),
            (Ok(()), false) => {}
            (Err(_), _) if self.mutation == Some(Mutation::SwallowRefusal) => {}
            (Err(_), _) => lane.done.push((tag, Err(()))),
        }
    }

    /// Nobody is inside a driver that is being exchanged, and only the one that serves is entered.
    fn may_enter(&mut self, q: usize, entry: Entry) -> Option<usize> {
        let lane = &self.lanes[q];
        let Some(driver) = lane.bound else {
            self.violate(format!("{} on queue {q} without a driver", entry.name()));
            return None;
        };
        let held = self.ports[lane.port].exchanging || lane.sealed && !lane.gate.is_open();
        if held {
            self.violate(format!(
                "{} enters driver {driver} on queue {q} while the port is held",
                entry.name()
            ));
        } else if !self.drivers[driver].is_connected() {
            self.violate(format!(
                "{} enters driver {driver} on queue {q}, which is not connected",
                entry.name()
            ));
        }
        Some(driver)
    }

    pub(crate) fn enter_submit(&mut self, q: usize, tag: Tag) {
        let Some(driver) = self.may_enter(q, Entry::Submit) else { return };
        self.lanes[q].gate.enter(Entry::Submit);
        self.driver_submit(driver, q, tag);
        self.lanes[q].gate.leave(Entry::Submit);
    }

    /// Takes a request back from the driver and puts it on the way to its client.
    pub(crate) fn finish(&mut self, q: usize, tag: Tag, result: Result<Version, ()>) {
        let lane = &mut self.lanes[q];
        if lane.users[tag.0 as usize].ops > 0 {
            return self.violate(format!("slot {} completes with operations in flight", tag.0));
        }
        if let Err(e) = lane.slots.complete(tag) {
            return self.violate(format!("complete: {e}"));
        }
        lane.done.push((tag, result));
        if self.mutation == Some(Mutation::CompleteTwice) && self.rng.chance(5) {
            self.lanes[q].done.push((tag, result));
        }
    }

    /// The driver puts an operation on the ring.
    pub(crate) fn issue(&mut self, q: usize, tag: Option<Tag>, code: OpCode) {
        let lane = &mut self.lanes[q];
        if !lane.may_issue {
            return self.violate(format!("an operation is issued on queue {q} while the port is held"));
        }
        match tag {
            Some(tag) => lane.users[tag.0 as usize].ops += 1,
            None => lane.port_ops += 1,
        }
        let covered = self.ports[lane.port].device.begin(code);
        self.start_op(Op { queue: q, tag, code, covered });
    }

    /// An operation has completed: to the driver, or kept for whichever serves next.
    pub(crate) fn op_completed(&mut self, completion: Completion) {
        let op = completion.op;
        let lane = &mut self.lanes[op.queue];
        match op.tag {
            Some(tag) => lane.users[tag.0 as usize].ops -= 1,
            None => lane.port_ops -= 1,
        }
        if lane.gone {
            let tag = op.tag.filter(|tag| lane.users[tag.0 as usize].ops == 0);
            if let Some(tag) = tag {
                self.finish(op.queue, tag, Err(()));
            }
            return;
        }
        if lane.deferring && self.mutation != Some(Mutation::DeliverWhileHeld) {
            if self.mutation == Some(Mutation::LoseDeferred) && self.rng.chance(30) {
                return;
            }
            lane.deferred.push(completion);
        } else {
            self.deliver(completion);
        }
    }

    fn deliver(&mut self, completion: Completion) {
        let q = completion.op.queue;
        if self.lanes[q].bound.is_none() {
            return;
        }
        let Some(driver) = self.may_enter(q, Entry::Event) else { return };
        self.lanes[q].gate.enter(Entry::Event);
        self.driver_event(driver, completion);
        self.lanes[q].gate.leave(Entry::Event);
    }

    /// Tells a gathering driver that the batch is over.
    pub(crate) fn commit(&mut self, q: usize) {
        if !std::mem::take(&mut self.lanes[q].commit_due) {
            return;
        }
        let Some(driver) = self.may_enter(q, Entry::Commit) else { return };
        self.lanes[q].gate.enter(Entry::Commit);
        self.driver_run(driver, q);
        self.lanes[q].gate.leave(Entry::Commit);
    }

    /// start_update: new requests are held from now on. With `defer`, completions too.
    pub(crate) fn close(&mut self, q: usize, defer: bool) {
        self.commit(q);
        let lane = &mut self.lanes[q];
        lane.gate.close();
        lane.sealed = false;
        lane.deferring = defer;
    }

    /// finish_update or cancel_update: opens the gate and lets in what waited, in order.
    pub(crate) fn open(&mut self, q: usize, run: bool) -> u32 {
        let lane = &mut self.lanes[q];
        lane.gate.open();
        lane.may_issue = true;
        lane.deferring = false;
        if run && let Some(driver) = self.lanes[q].bound {
            self.driver_queue_run(driver, q);
        }
        let deferred = std::mem::take(&mut self.lanes[q].deferred);
        for completion in deferred {
            self.deliver(completion);
        }
        let mut count = 0;
        let mut last = None;
        if self.mutation == Some(Mutation::ForgetHeld) && self.rng.chance(30) {
            return 0;
        }
        while let Some((tag, _)) = self.lanes[q].slots.unhold() {
            count += 1;
            let User { request, order, .. } = self.lanes[q].users[tag.0 as usize];
            if last.is_some_and(|last| last > order) && !self.ports[self.lanes[q].port].order_lost {
                self.violate(format!("request {request} is released after a younger one on queue {q}"));
            }
            last = Some(order);
            self.enter_submit(q, tag);
        }
        count
    }
}

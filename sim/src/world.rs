//! One run: everything that there is, and the list of what happens when.

use crate::activate::Doing;
use crate::client::Client;
use crate::control::Attempt;
use crate::device::{Image, OpCode, Version};
use crate::driver::Driver;
use crate::job::Job;
use crate::lane::{Completion, Lane, Op, OpError};
use crate::mutation::Mutation;
use crate::plan::{Kind, MS, Plan, US};
use crate::ports::Port;
use crate::rng::Rng;
use crate::values::{define, judge};
use crate::wish::Upset;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::VecDeque;
use steadfast_shell::activation::Step;
use steadfast_shell::properties::Properties;
use steadfast_shell::receipt::{Mode, Outcome, Phase};
use steadfast_shell::rendezvous::Runner;
use steadfast_shell::slots::Tag;
use steadfast_shell::update::Action;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Read,
    Write,
    WriteFua,
    Flush,
    /// A write and a flush behind it in the same slot: what a frontend makes of FUA for a driver that has none.
    WriteAndFlush,
}

/// A request, and what was known when it was made.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) client: usize,
    pub(crate) what: What,
    /// The piece of it that is under way.
    pub(crate) piece: What,
    /// Pieces that come behind that one, each in the same slot.
    pub(crate) more: u8,
    pub(crate) block: u8,
    pub(crate) version: Version,
    /// What had been acknowledged when it was made.
    pub(crate) acknowledged: Image,
    pub(crate) completed: bool,
    /// An operation of it failed: its client may see that.
    pub(crate) may_fail: bool,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A client makes its next request.
    Client(usize),
    /// An operation completes.
    Op(usize),
    /// A queue is told to take part.
    Join(usize, usize),
    /// A queue looks at its transaction.
    Poll(usize),
    /// A call on a queue's thread returns: of the transaction, or of the old driver.
    Returned(usize, usize, Action, Runner),
    /// A call that has not returned is given up, where its time is over.
    Lose(usize, usize),
    Awake(usize),
    /// The control thread goes on with an update.
    Control(usize),
    /// The control thread has waited long enough for the queues.
    GiveUp(usize),
    Conclude(usize),
    /// Something that comes from outside.
    Strike(usize, usize),
    /// The next transaction of a port is asked for.
    Start(usize),
    /// An activation that the plan has is asked for: of a port, and which.
    Wish(usize, usize),
    /// A step of an activation is over.
    Step(usize),
    /// The instance that an activation is to bring in is ready.
    Ready(usize, usize),
    /// Something comes in between in a step of an activation.
    Upset(usize, usize),
    /// A live change of a port takes effect.
    Managed(usize),
    PowerLoss,
}

#[derive(Debug)]
struct Item(Reverse<(u64, u32)>, Event);

impl PartialEq for Item {
    fn eq(&self, other: &Item) -> bool {
        self.0 == other.0
    }
}
impl Eq for Item {}
impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Item) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Item {
    fn cmp(&self, other: &Item) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// A queue's thread.
#[derive(Debug, Default)]
pub(crate) struct Thread {
    /// It is inside a call that has not returned.
    pub(crate) inside: bool,
    /// Ports whose drivers have kept it for longer than anybody waits, a bit each.
    pub(crate) hung_by: u8,
    /// What it will see then.
    pub(crate) later: VecDeque<Event>,
}

/// The ports with their lanes, which share the queues.
fn layout(plan: &Plan) -> (Vec<Port>, Vec<Lane>) {
    let mut lanes = Vec::with_capacity(plan.ports.iter().map(|p| p.queues).sum());
    let mut ports = Vec::with_capacity(plan.ports.len());
    for (p, port) in plan.ports.iter().enumerate() {
        let first = lanes.len();
        let thread = |i: usize| (port.first_queue + i) % plan.queues;
        lanes.extend((0..port.queues).map(|i| Lane::new(p, i, thread(i), port.slots)));
        let load_time = define(&port.load_time);
        ports.push(Port {
            lanes: first..lanes.len(),
            properties: Properties::loaded(load_time.clone()),
            values: judge(&port.load_time).unwrap_or_default(),
            expected: port.load_time.clone(),
            load_time,
            ..Port::default()
        });
    }
    (ports, lanes)
}

/// One run.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) mutation: Option<Mutation>,
    pub(crate) rng: Rng,
    pub(crate) now: u64,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) threads: Vec<Thread>,
    pub(crate) drivers: Vec<Driver>,
    pub(crate) ports: Vec<Port>,
    pub(crate) clients: Vec<Client>,
    pub(crate) requests: Vec<Request>,
    pub(crate) next_version: Version,
    /// Submissions so far, pieces of requests included.
    pub(crate) submissions: u32,
    pub(crate) jobs: Vec<Job>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) activations: Vec<Doing>,
    pub(crate) activation_outcomes: Vec<Outcome>,
    pub(crate) step_hits: Vec<(Step, Upset, bool)>,
    /// By how much the wall clock was set back.
    pub(crate) clock_back_ms: u64,
    /// Activations that were done although the clock went back in between.
    pub(crate) clock_went_back: u32,
    /// The daemon is to stop.
    pub(crate) halting: bool,
    /// A call has taken longer than anybody waits for: pauses are not bounded any more.
    pub(crate) hung: bool,
    /// Calls that were given up.
    pub(crate) lost: u32,
    pub(crate) power_lost: bool,
    pub(crate) hits: Vec<(Phase, Mode, Kind, bool)>,
    pub(crate) failure: Option<String>,
    pub(crate) events: u32,
    ops: Vec<Option<Op>>,
    free_ops: Vec<usize>,
    heap: BinaryHeap<Item>,
    order: u32,
    tracing: bool,
}

/// More than any run needs.
const MOST_EVENTS: u32 = 20_000;

impl World {
    pub(crate) fn new(seed: u64, mutation: Option<Mutation>, tracing: bool) -> World {
        let mut rng = Rng::new(seed);
        let plan = Plan::new(&mut rng);
        let (ports, lanes) = layout(&plan);
        let threads = (0..plan.queues).map(|_| Thread::default()).collect();
        World {
            mutation,
            rng,
            now: 0,
            lanes,
            threads,
            drivers: Vec::with_capacity(8),
            ports,
            clients: Vec::with_capacity(4),
            requests: Vec::with_capacity(64),
            next_version: 0,
            submissions: 0,
            jobs: Vec::with_capacity(8),
            attempts: Vec::with_capacity(8),
            activations: Vec::with_capacity(4),
            activation_outcomes: Vec::new(),
            step_hits: Vec::new(),
            clock_back_ms: 0,
            clock_went_back: 0,
            halting: false,
            hung: false,
            lost: 0,
            power_lost: false,
            hits: Vec::new(),
            failure: None,
            events: 0,
            ops: Vec::with_capacity(64),
            free_ops: Vec::with_capacity(64),
            heap: BinaryHeap::with_capacity(128),
            order: 0,
            tracing,
            plan,
        }
    }

    /// Notes what must not be. The first one counts.
    pub(crate) fn violate(&mut self, what: String) {
        self.say(|_| format!("VIOLATED: {what}"));
        if self.failure.is_none() {
            self.failure = Some(what);
        }
    }

    /// A line of the trace.
    pub(crate) fn say(&self, line: impl FnOnce(&World) -> String) {
        if self.tracing {
            println!("{:>14.3} us  {}", self.now as f64 / 1e3, line(self));
        }
    }

    pub(crate) fn at(&mut self, time: u64, event: Event) {
        self.order += 1;
        self.heap.push(Item(Reverse((time, self.order)), event));
    }

    pub(crate) fn after(&mut self, low: u64, high: u64, event: Event) {
        let time = self.now + self.rng.range(low, high);
        self.at(time, event);
    }

    /// Lets things happen until nothing is left to happen, or power is lost.
    pub(crate) fn run_out(&mut self) {
        while let Some(Item(Reverse((time, _)), event)) = self.heap.pop() {
            self.now = time;
            self.events += 1;
            if self.events > MOST_EVENTS {
                self.violate("the run does not end".to_owned());
            }
            if self.failure.is_some() || self.power_lost {
                return;
            }
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        let queue = match event {
            Event::Client(c) => Some(self.clients[c].queue),
            Event::Op(op) => match &self.ops[op] {
                Some(op) => Some(op.queue),
                None => return,
            },
            Event::Join(q, _) | Event::Poll(q) => Some(q),
            _ => None,
        };
        if let Some(q) = queue
            && self.is_inside(q)
        {
            let thread = self.lanes[q].thread;
            self.threads[thread].later.push_back(event);
            return;
        }
        self.act(event);
        if let Some(q) = queue {
            self.end_of_turn(q);
        }
    }

    fn act(&mut self, event: Event) {
        match event {
            Event::Client(c) => self.client_turn(c),
            Event::Op(op) => self.op_done(op),
            Event::Join(q, job) => self.join(q, job),
            Event::Poll(q) => self.lanes[q].wakes_at = u64::MAX,
            Event::Returned(q, job, action, runner) => self.returned(q, job, action, runner),
            Event::Lose(q, job) => self.lose(q, job),
            Event::Awake(q) => self.awake(q),
            Event::Control(a) => self.control(a),
            Event::GiveUp(a) => self.give_up(a),
            Event::Conclude(a) => self.conclude(a),
            Event::Strike(a, f) => self.strike(a, f),
            Event::Start(p) => self.start(p),
            Event::Wish(p, i) => {
                let wish = self.plan.ports[p].wishes[i].clone();
                self.begin_activation(p, wish);
            }
            Event::Step(k) => self.step_over(k),
            Event::Ready(k, a) => self.reinit_ready(k, a),
            Event::Upset(k, i) => self.upset_strikes(k, i),
            Event::Managed(p) => self.managed(p),
            Event::PowerLoss => {
                self.say(|_| "power is lost".to_owned());
                self.power_lost = true;
            }
        }
    }

    /// A queue's thread comes out of a call and sees what has come in the meantime.
    pub(crate) fn awake(&mut self, q: usize) {
        let thread = self.lanes[q].thread;
        self.threads[thread].inside = false;
        self.end_of_turn(q);
        while !self.threads[thread].inside && self.failure.is_none() {
            let Some(event) = self.threads[thread].later.pop_front() else { return };
            self.happen(event);
        }
    }

    /// Delivers answers, ends batches and takes part in the transaction until nothing moves.
    pub(crate) fn end_of_turn(&mut self, q: usize) {
        while self.failure.is_none() {
            let done = std::mem::take(&mut self.lanes[q].done);
            let some = !done.is_empty();
            for (tag, result) in done {
                self.answered(q, tag, result);
            }
            let commits = self.lanes[q].commit_due;
            self.commit(q);
            let moved = !self.is_inside(q) && self.poll_job(q);
            if !some && !commits && !moved && self.lanes[q].done.is_empty() {
                return;
            }
        }
    }

    // ---- the device ----

    pub(crate) fn start_op(&mut self, op: Op) {
        let id = match self.free_ops.pop() {
            Some(id) => {
                self.ops[id] = Some(op);
                id
            }
            None => {
                self.ops.push(Some(op));
                self.ops.len() - 1
            }
        };
        // Operations of no request wait for something that does not come.
        let latency_ns = self.plan.ports[self.lanes[op.queue].port].latency_ns;
        let (low, high) = if op.tag.is_none() { (5 * MS, 60 * MS) } else { (US, latency_ns) };
        self.after(low, high, Event::Op(id));
    }

    fn op_done(&mut self, id: usize) {
        let Some(op) = self.ops[id].take() else { return };
        let p = self.lanes[op.queue].port;
        // An operation that was cancelled has a second event coming: its number is not used again.
        if op.tag.is_some() {
            self.free_ops.push(id);
        }
        if self.rng.chance(10) {
            let block = self.rng.below(crate::device::BLOCKS);
            self.ports[p].device.write_back(block);
        }
        let fails = self.ports[p].failing_ops && op.tag.is_some() && self.rng.chance(50);
        let result = if fails {
            self.fault_hit_failing_op(p);
            if let Some(tag) = op.tag {
                let number = self.lanes[op.queue].users[tag.0 as usize].request;
                self.requests[number].may_fail = true;
            }
            Err(OpError::Failed)
        } else if op.tag.is_some() && self.rng.chance(3) {
            Err(OpError::Again)
        } else if op.code == OpCode::Flush && self.mutation == Some(Mutation::SkipFlush) {
            Ok(0)
        } else {
            Ok(self.ports[p].device.complete(op.code, &op.covered))
        };
        self.op_completed(Completion { op, result });
    }

    /// Operations of no request on a queue end soon.
    pub(crate) fn cancel_port_ops(&mut self, q: usize) {
        if self.lanes[q].port_ops == 0 {
            return;
        }
        let Some(driver) = self.lanes[q].bound else { return };
        self.driver_rest(driver, q);
        let ids: Vec<usize> = (0..self.ops.len())
            .filter(|i| self.ops[*i].is_some_and(|op| op.queue == q && op.tag.is_none()))
            .collect();
        for id in ids {
            self.after(US, 10 * US, Event::Op(id));
        }
    }

    /// What a client makes of an answer; the slot is free again.
    fn answered(&mut self, q: usize, tag: Tag, result: Result<Version, ()>) {
        let number = self.lanes[q].users[tag.0 as usize].request;
        if result.is_ok() && self.submit_next(q, tag, number) {
            return;
        }
        self.check_answer(number, result);
        if let Err(e) = self.lanes[q].slots.release(tag)
            && self.failure.is_none()
        {
            self.violate(format!("release: {e}"));
        }
        if let Some(client) = self.lanes[q].waiting.pop() {
            self.after(1, US, Event::Client(client));
        }
        let client = self.requests[number].client;
        self.clients[client].in_flight = self.clients[client].in_flight.saturating_sub(1);
        self.after(US, 30 * US, Event::Client(client));
    }
}

//! Every order of events in one update of a small port: two queues, two requests, up to two calls that
//! fail, the deadline, and somebody who gives up. One of the requests has two pieces, which use one slot one after
//! the other.
//!
//! The update machine, the rendezvous, gates and slots are the real ones; each of a queue's steps that
//! others can come between is a step here.

use stateright::{Checker, Model, Property};
use steadfast_shell::gate::{Entry, Gate};
use steadfast_shell::receipt::{Mode, Outcome};
use steadfast_shell::rendezvous::{Next, Rendezvous, Runner, Snapshot, Verdict, drains, hands_back};
use steadfast_shell::slots::{Owner, Slots, Tag};
use steadfast_shell::update::{Action, IfBusy, Input, Plan, Update};

const QUEUES: usize = 2;
const REQUESTS: usize = 2;
/// Pieces of the first request.
const PIECES: u8 = 2;
const FAULTS: u8 = 2;
const DEADLINE_NS: u64 = 100;
/// Later than every limit there is.
const LATE_NS: u64 = 10_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who {
    Old,
    New,
}

/// Where a queue's thread is in its part of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Apart,
    Closed,
    Holds,
    Sealed,
    /// Between two calls.
    Runs(Action),
    Decides(Verdict),
    Arrived,
    Released,
    Over,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Lane {
    gate: Gate,
    slots: Slots,
    bound: Option<Who>,
    sealed: bool,
    deferring: bool,
    place: Place,
}

/// How far a request has come. Who has it while it waits, its slot knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    New,
    /// A piece of it is done, and its frontend has the slot to submit the next one in.
    Between,
    Waits,
    InFlight,
    /// Its operation has completed while the port is held: whoever serves next is told.
    Deferred,
    Answered(u8),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Request {
    queue: usize,
    tag: Option<Tag>,
    /// Pieces that are not done.
    pieces: u8,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    plan: Plan,
    meeting: Snapshot,
    lanes: [Lane; QUEUES],
    requests: [Request; REQUESTS],
    old_connected: bool,
    new_connected: bool,
    faults: u8,
    late: bool,
    abandoned: bool,
    /// Who carries out the phases between the drivers now, and whose call was given up and has not returned.
    runner: Runner,
    stale: Option<Runner>,
    wrong: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Event {
    Submit(usize),
    Begin(usize),
    Complete(usize),
    Join(usize),
    Hold(usize),
    Settle(usize),
    Arrive(usize),
    Call(usize, bool),
    /// The call that a driver is in is given up.
    Lose(usize),
    /// It returns after all.
    ComesBack(bool),
    Decide(usize),
    Release(usize),
    Leave(usize),
    Abandon,
    DeadlinePasses,
}

impl State {
    fn new(plan: Plan, queues: [usize; REQUESTS]) -> State {
        let lane = || {
            let mut gate = Gate::default();
            if plan.has_old {
                gate.open();
            }
            let bound = plan.has_old.then_some(Who::Old);
            let slots = Slots::new(REQUESTS as u32);
            Lane { gate, slots, bound, sealed: false, deferring: !plan.has_old, place: Place::Apart }
        };
        let request = |i: usize| {
            let pieces = if i == 0 { PIECES } else { 1 };
            Request { queue: queues[i], tag: None, pieces, stage: Stage::New }
        };
        State {
            plan,
            meeting: Rendezvous::new(Update::prepared(plan, 0), QUEUES as u32).snapshot(),
            lanes: [lane(), lane()],
            requests: [request(0), request(1)],
            old_connected: plan.has_old,
            new_connected: false,
            faults: FAULTS,
            late: false,
            abandoned: false,
            runner: Runner::default(),
            stale: None,
            wrong: None,
        }
    }

    fn now(&self) -> u64 {
        if self.late { LATE_NS } else { 0 }
    }

    fn meet<T>(&mut self, f: impl FnOnce(&Rendezvous, u64) -> T) -> T {
        let meeting = Rendezvous::resume(self.meeting.clone());
        let result = f(&meeting, self.now());
        self.meeting = meeting.snapshot();
        result
    }

    fn undecided(&self) -> bool {
        self.meeting.verdict == Verdict::Undecided
    }

    fn violate(&mut self, what: &'static str) {
        self.wrong = self.wrong.or(Some(what));
    }

    fn ok<T, E>(&mut self, what: &'static str, result: Result<T, E>) {
        if result.is_err() {
            self.violate(what);
        }
    }

    /// A driver is called for a queue.
    fn enter(&mut self, q: usize, entry: Entry) {
        let running = self.lanes.iter().any(|l| matches!(l.place, Place::Runs(_) | Place::Decides(_)));
        let connected = match self.lanes[q].bound {
            Some(Who::Old) => self.old_connected,
            Some(Who::New) => self.new_connected,
            None => false,
        };
        if running {
            self.violate("a driver is entered while drivers are exchanged");
        } else if !connected {
            self.violate("a driver is entered that is not connected");
        }
        self.lanes[q].gate.enter(entry);
        self.lanes[q].gate.leave(entry);
    }

    fn answer(&mut self, r: usize) {
        let (q, tag) = (self.requests[r].queue, self.requests[r].tag);
        if let Some(tag) = tag {
            let result = self.lanes[q].slots.complete(tag);
            self.ok("a request is completed that is not the driver's", result);
            self.requests[r].pieces -= 1;
            if self.requests[r].pieces > 0 {
                self.requests[r].stage = Stage::Between;
                return;
            }
            let result = self.lanes[q].slots.release(tag);
            self.ok("a slot is released that is in use", result);
        }
        let count = if let Stage::Answered(n) = self.requests[r].stage { n + 1 } else { 1 };
        self.requests[r].stage = Stage::Answered(count);
    }

    fn submit(&mut self, r: usize) {
        let q = self.requests[r].queue;
        let tag = match self.requests[r].tag.filter(|_| self.requests[r].stage == Stage::Between) {
            Some(tag) => {
                let result = self.lanes[q].slots.renew(tag);
                self.ok("a slot is renewed that is not the frontend's", result);
                Some(tag)
            }
            None => self.lanes[q].slots.reserve(),
        };
        let Some(tag) = tag else { return self.violate("there is no slot") };
        self.requests[r].tag = Some(tag);
        self.requests[r].stage = Stage::Waits;
        if self.lanes[q].gate.is_open() {
            let result = self.lanes[q].slots.issue(tag);
            self.ok("issue", result);
            self.enter(q, Entry::Submit);
        } else {
            let result = self.lanes[q].slots.hold(tag, 0);
            self.ok("hold", result);
        }
    }

    fn complete(&mut self, r: usize) {
        let q = self.requests[r].queue;
        if self.lanes[q].deferring {
            self.requests[r].stage = Stage::Deferred;
        } else {
            self.enter(q, Entry::Event);
            self.answer(r);
        }
    }

    fn join(&mut self, q: usize) {
        self.meet(|m, now| m.begin(now));
        let (mode, has_old) = (self.plan.mode, self.plan.has_old);
        self.lanes[q].gate.close();
        self.lanes[q].sealed = false;
        self.lanes[q].deferring = !drains(mode, has_old);
        if hands_back(mode, has_old) {
            for request in self.requests.clone() {
                if let (true, Stage::Waits, Some(tag)) = (request.queue == q, request.stage, request.tag) {
                    let result = self.lanes[q].slots.give_back(tag, 0);
                    self.ok("give_back", result);
                }
            }
        }
        self.lanes[q].place = Place::Closed;
    }

    fn settle(&mut self, q: usize) {
        let draining = drains(self.plan.mode, self.plan.has_old);
        let busy = if draining { self.lanes[q].slots.issued() } else { 0 };
        if busy > 0 {
            self.meet(|m, now| m.busy(busy, now));
            return;
        }
        self.lanes[q].sealed = true;
        self.lanes[q].deferring = true;
        self.lanes[q].place = Place::Sealed;
    }

    fn arrive(&mut self, q: usize) {
        let next = self.meet(|m, now| m.arrive(now));
        if next.is_some() && self.lanes.iter().any(|l| !l.sealed || l.gate.is_open()) {
            self.violate("drivers are exchanged although a queue has not arrived");
        }
        self.lanes[q].place = next.map_or(Place::Arrived, place);
    }

    fn call(&mut self, q: usize, action: Action, succeeds: bool) {
        if !succeeds {
            self.faults -= 1;
        }
        let mut result = if succeeds { Ok(()) } else { Err("fails".to_owned()) };
        match action {
            Action::Disconnect if succeeds => self.old_connected = false,
            Action::Connect if self.plan.has_new => {
                if self.old_connected {
                    self.violate("the new driver is connected beside the old one");
                }
                // What fails may be what comes after it was connected.
                self.new_connected = true;
                if Rendezvous::resume(self.meeting.clone()).given_up() {
                    result = Err("too late".to_owned());
                }
            }
            Action::DisconnectNew => self.new_connected = false,
            Action::Reconnect => {
                if self.new_connected {
                    self.violate("the old driver is connected beside the new one");
                }
                self.old_connected = succeeds && self.plan.has_old;
            }
            _ => {}
        }
        let runner = self.runner;
        match self.meet(|m, now| m.step(runner, result, now)) {
            Some(next) => self.lanes[q].place = place(next),
            None => self.violate("who runs the transaction has no say"),
        }
    }

    fn lose(&mut self, q: usize) {
        let lost = self.meet(|m, now| m.lose(false, now, |_| "does not return".to_owned()));
        let Some(lost) = lost else { return };
        // Nobody enters it again, whatever it has come to.
        self.new_connected = false;
        self.stale = Some(self.runner);
        self.runner = lost.runner;
        self.lanes[q].place = place(lost.next);
    }

    fn comes_back(&mut self, succeeds: bool) {
        let Some(runner) = self.stale.take() else { return };
        let result = if succeeds { Ok(()) } else { Err("fails".to_owned()) };
        if self.meet(|m, now| m.step(runner, result, now)).is_some() {
            self.violate("a call that was given up has its say");
        }
    }

    fn release(&mut self, q: usize) {
        self.lanes[q].place = Place::Released;
        let bound = match self.meeting.verdict {
            Verdict::New => self.plan.has_new.then_some(Who::New),
            Verdict::Old => self.plan.has_old.then_some(Who::Old),
            _ => None,
        };
        self.lanes[q].bound = bound;
        if bound.is_none() {
            return;
        }
        self.lanes[q].gate.open();
        self.lanes[q].deferring = false;
        for r in 0..REQUESTS {
            if self.requests[r].queue == q && self.requests[r].stage == Stage::Deferred {
                self.enter(q, Entry::Event);
                self.answer(r);
            }
        }
        while self.lanes[q].slots.unhold().is_some() {
            self.enter(q, Entry::Submit);
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Submit(r) => self.submit(r),
            Event::Begin(r) => {
                self.enter(self.requests[r].queue, Entry::Event);
                self.requests[r].stage = Stage::InFlight;
            }
            Event::Complete(r) => self.complete(r),
            Event::Join(q) => self.join(q),
            Event::Hold(q) => {
                self.meet(|m, now| m.held(now));
                self.lanes[q].place = Place::Holds;
            }
            Event::Settle(q) => self.settle(q),
            Event::Arrive(q) => self.arrive(q),
            Event::Call(q, succeeds) => {
                if let Place::Runs(action) = self.lanes[q].place {
                    self.call(q, action, succeeds);
                }
            }
            Event::Lose(q) => self.lose(q),
            Event::ComesBack(succeeds) => self.comes_back(succeeds),
            Event::Decide(q) => {
                if let Place::Decides(verdict) = self.lanes[q].place {
                    self.meet(|m, _| m.decide(verdict));
                    self.lanes[q].place = Place::Arrived;
                }
            }
            Event::Release(q) => self.release(q),
            Event::Leave(q) => {
                self.meet(|m, now| m.released(now));
                self.lanes[q].place = Place::Over;
            }
            Event::Abandon => {
                self.abandoned = true;
                self.meet(|m, now| m.abandon("given up", now));
            }
            Event::DeadlinePasses => self.late = true,
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        let mut update = self.meeting.update.clone();
        (0..9).find_map(|_| match update.step(Input::Ok, self.now()) {
            Action::Done(outcome) => Some(outcome),
            _ => None,
        })
    }

    /// Nothing can happen any more: is all as it should be?
    fn ended_well(&self) -> bool {
        let over = self.lanes.iter().all(|l| l.place == Place::Over);
        let answered = self.requests.iter().all(|r| r.stage == Stage::Answered(1));
        let kept = self.requests.iter().all(|r| match (r.stage, r.tag) {
            (Stage::Answered(1), _) => true,
            (_, Some(tag)) => {
                self.lanes[r.queue].slots.owner(tag) == Owner::Held || r.stage == Stage::Deferred
            }
            _ => false,
        });
        let connected = (self.old_connected, self.new_connected);
        let all =
            |who: Option<Who>| self.lanes.iter().all(|l| l.bound == who && l.gate.is_open() == who.is_some());
        let outcome = self.outcome();
        let phases = self.meeting.update.phases().windows(2).all(|w| w[0].phase < w[1].phase);
        over && phases
            && match self.meeting.verdict {
                Verdict::New if self.plan.has_new => {
                    answered
                        && all(Some(Who::New))
                        && connected == (false, true)
                        && outcome == Some(Outcome::Done)
                }
                Verdict::New => {
                    kept && all(None) && connected == (false, false) && outcome == Some(Outcome::Done)
                }
                Verdict::Old if self.plan.has_old => {
                    let back = matches!(outcome, Some(Outcome::RolledBack | Outcome::Busy));
                    answered && all(Some(Who::Old)) && connected == (true, false) && back
                }
                Verdict::Old | Verdict::Nobody => {
                    kept && all(None) && connected == (false, false) && outcome == Some(Outcome::Stranded)
                }
                Verdict::Undecided => false,
            }
    }
}

fn place(next: Next) -> Place {
    match next {
        Next::Call(action) => Place::Runs(action),
        Next::Verdict(verdict) => Place::Decides(verdict),
    }
}

struct Port;

impl Model for Port {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        let base = Plan {
            mode: Mode::Drain,
            if_busy: IfBusy::Wait,
            deadline_ns: DEADLINE_NS,
            has_old: true,
            has_new: true,
        };
        let mut plans = vec![
            Plan { has_old: false, ..base },
            Plan { has_old: false, mode: Mode::Adopt, ..base },
            Plan { has_new: false, ..base },
        ];
        for mode in [Mode::Adopt, Mode::Split, Mode::Drain] {
            plans.push(Plan { mode, ..base });
            plans.push(Plan { mode, if_busy: IfBusy::Fail, ..base });
        }
        plans.into_iter().flat_map(|p| [State::new(p, [0, 1]), State::new(p, [0, 0])]).collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Event>) {
        for (r, request) in state.requests.iter().enumerate() {
            let lane = &state.lanes[request.queue];
            let issued = request.tag.is_some_and(|tag| lane.slots.owner(tag) == Owner::Issued);
            match request.stage {
                Stage::New | Stage::Between => actions.push(Event::Submit(r)),
                Stage::Waits
                    if issued && !lane.sealed && !lane.deferring || issued && lane.gate.is_open() =>
                {
                    actions.push(Event::Begin(r));
                }
                Stage::InFlight => actions.push(Event::Complete(r)),
                _ => {}
            }
        }
        for (q, lane) in state.lanes.iter().enumerate() {
            match lane.place {
                Place::Apart => actions.push(Event::Join(q)),
                Place::Closed => actions.push(Event::Hold(q)),
                Place::Holds if state.undecided() => actions.push(Event::Settle(q)),
                Place::Holds | Place::Arrived if !state.undecided() => actions.push(Event::Release(q)),
                Place::Sealed => actions.push(Event::Arrive(q)),
                Place::Runs(_) => {
                    actions.push(Event::Call(q, true));
                    if state.faults > 0 {
                        actions.push(Event::Call(q, false));
                    }
                    if state.late {
                        actions.push(Event::Lose(q));
                    }
                }
                Place::Decides(_) => actions.push(Event::Decide(q)),
                Place::Released => actions.push(Event::Leave(q)),
                _ => {}
            }
        }
        if state.stale.is_some() {
            actions.extend([Event::ComesBack(true), Event::ComesBack(false)]);
        }
        if !state.abandoned && state.undecided() {
            actions.push(Event::Abandon);
        }
        if !state.late && state.undecided() {
            actions.push(Event::DeadlinePasses);
        }
    }

    fn next_state(&self, last: &State, event: Event) -> Option<State> {
        let mut next = last.clone();
        next.apply(event);
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Port>> {
        vec![
            Property::always("nothing is wrong", |_, s: &State| s.wrong.is_none()),
            Property::always("what cannot go on has ended well", |port: &Port, s: &State| {
                let mut events = Vec::new();
                port.actions(s, &mut events);
                events.iter().any(|e| port.next_state(s, *e).is_some()) || s.ended_well()
            }),
            Property::always("each request is answered at most once", |_, s: &State| {
                s.requests.iter().all(|r| !matches!(r.stage, Stage::Answered(n) if n > 1))
            }),
            Property::sometimes("the new driver serves", |_, s: &State| s.meeting.verdict == Verdict::New),
            Property::sometimes("the old driver comes back", |_, s: &State| {
                s.meeting.verdict == Verdict::Old && s.meeting.update.reason().contains("fails")
            }),
            Property::sometimes("one that does not return is done without", |_, s: &State| {
                s.meeting.verdict == Verdict::Old && s.meeting.update.reason() == "does not return"
            }),
            Property::sometimes("both fail", |_, s: &State| {
                s.meeting.verdict == Verdict::Nobody && s.plan.has_old
            }),
            Property::sometimes("the deadline passes", |_, s: &State| {
                s.meeting.update.reason().starts_with("deadline of")
            }),
            Property::sometimes("it is given up", |_, s: &State| s.meeting.update.reason() == "given up"),
            Property::sometimes("it is busy", |_, s: &State| s.meeting.update.reason().starts_with("busy")),
            Property::sometimes("a piece goes to one driver and the next to the other", |_, s: &State| {
                s.meeting.verdict == Verdict::New
                    && s.requests.iter().any(|r| r.stage == Stage::Between && s.lanes[r.queue].gate.is_open())
            }),
            Property::sometimes("the next piece is held", |_, s: &State| {
                let held =
                    |r: &Request| r.tag.is_some_and(|tag| s.lanes[r.queue].slots.owner(tag) == Owner::Held);
                s.undecided() && held(&s.requests[0]) && s.requests[0].pieces < PIECES
            }),
            Property::sometimes("the new driver is told what the old one began", |_, s: &State| {
                s.meeting.verdict == Verdict::New && s.requests.iter().any(|r| r.stage == Stage::Deferred)
            }),
        ]
    }
}

#[test]
fn every_order_of_events_ends_well() {
    let checker = Port.checker().threads(2).spawn_bfs().join();
    println!(
        "{} states, {} of them different, at most {} events deep",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    checker.assert_properties();
}

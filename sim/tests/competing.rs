//! Every order of events where one activation and one update compete for a port with two queues, beside a
//! request of two pieces and a live change, with a call or a step that fails and a re-initialisation that lies.
//!
//! The activation machine, the update machine, the rendezvous, gates and slots are the real ones. What one
//! transaction can come to is in `model.rs`; here it matters how two of them meet.

use stateright::{Checker, Model, Property};
use steadfast_shell::activation::{self, Activation, Came, Stamp, Step};
use steadfast_shell::gate::Gate;
use steadfast_shell::receipt::{Mode, Outcome};
use steadfast_shell::rendezvous::{Next, Rendezvous, Runner, Snapshot, Verdict, drains};
use steadfast_shell::slots::{Owner, Slots, Tag};
use steadfast_shell::update::{Action, IfBusy, Input, Plan, Update};

const QUEUES: usize = 2;
const OLD_SET: u8 = 1;
const NEW_SET: u8 = 2;
/// What a live change makes of the set in force.
const LIVE: u8 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who {
    Activation,
    Update,
}

/// Where a queue's thread is in its part of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Apart,
    Holds,
    Runs(Action),
    Decides(Verdict),
    Arrived,
    Over,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Lane {
    gate: Gate,
    slots: Slots,
    bound: Option<u8>,
    deferring: bool,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Request {
    New,
    /// A piece of it is done, and the next one is to be submitted in its slot.
    Between(Tag),
    /// In its slot: held, or with the driver.
    There(Tag),
    /// Its operation has completed while the port is held.
    Deferred(Tag),
    Answered,
}

/// The transaction under way: of whom, with which driver to come, and with which set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Under {
    who: Who,
    meeting: Snapshot,
    old: Option<u8>,
    new: u8,
    set: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    activation: Activation,
    /// What the re-initialisation came to.
    came: Option<Outcome>,
    has_turn: bool,
    found: u8,
    /// Generation when the activation got the port for itself.
    alone_at: Option<u64>,
    update: Option<Outcome>,
    asked: bool,
    live_asked: bool,
    turn: Option<Who>,
    under: Option<Under>,
    lanes: [Lane; QUEUES],
    request: Request,
    /// Pieces of it that are not done.
    pieces: u8,
    serving: Option<u8>,
    connected: Vec<bool>,
    /// The set that each driver attached with.
    sets: Vec<u8>,
    in_force: u8,
    generation: u64,
    faults: u8,
    lies: u8,
    wrong: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Event {
    Step,
    StepFails,
    ReinitOver,
    ReinitLies,
    AskUpdate,
    AskLive,
    UpdateOver,
    Submit,
    Complete,
    Join(usize),
    Settle(usize),
    Call(usize, bool),
    Decide(usize),
    Release(usize),
}

impl State {
    fn new(idle_only: bool) -> State {
        let lane = || {
            let mut gate = Gate::default();
            gate.open();
            Lane { gate, slots: Slots::new(1), bound: Some(0), deferring: false, place: Place::Apart }
        };
        State {
            activation: Activation::new(idle_only, 0),
            came: None,
            has_turn: false,
            found: 0,
            alone_at: None,
            update: None,
            asked: false,
            live_asked: false,
            turn: None,
            under: None,
            lanes: [lane(), lane()],
            request: Request::New,
            pieces: 2,
            serving: Some(0),
            connected: vec![true],
            sets: vec![OLD_SET],
            in_force: OLD_SET,
            generation: 1,
            faults: 1,
            lies: 1,
            wrong: None,
        }
    }

    fn step(&self) -> Option<Step> {
        match self.activation.next() {
            activation::Next::Step(step) => Some(step),
            activation::Next::Done(_) => None,
        }
    }

    fn ended(&self) -> Option<Outcome> {
        match self.activation.next() {
            activation::Next::Step(_) => None,
            activation::Next::Done(outcome) => Some(outcome),
        }
    }

    /// Management requests must be turned away now.
    fn blocked(&self) -> bool {
        let steps = self.activation.steps();
        self.ended().is_none()
            && self.alone_at.is_some()
            && steps.last().map(|s| s.step) != Some(Step::Unblock)
    }

    fn violate(&mut self, what: &'static str) {
        self.wrong = self.wrong.or(Some(what));
    }

    fn stamp(&self) -> Stamp {
        Stamp { generation: self.generation, epoch_unix_ms: 0 }
    }

    /// The activation's step is done, as it is when nothing fails.
    fn take_step(&mut self, step: Step) {
        let came = match step {
            Step::Parse => {
                self.found = self.in_force;
                Came::Ok
            }
            Step::Stamp | Step::Compare => Came::Stamp(self.stamp()),
            // Also between two pieces: requests ended since it was looked before.
            Step::Idle if !matches!(self.request, Request::New | Request::Answered) => {
                Came::Busy("I/O".into())
            }
            Step::Block if self.turn.is_some() => Came::Busy("an update".into()),
            Step::Block if self.in_force != self.found => Came::Failed("changed meanwhile".into()),
            Step::Block => {
                (self.turn, self.has_turn) = (Some(Who::Activation), true);
                self.alone_at = Some(self.generation);
                Came::Stamp(self.stamp())
            }
            Step::Reinit if self.serving.is_none() => Came::Failed("no driver".into()),
            Step::Reinit => return self.begin(Who::Activation, NEW_SET),
            Step::Unblock => {
                if std::mem::take(&mut self.has_turn) {
                    self.turn = None;
                }
                Came::Ok
            }
            _ => Came::Ok,
        };
        self.activation.step(came, "", 0);
    }

    fn begin(&mut self, who: Who, set: u8) {
        let idle_only =
            who == Who::Activation && self.activation.steps().iter().any(|s| s.step == Step::Idle);
        let plan = Plan {
            mode: Mode::Drain,
            if_busy: if idle_only { IfBusy::Fail } else { IfBusy::Wait },
            deadline_ns: 100,
            has_old: self.serving.is_some(),
            has_new: true,
        };
        let meeting = Rendezvous::new(Update::prepared(plan, 0), QUEUES as u32).snapshot();
        let new = self.sets.len() as u8;
        self.sets.push(set);
        self.connected.push(false);
        self.under = Some(Under { who, meeting, old: self.serving, new, set });
        for lane in &mut self.lanes {
            lane.place = Place::Apart;
        }
    }

    fn ask_update(&mut self) {
        self.asked = true;
        if self.turn.is_some() {
            self.update = Some(Outcome::Busy);
        } else {
            if self.blocked() {
                self.violate("an update is let in while an activation has the port blocked");
            }
            self.turn = Some(Who::Update);
            self.begin(Who::Update, self.in_force);
        }
    }

    fn ask_live(&mut self) {
        self.live_asked = true;
        let Some(serving) = self.serving.filter(|_| self.turn.is_none()) else { return };
        if self.blocked() {
            self.violate("a live change is let in while an activation has the port blocked");
        }
        self.in_force += LIVE;
        self.sets[serving as usize] = self.in_force;
    }

    /// How the transaction ended, once every queue has released.
    fn outcome(&self) -> Option<Outcome> {
        let under = self.under.as_ref()?;
        if self.lanes.iter().any(|l| l.place != Place::Over) {
            return None;
        }
        let mut update = under.meeting.update.clone();
        (0..9).find_map(|_| match update.step(Input::Ok, 0) {
            Action::Done(outcome) => Some(outcome),
            _ => None,
        })
    }

    fn reinit_over(&mut self, lies: bool) {
        let outcome = self.outcome().unwrap_or(Outcome::Stranded);
        self.under = None;
        self.came = Some(outcome);
        let came = match outcome {
            _ if lies => Came::Ok,
            Outcome::Done => Came::Ok,
            Outcome::Busy => Came::Busy("in flight".into()),
            Outcome::Stranded => Came::Stranded("neither".into()),
            _ => Came::Failed("went back".into()),
        };
        self.activation.step(came, "", 0);
    }

    fn meet<T>(&mut self, f: impl FnOnce(&Rendezvous) -> T) -> Option<T> {
        let under = self.under.as_mut()?;
        let meeting = Rendezvous::resume(under.meeting.clone());
        let result = f(&meeting);
        under.meeting = meeting.snapshot();
        Some(result)
    }

    fn verdict(&self) -> Verdict {
        self.under.as_ref().map_or(Verdict::Undecided, |u| u.meeting.verdict)
    }

    /// A driver is called for the request's queue.
    fn enter(&mut self) {
        let exchanging = self.lanes.iter().any(|l| matches!(l.place, Place::Runs(_) | Place::Decides(_)));
        let connected = self.lanes[0].bound.is_some_and(|d| self.connected[d as usize]);
        if exchanging || !connected {
            self.violate("a driver is entered that does not serve");
        }
    }

    fn answer(&mut self, tag: Tag) {
        let slots = &mut self.lanes[0].slots;
        self.pieces -= 1;
        let last = self.pieces == 0;
        if slots.complete(tag).is_err() || last && slots.release(tag).is_err() {
            self.violate("a request is completed that is not the driver's");
        }
        self.request = if last { Request::Answered } else { Request::Between(tag) };
    }

    fn submit(&mut self) {
        let lane = &mut self.lanes[0];
        let (tag, mut right) = match self.request {
            Request::Between(tag) => (Some(tag), lane.slots.renew(tag).is_ok()),
            _ => (lane.slots.reserve(), true),
        };
        let Some(tag) = tag else { return self.violate("there is no slot") };
        self.request = Request::There(tag);
        if lane.gate.is_open() {
            right &= lane.slots.issue(tag).is_ok();
            self.enter();
        } else {
            right &= lane.slots.hold(tag, 0).is_ok();
        }
        if !right {
            self.violate("a request is submitted in a slot that is not its frontend's");
        }
    }

    fn join(&mut self, q: usize) {
        let has_old = self.under.as_ref().is_some_and(|u| u.old.is_some());
        self.lanes[q].gate.close();
        self.lanes[q].deferring = !drains(Mode::Drain, has_old);
        self.lanes[q].place = Place::Holds;
        self.meet(|m| {
            m.begin(0);
            m.held(0)
        });
    }

    fn settle(&mut self, q: usize) {
        let has_old = self.under.as_ref().is_some_and(|u| u.old.is_some());
        let busy = if has_old { self.lanes[q].slots.issued() } else { 0 };
        if busy > 0 {
            self.meet(|m| m.busy(busy, 0));
            return;
        }
        self.lanes[q].deferring = true;
        let next = self.meet(|m| m.arrive(0)).flatten();
        self.lanes[q].place = next.map_or(Place::Arrived, place);
    }

    fn call(&mut self, q: usize, action: Action, succeeds: bool) {
        let Some((old, new)) = self.under.as_ref().map(|u| (u.old, u.new as usize)) else { return };
        self.faults -= u8::from(!succeeds);
        match (action, old) {
            (Action::Disconnect, Some(old)) if succeeds => self.connected[old as usize] = false,
            (Action::Connect, _) => {
                if self.connected.iter().any(|c| *c) {
                    self.violate("two drivers are connected");
                }
                self.connected[new] = true;
            }
            (Action::DisconnectNew, _) => self.connected[new] = false,
            (Action::Reconnect, Some(old)) => self.connected[old as usize] = succeeds,
            _ => {}
        }
        let result = if succeeds { Ok(()) } else { Err("fails".to_owned()) };
        if let Some(next) = self.meet(|m| m.step(Runner::default(), result, 0)).flatten() {
            self.lanes[q].place = place(next);
        }
    }

    fn decide(&mut self, q: usize, verdict: Verdict) {
        let Some(under) = &self.under else { return };
        match verdict {
            Verdict::New => {
                self.serving = Some(under.new);
                self.in_force = under.set;
                self.generation += 1;
            }
            Verdict::Nobody => self.serving = None,
            _ => {}
        }
        self.meet(|m| m.decide(verdict));
        self.lanes[q].place = Place::Arrived;
    }

    fn release(&mut self, q: usize) {
        let Some(under) = &self.under else { return };
        let bound = match under.meeting.verdict {
            Verdict::New => Some(under.new),
            Verdict::Old => under.old,
            _ => None,
        };
        self.lanes[q].bound = bound;
        if bound.is_some() {
            self.lanes[q].gate.open();
            self.lanes[q].deferring = false;
            if let (0, Request::Deferred(tag)) = (q, self.request) {
                self.enter();
                self.answer(tag);
            }
            if self.lanes[q].slots.unhold().is_some() {
                self.enter();
            }
        }
        self.lanes[q].place = Place::Over;
        self.meet(|m| m.released(0));
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Step => {
                if let Some(step) = self.step() {
                    self.take_step(step);
                }
            }
            Event::StepFails => {
                self.faults -= 1;
                self.activation.step(Came::Failed("no".into()), "", 0);
            }
            Event::ReinitOver => self.reinit_over(false),
            Event::ReinitLies => {
                self.lies -= 1;
                self.reinit_over(true);
            }
            Event::AskUpdate => self.ask_update(),
            Event::AskLive => self.ask_live(),
            Event::UpdateOver => {
                self.update = self.outcome();
                (self.under, self.turn) = (None, None);
            }
            Event::Submit => self.submit(),
            Event::Complete => {
                if let Request::There(tag) = self.request {
                    if self.lanes[0].deferring {
                        self.request = Request::Deferred(tag);
                    } else {
                        self.enter();
                        self.answer(tag);
                    }
                }
            }
            Event::Join(q) => self.join(q),
            Event::Settle(q) => self.settle(q),
            Event::Call(q, succeeds) => {
                if let Place::Runs(action) = self.lanes[q].place {
                    self.call(q, action, succeeds);
                }
            }
            Event::Decide(q) => {
                if let Place::Decides(verdict) = self.lanes[q].place {
                    self.decide(q, verdict);
                }
            }
            Event::Release(q) => self.release(q),
        }
    }

    /// One set is in force, in the shell and in the driver: the new one if and only if it is done.
    fn kept_its_word(&self) -> bool {
        let Some(outcome) = self.ended() else { return true };
        let done = outcome == Outcome::Done;
        let reinitialised = self.came == Some(Outcome::Done);
        let new_set = self.in_force % LIVE == NEW_SET;
        let driver = self.serving.is_none_or(|d| self.sets[d as usize] == self.in_force);
        done == reinitialised && done == new_set && driver && !self.has_turn
    }

    /// Nothing can happen any more: is all as it should be?
    fn ended_well(&self) -> bool {
        let answered = match self.request {
            Request::Answered => true,
            Request::There(tag) => self.serving.is_none() && self.lanes[0].slots.owner(tag) == Owner::Held,
            Request::Deferred(_) => self.serving.is_none(),
            Request::New | Request::Between(_) => false,
        };
        let one = match self.serving {
            Some(d) => (0..self.connected.len()).all(|i| self.connected[i] == (i == d as usize)),
            None => self.connected.iter().all(|c| !c),
        };
        let bound =
            self.lanes.iter().all(|l| l.bound == self.serving && l.gate.is_open() == l.bound.is_some());
        let attaches = [self.came, self.update].iter().filter(|o| **o == Some(Outcome::Done)).count() as u64;
        let told = self.ended().is_some() && self.update.is_some() && self.turn.is_none();
        answered && one && bound && told && self.generation == 1 + attaches
    }
}

fn place(next: Next) -> Place {
    match next {
        Next::Call(action) => Place::Runs(action),
        Next::Verdict(verdict) => Place::Decides(verdict),
    }
}

struct Port;

impl Port {
    fn of_activation(state: &State, events: &mut Vec<Event>) {
        let Some(step) = state.step() else { return };
        let reinit = state.under.as_ref().is_some_and(|u| u.who == Who::Activation);
        if !reinit {
            events.push(Event::Step);
            if state.faults > 0
                && !matches!(step, Step::Stamp | Step::Compare | Step::Restore | Step::Unblock)
            {
                events.push(Event::StepFails);
            }
        } else if let Some(outcome) = state.outcome() {
            events.push(Event::ReinitOver);
            if outcome == Outcome::RolledBack && state.lies > 0 {
                events.push(Event::ReinitLies);
            }
        }
    }

    fn of_queues(state: &State, events: &mut Vec<Event>) {
        if state.under.is_none() {
            return;
        }
        let undecided = state.verdict() == Verdict::Undecided;
        for (q, lane) in state.lanes.iter().enumerate() {
            match lane.place {
                Place::Apart => events.push(Event::Join(q)),
                Place::Holds if undecided => events.push(Event::Settle(q)),
                Place::Holds | Place::Arrived if !undecided => events.push(Event::Release(q)),
                Place::Runs(_) => {
                    events.push(Event::Call(q, true));
                    if state.faults > 0 {
                        events.push(Event::Call(q, false));
                    }
                }
                Place::Decides(_) => events.push(Event::Decide(q)),
                _ => {}
            }
        }
    }
}

impl Model for Port {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        // With two calls that may fail nobody may be left to serve.
        let both = |idle_only| [State::new(idle_only), State { faults: 2, ..State::new(idle_only) }];
        [false, true].into_iter().flat_map(both).collect()
    }

    fn actions(&self, state: &State, events: &mut Vec<Event>) {
        Port::of_activation(state, events);
        Port::of_queues(state, events);
        if !state.asked {
            events.push(Event::AskUpdate);
        }
        if !state.live_asked {
            events.push(Event::AskLive);
        }
        if state.under.as_ref().is_some_and(|u| u.who == Who::Update) && state.outcome().is_some() {
            events.push(Event::UpdateOver);
        }
        match state.request {
            Request::New | Request::Between(_) => events.push(Event::Submit),
            Request::There(tag) if state.lanes[0].slots.owner(tag) == Owner::Issued => {
                events.push(Event::Complete);
            }
            _ => {}
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
            Property::always("the new set is in force if and only if it is done", |_, s: &State| {
                s.kept_its_word()
            }),
            Property::always("what cannot go on has ended well", |port: &Port, s: &State| {
                let mut events = Vec::new();
                port.actions(s, &mut events);
                events.iter().any(|e| port.next_state(s, *e).is_some()) || s.ended_well()
            }),
            Property::sometimes("both succeed", |_, s: &State| {
                s.ended() == Some(Outcome::Done) && s.update == Some(Outcome::Done)
            }),
            Property::sometimes("the update is busy and the activation done", |_, s: &State| {
                s.ended() == Some(Outcome::Done) && s.update == Some(Outcome::Busy)
            }),
            Property::sometimes("the activation is busy and the update done", |_, s: &State| {
                s.ended() == Some(Outcome::Busy) && s.update == Some(Outcome::Done)
            }),
            Property::sometimes("it goes back", |_, s: &State| s.ended() == Some(Outcome::RolledBack)),
            Property::sometimes("it is refused", |_, s: &State| s.ended() == Some(Outcome::Refused)),
            Property::sometimes("a live change comes first", |_, s: &State| {
                s.activation.reason() == "changed meanwhile"
            }),
            Property::sometimes("nobody is left to serve", |_, s: &State| {
                s.ended() == Some(Outcome::Stranded)
            }),
            Property::sometimes("an update comes after a port was stranded", |_, s: &State| {
                s.ended() == Some(Outcome::Stranded) && s.update == Some(Outcome::Done)
            }),
            Property::sometimes("a lie is seen through, though an update came in between", |_, s: &State| {
                s.lies == 0 && s.update == Some(Outcome::Done) && s.ended() == Some(Outcome::RolledBack)
            }),
        ]
    }
}

#[test]
fn every_order_in_which_two_compete_ends_well() {
    let checker = Port.checker().threads(2).spawn_bfs().join();
    println!(
        "{} states, {} of them different, at most {} events deep",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    checker.assert_properties();
}

//! Every interleaving of the threads that meet in a transaction, and of those that wake a queue.
//!
//! Built and run by `cargo xtask test` (step `loom`), or by
//! `RUSTFLAGS="--cfg loom" cargo test -p steadfast-shell --test loom --release --target-dir target/loom`.

#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use steadfast_shell::mailbox::Mailbox;
use steadfast_shell::receipt::{Mode, Outcome};
use steadfast_shell::rendezvous::{Next, Rendezvous, Runner, Verdict};
use steadfast_shell::update::{Action, IfBusy, Input, Plan, Update};

/// What an eventfd does: reading waits until somebody rang, and silences it.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.heard.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.heard.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// A queue's thread as others see it.
#[derive(Default)]
struct Remote {
    tasks: Mailbox<u32>,
    bell: Bell,
}

impl Remote {
    fn post(&self, task: u32) {
        if self.tasks.post(task) {
            self.bell.ring();
        }
    }

    fn wake(&self) {
        if self.tasks.wake() {
            self.bell.ring();
        }
    }
}

/// A thread that sleeps for ever is a lost wake-up: loom reports it as a deadlock.
#[test]
fn no_task_is_left_behind() {
    loom::model(|| {
        let remote = Arc::new(Remote::default());
        let posters: Vec<_> = (1..=2)
            .map(|task| {
                let remote = remote.clone();
                thread::spawn(move || remote.post(task))
            })
            .collect();
        let mut sum = 0;
        while sum < 3 {
            remote.bell.wait();
            sum += remote.tasks.take().iter().sum::<u32>();
        }
        assert_eq!(sum, 3);
        posters.into_iter().for_each(|p| p.join().unwrap());
    });
}

#[test]
fn what_was_done_before_a_wake_is_seen_after_it() {
    loom::model(|| {
        let (remote, done) = (Arc::new(Remote::default()), Arc::new(AtomicBool::new(false)));
        let (r, d) = (remote.clone(), done.clone());
        let waker = thread::spawn(move || {
            // Relaxed: it is the wake that carries it over.
            d.store(true, Ordering::Relaxed);
            r.wake();
        });
        let r = remote.clone();
        let other = thread::spawn(move || r.post(1));
        let mut tasks = 0;
        while !done.load(Ordering::Relaxed) || tasks == 0 {
            remote.bell.wait();
            tasks += remote.tasks.take().len();
        }
        waker.join().unwrap();
        other.join().unwrap();
    });
}

/// What queues share in a transaction: touched by its own queue, and by the one that runs the phases
/// while all others keep away. Loom fails when two threads touch a cell without having met.
struct Port {
    meeting: Rendezvous,
    lanes: Vec<UnsafeCell<u32>>,
    remotes: Vec<Remote>,
    serving: UnsafeCell<u32>,
    exchanges: AtomicU32,
    ends: AtomicU32,
}

const QUEUES: usize = 2;

impl Port {
    fn new(mode: Mode, if_busy: IfBusy) -> Arc<Port> {
        let plan = Plan { mode, if_busy, deadline_ns: 100, has_old: true, has_new: true };
        Arc::new(Port {
            meeting: Rendezvous::new(Update::prepared(plan, 0), QUEUES as u32),
            lanes: (0..QUEUES).map(|_| UnsafeCell::new(0)).collect(),
            remotes: (0..QUEUES).map(|_| Remote::default()).collect(),
            serving: UnsafeCell::new(1),
            exchanges: AtomicU32::new(0),
            ends: AtomicU32::new(0),
        })
    }

    fn wake_others(&self) {
        self.remotes.iter().for_each(Remote::wake);
    }

    fn enter(&self, queue: usize) {
        self.lanes[queue].with_mut(|lane| {
            // SAFETY: loom checks that nobody else touches it.
            unsafe { *lane += 1 }
        });
    }

    /// One queue's part, as `crates/runtime/src/change/swap.rs` has it. `busy`: what it reports before it settles.
    fn take_part(&self, queue: usize, busy: Option<u64>, connects: bool) -> Verdict {
        self.meeting.begin(0);
        self.enter(queue);
        self.meeting.held(0);
        if let Some(now) = busy
            && self.meeting.verdict() == Verdict::Undecided
            && self.meeting.busy(1, now)
        {
            self.wake_others();
        }
        if self.meeting.verdict() == Verdict::Undecided {
            self.enter(queue);
            if let Some(first) = self.meeting.arrive(0) {
                self.run(first, connects);
            }
        }
        while self.meeting.verdict() == Verdict::Undecided {
            self.remotes[queue].bell.wait();
            self.remotes[queue].tasks.take();
        }
        self.enter(queue);
        let verdict = self.meeting.verdict();
        let serving = self.serving.with(|s| {
            // SAFETY: loom checks that nobody writes it meanwhile.
            unsafe { *s }
        });
        assert_eq!(serving, if verdict == Verdict::New { 2 } else { 1 });
        if self.meeting.released(0) {
            self.ends.fetch_add(1, Ordering::Relaxed);
        }
        verdict
    }

    fn run(&self, first: Next, connects: bool) {
        self.exchanges.fetch_add(1, Ordering::Relaxed);
        let (mut next, runner) = (first, Runner::default());
        let verdict = loop {
            // The drivers are called with every queue's lane.
            (0..QUEUES).for_each(|queue| self.enter(queue));
            let result = match next {
                Next::Verdict(verdict) => break verdict,
                Next::Call(Action::Connect) if !connects || self.meeting.given_up() => {
                    Err("connect fails".to_owned())
                }
                Next::Call(_) => Ok(()),
            };
            next = self.meeting.step(runner, result, 0).expect("no call is given up");
        };
        if verdict == Verdict::New {
            self.serving.with_mut(|s| {
                // SAFETY: loom checks that nobody else touches it.
                unsafe { *s = 2 }
            });
        }
        self.meeting.decide(verdict);
        self.wake_others();
    }

    fn check(&self, verdicts: &[Verdict]) {
        assert!(verdicts.iter().all(|v| *v == verdicts[0] && *v != Verdict::Undecided), "{verdicts:?}");
        assert_eq!(self.ends.load(Ordering::Relaxed), 1, "the end is told once");
        assert!(self.meeting.is_over());
        let mut update = self.meeting.update();
        while !matches!(update.action(), Action::Done(_)) {
            update.step(Input::Ok, 0);
        }
        let done = update.action() == Action::Done(Outcome::Done);
        assert_eq!(done, verdicts[0] == Verdict::New, "{:?}", update.action());
    }
}

fn meet(mode: Mode, if_busy: IfBusy, busy: Option<u64>, connects: bool, abandons: bool) {
    let mut model = loom::model::Builder::new();
    // Three threads with some dozen steps each: more switches than these find nothing else.
    model.preemption_bound = Some(3);
    model.check(move || {
        let port = Port::new(mode, if_busy);
        let other = port.clone();
        let second = thread::spawn(move || other.take_part(1, None, connects));
        let third = abandons.then(|| {
            let port = port.clone();
            thread::spawn(move || {
                let abandoned = port.meeting.abandon("given up", 0);
                if abandoned {
                    port.wake_others();
                }
                abandoned
            })
        });
        let first = port.take_part(0, busy, connects);
        let second = second.join().unwrap();
        let abandoned = third.is_some_and(|t| t.join().unwrap());
        port.check(&[first, second]);
        let exchanges = port.exchanges.load(Ordering::Relaxed);
        assert!(exchanges <= 1);
        assert!(!abandoned || first == Verdict::Old && exchanges == 0);
        if busy.is_none() && connects && !abandons {
            assert_eq!(first, Verdict::New);
        }
    });
}

#[test]
fn two_queues_meet_and_one_exchanges_the_drivers() {
    meet(Mode::Adopt, IfBusy::Wait, None, true, false);
}

#[test]
fn a_candidate_that_does_not_connect_leaves_both_queues_to_the_old_driver() {
    meet(Mode::Adopt, IfBusy::Wait, None, false, false);
}

#[test]
fn giving_up_comes_before_the_exchange_or_has_no_say() {
    meet(Mode::Adopt, IfBusy::Wait, None, true, true);
}

#[test]
fn a_queue_that_is_busy_ends_it_for_both_or_settles() {
    meet(Mode::Drain, IfBusy::Fail, Some(0), true, false);
}

#[test]
fn a_missed_deadline_and_giving_up_agree() {
    meet(Mode::Drain, IfBusy::Wait, Some(1000), true, true);
}

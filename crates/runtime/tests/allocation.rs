//! What the threads of queues take from the allocator while drivers are exchanged: an allocation may wait
//! for a lock that a thread holds which does not run, and so does everybody whose requests are held.
//! Counted is the whole part of a queue, pause and all; what drivers themselves take, in modules of
//! their own, is not.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::mpsc::channel;
use std::time::Duration;
use steadfast_loader::StagedModule;
use steadfast_runtime::{ActivateOptions, Reactor, UpdateOptions};
use steadfast_shell::properties::{Definition, Source};
use steadfast_shell::receipt::{Mode, Outcome};
use support::Bench;

struct Counting;

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    if COUNTED.get() {
        TAKEN.set(TAKEN.get() + 1);
    }
}

// SAFETY: everything is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as promised by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as promised by the caller.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(old, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the queues take while `work` is done.
fn taken(bench: &Bench, work: impl FnOnce()) -> u64 {
    let before = counting(bench, true);
    work();
    counting(bench, false) - before
}

/// Says on every queue's own thread whether it counts; returns what they have taken so far.
fn counting(bench: &Bench, on: bool) -> u64 {
    let (tx, rx) = channel();
    for queue in 0..bench.engine.queues() {
        let tx = tx.clone();
        let say = move |_: &mut Reactor| {
            COUNTED.set(false);
            tx.send(TAKEN.get()).expect("the test listens");
            COUNTED.set(on);
        };
        bench.engine.post(queue, Box::new(say));
    }
    let answer = |_| rx.recv_timeout(Duration::from_secs(60)).expect("a queue answers");
    (0..bench.engine.queues()).map(answer).sum()
}

fn update(bench: &Bench, port: &str, module: &StagedModule, mode: Mode) -> u64 {
    let opts = UpdateOptions { mode: Some(mode), ..UpdateOptions::default() };
    taken(bench, || {
        let receipt = bench.engine.update(port, module, &opts);
        assert_eq!((receipt.outcome, receipt.mode), (Outcome::Done, Some(mode)), "{receipt:?}");
    })
}

/// With other slots than before, which takes a new initialisation.
fn activate(bench: &Bench, port: &str, slots: u32) -> u64 {
    let mut set = bench.engine.port(port).expect("port").properties;
    let source = Source::Command { who: "a test".into() };
    set.insert("io_slots".into(), Definition { value: slots.to_string(), source });
    taken(bench, || {
        let receipt = bench.engine.activate(port, || Ok(set), &ActivateOptions::default());
        assert_eq!(receipt.outcome, Outcome::Done, "{receipt:?}");
    })
}

/// Every mode and activations, several times; what each took at most.
fn most(bench: &Bench, port: &str, driver: &str) -> u64 {
    let module = bench.stage(driver);
    let mut most = 0;
    for n in 0..4 {
        most = most.max(update(bench, port, &module, Mode::Adopt));
        most = most.max(update(bench, port, &module, Mode::Drain));
        most = most.max(activate(bench, port, 256 + 16 * n));
    }
    most
}

#[test]
fn a_pause_takes_no_memory_from_the_allocator() {
    let bench = Bench::new(2);
    for driver in ["null", "ram"] {
        bench.attach(driver, driver, &[("size", "4M")], Some(2));
        // What is made once.
        update(&bench, driver, &bench.stage(driver), Mode::Adopt);
        assert_eq!(most(&bench, driver, driver), 0, "{driver}");
    }
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn state_is_handed_over_in_memory_that_is_there() {
    let bench = Bench::new(1);
    let path = bench.dir.path().join("disk.img");
    std::fs::File::create(&path).expect("created").set_len(4 << 20).expect("sized");
    bench.attach("vol0", "file_1_1", &[("path", &path.display().to_string())], None);
    update(&bench, "vol0", &bench.stage("file_1_1"), Mode::Adopt);
    // A list of the fields each time that it is read: on its way, before and after it was taken over, and
    // beside what has become of it.
    assert!(most(&bench, "vol0", "file_1_1") <= 4);
    bench.engine.stop(Duration::from_secs(10));
}

#[test]
fn the_count_counts() {
    let bench = Bench::new(1);
    let grab = || {
        let (tx, rx) = channel();
        bench.engine.post(0, Box::new(move |_| tx.send(vec![1_u8; 100]).expect("the test listens")));
        assert_eq!(rx.recv_timeout(Duration::from_secs(60)).expect("an answer").len(), 100);
    };
    assert!(taken(&bench, grab) > 0);
    bench.engine.stop(Duration::from_secs(10));
}

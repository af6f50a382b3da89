//! Helpers that come, go, and are killed.

#![allow(unsafe_code)] // records of calls; signals to helpers

use super::*;
use crate::helpers::close::PortFile;
use crate::ring::bell::Bell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use steadfast_abi::op;

/// A test that waits for longer hangs.
const HANGS: Duration = Duration::from_secs(30);

struct Bench {
    foreman: Arc<Foreman>,
    desk: Arc<Desk>,
    desks: Desks,
}

impl Bench {
    fn new() -> Bench {
        let bell = Arc::new(Bell::new(Arc::default()).expect("eventfd"));
        let foreman = Foreman::start(std::slice::from_ref(&bell)).expect("its thread");
        let file = PortFile::new(tempfile::tempfile().expect("a file"));
        let desks = Desks::new(Arc::new(file), Arc::default(), true, (false, false), "port: file".into(), 1);
        let home = Arc::new(Home::new(bell));
        let desk = desks.of(0, &home, &foreman).expect("queue 0").clone();
        Bench { foreman, desk, desks }
    }

    /// Has so many calls of each kind carried out, all at once; what they came back with.
    fn have_done(&self, writers: usize, others: usize) -> Vec<i64> {
        for kind in [vec![Kind::Writer; writers], vec![Kind::Other; others]].concat() {
            let call = Call::new();
            // SAFETY: this test's own record until it is left.
            unsafe { (*call.task()).code = op::FDATASYNC };
            assert!(self.desk.push(kind, Box::into_raw(call)), "room");
        }
        let (mut back, begun) = (Vec::new(), Instant::now());
        while back.len() < writers + others {
            assert!(begun.elapsed() < HANGS, "{} of {} came back", back.len(), writers + others);
            self.desk.rouse();
            // SAFETY: back, and so this test's own.
            self.desk.home.take(|call| back.push(unsafe { Box::from_raw(call) }.result()));
            std::thread::sleep(Duration::from_micros(50));
        }
        back
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.foreman.stop();
    }
}

#[test]
fn helpers_that_went_for_want_of_work_leave_their_seats_to_others_at_once() {
    let bench = Bench::new();
    bench.desk.idle_ns.store(1_000_000, Ordering::Relaxed);
    for round in 0..100 {
        assert_eq!(bench.have_done(1, 16), [0; 17], "round {round}");
        // Some have gone by now, and some are about to.
        std::thread::sleep(Duration::from_millis(round % 4));
    }
    assert!(bench.desks.close(), "all of them have gone with their file");
    assert_eq!(bench.desk.holders(), []);
}

#[test]
fn a_helper_that_is_killed_takes_nothing_with_it() {
    let bench = Bench::new();
    for _ in 0..3 {
        assert_eq!(bench.have_done(1, 16), [0; 17]);
        std::thread::sleep(Duration::from_millis(5));
        let asleep = bench.desk.holders();
        assert!(asleep.len() > 1, "{asleep:?}");
        for pid in asleep {
            // SAFETY: a helper that this test made, which nobody has waited for.
            assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
        }
    }
    // What one had when it was killed may have failed; whatever is left later is done.
    bench.have_done(1, 16);
    assert_eq!(bench.have_done(1, 16), [0; 17]);
    assert!(bench.desks.close());
}

#[test]
fn what_is_called_off_behind_a_hang_is_gone_and_stands_in_nobodys_way() {
    let (hung, well) = (Bench::new(), Bench::new());
    let mut backlog = Backlog::default();
    // Nobody comes to the desk, as where all its helpers hang; it has room for some.
    let mut at_the_desk = 0;
    for period in 0..5 {
        let calls: Vec<*mut Call> = (0..1024).map(|_| Box::into_raw(Call::new())).collect();
        calls.iter().for_each(|call| backlog.leave(&hung.desk, Kind::Other, *call));
        assert!(!backlog.is_empty());
        // Neither another file nor another kind waits behind them.
        for (desk, kind) in
            [(&well.desk, Kind::Other), (&well.desk, Kind::Writer), (&hung.desk, Kind::Writer)]
        {
            let waiting = backlog.len();
            let call = Box::into_raw(Call::new());
            backlog.leave(desk, kind, call);
            assert_eq!(backlog.len(), waiting, "period {period}");
            let crew = &desk.crews[kind as usize];
            assert_eq!(crew.take(), Some(call));
            // SAFETY: this test's own, taken back.
            drop(unsafe { Box::from_raw(call) });
        }
        for call in calls {
            if backlog.take_out(&hung.desk, Kind::Other, call) {
                // SAFETY: as above.
                drop(unsafe { Box::from_raw(call) });
            } else {
                at_the_desk += 1;
            }
        }
        assert!(backlog.is_empty() && at_the_desk <= 128, "{at_the_desk} after period {period}");
    }
    let crew = &hung.desk.crews[Kind::Other as usize];
    // SAFETY: as above.
    std::iter::from_fn(|| crew.take()).for_each(|call| drop(unsafe { Box::from_raw(call) }));
}

#[test]
fn calls_that_stood_in_line_are_done_in_the_order_in_which_they_came() {
    let bench = Bench::new();
    let mut backlog = Backlog::default();
    let calls: Vec<*mut Call> = (0..300).map(|_| Box::into_raw(Call::new())).collect();
    calls.iter().for_each(|call| backlog.leave(&bench.desk, Kind::Writer, *call));
    let crew = &bench.desk.crews[Kind::Writer as usize];
    let mut taken = Vec::new();
    while taken.len() < calls.len() {
        taken.extend(crew.take());
        if taken.len() % 50 == 0 {
            assert!(backlog.move_up().iter().all(|desk| Arc::ptr_eq(desk, &bench.desk)));
        }
    }
    assert_eq!(taken, calls);
    assert!(backlog.is_empty() && backlog.move_up().is_empty());
    // SAFETY: this test's own, taken back.
    calls.into_iter().for_each(|call| drop(unsafe { Box::from_raw(call) }));
}

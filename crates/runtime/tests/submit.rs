//! Frontends that submit where they may not: each submission is answered once, with an error, and whatever
//! the slot is used for goes on. And one that goes with requests under way.

mod support;

#[path = "support/count.rs"]
mod count;

use count::{attach, info, stop, until};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use steadfast_abi::block_op::{READ, WRITE};
use steadfast_runtime::{BlockRequest, Frontend, FrontendId, LaneId, Reactor, Tag};
use support::Bench;

/// What a frontend does when it begins, and with each answer.
type Begin = fn(&mut Reactor, LaneId, FrontendId);
type Answer = fn(&mut Reactor, LaneId, FrontendId, Tag, u64);

struct Wayward {
    lane: LaneId,
    begin: Begin,
    answer: Answer,
    tx: Sender<(u64, i32)>,
}

impl Frontend for Wayward {
    fn ring(&mut self, rt: &mut Reactor, me: FrontendId, _: u32, _: i32, _: u32) {
        (self.begin)(rt, self.lane, me);
    }

    fn completed(
        &mut self,
        rt: &mut Reactor,
        me: FrontendId,
        lane: LaneId,
        tag: Tag,
        cookie: u64,
        result: i32,
    ) {
        let _ = self.tx.send((cookie, result));
        (self.answer)(rt, lane, me, tag, cookie);
    }

    fn slots_available(&mut self, _: &mut Reactor, _: FrontendId) {}
    fn flush(&mut self, _: &mut Reactor, _: FrontendId) {}
    fn stop(&mut self, _: &mut Reactor, _: FrontendId) {}
}

fn start(bench: &Bench, begin: Begin, answer: Answer) -> Receiver<(u64, i32)> {
    let claim = bench.engine.open_device("vol0").expect("device");
    let (tx, rx) = channel();
    let (queue, port) = (claim.queue, claim.port);
    let start = move |rt: &mut Reactor| {
        let lane = rt.lane(port).expect("lane");
        let id = rt.add_frontend(Box::new(Wayward { lane, begin, answer, tx }));
        rt.timeout(id, 0, Duration::ZERO);
    };
    bench.engine.post(queue, Box::new(start));
    rx
}

fn answers(rx: &Receiver<(u64, i32)>, count: usize) -> Vec<(u64, i32)> {
    let mut all: Vec<(u64, i32)> =
        (0..count).map(|_| rx.recv_timeout(Duration::from_secs(60)).expect("an answer")).collect();
    all.sort_unstable();
    assert!(rx.recv_timeout(Duration::from_millis(50)).is_err(), "no more than these: {all:?}");
    all
}

fn request(op: u16, block: u64) -> BlockRequest {
    BlockRequest { op, flags: 0, device: 0, offset: block * 4096, length: 4096 }
}

fn read(block: u64) -> BlockRequest {
    request(READ, block)
}

const EIO: i32 = -libc::EIO;

/// Pieces in one slot, and a piece where none may be: in a slot that was never used.
#[test]
fn the_next_piece_goes_in_a_slot_that_has_had_one() {
    for throttle in ["0", "1"] {
        let bench = Bench::new(1);
        attach(&bench, 1, &[("delay", "1000"), ("io_throttle", throttle)]);
        let rx = start(
            &bench,
            |rt, lane, me| {
                let (one, two) = (rt.alloc(lane).expect("a slot"), rt.alloc(lane).expect("a slot"));
                rt.submit(lane, one, me, 0, request(WRITE, 0));
                rt.submit_next(lane, two, me, 100, read(1));
            },
            |rt, lane, me, tag, cookie| match cookie {
                0..9 => rt.submit_next(lane, tag, me, cookie + 1, read(cookie)),
                _ => rt.free(lane, tag),
            },
        );
        let expected: Vec<(u64, i32)> = (0..10).map(|n| (n, 0)).chain([(100, EIO)]).collect();
        assert_eq!(answers(&rx, 11), expected, "throttle {throttle}");
        let port = info(&bench);
        assert_eq!((port.shell_faults, port.in_flight, port.waiting), (1, 0, 0), "{port:?}");
        stop(&bench);
    }
}

#[test]
fn a_slot_that_was_answered_is_not_submitted_as_if_it_were_new() {
    for throttle in ["0", "1"] {
        let bench = Bench::new(1);
        attach(&bench, 1, &[("delay", "1000"), ("io_throttle", throttle)]);
        let rx = start(
            &bench,
            |rt, lane, me| {
                let tag = rt.alloc(lane).expect("a slot");
                rt.submit(lane, tag, me, 0, read(0));
            },
            |rt, lane, me, tag, cookie| match cookie {
                0 => rt.submit(lane, tag, me, 1, read(1)),
                _ => rt.free(lane, tag),
            },
        );
        assert_eq!(answers(&rx, 2), [(0, 0), (1, EIO)], "throttle {throttle}");
        assert_eq!(info(&bench).shell_faults, 1);
        stop(&bench);
    }
}

#[test]
fn a_request_that_is_under_way_is_not_disturbed_by_another_in_its_slot() {
    for throttle in ["0", "1"] {
        let bench = Bench::new(1);
        attach(&bench, 1, &[("delay", "20000000"), ("io_throttle", throttle)]);
        let rx = start(
            &bench,
            |rt, lane, me| {
                let (one, two) = (rt.alloc(lane).expect("a slot"), rt.alloc(lane).expect("a slot"));
                // With the driver, or in the line before it.
                rt.submit(lane, one, me, 0, read(0));
                rt.submit(lane, two, me, 1, read(1));
                for tag in [one, two] {
                    rt.submit(lane, tag, me, 10 + u64::from(tag.0), read(2));
                    rt.submit_next(lane, tag, me, 20 + u64::from(tag.0), read(2));
                }
            },
            |rt, lane, _, tag, cookie| {
                if cookie < 10 {
                    rt.free(lane, tag);
                }
            },
        );
        let mut cookies = answers(&rx, 6);
        let refused = cookies.split_off(2);
        assert_eq!(cookies, [(0, 0), (1, 0)]);
        assert!(refused.iter().all(|(_, result)| *result == EIO), "{refused:?}");
        let port = info(&bench);
        assert_eq!((port.shell_faults, port.in_flight, port.waiting), (4, 0, 0), "{port:?}");
        stop(&bench);
    }
}

/// The slots of its requests come back when they complete, and its number is nobody else's before.
#[test]
fn a_frontend_that_goes_with_requests_under_way_leaves_no_slot_behind() {
    let bench = Bench::new(1);
    attach(&bench, 1, &[("delay", "50000000")]);
    let rx = start(
        &bench,
        |rt, lane, me| {
            for n in 0..8 {
                let tag = rt.alloc(lane).expect("a slot");
                rt.submit(lane, tag, me, n, read(n));
            }
            rt.remove_frontend(me);
        },
        |_, _, _, _, _| {},
    );
    let other = start(
        &bench,
        |rt, lane, me| {
            let tag = rt.alloc(lane).expect("a slot");
            rt.submit(lane, tag, me, 77, read(0));
        },
        |rt, lane, _, tag, _| rt.free(lane, tag),
    );
    assert_eq!(answers(&other, 1), [(77, 0)], "and not those of the one before");
    until(&bench, |port| port.in_flight == 0);
    assert!(rx.recv_timeout(Duration::from_secs(60)).is_err(), "nobody is there to hear of them");
    let load = bench.load("vol0", 1, 64);
    load.pass(200);
    assert_eq!(load.stop(), Vec::<String>::new());
    bench.engine.detach("vol0", false).expect("no slot is in use");
    stop(&bench);
}

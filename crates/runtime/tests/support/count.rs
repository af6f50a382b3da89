//! The driver of `count.c`, and a client that shows whether requests come to it in order.

#![allow(dead_code, reason = "each test uses a part of it")]

use crate::support::Bench;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast_abi::block_op;
use steadfast_loader::StagedModule;
use steadfast_runtime::{
    BlockRequest, DeviceClaim, Frontend, FrontendId, LaneId, PortInfo, PortSpec, Reactor, Tag,
};

pub(crate) const SIZE: u64 = 4 << 20;
/// The block that the driver can keep to itself.
pub(crate) const LAST: u64 = SIZE - 4096;

pub(crate) fn build(bench: &Bench) -> StagedModule {
    bench.c_module("count", &[])
}

pub(crate) fn attach(bench: &Bench, queues: usize, params: &[(&str, &str)]) -> StagedModule {
    let staged = build(bench);
    let params = params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let module = Arc::new(staged.load().expect("loaded"));
    let spec = PortSpec { name: "vol0".into(), module, params, queues: Some(queues), adapter: None };
    bench.engine.attach(spec).expect("attached");
    staged
}

pub(crate) fn set(bench: &Bench, changes: &[(&str, &str)]) {
    let changes: BTreeMap<String, Option<String>> =
        changes.iter().map(|(k, v)| ((*k).to_owned(), Some((*v).to_owned()))).collect();
    bench.engine.set_param("vol0", &changes, "a test").expect("changed");
}

pub(crate) fn info(bench: &Bench) -> PortInfo {
    bench.engine.port("vol0").expect("port")
}

pub(crate) fn stop(bench: &Bench) {
    bench.engine.stop(Duration::from_secs(10));
}

/// Waits until the port is as wanted.
pub(crate) fn until(bench: &Bench, what: impl Fn(&PortInfo) -> bool) -> PortInfo {
    for _ in 0..20_000 {
        let port = info(bench);
        if what(&port) {
            return port;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("never: {:?}", info(bench));
}

/// Reads block after block, many at a time, and so shows whether they come to the driver in order.
pub(crate) struct Walk {
    stop: AtomicBool,
    over: AtomicBool,
    done: AtomicU64,
    wrong: Mutex<Vec<i32>>,
}

impl Walk {
    pub(crate) fn begin(bench: &Bench, depth: u32) -> Arc<Walk> {
        let walk = Arc::new(Walk {
            stop: AtomicBool::new(false),
            over: AtomicBool::new(false),
            done: AtomicU64::new(0),
            wrong: Mutex::default(),
        });
        let claim = bench.engine.open_device("vol0").expect("device");
        let (queue, shared) = (claim.queue, walk.clone());
        let start = move |rt: &mut Reactor| {
            let lane = rt.lane(claim.port).expect("lane");
            let me = Walker { lane, claim: Some(claim), shared, depth, at: 0, in_flight: 0 };
            let id = rt.add_frontend(Box::new(me));
            rt.timeout(id, 0, Duration::ZERO);
        };
        bench.engine.post(queue, Box::new(start));
        walk
    }

    pub(crate) fn pass(&self, n: u64) {
        let until = self.done.load(Ordering::Acquire) + n;
        for _ in 0..60_000 {
            if self.done.load(Ordering::Acquire) >= until {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("no progress: {:?}", self.wrong.lock().expect("list"));
    }

    pub(crate) fn end(&self) -> Vec<i32> {
        self.stop.store(true, Ordering::Release);
        for _ in 0..60_000 {
            if self.over.load(Ordering::Acquire) {
                return std::mem::take(&mut *self.wrong.lock().expect("list"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("requests never completed");
    }
}

struct Walker {
    lane: LaneId,
    claim: Option<DeviceClaim>,
    shared: Arc<Walk>,
    depth: u32,
    at: u64,
    in_flight: u32,
}

impl Frontend for Walker {
    fn ring(&mut self, rt: &mut Reactor, me: FrontendId, _: u32, _: i32, _: u32) {
        self.flush(rt, me);
    }

    fn completed(&mut self, rt: &mut Reactor, me: FrontendId, lane: LaneId, tag: Tag, _: u64, result: i32) {
        if result != 0 {
            self.shared.wrong.lock().expect("list").push(result);
        }
        rt.free(lane, tag);
        self.in_flight -= 1;
        self.shared.done.fetch_add(1, Ordering::AcqRel);
        rt.mark_dirty(me);
    }

    fn slots_available(&mut self, rt: &mut Reactor, me: FrontendId) {
        self.flush(rt, me);
    }

    fn flush(&mut self, rt: &mut Reactor, me: FrontendId) {
        while self.in_flight < self.depth && !self.shared.stop.load(Ordering::Acquire) {
            let Some(tag) = rt.alloc(self.lane) else { return rt.wait_for_slots(self.lane, me) };
            let req = BlockRequest { op: block_op::READ, flags: 0, device: 0, offset: self.at, length: 4096 };
            self.at = (self.at + 4096) % SIZE;
            self.in_flight += 1;
            rt.submit(self.lane, tag, me, 0, req);
        }
        if self.in_flight == 0 && self.claim.take().is_some() {
            rt.remove_frontend(me);
            self.shared.over.store(true, Ordering::Release);
        }
    }

    fn stop(&mut self, _: &mut Reactor, _: FrontendId) {
        self.shared.stop.store(true, Ordering::Release);
    }
}

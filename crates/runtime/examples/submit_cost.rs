//! What the shell itself costs per request: from a frontend's `alloc` and `submit`, through the
//! `null` driver, to `completed` and `free`.
//!
//! `submit_cost N [MODULE [OVER]]` passes N requests, 32 at a time, and prints nanoseconds per request;
//! with OVER, a driver that lies over another device, through that driver over the other. `submit_cost N MODULE
//! --file FILE` does so with a driver of files. Under callgrind, run it with N and 2N: the difference divided by N is
//! instructions per request, start-up and exit subtracted.

#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, TryRecvError, channel};
use std::time::{Duration, Instant};
use steadfast_abi::block_op;
use steadfast_loader::ModuleStore;
use steadfast_runtime::{
    BlockRequest, Engine, EngineConfig, Frontend, FrontendId, LaneId, PortSpec, Reactor, Tag,
};

const DEPTH: u64 = 32;

struct Pump {
    lane: LaneId,
    left: u64,
    in_flight: u64,
    begun: Instant,
    done: Sender<Duration>,
}

impl Pump {
    fn go(&mut self, rt: &mut Reactor, me: FrontendId) {
        let batch = DEPTH.min(self.left);
        for i in 0..batch {
            let Some(tag) = rt.alloc(self.lane) else { return };
            let req =
                BlockRequest { op: block_op::READ, flags: 0, device: 0, offset: i * 4096, length: 4096 };
            rt.submit(self.lane, tag, me, i, req);
        }
        self.left -= batch;
        self.in_flight += batch;
        if self.in_flight == 0 {
            let _ = self.done.send(self.begun.elapsed());
            rt.remove_frontend(me);
        }
    }
}

impl Frontend for Pump {
    fn ring(&mut self, rt: &mut Reactor, me: FrontendId, _: u32, _: i32, _: u32) {
        self.begun = Instant::now();
        self.go(rt, me);
    }

    fn completed(&mut self, rt: &mut Reactor, me: FrontendId, lane: LaneId, tag: Tag, _: u64, result: i32) {
        assert_eq!(result, 0, "the null driver failed a request");
        rt.free(lane, tag);
        self.in_flight -= 1;
        if self.in_flight == 0 {
            rt.mark_dirty(me);
        }
    }

    fn slots_available(&mut self, _: &mut Reactor, _: FrontendId) {}

    fn flush(&mut self, rt: &mut Reactor, me: FrontendId) {
        self.go(rt, me);
    }

    fn stop(&mut self, _: &mut Reactor, _: FrontendId) {}
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let count: u64 = args.next().ok_or("usage: submit_cost N [MODULE]")?.parse()?;
    let module = args.next().map_or_else(default_module, |m| Ok(PathBuf::from(m)))?;
    let folder = tempfile::tempdir()?;
    let store = ModuleStore::open(folder.path())?;
    // Valgrind runs one thread at a time: a queue that sleeps in the kernel would stop the others.
    let engine = Engine::start(EngineConfig { busy_poll: true, ..EngineConfig::default() })?;
    let module = Arc::new(store.stage(module)?.load()?);
    // Filling the buffer is the driver's work, not the shell's.
    let mut over = args.next();
    let params = match over.take_if(|over| over == "--file") {
        Some(_) => BTreeMap::from([("path".to_owned(), args.next().ok_or("--file FILE")?)]),
        None => BTreeMap::from([("zeroes".to_owned(), "false".to_owned())]),
    };
    engine.attach(PortSpec { name: "null".into(), module, params, queues: None, adapter: None })?;
    let mut name = "null";
    if let Some(over) = over {
        name = "over";
        let module = Arc::new(store.stage(over)?.load()?);
        let params = BTreeMap::from([("device".to_owned(), "null".to_owned())]);
        engine.attach(PortSpec { name: name.into(), module, params, queues: None, adapter: None })?;
    }
    let claim = engine.open_device(name).ok_or("no device")?;
    let (done, result) = channel();
    let port = claim.port;
    let start = move |rt: &mut Reactor| {
        let Some(lane) = rt.lane(port) else { return };
        let pump = Pump { lane, left: count, in_flight: 0, begun: Instant::now(), done };
        let id = rt.add_frontend(Box::new(pump));
        rt.timeout(id, 0, Duration::ZERO);
    };
    engine.post(claim.queue, Box::new(start));
    let time = loop {
        match result.try_recv() {
            Ok(time) => break time,
            // Seldom: on a slow machine this thread's instructions would count as requests'.
            Err(TryRecvError::Empty) => std::thread::sleep(Duration::from_millis(20)),
            Err(gone) => return Err(gone.into()),
        }
    };
    println!("{:.1} ns per request", time.as_nanos() as f64 / count as f64);
    drop(claim);
    engine.stop(Duration::from_secs(5));
    Ok(())
}

/// The `null` module of the same build.
fn default_module() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let exe = std::env::current_exe()?;
    let folder = exe.ancestors().nth(2).ok_or("no target folder")?;
    Ok(folder.join("libsteadfast_driver_null.so"))
}

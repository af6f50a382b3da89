//! A frontend inside the process: keeps a number of requests in flight and checks what comes back.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use steadfast_abi::block_op;
use steadfast_loader::{ModuleStore, StagedModule};
use steadfast_runtime::{
    BlockRequest, DeviceClaim, Engine, EngineConfig, Frontend, FrontendId, LaneId, PortSpec, Reactor, Tag,
};

/// Builds the driver modules once and says where they are.
fn modules() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let packages = ["null", "ram", "file-1-0", "file-1-1"].map(|d| format!("steadfast-driver-{d}"));
        let mut cargo = Command::new(env!("CARGO"));
        cargo.arg("build");
        for package in &packages {
            cargo.args(["-p", package]);
        }
        assert!(cargo.status().expect("cargo runs").success(), "the driver modules do not build");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "-p", "steadfast-driver", "--example", "over"]);
        assert!(cargo.status().expect("cargo runs").success(), "the driver over others does not build");
        let test = std::env::current_exe().expect("path of this test");
        test.ancestors().nth(2).expect("target folder").to_path_buf()
    })
}

/// Module file of a driver crate, for example `null` or `file_1_1`.
pub(crate) fn module(name: &str) -> PathBuf {
    match name {
        "over" => modules().join("examples/libover.so"),
        _ => modules().join(format!("libsteadfast_driver_{name}.so")),
    }
}

pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) store: ModuleStore,
    pub(crate) dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(queues: usize) -> Bench {
        Bench::with(EngineConfig { queues, ..EngineConfig::default() })
    }

    pub(crate) fn with(config: EngineConfig) -> Bench {
        let _ = tracing_subscriber::fmt().with_test_writer().try_init();
        let dir = tempfile::tempdir().expect("temporary folder");
        let store = ModuleStore::open(dir.path().join("store")).expect("store");
        let engine = Engine::start(config).expect("engine");
        Bench { engine, store, dir }
    }

    pub(crate) fn stage(&self, name: &str) -> StagedModule {
        self.store.stage(module(name)).expect("staged")
    }

    pub(crate) fn attach(&self, name: &str, driver: &str, params: &[(&str, &str)], queues: Option<usize>) {
        let module = Arc::new(self.stage(driver).load().expect("loaded"));
        let params: BTreeMap<String, String> =
            params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.engine
            .attach(PortSpec { name: name.into(), module, params, queues, adapter: None })
            .expect("attached");
    }

    /// Builds the driver in `trouble.c`, with the trouble that `defines` ask for.
    pub(crate) fn trouble(&self, defines: &[&str]) -> StagedModule {
        self.c_module("trouble", defines)
    }

    /// Builds the driver in `SOURCE.c`, with `defines`.
    pub(crate) fn c_module(&self, source: &str, defines: &[&str]) -> StagedModule {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let name: String = defines.join("-").chars().filter(|c| *c != '/' && *c != '"').collect();
        let output = self.dir.path().join(format!("{source}{name}.so"));
        let built = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()))
            .args(["-shared", "-fPIC", "-O2", "-D_GNU_SOURCE", "-fvisibility=hidden", "-Werror"])
            .args(defines.iter().map(|d| format!("-D{d}")))
            .arg("-I")
            .arg(here.join("../abi/include"))
            .arg(here.join(format!("tests/{source}.c")))
            .arg("-o")
            .arg(&output)
            .status();
        assert!(built.expect("the C compiler").success());
        self.store.stage(&output).expect("staged")
    }

    /// Where that driver, on port `name`, waits as long as there is a file.
    pub(crate) fn gate(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("gate-{name}"))
    }

    /// Attaches that driver.
    pub(crate) fn attach_trouble(&self, name: &str, module: &StagedModule, queues: usize) {
        let gate = self.gate(name).display().to_string();
        let params = BTreeMap::from([("gate".to_owned(), gate)]);
        let module = Arc::new(module.load().expect("loaded"));
        let spec = PortSpec { name: name.into(), module, params, queues: Some(queues), adapter: None };
        self.engine.attach(spec).expect("attached");
    }

    /// Starts a load of `depth` requests on each of `clients` connections to a device.
    pub(crate) fn load(&self, device: &str, clients: usize, depth: usize) -> Load {
        self.clients(device, clients, depth, false, None)
    }

    /// The same in some blocks of the device: the first, and how many.
    pub(crate) fn load_in(&self, device: &str, clients: usize, depth: usize, part: (u64, u64)) -> Load {
        self.clients(device, clients, depth, false, Some(part))
    }

    /// The same with clients that only read, and take whatever there is.
    pub(crate) fn readers(&self, device: &str, clients: usize, depth: usize) -> Load {
        self.clients(device, clients, depth, true, None)
    }

    fn clients(
        &self,
        device: &str,
        clients: usize,
        depth: usize,
        only_reads: bool,
        part: Option<(u64, u64)>,
    ) -> Load {
        let shared = Arc::new(Shared::default());
        shared.running.store(clients as u64, Ordering::Release);
        for client in 0..clients {
            let claim = self.engine.open_device(device).expect("device");
            let (shared, queue) = (shared.clone(), claim.queue);
            let start = move |rt: &mut Reactor| {
                let lane = rt.lane(claim.port).expect("lane");
                // Each client has a part of the device to itself.
                let (first, all) = part.unwrap_or((0, claim.info.size / 4096));
                let blocks = all / clients as u64;
                let me = Client {
                    lane,
                    claim: Some(claim),
                    shared,
                    depth,
                    only_reads,
                    in_flight: 0,
                    first: first + blocks * client as u64,
                    versions: vec![Block::default(); blocks as usize],
                    seed: 0x9e37_79b9_7f4a_7c15 + client as u64,
                };
                let id = rt.add_frontend(Box::new(me));
                rt.timeout(id, 0, std::time::Duration::ZERO);
            };
            self.engine.post(queue, Box::new(start));
        }
        Load { shared }
    }
}

#[derive(Default)]
pub(crate) struct Shared {
    stop: AtomicBool,
    running: AtomicU64,
    pub(crate) done: AtomicU64,
    pub(crate) wrong: Mutex<Vec<String>>,
}

pub(crate) struct Load {
    pub(crate) shared: Arc<Shared>,
}

impl Load {
    /// Waits until `n` more requests have completed.
    pub(crate) fn pass(&self, n: u64) {
        let until = self.shared.done.load(Ordering::Acquire) + n;
        for _ in 0..60_000 {
            if self.shared.done.load(Ordering::Acquire) >= until {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("no progress: {:?}", self.shared.wrong.lock().expect("list"));
    }

    /// Stops the load, waits for what is in flight, and says what was wrong.
    pub(crate) fn stop(self) -> Vec<String> {
        self.shared.stop.store(true, Ordering::Release);
        for _ in 0..60_000 {
            if self.shared.running.load(Ordering::Acquire) == 0 {
                return std::mem::take(&mut self.shared.wrong.lock().expect("list"));
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("requests never completed");
    }
}

#[derive(Clone, Copy, Default)]
struct Block {
    version: u64,
    busy: bool,
}

struct Client {
    lane: LaneId,
    claim: Option<DeviceClaim>,
    shared: Arc<Shared>,
    depth: usize,
    only_reads: bool,
    in_flight: usize,
    first: u64,
    versions: Vec<Block>,
    seed: u64,
}

impl Client {
    fn random(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        // The low bits of one number say what those of the next are; those of the product do not.
        self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn go(&mut self, rt: &mut Reactor, me: FrontendId) {
        while self.in_flight < self.depth && !self.shared.stop.load(Ordering::Acquire) {
            let Some(tag) = rt.alloc(self.lane) else { return rt.wait_for_slots(self.lane, me) };
            let block = loop {
                let block = self.random() % self.versions.len() as u64;
                if !self.versions[block as usize].busy {
                    break block;
                }
            };
            let state = &mut self.versions[block as usize];
            state.busy = true;
            let write = !self.only_reads && (state.version == 0 || self.random().is_multiple_of(2));
            if write {
                let state = &mut self.versions[block as usize];
                state.version += 1;
                let word = state.version << 32 | block;
                let data = rt.data(self.lane, tag).cast::<u64>();
                // SAFETY: 4096 bytes of a slot that is ours.
                (0..512).for_each(|i| unsafe { data.add(i).write(word) });
            }
            let op = if write { block_op::WRITE } else { block_op::READ };
            let offset = (self.first + block) * 4096;
            let req = BlockRequest { op, flags: 0, device: 0, offset, length: 4096 };
            self.in_flight += 1;
            rt.submit(self.lane, tag, me, block << 1 | u64::from(write), req);
        }
        if self.in_flight == 0 {
            self.claim = None;
            self.shared.running.fetch_sub(1, Ordering::AcqRel);
            rt.remove_frontend(me);
        }
    }
}

impl Frontend for Client {
    fn ring(&mut self, rt: &mut Reactor, me: FrontendId, _: u32, _: i32, _: u32) {
        self.go(rt, me);
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
        let (block, write) = (cookie >> 1, cookie & 1 == 1);
        let state = &mut self.versions[block as usize];
        state.busy = false;
        let expected = state.version << 32 | block;
        let data = rt.data(lane, tag).cast::<u64>();
        // SAFETY: 4096 bytes of a slot that is ours.
        let same = write || self.only_reads || (0..512).all(|i| unsafe { data.add(i).read() } == expected);
        if result != 0 || !same {
            let what = format!("block {block} write {write}: result {result}, data as expected: {same}");
            self.shared.wrong.lock().expect("list").push(what);
        }
        rt.free(lane, tag);
        self.in_flight -= 1;
        self.shared.done.fetch_add(1, Ordering::AcqRel);
        rt.mark_dirty(me);
    }

    fn slots_available(&mut self, rt: &mut Reactor, me: FrontendId) {
        self.go(rt, me);
    }

    fn flush(&mut self, rt: &mut Reactor, me: FrontendId) {
        self.go(rt, me);
    }

    fn stop(&mut self, _: &mut Reactor, _: FrontendId) {
        self.shared.stop.store(true, Ordering::Release);
    }

    fn lane_gone(&mut self, rt: &mut Reactor, me: FrontendId, lane: LaneId) {
        if lane == self.lane {
            self.stop(rt, me);
        }
    }
}

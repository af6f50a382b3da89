//! The control plane's handle on everything: queues, ports, devices.

#![allow(unsafe_code)] // eventfd and resource limits

use crate::adapters::{AdapterRef, Adapters};
use crate::arena::Arenas;
use crate::error::{EngineError, ErrorKind};
use crate::handle::{FileSlots, lock};
use crate::info::{DeviceClaim, DeviceInfo, HandleSummary, PortInfo, PortState};
use crate::lane::Lane;
use crate::limits::Limits;
use crate::port::{Port, PortInner, RegionMemory, SlotMemory};
use crate::reactor::Reactor;
use crate::rules::PortRules;
use crate::turn::Turns;
use crate::{LaneId, PortId};
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use steadfast_abi::block_op;
use steadfast_loader::LoadedModule;
use steadfast_shell::gate::Entry;
use steadfast_shell::histogram::Histogram;
use steadfast_shell::mailbox::Mailbox;
use steadfast_shell::params::{ShellDefaults, ShellParams};
use steadfast_shell::properties::Properties;

/// Work for a queue's thread.
pub type Task = Box<dyn FnOnce(&mut Reactor) + Send>;

/// Longest time that the control plane waits for a queue to answer a question.
pub(crate) const ANSWER: Duration = Duration::from_millis(500);
/// Why whatever has time ends when the daemon does.
const STOPS: &str = "the daemon stops";
/// Most files in the rings' tables.
const FILES: u64 = 16 * 1024;

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Queues: threads, each with a ring. At least 1.
    pub queues: usize,
    /// Request slots of a port, over all its queues. 128 to 10240.
    pub slots_per_port: u32,
    /// Largest request that is passed to a driver, bytes. 131072 to 1388544.
    pub max_transfer: u32,
    /// Most memory that a driver may have per port, and per queue of it, bytes, when it comes to a port
    /// that is in use and has no reserve of its own.
    pub arena_reserve: u64,
    /// Number of the last receipt that was written before; the first one here is the next.
    pub last_receipt: u64,
    /// Queues look for work without ever sleeping: a processor each, for the shortest latency.
    pub busy_poll: bool,
}

impl Default for EngineConfig {
    fn default() -> EngineConfig {
        EngineConfig {
            queues: 1,
            slots_per_port: 1024,
            max_transfer: 339_968,
            arena_reserve: 64 << 20,
            last_receipt: 0,
            busy_poll: false,
        }
    }
}

impl EngineConfig {
    /// What the shell's own parameters are where nobody says it.
    pub fn shell_defaults(&self) -> ShellDefaults {
        ShellDefaults { io_slots: self.slots_per_port, max_transfer: self.max_transfer }
    }

    fn check(&self) -> Result<(), EngineError> {
        let range = |name: &str, value: u64, min: u64, max: u64| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            let what = format!("{name}: {value} is out of range (allowed {min} to {max})");
            Err(EngineError::new(ErrorKind::Invalid, what))
        };
        range("queues", self.queues as u64, 1, 256)?;
        range("slots", u64::from(self.slots_per_port), 128, 10_240)?;
        range("max_transfer", u64::from(self.max_transfer), 131_072, 1_388_544)
    }
}

/// What to attach.
#[derive(Clone, Debug)]
pub struct PortSpec {
    /// Name of the port and of its device 0.
    pub name: String,
    /// The driver.
    pub module: Arc<LoadedModule>,
    /// Parameters as given; checked against the driver's manifest.
    pub params: BTreeMap<String, String>,
    /// Queues to spread it over; `None`: up to 4 of the engine's.
    pub queues: Option<usize>,
    /// The adapter that it is a port of; `None`: one of its own, of the port's name.
    pub adapter: Option<AdapterRef>,
}

/// The way to a queue's thread.
#[derive(Debug)]
pub(crate) struct Remote {
    tasks: Mailbox<TaskBox>,
    eventfd: OwnedFd,
}

struct TaskBox(Task);

impl std::fmt::Debug for TaskBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Task")
    }
}

impl Remote {
    pub(crate) fn new() -> Result<Remote, EngineError> {
        // SAFETY: plain call; the result is checked before it is owned.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            let what = format!("eventfd: {}", std::io::Error::last_os_error());
            return Err(EngineError::new(ErrorKind::Unsupported, what));
        }
        // SAFETY: just created, nobody else has it.
        let eventfd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Remote { tasks: Mailbox::default(), eventfd })
    }

    pub(crate) fn eventfd(&self) -> &OwnedFd {
        &self.eventfd
    }

    /// Lets the queue's thread do something.
    pub(crate) fn post(&self, task: Task) {
        if self.tasks.post(TaskBox(task)) {
            self.ring();
        }
    }

    /// Makes the queue's thread take a turn.
    pub(crate) fn wake(&self) {
        if self.tasks.wake() {
            self.ring();
        }
    }

    fn ring(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: eight bytes from a local array to a descriptor that we own.
        unsafe { libc::write(self.eventfd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// The tasks that are there; called by the queue's thread after a wake.
    pub(crate) fn take(&self) -> impl Iterator<Item = Task> + use<> {
        self.tasks.take().into_iter().map(|t| t.0)
    }

    /// Lets the queue's thread do something and waits for the answer, for a while.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        patience: Duration,
        f: impl FnOnce(&mut Reactor) -> T + Send + 'static,
    ) -> Option<T> {
        let (tx, rx) = mpsc::sync_channel(1);
        self.post(Box::new(move |rt| {
            let _ = tx.try_send(f(rt));
        }));
        rx.recv_timeout(patience).ok()
    }

    /// The same with much patience: for what must have happened before things can go on.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Reactor) -> T + Send + 'static,
    ) -> Option<T> {
        let answer = self.ask(Duration::from_secs(30), f);
        if answer.is_none() {
            tracing::error!("a queue's thread does not answer");
        }
        answer
    }
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: EngineConfig,
    pub(crate) remotes: Vec<Arc<Remote>>,
    pub(crate) ports: RwLock<BTreeMap<String, Arc<Port>>>,
    pub(crate) receipts: AtomicU64,
    files: Arc<FileSlots>,
    /// Held while a device is opened over another, so that no two make a circle.
    pub(crate) stacking: Mutex<()>,
    pub(crate) adapters: Adapters,
    /// The generation that a port had when it was taken away, by name: its successor goes on from there.
    pub(crate) generations: Mutex<BTreeMap<String, u64>>,
    next_port: AtomicU32,
    next_queue: AtomicUsize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The engine. Clones share it.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

impl Engine {
    /// Starts the queues' threads.
    ///
    /// # Errors
    /// `Unsupported` where io_uring is missing, forbidden or too old (the message says what to do);
    /// `Invalid` for a configuration out of range.
    pub fn start(config: EngineConfig) -> Result<Engine, EngineError> {
        config.check()?;
        let files = raise_file_limit().min(FILES) as u32;
        let remotes =
            (0..config.queues).map(|_| Remote::new().map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
        let engine = Engine {
            inner: Arc::new(Inner {
                receipts: AtomicU64::new(config.last_receipt),
                config,
                remotes,
                ports: RwLock::default(),
                files: Arc::new(FileSlots::new(files)),
                stacking: Mutex::new(()),
                adapters: Adapters::default(),
                generations: Mutex::default(),
                next_port: AtomicU32::new(0),
                next_queue: AtomicUsize::new(0),
                threads: Mutex::default(),
            }),
        };
        let blocking = start_helper()?;
        for (index, remote) in engine.inner.remotes.iter().enumerate() {
            engine.start_queue(index, remote.clone(), blocking.clone(), files)?;
        }
        Ok(engine)
    }

    fn start_queue(
        &self,
        index: usize,
        remote: Arc<Remote>,
        blocking: mpsc::Sender<crate::core::BlockingJob>,
        files: u32,
    ) -> Result<(), EngineError> {
        let (tx, rx) = mpsc::sync_channel(1);
        let engine = self.clone();
        let body = move || match Reactor::new(index, engine, remote, blocking, files) {
            Ok(reactor) => {
                let _ = tx.send(Ok(()));
                reactor.run();
            }
            Err(e) => {
                let _ = tx.send(Err(e));
            }
        };
        let thread = std::thread::Builder::new().name(format!("queue-{index}")).spawn(body);
        let thread = thread.map_err(|e| EngineError::new(ErrorKind::Unsupported, format!("thread: {e}")))?;
        lock(&self.inner.threads).push(thread);
        let died = || EngineError::new(ErrorKind::Unsupported, "a queue's thread ended at its start");
        rx.recv().map_err(|_| died())?
    }

    /// Number of queues.
    pub fn queues(&self) -> usize {
        self.inner.remotes.len()
    }

    /// Runs `task` on the thread of queue `queue`, soon. A number that does not exist is dropped.
    pub fn post(&self, queue: usize, task: Task) {
        if let Some(remote) = self.inner.remotes.get(queue) {
            remote.post(task);
        }
    }

    /// Makes a port with its memory, and lanes on its queues; no driver yet.
    /// `params`: what the shell is to observe until the driver serves; `within`: the queues that it can be
    /// on.
    pub(crate) fn make_port(
        &self,
        spec: &PortSpec,
        rules: &PortRules,
        params: &ShellParams,
        within: &[usize],
    ) -> Result<Arc<Port>, EngineError> {
        Port::check_name(&spec.name)?;
        spec.adapter.as_ref().map_or(Ok(()), |adapter| Port::check_name(&adapter.name))?;
        let all = within.len();
        let count = spec.queues.unwrap_or_else(|| all.min(4));
        if count == 0 || count > all {
            let what = format!("port {}: queues: {count} is out of range (allowed 1 to {all})", spec.name);
            return Err(EngineError::new(ErrorKind::Invalid, what));
        }
        let first = self.inner.next_queue.fetch_add(count, Ordering::Relaxed);
        let queues: Vec<usize> = (0..count).map(|i| within[(first + i) % all]).collect();
        let config = &self.inner.config;
        let memory = |_| SlotMemory::new(&spec.name, count, params);
        let memory = (0..count).map(memory).collect::<Result<Vec<_>, _>>().map_err(|e| {
            let what = format!("port {}: memory for {} slots: {e}", spec.name, params.io_slots);
            EngineError::new(ErrorKind::Unsupported, what)
        })?;
        let arenas = Arenas::new(rules.reserve, config.arena_reserve, count).map_err(|e| {
            let reserve = rules.reserve.unwrap_or_default();
            let what = format!("port {}: reserve of {reserve} bytes, {} times: {e}", spec.name, count + 1);
            EngineError::new(ErrorKind::Unsupported, what)
        })?;
        arenas.start_with(spec.module.manifest());
        let alone = || AdapterRef { name: spec.name.clone(), number: 0 };
        let seat = self.inner.adapters.take(&spec.name, spec.adapter.clone().unwrap_or_else(alone))?;
        let generation = lock(&self.inner.generations).get(&spec.name).copied().unwrap_or(0);
        Ok(Arc::new(Port {
            arenas,
            seat,
            id: self.next_port_id(),
            name: spec.name.clone(),
            remotes: queues.iter().map(|q| self.inner.remotes[*q].clone()).collect(),
            queues,
            memory,
            files: self.inner.files.clone(),
            engine: Arc::downgrade(&self.inner),
            generation: AtomicU64::new(generation),
            epoch_unix_ms: AtomicU64::new(0),
            next_queue: AtomicU64::new(0),
            inner: Mutex::new(PortInner {
                properties: Properties::loaded(rules.definitions(&spec.params)),
                rules: rules.clone(),
                ..PortInner::default()
            }),
            turns: Turns::default(),
            shell: config.shell_defaults(),
            limits: Limits::new(count, params),
            shadow: None,
        }))
    }

    /// A number that no port had.
    pub(crate) fn next_port_id(&self) -> PortId {
        PortId(self.inner.next_port.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Port>> {
        let ports = self.inner.ports.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        ports.get(name).cloned()
    }

    pub(crate) fn all_ports(&self) -> Vec<Arc<Port>> {
        let ports = self.inner.ports.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        ports.values().cloned().collect()
    }

    /// All devices, by the name of their port.
    pub fn devices(&self) -> Vec<DeviceInfo> {
        let of_port = |p: Arc<Port>| {
            let inner = lock(&p.inner);
            let devices = if inner.down.is_some() { Vec::new() } else { inner.devices.clone() };
            drop(inner);
            devices.iter().map(|d| p.device_info(d)).collect::<Vec<_>>()
        };
        self.all_ports().into_iter().flat_map(of_port).collect()
    }

    /// A device, by its name.
    pub fn device(&self, name: &str) -> Option<DeviceInfo> {
        let (port, number) = self.resolve(name)?;
        let inner = lock(&port.inner);
        // What a port that is down had is kept for its clients, and shown to nobody.
        let mut known = inner.devices.iter().filter(|_| inner.down.is_none());
        let device = known.find(|d| d.number == number)?.clone();
        drop(inner);
        Some(port.device_info(&device)).filter(|info| info.name == name)
    }

    /// Claims a device for a client, and chooses the queue to serve that client.
    pub fn open_device(&self, name: &str) -> Option<DeviceClaim> {
        let (port, number) = self.resolve(name)?;
        let mut inner = lock(&port.inner);
        if inner.down.is_some() || inner.going_down {
            return None;
        }
        let mut device = inner.devices.iter().find(|d| d.number == number)?.clone();
        // While a driver takes over, a client is offered only what both can keep.
        if let Some(next) = inner.announced.iter().find(|d| d.number == number) {
            device.keep_common(next);
        }
        inner.offers.entry(number).or_default().add(device.features);
        drop(inner);
        let turn = port.next_queue.fetch_add(1, Ordering::Relaxed) as usize;
        let queue = port.queues[turn % port.queues.len()];
        Some(DeviceClaim { info: port.device_info(&device), port: port.id, queue, owner: port })
    }

    pub(crate) fn resolve(&self, name: &str) -> Option<(Arc<Port>, u32)> {
        if let Some(port) = self.find(name) {
            return Some((port, 0));
        }
        let (port, number) = name.rsplit_once('.')?;
        Some((self.find(port)?, number.parse().ok()?))
    }

    /// A port.
    pub fn port(&self, name: &str) -> Option<PortInfo> {
        self.find(name).map(|p| port_info(&p))
    }

    /// What is under way on a port, an update for example; `None` when nothing is, or there is no such
    /// port.
    pub fn under_way(&self, name: &str) -> Option<String> {
        self.find(name).and_then(|p| p.turns.doing())
    }

    /// Names of all ports, in their order. Unlike [`ports`](Engine::ports) it asks no queue.
    pub fn port_names(&self) -> Vec<String> {
        let ports = self.inner.ports.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        ports.keys().cloned().collect()
    }

    /// All ports, by name.
    pub fn ports(&self) -> Vec<PortInfo> {
        self.all_ports().iter().map(|p| port_info(p)).collect()
    }

    /// Detaches every port, those that lie over others first.
    fn take_all_away(&self, until: Instant) {
        let left = || until.saturating_duration_since(Instant::now()).max(Duration::from_millis(500));
        let mut ports = self.ports_from_above();
        ports.retain(|port| {
            self.end_trial(port, STOPS, left());
            self.take_away_in_turn(port, until, left()).is_err()
        });
        // What waited for a port below can go once that has gone.
        for port in ports {
            if let Err(e) = self.take_away_in_turn(&port, until, left()) {
                tracing::error!(port = port.name, "stop: {e}");
            }
        }
    }

    /// The lowest number that a new port of an adapter can have.
    pub fn free_port_number(&self, adapter: &str) -> u32 {
        self.inner.adapters.free_number(adapter)
    }

    /// Stops everything: frontends finish what is in flight, then ports are detached, then the
    /// queues' threads end. What takes longer than `grace` is left behind.
    pub fn stop(&self, grace: Duration) {
        let until = Instant::now() + grace;
        self.end_trials(STOPS);
        for remote in &self.inner.remotes {
            remote.post(Box::new(Reactor::stop_frontends));
        }
        while Instant::now() < until {
            let left = |r: &Arc<Remote>| r.ask(ANSWER, |rt| rt.frontends()).unwrap_or(1);
            if self.inner.remotes.iter().map(left).sum::<usize>() == 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.take_all_away(until);
        for remote in &self.inner.remotes {
            remote.post(Box::new(Reactor::shut_down));
        }
        let threads = std::mem::take(&mut *lock(&self.inner.threads));
        for thread in threads {
            let late = until + Duration::from_secs(1);
            while !thread.is_finished() && Instant::now() < late {
                std::thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() {
                let _ = thread.join();
            } else {
                tracing::error!("a queue did not stop in {} s", grace.as_secs());
            }
        }
    }
}

impl Engine {
    /// An update that is under way ends first, if it does so in time.
    fn take_away_in_turn(
        &self,
        port: &Arc<Port>,
        until: Instant,
        patience: Duration,
    ) -> Result<(), EngineError> {
        loop {
            match self.take_away(port, patience, false) {
                Err(e) if e.kind() == ErrorKind::Busy && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                result => return result,
            }
        }
    }
}

/// Numbers that a lane's own thread reads for the control plane.
#[derive(Debug, Default)]
struct LaneNumbers {
    in_flight: u32,
    held: u32,
    waiting: u32,
    lost: u32,
    open: bool,
    counters: crate::metrics::Counters,
    entered: [u64; Entry::ALL.len()],
    inside: [u32; Entry::ALL.len()],
    oldest_ns: u64,
}

fn read_lane(lane: &Lane) -> LaneNumbers {
    LaneNumbers {
        in_flight: lane.slots.issued(),
        held: lane.held(),
        waiting: lane.waiting_in_line(),
        lost: lane.slots.lost(),
        open: lane.gate.is_open(),
        counters: lane.counters.clone(),
        entered: Entry::ALL.map(|e| lane.gate.entered(e)),
        inside: Entry::ALL.map(|e| lane.gate.inside(e)),
        oldest_ns: lane.oldest_ns(),
    }
}

fn port_info(port: &Port) -> PortInfo {
    let id = LaneId(port.id.0);
    let ask = |r: &Arc<Remote>| r.ask(ANSWER, move |rt| rt.inspect_lane(id, read_lane)).flatten();
    let lanes: Vec<Option<LaneNumbers>> = port.remotes.iter().map(ask).collect();
    let known = || lanes.iter().flatten();
    let down = port.waiting_module();
    let parameters_down = down.as_ref().map(|module| port.parameters_down(module));
    let inner = lock(&port.inner);
    let state = if lanes.iter().any(Option::is_none) {
        PortState::Unresponsive
    } else if inner.down.is_some() {
        PortState::Down
    } else if inner.serving.is_none() {
        PortState::Stranded
    } else if known().all(|l| l.open) {
        PortState::Running
    } else {
        PortState::Held
    };
    let mut latency = Histogram::default();
    known().for_each(|l| latency.add(l.counters.latency()));
    let by_entry = |e: Entry| (e.name().to_owned(), known().map(|l| l.entered[e as usize]).sum());
    let inside = |e: Entry| (e.name().to_owned(), known().map(|l| l.inside[e as usize]).sum());
    let handle = |(i, h): (usize, &Option<crate::handle::Handle>)| {
        let h = h.as_ref()?;
        Some(HandleSummary { number: i as u32, key: h.key.clone(), target: h.spec.target.clone() })
    };
    PortInfo {
        name: port.name.clone(),
        adapter: port.seat.adapter.name.clone(),
        number: port.seat.adapter.number,
        driver: inner.serving.as_ref().map(|i| i.module.release()),
        module: inner.serving.as_ref().map(|i| &i.module).or(inner.down.as_ref()).map(|m| m.release()),
        state,
        generation: port.generation(),
        epoch_unix_ms: port.epoch_unix_ms.load(Ordering::Acquire),
        swaps: inner.swaps,
        queues: port.queues.clone(),
        slots: port.limits.slots() * port.queues.len() as u32,
        in_flight: known().map(|l| l.in_flight).sum(),
        held: known().map(|l| l.held).sum(),
        waiting: known().map(|l| l.waiting).sum(),
        lost: known().map(|l| l.lost).sum(),
        requests: known().map(|l| l.counters.total().requests).sum(),
        errors: known().map(|l| l.counters.total().errors).sum(),
        bytes_read: known().map(|l| l.counters.bytes(block_op::READ)).sum(),
        bytes_written: known().map(|l| l.counters.bytes(block_op::WRITE)).sum(),
        latency: latency.quantiles(),
        oldest_ns: known().map(|l| l.oldest_ns).max().unwrap_or(0),
        held_total: known().map(|l| l.counters.held).sum(),
        entered: Entry::ALL.into_iter().map(by_entry).collect(),
        inside: Entry::ALL.into_iter().map(inside).collect(),
        clients: inner.clients(),
        driver_faults: inner.driver_faults
            + inner.serving.as_ref().map_or(0, |i| i.faults.load(Ordering::Relaxed)),
        params: inner.properties.given(),
        properties: inner.properties.in_force(),
        load_time: inner.properties.load_time().clone(),
        parameters: match &inner.serving {
            Some(serving) => serving.parameters(&inner.properties.given()),
            None => parameters_down.unwrap_or_default(),
        },
        handles: inner.handles.iter().enumerate().filter_map(handle).collect(),
        over: inner.handles.iter().flatten().filter_map(|h| Some(h.device.as_ref()?.name())).collect(),
        regions: inner.regions.iter().flatten().map(RegionMemory::summary).collect(),
        devices: inner.devices.iter().filter(|_| inner.down.is_none()).map(|d| port.device_info(d)).collect(),
        memory: inner.serving.as_ref().map(|i| i.granted).unwrap_or_default(),
        reduced: inner.serving.as_ref().map(|i| lock(&i.reduced).clone()).unwrap_or_default(),
        last_receipt: inner.last_receipt.clone(),
        shadow: inner.trial.as_ref().map(|trial| trial.info()),
    }
}

/// A thread for what the ring cannot do. Ends when the last queue has.
fn start_helper() -> Result<mpsc::Sender<crate::core::BlockingJob>, EngineError> {
    let (tx, rx) = mpsc::channel::<crate::core::BlockingJob>();
    let body = move || rx.into_iter().for_each(|job| job());
    let thread = std::thread::Builder::new().name("helper".into()).spawn(body);
    thread.map_err(|e| EngineError::new(ErrorKind::Unsupported, format!("thread: {e}")))?;
    Ok(tx)
}

/// Raises the limit of open files as far as it may be raised; returns it.
fn raise_file_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a place for the answer, and then the same place as the question.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return 1024;
        }
        if limit.rlim_cur < limit.rlim_max {
            let wanted = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &wanted) == 0 {
                limit = wanted;
            }
        }
    }
    limit.rlim_cur
}

//! The control plane's handle on everything: queues, ports, devices.

#![allow(unsafe_code)] // resource limits

pub(crate) mod growth;
pub(crate) mod metrics;
pub(crate) mod modules;
pub(crate) mod port_info;
pub(crate) mod stop;
pub(crate) mod stuck;

use crate::driver::background_calls::Calls;
use crate::engine::port_info::port_info;
use crate::error::{EngineError, ErrorKind};
use crate::handle::FileSlots;
use crate::handle::lost_writes::{LossBook, Lost};
use crate::handle::medium::Media;
use crate::helpers::Foreman;
use crate::ids::PortId;
use crate::info::{DeviceInfo, PortInfo};
use crate::port::adapters::{AdapterRef, Adapters};
use crate::port::busy::Turns;
use crate::port::claim::DeviceClaim;
use crate::port::rules::PortRules;
use crate::port::{Port, PortInner};
use crate::queue::Reactor;
use crate::queue::remote::{Remote, Task};
use crate::resources::arena::Arenas;
use crate::resources::limits::{Limits, slots_per_queue};
use crate::resources::slot_memory::SlotMemory;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, OnceLock, RwLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use steadfast_loader::LoadedModule;
use steadfast_shell::earned::{CallTimes, Earned};
use steadfast_shell::params::{ShellDefaults, ShellParams};
use steadfast_shell::properties::Properties;
use steadfast_shell::sync::lock;

/// Longest time that the control plane waits for a queue to answer a question.
pub(crate) const ANSWER: Duration = Duration::from_millis(500);
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
    /// Lost writes that an earlier daemon has noted and nobody has accepted.
    pub lost: Vec<Lost>,
    /// What notes lost writes for a later daemon.
    pub loss_book: Option<Arc<dyn LossBook>>,
    /// What earlier daemons have found out about drivers' calls, the oldest first.
    pub calls: Vec<CallTimes>,
    /// How long a slot that nobody uses keeps the memory of its buffer at least; after twice as long it has none.
    pub keep_idle: Duration,
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
            lost: Vec::new(),
            loss_book: None,
            calls: Vec::new(),
            keep_idle: Duration::from_secs(5),
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

    /// Whether this process may have the memory of a port: a limit that leaves no room for any is better met
    /// at the start than by each.
    ///
    /// # Errors
    /// `Unsupported`: it may not; the message says what to do.
    pub fn check_memory(&self) -> Result<(), EngineError> {
        let count = slots_per_queue(self.slots_per_port, self.queues.min(4));
        let made = SlotMemory::exactly("start", count, self.max_transfer).map(drop);
        made.map_err(|e| {
            let what = format!("memory for {count} slots of {} bytes: {e}", self.max_transfer);
            EngineError::new(ErrorKind::Unsupported, what)
        })
    }
}

/// What a port shows to others; what one that is down had is kept for its clients.
fn devices_of(port: &Port) -> Vec<DeviceInfo> {
    let devices = {
        let inner = lock(&port.inner);
        if inner.down.is_some() { Vec::new() } else { inner.devices.clone() }
    };
    devices.iter().map(|device| port.device_info(device)).collect()
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

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: EngineConfig,
    pub(crate) remotes: Vec<Arc<Remote>>,
    /// It is being stopped: nobody is waited for who may take long.
    pub(crate) ending: AtomicBool,
    pub(crate) ports: RwLock<BTreeMap<String, Arc<Port>>>,
    pub(crate) receipts: AtomicU64,
    files: Arc<FileSlots>,
    pub(crate) media: Media,
    /// Held while a device is opened over another, so that no two make a circle.
    pub(crate) stacking: Mutex<()>,
    pub(crate) adapters: Adapters,
    /// Which drivers may be called on a queue's own thread.
    pub(crate) earned: Mutex<Earned>,
    /// The generation that a port had when it was taken away, by name: its successor goes on from there.
    pub(crate) generations: Mutex<BTreeMap<String, u64>>,
    next_port: AtomicU32,
    next_queue: AtomicUsize,
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
    pub(crate) foreman: Mutex<Option<Arc<Foreman>>>,
    /// Whoever looks at the files behind ports does so at once.
    look_now: SyncSender<()>,
    pub(crate) client_names: OnceLock<ClientNames>,
}

impl Inner {
    /// Has the files behind all ports looked at soon; waits for nothing.
    pub(crate) fn look_soon(&self) {
        // Full: it will be done as it is.
        let _ = self.look_now.try_send(());
    }
}

type Names = dyn Fn(&str) -> Vec<String> + Send + Sync;

/// The clients of the port of that name, as people know them.
pub struct ClientNames(Box<Names>);

impl ClientNames {
    /// Who says it; it is called without a lock, and does not wait for a queue.
    pub fn new(names: impl Fn(&str) -> Vec<String> + Send + Sync + 'static) -> ClientNames {
        ClientNames(Box::new(names))
    }

    pub(crate) fn of(&self, port: &str) -> Vec<String> {
        (self.0)(port)
    }
}

impl fmt::Debug for ClientNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientNames")
    }
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
    /// `Unsupported` where io_uring is missing, forbidden or too old, or where the process may not have the
    /// memory of one port (the message says what to do); `Invalid` for a configuration out of range.
    pub fn start(mut config: EngineConfig) -> Result<Engine, EngineError> {
        config.check()?;
        config.check_memory()?;
        let files = raise_file_limit().min(FILES) as u32;
        let remotes =
            (0..config.queues).map(|_| Remote::new().map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
        let (look_now, looks) = mpsc::sync_channel(1);
        let media = Media::knowing(std::mem::take(&mut config.lost), config.loss_book.take());
        let mut earned = Earned::default();
        std::mem::take(&mut config.calls).iter().for_each(|times| earned.learn(times));
        let engine = Engine {
            inner: Arc::new(Inner {
                ending: AtomicBool::new(false),
                receipts: AtomicU64::new(config.last_receipt),
                config,
                remotes,
                ports: RwLock::default(),
                files: Arc::new(FileSlots::new(files)),
                media,
                stacking: Mutex::new(()),
                adapters: Adapters::default(),
                earned: Mutex::new(earned),
                generations: Mutex::default(),
                next_port: AtomicU32::new(0),
                next_queue: AtomicUsize::new(0),
                threads: Mutex::default(),
                foreman: Mutex::default(),
                look_now,
                client_names: OnceLock::new(),
            }),
        };
        engine.start_looking(looks);
        let bells: Vec<_> = engine.inner.remotes.iter().map(|remote| remote.bell.clone()).collect();
        let foreman = Foreman::start(&bells)?;
        lock(&engine.inner.foreman).replace(foreman.clone());
        for (index, remote) in engine.inner.remotes.iter().enumerate() {
            engine.start_queue(index, remote.clone(), foreman.clone(), files)?;
        }
        Ok(engine)
    }

    fn start_queue(
        &self,
        index: usize,
        remote: Arc<Remote>,
        foreman: Arc<Foreman>,
        files: u32,
    ) -> Result<(), EngineError> {
        let (tx, rx) = mpsc::sync_channel(1);
        let engine = self.clone();
        let body = move || match Reactor::new(index, engine, remote, foreman, files) {
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
            outside: Calls::default(),
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
        self.all_ports().iter().flat_map(|port| devices_of(port)).collect()
    }

    /// Devices of up to `most` ports whose names come after `after`, and the last of these ports where there may be more:
    /// for whoever must not take long.
    pub fn devices_after(&self, after: &str, most: usize) -> (Vec<DeviceInfo>, Option<String>) {
        let ports: Vec<Arc<Port>> = {
            let ports = self.inner.ports.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            let behind = ports.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
            behind.take(most).map(|(_, port)| port.clone()).collect()
        };
        let more = ports.last().filter(|_| ports.len() == most).map(|port| port.name.clone());
        (ports.iter().flat_map(|port| devices_of(port)).collect(), more)
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
        if inner.down.is_some() || inner.shut || inner.accepting > 0 {
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
        let slots = port.limits.slots();
        Some(DeviceClaim { info: port.device_info(&device), port: port.id, queue, slots, owner: port })
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

    /// The lowest number that a new port of an adapter can have.
    pub fn free_port_number(&self, adapter: &str) -> u32 {
        self.inner.adapters.free_number(adapter)
    }
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

//! One driver attached to one port: its memory, and the calls into it that are not on the hot path.

#![allow(unsafe_code)] // calls through the driver's table of entry points

use crate::change::pause_calls::Step;
use crate::driver::adoption::Copies;
use crate::handle::medium::Watch;
use crate::helpers::Desks;
use crate::info::MemoryInfo;
use crate::lane::shell_calls;
use crate::port::Port;
use crate::resources::driver_state::State;
use crate::resources::limits::slots_per_queue;
use crate::resources::mapping::Mapping;
use crate::resources::regions::RegionMemory;
use crate::resources::slot_memory::{PDU_STRIDE, SLOT_STRIDE};
use crate::stack::DeviceHandle;
use std::cell::UnsafeCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::{fmt, io, ptr};
use steadfast_abi as abi;
use steadfast_loader::LoadedModule;
use steadfast_shell::params::{ShellParams, Value};
use steadfast_shell::receipt::Reduced;
use steadfast_shell::sync::lock;

/// Where a driver is in its life on a port; decides which shell calls it may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    Idle = 0,
    Prepare = 1,
    Connect = 2,
    Disconnect = 3,
    /// In `queue_stop`.
    Stop = 4,
}

/// What a driver got from its port that was not there before.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) handles: Vec<u32>,
    pub(crate) regions: Vec<u32>,
}

/// What was the port's, and a driver that is left to itself in a call may still look at.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) _states: Vec<State>,
    pub(crate) _regions: Vec<RegionMemory>,
}

/// Addresses that a lane needs at hand once `prepare` has run.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// Which handles are the driver's own: those that it has opened or found.
    pub(crate) own: Vec<AtomicBool>,
    /// Place in the rings' file table, by handle number; `u32::MAX` where there is none.
    pub(crate) files: Vec<u32>,
    /// Files, by handle number.
    pub(crate) desks: Vec<Option<Arc<Desks>>>,
    /// Devices, by handle number.
    pub(crate) devices: Vec<Option<Arc<DeviceHandle>>>,
    /// What is behind the others, by handle number.
    pub(crate) watches: Vec<Option<Arc<Watch>>>,
    /// Address and size, by region number.
    pub(crate) regions: Vec<(usize, u64)>,
}

/// One driver attached to one port.
///
/// The structures that the driver sees are boxed: their addresses stay the same until the instance
/// is dropped, which is after the driver's last call.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) port: Arc<Port>,
    pub(crate) module: Arc<LoadedModule>,
    /// Those of the driver change only while the port is held.
    params: Mutex<BTreeMap<String, Value>>,
    pub(crate) tables: OnceLock<Tables>,
    stage: AtomicU8,
    /// Handles that the driver has opened or found.
    pub(crate) handles: Mutex<Vec<u32>>,
    /// Regions that the driver has made or found.
    pub(crate) regions: Mutex<BTreeSet<u32>>,
    /// Taken back when the driver never comes to serve.
    pub(crate) made: Mutex<Made>,
    last_error: Mutex<String>,
    /// `connect` succeeded, and nobody has undone it.
    pub(crate) connected: AtomicBool,
    /// What the last calls within a pause took, nanoseconds; 0 where nobody has looked at one yet.
    pub(crate) connect_ns: AtomicU64,
    pub(crate) disconnect_ns: AtomicU64,
    /// It had earned to be called on a queue's own thread when the last transaction began.
    pub(crate) known: AtomicBool,
    /// It came to serve, and did not return from `queue_run`: the state is still that of the driver before.
    pub(crate) unserved: AtomicBool,
    /// `release` was called.
    pub(crate) released: AtomicBool,
    /// It does not return from a call, or did not let go: nobody enters it any more, and it changes nothing.
    pub(crate) abandoned: AtomicBool,
    /// What it writes is not to be the port's; changes with the port locked.
    pub(crate) writes_aside: AtomicBool,
    /// What it may look at for as long as it is inside.
    pub(crate) kept: Mutex<Kept>,
    /// PDUs of requests that it is to take over, by queue, while it does.
    pub(crate) copies: Mutex<Vec<Copies>>,
    /// There is a last error: looked at where a lock would be too much.
    said_error: AtomicBool,
    /// What went wrong with its first steps: from `queue_run` on, and before it had answered a request.
    trouble: Mutex<Option<String>>,
    pub(crate) faults: AtomicU64,
    /// Features that the driver leaves out, as it says itself.
    pub(crate) reduced: Mutex<Vec<Reduced>>,
    /// Memory that it was given.
    pub(crate) granted: MemoryInfo,
    cx: CxPort,
    queues: Vec<CxQueue>,
    _arenas: Lent,
}

struct CxPort(Box<UnsafeCell<abi::Port>>);
struct CxQueue(Box<UnsafeCell<abi::Queue>>);

impl fmt::Debug for CxPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Port")
    }
}

impl fmt::Debug for CxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Queue")
    }
}

// SAFETY: the cells are written by the shell before the driver runs, and by the driver
// (`driver_data`) on the one thread that is in a given entry point; the transaction hands them from
// thread to thread through its mutex.
unsafe impl Send for CxPort {}
// SAFETY: as above.
unsafe impl Sync for CxPort {}
// SAFETY: as above.
unsafe impl Send for CxQueue {}
// SAFETY: as above.
unsafe impl Sync for CxQueue {}

impl Instance {
    /// Gives the driver its memory. Nothing of the driver runs. `reach`: by queue, how many slots can be in
    /// use that the port had before.
    pub(crate) fn new(
        port: Arc<Port>,
        module: Arc<LoadedModule>,
        params: BTreeMap<String, Value>,
        reach: &[u32],
    ) -> io::Result<Arc<Instance>> {
        let shell = ShellParams::from_values(&params, port.shell);
        let slots = slots_per_queue(shell.io_slots, port.queues.len());
        let manifest = module.manifest();
        let (memory, arenas) = port.arenas.obtain(manifest)?;
        let (per_port, per_queue) = (memory.port_granted, memory.queue_granted);
        if memory.is_short() {
            let release = module.release();
            tracing::warn!(
                port = port.name,
                "{} {} has less memory than it wants: {per_port} of {} bytes, {per_queue} of {} for each queue",
                release.driver,
                release.version,
                memory.port_wanted,
                memory.queue_wanted
            );
        }
        let features = manifest.features;
        let lent = Lent { port: port.clone(), arenas };
        let arenas = &lent.arenas;
        let cx = abi::Port {
            size: size_of::<abi::Port>() as u32,
            number: port.seat.adapter.number,
            adapter: port.seat.adapter_number,
            queues: port.queues.len() as u32,
            shell: &raw const shell_calls::SHELL,
            arena: arenas[0].base(),
            arena_size: per_port,
            features,
            driver_data: 0,
            cx: ptr::null_mut(),
        };
        let cx = CxPort(Box::new(UnsafeCell::new(cx)));
        let port_cx: *mut abi::Port = cx.0.get();
        let queue = |i: usize| {
            let memory = &port.memory[i];
            let queue = abi::Queue {
                size: size_of::<abi::Queue>() as u32,
                index: i as u32,
                port: port_cx,
                shell: &raw const shell_calls::SHELL,
                slots: memory.slots(),
                pdus: memory.pdus(),
                data: memory.data(),
                slot_stride: SLOT_STRIDE as u32,
                pdu_stride: PDU_STRIDE as u32,
                data_stride: memory.data_stride as u64,
                data_size: memory.most_data().max(shell.max_transfer).min(memory.data_room),
                slot_count: reach.get(i).map_or(slots, |reach| slots.max(*reach)).min(memory.room),
                arena: arenas[i + 1].base(),
                arena_size: per_queue,
                driver_data: 0,
                cx: ptr::null_mut(),
            };
            CxQueue(Box::new(UnsafeCell::new(queue)))
        };
        let queues = (0..port.queues.len()).map(queue).collect();
        let instance = Arc::new(Instance {
            port,
            module,
            params: Mutex::new(params),
            tables: OnceLock::new(),
            stage: AtomicU8::new(Stage::Idle as u8),
            handles: Mutex::default(),
            regions: Mutex::default(),
            made: Mutex::default(),
            last_error: Mutex::default(),
            connected: AtomicBool::new(false),
            connect_ns: AtomicU64::new(0),
            disconnect_ns: AtomicU64::new(0),
            known: AtomicBool::new(false),
            unserved: AtomicBool::new(false),
            released: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            writes_aside: AtomicBool::new(false),
            kept: Mutex::default(),
            copies: Mutex::default(),
            said_error: AtomicBool::new(false),
            trouble: Mutex::default(),
            faults: AtomicU64::new(0),
            reduced: Mutex::default(),
            granted: memory,
            cx,
            queues,
            _arenas: lent,
        });
        // SAFETY: nobody else knows the cell yet; the address stays valid because the instance is
        // dropped after the driver's last call.
        unsafe { (*instance.cx()).cx = Arc::as_ptr(&instance).cast_mut().cast() };
        Ok(instance)
    }

    fn cx(&self) -> *mut abi::Port {
        self.cx.0.get()
    }

    /// The driver's view of queue `index`.
    pub(crate) fn queue(&self, index: usize) -> *mut abi::Queue {
        self.queues[index].0.get()
    }

    /// One more than the highest tag that the driver can meet on queue `index`.
    pub(crate) fn slot_count(&self, index: usize) -> u32 {
        // SAFETY: the field is written before the instance is anybody's, and never again.
        unsafe { (*self.queue(index)).slot_count }
    }

    /// Tells the driver's view of queue `index` which lane it belongs to.
    pub(crate) fn bind(&self, index: usize, lane: *mut c_void) {
        // SAFETY: the driver is not running on this queue; only this thread touches the field.
        unsafe { (*self.queue(index)).cx = lane };
    }

    pub(crate) fn stage(&self) -> u8 {
        self.stage.load(Ordering::Relaxed)
    }

    /// Notes what the driver said went wrong, for the next error message about it.
    pub(crate) fn note_error(&self, message: &str) {
        let mut said = lock(&self.last_error);
        self.said_error.store(true, Ordering::Relaxed);
        // The shell says what the cause was, and then the driver what it makes of it.
        if said.is_empty() {
            message.clone_into(&mut said);
        } else if !said.contains(message) && said.len() < 512 {
            said.push_str("; ");
            said.push_str(message);
        }
    }

    /// What it said before has been dealt with.
    pub(crate) fn forget_errors(&self) {
        lock(&self.last_error).clear();
        self.said_error.store(false, Ordering::Relaxed);
    }

    /// Whether it has said that something went wrong since.
    pub(crate) fn has_said_error(&self) -> bool {
        self.said_error.load(Ordering::Relaxed)
    }

    /// What it says went wrong is the end of it: it is not to go on serving.
    pub(crate) fn note_trouble(&self) {
        // Another queue may find the same at the same time: who comes first has the words.
        let mut trouble = lock(&self.trouble);
        if trouble.is_none() {
            let said = std::mem::take(&mut *lock(&self.last_error));
            let driver = self.module.release();
            *trouble = Some(format!("{} {}: {said}", driver.driver, driver.version));
        }
    }

    /// Why it is not to go on serving, if it is not.
    pub(crate) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    fn call(&self, what: &str, stage: Stage, f: impl FnOnce() -> i32) -> Result<(), String> {
        if self.is_abandoned() {
            return Err(format!("{what}: the driver is abandoned"));
        }
        self.forget_errors();
        self.stage.store(stage as u8, Ordering::Relaxed);
        let result = f();
        self.stage.store(Stage::Idle as u8, Ordering::Relaxed);
        if result >= 0 {
            return Ok(());
        }
        let said = std::mem::take(&mut *lock(&self.last_error));
        let error = io::Error::from_raw_os_error(result.checked_neg().unwrap_or(libc::EIO));
        let driver = self.module.release();
        let why = crate::driver::error_text::why(what, &error, &said);
        Err(format!("{} {}: {what}: {why}", driver.driver, driver.version))
    }

    /// The current values of all parameters.
    pub(crate) fn values(&self) -> BTreeMap<String, Value> {
        lock(&self.params).clone()
    }

    /// The current value of a parameter.
    pub(crate) fn param(&self, name: &str) -> Option<Value> {
        lock(&self.params).get(name).cloned()
    }

    /// The values of the shell's own parameters.
    pub(crate) fn shell_params(&self) -> ShellParams {
        ShellParams::from_values(&lock(&self.params), self.port.shell)
    }

    /// Lets `f` look at the current value of a parameter. What it points to stays until the parameter
    /// is set, which is not while the driver is inside an entry point.
    pub(crate) fn with_param<T>(&self, name: &str, f: impl FnOnce(Option<&Value>) -> T) -> T {
        f(lock(&self.params).get(name))
    }

    /// Sets a parameter, `None` leaves it undefined; returns what it was. The port is held.
    pub(crate) fn set_param(&self, name: &str, value: Option<Value>) -> Option<Value> {
        let mut params = lock(&self.params);
        match value {
            Some(value) => params.insert(name.to_owned(), value),
            None => params.remove(name),
        }
    }

    /// `param_changed`. The port is held.
    pub(crate) fn param_changed(&self, name: &str) -> Result<(), String> {
        let missing = "the driver cannot change parameters while it runs (param_changed is missing)";
        let changed = self.module.driver().param_changed.ok_or(missing)?;
        // SAFETY: as for `connect`; the name lives during the call.
        self.call("param_changed", Stage::Idle, || unsafe { changed(self.cx(), abi::Str::new(name)) })
    }

    /// Notes whether a handle is the driver's own: it has found it, or given it up.
    pub(crate) fn own_handle(&self, handle: u32, own: bool) {
        if let Some(place) = self.tables.get().and_then(|t| t.own.get(handle as usize)) {
            place.store(own, Ordering::Relaxed);
        }
    }

    /// `prepare`, and what lanes need to know afterwards, on this thread.
    pub(crate) fn prepare_here(&self) -> Result<(), String> {
        if let Some(prepare) = self.module.driver().prepare {
            // SAFETY: the port is ours, valid and not in any other entry point.
            self.call("prepare", Stage::Prepare, || unsafe { prepare(self.cx()) })?;
        }
        let inner = lock(&self.port.inner);
        let files = inner.handles.iter().map(|h| h.as_ref().map_or(u32::MAX, |h| h.fixed)).collect();
        // Of handles that are another driver's it keeps nothing: they are to close when that one goes.
        let mine = lock(&self.handles);
        let own_of = |i: usize| mine.contains(&(i as u32));
        let of_own = || inner.handles.iter().enumerate().map(|(i, h)| h.as_ref().filter(|_| own_of(i)));
        let desks = of_own().map(|h| h?.desks.clone()).collect();
        let devices = of_own().map(|h| h?.device.clone()).collect();
        let watches = of_own().map(|h| h?.watch.clone()).collect();
        let regions = &inner.regions;
        let place = |r: &RegionMemory| (r.map.base() as usize, r.size);
        let regions = regions.iter().map(|r| r.as_ref().map_or((0, 0), place)).collect();
        let own = (0..inner.handles.len()).map(|i| AtomicBool::new(own_of(i))).collect();
        let tables = self.tables.set(Tables { own, files, desks, devices, watches, regions });
        tables.map_err(|_| "prepare: it was prepared already".to_owned())
    }

    /// `connect` and `queue_start` on every queue. After an error nothing is left connected.
    pub(crate) fn connect(&self) -> Result<(), String> {
        let table = self.module.driver();
        let connect = table.connect.ok_or("connect is missing")?;
        // SAFETY: the port is held: nobody is in another entry point of it.
        self.call("connect", Stage::Connect, || unsafe { connect(self.cx()) })?;
        self.start_queues().inspect_err(|_| {
            let _ = self.disconnect_quietly();
        })?;
        self.connected.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn start_queues(&self) -> Result<(), String> {
        let Some(start) = self.module.driver().queue_start else { return Ok(()) };
        for i in 0..self.queues.len() {
            // SAFETY: as for `connect`.
            let result = self.call("queue_start", Stage::Connect, || unsafe { start(self.queue(i)) });
            if let Err(e) = result {
                self.stop_queues(i);
                return Err(e);
            }
        }
        Ok(())
    }

    fn stop_queues(&self, count: usize) {
        let Some(stop) = self.module.driver().queue_stop else { return };
        for i in (0..count).rev() {
            let _ = self.call("queue_stop", Stage::Stop, || {
                // SAFETY: the port is held, the queue was started.
                unsafe { stop(self.queue(i)) };
                0
            });
        }
    }

    /// `queue_stop` on every queue and `disconnect`.
    pub(crate) fn disconnect(&self) -> Result<(), String> {
        self.stop_queues(self.queues.len());
        {
            let mut inner = lock(&self.port.inner);
            if !self.is_abandoned() {
                inner.states.clear();
            }
        }
        self.disconnect_only()
    }

    /// The driver writes its state as it is now, schema by schema, and goes on serving. Then it is aside of
    /// what is left of the port's.
    pub(crate) fn save_state(&self) -> Result<(), String> {
        let save = self.module.driver().save_state.ok_or("save_state is missing")?;
        // SAFETY: as for `connect`.
        self.apart(|| self.call("save_state", Stage::Disconnect, || unsafe { save(self.cx()) }))
    }

    /// The same, taken.
    pub(crate) fn saved_state(&self) -> Result<Vec<State>, String> {
        self.save_state()?;
        let mut inner = lock(&self.port.inner);
        if self.is_abandoned() {
            Err("it returned too late".to_owned())
        } else {
            Ok(inner.states.take_aside())
        }
    }

    /// Lets the driver write state that is not to be the port's.
    fn apart(&self, write: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
        {
            let mut inner = lock(&self.port.inner);
            if self.is_abandoned() {
                return Err("the driver is abandoned".to_owned());
            }
            inner.states.forget_aside();
            inner.states.change_places();
            self.writes_aside.store(true, Ordering::Relaxed);
        }
        let result = write();
        let mut inner = lock(&self.port.inner);
        // Where it was abandoned meanwhile, that has been done.
        if self.writes_aside.swap(false, Ordering::Relaxed) {
            inner.states.change_places();
        }
        result
    }

    fn disconnect_only(&self) -> Result<(), String> {
        let disconnect = self.module.driver().disconnect.ok_or("disconnect is missing")?;
        // SAFETY: as for `connect`.
        self.call("disconnect", Stage::Disconnect, || unsafe { disconnect(self.cx()) })
    }

    /// Undoes a `connect` that succeeded, without touching the state that the old driver left.
    pub(crate) fn undo_connect(&self) -> Result<(), String> {
        self.stop_queues(self.queues.len());
        self.disconnect_quietly()
    }

    /// `disconnect` of a driver that did not come to serve: the state it leaves is not wanted, the one
    /// that was there is.
    fn disconnect_quietly(&self) -> Result<(), String> {
        self.apart(|| self.disconnect_only())
    }

    /// `reconnect` and `queue_start` on every queue.
    pub(crate) fn reconnect(&self) -> Result<(), String> {
        let reconnect = self.module.driver().reconnect.ok_or("reconnect is missing")?;
        // SAFETY: as for `connect`.
        self.call("reconnect", Stage::Connect, || unsafe { reconnect(self.cx()) })?;
        self.start_queues().inspect_err(|_| {
            let _ = self.disconnect_quietly();
        })
    }

    /// Lets the driver return the requests of a queue that it has not begun. On that queue's thread.
    pub(crate) fn hand_back(&self, index: usize) -> Result<(), String> {
        let Some(hand_back) = self.module.driver().hand_back else { return Ok(()) };
        let queue = self.queue(index);
        // SAFETY: the queue is this instance's, the port is held, and nobody is inside on this queue.
        self.call("hand_back", Stage::Idle, || unsafe { hand_back(queue) })
    }

    /// `queue_run`.
    pub(crate) fn queue_run(&self, index: usize) {
        if let Some(run) = self.module.driver().queue_run.filter(|_| !self.is_abandoned()) {
            // SAFETY: the queue is this instance's, the port is held on it, and nobody is inside on this queue.
            unsafe { run(self.queue(index)) };
        }
    }

    /// What a call took, which counts for what the driver has earned.
    pub(crate) fn took(&self, step: Step, ns: u64) {
        let place = if step == Step::Run { &self.connect_ns } else { &self.disconnect_ns };
        place.fetch_max(ns, Ordering::Relaxed);
    }

    /// Whether it had earned to be called on a queue's own thread when the last transaction began.
    pub(crate) fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// It does not return from `queue_run`, and so has not served on every queue.
    pub(crate) fn never_ran(&self, why: &str) {
        self.unserved.store(true, Ordering::Relaxed);
        lock(&self.trouble).get_or_insert_with(|| why.to_owned());
    }

    /// Lets the driver convert the PDU of a request in flight that another driver issued.
    pub(crate) fn adopt(&self, index: usize, tag: u32, schema: &str) -> Result<(), String> {
        let adopt = self.module.driver().adopt.ok_or("the driver cannot adopt requests of another schema")?;
        let queue = self.queue(index);
        let memory = &self.port.memory[index];
        let slot = memory.slots().wrapping_add(tag as usize * SLOT_STRIDE);
        // SAFETY: as for `connect`; the tag is one of this queue's slots.
        self.call("adopt", Stage::Connect, || unsafe { adopt(queue, slot.cast(), abi::Str::new(schema)) })
    }

    /// The last call, on this thread, when no queue knows the instance any more.
    pub(crate) fn release_here(&self) {
        if let Some(release) = self.module.driver().release {
            // SAFETY: disconnected, or never connected; nobody else calls it.
            unsafe { release(self.cx()) };
        }
    }
}

/// Memory that goes back to its port.
#[derive(Debug)]
struct Lent {
    port: Arc<Port>,
    arenas: Vec<Mapping>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.arenas.drain(..).for_each(|arena| self.port.arenas.give(arena));
    }
}

/// Asks a module whether it may serve the port's hardware.
pub(crate) fn probe(module: &LoadedModule, port: &Port) -> Result<(), String> {
    let Some(probe) = module.driver().probe else { return Ok(()) };
    let hardware = port.hardware();
    let (hwid, revision) = hardware.as_ref().map_or(("", 0), |known| (&*known.hwid, known.revision));
    let what = abi::Probe { size: size_of::<abi::Probe>() as u32, revision, hwid: abi::Str::new(hwid) };
    // SAFETY: the module is loaded, and `what` and the text in it live during the call.
    let result = unsafe { probe(&what) };
    if result >= 0 {
        return Ok(());
    }
    let error = io::Error::from_raw_os_error(result.checked_neg().unwrap_or(libc::EIO));
    let driver = module.release();
    let on = if hwid.is_empty() { String::new() } else { format!(" ({hwid} revision {revision})") };
    Err(format!("{} {}: probe for port {}{on}: {error}", driver.driver, driver.version, port.name))
}

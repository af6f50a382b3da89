//! The candidate's side of a trial: its port, its lanes, its life from `prepare` to `release`.

use crate::change::prepare::ops_room;
use crate::change::update::unload;
use crate::clock::now_ns;
use crate::control::Control;
use crate::driver::background_calls::Calls;
use crate::driver::instance::Instance;
use crate::ids::{LaneId, PortId};
use crate::port::busy::Turns;
use crate::port::{Port, PortInner};
use crate::queue::remote::Remote;
use crate::resources::arena::Arenas;
use crate::resources::driver_state::{State, States};
use crate::resources::limits::Limits;
use crate::resources::regions::RegionMemory;
use crate::resources::slot_memory::SlotMemory;
use crate::trial::{End, Mirror, Trial};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use steadfast_loader::LoadedModule;
use steadfast_shell::params::{ShellParams, Value};
use steadfast_shell::receipt::Unload;
use steadfast_shell::shadow::{ShadowReport, Tally};
use steadfast_shell::sync::lock;

/// Comparisons under way at most, per queue.
const SLOTS: u32 = 64;
/// How long `prepare` with `connect`, and `disconnect`, may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long a queue may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// As long as the daemon lives.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);
pub(super) const STUCK_QUEUE: &str = "a queue does not answer: the candidate may be stuck in it";

impl Control {
    /// A port for the candidate alone, beside the live one: on the same queues, with the same handles,
    /// with private copies of the regions.
    pub(super) fn shadow_port(
        &self,
        live: &Arc<Port>,
        trial: &Arc<Trial>,
        states: Vec<State>,
    ) -> Result<Arc<Port>, String> {
        let memory = |_| SlotMemory::exactly(&live.name, SLOTS, live.memory[0].most_data());
        let memory = (0..live.queues.len()).map(memory).collect::<Result<Vec<_>, _>>();
        let memory = memory.map_err(|e| format!("memory for the trial: {e}"))?;
        let limits = unlimited(live);
        let inner = lock(&live.inner);
        let copy = |r: &Option<RegionMemory>| r.as_ref().map(RegionMemory::private_copy).transpose();
        let regions = inner.regions.iter().map(copy).collect::<Result<Vec<_>, _>>();
        let regions = regions.map_err(|e| format!("a copy of the regions for the trial: {e}"))?;
        let inner = PortInner {
            properties: inner.properties.clone(),
            states: States::of(states),
            regions,
            handles: inner.handles.clone(),
            devices: inner.devices.clone(),
            offers: inner.offers.clone(),
            ..PortInner::default()
        };
        let room = live.arenas.room();
        let arenas = Arenas::new(None, room.port.max(room.queue), live.queues.len());
        Ok(Arc::new(Port {
            arenas: arenas.map_err(|e| format!("memory for the trial: {e}"))?,
            id: self.directory.next_port_id(),
            name: format!("{} (trial)", live.name),
            seat: live.seat.beside(),
            queues: live.queues.clone(),
            remotes: live.remotes.clone(),
            memory,
            files: live.files.clone(),
            directory: live.directory.clone(),
            generation: AtomicU64::new(live.generation()),
            epoch_unix_ms: AtomicU64::new(0),
            next_queue: AtomicU64::new(0),
            inner: Mutex::new(inner),
            turns: Turns::default(),
            outside: Calls::default(),
            shell: live.shell,
            limits: Limits::new(live.queues.len(), &limits),
            shadow: Some(trial.clone()),
        }))
    }
}

/// A trial has a few slots, and the live device's clients wait for nothing in it.
fn unlimited(live: &Port) -> ShellParams {
    ShellParams {
        io_throttle: 0,
        io_slots: SLOTS * live.queues.len() as u32,
        request_timeout_s: 0,
        max_transfer: live.memory[0].most_data(),
        link_speed_gbps: 0,
        ..lock(&live.inner).serving.as_ref().map(|i| i.shell_params()).unwrap_or_default()
    }
}

/// A candidate that did not come to stand beside the driver that serves.
pub(super) struct Refused {
    why: String,
    unload: Unload,
}

impl Refused {
    pub(super) fn into_report(self) -> ShadowReport {
        ShadowReport { against: vec![self.why], unload: self.unload, ..ShadowReport::default() }
    }
}

/// A connected candidate.
pub(super) struct Stand {
    live: PortId,
    port: Arc<Port>,
    trial: Arc<Trial>,
    candidate: Arc<Instance>,
}

impl Stand {
    /// Prepares and connects the candidate, and gives it lanes.
    pub(super) fn set_up(
        live: &Arc<Port>,
        port: &Arc<Port>,
        module: Arc<LoadedModule>,
        params: BTreeMap<String, Value>,
    ) -> Result<Stand, Refused> {
        let nothing = |why: String, module: Option<Arc<LoadedModule>>| Refused {
            why,
            unload: module.map_or(Unload::Pinned, |module| unload(port, module)),
        };
        let Some(trial) = port.shadow.clone() else {
            return Err(nothing("not a shadow".to_owned(), Some(module)));
        };
        let candidate = match Instance::new(port.clone(), module, params, &[]) {
            Ok(candidate) => candidate,
            Err(e) => return Err(nothing(format!("memory for the candidate: {e}"), None)),
        };
        match connect(&candidate) {
            Some(Ok(())) => {}
            Some(Err(why)) => {
                candidate.release();
                return Err(nothing(why, Arc::into_inner(candidate).map(|c| c.module)));
            }
            None => {
                let seconds = PATIENCE.as_secs();
                let why = format!("the candidate's prepare or connect did not return within {seconds} s");
                return Err(nothing(why, None));
            }
        }
        let stand = Stand { live: live.id, port: port.clone(), trial, candidate };
        let lost = stand.take_devices();
        stand.add_lanes();
        match lost {
            None => Ok(stand),
            Some(why) => {
                let end = stand.take_down(Duration::ZERO);
                Err(Refused { why, unload: end.unload })
            }
        }
    }

    fn id(&self) -> LaneId {
        LaneId(self.port.id.0)
    }

    /// What the candidate announced; why it will not do.
    fn take_devices(&self) -> Option<String> {
        let mut inner = lock(&self.port.inner);
        let announced = std::mem::take(&mut inner.announced);
        let known = |number: u32| announced.iter().any(|d| d.number == number);
        let lost = inner.devices.iter().find(|d| !known(d.number)).map(|d| d.number);
        inner.devices = announced;
        inner.serving = Some(self.candidate.clone());
        lost.map(|number| format!("the candidate does not announce device {number}"))
    }

    fn add_lanes(&self) {
        let manifest = self.candidate.module.manifest();
        for (index, remote) in self.port.remotes.iter().enumerate() {
            let (port, ops) = (self.port.clone(), ops_room(manifest, self.port.memory[index].room));
            remote.call(move |rt| rt.add_lane(port, index, ops));
        }
    }

    /// Lets reads in on every queue.
    pub(super) fn begin(&mut self, duration: Duration) -> Result<(), String> {
        let lanes = (LaneId(self.live.0), self.id());
        for (index, remote) in self.port.remotes.iter().enumerate() {
            let size = self.port.memory[index].most_data();
            let mirror = Mirror::new(self.trial.clone(), lanes, SLOTS, size)
                .map_err(|e| format!("memory for comparisons: {e}"))?;
            let candidate = self.candidate.clone();
            match remote.ask(ANSWER, move |rt| rt.begin_trial(mirror, candidate)) {
                Some(true) => {}
                Some(false) => return Err("a queue of the port has gone".to_owned()),
                None => return Err(STUCK_QUEUE.to_owned()),
            }
        }
        self.trial.begin(now_ns(), duration);
        Ok(())
    }

    /// What was counted so far on all queues, and how many comparisons are under way.
    pub(super) fn look(&self) -> Option<(Tally, u32)> {
        let id = self.id();
        let (mut all, mut in_flight) = (Tally::default(), 0);
        for remote in &self.port.remotes {
            let (tally, n) = remote.ask(ANSWER, move |rt| rt.look_at_trial(id))?;
            all.add(&tally);
            in_flight += n;
        }
        Some((all, in_flight))
    }

    /// Asks every queue, one after the other, also behind one that does not answer.
    fn on_all(&self, f: impl Fn(&Arc<Remote>) -> bool) -> bool {
        self.port.remotes.iter().filter(|remote| !f(remote)).count() == 0
    }

    /// Ends the trial: waits for what is under way, at most `patience`, and takes everything away that
    /// was made for it. Where a queue does not answer that happens later, if it ever does.
    pub(super) fn take_down(self, patience: Duration) -> End {
        if self.close(patience, ANSWER) {
            return self.remove(ANSWER);
        }
        let faults = self.candidate.faults.load(Ordering::Relaxed);
        let later = move || {
            if self.close(Duration::ZERO, FOREVER) {
                self.remove(FOREVER);
            }
        };
        if let Err(e) = std::thread::Builder::new().name("trial".into()).spawn(later) {
            tracing::error!("a candidate stays beside its port: thread: {e}");
        }
        End { tally: Tally::default(), against: vec![STUCK_QUEUE.to_owned()], faults, unload: Unload::Pinned }
    }

    /// Nobody enters the candidate any more. False: a queue does not answer.
    fn close(&self, patience: Duration, answer: Duration) -> bool {
        let id = self.id();
        if !self.on_all(|r| r.ask(answer, move |rt| rt.stop_copying(id)).is_some()) {
            return false;
        }
        self.settle(patience);
        self.on_all(|r| r.ask(answer, move |rt| rt.close_trial(id)).is_some())
    }

    /// Takes the closed candidate away.
    fn remove(self, answer: Duration) -> End {
        let id = self.id();
        let mut against = Vec::new();
        let disconnected = disconnect(&self.candidate);
        let returned = disconnected.is_some();
        match disconnected {
            Some(Ok(())) => {}
            Some(Err(why)) => against.push(why),
            None => against.push("the candidate's disconnect did not return".to_owned()),
        }
        lock(&self.port.inner).serving = None;
        let removed = self.on_all(|r| remove_lane(r, id, answer));
        let mut tally = Tally::default();
        for remote in &self.port.remotes {
            match remote.ask(answer, move |rt| rt.end_trial(id)) {
                Some(counted) => tally.add(&counted),
                None => against.push(STUCK_QUEUE.to_owned()),
            }
        }
        let faults = self.candidate.faults.load(Ordering::Relaxed);
        // Who may still be inside keeps what it uses.
        let unload = if returned && removed { release(self.candidate) } else { Unload::Pinned };
        End { tally, against, faults, unload }
    }

    fn settle(&self, patience: Duration) {
        let until = Instant::now() + patience;
        while Instant::now() < until && self.look().is_some_and(|(_, n)| n > 0) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn remove_lane(remote: &Arc<Remote>, id: LaneId, answer: Duration) -> bool {
    let (tx, rx) = mpsc::sync_channel(1);
    let done = Box::new(move || {
        let _ = tx.try_send(());
    });
    remote.post(Box::new(move |rt| rt.remove_shadow(id, done)));
    rx.recv_timeout(answer).is_ok()
}

/// `prepare` and `connect`, on a thread of their own. `None`: they do not return; whenever they do,
/// the candidate is let go.
fn connect(candidate: &Arc<Instance>) -> Option<Result<(), String>> {
    let late = |candidate: &Instance, result: &Result<(), String>| {
        if result.is_ok() {
            let _ = candidate.disconnect();
        }
        candidate.release_here();
    };
    apart(candidate, |c| c.prepare_here().and_then(|()| c.connect()), late)
}

fn disconnect(candidate: &Arc<Instance>) -> Option<Result<(), String>> {
    apart(candidate, Instance::disconnect, |candidate, _| candidate.release_here())
}

/// Does something with a candidate that may take any time, and waits for a while. After that,
/// `late` is done instead, once it has come to an end.
fn apart<T: Send + 'static>(
    candidate: &Arc<Instance>,
    f: impl FnOnce(&Instance) -> T + Send + 'static,
    late: impl FnOnce(&Instance, &T) + Send + 'static,
) -> Option<T> {
    // Without room, so that who sends knows whether it was taken.
    let (tx, rx) = mpsc::sync_channel(0);
    let mine = candidate.clone();
    let body = move || {
        let result = f(&mine);
        if let Err(mpsc::SendError((result, mine))) = tx.send((result, mine)) {
            late(&mine, &result);
        }
    };
    std::thread::Builder::new().name("trial".into()).spawn(body).ok()?;
    // The candidate comes back with the result: then the thread has nothing of it any more.
    rx.recv_timeout(PATIENCE).ok().map(|(result, _mine)| result)
}

/// The candidate's last call, and its module's end.
fn release(candidate: Arc<Instance>) -> Unload {
    candidate.release();
    let port = candidate.port.clone();
    let module = Arc::into_inner(candidate).map(|c| c.module);
    module.map_or(Unload::Pinned, |module| unload(&port, module))
}

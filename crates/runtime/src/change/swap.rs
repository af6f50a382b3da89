//! One transaction on one port, from the moment its queues are told to hold requests until the last
//! of them has released them again.
//!
//! Each queue of the port takes part on its own thread and in its own time, and never waits for
//! another by blocking: it *holds*, goes on serving its other ports until it has *settled* (nothing
//! left in flight that must be drained; at once when requests are adopted), and *arrives*. The last
//! to arrive runs the phases from `disconnect` to `connect`: by then no queue enters the port's
//! driver. Each queue then *releases*: takes the verdict over and lets held requests in. With one
//! queue all of that is one function call, without any other thread.
//!
//! How they meet, and what they decide there, is [`Rendezvous`]; here is what is done about it. On which thread
//! the phases between the drivers run is [`phases`](crate::change::phases)': on that of the last queue to arrive, or
//! on one of their own, where a driver that does not return keeps nobody from going on.

#![allow(unsafe_code)] // hands lanes between threads, see `Lane`

use crate::change::pause_calls::{Errand, Step, Waiting};
use crate::clock::{now_ns, unix_ms};
use crate::driver::instance::{Instance, Made};
use crate::lane::Lane;
use crate::port::{Left, Port, PortInner};
use crate::queue::remote::Remote;
use crate::resources::driver_state::State;
use crate::resources::slot_memory::PDU_STRIDE;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, OnceLock};
use steadfast_shell::manifest::{Manifest, Schema};
use steadfast_shell::properties::Properties;
use steadfast_shell::receipt::Mode;
pub(crate) use steadfast_shell::rendezvous::Verdict;
use steadfast_shell::rendezvous::{Rendezvous, Runner, drains, hands_back};
use steadfast_shell::state;
use steadfast_shell::sync::lock;
use steadfast_shell::update::Update;

/// Longest time that a queue spins for the others' verdict before it goes back to its loop.
const SPIN_NS: u64 = 50_000;

/// How requests in flight are treated, and the schema of their PDUs when those must be converted.
pub(crate) type Handling = (Mode, Option<String>);

/// What one queue contributed.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) hold_ns: u64,
    pub(crate) release_ns: u64,
    pub(crate) held: u32,
    pub(crate) drained: u32,
    pub(crate) adopted: u32,
    pub(crate) handed_back: u32,
    pub(crate) longest_stall_ns: u64,
    in_flight_at_hold: u32,
    /// Requests in flight whose PDUs are converted.
    pub(crate) tags: Vec<u32>,
}

/// The transaction.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) port: Arc<Port>,
    pub(crate) old: Option<Arc<Instance>>,
    /// `None`: the port is being detached, or taken down.
    pub(crate) new: Option<Arc<Instance>>,
    pub(crate) mode: Mode,
    /// What the port's properties are once the new driver serves, where they are to change with it.
    pub(crate) properties: Mutex<Option<Properties>>,
    /// Schema of the PDUs in flight, when the new driver must convert them.
    pub(crate) convert: Option<Arc<str>>,
    /// Size of the PDUs in flight.
    old_pdu: usize,
    pub(crate) meeting: Rendezvous,
    pub(crate) parts: Arc<[Mutex<Part>]>,
    /// Where a thread of its own waits for what is first to be done between the drivers; unset where the last
    /// queue to arrive does it.
    pub(crate) apart: OnceLock<SyncSender<Errand>>,
    /// When it began, milliseconds since 1970.
    pub(crate) since_unix_ms: u64,
    /// That thread is in a call that was given up.
    pub(crate) is_stuck: AtomicBool,
    /// Queues whose driver is in an entry point there.
    pub(crate) waiting: Waiting,
    /// The new driver was asked what it has made of the state.
    pub(crate) asked: AtomicBool,
    /// Devices that have become smaller, in words.
    pub(crate) smaller: Mutex<Vec<String>>,
    remotes: Vec<Arc<Remote>>,
    finished: SyncSender<()>,
}

impl Job {
    pub(crate) fn new(
        port: Arc<Port>,
        old: Option<Arc<Instance>>,
        new: Option<Arc<Instance>>,
        (mode, convert): Handling,
        update: Update,
        finished: SyncSender<()>,
    ) -> Job {
        let queues = port.queues.len();
        let pdu = match &old {
            Some(old) => old.module.driver().pdu_size as usize,
            None => lock(&port.inner).left.as_ref().map_or(0, Left::pdu_size),
        };
        let pdu = pdu.min(PDU_STRIDE);
        // Room for every PDU is made here, before the pause.
        if let (Some(new), true) = (&new, convert.is_some()) {
            new.make_copies();
        }
        let part = |i: usize| {
            let slots = new.as_ref().map_or(0, |new| new.slot_count(i) as usize);
            let room = if convert.is_some() { slots } else { 0 };
            Mutex::new(Part { tags: Vec::with_capacity(room), ..Part::default() })
        };
        let parts = (0..queues).map(part).collect();
        make_room(&port, old.as_deref(), new.as_deref());
        let n = queues as u32;
        let remotes = port.remotes.clone();
        Job {
            port,
            old,
            new,
            mode,
            convert: convert.map(Arc::from),
            properties: Mutex::default(),
            meeting: Rendezvous::new(update, n),
            parts,
            apart: OnceLock::new(),
            since_unix_ms: unix_ms(),
            is_stuck: AtomicBool::new(false),
            waiting: Waiting::default(),
            asked: AtomicBool::new(false),
            old_pdu: pdu,
            smaller: Mutex::default(),
            remotes,
            finished,
        }
    }

    #[inline]
    pub(crate) fn verdict(&self) -> Verdict {
        self.meeting.verdict()
    }

    /// Every queue has taken part to the end.
    pub(crate) fn is_over(&self) -> bool {
        self.meeting.is_over()
    }

    /// Why the driver that came to serve is not to go on, if it is not.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.new.as_ref().filter(|_| self.verdict() == Verdict::New)?.trouble()
    }

    /// The port stays, without a driver: one that is detached gets no other properties.
    fn takes_down(&self) -> bool {
        self.new.is_none() && lock(&self.properties).is_some()
    }

    pub(crate) fn drains(&self) -> bool {
        drains(self.mode, self.old.is_some())
    }

    fn hands_back(&self) -> bool {
        hands_back(self.mode, self.old.is_some())
    }

    /// A queue holds: start_update. Called once per queue, on its thread.
    ///
    /// # Safety
    /// `lane` is this thread's, and nobody is inside its driver on this queue.
    pub(crate) unsafe fn hold(&self, lane: *mut Lane) {
        let now = now_ns();
        self.meeting.begin(now);
        let driver = self.old.as_ref().filter(|old| old.module.driver().hand_back.is_some());
        // SAFETY: as promised; see the rules in `lane`.
        unsafe {
            let was_closed = !(*lane).gate.is_open();
            Lane::close(lane, !self.drains());
            lock(&self.parts[(*lane).index]).hold_ns = now;
            match driver.filter(|_| self.hands_back()) {
                None => self.handed_back(lane, Ok(0)),
                // It never had a request on this queue.
                Some(driver) if was_closed && driver.unserved.load(Ordering::Relaxed) => {
                    self.handed_back(lane, Ok(0));
                }
                Some(driver) if !driver.is_abandoned() && self.send_away(lane, Step::HandBack) => {}
                Some(_) => {
                    let handed_back = Lane::hand_back(lane);
                    self.handed_back(lane, handed_back);
                }
            }
        }
    }

    /// A queue holds, and its driver has handed back so many requests, or why not.
    ///
    /// # Safety
    /// As for `hold`.
    pub(crate) unsafe fn handed_back(&self, lane: *mut Lane, handed_back: Result<u32, String>) {
        // SAFETY: as promised.
        unsafe {
            let handed_back = handed_back.unwrap_or_else(|why| {
                if self.meeting.update().does_without_consent() {
                    tracing::error!(port = self.port.name, "{why}: what it keeps waiting fails");
                    if self.drains() {
                        Lane::fail_all(lane, -libc::EIO);
                    } else {
                        Lane::fail_waiting(lane, -libc::EIO);
                    }
                    return 0;
                }
                // What the driver still keeps waiting would never be answered by another one.
                if self.meeting.abandon(&why, now_ns()) {
                    self.wake_others();
                }
                0
            });
            let mut part = lock(&self.parts[(*lane).index]);
            part.handed_back = handed_back;
            part.in_flight_at_hold = (*lane).slots.issued();
            drop(part);
            if self.drains() {
                if self.old.as_ref().is_some_and(|old| !old.is_abandoned()) {
                    Lane::deliver_deferred(lane);
                }
                Lane::cancel_port_ops(lane);
            }
        }
        // What they have in flight counts from now on, and may end it; or it has ended already.
        if self.meeting.held(now_ns()) && (self.drains() || self.verdict() != Verdict::Undecided) {
            self.wake_others();
        }
    }

    /// Looks whether this queue has settled. True once it has arrived.
    ///
    /// # Safety
    /// As for `hold`.
    pub(crate) unsafe fn settle(&self, lane: *mut Lane) -> bool {
        // SAFETY: as promised.
        if unsafe { (*lane).is_away() }.is_some() {
            return false;
        }
        // SAFETY: as promised.
        let (requests, busy) = unsafe {
            // The driver is not entered after the seal, and so not for what it has gathered either.
            Lane::commit(lane);
            if (*lane).is_out() {
                return false;
            }
            if self.drains() { ((*lane).slots.issued(), (*lane).busy()) } else { (0, 0) }
        };
        if busy > 0 && self.meeting.update().waits_no_longer(now_ns()) {
            tracing::error!(port = self.port.name, "{busy} in flight fail: their driver is put away");
            // SAFETY: as promised.
            unsafe { Lane::fail_all(lane, -libc::EIO) };
        } else if busy > 0 {
            let now = now_ns();
            // A timer of the driver's does not make the port busy.
            let over =
                if requests > 0 { self.meeting.busy(busy, now) } else { self.meeting.ending(busy, now) };
            if over {
                self.wake_others();
            }
            return false;
        }
        // SAFETY: as promised.
        unsafe {
            (*lane).seal();
            let mut part = lock(&self.parts[(*lane).index]);
            if self.mode == Mode::Adopt {
                part.adopted = (*lane).slots.issued();
                if let (Some(new), true) = (&self.new, self.convert.is_some())
                    && !(*lane).copy_pdus(self.old_pdu, new, &mut part.tags)
                    && self.meeting.abandon("the new driver has no room for a request in flight", now_ns())
                {
                    self.wake_others();
                }
            } else {
                part.drained = part.in_flight_at_hold;
            }
        }
        let first = self.meeting.arrive(now_ns());
        let last = first.is_some();
        if let Some(first) = first {
            // SAFETY: as promised.
            if !unsafe { self.send(lane, Errand::Exchange(first)) } {
                self.run(first, Runner::default());
            }
        }
        // It is not long, mostly: whoever would sleep would have to be woken.
        if self.mode == Mode::Adopt || last {
            let until = now_ns() + SPIN_NS;
            while self.verdict() == Verdict::Undecided && now_ns() < until {
                std::hint::spin_loop();
            }
        }
        true
    }

    /// What the verdict brings about, before anybody sees it.
    pub(crate) fn conclude(&self, verdict: Verdict) {
        match verdict {
            Verdict::New => self.finish(),
            Verdict::Nobody => self.strand(),
            Verdict::Old | Verdict::Undecided => {}
        }
        self.meeting.decide(verdict);
        self.wake_others();
    }

    /// The state that the new driver reads must be there before it is let in.
    pub(crate) fn transfer(&self) -> Result<(), String> {
        let Some(new) = &self.new else { return Ok(()) };
        let reads = &new.module.manifest().state_read;
        let mut inner = lock(&self.port.inner);
        inner.announced.clear();
        if reads.is_empty() || inner.states.list().is_empty() {
            return Ok(());
        }
        let writer = match (&self.old, &inner.left) {
            (Some(old), _) => Some(old.module.manifest()),
            (None, left) => left.as_ref().map(|left| &left.manifest),
        };
        if let Some((schema, bytes)) = given_state(new, inner.states.list()) {
            if !writer.is_some_and(Manifest::state_is_typed) {
                return Ok(());
            }
            return match state::read(bytes) {
                Ok(_) => Ok(()),
                Err(e) => Err(format!("state {schema} as the running driver left it: {e}")),
            };
        }
        // The checks have decided what becomes of state that the two have no schema in common for.
        let writes = writer.map_or(&[][..], |writer| &writer.state_write);
        if !reads.iter().any(|schema| writes.contains(schema)) {
            return Ok(());
        }
        let list = |all: Vec<String>| all.join(", ");
        let written = list(inner.states.list().iter().map(|(s, _)| s.clone()).collect());
        let wanted = list(reads.iter().map(ToString::to_string).collect());
        Err(format!("state written as {written}; the new driver reads {wanted}"))
    }

    /// Whether the new driver can be asked what it has made of the state: it writes the schema that it was given,
    /// and can do so now. What could not be read, and had to be, has been found out in `transfer`.
    pub(crate) fn asks_for_state(&self, new: &Instance) -> bool {
        let inner = lock(&self.port.inner);
        let given = given_state(new, inner.states.list()).map(|(_, bytes)| state::read(bytes));
        let typed = new.module.manifest().state_is_typed();
        matches!(given, Some(Ok(_))) && typed && new.module.driver().save_state.is_some()
    }

    /// What the new driver has made of the state, and has written aside, must still have all of it.
    pub(crate) fn check_state(&self, new: &Instance) -> Result<(), String> {
        let mut inner = lock(&self.port.inner);
        let kept = compare(new, inner.states.list(), inner.states.aside());
        inner.states.forget_aside();
        kept
    }

    /// Every device that clients use must still be there.
    pub(crate) fn check_devices(&self) -> Result<(), String> {
        let inner = lock(&self.port.inner);
        if let Some(less) = inner.shrunk(&self.port.name).first().filter(|_| !inner.may_shrink) {
            return Err(format!("{less}: takes --force"));
        }
        for device in &inner.devices {
            let used = inner.offers.get(&device.number).is_some_and(|o| o.clients > 0);
            if used && !inner.announced.iter().any(|d| d.number == device.number) {
                return Err(format!(
                    "device {} has clients, and the new driver does not announce it",
                    device.number
                ));
            }
        }
        Ok(())
    }

    /// Nobody serves from here on. What the next driver must know of the last one is kept.
    fn strand(&self) {
        let mut inner = lock(&self.port.inner);
        inner.announced.clear();
        inner.serving = None;
        if let Some(old) = &self.old {
            inner.left = Some(left(&inner, old));
        }
    }

    /// The new driver serves from here on: its devices and its instance become the port's.
    fn finish(&self) {
        let mut inner = lock(&self.port.inner);
        inner.serving.clone_from(&self.new);
        inner.left = None;
        if self.new.is_some() {
            *lock(&self.smaller) = inner.shrunk(&self.port.name);
            // The room stays, for the next one.
            let PortInner { devices, announced, .. } = &mut *inner;
            std::mem::swap(devices, announced);
            announced.clear();
            if let Some(properties) = lock(&self.properties).as_mut() {
                // The previous set goes with the job, after the pause.
                std::mem::swap(&mut inner.properties, properties);
            } else {
                inner.swaps += u64::from(self.old.is_some());
            }
            if let Some(new) = &self.new {
                new.forget_errors();
                // What it got is the port's from here on, whatever becomes of it.
                *lock(&new.made) = Made::default();
                for (index, part) in self.parts.iter().enumerate().filter(|_| self.convert.is_some()) {
                    new.take_copies_over(index, &lock(part).tags);
                }
                let shell = new.shell_params();
                self.port.memory.iter().for_each(|memory| memory.allow_data(shell.max_transfer));
                self.port.limits.apply(&shell);
            }
            inner.down = None;
            self.port.count_attach();
        } else if let Some(properties) = lock(&self.properties).as_mut() {
            // Its devices are shown to nobody meanwhile, but what comes up must suit who has them open.
            std::mem::swap(&mut inner.properties, properties);
            if let Some(old) = &self.old {
                inner.left = Some(left(&inner, old));
                inner.down = Some(old.module.clone());
            }
            self.port.count_attach();
        } else {
            inner.devices.clear();
        }
        drop(inner);
    }

    pub(crate) fn wake_others(&self) {
        if self.remotes.len() > 1 || self.apart.get().is_some() {
            self.remotes.iter().for_each(|r| r.wake());
        }
    }

    /// Gives the transaction up, if it has not come to a verdict, because a queue does not answer.
    pub(crate) fn abandon(&self, why: &str) {
        if self.meeting.abandon(why, now_ns()) {
            self.remotes.iter().for_each(|r| r.wake());
        }
    }

    /// A queue takes the verdict over and lets held requests in. False: it has to wait for the driver to start its
    /// own operations, and comes again.
    ///
    /// # Safety
    /// As for `hold`; the verdict is there, and the driver is not away.
    pub(crate) unsafe fn release(&self, lane: *mut Lane) -> bool {
        let verdict = self.verdict();
        let next = if verdict == Verdict::New { &self.new } else { &self.old };
        // SAFETY: as promised.
        unsafe {
            let has_run = (*lane).has_run();
            if verdict == Verdict::New && !has_run {
                (*lane).install(self.new.clone());
            }
            let runs = verdict == Verdict::New || verdict == Verdict::Old && self.drains();
            let can_run = |next: &Instance| next.module.driver().queue_run.is_some() && !next.is_abandoned();
            let runs = runs && next.as_deref().is_some_and(can_run);
            if runs && !has_run && self.send_away(lane, Step::Run) {
                return false;
            }
            let index = (*lane).index;
            let release_ns = now_ns();
            let (longest, held) = match verdict {
                Verdict::New => {
                    if self.new.is_some() {
                        Lane::open_after(lane, true, has_run)
                    } else {
                        let held = (*lane).held();
                        if self.takes_down() {
                            Lane::take_down(lane);
                        }
                        (0, held)
                    }
                }
                // What was asked to end its port operations is told to start them again.
                Verdict::Old if self.old.as_ref().is_some_and(|old| !old.is_abandoned()) => {
                    Lane::open_after(lane, self.drains(), has_run)
                }
                _ => {
                    (*lane).install(None);
                    (*lane).stays_closed();
                    (0, (*lane).slots.held())
                }
            };
            Lane::commit(lane);
            let mut part = lock(&self.parts[index]);
            part.release_ns = release_ns;
            part.held = held;
            let pause = release_ns.saturating_sub(part.hold_ns);
            // Requests that waited in a socket or in the ring, because this thread was busy with the
            // swap, were kept from the driver for at most the pause.
            let busy_here = if self.mode == Mode::Adopt { pause } else { 0 };
            part.longest_stall_ns = longest.max(busy_here);
        }
        self.end_release();
        true
    }

    /// A queue goes on holding: its driver was given up before it had opened.
    ///
    /// # Safety
    /// As for `hold`.
    pub(crate) unsafe fn released(&self, lane: *mut Lane) {
        // SAFETY: as promised.
        let (index, held) = unsafe { ((*lane).index, (*lane).slots.held()) };
        let mut part = lock(&self.parts[index]);
        (part.release_ns, part.held) = (now_ns(), held);
        drop(part);
        self.end_release();
    }

    fn end_release(&self) {
        if self.meeting.released(now_ns()) {
            let _ = self.finished.try_send(());
        }
    }
}

/// What is kept of a driver that nobody comes after.
pub(crate) fn left(inner: &PortInner, old: &Instance) -> Left {
    let (manifest, release) = (old.module.manifest().clone(), old.module.release());
    Left { manifest, release, opened: inner.opened_by(old), regions: lock(&old.regions).clone() }
}

/// Makes room for what the drivers leave and announce within the pause.
fn make_room(port: &Port, old: Option<&Instance>, new: Option<&Instance>) {
    let writes = |i: Option<&Instance>| i.map_or(0, |i| i.module.manifest().state_write.len());
    let mut inner = lock(&port.inner);
    inner.states.make_room(writes(old) + writes(new));
    let devices = inner.devices.len().max(1);
    inner.announced.reserve(devices);
}

/// The state that a driver is given: the best of its schemas that is there.
fn given_state<'a>(new: &Instance, states: &'a [State]) -> Option<(&'a str, &'a [u8])> {
    let reads = &new.module.manifest().state_read;
    let left = |schema: &Schema| states.iter().find(|(known, _)| schema.is(known));
    let (schema, bytes) = reads.iter().find_map(left)?;
    Some((schema, bytes))
}

/// Whether a driver that was given `before` has all of it, as far as it writes the same schema: `after`.
fn compare(new: &Instance, before: &[State], after: &[State]) -> Result<(), String> {
    let Some((schema, bytes)) = given_state(new, before) else { return Ok(()) };
    let Some((_, written)) = after.iter().find(|(known, _)| known == schema) else { return Ok(()) };
    let Ok(before) = state::read(bytes) else { return Ok(()) };
    let result = match state::read(written) {
        Ok(after) => state::kept(&before, &after),
        Err(e) => Err(e.to_string()),
    };
    result.map_err(|why| {
        let release = new.module.release();
        format!("state {schema} as {} {} took it over: {why}", release.driver, release.version)
    })
}

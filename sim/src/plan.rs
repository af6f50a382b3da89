//! What a run does: made from its seed, so that the seed is all that must be known to do it again.

use crate::rng::Rng;
use crate::values::Given;
use crate::wish::Wish;
use steadfast_shell::receipt::{Mode, Phase};
use steadfast_shell::update::IfBusy;

/// A way in which something goes wrong, or comes in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Kind {
    /// Nothing does.
    Nothing,
    /// A call returns an error.
    Error,
    /// A driver panics; its SDK makes an error of that.
    Panic,
    /// A call does not return until long after the deadline.
    Hang,
    /// The deadline passes.
    Deadline,
    /// A client vanishes; its requests are in flight.
    ClientLoss,
    /// Another update of the same port is asked for.
    Second,
    /// The port is to be taken away.
    Stop,
    /// The update is given up from outside.
    Abandon,
}

impl Kind {
    /// All, in the order of their numbers.
    pub const ALL: [Kind; 9] = [
        Kind::Nothing,
        Kind::Error,
        Kind::Panic,
        Kind::Hang,
        Kind::Deadline,
        Kind::ClientLoss,
        Kind::Second,
        Kind::Stop,
        Kind::Abandon,
    ];

    /// The name in tables and traces.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Nothing => "none",
            Kind::Error => "error",
            Kind::Panic => "panic",
            Kind::Hang => "hang",
            Kind::Deadline => "deadline",
            Kind::ClientLoss => "client-loss",
            Kind::Second => "second-update",
            Kind::Stop => "stop",
            Kind::Abandon => "abandon",
        }
    }

    /// Comes from outside, at any moment; the others happen in a call.
    pub(crate) fn is_event(self) -> bool {
        matches!(self, Kind::ClientLoss | Kind::Second | Kind::Stop | Kind::Abandon)
    }
}

/// The phases, in their order.
pub const PHASES: [Phase; 12] = [
    Phase::Stage,
    Phase::Check,
    Phase::Load,
    Phase::Prepare,
    Phase::StartUpdate,
    Phase::Pending,
    Phase::Disconnect,
    Phase::Transfer,
    Phase::Connect,
    Phase::FinishUpdate,
    Phase::CancelUpdate,
    Phase::Unload,
];

/// The modes.
pub const MODES: [Mode; 3] = [Mode::Adopt, Mode::Split, Mode::Drain];

/// One thing that is to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) phase: Phase,
    pub(crate) kind: Kind,
}

/// Whether `kind` can happen in `phase` at all.
///
/// No driver's code runs in stage, check, transfer: nothing can panic there. Closing and opening gates
/// cannot fail. Only what waits for requests or for `connect` has a deadline.
pub fn can_happen(phase: Phase, mode: Mode, kind: Kind, has_old: bool) -> bool {
    use Phase::*;
    if !has_old && (phase == Disconnect || mode == Mode::Split) {
        return false;
    }
    match kind {
        Kind::Nothing => false,
        Kind::Error => match phase {
            StartUpdate | FinishUpdate => false,
            Unload | CancelUpdate => has_old,
            // An operation that the old driver waits for fails; or one that waits for the new one.
            Pending => has_old,
            _ => true,
        },
        Kind::Panic => match phase {
            Load | Prepare | Disconnect | Connect => true,
            CancelUpdate => has_old,
            // In `hand_back`.
            StartUpdate => mode == Mode::Split,
            // In `event`.
            Pending => has_old && mode != Mode::Adopt,
            _ => false,
        },
        Kind::Hang => match phase {
            Check | Transfer => false,
            // A queue's thread that is inside a driver when it should take part.
            StartUpdate => has_old,
            Pending => has_old && mode != Mode::Adopt,
            CancelUpdate | Unload => has_old,
            _ => true,
        },
        Kind::Deadline => match phase {
            Pending => has_old && mode != Mode::Adopt,
            Disconnect | Connect => has_old,
            _ => false,
        },
        Kind::Abandon => phase != Unload,
        Kind::ClientLoss | Kind::Second | Kind::Stop => has_old || phase != Unload,
    }
}

/// A driver release, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    /// Its version's minor number.
    pub(crate) version: u8,
    /// Which of the two layouts of private bytes per request it uses, 1 or 2.
    pub(crate) pdu: u8,
    /// It can take over requests of the other layout.
    pub(crate) adopts_other: bool,
    /// It can hand back what it has not begun.
    pub(crate) hand_back: bool,
    /// Requests that it works on at a time, per queue.
    pub(crate) depth: u8,
    /// It gathers requests and begins them at the end of a batch.
    pub(crate) gathers: bool,
    /// It lets the device do FUA; otherwise it writes and then flushes.
    pub(crate) fua: bool,
    /// State schemas that it writes and reads, bits of 1 and 2.
    pub(crate) states: u8,
    /// It keeps an operation of no request in flight.
    pub(crate) poll: bool,
}

impl Spec {
    pub(crate) fn random(rng: &mut Rng, version: u8) -> Spec {
        Spec {
            version,
            pdu: rng.range(1, 2) as u8,
            adopts_other: rng.chance(60),
            hand_back: rng.chance(70),
            depth: rng.range(1, 4) as u8,
            gathers: rng.chance(40),
            fua: rng.chance(50),
            states: rng.pick(&[1, 2, 3, 3]),
            poll: rng.chance(25),
        }
    }

    /// A release that takes over from `old` in `mode`.
    pub(crate) fn after(rng: &mut Rng, old: &Spec, mode: Mode) -> Spec {
        let mut new = Spec::random(rng, old.version + 1);
        new.states |= 1 << rng.below(2);
        if new.states & old.states == 0 {
            new.states = 3;
        }
        match mode {
            Mode::Adopt if new.pdu != old.pdu => new.adopts_other = true,
            _ => {}
        }
        new
    }
}

/// One update that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) mode: Mode,
    pub(crate) if_busy: IfBusy,
    pub(crate) deadline_ns: u64,
    pub(crate) faults: Vec<Fault>,
    pub(crate) delay_ns: u64,
}

/// What is done with one port.
#[derive(Clone, Debug)]
pub(crate) struct PortPlan {
    /// Its lanes lie on so many of the queues, from that one on.
    pub(crate) queues: usize,
    pub(crate) first_queue: usize,
    pub(crate) slots: u32,
    pub(crate) first: Spec,
    /// Faults of the first attach.
    pub(crate) attach: Vec<Fault>,
    /// Faults of the first update of a port that nobody serves.
    pub(crate) rescue: Vec<Fault>,
    pub(crate) asks: Vec<Ask>,
    /// Its load-time properties.
    pub(crate) load_time: Given,
    pub(crate) wishes: Vec<Wish>,
    pub(crate) clients: usize,
    pub(crate) requests: usize,
    /// Slowest operation of its device.
    pub(crate) latency_ns: u64,
}

/// What a run does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Queues, each a thread; ports share them.
    pub(crate) queues: usize,
    pub(crate) ports: Vec<PortPlan>,
    /// When power is lost, if it is.
    pub(crate) power_ns: Option<u64>,
}

pub(crate) const US: u64 = 1_000;
pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000_000_000;

impl Plan {
    pub(crate) fn new(rng: &mut Rng) -> Plan {
        let queues = rng.pick(&[1, 1, 2, 2, 3, 4]);
        let count = rng.pick(&[2, 2, 2, 3, 4]);
        let ports = (0..count).map(|p| PortPlan::new(rng, queues, p == 0)).collect();
        Plan { queues, ports, power_ns: rng.chance(15).then(|| rng.range(100 * US, 6 * MS)) }
    }
}

impl PortPlan {
    /// The first port has the most to do; the others see to it that they are left alone.
    fn new(rng: &mut Rng, threads: usize, main: bool) -> PortPlan {
        let queues = rng.range(1, threads as u64) as usize;
        let mut first = Spec::random(rng, 0);
        let count = if main { rng.pick(&[1, 1, 2, 3]) } else { rng.pick(&[0, 0, 1]) };
        let asks: Vec<Ask> = (0..count).map(|_| ask(rng)).collect();
        // The first driver can do what the first update asks of it.
        if asks.first().is_some_and(|ask| ask.mode == Mode::Split) {
            first.hand_back = true;
        }
        let wishes = if main { rng.pick(&[0, 1, 1, 2]) } else { rng.pick(&[0, 0, 1]) };
        let attach = if main && rng.chance(12) { without_old(rng) } else { Vec::new() };
        let latency_ns = rng.pick(&[20 * US, 200 * US, 2 * MS]);
        PortPlan {
            queues,
            first_queue: rng.below(threads),
            slots: rng.range(2, 6) as u32,
            first,
            attach,
            rescue: without_old(rng),
            asks,
            load_time: crate::wish::set(rng),
            wishes: (0..wishes).map(|_| Wish::random(rng)).collect(),
            clients: rng.range(1, if main { 3 } else { 2 }) as usize,
            requests: rng.range(3, if main { 14 } else { 6 }) as usize,
            latency_ns,
        }
    }
}

fn ask(rng: &mut Rng) -> Ask {
    let mode = rng.pick(&MODES);
    let mut ask = Ask {
        mode,
        if_busy: if rng.chance(12) { IfBusy::Fail } else { IfBusy::Wait },
        deadline_ns: rng.pick(&[50 * MS, 500 * MS, 45 * SECOND]),
        faults: Vec::new(),
        delay_ns: rng.range(10 * US, MS),
    };
    if rng.chance(12) {
        return ask;
    }
    let fault = loop {
        let fault = Fault { phase: rng.pick(&PHASES), kind: rng.pick(&Kind::ALL) };
        if can_happen(fault.phase, mode, fault.kind, true) {
            break fault;
        }
    };
    if fault.kind == Kind::Deadline {
        ask.deadline_ns = if fault.phase == Phase::Pending { rng.range(US, 60 * US) } else { 50 * MS };
    }
    if fault.phase > Phase::StartUpdate || fault.kind == Kind::Deadline {
        ask.if_busy = IfBusy::Wait;
    }
    // The way back is gone only when something sends the update back.
    if fault.phase == Phase::CancelUpdate {
        let phase = rng.pick(&[Phase::Connect, Phase::Connect, Phase::Transfer, Phase::Disconnect]);
        ask.faults.push(Fault { phase, kind: Kind::Error });
    }
    ask.faults.push(fault);
    if rng.chance(10) {
        let also = Fault { phase: rng.pick(&PHASES), kind: rng.pick(&Kind::ALL) };
        if can_happen(also.phase, mode, also.kind, true) && also.kind != Kind::Deadline {
            ask.faults.push(also);
        }
    }
    ask
}

fn without_old(rng: &mut Rng) -> Vec<Fault> {
    loop {
        let fault = Fault { phase: rng.pick(&PHASES), kind: rng.pick(&Kind::ALL) };
        if can_happen(fault.phase, Mode::Drain, fault.kind, false) {
            return vec![fault];
        }
    }
}

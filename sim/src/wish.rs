//! The activations that a run asks for, and what comes between.

use crate::plan::{Fault, Kind, MS, PHASES, SECOND, US, can_happen};
use crate::rng::Rng;
use crate::values::{DEPTH, Given, LINK, SLOTS, THROTTLE};
use steadfast_shell::activation::Step;
use steadfast_shell::receipt::{Mode, Phase};

/// A way in which an activation goes wrong, or something comes in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Upset {
    /// The step fails.
    Error,
    /// The driver panics.
    Panic,
    /// The step takes until long after everybody has given up.
    Late,
    /// What is waited for does not come in time.
    Deadline,
    /// A client vanishes; its requests are in flight.
    ClientLoss,
    /// An update of the same port is asked for.
    Update,
    /// Another activation of the same port is.
    Activation,
    /// A live parameter of the port is to be changed.
    Live,
    /// The port is to be taken away.
    Removal,
    /// The daemon is to stop.
    Stop,
    /// The wall clock is set back.
    ClockBack,
    /// The re-initialisation says that it went well, and did not.
    Lie,
}

impl Upset {
    /// All, in the order of their numbers.
    pub const ALL: [Upset; 12] = [
        Upset::Error,
        Upset::Panic,
        Upset::Late,
        Upset::Deadline,
        Upset::ClientLoss,
        Upset::Update,
        Upset::Activation,
        Upset::Live,
        Upset::Removal,
        Upset::Stop,
        Upset::ClockBack,
        Upset::Lie,
    ];

    /// The name in tables and traces.
    pub const fn name(self) -> &'static str {
        match self {
            Upset::Error => "error",
            Upset::Panic => "panic",
            Upset::Late => "late",
            Upset::Deadline => "deadline",
            Upset::ClientLoss => "client-loss",
            Upset::Update => "update",
            Upset::Activation => "activation",
            Upset::Live => "live-change",
            Upset::Removal => "removal",
            Upset::Stop => "stop",
            Upset::ClockBack => "clock-back",
            Upset::Lie => "lie",
        }
    }

    /// Comes from outside, at any moment; the others happen in a step.
    pub(crate) fn is_event(self) -> bool {
        use Upset::*;
        matches!(self, ClientLoss | Update | Activation | Live | Removal | Stop | ClockBack)
    }
}

/// Whether `upset` can come in `step` at all.
///
/// Reading a number cannot fail; no driver's code runs but in the re-initialisation; only that and the
/// block wait for others.
pub fn can_upset(step: Step, upset: Upset, idle_only: bool) -> bool {
    if step == Step::Idle && !idle_only {
        return false;
    }
    match upset {
        Upset::Error => step != Step::Compare,
        Upset::Panic | Upset::Lie => step == Step::Reinit,
        Upset::Deadline => matches!(step, Step::Block | Step::Reinit),
        _ => true,
    }
}

/// One activation that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) at_ns: u64,
    pub(crate) idle_only: bool,
    pub(crate) delay_ns: u64,
    pub(crate) drain_ns: u64,
    /// What the configuration says.
    pub(crate) set: Given,
    pub(crate) upsets: Vec<(Step, Upset)>,
    /// What goes wrong in the transaction that the re-initialisation is.
    pub(crate) faults: Vec<Fault>,
}

impl Wish {
    /// One in which nothing goes wrong.
    pub(crate) fn plain(rng: &mut Rng) -> Wish {
        Wish {
            at_ns: if rng.chance(40) { rng.range(20 * MS, 60 * MS) } else { rng.range(10 * US, 3 * MS) },
            idle_only: rng.chance(40),
            delay_ns: rng.pick(&[0, 0, 20 * US, 500 * US, 5 * MS]),
            drain_ns: rng.pick(&[SECOND, 45 * SECOND]),
            set: set(rng),
            upsets: Vec::new(),
            faults: Vec::new(),
        }
    }

    pub(crate) fn random(rng: &mut Rng) -> Wish {
        let mut wish = Wish::plain(rng);
        if rng.chance(12) {
            return wish;
        }
        if rng.chance(4) {
            // The generation has grown by what came in between, and by nothing else.
            let before = rng.pick(&[Step::Clear, Step::Undefine, Step::Define, Step::Delay]);
            wish.delay_ns = 5 * MS;
            wish.upset(rng, before, Upset::Update);
            wish.upset(rng, Step::Reinit, Upset::Lie);
            return wish;
        }
        let (step, upset) = loop {
            let (step, upset) = (rng.pick(&Step::ALL), rng.pick(&Upset::ALL));
            if can_upset(step, upset, wish.idle_only) {
                break (step, upset);
            }
        };
        if step == Step::Restore {
            let cause = rng.pick(&[Step::Define, Step::Delay, Step::Block, Step::Reinit, Step::Reinit]);
            wish.upset(rng, cause, Upset::Error);
        }
        wish.upset(rng, step, upset);
        if rng.chance(15) {
            let (step, upset) = (rng.pick(&Step::ALL), rng.pick(&Upset::ALL));
            if can_upset(step, upset, wish.idle_only) {
                wish.upset(rng, step, upset);
            }
        }
        wish
    }

    fn upset(&mut self, rng: &mut Rng, step: Step, upset: Upset) {
        self.upsets.push((step, upset));
        if upset == Upset::Error && step == Step::Define {
            let (name, value) = rng.pick(&[(DEPTH, "5"), (LINK, "none"), ("unknown", "1"), (SLOTS, "0")]);
            self.set.insert(name.to_owned(), value.to_owned());
        }
        if step != Step::Reinit {
            return;
        }
        let connect = |kind| Fault { phase: Phase::Connect, kind };
        match upset {
            Upset::Error if rng.chance(30) => {
                self.set.insert(LINK.to_owned(), "broken".to_owned());
            }
            Upset::Lie => self.faults.push(connect(Kind::Error)),
            Upset::Error => self.inner(rng, Kind::Error),
            Upset::Panic => self.inner(rng, Kind::Panic),
            Upset::Late => self.inner(rng, Kind::Hang),
            Upset::Deadline if rng.chance(50) => {
                self.drain_ns = rng.range(US, 60 * US);
                self.faults.push(Fault { phase: Phase::Pending, kind: Kind::Deadline });
            }
            Upset::Deadline => self.inner(rng, Kind::Deadline),
            // What comes from outside finds the transaction in one of its phases.
            _ if rng.chance(70) => {}
            Upset::ClientLoss => self.inner(rng, Kind::ClientLoss),
            Upset::Update => self.inner(rng, Kind::Second),
            Upset::Removal => self.inner(rng, Kind::Stop),
            Upset::Stop => self.inner(rng, Kind::Abandon),
            _ => {}
        }
    }

    /// A fault of the transaction, and what leads to it.
    fn inner(&mut self, rng: &mut Rng, kind: Kind) {
        let fault = loop {
            let phase = rng.pick(&PHASES[3..]);
            let outside = phase > Phase::Prepare || matches!(kind, Kind::Error | Kind::Panic | Kind::Hang);
            if outside && can_happen(phase, Mode::Drain, kind, true) {
                break Fault { phase, kind };
            }
        };
        if fault.phase == Phase::CancelUpdate {
            self.faults.push(Fault { phase: Phase::Connect, kind: Kind::Error });
        }
        if kind == Kind::Deadline {
            self.drain_ns = if fault.phase == Phase::Pending { rng.range(US, 60 * US) } else { 50 * MS };
        }
        self.faults.push(fault);
    }
}

/// A set that is allowed: each parameter is given or not.
pub(crate) fn set(rng: &mut Rng) -> Given {
    let mut set = Given::new();
    let depth = rng.range(1, 4);
    if rng.chance(60) {
        set.insert(DEPTH.to_owned(), depth.to_string());
    }
    if rng.chance(60) {
        // The default depth is 4.
        let least = if set.contains_key(DEPTH) { depth } else { 4 };
        set.insert(SLOTS.to_owned(), rng.range(least, 6).to_string());
    }
    if rng.chance(40) {
        set.insert(LINK.to_owned(), rng.pick(&["plain", "careful"]).to_owned());
    }
    if rng.chance(40) {
        set.insert(THROTTLE.to_owned(), rng.range(0, 8).to_string());
    }
    set
}

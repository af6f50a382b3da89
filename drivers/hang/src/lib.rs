//! `hang`: a device whose requests never complete, or which does not return from an entry point.
//! Everything can be changed while it serves, so what hangs can be let go.
//!
//! A request that hangs waits for an operation of the shell's that is begun again and again. When the
//! driver is replaced it is handed back; with `hand_back=false` it counts as begun, and hangs until a
//! driver that adopts it carries it out.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use steadfast_driver::{
    Adopted, Block, Errno, Event, Info, Io, Operation, Params, Port, Prepare, Request, Result, Size,
    Submitted,
};
use steadfast_fault::{ADOPTS, Backend, Carries, Entry, FEATURES, How, Progress, Rule, Trap, Waiting, stage};

/// How often a request that hangs looks whether it may go on.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Params)]
struct Parameters {
    /// Size of the device.
    #[param(default = "64M", range = "4096..=1T", unit = "bytes")]
    size: Size,
    /// Another device of the daemon that holds the data, instead of memory.
    over: Option<String>,
    /// Kinds of requests that hang: a list of read, write, flush, trim, zero, cache, status; or all.
    #[param(default = "none", class = live)]
    ops: String,
    /// Only requests that touch the device from here on hang.
    #[param(default = "0", class = live, unit = "bytes")]
    offset: Size,
    /// Bytes from `offset` on that hang; to the end when not given.
    #[param(class = live, unit = "bytes")]
    length: Option<Size>,
    /// So many requests hang, then no more; 0: no end.
    #[param(default = 0, class = live)]
    count: u64,
    /// Requests that hang go on, and no more hang.
    #[param(default = false, class = live)]
    release: bool,
    /// Requests that hang are handed back when the driver is replaced; otherwise they count as begun.
    #[param(default = true, class = live)]
    hand_back: bool,
    /// An entry point that blocks the thread that enters it.
    #[param(default = "none", class = live)]
    at: Entry,
    /// How long it blocks.
    #[param(default = 30000, range = 1..=3600000, class = live, unit = "ms")]
    for_ms: u64,
    /// Calls of it that do not block, before one does.
    #[param(default = 0, class = live)]
    after: u64,
    /// So many calls block, then no more; 0: no end.
    #[param(default = 0, class = live)]
    times: u64,
}

steadfast_fault::pdu!(HangPdu, "hang/1");

struct Hang {
    backend: Backend,
    stop: Stop,
}

/// What hangs.
struct Stop {
    rule: Rule,
    count: u64,
    release: bool,
    hand_back: bool,
    trap: Trap,
    hung: AtomicU64,
}

impl Stop {
    fn new(params: &Parameters) -> Result<Stop> {
        let how = How::Block(Duration::from_millis(params.for_ms));
        Ok(Stop {
            rule: Rule::new(&params.ops, params.offset, params.length)?,
            count: params.count,
            release: params.release,
            hand_back: params.hand_back,
            trap: Trap::new(params.at, how, params.after, params.times),
            hung: AtomicU64::new(0),
        })
    }

    fn stops<D: Block>(&self, req: &Request<'_, D>) -> bool {
        !self.release
            && self.rule.matches(req)
            && (self.count == 0 || self.hung.fetch_add(1, Relaxed) < self.count)
    }
}

impl Block for Hang {
    type Params = Parameters;
    type State = ();
    type Pdu = HangPdu;
    type Queue = Waiting;
    const HANDS_BACK: bool = true;
    const SAVES_STATE: bool = true;

    const INFO: Info = Info::new("hang", env!("CARGO_PKG_VERSION"))
        .about("A device in memory, or over another one, whose requests or entry points hang on purpose")
        .features(FEATURES)
        .adopts(ADOPTS);

    fn prepare(cx: &mut Prepare<'_>, params: Parameters) -> Result<Hang> {
        let hang = Hang {
            stop: Stop::new(&params)?,
            backend: Backend::prepare(cx, params.size, params.over.as_deref())?,
        };
        hang.stop.trap.enter(Entry::Prepare)?;
        Ok(hang)
    }

    fn connect(&mut self, cx: &mut Port<'_>, _: Option<()>) -> Result<()> {
        self.stop.trap.enter(Entry::Connect)?;
        self.backend.announce(cx)
    }

    fn disconnect(&mut self, _: &mut Port<'_>) -> Result<()> {
        self.stop.trap.enter(Entry::Disconnect)
    }

    fn reconnect(&mut self, cx: &mut Port<'_>, _: Option<()>) -> Result<()> {
        self.stop.trap.enter(Entry::Reconnect)?;
        self.backend.announce(cx)
    }

    fn save_state(&self, _: &mut Port<'_>) -> Result<()> {
        self.stop.trap.enter(Entry::SaveState)
    }

    fn queue_start(&self, _: &mut Io<'_, Self>) -> Result<Waiting> {
        self.stop.trap.enter(Entry::QueueStart)?;
        Ok(Waiting::default())
    }

    fn queue_run(&self, _: &mut Waiting, _: &mut Io<'_, Self>) {
        let _ = self.stop.trap.enter(Entry::QueueRun);
    }

    fn submit<'q>(
        &self,
        waiting: &mut Waiting,
        io: &mut Io<'q, Self>,
        req: Request<'q, Self>,
    ) -> Submitted<'q> {
        let _ = self.stop.trap.enter(Entry::Submit);
        if self.stop.trap.is_at(Entry::Timer) {
            let _ = io.set_timer(0, LOOK);
        }
        if self.stop.stops(&req) { self.hold(waiting, io, req) } else { self.backend.begin(io, req) }
    }

    fn commit(&self, _: &mut Waiting, _: &mut Io<'_, Self>) {
        let _ = self.stop.trap.enter(Entry::Commit);
    }

    fn event<'q>(
        &self,
        waiting: &mut Waiting,
        io: &mut Io<'q, Self>,
        req: Request<'q, Self>,
        event: Event,
    ) -> Submitted<'q> {
        waiting.remove(&req);
        let _ = self.stop.trap.enter(Entry::Event);
        let hung = req.pdu().get().progress().stage == stage::HUNG;
        if hung && !self.stop.release {
            self.hold(waiting, io, req)
        } else {
            self.backend.event(io, req, event)
        }
    }

    fn timer(&self, _: &mut Waiting, _: &mut Io<'_, Self>, _: u32) {
        let _ = self.stop.trap.enter(Entry::Timer);
    }

    fn hand_back(&self, waiting: &mut Waiting, io: &mut Io<'_, Self>) {
        let _ = self.stop.trap.enter(Entry::HandBack);
        waiting.hand_back(io);
    }

    fn adopt(&self, _: &mut Waiting, req: &Adopted<'_, Self>, schema: &str) -> Result<(), Errno> {
        self.stop.trap.enter(Entry::Adopt).map_err(|e| e.errno())?;
        steadfast_fault::adopt(req, schema).map(|_| ())
    }

    fn param_changed(&mut self, _: &mut Port<'_>, _: &str, params: Parameters) -> Result<()> {
        self.stop = Stop::new(&params)?;
        self.stop.trap.enter(Entry::ParamChanged)
    }
}

impl Drop for Hang {
    fn drop(&mut self) {
        let _ = self.stop.trap.enter(Entry::Release);
    }
}

impl Hang {
    /// Leaves the request waiting, for as long as it takes.
    fn hold<'q>(
        &self,
        waiting: &mut Waiting,
        io: &mut Io<'q, Self>,
        req: Request<'q, Self>,
    ) -> Submitted<'q> {
        if self.stop.hand_back {
            waiting.add(io, &req);
        }
        req.pdu().set(HangPdu::of(Progress { stage: stage::HUNG, ..Progress::waiting() }));
        match io.issue(&req, Operation::timeout(LOOK)) {
            Ok(_) => req.pending(),
            Err(e) => {
                waiting.remove(&req);
                req.fail(e)
            }
        }
    }
}

steadfast_driver::export!(Hang);

//! `crash`: a device whose driver panics, fails or ends the daemon at an entry point, on purpose.
//!
//! A panic is caught at the entry point: an update goes back, a request fails with `EIO`. Only
//! `how=abort` is not: it ends the daemon, as a driver with a wild pointer would.
//!
//! A driver has no parameters yet when it is asked in `probe` whether it may serve the hardware, so there the
//! hardware says what happens: `fault:probe-panic`, `fault:probe-error`, `fault:probe-abort`, or
//! `fault:probe-hang`, whose revision is the time in milliseconds. On any other hardware it says yes.

#![forbid(unsafe_code)]

use std::time::Duration;
use steadfast_driver::{
    Adopted, Block, Errno, Event, Info, Io, Op, Operation, ParamType, Params, Port, Prepare, Probe, Request,
    Result, Size, Submitted,
};
use steadfast_fault::{ADOPTS, Backend, Carries, Entry, ErrorNumber, FEATURES, How, Progress, Trap};

/// When the timer runs out that is set when the fault is in `timer`.
const SOON: Duration = Duration::from_millis(1);

/// What the hardware is called on which `probe` does not go well; how it does not, stands behind.
const HARDWARE: &str = "fault:probe-";

#[derive(Params)]
struct Parameters {
    /// Size of the device.
    #[param(default = "64M", range = "4096..=1T", unit = "bytes")]
    size: Size,
    /// Another device of the daemon that holds the data, instead of memory.
    over: Option<String>,
    /// The entry point.
    #[param(default = "none", class = live)]
    at: Entry,
    /// What happens there: panic, error (with `errno`), or abort, which ends the daemon.
    #[param(default = "panic", class = live)]
    how: Manner,
    /// The error number of `how=error`.
    #[param(default = "EIO", class = live)]
    errno: ErrorNumber,
    /// Calls that go well before one does not.
    #[param(default = 0, class = live)]
    after: u64,
    /// So many calls do not go well, then they do again; 0: no end.
    #[param(default = 0, class = live)]
    times: u64,
}

/// What happens at the entry point.
#[derive(Clone, Copy, ParamType)]
enum Manner {
    Panic,
    Error,
    Abort,
}

impl Parameters {
    fn trap(&self) -> Trap {
        let how = match self.how {
            Manner::Panic => How::Panic,
            Manner::Error => How::Error(self.errno.into()),
            Manner::Abort => How::Abort,
        };
        Trap::new(self.at, how, self.after, self.times)
    }
}

steadfast_fault::pdu!(CrashPdu, "crash/1");

struct Crash {
    backend: Backend,
    trap: Trap,
}

impl Block for Crash {
    type Params = Parameters;
    type State = ();
    type Pdu = CrashPdu;
    type Queue = ();
    const HANDS_BACK: bool = true;
    const SAVES_STATE: bool = true;

    const INFO: Info = Info::new("crash", env!("CARGO_PKG_VERSION"))
        .about("A device in memory, or over another one, whose driver panics or fails at an entry point on purpose")
        .features(FEATURES)
        .adopts(ADOPTS);

    fn probe(probe: &Probe<'_>) -> Result<()> {
        let how = match probe.hwid.strip_prefix(HARDWARE) {
            Some("panic") => How::Panic,
            Some("error") => How::Error(Errno::NODEV),
            Some("abort") => How::Abort,
            Some("hang") => How::Block(Duration::from_millis(probe.revision.into())),
            _ => return Ok(()),
        };
        how.happen("probe")
    }

    fn prepare(cx: &mut Prepare<'_>, params: Parameters) -> Result<Crash> {
        let crash = Crash {
            trap: params.trap(),
            backend: Backend::prepare(cx, params.size, params.over.as_deref())?,
        };
        crash.trap.enter(Entry::Prepare)?;
        Ok(crash)
    }

    fn connect(&mut self, cx: &mut Port<'_>, _: Option<()>) -> Result<()> {
        self.trap.enter(Entry::Connect)?;
        self.backend.announce(cx)
    }

    fn disconnect(&mut self, _: &mut Port<'_>) -> Result<()> {
        self.trap.enter(Entry::Disconnect)
    }

    fn reconnect(&mut self, cx: &mut Port<'_>, _: Option<()>) -> Result<()> {
        self.trap.enter(Entry::Reconnect)?;
        self.backend.announce(cx)
    }

    fn save_state(&self, _: &mut Port<'_>) -> Result<()> {
        self.trap.enter(Entry::SaveState)
    }

    fn queue_start(&self, _: &mut Io<'_, Self>) -> Result<()> {
        self.trap.enter(Entry::QueueStart)
    }

    fn queue_run(&self, _: &mut (), _: &mut Io<'_, Self>) {
        let _ = self.trap.enter(Entry::QueueRun);
    }

    fn submit<'q>(&self, _: &mut (), io: &mut Io<'q, Self>, req: Request<'q, Self>) -> Submitted<'q> {
        if let Err(e) = self.trap.enter(Entry::Submit) {
            return req.fail(e.errno());
        }
        if self.trap.is_at(Entry::Timer) {
            let _ = io.set_timer(0, SOON);
        }
        if self.trap.is_at(Entry::Event) { detour(io, req) } else { self.backend.begin(io, req) }
    }

    fn commit(&self, _: &mut (), _: &mut Io<'_, Self>) {
        let _ = self.trap.enter(Entry::Commit);
    }

    fn event<'q>(
        &self,
        _: &mut (),
        io: &mut Io<'q, Self>,
        req: Request<'q, Self>,
        event: Event,
    ) -> Submitted<'q> {
        match self.trap.enter(Entry::Event) {
            Err(e) => req.fail(e.errno()),
            Ok(()) => self.backend.event(io, req, event),
        }
    }

    fn timer(&self, _: &mut (), _: &mut Io<'_, Self>, _: u32) {
        let _ = self.trap.enter(Entry::Timer);
    }

    // It keeps nothing waiting, so there is nothing to give back.
    fn hand_back(&self, _: &mut (), _: &mut Io<'_, Self>) {
        let _ = self.trap.enter(Entry::HandBack);
    }

    fn adopt(&self, _: &mut (), req: &Adopted<'_, Self>, schema: &str) -> Result<(), Errno> {
        self.trap.enter(Entry::Adopt).map_err(|e| e.errno())?;
        steadfast_fault::adopt(req, schema).map(|_| ())
    }

    fn param_changed(&mut self, _: &mut Port<'_>, _: &str, params: Parameters) -> Result<()> {
        self.trap = params.trap();
        self.trap.enter(Entry::ParamChanged)
    }
}

impl Drop for Crash {
    fn drop(&mut self) {
        let _ = self.trap.enter(Entry::Release);
    }
}

/// An event for a request that would be answered at once otherwise.
fn detour<'q>(io: &mut Io<'q, Crash>, req: Request<'q, Crash>) -> Submitted<'q> {
    if req.op() == Op::Status {
        return req.fail(Errno::OPNOTSUPP);
    }
    req.pdu().set(CrashPdu::of(Progress::waiting()));
    match io.issue(&req, Operation::nop()) {
        Ok(_) => req.pending(),
        Err(e) => req.fail(e),
    }
}

steadfast_driver::export!(Crash);

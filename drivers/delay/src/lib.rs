//! `delay`: a device that takes its time: a fixed part and a random one, for the requests that its
//! parameters name. All of them can be changed while it serves.
//!
//! A request waits first and is carried out then, so until its time has come nothing has been done for
//! it: when the driver is replaced it is handed back. With `hand_back=false` it is treated as one that
//! slow hardware has: the wait is an operation of the shell's, which goes on while the driver is
//! replaced, and what is left of it is waited for under the next one. Either way the delay counts from
//! when the client asked.

#![forbid(unsafe_code)]

use std::time::Duration;
use steadfast_driver::{
    Adopted, Block, Errno, Event, Info, Io, Operation, Params, Port, Prepare, Request, Result, Size,
    Submitted,
};
use steadfast_fault::{ADOPTS, Backend, Carries, FEATURES, Progress, Rule, Sequence, Waiting};

#[derive(Params)]
struct Parameters {
    /// Size of the device.
    #[param(default = "64M", range = "4096..=1T", unit = "bytes")]
    size: Size,
    /// Another device of the daemon that holds the data, instead of memory.
    over: Option<String>,
    /// Fixed part of the delay.
    #[param(default = 0, range = 0..=3600000000, class = live, unit = "us")]
    fixed_us: u64,
    /// Largest random part, added to the fixed one.
    #[param(default = 0, range = 0..=3600000000, class = live, unit = "us")]
    random_us: u64,
    /// Kinds of requests that are delayed: a list of read, write, flush, trim, zero, cache, status; or
    /// all.
    #[param(default = "all", class = live)]
    ops: String,
    /// Only requests that touch the device from here on are delayed.
    #[param(default = "0", class = live, unit = "bytes")]
    offset: Size,
    /// Bytes from `offset` on that are delayed; to the end when not given.
    #[param(class = live, unit = "bytes")]
    length: Option<Size>,
    /// How many of a hundred of them are delayed, at random.
    #[param(default = 100, range = 0..=100, class = live, unit = "%")]
    percent: u32,
    /// Requests that wait are handed back when the driver is replaced; otherwise they count as begun.
    #[param(default = true, class = live)]
    hand_back: bool,
    /// Where the random numbers begin; they begin anew when a parameter is changed.
    #[param(default = 1, class = live)]
    seed: u64,
}

steadfast_fault::pdu!(DelayPdu, "delay/1");

struct Delay {
    backend: Backend,
    waits: Waits,
}

/// Which requests wait, and how long.
struct Waits {
    rule: Rule,
    fixed_ns: u64,
    random_ns: u64,
    percent: u64,
    hand_back: bool,
    sequence: Sequence,
}

impl Waits {
    fn new(params: &Parameters) -> Result<Waits> {
        Ok(Waits {
            rule: Rule::new(&params.ops, params.offset, params.length)?,
            fixed_ns: params.fixed_us * 1000,
            random_ns: params.random_us * 1000,
            percent: params.percent.into(),
            hand_back: params.hand_back,
            sequence: Sequence::new(params.seed),
        })
    }

    /// How long the request is to wait from now on, if it is.
    #[inline]
    fn wait<D: Block>(&self, req: &Request<'_, D>, now_ns: impl FnOnce() -> u64) -> Option<Duration> {
        if self.fixed_ns + self.random_ns == 0 || !self.rule.matches(req) {
            return None;
        }
        let (_, random) = self.sequence.next();
        // The two halves of the number: one says whether, the other how long.
        let (whether, how_long) = (random >> 32, random & 0xffff_ffff);
        if (whether * 100) >> 32 >= self.percent {
            return None;
        }
        let part = (u128::from(how_long) * u128::from(self.random_ns + 1)) >> 32;
        let since = req.submitted_ns();
        let waited = if since == 0 { 0 } else { now_ns().saturating_sub(since) };
        let left = (self.fixed_ns + part as u64).saturating_sub(waited);
        (left > 0).then(|| Duration::from_nanos(left))
    }
}

impl Block for Delay {
    type Params = Parameters;
    type State = ();
    type Pdu = DelayPdu;
    type Queue = Waiting;
    const HANDS_BACK: bool = true;

    const INFO: Info = Info::new("delay", env!("CARGO_PKG_VERSION"))
        .about("A device in memory, or over another one, that takes its time")
        .features(FEATURES)
        .adopts(ADOPTS);

    fn prepare(cx: &mut Prepare<'_>, params: Parameters) -> Result<Delay> {
        Ok(Delay {
            waits: Waits::new(&params)?,
            backend: Backend::prepare(cx, params.size, params.over.as_deref())?,
        })
    }

    fn connect(&mut self, cx: &mut Port<'_>, _: Option<()>) -> Result<()> {
        self.backend.announce(cx)
    }

    fn disconnect(&mut self, _: &mut Port<'_>) -> Result<()> {
        Ok(())
    }

    fn submit<'q>(
        &self,
        waiting: &mut Waiting,
        io: &mut Io<'q, Self>,
        req: Request<'q, Self>,
    ) -> Submitted<'q> {
        let Some(wait) = self.waits.wait(&req, || io.now_ns()) else { return self.backend.begin(io, req) };
        if self.waits.hand_back {
            waiting.add(io, &req);
        }
        req.pdu().set(DelayPdu::of(Progress::waiting()));
        match io.issue(&req, Operation::timeout(wait)) {
            Ok(_) => req.pending(),
            Err(e) => {
                waiting.remove(&req);
                req.fail(e)
            }
        }
    }

    fn event<'q>(
        &self,
        waiting: &mut Waiting,
        io: &mut Io<'q, Self>,
        req: Request<'q, Self>,
        event: Event,
    ) -> Submitted<'q> {
        waiting.remove(&req);
        self.backend.event(io, req, event)
    }

    fn hand_back(&self, waiting: &mut Waiting, io: &mut Io<'_, Self>) {
        waiting.hand_back(io);
    }

    fn adopt(&self, _: &mut Waiting, req: &Adopted<'_, Self>, schema: &str) -> Result<(), Errno> {
        steadfast_fault::adopt(req, schema).map(|_| ())
    }

    fn param_changed(&mut self, _: &mut Port<'_>, _: &str, params: Parameters) -> Result<()> {
        self.waits = Waits::new(&params)?;
        Ok(())
    }
}

steadfast_driver::export!(Delay);

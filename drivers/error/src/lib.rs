//! `error`: a device that fails requests on purpose, as many and of such kinds as its parameters say,
//! the same ones for the same seed. All of them can be changed while it serves.
//!
//! A request that fails is not carried out at all. Without parameters nothing fails.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use steadfast_driver::{
    Adopted, Block, Errno, Event, Info, Io, Params, Port, Prepare, Request, Result, Size, Submitted,
};
use steadfast_fault::{ADOPTS, Backend, ErrorNumber, FEATURES, Rule, Sequence};

#[derive(Params)]
struct Parameters {
    /// Size of the device.
    #[param(default = "64M", range = "4096..=1T", unit = "bytes")]
    size: Size,
    /// Another device of the daemon that holds the data, instead of memory.
    over: Option<String>,
    /// How many of a million requests fail, at random.
    #[param(default = 0, range = 0..=1000000, class = live)]
    rate: u32,
    /// Every so-manyth request fails; 0: none for this reason.
    #[param(default = 0, class = live)]
    every: u64,
    /// Kinds of requests that fail: a list of read, write, flush, trim, zero, cache, status; or all.
    #[param(default = "all", class = live)]
    ops: String,
    /// Only requests that touch the device from here on fail.
    #[param(default = "0", class = live, unit = "bytes")]
    offset: Size,
    /// Bytes from `offset` on that fail; to the end when not given.
    #[param(class = live, unit = "bytes")]
    length: Option<Size>,
    /// What they fail with.
    #[param(default = "EIO", class = live)]
    errno: ErrorNumber,
    /// So many requests fail, then no more; 0: no end.
    #[param(default = 0, class = live)]
    count: u64,
    /// Where the random numbers begin; they begin anew when a parameter is changed.
    #[param(default = 1, class = live)]
    seed: u64,
}

steadfast_fault::pdu!(ErrorPdu, "error/1");

struct Faulty {
    backend: Backend,
    faults: Faults,
}

/// Which requests fail, and what has failed so far.
struct Faults {
    rule: Rule,
    rate: u64,
    every: u64,
    count: u64,
    errno: Errno,
    sequence: Sequence,
    failed: AtomicU64,
}

impl Faults {
    fn new(params: &Parameters) -> Result<Faults> {
        Ok(Faults {
            rule: Rule::new(&params.ops, params.offset, params.length)?,
            rate: params.rate.into(),
            every: params.every,
            count: params.count,
            errno: params.errno.into(),
            sequence: Sequence::new(params.seed),
            failed: AtomicU64::new(0),
        })
    }

    /// What the request is to fail with, if it is.
    #[inline]
    fn fault<D: Block>(&self, req: &Request<'_, D>) -> Option<Errno> {
        if self.rate == 0 && self.every == 0 || !self.rule.matches(req) {
            return None;
        }
        let (before, random) = self.sequence.next();
        let turn = self.every > 0 && (before + 1).is_multiple_of(self.every);
        // The upper half of a product: `rate` in a million, without the bias of a remainder.
        let chance = (u128::from(random) * 1_000_000) >> 64 < u128::from(self.rate);
        if !(turn || chance) || self.count > 0 && self.failed.fetch_add(1, Relaxed) >= self.count {
            return None;
        }
        Some(self.errno)
    }
}

impl Block for Faulty {
    type Params = Parameters;
    type State = ();
    type Pdu = ErrorPdu;
    type Queue = ();

    const INFO: Info = Info::new("error", env!("CARGO_PKG_VERSION"))
        .about("A device in memory, or over another one, that fails requests on purpose")
        .features(FEATURES)
        .adopts(ADOPTS);

    fn prepare(cx: &mut Prepare<'_>, params: Parameters) -> Result<Faulty> {
        Ok(Faulty {
            faults: Faults::new(&params)?,
            backend: Backend::prepare(cx, params.size, params.over.as_deref())?,
        })
    }

    fn connect(&mut self, cx: &mut Port<'_>, _: Option<()>) -> Result<()> {
        self.backend.announce(cx)
    }

    fn disconnect(&mut self, _: &mut Port<'_>) -> Result<()> {
        Ok(())
    }

    fn submit<'q>(&self, _: &mut (), io: &mut Io<'q, Self>, req: Request<'q, Self>) -> Submitted<'q> {
        match self.faults.fault(&req) {
            Some(errno) => req.fail(errno),
            None => self.backend.begin(io, req),
        }
    }

    fn event<'q>(
        &self,
        _: &mut (),
        io: &mut Io<'q, Self>,
        req: Request<'q, Self>,
        event: Event,
    ) -> Submitted<'q> {
        self.backend.event(io, req, event)
    }

    fn adopt(&self, _: &mut (), req: &Adopted<'_, Self>, schema: &str) -> Result<(), Errno> {
        steadfast_fault::adopt(req, schema).map(|_| ())
    }

    fn param_changed(&mut self, _: &mut Port<'_>, _: &str, params: Parameters) -> Result<()> {
        self.faults = Faults::new(&params)?;
        Ok(())
    }
}

steadfast_driver::export!(Faulty);

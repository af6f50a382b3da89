//! Where the data is: in memory that `ram` uses too, or on another device.

use crate::progress::{Carries, Progress, stage};
use steadfast_driver::{
    Block, Device, Errno, Event, Io, Op, Operation, Port, Prepare, Region, Request, Result, Size, Submitted,
    feature,
};

/// What the drivers offer.
pub const FEATURES: u64 = feature::FLUSH
    | feature::FUA
    | feature::TRIM
    | feature::WRITE_ZEROES
    | feature::FAST_ZERO
    | feature::MULTI_CONN;

/// Most bytes zeroed in one go; more is done in steps, so that other requests have their turn.
const STEP: u64 = 1 << 20;

/// Where the data is.
#[derive(Debug)]
pub struct Backend {
    contents: Region,
}

impl Backend {
    /// Memory of `size` bytes, the region of `ram`.
    ///
    /// # Errors
    /// Why there is none, for example that the port's has another size.
    pub fn prepare(cx: &mut Prepare<'_>, size: Size) -> Result<Backend> {
        Ok(Backend { contents: cx.region("contents", size.0 & !4095)? })
    }

    /// Announces the device, as `ram` does.
    ///
    /// # Errors
    /// Why the shell refuses it.
    pub fn announce(&self, cx: &mut Port<'_>) -> Result<()> {
        cx.announce(&Device::new(0, self.contents.size()).block_size(1).features(FEATURES))
    }

    /// Begins to carry a request out.
    #[inline]
    pub fn begin<'q, D: Block>(&self, io: &mut Io<'q, D>, req: Request<'q, D>) -> Submitted<'q>
    where
        D::Pdu: Carries,
    {
        match req.op() {
            Op::Read => req.result_of(|r| r.data().copy_from(&self.contents, r.offset())),
            Op::Write => req.result_of(|r| r.data().copy_to(&self.contents, r.offset())),
            Op::Trim | Op::WriteZeroes => self.zero(io, req, 0),
            Op::Flush | Op::Cache => req.done(),
            Op::Status => req.fail(Errno::OPNOTSUPP),
        }
    }

    /// An operation of a request has completed: a wait is over, or a step is done.
    pub fn event<'q, D: Block>(&self, io: &mut Io<'q, D>, req: Request<'q, D>, _: Event) -> Submitted<'q>
    where
        D::Pdu: Carries,
    {
        let progress = req.pdu().get().progress();
        match progress.stage {
            stage::BEGUN => self.zero(io, req, progress.done),
            _ => self.begin(io, req),
        }
    }

    /// Zeroes the next step of the request, of which `done` bytes are zero.
    fn zero<'q, D: Block>(&self, io: &mut Io<'q, D>, req: Request<'q, D>, done: u64) -> Submitted<'q>
    where
        D::Pdu: Carries,
    {
        let step = req.length().saturating_sub(done).min(STEP);
        if let Err(e) = self.contents.fill(req.offset().saturating_add(done), step, 0) {
            return req.fail(e);
        }
        if done + step >= req.length() {
            return req.done();
        }
        req.pdu().set(D::Pdu::of(Progress { done: done + step, stage: stage::BEGUN, backend: 0 }));
        match io.issue(&req, Operation::nop()) {
            Ok(_) => req.pending(),
            Err(e) => req.fail(e),
        }
    }
}

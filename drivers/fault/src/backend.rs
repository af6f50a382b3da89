//! Where the data is: in memory that `ram` uses too, or on another device of the daemon.

use crate::progress::{Carries, Progress, stage};
use crate::under::Under;
use steadfast_driver::{
    Block, Device, Errno, Event, Io, Op, Operation, Port, Prepare, Region, Request, Result, Size, Submitted,
    feature,
};

/// What the drivers can offer. Over another device they offer what that one does.
pub const FEATURES: u64 = MEMORY | feature::STATUS | feature::READ_ONLY;

/// What memory offers; the same as `ram`.
const MEMORY: u64 = feature::FLUSH
    | feature::FUA
    | feature::TRIM
    | feature::WRITE_ZEROES
    | feature::FAST_ZERO
    | feature::MULTI_CONN;

/// Most bytes zeroed in one go; more is done in steps, so that other requests have their turn.
const STEP: u64 = 1 << 20;

/// Where the data is.
#[derive(Debug)]
pub enum Backend {
    /// In the region of `ram`.
    Memory(Region),
    /// On another device.
    Device(Under),
}

impl Backend {
    /// Memory of `size` bytes, the region of `ram`; or the device `over`, when there is one.
    ///
    /// # Errors
    /// Why there is none, for example that the port's region has another size.
    pub fn prepare(cx: &mut Prepare<'_>, size: Size, over: Option<&str>) -> Result<Backend> {
        Ok(match over.filter(|name| !name.is_empty()) {
            None => Backend::Memory(cx.region("contents", size.0 & !4095)?),
            Some(name) => Backend::Device(Under::prepare(cx, name)?),
        })
    }

    /// Announces the device, as `ram` does, or as the one below is.
    ///
    /// # Errors
    /// Why the shell refuses it.
    pub fn announce(&self, cx: &mut Port<'_>) -> Result<()> {
        match self {
            Backend::Memory(region) => {
                cx.announce(&Device::new(0, region.size()).block_size(1).features(MEMORY))
            }
            Backend::Device(under) => under.announce(cx),
        }
    }

    /// Begins to carry a request out.
    #[inline]
    pub fn begin<'q, D: Block>(&self, io: &mut Io<'q, D>, req: Request<'q, D>) -> Submitted<'q>
    where
        D::Pdu: Carries,
    {
        let memory = match self {
            Backend::Memory(region) => region,
            Backend::Device(under) => return under.begin(io, req),
        };
        match req.op() {
            Op::Read => req.result_of(|r| r.data().copy_from(memory, r.offset())),
            Op::Write => req.result_of(|r| r.data().copy_to(memory, r.offset())),
            Op::Trim | Op::WriteZeroes => zero(memory, io, req, 0),
            Op::Flush | Op::Cache => req.done(),
            Op::Status => req.fail(Errno::OPNOTSUPP),
        }
    }

    /// An operation of a request has completed: a wait is over, or a step is done. A step on another
    /// backend, that of the driver before, counts for nothing: the request begins anew.
    pub fn event<'q, D: Block>(&self, io: &mut Io<'q, D>, req: Request<'q, D>, event: Event) -> Submitted<'q>
    where
        D::Pdu: Carries,
    {
        let progress = req.pdu().get().progress();
        match self {
            _ if progress.is_waiting() || progress.backend != self.number() => self.begin(io, req),
            Backend::Memory(region) => zero(region, io, req, progress.done),
            Backend::Device(under) => under.event(io, req, progress, event),
        }
    }

    /// [`Progress::backend`].
    fn number(&self) -> u32 {
        match self {
            Backend::Memory(_) => 0,
            Backend::Device(_) => 1,
        }
    }
}

/// Zeroes the next step of the request, of which `done` bytes are zero.
fn zero<'q, D: Block>(memory: &Region, io: &mut Io<'q, D>, req: Request<'q, D>, done: u64) -> Submitted<'q>
where
    D::Pdu: Carries,
{
    let step = req.length().saturating_sub(done).min(STEP);
    if let Err(e) = memory.fill(req.offset().saturating_add(done), step, 0) {
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

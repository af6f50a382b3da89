//! `ram`: a device in memory. Its contents lie in a region of the port, which is the shell's, so they
//! stay where they are while the driver is replaced.

#![forbid(unsafe_code)]

use steadfast_driver::{
    Block, Device, Errno, Event, Info, Io, Op, Operation, Params, Pdu, Port, Prepare, Region, Request,
    Result, Size, Submitted, feature,
};

const FEATURES: u64 = feature::FLUSH
    | feature::FUA
    | feature::TRIM
    | feature::WRITE_ZEROES
    | feature::FAST_ZERO
    | feature::MULTI_CONN;

/// Most bytes zeroed in one go; more is done in steps, so that other requests have their turn.
const STEP: u64 = 1 << 20;

#[derive(Params)]
struct Parameters {
    /// Size of the device.
    #[param(default = "64M", range = "4096..=1T", unit = "bytes")]
    size: Size,
}

/// A request that zeroes more than one step.
#[derive(Clone, Copy, Pdu)]
#[repr(C)]
#[pdu(schema = "ram/1")]
struct Progress {
    /// Bytes of the request that are zero already.
    done: u64,
}

struct Ram {
    contents: Region,
}

impl Block for Ram {
    type Params = Parameters;
    type State = ();
    type Pdu = Progress;
    type Queue = ();

    const INFO: Info = Info::new("ram", env!("CARGO_PKG_VERSION"))
        .about("A device in memory, kept across driver changes")
        .features(FEATURES);

    fn prepare(cx: &mut Prepare<'_>, params: Parameters) -> Result<Ram> {
        Ok(Ram { contents: cx.region("contents", params.size.0 & !4095)? })
    }

    fn connect(&mut self, cx: &mut Port<'_>, _: Option<()>) -> Result<()> {
        cx.announce(&Device::new(0, self.contents.size()).block_size(1).features(FEATURES))
    }

    fn disconnect(&mut self, _: &mut Port<'_>) -> Result<()> {
        Ok(())
    }

    #[inline]
    fn submit<'q>(&self, _: &mut (), io: &mut Io<'q, Self>, req: Request<'q, Self>) -> Submitted<'q> {
        match req.op() {
            Op::Read => req.result_of(|r| r.data().copy_from(&self.contents, r.offset())),
            Op::Write => req.result_of(|r| r.data().copy_to(&self.contents, r.offset())),
            Op::Trim | Op::WriteZeroes => self.zero(io, req, 0),
            Op::Flush | Op::Cache => req.done(),
            Op::Status => req.fail(Errno::OPNOTSUPP),
        }
    }

    fn event<'q>(
        &self,
        _: &mut (),
        io: &mut Io<'q, Self>,
        req: Request<'q, Self>,
        _: Event,
    ) -> Submitted<'q> {
        let done = req.pdu().get().done;
        self.zero(io, req, done)
    }
}

impl Ram {
    /// Zeroes the next step of the request, of which `done` bytes are zero.
    fn zero<'q>(&self, io: &mut Io<'q, Self>, req: Request<'q, Self>, done: u64) -> Submitted<'q> {
        let step = req.length().saturating_sub(done).min(STEP);
        if let Err(e) = self.contents.fill(req.offset().saturating_add(done), step, 0) {
            return req.fail(e);
        }
        if done + step >= req.length() {
            return req.done();
        }
        req.pdu().set(Progress { done: done + step });
        match io.issue(&req, Operation::nop()) {
            Ok(_) => req.pending(),
            Err(e) => req.fail(e),
        }
    }
}

steadfast_driver::export!(Ram);

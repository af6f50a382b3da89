//! `my-driver`: a device in memory that keeps its contents while its driver is replaced.
//!
//! Edit, build, `steadfast update` (or let `steadfast driver watch` do that): the device stays.

#![forbid(unsafe_code)]

use steadfast_driver::{
    Block, Device, Errno, Event, Info, Io, Op, Operation, Params, Pdu, Port, Prepare, Region, Request, Result,
    Size, State, Submitted, feature,
};

/// What the driver can do. It answers a flush at once: memory has nothing behind it.
const FEATURES: u64 = feature::FLUSH | feature::FUA | feature::WRITE_ZEROES;

/// Parameters: users give them as `my-driver:64M,step=2M`. The comments are the help that they see.
#[derive(Params)]
struct Parameters {
    /// Size of the device.
    #[param(default = "64M", range = "4096..=1T", unit = "bytes")]
    size: Size,
    /// Bytes zeroed in one go; between two steps other requests have their turn.
    #[param(default = "1M", range = "4096..=64M", class = live, unit = "bytes")]
    step: Size,
}

/// State: what the next driver must know. Give it a new number (`my-driver/2`) when it changes, and
/// name the old form in `also(...)`, so that the release before can still be gone back to.
#[derive(State)]
#[state(schema = "my-driver/1")]
struct Counts {
    /// How often the driver was replaced.
    swaps: u64,
}

/// PDU: what must be remembered of a request between two events. It lies in the shell's memory, so
/// the next driver can take the request over half-way.
#[derive(Clone, Copy, Pdu)]
#[repr(C)]
#[pdu(schema = "my-driver/1")]
struct Progress {
    /// Bytes of the request that are done.
    done: u64,
}

/// One port.
struct Driver {
    /// Memory of the shell's, which outlives the driver.
    contents: Region,
    step: u64,
    swaps: u64,
}

impl Block for Driver {
    type Params = Parameters;
    type State = Counts;
    type Pdu = Progress;
    type Queue = ();

    const INFO: Info = Info::new("my-driver", env!("CARGO_PKG_VERSION"))
        .about("A device in memory, to begin with")
        .features(FEATURES);

    // While another driver may still serve the port: make, open, check. Take your time.
    fn prepare(cx: &mut Prepare<'_>, params: Parameters) -> Result<Driver> {
        let contents = cx.region("contents", params.size.0 & !4095)?;
        Ok(Driver { contents, step: params.step.0, swaps: 0 })
    }

    // Within the pause: take over, and say what there is. Microseconds.
    fn connect(&mut self, cx: &mut Port<'_>, before: Option<Counts>) -> Result<()> {
        self.swaps = before.map_or(0, |before| before.swaps + 1);
        cx.announce(&Device::new(0, self.contents.size()).block_size(512).features(FEATURES))
    }

    // Also within the pause: let go, and leave the state.
    fn disconnect(&mut self, _: &mut Port<'_>) -> Result<Counts> {
        Ok(Counts { swaps: self.swaps })
    }

    // A request: answer it now, or issue an operation for it and say `pending`.
    fn submit<'q>(&self, _: &mut (), io: &mut Io<'q, Self>, req: Request<'q, Self>) -> Submitted<'q> {
        match req.op() {
            Op::Read => req.result_of(|r| r.data().copy_from(&self.contents, r.offset())),
            Op::Write => req.result_of(|r| r.data().copy_to(&self.contents, r.offset())),
            Op::WriteZeroes => self.zero(io, req, 0),
            Op::Flush => req.done(),
            _ => req.fail(Errno::OPNOTSUPP),
        }
    }

    // An operation of a request has completed; it may have been issued by the driver before this one.
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

    // A parameter of class `live` was changed while the driver serves.
    fn param_changed(&mut self, _: &mut Port<'_>, _: &str, params: Parameters) -> Result<()> {
        self.step = params.step.0;
        Ok(())
    }
}

impl Driver {
    /// Zeroes the next step of a request of which `done` bytes are done.
    fn zero<'q>(&self, io: &mut Io<'q, Self>, req: Request<'q, Self>, done: u64) -> Submitted<'q> {
        let step = req.length().saturating_sub(done).min(self.step);
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

steadfast_driver::export!(Driver);

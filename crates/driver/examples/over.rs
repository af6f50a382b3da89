//! A driver that passes everything on to another device of the daemon: what every driver that lies
//! over another one begins with.

#![forbid(unsafe_code)]

use steadfast_driver::{
    Block, Device, Errno, Event, Handle, HandleInfo, Info, Io, Op, Open, Operation, Params, Pdu, Port,
    Prepare, Request, Result, Submitted, fallocate, feature,
};

#[derive(Params)]
struct Parameters {
    /// The device below.
    #[param(required)]
    device: String,
    /// Refuse everything that writes.
    #[param(default = false)]
    read_only: bool,
}

/// What a request in flight has to remember: nothing. That it says so lets any release of this driver
/// take over the requests of any other.
#[derive(Clone, Copy, Pdu)]
#[repr(C)]
#[pdu(schema = "over/1")]
struct Nothing {
    reserved: u64,
}

struct Over {
    below: Handle,
    info: HandleInfo,
    features: u64,
}

/// What can be passed on.
const FEATURES: u64 = feature::FLUSH
    | feature::FUA
    | feature::TRIM
    | feature::WRITE_ZEROES
    | feature::FAST_ZERO
    | feature::STATUS
    | feature::READ_ONLY
    | feature::MULTI_CONN
    | feature::ROTATIONAL;

impl Block for Over {
    type Params = Parameters;
    type State = ();
    type Pdu = Nothing;
    type Queue = ();

    const INFO: Info =
        Info::new("over", "1.0.0").about("Passes everything on to another device").features(FEATURES);

    fn prepare(cx: &mut Prepare<'_>, params: Parameters) -> Result<Over> {
        let below = cx.open("below", &Open::device(&params.device).write(!params.read_only))?;
        let info = cx.handle_info(below)?;
        let mut features = info.features & FEATURES;
        if info.features & feature::FLUSH != 0 {
            // A device with a cache and without FUA is flushed behind such a write.
            features |= feature::FUA;
        }
        if params.read_only {
            features |= feature::READ_ONLY;
        }
        Ok(Over { below, info, features })
    }

    fn connect(&mut self, cx: &mut Port<'_>, _: Option<()>) -> Result<()> {
        let device = Device::new(0, self.info.size)
            .block_size(self.info.block_size)
            .preferred_block_size(self.info.preferred_block_size)
            .features(self.features);
        cx.announce(&device)
    }

    fn disconnect(&mut self, _: &mut Port<'_>) -> Result<()> {
        Ok(())
    }

    /// Every request is begun at once, so there is never one to return.
    const HANDS_BACK: bool = true;

    fn submit<'q>(&self, _: &mut (), io: &mut Io<'q, Self>, req: Request<'q, Self>) -> Submitted<'q> {
        let (at, length) = (req.offset(), req.length());
        let all = [req.data_seg(0, length.min(io.data_size().into()))];
        let op = match req.op() {
            Op::Read => Operation::read(self.below, at, &all),
            Op::Write => Operation::write(self.below, at, &all).fua(req.fua()),
            Op::Flush => Operation::fdatasync(self.below),
            Op::Trim => {
                let mode = fallocate::PUNCH_HOLE | fallocate::KEEP_SIZE;
                Operation::fallocate(self.below, at, length, mode).fua(req.fua())
            }
            Op::WriteZeroes => {
                let (no_hole, fast_only) = (req.no_hole(), req.fast_only());
                Operation::write_zeroes(self.below, at, length, no_hole, fast_only).fua(req.fua())
            }
            Op::Status => {
                let room = [req.data_seg(0, io.data_size().into())];
                let op = Operation::extents(self.below, at, length, &room);
                return match io.issue(&req, op) {
                    Ok(_) => req.pending(),
                    Err(e) => req.fail(e),
                };
            }
            Op::Cache => return req.done(),
        };
        match io.issue(&req, op) {
            Ok(_) => req.pending(),
            Err(e) => req.fail(e),
        }
    }

    fn event<'q>(
        &self,
        _: &mut (),
        _: &mut Io<'q, Self>,
        req: Request<'q, Self>,
        event: Event,
    ) -> Submitted<'q> {
        match (req.op(), event.result) {
            (_, Err(e)) => req.fail(e),
            (Op::Status, Ok(count)) => req.done_with(count as u32),
            (Op::Read | Op::Write, Ok(bytes)) if bytes < req.length() => req.fail(Errno::IO),
            _ => req.done(),
        }
    }
}

steadfast_driver::export!(Over);

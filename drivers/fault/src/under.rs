//! Another device of the daemon, which these drivers can lie over.

use crate::progress::{Carries, Progress, stage};
use steadfast_driver::{
    Block, Device, Errno, Event, Handle, HandleInfo, Io, Op, Open, Operation, Port, Prepare, Request, Result,
    Submitted, fallocate, feature,
};

/// [`Progress::backend`].
const NUMBER: u32 = 1;

/// A device, by its handle.
#[derive(Debug)]
pub struct Under {
    handle: Handle,
    info: HandleInfo,
}

impl Under {
    pub(crate) fn prepare(cx: &mut Prepare<'_>, name: &str) -> Result<Under> {
        let handle = cx.open("under", &Open::device(name).write(true));
        let handle = handle.or_else(|e| match e.errno() {
            Errno::ROFS => cx.open("under", &Open::device(name)),
            _ => Err(e),
        })?;
        Ok(Under { handle, info: cx.handle_info(handle)? })
    }

    pub(crate) fn announce(&self, cx: &mut Port<'_>) -> Result<()> {
        let info = &self.info;
        let mut features = feature::MULTI_CONN | feature::STATUS;
        if info.read_only {
            features |= feature::READ_ONLY;
        } else {
            features |= feature::FLUSH | feature::FUA;
            features |= if info.can_punch { feature::TRIM } else { 0 };
            features |= if info.can_zero { feature::WRITE_ZEROES } else { 0 };
        }
        let device = Device::new(0, info.size)
            .block_size(info.block_size)
            .preferred_block_size(info.preferred_block_size)
            .features(features);
        cx.announce(&device)
    }

    pub(crate) fn begin<'q, D: Block>(&self, io: &mut Io<'q, D>, req: Request<'q, D>) -> Submitted<'q>
    where
        D::Pdu: Carries,
    {
        let range = || (req.offset(), req.length());
        let op = match req.op() {
            Op::Read | Op::Write => return self.go_on(io, req, 0),
            Op::Flush => Operation::fdatasync(self.handle),
            Op::Trim => {
                let (offset, length) = range();
                Operation::fallocate(
                    self.handle,
                    offset,
                    length,
                    fallocate::KEEP_SIZE | fallocate::PUNCH_HOLE,
                )
            }
            Op::WriteZeroes => {
                let (offset, length) = range();
                Operation::fallocate(
                    self.handle,
                    offset,
                    length,
                    fallocate::KEEP_SIZE | fallocate::ZERO_RANGE,
                )
            }
            Op::Status => {
                let segs = [req.data_seg(0, req.data().len())];
                let (offset, length) = range();
                return issue(
                    io,
                    req,
                    0,
                    stage::BEGUN,
                    Operation::extents(self.handle, offset, length, &segs),
                );
            }
            Op::Cache => return req.fail(Errno::OPNOTSUPP),
        };
        if req.length() == 0 && req.op() != Op::Flush {
            return req.done();
        }
        issue(io, req, 0, stage::BEGUN, op)
    }

    /// Reads or writes what is left behind the first `done` bytes.
    fn go_on<'q, D: Block>(&self, io: &mut Io<'q, D>, req: Request<'q, D>, done: u64) -> Submitted<'q>
    where
        D::Pdu: Carries,
    {
        let (at, left) = (req.offset().saturating_add(done), req.length().saturating_sub(done));
        if left == 0 {
            return req.done();
        }
        let segs = [req.data_seg(done, left)];
        let op = match req.op() {
            Op::Read => Operation::read(self.handle, at, &segs),
            _ => Operation::write(self.handle, at, &segs).fua(req.fua()),
        };
        issue(io, req, done, stage::BEGUN, op)
    }

    pub(crate) fn event<'q, D: Block>(
        &self,
        io: &mut Io<'q, D>,
        req: Request<'q, D>,
        progress: Progress,
        event: Event,
    ) -> Submitted<'q>
    where
        D::Pdu: Carries,
    {
        let count = match event.result {
            Ok(count) => count,
            Err(e) => return req.fail(e),
        };
        match req.op() {
            Op::Read | Op::Write if count == 0 => req.fail(Errno::IO),
            Op::Read | Op::Write => self.go_on(io, req, progress.done.saturating_add(count)),
            Op::Status => req.done_with(u32::try_from(count).unwrap_or(u32::MAX)),
            // What these did is durable when they say FUA only after one more step.
            Op::Trim | Op::WriteZeroes if req.fua() && progress.stage != stage::SYNC => {
                issue(io, req, 0, stage::SYNC, Operation::fdatasync(self.handle))
            }
            _ => req.done(),
        }
    }
}

/// Issues the only operation of a step.
fn issue<'q, D: Block>(
    io: &mut Io<'q, D>,
    req: Request<'q, D>,
    done: u64,
    stage: u32,
    op: Operation<'_>,
) -> Submitted<'q>
where
    D::Pdu: Carries,
{
    req.pdu().set(D::Pdu::of(Progress { done, stage, backend: NUMBER }));
    match io.issue(&req, op) {
        Ok(_) => req.pending(),
        Err(e) => req.fail(e),
    }
}

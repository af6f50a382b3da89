//! One request at a time: reads, writes, zeroes, trims, flushes, status.

use crate::keep::{Progress, how};
use crate::{File, ZEROES};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use steadfast_driver::{Errno, Event, Extent, Io, Op, Operation, Request, Seg, Submitted, fallocate};

/// How often one operation writes the region of zeroes.
const ZEROES_PER_OP: usize = 16;

/// What `done` says of a trim whose hole leaves out what is no whole block.
const INNER: u64 = 1;

/// This file can't do that at all, so there is no use in trying again.
fn never_works(e: Errno) -> bool {
    matches!(e, Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV)
}

impl File {
    /// Issues the first operation of a request that is not gathered.
    pub(crate) fn begin<'q>(&self, io: &mut Io<'q, Self>, req: Request<'q, Self>) -> Submitted<'q> {
        match req.op() {
            Op::Flush => self.issue(io, req, how::SYNC, Operation::fdatasync(self.backing)),
            Op::Trim | Op::WriteZeroes if req.length() == 0 => req.done(),
            Op::Trim | Op::WriteZeroes => self.make_zero(io, req),
            Op::Status => {
                let segs = [req.data_seg(0, req.data().len())];
                let op = Operation::extents(self.backing, req.offset(), req.length(), &segs);
                self.issue(io, req, how::EXTENTS, op)
            }
            Op::Cache => req.fail(Errno::OPNOTSUPP),
            Op::Read | Op::Write => self.go_on(io, req, 0),
        }
    }

    /// Issues the only operation of a step.
    fn issue<'q>(
        &self,
        io: &mut Io<'q, Self>,
        req: Request<'q, Self>,
        how: u32,
        op: Operation<'_>,
    ) -> Submitted<'q> {
        req.pdu().set(Progress { how, ..Progress::default() });
        match io.issue(&req, op) {
            Ok(_) => req.pending(),
            Err(e) => req.fail(e),
        }
    }

    /// Reads or writes on, of a request of which `done` bytes are done.
    pub(crate) fn go_on<'q>(
        &self,
        io: &mut Io<'q, Self>,
        req: Request<'q, Self>,
        done: u64,
    ) -> Submitted<'q> {
        let at = req.offset() + done;
        let left = req.length() - done;
        if left == 0 {
            return req.done();
        }
        req.pdu().set(Progress { done, ..Progress::default() });
        let issued = match req.op() {
            Op::Read => io.issue(&req, Operation::read(self.backing, at, &[req.data_seg(done, left)])),
            Op::Write => {
                let segs = [req.data_seg(done, left)];
                io.issue(&req, Operation::write(self.backing, at, &segs).fua(req.fua()))
            }
            _ => {
                let (segs, count) = self.zero_segs(left);
                io.issue(&req, Operation::write(self.backing, at, &segs[..count]).fua(req.fua()))
            }
        };
        match issued {
            Ok(_) => req.pending(),
            Err(e) => req.fail(e),
        }
    }

    /// Zeroes for `left` bytes, or for as many as one operation writes.
    fn zero_segs(&self, left: u64) -> ([Seg; ZEROES_PER_OP], usize) {
        let mut segs = [self.zeroes.seg(0, ZEROES); ZEROES_PER_OP];
        let left = left.min(ZEROES * ZEROES_PER_OP as u64);
        let count = left.div_ceil(ZEROES) as usize;
        let last = left - ZEROES * (count as u64 - 1);
        segs[count - 1] = self.zeroes.seg(0, last);
        (segs, count)
    }

    /// A read or a write of this request alone has come back.
    pub(crate) fn plain_event<'q>(
        &self,
        io: &mut Io<'q, Self>,
        req: Request<'q, Self>,
        event: Event,
    ) -> Submitted<'q> {
        let before = req.pdu().get().done;
        match event.result {
            Err(Errno::INTR) => self.go_on(io, req, before),
            Err(e) => req.fail(e),
            Ok(bytes) if before + bytes >= req.length() => req.done(),
            Ok(bytes) => {
                // Past the page cache an operation must begin at a block.
                let done = before + bytes;
                let done = done - done % u64::from(self.block_size);
                // No progress: the file is shorter than it was.
                if done == before { req.fail(Errno::IO) } else { self.go_on(io, req, done) }
            }
        }
    }

    /// Begins to zero or trim in the best way that is left.
    fn make_zero<'q>(&self, io: &mut Io<'q, Self>, req: Request<'q, Self>) -> Submitted<'q> {
        let may_punch = req.op() == Op::Trim || !req.no_hole();
        if may_punch && self.punch.load(Relaxed) {
            return self.fallocate(io, req, how::PUNCH);
        }
        self.make_zero_without_hole(io, req)
    }

    fn make_zero_without_hole<'q>(&self, io: &mut Io<'q, Self>, req: Request<'q, Self>) -> Submitted<'q> {
        if req.op() == Op::Trim {
            // Advice that can't be taken; but what was written before may rely on the flag.
            return self.after_fallocate(io, req);
        }
        if self.zero.load(Relaxed) {
            return self.fallocate(io, req, how::ZERO);
        }
        self.make_zero_by_writing(io, req)
    }

    fn make_zero_by_writing<'q>(&self, io: &mut Io<'q, Self>, req: Request<'q, Self>) -> Submitted<'q> {
        if req.fast_only() { req.fail(Errno::OPNOTSUPP) } else { self.go_on(io, req, 0) }
    }

    fn fallocate<'q>(&self, io: &mut Io<'q, Self>, req: Request<'q, Self>, how: u32) -> Submitted<'q> {
        let mode = if how == how::PUNCH { fallocate::PUNCH_HOLE } else { fallocate::ZERO_RANGE };
        let mode = mode | fallocate::KEEP_SIZE;
        let op = Operation::fallocate(self.backing, req.offset(), req.length(), mode);
        self.issue(io, req, how, op)
    }

    /// A block device punches whole sectors only: what a trim has of them is trimmed, and what is at its ends stays.
    fn punch_inner<'q>(&self, io: &mut Io<'q, Self>, req: Request<'q, Self>) -> Submitted<'q> {
        let unit = u64::from(self.preferred_block_size);
        let end = req.offset() + req.length();
        let (begin, end) = (req.offset().next_multiple_of(unit), end - end % unit);
        if begin >= end {
            return self.make_zero_without_hole(io, req);
        }
        let mode = fallocate::PUNCH_HOLE | fallocate::KEEP_SIZE;
        req.pdu().set(Progress { how: how::PUNCH, done: INNER, ..Progress::default() });
        match io.issue(&req, Operation::fallocate(self.backing, begin, end - begin, mode)) {
            Ok(_) => req.pending(),
            Err(e) => req.fail(e),
        }
    }

    /// A hole was punched, or a range zeroed, or it could not be.
    pub(crate) fn fallocate_event<'q>(
        &self,
        io: &mut Io<'q, Self>,
        req: Request<'q, Self>,
        event: Event,
    ) -> Submitted<'q> {
        let Progress { how, done, .. } = req.pdu().get();
        let inner = done == INNER;
        let (known, e): (&AtomicBool, Errno) = match (event.result, how) {
            (Ok(_), _) => return self.after_fallocate(io, req),
            (Err(Errno::INTR), _) if inner => return self.punch_inner(io, req),
            (Err(Errno::INTR), _) => return self.fallocate(io, req, how),
            (Err(e), how::PUNCH) => (&self.punch, e),
            (Err(e), _) => (&self.zero, e),
        };
        if never_works(e) {
            known.store(false, Relaxed);
        } else if e != Errno::INVAL {
            return req.fail(e);
        }
        // EINVAL: this range is not aligned as the file needs it; another one may be.
        if e == Errno::INVAL && how == how::PUNCH && req.op() == Op::Trim && !inner {
            return self.punch_inner(io, req);
        }
        if how == how::PUNCH {
            self.make_zero_without_hole(io, req)
        } else {
            self.make_zero_by_writing(io, req)
        }
    }

    /// Zeroed or trimmed; durable as well, if that was asked.
    fn after_fallocate<'q>(&self, io: &mut Io<'q, Self>, req: Request<'q, Self>) -> Submitted<'q> {
        if !req.fua() {
            return req.done();
        }
        self.issue(io, req, how::SYNC, Operation::fdatasync(self.backing))
    }

    /// The answer to STATUS. A file that can't tell is all data.
    pub(crate) fn extents_event<'q>(&self, req: Request<'q, Self>, event: Event) -> Submitted<'q> {
        match event.result {
            Ok(count @ 1..) => req.done_with(u32::try_from(count).unwrap_or(u32::MAX)),
            Err(e) if !never_works(e) && e != Errno::INVAL => req.fail(e),
            _ => match req.data().put_extent(0, Extent { length: req.length(), flags: 0 }) {
                Ok(()) => req.done_with(1),
                Err(e) => req.fail(e),
            },
        }
    }
}

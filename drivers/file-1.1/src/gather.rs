//! Adjacent requests as one operation.
//!
//! Between two `commit`s reads and writes are gathered into runs: requests that follow one another on
//! the device, in the order in which they came. A run is one operation over the data buffers of all of
//! its requests, issued for the first of them; the PDUs chain the others behind it, so that the next
//! driver finds them. Runs lie in the queue's spare memory; without it every request goes by itself.

use crate::File;
use crate::keep::{Counters, Progress, how};
use std::sync::atomic::Ordering::Relaxed;
use steadfast_driver::{Errno, Event, Io, Op, Operation, Parked, Pdu, Request, Seg, Submitted};

/// Runs that are gathered before some are issued.
const MAX_RUNS: usize = 16;
/// Runs, latest first, that a request is compared with.
const LOOK_BACK: usize = 4;
/// Requests of one run.
const MAX_REQUESTS: usize = 32;
/// Bytes of one run.
const MAX_BYTES: u64 = 1 << 20;

/// A queue's own memory; empty between `commit` and the next `submit`.
#[derive(Default)]
pub(crate) struct Gather {
    /// Runs in the spare memory.
    used: usize,
    reads: u64,
    writes: u64,
    others: u64,
    merged: u64,
}

/// Requests that follow one another on the device.
#[derive(Clone, Copy, Pdu)]
#[repr(C)]
#[pdu(schema = "file-run/1")]
struct Run {
    head: Parked,
    tail: Parked,
    start: u64,
    end: u64,
    requests: u64,
    /// Reads or writes, and whether durably.
    what: u64,
}

/// The bits of [`Run::what`].
const WRITE: u64 = 1;
const FUA: u64 = 2;

/// Bytes of spare memory of each queue that merging needs.
pub(crate) const SPARE: usize = MAX_RUNS * size_of::<Run>();

impl Run {
    fn takes(&self, next: &Run) -> bool {
        self.end == next.start
            && self.what == next.what
            && self.requests < MAX_REQUESTS as u64
            && next.end - self.start <= MAX_BYTES
    }
}

impl Gather {
    pub(crate) fn count(&mut self, op: Op) {
        match op {
            Op::Read => self.reads += 1,
            Op::Write => self.writes += 1,
            _ => self.others += 1,
        }
    }

    /// Adds this queue's counts to the port's: once per batch, not once per request.
    pub(crate) fn settle_counts(&mut self, port: &Counters) {
        let counts = [
            (&mut self.reads, &port.reads),
            (&mut self.writes, &port.writes),
            (&mut self.others, &port.others),
            (&mut self.merged, &port.merged),
        ];
        for (mine, all) in counts {
            if *mine > 0 {
                all.fetch_add(std::mem::take(mine), Relaxed);
            }
        }
    }
}

impl File {
    /// Says that nothing is merged where there is no memory for it.
    pub(crate) fn look_for_memory(&self, io: &mut Io<'_, Self>) {
        if io.spare::<Run>(MAX_RUNS).is_none() {
            let why = format!("needs {SPARE} bytes of memory more for each queue");
            io.port().reduce("merging of adjacent requests", &why);
        }
    }

    /// Takes a read or write up, to be issued at `commit`.
    pub(crate) fn gather<'q>(
        &self,
        queue: &mut Gather,
        io: &mut Io<'q, Self>,
        req: Request<'q, Self>,
    ) -> Submitted<'q> {
        if req.length() == 0 {
            return req.done();
        }
        let me = req.parked();
        let write = if req.op() == Op::Write { WRITE } else { 0 };
        let new = Run {
            head: me,
            tail: me,
            start: req.offset(),
            end: req.offset() + req.length(),
            requests: 1,
            what: write | if req.fua() { FUA } else { 0 },
        };
        req.pdu().set(Progress::default());
        let Some(runs) = io.spare::<Run>(MAX_RUNS) else { return self.go_on(io, req, 0) };
        let first = queue.used.saturating_sub(LOOK_BACK);
        let taker = runs[first..queue.used].iter().rposition(|run| run.takes(&new)).map(|at| first + at);
        if let Some(at) = taker {
            let run = &mut runs[at];
            (run.end, run.requests) = (new.end, run.requests + 1);
            let tail = std::mem::replace(&mut run.tail, me);
            // Gathered in this turn, so it is there.
            if let Some(tail) = io.unpark(tail) {
                tail.pdu().set(Progress { next: me, ..tail.pdu().get() });
                tail.park();
                queue.merged += 1;
                return req.pending();
            }
        }
        if queue.used == MAX_RUNS {
            self.issue_gathered(queue, io);
        }
        if let Some(runs) = io.spare::<Run>(MAX_RUNS) {
            runs[queue.used] = new;
            queue.used += 1;
        }
        req.pending()
    }

    /// Issues what was gathered.
    pub(crate) fn issue_gathered(&self, queue: &mut Gather, io: &mut Io<'_, Self>) {
        for at in 0..std::mem::take(&mut queue.used) {
            let Some(run) = io.spare::<Run>(MAX_RUNS).map(|runs| runs[at]) else { return };
            let Some(head) = io.unpark(run.head) else { continue };
            if run.requests == 1 {
                self.go_on(io, head, 0).deliver();
            } else {
                self.issue_run(io, head, &run);
            }
        }
    }

    fn issue_run<'q>(&self, io: &mut Io<'q, Self>, head: Request<'q, Self>, run: &Run) {
        let mut segs: [Seg; MAX_REQUESTS] = [head.data_seg(0, head.length()); MAX_REQUESTS];
        let mut next = head.pdu().get().next;
        let mut count = 1;
        while count < run.requests as usize
            && let Some(follower) = io.unpark(next)
        {
            segs[count] = follower.data_seg(0, follower.length());
            count += 1;
            next = follower.pdu().get().next;
            follower.park();
        }
        let op = if run.what & WRITE != 0 {
            Operation::write(self.backing, run.start, &segs[..count]).fua(run.what & FUA != 0)
        } else {
            Operation::read(self.backing, run.start, &segs[..count])
        };
        head.pdu().set(Progress { how: how::RUN, ..head.pdu().get() });
        match io.issue(&head, op) {
            Ok(_) => {
                head.park();
            }
            Err(e) => self.finish_run(io, head, Err(e)).deliver(),
        }
    }

    /// The operation of a run has come back.
    pub(crate) fn run_event<'q>(
        &self,
        io: &mut Io<'q, Self>,
        head: Request<'q, Self>,
        event: Event,
    ) -> Submitted<'q> {
        self.finish_run(io, head, event.result)
    }

    /// Answers the requests of a run, as far as the operation came. The rest go on one by one: after an
    /// error too, because it is the error of one of them and not of all.
    fn finish_run<'q>(
        &self,
        io: &mut Io<'q, Self>,
        head: Request<'q, Self>,
        result: Result<u64, Errno>,
    ) -> Submitted<'q> {
        let mut left = result.unwrap_or(0);
        let mut next = head.pdu().get().next;
        let answer = self.finish_part(io, head, &mut left);
        while let Some(follower) = io.unpark(next) {
            next = follower.pdu().get().next;
            self.finish_part(io, follower, &mut left).deliver();
        }
        answer
    }

    fn finish_part<'q>(
        &self,
        io: &mut Io<'q, Self>,
        req: Request<'q, Self>,
        left: &mut u64,
    ) -> Submitted<'q> {
        if *left >= req.length() {
            *left -= req.length();
            return req.done();
        }
        let done = std::mem::take(left);
        self.go_on(io, req, done - done % u64::from(self.block_size))
    }
}

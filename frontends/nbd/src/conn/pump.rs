//! From bytes to requests at the device.

use super::Connection;
use super::open::{Index, Kind, MAX_OPEN, Open};
use crate::errno::NbdErrno;
use crate::reply;
use crate::request::{Change, Parsed, Plan, Request};
use crate::wire::Headers;
use steadfast_abi::block_op;
use steadfast_runtime::{BlockRequest, FrontendId, Reactor, Tag};

/// Most bytes of an operation without data that go to the device at once, if it does not take fewer. A
/// driver may carry it out on the spot, and must not keep the queue for long.
const PLAIN_PART: u32 = 32 << 20;

/// The request that is not wholly submitted yet; those behind it wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum Head {
    /// There is none.
    None,
    /// A read of several chunks; `at` bytes of it are submitted.
    Chunks { index: Index, at: u64 },
    /// A read of several waves; `at` bytes of it are submitted. `begun`: its header is out.
    Waves { index: Index, at: u64, begun: bool },
    /// A write; `at` bytes of it are submitted, and the next part lies in `slot`, `filled` bytes of it.
    Write { index: Index, at: u64, slot: Option<Tag>, filled: u64 },
    /// A request that is refused once `left` bytes of payload are passed over.
    Skip { left: u64, request: Request, errno: NbdErrno, why: &'static str },
}

/// How far the pump came.
pub(super) enum Progress {
    /// Go on.
    Next,
    /// More bytes are needed.
    Starved,
    /// A slot, or room for an answer, is needed; or the connection is ending.
    Blocked,
}

impl Connection {
    /// The pump stopped, and not for want of bytes.
    pub(super) fn blocked(&self) -> bool {
        !self.starved && !self.input.in_flight()
    }

    /// Takes requests from the input as far as that goes.
    pub(super) fn pump(&mut self, rt: &mut Reactor, me: FrontendId) {
        loop {
            let progress = match self.head {
                Head::None => self.next(rt, me),
                Head::Chunks { index, at } => self.chunks(rt, me, index, at),
                Head::Waves { index, at, begun } => self.waves(rt, me, index, at, begun),
                Head::Write { index, at, slot, filled } => self.write(rt, me, index, at, slot, filled),
                Head::Skip { left, request, errno, why } => self.skip(left, &request, errno, why),
            };
            match progress {
                Progress::Next => {}
                Progress::Starved => {
                    self.starved = true;
                    return;
                }
                Progress::Blocked => return,
            }
        }
    }

    /// Where the next bytes of the socket go first, if not into the buffer.
    pub(super) fn direct(&mut self, rt: &mut Reactor) -> Option<(*mut u8, usize)> {
        let Head::Write { index, at, slot: Some(tag), filled } = self.head else { return None };
        let part = self.table.get(index).part(at);
        let base = rt.data(self.lane, tag).wrapping_add(filled as usize);
        Some((base, (part - filled) as usize))
    }

    /// `count` bytes went to where [`Connection::direct`] said.
    pub(super) fn filled(&mut self, count: usize) {
        if let Head::Write { filled, .. } = &mut self.head {
            *filled += count as u64;
        }
    }

    /// Gives up the request at the head, as the connection takes no more.
    pub(super) fn quit_head(&mut self, rt: &mut Reactor) {
        if self.input.in_flight() {
            // The kernel may be writing into the head's slot; `received` comes back here.
            return;
        }
        if let Head::Write { slot: Some(tag), .. } = self.head {
            self.free(rt, tag);
        }
        while let Some(part) = self.wave.pop() {
            // Those at the device are freed when they complete.
            if part.done {
                self.free(rt, part.tag);
            }
        }
        self.head = Head::None;
    }

    fn next(&mut self, rt: &mut Reactor, me: FrontendId) -> Progress {
        if self.table.len() + self.output.unsent() >= MAX_OPEN {
            return Progress::Blocked;
        }
        match self.session.parse(self.input.bytes()) {
            Parsed::More => Progress::Starved,
            Parsed::Broken(why) => self.break_off(rt, me, &why),
            Parsed::Request(request) => {
                let plan = self.session.plan(&request);
                let header = self.session.headers().request_bytes();
                self.start(rt, me, &request, plan, header)
            }
        }
    }

    fn break_off(&mut self, rt: &mut Reactor, me: FrontendId, why: &dyn std::fmt::Display) -> Progress {
        tracing::warn!(client = %self.peer, export = self.claim.info.name, "disconnecting: {why}");
        self.end(rt, me, why);
        Progress::Blocked
    }

    /// Starts a request whose header, and what was read with it, is `taken` bytes of the input.
    fn start(
        &mut self,
        rt: &mut Reactor,
        me: FrontendId,
        request: &Request,
        plan: Plan,
        taken: usize,
    ) -> Progress {
        match plan {
            Plan::Read { whole } => self.start_read(rt, me, request, whole, taken),
            Plan::Write(change) => {
                let open = open(request, Kind::Change, change, self.part_bytes(rt));
                let index = self.take(taken, open);
                self.input.saw_payload(request.length);
                self.head = Head::Write { index, at: 0, slot: None, filled: 0 };
                Progress::Next
            }
            Plan::Plain(change) => self.start_plain(rt, me, request, change, taken),
            Plan::Status { length, one } => {
                let Some(tag) = self.slot(rt, me) else { return Progress::Blocked };
                let mut open = open(request, Kind::Status { one }, change(block_op::STATUS), request.length);
                open.length = length;
                let index = self.take(taken, open);
                self.submit(rt, me, tag, index, 0, change(block_op::STATUS), request.offset, length);
                Progress::Next
            }
            Plan::AllData { length } => {
                self.requests += 1;
                self.input.consume(taken);
                let reply = reply::all_data(self.session.headers(), request.cookie, request.offset, length);
                self.output.reply(reply.as_bytes());
                Progress::Next
            }
            Plan::StatusFiltered { bytes } => {
                let Some(payload) = self.input.bytes().get(taken..taken + bytes) else {
                    return Progress::Starved;
                };
                let plan = self.session.plan_filtered(request, payload);
                self.start(rt, me, request, plan, taken + bytes)
            }
            Plan::Refuse { errno, why, skip } => {
                self.input.consume(taken);
                self.head = Head::Skip { left: skip, request: *request, errno, why };
                Progress::Next
            }
            Plan::Disconnect => {
                self.input.consume(taken);
                self.end(rt, me, "the client disconnected");
                Progress::Blocked
            }
            Plan::Break(why) => self.break_off(rt, me, &why),
        }
    }

    /// Consumes a header and gives its request a place.
    fn take(&mut self, taken: usize, open: Open) -> Index {
        self.requests += 1;
        self.input.consume(taken);
        self.table.insert(open)
    }

    fn start_read(
        &mut self,
        rt: &mut Reactor,
        me: FrontendId,
        request: &Request,
        whole: bool,
        taken: usize,
    ) -> Progress {
        let read = change(block_op::READ);
        let part_bytes = self.part_bytes(rt);
        if request.length <= part_bytes {
            let Some(tag) = self.slot(rt, me) else { return Progress::Blocked };
            let index = self.take(taken, open(request, Kind::Read, read, part_bytes));
            self.submit(rt, me, tag, index, 0, read, request.offset, request.length);
            return Progress::Next;
        }
        if whole {
            let why = "too long for one chunk";
            let plan = Plan::Refuse { errno: NbdErrno::Overflow, why, skip: 0 };
            return self.start(rt, me, request, plan, taken);
        }
        if self.session.headers() == Headers::Simple {
            let index = self.take(taken, open(request, Kind::Waves, read, part_bytes));
            self.head = Head::Waves { index, at: 0, begun: false };
        } else {
            let index = self.take(taken, open(request, Kind::Chunks, read, part_bytes));
            self.head = Head::Chunks { index, at: 0 };
        }
        Progress::Next
    }

    fn start_plain(
        &mut self,
        rt: &mut Reactor,
        me: FrontendId,
        request: &Request,
        change: Change,
        taken: usize,
    ) -> Progress {
        let Some(tag) = self.slot(rt, me) else { return Progress::Blocked };
        let mut open = open(request, Kind::Change, change, request.length);
        let first = request.length.min(self.plain_part());
        open.submitted = first;
        let index = self.take(taken, open);
        self.submit(rt, me, tag, index, 0, change, request.offset, first);
        Progress::Next
    }

    /// Largest piece of an operation without data.
    fn plain_part(&self) -> u64 {
        super::part_bytes(PLAIN_PART, &self.claim.info)
    }

    /// Submits the next piece of each request that has one, in the slot that it has. Once in a turn, so that
    /// a request of any length leaves the others their turn, however quick the device is.
    pub(super) fn go_on(&mut self, rt: &mut Reactor, me: FrontendId) {
        for at in 0..self.again.len() {
            let (tag, index) = self.again[at];
            let open = *self.table.get(index);
            if self.life == super::Life::Dead {
                self.free(rt, tag);
            } else if open.submitted < open.length {
                self.continue_plain(rt, me, tag, index);
            } else {
                self.submit_flush(rt, me, tag, index);
            }
        }
        self.again.clear();
    }

    /// Submits the next piece of an operation without data.
    fn continue_plain(&mut self, rt: &mut Reactor, me: FrontendId, tag: Tag, index: Index) {
        let most = self.plain_part();
        let open = self.table.get(index);
        let length = (open.length - open.submitted).min(most);
        let (offset, change) = (open.offset + open.submitted, open.change);
        open.submitted += length;
        open.parts = 1;
        self.submit_next(rt, me, tag, index, change, offset, length);
    }

    /// Submits the flush that makes up for a FUA which the device does not have.
    fn submit_flush(&mut self, rt: &mut Reactor, me: FrontendId, tag: Tag, index: Index) {
        let open = self.table.get(index);
        open.change.then_flush = false;
        open.parts = 1;
        self.submit_next(rt, me, tag, index, change(block_op::FLUSH), 0, 0);
    }

    #[allow(clippy::too_many_arguments)] // one call of the runtime, spelt out
    pub(super) fn submit(
        &mut self,
        rt: &mut Reactor,
        me: FrontendId,
        tag: Tag,
        index: Index,
        part: u32,
        change: Change,
        offset: u64,
        length: u64,
    ) {
        self.in_flight += 1;
        let cookie = u64::from(index) | u64::from(part) << 32;
        rt.submit(self.lane, tag, me, cookie, self.request(change, offset, length));
    }

    /// The same for a request that has a slot, whose last piece has completed.
    #[allow(clippy::too_many_arguments)] // one call of the runtime, spelt out
    fn submit_next(
        &mut self,
        rt: &mut Reactor,
        me: FrontendId,
        tag: Tag,
        index: Index,
        change: Change,
        offset: u64,
        length: u64,
    ) {
        self.in_flight += 1;
        rt.submit_next(self.lane, tag, me, u64::from(index), self.request(change, offset, length));
    }

    fn request(&self, change: Change, offset: u64, length: u64) -> BlockRequest {
        let device = self.claim.info.number;
        BlockRequest { op: change.op, flags: change.flags, device, offset, length }
    }

    fn chunks(&mut self, rt: &mut Reactor, me: FrontendId, index: Index, mut at: u64) -> Progress {
        let open = *self.table.get(index);
        while at < open.length {
            let Some(tag) = self.slot(rt, me) else {
                self.head = Head::Chunks { index, at };
                return Progress::Blocked;
            };
            let length = open.part(at);
            let part = (at / open.part_bytes) as u32;
            self.submit(rt, me, tag, index, part, open.change, open.offset + at, length);
            at += length;
        }
        self.head = Head::None;
        Progress::Next
    }

    fn write(
        &mut self,
        rt: &mut Reactor,
        me: FrontendId,
        index: Index,
        mut at: u64,
        mut slot: Option<Tag>,
        mut filled: u64,
    ) -> Progress {
        let open = *self.table.get(index);
        while at < open.length {
            if slot.is_none() {
                slot = self.slot(rt, me);
                filled = 0;
            }
            let Some(tag) = slot else {
                self.head = Head::Write { index, at, slot, filled };
                return Progress::Blocked;
            };
            let part = open.part(at);
            let bytes = self.input.bytes();
            let count = bytes.len().min((part - filled) as usize);
            let target = rt.data(self.lane, tag).wrapping_add(filled as usize);
            // SAFETY: `target` has room: `filled + count <= part`, which is at most the size of a
            // slot's data; the slot is ours and with nobody else, so it does not overlap the buffer.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, count) };
            self.input.consume(count);
            filled += count as u64;
            if filled < part {
                self.head = Head::Write { index, at, slot, filled };
                return Progress::Starved;
            }
            let number = (at / open.part_bytes) as u32;
            self.submit(rt, me, tag, index, number, open.change, open.offset + at, part);
            at += part;
            slot = None;
        }
        self.head = Head::None;
        Progress::Next
    }

    fn skip(&mut self, left: u64, request: &Request, errno: NbdErrno, why: &'static str) -> Progress {
        let count = left.min(self.input.bytes().len() as u64);
        self.input.consume(count as usize);
        if count < left {
            self.head = Head::Skip { left: left - count, request: *request, errno, why };
            return Progress::Starved;
        }
        self.head = Head::None;
        self.requests += 1;
        if !self.refused_before {
            self.refused_before = true;
            tracing::warn!(client = %self.peer, export = self.claim.info.name, ?request,
                "refused: {why} (later ones are not logged)");
        }
        let headers = self.session.headers();
        self.output.reply(reply::error(headers, request.cookie, request.offset, errno, why).as_bytes());
        Progress::Next
    }
}

fn change(op: u16) -> Change {
    Change { op, flags: 0, then_flush: false }
}

fn open(request: &Request, kind: Kind, change: Change, part_bytes: u64) -> Open {
    let Request { cookie, offset, length, .. } = *request;
    // One without any length is one part too, of no bytes.
    let part_bytes = part_bytes.max(1);
    let parts = length.div_ceil(part_bytes).max(1) as u32;
    Open { kind, cookie, offset, length, change, part_bytes, parts, submitted: length, errno: 0 }
}

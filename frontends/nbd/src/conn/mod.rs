//! One client's connection after the handshake.
//!
//! ```text
//! socket -> Input -> pump: parse, plan, slots, submit -> device
//!                                                          |
//! socket <- Output <- finish: headers, data in its slot <--+
//! ```
//!
//! A connection never waits and never allocates for a request. What bounds it: [`MAX_OPEN`] requests,
//! a [share](crate::share::Share) of the slots, one buffer of input. At a bound it stops reading, and
//! the client finds its socket full. Requests are taken in order; the one at the [`Head`] that isn't
//! wholly submitted keeps those behind it waiting, so that there is nothing to sort.

mod finish;
mod input;
mod life;
mod open;
mod output;
mod pump;
mod watch;
mod waves;

use crate::clients::{Asked, Counted, Numbers};
use crate::export::Agreed;
use crate::peer::Peer;
use crate::request::Session;
use crate::share::Share;
use input::Input;
use io_uring::opcode;
use open::{Index, MAX_OPEN, Table};
use output::{Output, Sent};
use pump::Head;
use std::os::fd::{AsRawFd, OwnedFd};
use steadfast_runtime::{DeviceClaim, DeviceInfo, Frontend, FrontendId, LaneId, Reactor, Tag};
use watch::Watch;
use waves::{WAVE, WavePart};

/// Tokens of ring operations.
mod token {
    pub(super) const RECEIVE: u32 = 0;
    pub(super) const SEND: u32 = 1;
    pub(super) const LINGER: u32 = 2;
    pub(super) const START: u32 = 3;
    pub(super) const WATCH: u32 = 4;
}

/// Everything that goes from the handshake to the connection.
#[derive(Debug)]
pub(crate) struct Begin {
    pub(crate) socket: OwnedFd,
    pub(crate) peer: Peer,
    pub(crate) agreed: Agreed,
    pub(crate) claim: DeviceClaim,
    /// Requests that came in with the last option.
    pub(crate) front: Vec<u8>,
    pub(crate) share: Share,
    pub(crate) counted: Counted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Takes requests.
    Serving,
    /// Takes no more; what is in flight completes and is answered.
    Ending,
    /// The socket is of no use any more; what is in flight completes.
    Dead,
}

struct Connection {
    socket: OwnedFd,
    peer: Peer,
    session: Session,
    /// Keeps the device, and the features and the size that the client was told, as they are.
    claim: DeviceClaim,
    share: Share,
    counted: Counted,
    lane: LaneId,
    life: Life,
    /// Why it ended, once it has.
    reason: String,
    head: Head,
    /// Parts of the wave under way, for [`Head::Waves`].
    wave: Vec<WavePart>,
    input: Input,
    table: Table,
    /// Requests, each with its slot, whose next piece goes to the device at the end of the turn.
    again: Vec<(Tag, Index)>,
    output: Output,
    /// Slots that are this connection's.
    held: u32,
    /// Slots that are with the device.
    in_flight: u32,
    /// The pump stopped for want of bytes.
    starved: bool,
    /// The queue tells when slots are free again.
    waiting: bool,
    /// `flush` is going to be called.
    dirty: bool,
    /// The operation that calls `ring` for the first time is in flight.
    starting: bool,
    lingering: bool,
    watch: Watch,
    refused_before: bool,
    requests: u64,
    bytes_received: u64,
    bytes_sent: u64,
}

/// Starts serving a client on the queue that its claim names; runs on that queue's thread.
pub(crate) fn begin(rt: &mut Reactor, begin: Begin) {
    let Some(lane) = rt.lane(begin.claim.port) else {
        tracing::warn!(client = %begin.peer, export = begin.agreed.export.name, "closed: the device is gone");
        return;
    };
    let slots = rt.slots_total(lane);
    tracing::info!(client = %begin.peer, export = begin.agreed.export.name,
        headers = ?begin.agreed.headers, queue = rt.queue_index(), "serving");
    let connection = Connection {
        socket: begin.socket,
        peer: begin.peer,
        session: Session::new(&begin.agreed),
        share: begin.share,
        counted: begin.counted,
        lane,
        claim: begin.claim,
        life: Life::Serving,
        reason: String::new(),
        head: Head::None,
        wave: Vec::with_capacity(WAVE),
        input: Input::new(&begin.front),
        table: Table::new(),
        again: Vec::with_capacity(MAX_OPEN as usize),
        output: Output::new(slots as usize),
        held: 0,
        in_flight: 0,
        starved: false,
        waiting: false,
        dirty: false,
        starting: true,
        lingering: false,
        watch: Watch::default(),
        refused_before: false,
        requests: 0,
        bytes_received: begin.front.len() as u64,
        bytes_sent: 0,
    };
    let record = connection.counted.record().clone();
    let me = rt.add_frontend(Box::new(connection));
    record.sit(rt.queue_index(), me);
    // Requests may have come with the last option: the pump runs first, from `ring`.
    // SAFETY: the operation uses no memory.
    unsafe { rt.push(me, token::START, opcode::Nop::new().build()) };
}

/// What fits a slot, suits the device, and leaves every piece aligned.
fn part_bytes(data_size: u32, device: &DeviceInfo) -> u64 {
    let most = if device.max_transfer == 0 { data_size } else { data_size.min(device.max_transfer) };
    let block = device.block_size.max(1);
    u64::from((most - most % block).max(block))
}

impl Connection {
    /// Largest piece of a read or write now.
    fn part_bytes(&self, rt: &Reactor) -> u64 {
        part_bytes(rt.data_size(self.lane), &self.claim.info)
    }

    fn mark(&mut self, rt: &mut Reactor, me: FrontendId) {
        if !self.dirty {
            self.dirty = true;
            rt.mark_dirty(me);
        }
    }

    /// A slot within the share; without one, the pump goes on when one of ours, or of the queue's,
    /// is free again.
    fn slot(&mut self, rt: &mut Reactor, me: FrontendId) -> Option<Tag> {
        if !self.share.may_take(self.held, rt.slots_total(self.lane)) {
            return None;
        }
        match rt.alloc(self.lane) {
            Some(tag) => {
                self.share.took(self.held);
                self.held += 1;
                Some(tag)
            }
            None => {
                if !self.waiting {
                    self.waiting = true;
                    rt.wait_for_slots(self.lane, me);
                }
                None
            }
        }
    }

    /// Slots that something is known to happen to: all that are held, unless one was forgotten.
    fn slots_known(&self) -> u32 {
        let head = matches!(self.head, Head::Write { slot: Some(_), .. });
        let wave = self.wave.iter().filter(|part| part.done).count();
        let known = usize::from(head) + wave + self.again.len() + self.output.slots();
        self.in_flight + known as u32
    }

    fn free(&mut self, rt: &mut Reactor, tag: Tag) {
        self.held -= 1;
        self.share.gave(self.held);
        rt.free(self.lane, tag);
    }

    fn received(&mut self, rt: &mut Reactor, me: FrontendId, result: i32) {
        if result > 0 {
            self.bytes_received += result as u64;
            let direct = self.input.received(result as usize);
            if self.life != Life::Serving {
                return self.quit_head(rt);
            }
            self.filled(direct);
            return self.pump(rt, me);
        }
        self.input.failed();
        match -result {
            _ if self.life != Life::Serving => self.quit_head(rt),
            0 => self.end(rt, me, "the client closed the connection without saying so"),
            libc::EINTR | libc::EAGAIN => self.starved = true,
            errno => self.die(rt, me, format_args!("receive: {}", crate::socket::text(errno))),
        }
    }

    fn sent(&mut self, rt: &mut Reactor, me: FrontendId, result: i32) {
        let again = matches!(-result, libc::EINTR | libc::EAGAIN);
        if result < 0 && !again || self.life == Life::Dead {
            self.output.failed();
            self.die(rt, me, format_args!("send: {}", crate::socket::text(-result)));
            // Already dead: the batch that was on its way is free now.
            self.discard(rt);
            return;
        }
        self.bytes_sent += result.max(0) as u64;
        self.watch.moved |= result > 0;
        match self.output.sent(result.max(0) as usize) {
            Sent::Partly => self.push_send(rt, me),
            Sent::Wholly => {
                self.recycle(rt);
                if self.life == Life::Serving && self.blocked() {
                    self.pump(rt, me);
                }
            }
        }
    }

    fn recycle(&mut self, rt: &mut Reactor) {
        let Connection { output, held, share, lane, .. } = self;
        output.recycle(|tag| {
            *held -= 1;
            share.gave(*held);
            rt.free(*lane, tag);
        });
    }

    fn push_send(&mut self, rt: &mut Reactor, me: FrontendId) {
        let entry = self.output.entry(self.socket.as_raw_fd());
        // SAFETY: the entry points to the batch, its header and its slots, which stay as they are
        // until `Output::sent` or `failed`; this connection stays until then (`may_leave`).
        unsafe { rt.push(me, token::SEND, entry) };
        self.watch_over(rt, me);
    }

    fn push_receive(&mut self, rt: &mut Reactor, me: FrontendId) {
        let direct = self.direct(rt);
        let entry = self.input.entry(self.socket.as_raw_fd(), direct);
        self.starved = false;
        // SAFETY: the entry points to the buffer, and to a slot that the head keeps until the
        // operation has completed (`quit_head`); this connection stays until then (`may_leave`).
        unsafe { rt.push(me, token::RECEIVE, entry) };
    }
}

impl Frontend for Connection {
    fn ring(&mut self, rt: &mut Reactor, me: FrontendId, token: u32, result: i32, _flags: u32) {
        match token {
            token::RECEIVE => self.received(rt, me, result),
            token::SEND => self.sent(rt, me, result),
            token::START => {
                self.starting = false;
                if self.life == Life::Serving {
                    self.pump(rt, me);
                }
            }
            token::WATCH => self.watched(rt, me, result),
            _ => {
                self.lingering = false;
                if result == -libc::ETIME {
                    self.die(rt, me, "the client does not read its replies");
                }
            }
        }
        self.mark(rt, me);
    }

    fn completed(
        &mut self,
        rt: &mut Reactor,
        me: FrontendId,
        _lane: LaneId,
        tag: Tag,
        cookie: u64,
        result: i32,
    ) {
        self.finish(rt, tag, cookie, result);
        if self.life == Life::Serving && self.blocked() {
            self.pump(rt, me);
        }
        self.mark(rt, me);
    }

    fn slots_available(&mut self, rt: &mut Reactor, me: FrontendId) {
        self.waiting = false;
        if self.life == Life::Serving && self.blocked() {
            self.pump(rt, me);
            self.mark(rt, me);
        }
    }

    fn flush(&mut self, rt: &mut Reactor, me: FrontendId) {
        self.dirty = false;
        match self.counted.record().asked() {
            Asked::Nothing => {}
            Asked::End => self.end_within(rt, me, life::LINGER_AT_STOP, life::BY_OPERATOR),
            Asked::Close => self.die(rt, me, life::BY_OPERATOR),
        }
        self.go_on(rt, me);
        if self.life != Life::Dead && self.output.start() {
            self.push_send(rt, me);
        }
        if self.life == Life::Serving && self.starved && !self.input.in_flight() {
            self.push_receive(rt, me);
        }
        self.counted.record().publish(Numbers {
            in_flight: self.in_flight,
            slots: self.held,
            unsent: self.output.unsent(),
            requests: self.requests,
            received: self.bytes_received,
            sent: self.bytes_sent,
        });
        debug_assert_eq!(self.held, self.slots_known(), "slots of client {} that nobody knows of", self.peer);
        self.leave(rt, me);
    }

    fn stop(&mut self, rt: &mut Reactor, me: FrontendId) {
        self.end_within(rt, me, life::LINGER_AT_STOP, "the server is stopping");
    }

    fn lane_gone(&mut self, rt: &mut Reactor, me: FrontendId, lane: LaneId) {
        if lane == self.lane {
            self.end(rt, me, "the device is gone");
        }
    }
}

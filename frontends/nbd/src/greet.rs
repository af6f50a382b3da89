//! A client in its handshake, on the queue that accepted it.

use crate::clients::{Asked, Counted};
use crate::conn::{self, Begin};
use crate::export::{Agreed, Export, Exports, NotOpened};
use crate::handshake::{Handshake, MAX_OPTION_DATA, Step};
use crate::peer::Peer;
use crate::share::{Ledgers, Share};
use crate::socket;
use crate::wire::OPTION_BYTES;
use io_uring::{opcode, types};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use steadfast_runtime::{DeviceClaim, DeviceInfo, Engine, Frontend, FrontendId, LaneId, Reactor, Tag};

/// Bytes of the buffer: one whole option, and some more.
const BUFFER_BYTES: usize = OPTION_BYTES + MAX_OPTION_DATA + 4096;
/// With this much to send, no further option is looked at.
const MAX_REPLIES: usize = 64 * 1024;
/// Ports whose devices are listed in one go; others of the queue have their turn before the next.
const LISTED: usize = 64;
/// More options than any client has a use for.
const MAX_OPTIONS: u32 = 1024;

mod token {
    pub(super) const RECEIVE: u32 = 0;
    pub(super) const SEND: u32 = 1;
    pub(super) const TIMEOUT: u32 = 2;
}

/// The engine's devices as the handshake sees them.
pub(crate) struct Door {
    engine: Engine,
    ledgers: Arc<Ledgers>,
    opened: Option<(DeviceClaim, Share)>,
    stopping: bool,
}

impl Door {
    pub(crate) fn new(engine: Engine, ledgers: Arc<Ledgers>) -> Door {
        Door { engine, ledgers, opened: None, stopping: false }
    }
}

impl Exports for Door {
    fn list(&mut self, after: &str) -> (Vec<Export>, Option<String>) {
        let (devices, more) = self.engine.devices_after(after, LISTED);
        (devices.iter().map(export).collect(), more)
    }

    fn find(&mut self, name: &str) -> Option<Export> {
        // This is a queue's thread: with many devices it must not go through all of them.
        if name.is_empty() {
            return self.engine.first_device().as_ref().map(export);
        }
        self.engine.device(name).as_ref().map(export)
    }

    fn open(&mut self, name: &str) -> Result<Export, NotOpened> {
        let found = self.find(name).ok_or(NotOpened::Unknown)?;
        let claim = self.engine.open_device(&found.name).ok_or(NotOpened::Unknown)?;
        let Some(share) = self.ledgers.join(claim.port, claim.queue, claim.slots) else {
            let slots = claim.slots;
            let why = format!("device {} has {slots} slots on a queue, and no more clients fit", found.name);
            return Err(NotOpened::Full(why));
        };
        let export = export(&claim.info);
        self.opened = Some((claim, share));
        Ok(export)
    }

    fn stopping(&self) -> bool {
        self.stopping
    }
}

fn export(device: &DeviceInfo) -> Export {
    let wwid = if device.wwid.is_empty() { String::new() } else { format!(", {}", device.wwid) };
    Export {
        name: device.name.clone(),
        description: format!("device {} of port {}{wwid}", device.number, device.port),
        size: device.size,
        block_size: device.block_size,
        preferred_block_size: device.preferred_block_size,
        features: device.features,
    }
}

/// What comes after the handshake.
enum Fate {
    /// Not known yet.
    Open,
    /// Serve the client, once the replies are sent.
    Serve(Agreed),
    /// Close, once the replies are sent.
    Close,
    /// Close at once.
    Drop,
}

struct Greeter {
    socket: Option<OwnedFd>,
    peer: Peer,
    counted: Option<Counted>,
    timeout: Duration,
    door: Door,
    handshake: Handshake,
    options: u32,
    /// The reply to the last option goes on.
    goes_on: bool,
    fate: Fate,
    buffer: Box<[u8]>,
    used: usize,
    /// Replies that are being made.
    replies: Vec<u8>,
    /// Replies that are being sent; not touched while they are.
    sending: Vec<u8>,
    sent: usize,
    receiving: bool,
    send_in_flight: bool,
    timing: bool,
    started: bool,
}

/// Greets a client that has just been accepted; runs on the queue's thread.
pub(crate) fn greet(rt: &mut Reactor, socket: OwnedFd, peer: Peer, counted: Counted, door: Door) {
    let timeout = counted.options().handshake_timeout;
    let record = counted.record().clone();
    let greeter = Greeter {
        socket: Some(socket),
        peer,
        counted: Some(counted),
        timeout,
        door,
        handshake: Handshake::default(),
        options: 0,
        goes_on: false,
        fate: Fate::Open,
        buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
        used: 0,
        replies: Handshake::greeting().to_vec(),
        sending: Vec::new(),
        sent: 0,
        receiving: false,
        send_in_flight: false,
        timing: false,
        started: false,
    };
    let me = rt.add_frontend(Box::new(greeter));
    record.sit(rt.queue_index(), me);
    rt.mark_dirty(me);
}

impl Greeter {
    /// Deals with the options that are there, until there is much to send.
    fn feed(&mut self) {
        let mut taken = 0;
        while matches!(self.fate, Fate::Open) && self.replies.len() < MAX_REPLIES {
            let (count, step) =
                self.handshake.feed(&self.buffer[taken..self.used], &mut self.door, &mut self.replies);
            taken += count;
            self.goes_on = matches!(step, Step::Again);
            match step {
                Step::More => break,
                // The next part is made when this one has left.
                Step::Again => break,
                Step::Next => {
                    self.options += 1;
                    if self.options > MAX_OPTIONS {
                        return self.drop_client(&format!("more than {MAX_OPTIONS} options"));
                    }
                }
                Step::Agreed(agreed) => self.fate = Fate::Serve(agreed),
                Step::Close(why) => {
                    if why.polite() {
                        tracing::debug!(client = %self.peer, "closed: {why}");
                    } else {
                        tracing::warn!(client = %self.peer, "disconnecting: {why}");
                    }
                    self.fate = Fate::Close;
                }
            }
        }
        self.buffer.copy_within(taken..self.used, 0);
        self.used -= taken;
    }

    fn drop_client(&mut self, why: &dyn std::fmt::Display) {
        if !matches!(self.fate, Fate::Drop) {
            tracing::warn!(client = %self.peer, "disconnecting in the handshake: {why}");
            self.fate = Fate::Drop;
        }
        if let Some(socket) = &self.socket {
            socket::shutdown(socket);
        }
    }

    fn push_send(&mut self, rt: &mut Reactor, me: FrontendId, fd: i32) {
        let left = &self.sending[self.sent..];
        let entry = opcode::Send::new(types::Fd(fd), left.as_ptr(), left.len() as u32)
            .flags(libc::MSG_NOSIGNAL)
            .build();
        self.send_in_flight = true;
        // SAFETY: `sending` is not touched before the operation completes; we stay until then.
        unsafe { rt.push(me, token::SEND, entry) };
    }

    fn push_receive(&mut self, rt: &mut Reactor, me: FrontendId, fd: i32) {
        let room = &mut self.buffer[self.used..];
        let entry = opcode::Recv::new(types::Fd(fd), room.as_mut_ptr(), room.len() as u32).build();
        self.receiving = true;
        // SAFETY: the buffer never moves, and is not read before the operation completes; we stay
        // until then.
        unsafe { rt.push(me, token::RECEIVE, entry) };
    }

    fn received(&mut self, result: i32) {
        self.receiving = false;
        match result {
            _ if !matches!(self.fate, Fate::Open) => {}
            0 => {
                tracing::debug!(client = %self.peer, "gone in the handshake");
                self.fate = Fate::Drop;
            }
            1.. => {
                self.used += result as usize;
                self.feed();
            }
            _ => self.drop_client(&socket::text(-result)),
        }
    }

    fn sent(&mut self, rt: &mut Reactor, me: FrontendId, result: i32) {
        self.send_in_flight = false;
        if result < 0 {
            return self.drop_client(&socket::text(-result));
        }
        self.sent += result as usize;
        if self.sent < self.sending.len()
            && let Some(fd) = self.socket.as_ref().map(AsRawFd::as_raw_fd)
        {
            self.push_send(rt, me, fd);
        }
    }

    /// Does what is next: send, receive, or go.
    fn go_on(&mut self, rt: &mut Reactor, me: FrontendId) {
        let Some(fd) = self.socket.as_ref().map(AsRawFd::as_raw_fd) else { return };
        if !self.send_in_flight && !self.replies.is_empty() && !matches!(self.fate, Fate::Drop) {
            self.sending.clear();
            std::mem::swap(&mut self.sending, &mut self.replies);
            self.sent = 0;
            self.push_send(rt, me, fd);
        }
        if matches!(self.fate, Fate::Open) && !self.receiving {
            // Options may have waited for the replies before them to leave.
            self.feed();
            if matches!(self.fate, Fate::Open) && self.replies.len() < MAX_REPLIES && !self.goes_on {
                self.push_receive(rt, me, fd);
            }
        }
        let over = match self.fate {
            Fate::Open => false,
            Fate::Drop => true,
            Fate::Serve(_) | Fate::Close => !self.send_in_flight && self.replies.is_empty(),
        };
        if !over {
            return;
        }
        for (busy, token) in [
            (self.receiving, token::RECEIVE),
            (self.send_in_flight, token::SEND),
            (self.timing, token::TIMEOUT),
        ] {
            if busy {
                rt.cancel(me, token);
            }
        }
        if !self.receiving && !self.send_in_flight && !self.timing {
            self.go(rt, me);
        }
    }

    /// Nothing is with the kernel any more: hand the client over, or let it go.
    fn go(&mut self, rt: &mut Reactor, me: FrontendId) {
        let fate = std::mem::replace(&mut self.fate, Fate::Drop);
        let (socket, opened, counted) = (self.socket.take(), self.door.opened.take(), self.counted.take());
        if let Some(counted) = &counted {
            counted.record().stand_up();
        }
        if let (Fate::Serve(agreed), Some(socket), Some((claim, share)), Some(counted)) =
            (fate, socket, opened, counted)
        {
            let queue = claim.queue;
            counted.record().uses(&agreed.export.name);
            let front = self.buffer[..self.used].to_vec();
            let begin = Begin { socket, peer: self.peer.clone(), agreed, claim, front, share, counted };
            self.door.engine.post(queue, Box::new(move |rt| conn::begin(rt, begin)));
        }
        rt.remove_frontend(me);
    }
}

impl Frontend for Greeter {
    fn ring(&mut self, rt: &mut Reactor, me: FrontendId, token: u32, result: i32, _flags: u32) {
        match token {
            token::RECEIVE => self.received(result),
            token::SEND => self.sent(rt, me, result),
            _ => {
                self.timing = false;
                // One that will be served and whose replies have left is on its way already.
                let over = !self.send_in_flight && self.replies.is_empty();
                if result == -libc::ETIME && !(over && matches!(self.fate, Fate::Serve(_))) {
                    let after = format!("not finished after {} s", self.timeout.as_secs());
                    self.drop_client(&after);
                }
            }
        }
        rt.mark_dirty(me);
    }

    fn completed(&mut self, rt: &mut Reactor, _: FrontendId, lane: LaneId, tag: Tag, _: u64, _: i32) {
        // A handshake submits nothing.
        rt.free(lane, tag);
    }

    fn slots_available(&mut self, _: &mut Reactor, _: FrontendId) {}

    fn flush(&mut self, rt: &mut Reactor, me: FrontendId) {
        if !self.started {
            self.started = true;
            self.timing = true;
            rt.timeout(me, token::TIMEOUT, self.timeout);
        }
        if self.counted.as_ref().is_some_and(|counted| counted.record().asked() != Asked::Nothing) {
            self.drop_client(&"an operator ends it");
        }
        self.go_on(rt, me);
    }

    fn lane_gone(&mut self, _: &mut Reactor, _: FrontendId, _: LaneId) {
        // No lane is ours.
    }

    fn stop(&mut self, rt: &mut Reactor, me: FrontendId) {
        self.door.stopping = true;
        self.fate = Fate::Drop;
        rt.mark_dirty(me);
    }
}

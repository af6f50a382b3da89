//! A client of a device: a frontend without an outside.

#![allow(unsafe_code)] // copies to and from slots' data buffers

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast_abi::{block_feature, block_op};
use steadfast_runtime::{
    BlockRequest, DeviceClaim, DeviceInfo, Engine, Frontend, FrontendId, LaneId, Reactor, Tag,
};
use steadfast_shell::sync::lock;

/// Longest wait for an answer; far above what any request takes, so that only a lost one meets it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) op: u16,
    pub(crate) flags: u16,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    /// What a write writes.
    pub(crate) data: Vec<u8>,
}

impl Ask {
    pub(crate) fn new(op: u16, offset: u64, length: u64) -> Ask {
        Ask { op, flags: 0, offset, length, data: Vec::new() }
    }

    pub(crate) fn read(offset: u64, length: u64) -> Ask {
        Ask::new(block_op::READ, offset, length)
    }

    pub(crate) fn write(offset: u64, data: Vec<u8>) -> Ask {
        Ask { data: data.clone(), ..Ask::new(block_op::WRITE, offset, data.len() as u64) }
    }

    pub(crate) fn flags(mut self, flags: u16) -> Ask {
        self.flags |= flags;
        self
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The number that was given with the request.
    pub(crate) id: u64,
    /// 0, a count, or a negative errno.
    pub(crate) result: i32,
    /// What a read read, or the extents of a status.
    pub(crate) data: Vec<u8>,
}

struct Waiting {
    id: u64,
    op: u16,
    length: u64,
    to: Sender<Reply>,
}

#[derive(Default)]
struct State {
    waiting: HashMap<u64, Waiting>,
    backlog: VecDeque<(u64, Ask)>,
    next: u64,
    /// Answers to requests that were not waiting for one.
    strays: u64,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    lane: Mutex<Option<LaneId>>,
}

/// A client of one device, on one queue.
pub(crate) struct Client {
    engine: Engine,
    claim: DeviceClaim,
    shared: Arc<Shared>,
    me: FrontendId,
    sent: AtomicU64,
}

/// The client's piece on the queue's thread.
struct Piece(Arc<Shared>);

impl Client {
    pub(crate) fn open(engine: &Engine, device: &str) -> Result<Client, String> {
        let claim = engine.open_device(device).ok_or_else(|| format!("there is no device {device}"))?;
        let shared = Arc::new(Shared::default());
        let (tx, rx) = channel();
        let (piece, port) = (Piece(shared.clone()), claim.port);
        engine.post(
            claim.queue,
            Box::new(move |rt| {
                *lock(&piece.0.lane) = rt.lane(port);
                let _ = tx.send(rt.add_frontend(Box::new(piece)));
            }),
        );
        let me = rx.recv_timeout(PATIENCE).map_err(|_| "the queue does not answer".to_owned())?;
        Ok(Client { engine: engine.clone(), claim, shared, me, sent: AtomicU64::new(0) })
    }

    pub(crate) fn info(&self) -> &DeviceInfo {
        &self.claim.info
    }

    pub(crate) fn has(&self, feature: u64) -> bool {
        self.info().features & feature != 0
    }

    pub(crate) fn writable(&self) -> bool {
        !self.has(block_feature::READ_ONLY)
    }

    /// Sends a request; its answer goes to `to` with the number `id`.
    pub(crate) fn send(&self, ask: Ask, id: u64, to: &Sender<Reply>) {
        let cookie = {
            let mut state = lock(&self.shared.state);
            state.next += 1;
            let cookie = state.next;
            let waiting = Waiting { id, op: ask.op, length: ask.length, to: to.clone() };
            state.waiting.insert(cookie, waiting);
            state.backlog.push_back((cookie, ask));
            cookie
        };
        self.sent.store(cookie, Ordering::Relaxed);
        let (shared, me) = (self.shared.clone(), self.me);
        self.engine.post(self.claim.queue, Box::new(move |rt| submit_all(&shared, rt, me)));
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn call(&self, ask: Ask) -> Result<Reply, String> {
        let (tx, rx) = channel();
        let what = format!("request {} of {} bytes at {}", op_name(ask.op), ask.length, ask.offset);
        self.send(ask, 0, &tx);
        drop(tx);
        wait(&rx).map_err(|e| format!("{what}: {e}"))
    }

    /// The same for what must succeed.
    pub(crate) fn must(&self, ask: Ask) -> Result<Reply, String> {
        let what = format!("{} of {} bytes at {}", op_name(ask.op), ask.length, ask.offset);
        let reply = self.call(ask)?;
        if reply.result < 0 { Err(format!("{what} failed: {}", errno(reply.result))) } else { Ok(reply) }
    }

    /// Answers that came for nobody: a request was answered twice.
    pub(crate) fn strays(&self) -> u64 {
        lock(&self.shared.state).strays
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let (me, (tx, rx)) = (self.me, channel());
        self.engine.post(
            self.claim.queue,
            Box::new(move |rt| {
                rt.remove_frontend(me);
                let _ = tx.send(());
            }),
        );
        let _ = rx.recv_timeout(PATIENCE);
    }
}

/// The next answer.
pub(crate) fn wait(replies: &Receiver<Reply>) -> Result<Reply, String> {
    replies.recv_timeout(PATIENCE).map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))
}

fn submit_all(shared: &Shared, rt: &mut Reactor, me: FrontendId) {
    let Some(lane) = *lock(&shared.lane) else {
        while let Some((cookie, _)) = next(shared) {
            answer(shared, cookie, GONE, Vec::new());
        }
        return;
    };
    while let Some((cookie, ask)) = next(shared) {
        let Some(tag) = rt.alloc(lane) else {
            lock(&shared.state).backlog.push_front((cookie, ask));
            rt.wait_for_slots(lane, me);
            return;
        };
        let len = ask.data.len().min(rt.data_size(lane) as usize);
        // SAFETY: the slot is ours until it is submitted, and its buffer has `data_size` bytes.
        unsafe { std::ptr::copy_nonoverlapping(ask.data.as_ptr(), rt.data(lane, tag), len) };
        let req =
            BlockRequest { op: ask.op, flags: ask.flags, device: 0, offset: ask.offset, length: ask.length };
        rt.submit(lane, tag, me, cookie, req);
    }
}

/// `-ENODEV`: the port was taken away.
const GONE: i32 = -19;

fn answer(shared: &Shared, cookie: u64, result: i32, data: Vec<u8>) {
    let waiting = lock(&shared.state).waiting.remove(&cookie);
    match waiting {
        Some(waiting) => {
            let _ = waiting.to.send(Reply { id: waiting.id, result, data });
        }
        None => lock(&shared.state).strays += 1,
    }
}

fn next(shared: &Shared) -> Option<(u64, Ask)> {
    lock(&shared.state).backlog.pop_front()
}

impl Frontend for Piece {
    fn ring(&mut self, _: &mut Reactor, _: FrontendId, _: u32, _: i32, _: u32) {}

    fn completed(
        &mut self,
        rt: &mut Reactor,
        _: FrontendId,
        lane: LaneId,
        tag: Tag,
        cookie: u64,
        result: i32,
    ) {
        let asked = lock(&self.0.state).waiting.get(&cookie).map(|w| (w.op, w.length));
        let whole = u64::from(rt.data_size(lane));
        let bytes = match asked {
            Some((block_op::READ, length)) if result >= 0 => length.min(whole),
            Some((block_op::STATUS, _)) => u64::try_from(result).unwrap_or(0).saturating_mul(16).min(whole),
            _ => 0,
        };
        // SAFETY: the slot is ours again, and its buffer has `data_size` bytes.
        let data = unsafe { std::slice::from_raw_parts(rt.data(lane, tag), bytes as usize) }.to_vec();
        rt.free(lane, tag);
        answer(&self.0, cookie, result, data);
    }

    fn slots_available(&mut self, rt: &mut Reactor, me: FrontendId) {
        submit_all(&self.0, rt, me);
    }

    fn flush(&mut self, _: &mut Reactor, _: FrontendId) {}

    // The client itself removes its piece.
    fn stop(&mut self, _: &mut Reactor, _: FrontendId) {}

    fn lane_gone(&mut self, rt: &mut Reactor, me: FrontendId, lane: LaneId) {
        if *lock(&self.0.lane) == Some(lane) {
            *lock(&self.0.lane) = None;
            submit_all(&self.0, rt, me);
        }
    }
}

/// Name of a request for messages.
pub(crate) fn op_name(op: u16) -> &'static str {
    match op {
        block_op::READ => "read",
        block_op::WRITE => "write",
        block_op::FLUSH => "flush",
        block_op::TRIM => "trim",
        block_op::WRITE_ZEROES => "write-zeroes",
        block_op::CACHE => "cache",
        block_op::STATUS => "status",
        _ => "request",
    }
}

/// An error number in words.
pub(crate) fn errno(result: i32) -> String {
    std::io::Error::from_raw_os_error(-result).to_string()
}

//! Single requests, one after another.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use steadfast_runtime::{BlockRequest, Engine, Frontend, FrontendId, LaneId, Reactor, Tag};

/// A request of one kind, for device 0 of a port.
pub(crate) fn request(op: u16, flags: u16, offset: u64, length: u64) -> BlockRequest {
    BlockRequest { op, flags, device: 0, offset, length }
}

/// Passes one request and returns its result and what is in the buffer then. `fill`: what is in it
/// before.
pub(crate) fn ask(engine: &Engine, device: &str, req: BlockRequest, fill: u8) -> (i32, Vec<u8>) {
    let claim = engine.open_device(device).expect("device");
    let (tx, rx) = channel();
    let queue = claim.queue;
    let port = claim.port;
    let start = move |rt: &mut Reactor| {
        let lane = rt.lane(port).expect("lane");
        let id = rt.add_frontend(Box::new(Asker { lane, req, fill, tx }));
        rt.timeout(id, 0, Duration::ZERO);
    };
    engine.post(queue, Box::new(start));
    rx.recv_timeout(Duration::from_secs(60)).expect("an answer")
}

struct Asker {
    lane: LaneId,
    req: BlockRequest,
    fill: u8,
    tx: Sender<(i32, Vec<u8>)>,
}

impl Asker {
    fn bytes(&self, rt: &mut Reactor, tag: Tag) -> &'static mut [u8] {
        let n = (self.req.length as usize).min(rt.data_size(self.lane) as usize);
        // SAFETY: a slot that is ours, and lives as long as its port.
        unsafe { std::slice::from_raw_parts_mut(rt.data(self.lane, tag), n) }
    }
}

impl Frontend for Asker {
    fn ring(&mut self, rt: &mut Reactor, me: FrontendId, _: u32, _: i32, _: u32) {
        let tag = rt.alloc(self.lane).expect("a slot");
        self.bytes(rt, tag).fill(self.fill);
        rt.submit(self.lane, tag, me, 0, self.req);
    }

    fn completed(&mut self, rt: &mut Reactor, me: FrontendId, lane: LaneId, tag: Tag, _: u64, result: i32) {
        let data = self.bytes(rt, tag).to_vec();
        rt.free(lane, tag);
        rt.remove_frontend(me);
        let _ = self.tx.send((result, data));
    }

    fn slots_available(&mut self, _: &mut Reactor, _: FrontendId) {}
    fn flush(&mut self, _: &mut Reactor, _: FrontendId) {}
    fn stop(&mut self, _: &mut Reactor, _: FrontendId) {}
}

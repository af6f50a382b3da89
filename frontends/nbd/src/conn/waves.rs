//! Large reads of clients that know no reply chunks.
//!
//! Their data must leave in order and in one piece, but does not fit the slots. So it is read in
//! waves of as many slots as there are, and a reply of more than one wave has the connection for
//! itself: it begins when every other answer is out, and the pump takes nothing until it is over.

use super::Connection;
use super::open::Index;
use super::pump::{Head, Progress};
use crate::reply;
use crate::wire::Headers;
use steadfast_runtime::{FrontendId, Reactor, Tag};

/// Most slots in one wave.
pub(super) const WAVE: usize = 16;

/// One part of a wave.
#[derive(Clone, Copy, Debug)]
pub(super) struct WavePart {
    pub(super) tag: Tag,
    pub(super) length: u64,
    pub(super) done: bool,
}

impl Connection {
    /// Goes on with the wave under way, or begins the next.
    pub(super) fn waves(
        &mut self,
        rt: &mut Reactor,
        me: FrontendId,
        index: Index,
        mut at: u64,
        begun: bool,
    ) -> Progress {
        if !self.wave.is_empty() {
            return self.end_wave(rt, me, index, at, begun);
        }
        let open = *self.table.get(index);
        while at < open.length && self.wave.len() < WAVE {
            let Some(tag) = self.slot(rt, me) else { break };
            let length = open.part(at);
            let part = self.wave.len() as u32;
            self.wave.push(WavePart { tag, length, done: false });
            self.submit(rt, me, tag, index, part, open.change, open.offset + at, length);
            at += length;
        }
        self.head = Head::Waves { index, at, begun };
        Progress::Blocked
    }

    fn end_wave(&mut self, rt: &mut Reactor, me: FrontendId, index: Index, at: u64, begun: bool) -> Progress {
        if self.wave.iter().any(|part| !part.done) {
            return Progress::Blocked;
        }
        let open = *self.table.get(index);
        let last = at == open.length;
        if open.errno != 0 {
            return self.fail_wave(rt, me, index, begun);
        }
        if (begun || !last) && self.table.len() > 1 {
            return Progress::Blocked;
        }
        if !begun {
            let data = reply::Data {
                cookie: open.cookie,
                request_offset: open.offset,
                offset: open.offset,
                length: 0,
                last,
            };
            self.output.header(reply::data(Headers::Simple, &data).as_bytes());
        }
        for part in self.wave.drain(..) {
            self.output.data(rt.data(self.lane, part.tag), part.length as usize, part.tag);
        }
        self.head = Head::Waves { index, at, begun: true };
        if last {
            self.output.answered();
            self.table.remove(index);
            self.head = Head::None;
        }
        self.mark(rt, me);
        Progress::Next
    }

    fn fail_wave(&mut self, rt: &mut Reactor, me: FrontendId, index: Index, begun: bool) -> Progress {
        while let Some(part) = self.wave.pop() {
            self.free(rt, part.tag);
        }
        let open = self.table.remove(index);
        self.head = Head::None;
        if begun {
            // "No error" is out already: the protocol leaves nothing but to hang up.
            let why =
                format_args!("a read failed in the middle of its reply: errno {}", open.errno).to_string();
            tracing::warn!(client = %self.peer, export = self.claim.info.name, "disconnecting: {why}");
            self.die(rt, me, why);
            return Progress::Blocked;
        }
        self.answer(&open);
        Progress::Next
    }
}

//! A watch over what is being sent: a client that takes none of it for too long is not waited for any more.
//!
//! While something is on its way a timer runs, a few times in the longest time allowed, so that a request costs
//! nothing for it. Each time something has left since the last look, the time begins anew. A send ends only when all of it
//! is in the socket, so the socket is asked too how much waits in it: it is less when the client has taken some, and
//! more when the kernel has then put more there.

use super::{Connection, Life, token};
use crate::socket;
use std::os::fd::AsRawFd;
use steadfast_runtime::{FrontendId, Reactor};

/// Looks in the longest time allowed. So many, that a slow client which takes what the socket holds as often as is
/// looked, and so leaves the same in it each time, is one that a whole send has long left to.
const LOOKS: u32 = 16;

#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The timer runs.
    pub(super) armed: bool,
    /// Something has left since the last look.
    pub(super) moved: bool,
    /// What waited in the socket at the last look.
    waiting: Option<i32>,
    /// Looks since anything left.
    stalled: u32,
}

impl Connection {
    /// Something is on its way.
    pub(super) fn watch_over(&mut self, rt: &mut Reactor, me: FrontendId) {
        if !self.watch.armed {
            self.watch = Watch::default();
            self.look_later(rt, me);
        }
    }

    fn look_later(&mut self, rt: &mut Reactor, me: FrontendId) {
        self.watch.armed = true;
        rt.timeout(me, token::WATCH, self.counted.options().send_timeout / LOOKS);
    }

    /// The timer has ended.
    pub(super) fn watched(&mut self, rt: &mut Reactor, me: FrontendId, result: i32) {
        self.watch.armed = false;
        if result != -libc::ETIME || self.life == Life::Dead || !self.output.in_flight() {
            return;
        }
        let waiting = socket::waiting(self.socket.as_raw_fd());
        let before = std::mem::replace(&mut self.watch.waiting, waiting);
        let taken = before.is_some() && before != waiting;
        let moved = std::mem::take(&mut self.watch.moved) || taken;
        self.watch.stalled = if moved { 0 } else { self.watch.stalled + 1 };
        if self.watch.stalled < LOOKS {
            return self.look_later(rt, me);
        }
        let seconds = self.counted.options().send_timeout.as_secs_f64();
        let why = format!("the client has taken none of its replies for {seconds} s (nbd.send_timeout)");
        tracing::warn!(client = %self.peer, export = self.claim.info.name, "disconnecting: {why}");
        self.die(rt, me, why);
    }
}

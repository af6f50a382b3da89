//! A watch over what is being sent: a client that takes none of it for too long is not waited for any more.
//!
//! While something is on its way a timer runs, a few times in the longest time allowed, so that a request costs
//! nothing for it. Each time something has left since the last look, the time begins anew.

use super::{Connection, Life, token};
use steadfast_runtime::{FrontendId, Reactor};

/// Looks in the longest time allowed.
const LOOKS: u32 = 4;

#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The timer runs.
    pub(super) armed: bool,
    /// Something has left since the last look.
    pub(super) moved: bool,
    /// Looks since anything left.
    stalled: u32,
}

impl Connection {
    /// Something is on its way.
    pub(super) fn watch_over(&mut self, rt: &mut Reactor, me: FrontendId) {
        if !self.watch.armed {
            self.watch = Watch { armed: true, moved: false, stalled: 0 };
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
        self.watch.stalled = if std::mem::take(&mut self.watch.moved) { 0 } else { self.watch.stalled + 1 };
        if self.watch.stalled < LOOKS {
            return self.look_later(rt, me);
        }
        let seconds = self.counted.options().send_timeout.as_secs_f64();
        let why = format!("the client has taken none of its replies for {seconds} s (nbd.send_timeout)");
        tracing::warn!(client = %self.peer, export = self.claim.info.name, "disconnecting: {why}");
        self.die(rt, me, why);
    }
}

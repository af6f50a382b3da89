//! How a connection ends.
//!
//! ```text
//! Serving --goodbye, stop, broken request, end of stream--> Ending --answers sent--> gone
//!    |                                                        |
//!    `--socket error--> Dead <--not read within LINGER--------'
//!                         `--nothing with the kernel or a device--> gone
//! ```

use super::{Connection, Life, token};
use std::fmt;
use std::time::Duration;
use steadfast_runtime::{FrontendId, Reactor};

/// How long a client may take to read its last replies.
const LINGER: Duration = Duration::from_secs(10);
/// The same when the server is stopping.
pub(super) const LINGER_AT_STOP: Duration = Duration::from_secs(2);
/// The reason of an end that somebody asked for.
pub(super) const BY_OPERATOR: &str = "disconnected by an operator";

impl Connection {
    /// Takes no more requests; those in flight are answered, then the connection closes.
    pub(super) fn end(&mut self, rt: &mut Reactor, me: FrontendId, reason: impl fmt::Display) {
        self.end_within(rt, me, LINGER, reason);
    }

    pub(super) fn end_within(
        &mut self,
        rt: &mut Reactor,
        me: FrontendId,
        linger: Duration,
        reason: impl fmt::Display,
    ) {
        if self.life != Life::Serving {
            return;
        }
        self.life = Life::Ending;
        self.reason = reason.to_string();
        self.quit_head(rt);
        if self.input.in_flight() {
            rt.cancel(me, token::RECEIVE);
        }
        if !self.may_leave() {
            self.lingering = true;
            rt.timeout(me, token::LINGER, linger);
        }
        self.mark(rt, me);
    }

    /// The socket can't be used any more.
    pub(super) fn die(&mut self, rt: &mut Reactor, me: FrontendId, reason: impl fmt::Display) {
        if self.life == Life::Dead {
            return;
        }
        if self.life == Life::Serving {
            self.reason = reason.to_string();
        }
        self.life = Life::Dead;
        self.quit_head(rt);
        crate::socket::shutdown(&self.socket);
        self.discard(rt);
        if self.input.in_flight() {
            rt.cancel(me, token::RECEIVE);
        }
        if self.output.in_flight() {
            rt.cancel(me, token::SEND);
        }
        self.mark(rt, me);
    }

    /// Nothing of this connection is with the kernel or a device.
    fn may_leave(&self) -> bool {
        let with_kernel = self.starting || self.input.in_flight() || !self.output.is_empty();
        let with_device = self.in_flight > 0 || !self.again.is_empty();
        self.life != Life::Serving && !with_device && !with_kernel
    }

    /// Removes the connection if nothing holds it. `self` is not to be used after true.
    pub(super) fn leave(&mut self, rt: &mut Reactor, me: FrontendId) -> bool {
        if !self.may_leave() {
            return false;
        }
        if self.lingering || self.watch.armed {
            // Each comes back to `ring`, and then here again.
            if self.lingering {
                rt.cancel(me, token::LINGER);
            }
            if self.watch.armed {
                rt.cancel(me, token::WATCH);
            }
            return false;
        }
        debug_assert_eq!(self.held, 0);
        tracing::info!(client = %self.peer, export = self.claim.info.name, requests = self.requests,
            reason = self.reason, "closed");
        rt.remove_frontend(me);
        true
    }

    pub(super) fn discard(&mut self, rt: &mut Reactor) {
        let Connection { output, held, share, lane, .. } = self;
        output.discard(|tag| {
            *held -= 1;
            share.gave(*held);
            rt.free(*lane, tag);
        });
    }
}

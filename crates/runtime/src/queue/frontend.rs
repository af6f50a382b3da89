//! What a frontend is to a queue.

use crate::ids::{FrontendId, LaneId, Tag};
use crate::queue::Reactor;

/// A piece of a frontend that lives on one queue: a listener, a connection, a device of the kernel.
///
/// Everything is called on the queue's thread, never from inside another call into the same
/// frontend. A frontend owns its ring operations: it must stay until each has completed.
pub trait Frontend {
    /// A ring operation that this frontend pushed has completed. `result` and `flags` are those of
    /// the completion entry.
    fn ring(&mut self, rt: &mut Reactor, me: FrontendId, token: u32, result: i32, flags: u32);

    /// A request has completed: `result` is 0, a count, or a negative errno. The slot stays the
    /// frontend's until it calls [`Reactor::free`].
    fn completed(
        &mut self,
        rt: &mut Reactor,
        me: FrontendId,
        lane: LaneId,
        tag: Tag,
        cookie: u64,
        result: i32,
    );

    /// Slots are free again, after [`Reactor::wait_for_slots`].
    fn slots_available(&mut self, rt: &mut Reactor, me: FrontendId);

    /// The end of a turn of the loop in which [`Reactor::mark_dirty`] was called.
    fn flush(&mut self, rt: &mut Reactor, me: FrontendId);

    /// The daemon stops: accept nothing new, answer what is in flight, then
    /// [`remove`](Reactor::remove_frontend) yourself.
    fn stop(&mut self, rt: &mut Reactor, me: FrontendId);

    /// The port behind `lane` is being taken away: its requests in flight complete, held ones and
    /// new ones fail with `-ENODEV`. Give every slot of it back.
    fn lane_gone(&mut self, rt: &mut Reactor, me: FrontendId, lane: LaneId) {
        let _ = lane;
        self.stop(rt, me);
    }
}

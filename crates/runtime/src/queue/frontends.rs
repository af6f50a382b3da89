//! What frontends ask of their queue: ring operations, slots, and requests to submit.

use crate::ids::{BlockRequest, FrontendId, LaneId, PortId, Tag};
use crate::lane::Lane;
use crate::lane::core::Done;
use crate::port::directory::Directory;
use crate::queue::frontend::Frontend;
use crate::queue::{Place, Reactor};
use crate::ring::{kind, user_data};
use io_uring::{opcode, squeue, types};
use std::time::Duration;

impl Reactor {
    /// Adds a frontend to this queue.
    pub fn add_frontend(&mut self, f: Box<dyn Frontend>) -> FrontendId {
        let place = Place { frontend: Some(f), used: true, dirty: false, removed: false, ring_ops: 0 };
        if let Some(free) = self.free_places.pop() {
            self.places[free as usize] = place;
            return FrontendId(free);
        }
        self.places.push(place);
        FrontendId(self.places.len() as u32 - 1)
    }

    /// Removes a frontend that has no ring operation and no slot left. May be called from within its
    /// own callback, and then takes effect when that returns.
    pub fn remove_frontend(&mut self, me: FrontendId) {
        for lane in self.lanes.iter().flatten() {
            // SAFETY: this thread's lanes.
            unsafe { (*lane.as_ptr()).waiting.retain(|w| *w != me) };
        }
        let Some(place) = self.places.get_mut(me.0 as usize) else { return };
        debug_assert_eq!(place.ring_ops, 0, "a frontend leaves with ring operations in flight");
        place.removed = true;
        self.bury(me);
    }

    /// Queues a ring operation; its completion comes to [`Frontend::ring`] with `token`. The entry's
    /// user data is overwritten.
    ///
    /// # Safety
    /// The memory that `entry` points to stays valid until `ring` has been called for it (for
    /// vectors, message headers and time specifications too).
    pub unsafe fn push(&mut self, me: FrontendId, token: u32, entry: squeue::Entry) {
        if let Some(place) = self.places.get_mut(me.0 as usize) {
            place.ring_ops += 1;
        }
        let data = user_data(kind::FRONTEND, u64::from(me.0) << 32 | u64::from(token));
        // SAFETY: the caller's promise, passed on.
        unsafe { self.core().push(&entry.user_data(data)) };
    }

    /// Asks for the operation with that token to end early; it still completes.
    pub fn cancel(&mut self, me: FrontendId, token: u32) {
        let data = user_data(kind::FRONTEND, u64::from(me.0) << 32 | u64::from(token));
        let entry = opcode::AsyncCancel::new(data).build().user_data(user_data(kind::IGNORE, 0));
        // SAFETY: the entry points to nothing.
        unsafe { self.core().push(&entry) };
    }

    /// Calls [`Frontend::ring`] with `token` and `-ETIME` after `time`; [`cancel`](Reactor::cancel)
    /// ends it early with `-ECANCELED`.
    pub fn timeout(&mut self, me: FrontendId, token: u32, time: Duration) {
        let time = Box::new(types::Timespec::from(time));
        let entry = opcode::Timeout::new(&raw const *time).build();
        self.times.push(time);
        // SAFETY: the kernel reads the time while it submits; `times` is cleared after that.
        unsafe { self.push(me, token, entry) };
    }

    /// The lane of a port on this queue, if the port is spread over it and not being taken away.
    pub fn lane(&self, port: PortId) -> Option<LaneId> {
        let id = LaneId(port.0);
        self.lane_ref(id).is_some_and(|lane| !lane.gone).then_some(id)
    }

    /// Takes a slot; `None` when all are in use.
    #[inline]
    pub fn alloc(&mut self, lane: LaneId) -> Option<Tag> {
        self.lane_mut(lane).filter(|l| !l.gone)?.slots.reserve()
    }

    /// Gives a slot back that was never submitted, or whose request has completed.
    #[inline]
    pub fn free(&mut self, lane: LaneId, tag: Tag) {
        let Some(l) = self.lane_mut(lane) else { return };
        if let Err(e) = l.slots.release(tag) {
            tracing::error!(port = l.port.name, "free: {e}");
            debug_assert!(false, "free: {e}");
            return;
        }
        if !l.waiting.is_empty() {
            self.notice_slots(lane);
        }
    }

    /// Frontends that wait for slots of a lane are told, if it has any.
    pub(crate) fn notice_slots(&mut self, lane: LaneId) {
        let has = self.lane_ref(lane).is_some_and(|l| !l.waiting.is_empty() && l.slots.has_free());
        if has && !self.starved.contains(&lane) {
            self.starved.push(lane);
        }
    }

    /// Slots of the lane, in use or not. It changes when the port is initialised anew with other `io_slots`.
    pub fn slots_total(&self, lane: LaneId) -> u32 {
        self.lane_ref(lane).map_or(0, |l| l.slots.len())
    }

    /// Calls [`Frontend::slots_available`] once when slots are free again.
    pub fn wait_for_slots(&mut self, lane: LaneId, me: FrontendId) {
        if let Some(l) = self.lane_mut(lane)
            && !l.waiting.contains(&me)
        {
            l.waiting.push_back(me);
        }
    }

    /// The data buffer of a slot: page-aligned, [`data_room`](Reactor::data_room) bytes, the
    /// frontend's whenever the slot is. The 64 bytes before it are the frontend's too.
    #[inline]
    pub fn data(&mut self, lane: LaneId, tag: Tag) -> *mut u8 {
        self.lane_ref(lane).map_or(std::ptr::null_mut(), |l| l.data(tag))
    }

    /// Largest request that the lane passes on, bytes. It changes when the port is initialised anew with
    /// another `max_transfer`; a request that was begun before keeps its length.
    pub fn data_size(&self, lane: LaneId) -> u32 {
        self.lane_ref(lane).map_or(0, Lane::data_size)
    }

    /// Bytes of a slot's data buffer: at least [`data_size`](Reactor::data_size), and as much as any request
    /// of the lane has been allowed to have.
    pub fn data_room(&self, lane: LaneId) -> u32 {
        self.lane_ref(lane).map_or(0, Lane::most_data)
    }

    /// Hands a request to the port's driver, or holds it while the port is between drivers.
    ///
    /// It completes exactly once, through [`Frontend::completed`] and never from within this call: with
    /// `-EIO` where the slot is not one that [`alloc`](Reactor::alloc) gave and that was not submitted since.
    #[inline]
    pub fn submit(&mut self, lane: LaneId, tag: Tag, me: FrontendId, cookie: u64, req: BlockRequest) {
        self.watcher.request();
        let Some(l) = self.lane_ptr(lane) else { return self.no_lane(lane, tag, me, cookie) };
        // SAFETY: this thread's lane, and nobody is inside its driver: frontends are called from the
        // loop only. No reference into lane or core is alive here.
        unsafe { Lane::submit(l.as_ptr(), tag, me, cookie, &req, (*self.core.as_ptr()).now_ns) };
    }

    /// Hands the next piece of a request over, in the slot whose last request has completed and that was not
    /// freed since. For the port it is a request of its own: it is held and measured, and completes exactly
    /// once, as those of [`submit`](Reactor::submit) are and do. For `request_timeout` it is a piece of the whole too.
    pub fn submit_next(&mut self, lane: LaneId, tag: Tag, me: FrontendId, cookie: u64, req: BlockRequest) {
        self.watcher.request();
        let Some(l) = self.lane_ptr(lane) else { return self.no_lane(lane, tag, me, cookie) };
        // SAFETY: as for `submit`.
        unsafe { Lane::submit_next(l.as_ptr(), tag, me, cookie, &req, (*self.core.as_ptr()).now_ns) };
    }

    /// A request for a port that is not on this queue any more ends with an error too.
    #[cold]
    fn no_lane(&mut self, lane: LaneId, tag: Tag, frontend: FrontendId, cookie: u64) {
        let result = -libc::ENODEV;
        self.core().done.push(Done { frontend, lane, tag, cookie, result });
    }

    /// Calls [`Frontend::flush`] at the end of this turn.
    #[inline]
    pub fn mark_dirty(&mut self, me: FrontendId) {
        if let Some(place) = self.places.get_mut(me.0 as usize)
            && !place.dirty
        {
            place.dirty = true;
            self.dirty.push(me);
        }
    }

    /// Monotonic clock at the start of this turn, nanoseconds.
    pub fn now_ns(&self) -> u64 {
        // SAFETY: this thread's core.
        unsafe { (*self.core.as_ptr()).now_ns }
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Number of this queue in the engine.
    pub fn queue_index(&self) -> usize {
        self.index
    }
}

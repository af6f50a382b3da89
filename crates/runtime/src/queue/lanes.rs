//! What the engine asks of a queue: ports come, change and go.

use super::Reactor;
use crate::ids::{FrontendId, LaneId};
use crate::lane::Lane;
use crate::port::Port;
use std::ptr::NonNull;
use std::sync::Arc;

impl Reactor {
    /// Adds a port to this queue, without a driver.
    pub(crate) fn add_lane(&mut self, port: Arc<Port>, index: usize, ops: u32) {
        let id = port.id.0 as usize;
        let core = self.core;
        self.core().grow(ops);
        // A candidate on trial is no neighbour: it takes the time of the device that it is tried for.
        self.core().ports += u32::from(port.shadow.is_none());
        let lane = Lane::new(core, port, index, ops);
        if self.lanes.len() <= id {
            self.lanes.resize(id + 1, None);
        }
        self.lanes[id] = Some(NonNull::from(Box::leak(lane)));
    }

    /// A port begins without a driver.
    pub(crate) fn take_lane_down(&mut self, id: LaneId) {
        let Some(lane) = self.lane_ptr(id) else { return };
        // SAFETY: this thread's lane, which never had a driver and is closed.
        unsafe { Lane::take_down(lane.as_ptr()) };
    }

    /// Makes sure that a lane can have `slots` slots, and its driver the operations in flight that `ops` says
    /// for as many as can be in use then; returns how many that are.
    pub(crate) fn make_room(&mut self, id: LaneId, slots: u32, ops: impl FnOnce(u32) -> u32) -> u32 {
        let Some(lane) = self.lane_mut(id) else { return slots };
        let reach = lane.make_room(slots);
        let more = ops(reach).saturating_sub(lane.ops_room);
        lane.ops_room += more;
        self.core().grow(more);
        reach
    }

    /// Takes a port without a driver away, once no frontend has a slot of it any more; then calls
    /// `done`.
    pub(crate) fn remove_lane(&mut self, id: LaneId, done: Box<dyn FnOnce() + Send>) {
        if let Some(lane) = self.lane_ptr(id) {
            // SAFETY: this thread's lane, without a driver.
            unsafe {
                (*lane.as_ptr()).gone = true;
                Lane::fail_held(lane.as_ptr(), -libc::ENODEV);
                Lane::stop_timers(lane.as_ptr());
            }
        }
        self.leaving.push((id, done));
        self.core().tick_wanted = true;
        if self.lane_ref(id).is_some_and(|l| l.port.shadow.is_some()) {
            // Only the trial's own frontend has slots of it.
            return;
        }
        let all: Vec<u32> = (0..self.places.len() as u32).filter(|i| self.places[*i as usize].used).collect();
        for who in all.into_iter().map(FrontendId) {
            self.with(who, |f, rt| f.lane_gone(rt, who, id));
        }
    }

    /// What a driver left in flight that is gone fails.
    pub(crate) fn fail_left(&mut self, id: LaneId) {
        let Some(lane) = self.lane_ptr(id) else { return };
        // SAFETY: this thread's lane, without a driver.
        unsafe { Lane::fail_all(lane.as_ptr(), -libc::EIO) };
    }

    pub(super) fn poll_leaving(&mut self) -> bool {
        let mut moved = false;
        let mut i = 0;
        while i < self.leaving.len() {
            let id = self.leaving[i].0;
            let lane = self.lane_ptr(id);
            // SAFETY: this thread's lane, without a driver.
            let ready = lane.is_none_or(|l| unsafe {
                let quiet = self.core.as_ref().ops.of_lane(l).next().is_none();
                if quiet
                    && (*l.as_ptr()).slots.lost() > 0
                    && let Err(e) = (*l.as_ptr()).slots.reclaim(|_| true)
                {
                    (*l.as_ptr()).wrong("take slots back from a port that goes", &e);
                }
                if quiet && (*l.as_ptr()).slots.issued() > 0 {
                    Lane::fail_issued(l.as_ptr(), -libc::ENODEV);
                    moved = true;
                }
                // Memory that is on its way out is this port's until it is. A transaction that the lane takes part in
                // may have a driver use it still.
                let quiet = quiet && (*l.as_ptr()).slots.emptied() == 0;
                quiet && (*l.as_ptr()).slots.used() == 0 && (*l.as_ptr()).job.is_none()
            });
            if !ready {
                i += 1;
                continue;
            }
            let (_, done) = self.leaving.swap_remove(i);
            if let Some(lane) = lane {
                self.lanes[id.0 as usize] = None;
                let core = self.core();
                core.commits.retain(|l| *l != lane);
                core.due.retain(|l| *l != lane);
                // SAFETY: leaked by `add_lane`; no list and no operation knows it any more.
                let lane = unsafe { Box::from_raw(lane.as_ptr()) };
                core.shrink(lane.ops_room);
                core.ports -= u32::from(lane.port.shadow.is_none());
            }
            self.bury_trial(id);
            done();
            moved = true;
        }
        moved
    }

    /// Lanes that are to go do not wait for what hangs in the kernel.
    pub(crate) fn abandon_leaving(&mut self) {
        let leaving: Vec<LaneId> = self.leaving.iter().map(|(id, _)| *id).collect();
        for lane in leaving.into_iter().filter_map(|id| self.lane_ptr(id)) {
            // SAFETY: this thread's lane, without a driver.
            unsafe { Lane::abandon(lane.as_ptr()) };
        }
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending
    }

    /// There may be something that hangs and is not to be waited for.
    pub(crate) fn waits_for_what_hangs(&self) -> bool {
        self.ending || !self.leaving.is_empty()
    }

    /// Puts a descriptor at a place of the file table; -1 empties it.
    pub(crate) fn register_file(&mut self, place: u32, fd: i32) {
        if let Err(e) = self.core().ring.put_file(place, fd) {
            tracing::error!("io_uring: file table, place {place}: {e}");
        }
    }

    /// Tells every frontend to stop.
    pub(crate) fn stop_frontends(&mut self) {
        self.ending = true;
        self.core().tick_wanted = true;
        for who in (0..self.places.len() as u32).map(FrontendId) {
            self.with(who, |f, rt| f.stop(rt, who));
        }
    }

    /// Frontends of clients.
    pub(crate) fn frontends(&self) -> usize {
        self.places.iter().filter(|p| p.used).count() - self.open_stacks
    }

    /// Ends the loop once no port and no frontend is left.
    pub(crate) fn shut_down(&mut self) {
        self.stopping = true;
    }

    pub(crate) fn inspect_lane<T>(&self, id: LaneId, f: impl FnOnce(&Lane) -> T) -> Option<T> {
        self.lane_ref(id).map(f)
    }
}

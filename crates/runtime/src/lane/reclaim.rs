//! Memory of slots that lie idle goes back to the machine.
//!
//! A slot's buffer has a page for each that a request has ever touched. Every few seconds each queue looks which
//! slots nobody needed from one look to the next, and has the kernel take the pages of their buffers away
//! (`MADV_REMOVE`): by the ring, whose own workers do it, so that the queue's thread does not wait, and a few at
//! once. Until that is done a slot is nobody's, and afterwards it is the last to be used.
//!
//! Buffers are not registered with the ring, and no operation that names one is in flight when its slot is
//! free: so no page that goes is still written to or read from by anybody.

#![allow(unsafe_code)] // the rules are in the module above

use super::Lane;
use crate::ids::{LaneId, Tag};
use crate::queue::Reactor;
use crate::resources::slot_memory::DATA_LEAD;
use crate::ring::{kind, user_data};
use io_uring::opcode;

/// Slots of a lane whose memory is being given back at once.
const AT_ONCE: u32 = 8;
/// Bits of a tag in `user_data`.
const TAG_BITS: u32 = 24;

/// When a lane was looked at.
#[derive(Debug, Default)]
pub(super) struct Looks {
    at_ns: u64,
    /// The log says that the kernel does not take memory back.
    told: bool,
}

impl Lane {
    /// Looks for slots that lie idle, if it is time; `keep_ns`: how long they keep their memory at least. True:
    /// there is something for a later look.
    ///
    /// # Safety
    /// As for `submit`.
    pub(super) unsafe fn look_for_idle(lane: *mut Lane, now_ns: u64, keep_ns: u64) -> bool {
        // SAFETY: rules 1 and 2.
        unsafe {
            if (*lane).gone {
                return false;
            }
            if now_ns.saturating_sub((*lane).looks.at_ns) >= keep_ns {
                (*lane).looks.at_ns = now_ns;
                (*lane).slots.look();
                Lane::empty_idle(lane);
            }
            (*lane).slots.emptied() > 0 || (*lane).slots.has_idle_memory()
        }
    }

    /// Has the memory of slots that lie idle given back.
    ///
    /// # Safety
    /// As for `submit`.
    unsafe fn empty_idle(lane: *mut Lane) {
        // SAFETY: rules 1 and 2. The range is a whole buffer with the page before it, in the mapping of this lane,
        // which stays as long as slots of it are being emptied; nobody has the slot until then.
        unsafe {
            let more = AT_ONCE.saturating_sub((*lane).slots.emptied());
            let core = (*lane).core.as_ptr();
            for tag in (*lane).slots.take_idle(more as usize) {
                let first = (*lane).data(tag).wrapping_sub(DATA_LEAD).cast();
                let bytes = (*lane).data_stride as i64;
                let entry = opcode::Madvise::new(first, bytes, libc::MADV_REMOVE).build();
                let which = u64::from((*lane).id.0) << TAG_BITS | u64::from(tag.0);
                (*core).push(&entry.user_data(user_data(kind::EMPTIED, which)));
            }
        }
    }

    /// The kernel has taken the memory of a slot, or does not want it.
    fn emptied(&mut self, tag: Tag, result: i32) {
        if result < 0 && !std::mem::replace(&mut self.looks.told, true) {
            let why = std::io::Error::from_raw_os_error(-result);
            tracing::warn!(
                port = self.port.name,
                "memory of buffers that are not used is not given back: {why}"
            );
        }
        if let Err(e) = self.slots.put_back(tag) {
            self.wrong("put an emptied slot back", &e);
        }
    }
}

impl Reactor {
    /// A slot has no memory any more.
    pub(crate) fn slot_emptied(&mut self, which: u64, result: i32) {
        let (id, tag) = (LaneId((which >> TAG_BITS) as u32), Tag(which as u32 & ((1 << TAG_BITS) - 1)));
        let Some(lane) = self.lane_ptr(id) else { return };
        // SAFETY: this thread's lane, and nobody is inside its driver.
        unsafe {
            (*lane.as_ptr()).emptied(tag, result);
            if !(*lane.as_ptr()).gone {
                Lane::empty_idle(lane.as_ptr());
            }
        }
        self.notice_slots(id);
    }
}

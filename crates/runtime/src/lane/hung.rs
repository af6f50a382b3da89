//! Requests whose operations hang in the kernel, and what becomes of them: they are answered without, and
//! what the kernel may still use stays.

#![allow(unsafe_code)] // the rules are in the module above

use super::Lane;
use crate::ids::Tag;
use crate::lane::core::Core;
use crate::lane::in_flight::{NO_SYNC, NOTHING, OpEntry, OpKind};
use std::ptr::NonNull;
use steadfast_abi as abi;
use steadfast_shell::slots::Owner;

/// What whoever asked has got.
const TIMED_OUT: i32 = -libc::ETIMEDOUT;

impl Lane {
    /// Whether every operation that a request waits for is one that `holds`.
    ///
    /// # Safety
    /// As for `submit`.
    unsafe fn waits_only_for(lane: *mut Lane, tag: Tag, holds: impl Fn(&Core, u32) -> bool) -> bool {
        // SAFETY: rules 1 and 2.
        unsafe {
            let core = &*(*lane).core.as_ptr();
            let of_lane = core.ops.of_lane(NonNull::new_unchecked(lane));
            of_lane.filter(|id| core.ops.concerns(*id, tag.0)).all(|id| holds(core, id))
        }
    }

    /// A request is to be answered without its operations, if none of them can be ended; true: it may be.
    ///
    /// # Safety
    /// As for `submit`.
    pub(super) unsafe fn give_up_operations(lane: *mut Lane, tag: Tag) -> bool {
        // SAFETY: rules 1 and 2.
        unsafe {
            if !Lane::waits_only_for(lane, tag, |core, id| core.fileio.is_in_kernel(id)) {
                return false;
            }
            let core = (*lane).core.as_ptr();
            let ids: Vec<u32> = (*core).ops.of_lane(NonNull::new_unchecked(lane)).collect();
            let mut all = true;
            for id in ids {
                if (*core).ops.concerns(id, tag.0) {
                    all &= (*core).fileio.give_up(id);
                }
            }
            all
        }
    }

    /// The daemon ends: requests that hang in the kernel are answered, so that nobody waits for them.
    ///
    /// # Safety
    /// As for `submit`.
    pub(super) unsafe fn end_what_hangs(lane: *mut Lane, now_ns: u64) {
        // SAFETY: rules 1 and 2.
        unsafe {
            let tags: Vec<Tag> = (*lane).slots.issued_tags().collect();
            for tag in tags {
                let users = &(*lane).users;
                let busy = users.get(tag.0 as usize).is_some_and(|user| user.ops > 0);
                if !busy || !Lane::waits_only_for(lane, tag, |core, id| core.fileio.hangs(id, now_ns)) {
                    continue;
                }
                if (*lane).slots.owner(tag) == Owner::Issued
                    && let Err(e) = (*lane).slots.abort(tag)
                {
                    (*lane).wrong("abort", &e);
                    continue;
                }
                Lane::give_up(lane, tag);
            }
        }
    }

    /// The driver has gone: slots of requests that were answered without it are free, but for those that the
    /// kernel still uses. These become free when it does not any more, and the next driver hears nothing of it.
    pub(super) fn forget_given_up(&mut self) {
        let given_up = |slots: &steadfast_shell::slots::Slots, tag: u32| {
            matches!(slots.owner(Tag(tag)), Owner::GivenUp | Owner::Lost)
        };
        for d in &mut self.deferred {
            if d.entry.kind == OpKind::Driver && given_up(&self.slots, d.entry.tag) {
                d.entry.kind = OpKind::Orphan;
            }
        }
        for (tag, user) in self.users.iter_mut().enumerate() {
            if user.ops > 0 && user.late.is_none() && given_up(&self.slots, tag as u32) {
                user.late = Some(TIMED_OUT);
            }
        }
        let users = &self.users;
        let reclaimed = self.slots.reclaim(|tag| users.get(tag.0 as usize).is_none_or(|user| user.ops == 0));
        if let Err(e) = reclaimed {
            self.wrong("take slots back from a driver that has gone", &e);
        }
    }

    /// The lane is to go, and does not wait for operations that hang in the kernel: they end without it. Their
    /// memory stays until they do.
    ///
    /// # Safety
    /// As for `submit`; the lane has no driver.
    pub(crate) unsafe fn abandon(lane: *mut Lane) {
        // SAFETY: rules 1 and 2.
        unsafe {
            let core = (*lane).core.as_ptr();
            let ids: Vec<u32> = (*core).ops.of_lane(NonNull::new_unchecked(lane)).collect();
            let mut left = 0;
            for id in ids {
                let Some(mut entry) = (*core).ops.get(id).copied() else { continue };
                if entry.kind != OpKind::Driver || !(*core).fileio.give_up(id) {
                    continue;
                }
                left += 1;
                (*lane).syncs.end(entry.sync);
                (*lane).ops_in_flight -= 1;
                if entry.tag == abi::NO_TAG {
                    (*lane).port_ops -= 1;
                } else {
                    Lane::op_of_request_ended(lane, Tag(entry.tag), entry.code);
                }
                Lane::others_go_on(lane, &mut entry);
                if let Some(place) = (*core).ops.get_mut(id) {
                    let (lane, kind) = (NonNull::dangling(), OpKind::Abandoned);
                    *place = OpEntry { lane, kind, sync: NO_SYNC, named: NOTHING, ..entry };
                }
                (*core).kept.push((id, (*lane).port.clone()));
            }
            if left > 0 {
                let port = (*lane).port.clone();
                tracing::warn!(
                    port = port.name,
                    "{left} operations that hang in the kernel are left to themselves"
                );
            }
        }
    }
}

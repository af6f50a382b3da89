//! A lane whose driver is in an entry point on another thread: the driver is not entered here, completions wait, and
//! what it asks of the shell is done on its behalf.

#![allow(unsafe_code)] // the rules are in the module above

use super::Lane;
use crate::change::pause_calls::Step;
use crate::driver::instance::Instance;
use std::sync::Arc;

impl Lane {
    /// The entry point that the driver is in elsewhere.
    pub(crate) fn is_away(&self) -> Option<Step> {
        self.away
    }

    /// The driver, while it is in one.
    pub(crate) fn away_for(&self) -> Option<&Arc<Instance>> {
        self.away.and(self.instance.as_ref())
    }

    /// `queue_run` was called, and the lane has not opened since.
    pub(crate) fn has_run(&self) -> bool {
        self.has_run
    }

    /// The driver leaves for a call.
    ///
    /// # Safety
    /// As for `submit`; the lane is closed, with completions deferred.
    pub(crate) unsafe fn leave(lane: *mut Lane, step: Step) {
        // SAFETY: rules 1 and 2.
        unsafe {
            (*lane).unbind();
            (*lane).may_issue = true;
            (*lane).deferring = true;
            if step == Step::HandBack {
                Lane::begin_handing_back(lane);
            }
            (*lane).away = Some(step);
        }
    }

    /// It has returned, or is not waited for; says how many requests it has handed back.
    ///
    /// # Safety
    /// As for `submit`.
    pub(crate) unsafe fn come_home(lane: *mut Lane) -> u32 {
        // SAFETY: rules 1 and 2.
        unsafe {
            let step = (*lane).away.take();
            debug_assert!(!matches!(step, Some(Step::Own(_))), "it comes back another way");
            if step == Some(Step::Run) {
                (*lane).has_run = true;
                return 0;
            }
            let handed_back = Lane::end_handing_back(lane);
            match (*lane).instance.clone() {
                Some(instance) if !instance.is_abandoned() => instance.bind((*lane).index, lane.cast()),
                _ => {}
            }
            handed_back
        }
    }

    /// It was not called after all.
    pub(crate) fn not_run(&mut self) {
        self.has_run = false;
    }

    /// Who was to serve does not return: the lane is as it was at the rendezvous.
    pub(crate) fn stays_closed(&mut self) {
        self.has_run = false;
        self.may_issue = false;
        self.sealed = true;
    }
}

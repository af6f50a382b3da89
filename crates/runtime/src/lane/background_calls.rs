//! A lane whose driver is called for a timer, a batch or requests to give up on a thread of its own, while its port
//! runs. Meanwhile the lane is held, as in a pause: requests wait in it, completions are deferred, and what the driver
//! asks of the shell is done between two turns. See decision 0110.

#![allow(unsafe_code)] // the rules are in the module above

use super::Lane;
use crate::change::pause_calls::Step;
use crate::clock::now_ns;
use crate::driver::background_calls::{self, LATE_NS, Work};
use crate::queue::remote::Task;
use std::ptr::NonNull;
use steadfast_shell::earned::Habit;
use steadfast_shell::gate::Entry;

/// What a lane knows of such calls.
#[derive(Default)]
pub(super) struct Outside {
    timer: Habit,
    commit: Habit,
    /// The lane was open, and is to be again.
    reopens: bool,
    since_ns: u64,
    /// What is to be done with the lane first when the driver has returned.
    later: Vec<Task>,
}

impl Lane {
    /// The driver is in such a call.
    pub(crate) fn is_out(&self) -> bool {
        matches!(self.away, Some(Step::Own(_)))
    }

    /// It is in one that interrupts nothing else.
    pub(crate) fn reopens(&self) -> bool {
        self.is_out() && self.outside.reopens
    }

    /// It is in one for so long that it may never return.
    pub(super) fn is_out_for_long(&self, now_ns: u64) -> bool {
        self.is_out() && now_ns.saturating_sub(self.outside.since_ns) >= LATE_NS
    }

    /// Whether the driver is called here for the end of a batch.
    #[inline]
    pub(super) fn commits_here(&self) -> bool {
        self.outside.commit.is_quick()
    }

    /// Whether it is for a timer that has run out.
    pub(super) fn times_here(&self, now_ns: u64) -> bool {
        self.outside.timer.is_quick_and_frequent(now_ns)
    }

    /// A call that began at `begin_ns` is over.
    pub(super) fn note_call(&mut self, entry: Entry, begin_ns: u64, took_ns: u64) {
        match entry {
            Entry::Timer => self.outside.timer.note(begin_ns, took_ns),
            Entry::Commit => self.outside.commit.note(begin_ns, took_ns),
            _ => {}
        }
    }

    /// Another driver comes. One that is known to be quick between two others is so at the end of a batch.
    pub(super) fn begin_habits(&mut self, is_known: bool) {
        self.outside.timer = Habit::default();
        self.outside.commit = if is_known { Habit::formed() } else { Habit::default() };
    }

    /// Has the driver called on a thread of its own. False: it is to be called here. A candidate on trial takes the
    /// time of the device that it is tried for.
    ///
    /// # Safety
    /// As for `submit`; a driver is bound, and completions are not deferred.
    #[cold]
    pub(super) unsafe fn send_out(lane: *mut Lane, work: Work) -> bool {
        // SAFETY: rules 1 and 2.
        unsafe {
            let Some(driver) = (*lane).instance.clone().filter(|_| (*lane).shadow.is_none()) else {
                return false;
            };
            let entry = work.entry();
            // Not after: the driver may run before this function returns.
            (*lane).unbind();
            if !background_calls::start(&driver, (*lane).index, work) {
                driver.bind((*lane).index, lane.cast());
                return false;
            }
            let reopens = (*lane).gate.is_open();
            if reopens {
                Lane::shut(lane, true);
            }
            Lane::leave(lane, Step::Own(entry));
            (*lane).gate.enter(entry);
            (*lane).outside.reopens = reopens;
            (*lane).outside.since_ns = now_ns();
            let port = &(*lane).port;
            port.outside.begin((*lane).index, entry);
            true
        }
    }

    /// The driver is out no more, whether it has returned or is left to itself. Says in which entry point it was.
    fn end_call(&mut self) -> Option<Entry> {
        let Some(Step::Own(entry)) = self.away else { return None };
        self.away = None;
        self.gate.leave(entry);
        self.port.outside.end(self.index);
        Some(entry)
    }

    /// It has returned after so long, and is this thread's again.
    ///
    /// # Safety
    /// As for `submit`.
    pub(crate) unsafe fn come_in(lane: *mut Lane, ns: u64) {
        // SAFETY: rules 1 and 2.
        unsafe {
            let Some(entry) = (*lane).end_call() else { return };
            (*lane).note_call(entry, now_ns().saturating_sub(ns), ns);
            if let Some(instance) = &(*lane).instance {
                instance.bind((*lane).index, lane.cast());
            }
            let gathers = (*lane).bound.as_ref().is_some_and(|bound| bound.commit.is_some());
            // One that was due before has left the list of those that are.
            if (*lane).commit_due || (gathers && entry != Entry::Commit) {
                (*lane).commit_due = true;
                (*(*lane).core.as_ptr()).commits.push(NonNull::new_unchecked(lane));
            }
        }
    }

    /// It is left to itself: the lane stays closed.
    pub(crate) fn forget_call(&mut self) {
        if self.end_call().is_some() {
            self.may_issue = false;
        }
    }

    /// Something is to be done with the lane when the driver has returned, before anything else.
    pub(crate) fn do_later(&mut self, task: Task) {
        self.outside.later.push(task);
    }

    pub(crate) fn take_later(&mut self) -> Vec<Task> {
        std::mem::take(&mut self.outside.later)
    }

    /// The call is over, and nobody else holds the port: it is open again.
    ///
    /// # Safety
    /// As for `submit`.
    pub(crate) unsafe fn open_again(lane: *mut Lane) {
        // SAFETY: rules 1 and 2.
        unsafe {
            if (*lane).outside.reopens && !(*lane).gate.is_open() && !(*lane).sealed && !(*lane).down {
                Lane::open(lane, false);
            }
        }
    }
}

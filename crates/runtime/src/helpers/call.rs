//! One call on a file, on its way to a helper and back.

#![allow(unsafe_code)] // records that two processes pass to each other

use crate::ring::bell::Bell;
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use steadfast_abi::MAX_SEGS;

/// What a helper is to do.
#[derive(Clone, Copy)]
pub(crate) struct Task {
    /// Number of the operation on its queue.
    pub(crate) id: u32,
    /// One of [`op`](steadfast_abi::op).
    pub(crate) code: u16,
    /// `RWF_` flags, or `fallocate`'s mode.
    pub(crate) flags: i32,
    pub(crate) offset: u64,
    /// Bytes; of reads and writes the vectors say it.
    pub(crate) length: u64,
    /// A regular file, which can be asked for its holes.
    pub(crate) regular: bool,
    pub(crate) count: usize,
    pub(crate) parts: [libc::iovec; MAX_SEGS],
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Stage {
    /// No helper has begun it.
    Waiting = 0,
    /// A helper is in the kernel for it.
    Begun = 1,
    /// The same, and whoever asked for it has had an answer: nothing else is to be done on the file before it.
    GivenUp = 2,
    /// It was called off before it was begun.
    CalledOff = 3,
    Done = 4,
}

/// The record of a call. The queue's while it fills it, a helper's from `Desk::push` on, the queue's again when
/// it is back in its [`Home`]. It is never freed while a helper may have it.
pub(crate) struct Call {
    task: UnsafeCell<Task>,
    stage: AtomicU32,
    pub(super) result: AtomicI64,
    /// When a helper, or the ring, went into the kernel for it.
    pub(crate) begun_ns: AtomicU64,
    next: AtomicPtr<Call>,
}

// SAFETY: who may touch `task` is said above; the rest is atomic. The addresses in it are of memory that stays
// until the call is back.
unsafe impl Send for Call {}
// SAFETY: as above.
unsafe impl Sync for Call {}

impl Call {
    pub(crate) fn new() -> Box<Call> {
        let none = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        let task = Task {
            id: 0,
            code: 0,
            flags: 0,
            offset: 0,
            length: 0,
            regular: false,
            count: 0,
            parts: [none; MAX_SEGS],
        };
        Box::new(Call {
            task: UnsafeCell::new(task),
            stage: AtomicU32::new(Stage::Waiting as u32),
            result: AtomicI64::new(0),
            begun_ns: AtomicU64::new(0),
            next: AtomicPtr::new(ptr::null_mut()),
        })
    }

    /// What is to be done.
    ///
    /// # Safety
    /// Whoever has the record, see above.
    pub(crate) unsafe fn task(&self) -> *mut Task {
        self.stage.store(Stage::Waiting as u32, Ordering::Relaxed);
        self.task.get()
    }

    /// The same to look at.
    ///
    /// # Safety
    /// Nobody fills the record.
    pub(crate) unsafe fn read(&self) -> &Task {
        // SAFETY: the caller's promise.
        unsafe { &*self.task.get() }
    }

    pub(crate) fn is(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::Acquire) == stage as u32
    }

    /// From one stage to the next; false where it is in another.
    pub(crate) fn step(&self, from: Stage, to: Stage) -> bool {
        self.stage.compare_exchange(from as u32, to as u32, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// It has ended; true when it was given up before.
    pub(super) fn end(&self, result: i64) -> bool {
        self.result.store(result, Ordering::Relaxed);
        self.stage.swap(Stage::Done as u32, Ordering::AcqRel) == Stage::GivenUp as u32
    }

    pub(crate) fn result(&self) -> i64 {
        self.result.load(Ordering::Relaxed)
    }
}

/// Where calls come back to: one for each queue.
#[derive(Debug)]
pub(crate) struct Home {
    back: AtomicPtr<Call>,
    /// The queue's thread sleeps, or is about to; else it looks here before it does.
    asleep: AtomicBool,
    pub(super) bell: Arc<Bell>,
}

impl Home {
    pub(crate) fn new(bell: Arc<Bell>) -> Home {
        Home { back: AtomicPtr::new(ptr::null_mut()), asleep: AtomicBool::new(false), bell }
    }

    /// The queue's thread is about to sleep; false: there is something for it, and it is not to.
    pub(crate) fn fall_asleep(&self) -> bool {
        // SeqCst, with `bring`: either this sees the call, or `bring` sees that the bell is needed.
        self.asleep.store(true, Ordering::SeqCst);
        let nothing = self.back.load(Ordering::SeqCst).is_null();
        if !nothing {
            self.wake_up();
        }
        nothing
    }

    /// It is awake.
    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    fn needs_bell(&self) -> bool {
        self.asleep.load(Ordering::SeqCst)
            && self.asleep.swap(false, Ordering::SeqCst)
            && self.bell.needs_bell()
    }

    /// Brings a call back. True: the queue's bell is to be rung.
    ///
    /// # Safety
    /// The caller has the record, and not any more afterwards.
    pub(super) unsafe fn bring(&self, call: *mut Call) -> bool {
        let mut first = self.back.load(Ordering::Relaxed);
        loop {
            // SAFETY: still the caller's.
            unsafe { (*call).next.store(first, Ordering::Relaxed) };
            match self.back.compare_exchange_weak(first, call, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return self.needs_bell(),
                Err(now) => first = now,
            }
        }
    }

    /// Whether some are back.
    pub(crate) fn has_any(&self) -> bool {
        !self.back.load(Ordering::Relaxed).is_null()
    }

    /// Takes those that are back, the first one first. On the queue's thread.
    pub(crate) fn take(&self, mut with: impl FnMut(*mut Call)) {
        let mut newest = self.back.swap(ptr::null_mut(), Ordering::AcqRel);
        let mut oldest: *mut Call = ptr::null_mut();
        while !newest.is_null() {
            // SAFETY: taken out of the list, and so this thread's.
            let next = unsafe { (*newest).next.swap(oldest, Ordering::Relaxed) };
            oldest = std::mem::replace(&mut newest, next);
        }
        while !oldest.is_null() {
            // SAFETY: as above; read before the record is used again.
            let next = unsafe { (*oldest).next.load(Ordering::Relaxed) };
            with(oldest);
            oldest = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_come_back_in_the_order_in_which_they_ended() {
        let home = Home::new(Arc::new(Bell::new(Arc::default()).expect("eventfd")));
        let calls: Vec<*mut Call> = (0..4).map(|_| Box::into_raw(Call::new())).collect();
        assert!(home.fall_asleep());
        // SAFETY: this test's own records.
        calls.iter().for_each(|call| assert_eq!(unsafe { home.bring(*call) }, *call == calls[0]));
        let mut back = Vec::new();
        home.take(|call| back.push(call));
        assert_eq!(back, calls);
        assert!(!home.has_any());
        home.wake_up();
        // SAFETY: this test's own record.
        assert!(!unsafe { home.bring(calls[0]) }, "who is awake needs no bell");
        assert!(!home.fall_asleep(), "there is something to do first");
        home.take(|_| ());
        assert!(home.fall_asleep());
        // SAFETY: made above, and in no list any more.
        calls.into_iter().for_each(|call| drop(unsafe { Box::from_raw(call) }));
    }
}

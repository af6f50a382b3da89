//! Copies of what requests in flight carry, for the next driver to convert.
//!
//! A driver that takes requests over converts their PDUs in copies. These become the requests' own when it comes to
//! serve, and not before: a failed update has nothing to put back, and a driver that was left to itself in `adopt`
//! writes where nobody looks when it goes on.

#![allow(unsafe_code)] // copies between the port's memory and what a driver writes to

use crate::driver::instance::Instance;
use crate::resources::slot_memory::PDU_STRIDE;
use std::cell::UnsafeCell;
use std::{fmt, ptr};
use steadfast_shell::sync::lock;

/// One PDU, aligned as drivers expect it.
#[repr(C, align(64))]
struct Place(UnsafeCell<[u8; PDU_STRIDE]>);

// SAFETY: bytes that belong, one after the other, to the queue that fills them, the driver that converts them, and
// whoever takes them over; the transaction hands them on.
unsafe impl Sync for Place {}

/// The PDUs of one queue, by tag.
pub(crate) struct Copies(Box<[Place]>);

impl fmt::Debug for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} copies", self.0.len())
    }
}

impl Copies {
    /// Room for `slots` of them.
    fn new(slots: u32) -> Copies {
        Copies((0..slots).map(|_| Place(UnsafeCell::new([0; PDU_STRIDE]))).collect())
    }

    /// The first; others follow in steps of [`PDU_STRIDE`].
    fn base(&self) -> *mut u8 {
        self.0.as_ptr().cast_mut().cast()
    }
}

impl Instance {
    /// Makes room for the PDUs of as many requests as there can be in flight. Before the pause.
    pub(crate) fn make_copies(&self) {
        let queues = self.port.queues.len();
        *lock(&self.copies) = (0..queues).map(|i| Copies::new(self.slot_count(i))).collect();
    }

    /// They are not needed any more.
    pub(crate) fn drop_copies(&self) {
        let copies = std::mem::take(&mut *lock(&self.copies));
        drop(copies);
    }

    /// Takes a copy of the PDU of a request in flight on queue `index`. False: there is no room, since the driver
    /// could not have the request either.
    ///
    /// # Safety
    /// `pdu` is what the request carries, of which `size` bytes are its driver's; nobody writes to it.
    pub(crate) unsafe fn copy_pdu(&self, index: usize, tag: u32, pdu: *const u8, size: usize) -> bool {
        let copies = lock(&self.copies);
        let place = copies.get(index).and_then(|copies| copies.0.get(tag as usize));
        // SAFETY: as promised; the place is this queue's until the driver is called.
        place.inspect(|place| unsafe { ptr::copy_nonoverlapping(pdu, place.0.get().cast(), size) }).is_some()
    }

    /// From here on the driver finds the copies of queue `index` where the PDUs are.
    pub(crate) fn show_copies(&self, index: usize) {
        if let Some(copies) = lock(&self.copies).get(index) {
            // SAFETY: no entry point of the driver runs on this queue.
            unsafe { (*self.queue(index)).pdus = copies.base() };
        }
    }

    /// The driver comes to serve: what it has made of the copies is what these requests of queue `index` carry.
    /// Every lane of the port is sealed, and the driver has returned.
    pub(crate) fn take_copies_over(&self, index: usize, tags: &[u32]) {
        let copies = lock(&self.copies);
        let Some(copies) = copies.get(index) else { return };
        let (own, size) = (self.port.memory[index].pdus(), self.module.driver().pdu_size as usize);
        for tag in tags.iter().map(|tag| *tag as usize) {
            let Some(place) = copies.0.get(tag) else { continue };
            let at = own.wrapping_add(tag * PDU_STRIDE);
            // SAFETY: the PDU of a request in flight of a sealed lane; nobody else writes to either.
            unsafe { ptr::copy_nonoverlapping(place.0.get().cast(), at, size.min(PDU_STRIDE)) };
        }
        // SAFETY: no entry point of the driver runs on this queue before its lane has opened.
        unsafe { (*self.queue(index)).pdus = own };
    }
}

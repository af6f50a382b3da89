//! From drivers to open devices: what was issued since the loop last looked.

use super::queue::StackId;
use crate::queue::Reactor;

/// An operation on a device, as a driver issued it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stacked {
    pub(crate) stack: StackId,
    /// Its number in the table of operations.
    pub(crate) id: u32,
    /// One of [`block_op`](steadfast_abi::block_op).
    pub(crate) op: u16,
    /// Bits of [`block_flag`](steadfast_abi::block_flag).
    pub(crate) flags: u16,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    /// How many of the queue's list of vectors are its.
    pub(crate) parts: usize,
}

/// The operations that drivers have issued on devices since the loop last looked.
#[derive(Debug, Default)]
pub(crate) struct StackedList {
    requests: Vec<Stacked>,
    parts: Vec<libc::iovec>,
    /// Numbers of operations that are to end early.
    cancels: Vec<u32>,
}

impl StackedList {
    pub(crate) fn push(&mut self, request: Stacked, parts: &[libc::iovec]) {
        self.requests.push(request);
        self.parts.extend_from_slice(parts);
    }

    /// An operation, if it is one on a device, is to end early.
    pub(crate) fn cancel(&mut self, id: u32) {
        self.cancels.push(id);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.cancels.is_empty()
    }

    fn clear(&mut self) {
        self.requests.clear();
        self.parts.clear();
        self.cancels.clear();
    }
}

impl Reactor {
    /// Takes what drivers have issued on devices to these. True when there was something.
    pub(crate) fn feed_stacks(&mut self) -> bool {
        if self.core().stacked.is_empty() {
            return false;
        }
        let mut list = std::mem::take(&mut self.core().stacked);
        // First: a number in here may be used anew by an operation in there.
        if !list.cancels.is_empty() {
            for id in (0..self.stacks.len() as u32).map(StackId) {
                self.with_stack(id, |stack, rt| stack.cancel(rt, &list.cancels));
            }
        }
        let mut parts = list.parts.as_slice();
        for request in &list.requests {
            let (mine, rest) = parts.split_at(request.parts.min(parts.len()));
            parts = rest;
            if !self.with_stack(request.stack, |stack, rt| stack.take(rt, request, mine)) {
                self.op_completed(request.id, -i64::from(libc::EBADF));
            }
        }
        // Keeps the room that it has, unless a driver has begun a new list.
        if self.core().stacked.is_empty() {
            list.clear();
            self.core().stacked = list;
        }
        true
    }
}

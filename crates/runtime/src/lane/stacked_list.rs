//! What drivers have issued on other devices since the loop last looked.

use crate::ids::StackId;

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
    pub(crate) requests: Vec<Stacked>,
    pub(crate) parts: Vec<libc::iovec>,
    /// Numbers of operations that are to end early.
    pub(crate) cancels: Vec<u32>,
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

    pub(crate) fn clear(&mut self) {
        self.requests.clear();
        self.parts.clear();
        self.cancels.clear();
    }
}

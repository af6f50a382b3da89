//! From drivers to open devices: what was issued since the loop last looked.

use crate::ids::StackId;
use crate::queue::Reactor;

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

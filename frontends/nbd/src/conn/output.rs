//! Replies on their way out: gathered in one batch while the batch before is being sent.
//!
//! Small replies are copied into the batch and lie next to each other, so that many of them are one
//! vector; the data of reads is sent from its slots, each together with the header before it.

use super::open::MAX_OPEN;
use crate::reply::MAX_SMALL;
use io_uring::{opcode, squeue::Entry, types};
use std::os::fd::RawFd;
use steadfast_runtime::Tag;

/// Vectors that the kernel takes in one call (`UIO_MAXIOV`).
const MAX_VECTORS: usize = 1024;
/// Bytes that one operation sends, or one vector if that is longer (a slot is little longer at most): so it is seen often
/// that a client takes its replies.
const SEND_BYTES: usize = 1 << 20;
/// Bytes of small replies in a batch: no request has more than one of them.
const SMALL_BYTES: usize = MAX_OPEN as usize * MAX_SMALL;

#[derive(Debug)]
struct Batch {
    /// Never moves: vectors point into it.
    small: Box<[u8]>,
    small_used: usize,
    vectors: Vec<libc::iovec>,
    /// Slots whose data is in this batch.
    tags: Vec<Tag>,
    /// Requests whose answer ends in this batch.
    replies: u32,
}

impl Batch {
    fn new(slots: usize) -> Batch {
        Batch {
            small: vec![0; SMALL_BYTES].into_boxed_slice(),
            small_used: 0,
            vectors: Vec::with_capacity(slots + MAX_OPEN as usize),
            tags: Vec::with_capacity(slots),
            replies: 0,
        }
    }

    fn clear(&mut self) {
        self.small_used = 0;
        self.vectors.clear();
        self.tags.clear();
        self.replies = 0;
    }

    fn small(&mut self, bytes: &[u8]) {
        let end = self.small_used + bytes.len();
        self.small[self.small_used..end].copy_from_slice(bytes);
        // One pointer for the whole arena, so that every vector may reach all of it.
        let base = self.small.as_mut_ptr().wrapping_add(self.small_used);
        self.small_used = end;
        match self.vectors.last_mut() {
            Some(last) if last.iov_base.cast::<u8>().wrapping_add(last.iov_len) == base => {
                last.iov_len += bytes.len();
            }
            _ => self.vectors.push(libc::iovec { iov_base: base.cast(), iov_len: bytes.len() }),
        }
    }
}

/// What a finished batch gives back.
#[derive(Debug)]
pub(super) enum Sent {
    /// Not all of it went out; [`Output::entry`] has the rest.
    Partly,
    /// Everything went out; [`Output::recycle`] is next.
    Wholly,
}

/// The output of one connection.
#[derive(Debug)]
pub(super) struct Output {
    pending: Batch,
    sending: Batch,
    /// First vector of `sending` that is not out.
    next: usize,
    /// The header that the kernel reads; its own allocation, because a connection moves.
    message: Box<libc::msghdr>,
    in_flight: bool,
}

impl Output {
    /// For a connection that can have data in `slots` slots.
    pub(super) fn new(slots: usize) -> Output {
        // SAFETY: a `msghdr` is integers and pointers, for which zeroes are valid.
        let message = Box::new(unsafe { std::mem::zeroed::<libc::msghdr>() });
        Output { pending: Batch::new(slots), sending: Batch::new(slots), next: 0, message, in_flight: false }
    }

    /// Adds a reply without data; the last of its request.
    #[inline]
    pub(super) fn reply(&mut self, bytes: &[u8]) {
        self.pending.small(bytes);
        self.pending.replies += 1;
    }

    /// Adds a header that has its data behind it, added next.
    pub(super) fn header(&mut self, bytes: &[u8]) {
        self.pending.small(bytes);
    }

    /// Adds `length` bytes at `base`, which belong to slot `tag` until [`Output::recycle`].
    #[inline]
    pub(super) fn data(&mut self, base: *mut u8, length: usize, tag: Tag) {
        self.pending.vectors.push(libc::iovec { iov_base: base.cast(), iov_len: length });
        self.pending.tags.push(tag);
    }

    /// Counts a request whose data was its whole answer.
    #[inline]
    pub(super) fn answered(&mut self) {
        self.pending.replies += 1;
    }

    /// Answers that are not sent yet.
    pub(super) fn unsent(&self) -> u32 {
        self.pending.replies + self.sending.replies
    }

    /// Slots whose data is in it.
    pub(super) fn slots(&self) -> usize {
        self.pending.tags.len() + self.sending.tags.len()
    }

    /// Is the kernel at work on the output?
    pub(super) fn in_flight(&self) -> bool {
        self.in_flight
    }

    /// Nothing gathered, nothing on its way.
    pub(super) fn is_empty(&self) -> bool {
        !self.in_flight && self.pending.vectors.is_empty()
    }

    /// Makes what was gathered the batch to send. False when there is nothing, or one is on its way.
    pub(super) fn start(&mut self) -> bool {
        if self.in_flight || self.pending.vectors.is_empty() {
            return false;
        }
        std::mem::swap(&mut self.pending, &mut self.sending);
        self.next = 0;
        true
    }

    /// The operation that sends what is left of the batch. The batch, its header and its slots stay
    /// as they are until it completes.
    pub(super) fn entry(&mut self, fd: RawFd) -> Entry {
        let vectors = &mut self.sending.vectors[self.next..];
        let mut bytes = 0;
        let fits = |vector: &&mut libc::iovec| {
            let first = bytes == 0;
            bytes += vector.iov_len;
            first || bytes <= SEND_BYTES
        };
        let count = vectors.iter_mut().take(MAX_VECTORS).take_while(fits).count();
        self.message.msg_iov = vectors.as_mut_ptr();
        self.message.msg_iovlen = count;
        self.in_flight = true;
        let flags = (libc::MSG_NOSIGNAL | libc::MSG_WAITALL) as u32;
        opcode::SendMsg::new(types::Fd(fd), &raw const *self.message).flags(flags).build()
    }

    /// The operation completed: `bytes` went out.
    pub(super) fn sent(&mut self, mut bytes: usize) -> Sent {
        self.in_flight = false;
        while let Some(vector) = self.sending.vectors.get_mut(self.next) {
            if bytes < vector.iov_len {
                vector.iov_base = vector.iov_base.cast::<u8>().wrapping_add(bytes).cast();
                vector.iov_len -= bytes;
                return Sent::Partly;
            }
            bytes -= vector.iov_len;
            self.next += 1;
        }
        Sent::Wholly
    }

    /// The operation failed; what is left of the batch stays unsent.
    pub(super) fn failed(&mut self) {
        self.in_flight = false;
    }

    /// Gives back the slots of the batch that was sent.
    pub(super) fn recycle(&mut self, mut free: impl FnMut(Tag)) {
        self.sending.tags.drain(..).for_each(&mut free);
        self.sending.clear();
    }

    /// Throws away everything that is not on its way.
    pub(super) fn discard(&mut self, mut free: impl FnMut(Tag)) {
        self.pending.tags.drain(..).for_each(&mut free);
        self.pending.clear();
        if !self.in_flight {
            self.recycle(free);
        }
    }
}

//! Bytes on their way in: one buffer, parsed in place; the rest of a large payload goes straight into
//! its slot.

use io_uring::{opcode, squeue::Entry, types};
use std::os::fd::RawFd;

/// Bytes of the buffer.
pub(super) const BUFFER_BYTES: usize = 256 * 1024;
/// Bytes taken into the buffer while large payloads come in: enough for the next headers, so that
/// most of the next payload goes into its slot without a copy.
const NARROW_BYTES: usize = 4096;
/// A payload of this length is large.
const LARGE_PAYLOAD: u64 = 32 * 1024;

/// The input of one connection.
#[derive(Debug)]
pub(super) struct Input {
    /// Never moves: the kernel writes into it.
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes at the front of the operation in flight that go elsewhere.
    direct: usize,
    narrow: bool,
    in_flight: bool,
    vectors: Box<[libc::iovec; 2]>,
    message: Box<libc::msghdr>,
}

impl Input {
    /// Begins with bytes that came in before.
    pub(super) fn new(front: &[u8]) -> Input {
        let mut buffer = vec![0; BUFFER_BYTES.max(front.len())].into_boxed_slice();
        buffer[..front.len()].copy_from_slice(front);
        let none = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: a `msghdr` is integers and pointers, for which zeroes are valid.
        let message = Box::new(unsafe { std::mem::zeroed::<libc::msghdr>() });
        Input {
            buffer,
            start: 0,
            end: front.len(),
            direct: 0,
            narrow: false,
            in_flight: false,
            vectors: Box::new([none; 2]),
            message,
        }
    }

    /// What came in and was not consumed.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Drops `count` bytes from the front of [`Input::bytes`].
    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end);
    }

    /// A write of `length` bytes came in.
    #[inline]
    pub(super) fn saw_payload(&mut self, length: u64) {
        self.narrow = length >= LARGE_PAYLOAD;
    }

    /// Is the kernel at work on the input?
    pub(super) fn in_flight(&self) -> bool {
        self.in_flight
    }

    /// The operation that receives more: first `direct` (at most one stretch of a slot that stays as
    /// it is until the operation completes), then the buffer.
    pub(super) fn entry(&mut self, fd: RawFd, direct: Option<(*mut u8, usize)>) -> Entry {
        // What is left is the front of a header, or nothing.
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let room = &mut self.buffer[self.end..];
        let room_bytes = if self.narrow { room.len().min(NARROW_BYTES) } else { room.len() };
        self.in_flight = true;
        let Some((base, length)) = direct else {
            self.direct = 0;
            return opcode::Recv::new(types::Fd(fd), room.as_mut_ptr(), room_bytes as u32).build();
        };
        self.direct = length;
        *self.vectors = [
            libc::iovec { iov_base: base.cast(), iov_len: length },
            libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room_bytes },
        ];
        self.message.msg_iov = self.vectors.as_mut_ptr();
        self.message.msg_iovlen = 2;
        opcode::RecvMsg::new(types::Fd(fd), &raw mut *self.message).build()
    }

    /// The operation completed with `count` bytes. Returns how many of them went elsewhere.
    pub(super) fn received(&mut self, count: usize) -> usize {
        self.in_flight = false;
        let direct = count.min(self.direct);
        self.end += count - direct;
        direct
    }

    /// The operation failed.
    pub(super) fn failed(&mut self) {
        self.in_flight = false;
    }
}

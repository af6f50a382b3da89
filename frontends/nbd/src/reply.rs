//! Replies: headers, errors, extents.

use crate::errno::NbdErrno;
use crate::wire::{
    BASE_ALLOCATION_ID, EXTENDED_REPLY_BYTES, EXTENDED_REPLY_MAGIC, Headers, SIMPLE_REPLY_BYTES,
    SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_BYTES, STRUCTURED_REPLY_MAGIC, chunk, state, take,
};
use steadfast_abi::extent;

/// Most bytes of a reply without data.
pub const MAX_SMALL: usize = 128;
/// Most bytes of the header of a reply with data.
pub const MAX_HEADER: usize = EXTENDED_REPLY_BYTES + 8;
/// Longest reply of [`all_data`].
pub const MAX_STATUS: usize = MAX_HEADER + 16;
/// Longest text in an error chunk.
const MAX_TEXT: usize = MAX_SMALL - EXTENDED_REPLY_BYTES - 6;

/// A reply without data, or the header of one with data.
#[derive(Clone, Copy, Debug)]
pub struct Small<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Small<N> {
    const EMPTY: Small<N> = Small { bytes: [0; N], length: 0 };

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    #[inline(always)]
    fn put(mut self, bytes: &[u8]) -> Self {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
        self
    }

    #[inline(always)]
    fn u16(self, value: u16) -> Self {
        self.put(&value.to_be_bytes())
    }

    #[inline(always)]
    fn u32(self, value: u32) -> Self {
        self.put(&value.to_be_bytes())
    }

    #[inline(always)]
    fn u64(self, value: u64) -> Self {
        self.put(&value.to_be_bytes())
    }
}

/// A simple reply.
#[inline(always)]
fn simple<const N: usize>(cookie: u64, errno: u32) -> Small<N> {
    Small::EMPTY.u32(SIMPLE_REPLY_MAGIC).u32(errno).u64(cookie)
}

/// The header of a reply chunk.
#[inline(always)]
fn header<const N: usize>(
    headers: Headers,
    flags: u16,
    kind: u16,
    cookie: u64,
    offset: u64,
    length: u32,
) -> Small<N> {
    match headers {
        Headers::Extended => Small::EMPTY
            .u32(EXTENDED_REPLY_MAGIC)
            .u16(flags)
            .u16(kind)
            .u64(cookie)
            .u64(offset)
            .u64(u64::from(length)),
        _ => Small::EMPTY.u32(STRUCTURED_REPLY_MAGIC).u16(flags).u16(kind).u64(cookie).u32(length),
    }
}

/// "Done", for a request without data in its reply.
#[inline]
pub fn done(headers: Headers, cookie: u64, offset: u64) -> Small<EXTENDED_REPLY_BYTES> {
    match headers {
        Headers::Extended => header(headers, chunk::FLAG_DONE, chunk::NONE, cookie, offset, 0),
        _ => simple(cookie, 0),
    }
}

/// An error, as the last of a request. Texts are for people; they are cut to fit.
pub fn error(headers: Headers, cookie: u64, offset: u64, errno: NbdErrno, why: &str) -> Small<MAX_SMALL> {
    if headers == Headers::Simple {
        return simple(cookie, errno.code());
    }
    let mut end = why.len().min(MAX_TEXT);
    while !why.is_char_boundary(end) {
        end -= 1;
    }
    let text = &why.as_bytes()[..end];
    header(headers, chunk::FLAG_DONE, chunk::ERROR, cookie, offset, 6 + end as u32)
        .u32(errno.code())
        .u16(end as u16)
        .put(text)
}

/// One stretch of a read's data.
#[derive(Clone, Copy, Debug)]
pub struct Data {
    /// Cookie of the request.
    pub cookie: u64,
    /// Offset of the request.
    pub request_offset: u64,
    /// First byte of this stretch on the device.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
    /// The request's last chunk.
    pub last: bool,
}

/// Bytes of the header that [`data`] writes.
pub const fn data_header_bytes(headers: Headers) -> usize {
    match headers {
        Headers::Simple => SIMPLE_REPLY_BYTES,
        Headers::Structured => STRUCTURED_REPLY_BYTES + 8,
        Headers::Extended => EXTENDED_REPLY_BYTES + 8,
    }
}

/// What goes before the data of a read; [`data_header_bytes`] long.
#[inline]
pub fn data(headers: Headers, data: &Data) -> Small<MAX_HEADER> {
    if headers == Headers::Simple {
        return simple(data.cookie, 0);
    }
    let flags = if data.last { chunk::FLAG_DONE } else { 0 };
    header(headers, flags, chunk::OFFSET_DATA, data.cookie, data.request_offset, data.length + 8)
        .u64(data.offset)
}

/// What goes before the descriptors of a status reply that has `bytes` of them, in the one chunk.
pub fn status(headers: Headers, cookie: u64, request_offset: u64, bytes: usize) -> Small<MAX_HEADER> {
    let bytes = bytes as u32;
    match headers {
        Headers::Extended => {
            let kind = chunk::BLOCK_STATUS_EXT;
            header(headers, chunk::FLAG_DONE, kind, cookie, request_offset, bytes + 8)
                .u32(BASE_ALLOCATION_ID)
                .u32(bytes / 16)
        }
        _ => {
            let kind = chunk::BLOCK_STATUS;
            header(headers, chunk::FLAG_DONE, kind, cookie, request_offset, bytes + 4).u32(BASE_ALLOCATION_ID)
        }
    }
}

/// A status reply with one extent: `length` bytes of data.
pub fn all_data(headers: Headers, cookie: u64, request_offset: u64, length: u64) -> Small<MAX_STATUS> {
    let bytes = if headers == Headers::Extended { 16 } else { 8 };
    let header: Small<MAX_STATUS> =
        Small::EMPTY.put(status(headers, cookie, request_offset, bytes).as_bytes());
    match headers {
        Headers::Extended => header.u64(length).u64(0),
        // Their lengths have 32 bits.
        _ => header.u32(u32::try_from(length).unwrap_or(u32::MAX)).u32(0),
    }
}

/// Turns the `count` extents that a driver left at the front of `buffer` into descriptors of a status
/// reply, in place, and returns their bytes.
///
/// Neighbours of the same kind become one, and nothing reaches beyond the `length` that was asked
/// for. `None` when they are no answer: none, more than fit, or one of no length.
pub fn descriptors(
    headers: Headers,
    buffer: &mut [u8],
    count: usize,
    length: u64,
    one: bool,
) -> Option<usize> {
    const EXTENT: usize = size_of::<steadfast_abi::Extent>();
    if count == 0 || count > buffer.len() / EXTENT {
        return None;
    }
    let mut left = length;
    let mut written = 0;
    let mut current: Option<(u64, u32)> = None;
    for i in 0..count {
        let extent = take::<8>(buffer, i * EXTENT).map(u64::from_ne_bytes)?;
        let flags = flags(take::<8>(buffer, i * EXTENT + 8).map(u64::from_ne_bytes)?);
        if extent == 0 {
            return None;
        }
        let extent = extent.min(left);
        left -= extent;
        match &mut current {
            Some((merged, same)) if *same == flags => *merged += extent,
            _ => {
                if let Some(finished) = current.replace((extent, flags)) {
                    written += descriptor(headers, buffer, written, finished)?;
                    if one {
                        return Some(written);
                    }
                }
            }
        }
        if left == 0 {
            break;
        }
    }
    Some(written + descriptor(headers, buffer, written, current?)?)
}

/// Writes one descriptor; it is never longer than the extent it came from.
fn descriptor(headers: Headers, buffer: &mut [u8], at: usize, extent: (u64, u32)) -> Option<usize> {
    let (length, flags) = extent;
    if headers == Headers::Extended {
        buffer.get_mut(at..at + 8)?.copy_from_slice(&length.to_be_bytes());
        buffer.get_mut(at + 8..at + 16)?.copy_from_slice(&u64::from(flags).to_be_bytes());
        return Some(16);
    }
    // A compact request's length is one of 32 bits, and so is every part of it.
    let length = u32::try_from(length).ok()?;
    buffer.get_mut(at..at + 4)?.copy_from_slice(&length.to_be_bytes());
    buffer.get_mut(at + 4..at + 8)?.copy_from_slice(&flags.to_be_bytes());
    Some(8)
}

fn flags(from: u64) -> u32 {
    let mut flags = 0;
    if from & extent::HOLE != 0 {
        flags |= state::HOLE;
    }
    if from & extent::ZERO != 0 {
        flags |= state::ZERO;
    }
    flags
}

//! Between the memory that an operation names and the data of a slot.

#![allow(unsafe_code)] // addresses that the lane has checked

use steadfast_abi::Extent;

pub(super) enum Direction {
    FromParts,
    ToParts,
}

/// Copies `length` bytes between `data` and the bytes from `at` on of the parts.
///
/// # Safety
/// The parts have `at + length` bytes and `data` has `length`, all ours for the moment.
pub(super) unsafe fn copy(parts: &[libc::iovec], at: u64, data: *mut u8, length: u64, direction: Direction) {
    let (mut skip, mut left, mut data) = (at as usize, length as usize, data);
    for part in parts {
        if skip >= part.iov_len {
            skip -= part.iov_len;
            continue;
        }
        let n = (part.iov_len - skip).min(left);
        // SAFETY: `skip + n` bytes are in the part, and `n` are left of the data. `ptr::copy`: a driver
        // may name its own slot's memory twice.
        unsafe {
            let side = part.iov_base.cast::<u8>().add(skip);
            match direction {
                Direction::FromParts => std::ptr::copy(side, data, n),
                Direction::ToParts => std::ptr::copy(data, side, n),
            }
            data = data.add(n);
        }
        (skip, left) = (0, left - n);
        if left == 0 {
            return;
        }
    }
}

/// # Safety
/// The first part has room for an extent and is ours for the moment.
pub(super) unsafe fn put_extent(parts: &[libc::iovec], extent: Extent) {
    let Some(part) = parts.first() else { return };
    // SAFETY: as promised; unaligned because nobody promised more.
    unsafe { part.iov_base.cast::<Extent>().write_unaligned(extent) };
}

/// Copies as many of the `count` extents in `data` as the first part has room for; says how many.
///
/// # Safety
/// `data` is the slot's buffer, of `size` bytes; the part is ours for the moment.
pub(super) unsafe fn take_extents(parts: &[libc::iovec], data: *mut u8, count: i32, size: u64) -> i64 {
    let room = parts.first().map_or(0, |part| part.iov_len) as u64;
    let count = u64::try_from(count).unwrap_or(0).min(room.min(size) / size_of::<Extent>() as u64);
    // SAFETY: `count` extents fit on both sides.
    unsafe { copy(parts, 0, data, count * size_of::<Extent>() as u64, Direction::ToParts) };
    count as i64
}

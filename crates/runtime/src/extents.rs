//! Which ranges of a file hold data: `SEEK_DATA` and `SEEK_HOLE`, on the helper thread.

#![allow(unsafe_code)] // writes into a slot's data buffer

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use steadfast_abi::{Extent, extent, handle_kind};

/// Asks for the extents of `length` bytes at `offset` and writes them to `base`, `room` bytes that are
/// the caller's until this returns. Returns their number or a negative errno.
pub(crate) fn ask(file: &OwnedFd, kind: u32, offset: u64, length: u64, base: usize, room: usize) -> i64 {
    let most = room / size_of::<Extent>();
    let Some(end) = offset.checked_add(length) else { return -i64::from(libc::EINVAL) };
    if most == 0 || length == 0 {
        return -i64::from(libc::EINVAL);
    }
    let extents = if kind == handle_kind::REGULAR {
        seek(file.as_raw_fd(), offset, end, most)
    } else {
        vec![Extent { length, flags: 0 }]
    };
    let to: *mut Extent = std::ptr::with_exposed_provenance_mut(base);
    for (i, e) in extents.iter().enumerate() {
        // SAFETY: at most `room` bytes at `base`, which is a slot's data buffer or a region, both
        // kept until the operation has completed; written unaligned because nobody promised more.
        unsafe { to.add(i).write_unaligned(*e) };
    }
    extents.len() as i64
}

fn seek(fd: RawFd, offset: u64, end: u64, most: usize) -> Vec<Extent> {
    let (mut at, mut extents) = (offset, Vec::new());
    while at < end && extents.len() < most {
        let data = match lseek(fd, at, libc::SEEK_DATA) {
            Ok(data) => data.unwrap_or(end).clamp(at, end),
            // Not known: calling it data is always true, calling it a hole could lose it.
            Err(_) => at,
        };
        let (next, flags) = if data > at {
            (data, extent::HOLE | extent::ZERO)
        } else {
            (lseek(fd, at, libc::SEEK_HOLE).ok().flatten().unwrap_or(end).clamp(at, end), 0)
        };
        // No progress: the file system cannot say. Calling it data is always true.
        let next = if next == at { end } else { next };
        extents.push(Extent { length: next - at, flags });
        at = next;
    }
    extents
}

/// `None` when there is nothing of that kind up to the end of the file.
fn lseek(fd: RawFd, at: u64, whence: i32) -> io::Result<Option<u64>> {
    let at = i64::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: plain call on an open descriptor of our own (the position is shared, and unused).
    let found = unsafe { libc::lseek(fd, at, whence) };
    if let Ok(found) = u64::try_from(found) {
        return Ok(Some(found));
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ENXIO) { Ok(None) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn what_cannot_be_told_is_data() {
        let pipe = io::pipe().expect("pipe");
        let extents = seek(pipe.0.as_raw_fd(), 0, 4096, 8);
        assert_eq!(extents, [Extent { length: 4096, flags: 0 }], "a pipe cannot seek");
    }

    #[test]
    fn behind_the_end_of_a_file_is_a_hole() {
        let file = tempfile::tempfile().expect("file");
        file.write_at(&[1; 4096], 0).expect("written");
        let extents = seek(file.as_raw_fd(), 0, 8192, 8);
        let hole = Extent { length: 4096, flags: extent::HOLE | extent::ZERO };
        assert_eq!(extents, [Extent { length: 4096, flags: 0 }, hole]);
    }
}

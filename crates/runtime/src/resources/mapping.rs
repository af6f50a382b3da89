//! Memory that the shell owns: memfd-backed mappings, so that a driver in another process could map
//! the same pages.

// Raw mappings are what this module is for; everything it hands out is bounds-checked.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

/// Bytes of a page; the unit of every size here.
pub(crate) const PAGE: usize = 4096;

/// Rounds up to whole pages. Only for sizes of the shell's own: see [`whole_pages`].
pub(crate) const fn pages(bytes: usize) -> usize {
    bytes.div_ceil(PAGE) * PAGE
}

/// Rounds up to whole pages a size that somebody else has said; `None` where no memory can be that large.
const fn whole_pages(bytes: usize) -> Option<usize> {
    match bytes.checked_next_multiple_of(PAGE) {
        Some(whole) if whole <= isize::MAX as usize => Some(whole),
        _ => None,
    }
}

/// A zeroed, page-aligned, shared mapping. Pages cost memory only when touched.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
    /// Kept for copies; only of what may be copied, because it counts against the limit of open files.
    memfd: Option<OwnedFd>,
}

// SAFETY: a `Mapping` is an address range; who may touch which bytes when is decided by its users.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes, rounded up to pages. `len` 0 maps nothing.
    pub(crate) fn new(name: &CStr, len: usize) -> io::Result<Mapping> {
        let mut map = Mapping::copyable(name, len)?;
        // The mapping keeps the file alive; its descriptor would only count against the limit.
        map.memfd = None;
        Ok(map)
    }

    /// The same, of which [`private_copy`](Mapping::private_copy) makes copies.
    pub(crate) fn copyable(name: &CStr, len: usize) -> io::Result<Mapping> {
        let len = whole_pages(len).ok_or(io::ErrorKind::OutOfMemory)?;
        if len == 0 {
            return Ok(Mapping { base: NonNull::dangling(), len: 0, memfd: None });
        }
        // SAFETY: `name` is a C string; the result is checked before it is owned.
        let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just created and nobody else has it.
        let memfd = unsafe { OwnedFd::from_raw_fd(fd) };
        let size = i64::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: plain call on a descriptor that we own.
        if unsafe { libc::ftruncate(fd, size) } != 0 {
            return Err(no_room(io::Error::last_os_error(), len));
        }
        let base = map(&memfd, len, libc::MAP_SHARED)?;
        Ok(Mapping { base, len, memfd: Some(memfd) })
    }

    /// Maps `len` bytes with every page there already, so that using them takes none from the machine.
    ///
    /// # Errors
    /// There is not that much memory; nothing is kept.
    pub(crate) fn committed(name: &CStr, len: usize) -> io::Result<Mapping> {
        let map = Mapping::new(name, len)?;
        // SAFETY: the range that was just mapped; the call only makes its pages.
        let made = unsafe { libc::madvise(map.base().cast(), map.len, libc::MADV_POPULATE_WRITE) };
        if map.len > 0 && made != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(map)
    }

    /// Bytes, whole pages.
    pub(crate) fn bytes(&self) -> u64 {
        self.len as u64
    }

    /// Keeps what is in it out of dumps of the process: it may be large, and is its users' data.
    pub(crate) fn leave_out_of_dumps(&self) {
        if self.len > 0 {
            // SAFETY: the range that is mapped; the call changes nothing that is in it.
            unsafe { libc::madvise(self.base().cast(), self.len, libc::MADV_DONTDUMP) };
        }
    }

    /// Makes it all zeroes again. Nobody else uses it.
    pub(crate) fn clear(&self) {
        // SAFETY: `len` mapped bytes at `base`, or none.
        unsafe { self.base().write_bytes(0, self.len) };
    }

    /// The same pages at another address: what is written there stays there, and what is written here
    /// is seen there until then, page by page.
    pub(crate) fn private_copy(&self) -> io::Result<Mapping> {
        let base = match &self.memfd {
            Some(memfd) => map(memfd, self.len, libc::MAP_PRIVATE)?,
            None if self.len == 0 => NonNull::dangling(),
            None => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Mapping { base, len: self.len, memfd: None })
    }

    /// First byte; dangling when the mapping is empty.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }
}

/// Says what to do where the limit of file sizes, which holds for such memory too, is in the way.
#[cold]
fn no_room(error: io::Error, len: usize) -> io::Error {
    if error.kind() != io::ErrorKind::FileTooLarge {
        return error;
    }
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a place for the answer.
    unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) };
    let text = format!(
        "{len} bytes in one piece are over this process's limit of file sizes, {} bytes (RLIMIT_FSIZE): \
         raise it with `LimitFSIZE=infinity` in the unit or `ulimit -f unlimited`",
        limit.rlim_cur
    );
    io::Error::new(io::ErrorKind::FileTooLarge, text)
}

fn map(memfd: &OwnedFd, len: usize, how: i32) -> io::Result<NonNull<u8>> {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let flags = how | libc::MAP_NORESERVE;
    // SAFETY: a fresh mapping at an address of the kernel's choice; the result is checked.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, memfd.as_raw_fd(), 0) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?)
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: maps exactly what `new` mapped; users keep the `Mapping` as long as they use it.
            unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_to_a_private_copy_stays_there() {
        let live = Mapping::copyable(c"test", 8192).expect("mapped");
        let copy = live.private_copy().expect("copied");
        // SAFETY: mapped bytes, of this test alone.
        unsafe {
            live.base().write(1);
            assert_eq!(copy.base().read(), 1, "seen until the copy is written to");
            copy.base().write(7);
            assert_eq!(live.base().read(), 1);
            live.base().add(4096).write(3);
            assert_eq!(copy.base().add(4096).read(), 3, "page by page");
        }
        assert!(Mapping::new(c"test", 4096).expect("mapped").private_copy().is_err());
        assert!(Mapping::new(c"test", 0).expect("nothing").private_copy().is_ok());
    }

    #[test]
    fn no_size_comes_out_smaller_than_it_was_asked_for() {
        for len in [usize::MAX, usize::MAX - 4094, usize::MAX - 4095, isize::MAX as usize, 1 << 62] {
            assert!(Mapping::new(c"test", len).is_err(), "{len} bytes");
            assert!(Mapping::copyable(c"test", len).is_err(), "{len} bytes");
        }
        assert_eq!(whole_pages(usize::MAX - 4095), None);
        assert_eq!((whole_pages(0), whole_pages(1), whole_pages(4096)), (Some(0), Some(4096), Some(4096)));
    }

    #[test]
    fn a_mapping_is_zeroed_and_rounded_up_to_pages() {
        let map = Mapping::new(c"test", 5000).expect("mapped");
        assert_eq!(map.base() as usize % PAGE, 0);
        // SAFETY: 8192 mapped bytes, ours alone.
        let bytes = unsafe { std::slice::from_raw_parts_mut(map.base(), 8192) };
        assert!(bytes.iter().all(|b| *b == 0));
        bytes[8191] = 1;
    }
}

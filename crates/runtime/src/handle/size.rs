//! How large an open file or block device is.

#![allow(unsafe_code)] // the size of a block device

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;

/// Bytes of a regular file or block device.
pub(crate) fn size_of_file(file: &File) -> Option<u64> {
    let meta = file.metadata().ok()?;
    if meta.file_type().is_block_device() { block_size(file) } else { Some(meta.len()) }
}

fn block_size(file: &File) -> Option<u64> {
    // From linux/fs.h.
    const BLKGETSIZE64: libc::c_ulong = 0x8008_1272;
    let mut size = 0_u64;
    // SAFETY: the ioctl writes one number of the type that its argument points to.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), BLKGETSIZE64 as _, &mut size) } == 0;
    done.then_some(size)
}

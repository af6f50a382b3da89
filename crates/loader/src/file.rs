//! Opening and reading a file that somebody named, whatever it is.

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::error::Problem;

/// Largest module that is read, bytes.
pub const MAX_MODULE_BYTES: u64 = 256 << 20;

/// Opens a module file; returns it and its size, which is within bounds.
///
/// What is not a regular file is never opened: opening a named pipe waits for a writer, and opening a
/// device may do something to it. Should the name change hands between the look and the opening,
/// `O_NONBLOCK` still keeps a pipe from blocking, and the second look refuses it.
pub(crate) fn open(path: &Path) -> Result<(File, u64), Problem> {
    let metadata = fs::metadata(path).map_err(Problem::Unreadable)?;
    refuse_special(metadata.file_type())?;
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(Problem::Unreadable)?;
    let metadata = file.metadata().map_err(Problem::Unreadable)?;
    refuse_special(metadata.file_type())?;
    match metadata.len() {
        0 => Err(Problem::Empty),
        bytes if bytes > MAX_MODULE_BYTES => Err(Problem::TooLarge { bytes }),
        bytes => Ok((file, bytes)),
    }
}

/// Reads a module file whole.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let (mut file, bytes) = open(path)?;
    let before = stamp(&file)?;
    let mut contents = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    // The file may grow while it is read; the bound holds all the same.
    file.by_ref().take(MAX_MODULE_BYTES + 1).read_to_end(&mut contents).map_err(Problem::Unreadable)?;
    // Half of one module and half of another is neither.
    if stamp(&file)? != before {
        return Err(Problem::Rewritten);
    }
    match contents.len() as u64 {
        0 => Err(Problem::Empty),
        bytes if bytes > MAX_MODULE_BYTES => Err(Problem::TooLarge { bytes }),
        _ => Ok(contents),
    }
}

/// What changes when somebody writes to a file: its size and its times.
fn stamp(file: &File) -> Result<(u64, i64, i64, i64, i64), Problem> {
    let of = |data: Metadata| (data.len(), data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec());
    file.metadata().map(of).map_err(Problem::Unreadable)
}

fn refuse_special(kind: FileType) -> Result<(), Problem> {
    if kind.is_file() {
        return Ok(());
    }
    Err(Problem::NotRegular(if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }))
}

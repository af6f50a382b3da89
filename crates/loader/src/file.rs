//! Opening and reading a file that somebody named, whatever it is.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use crate::error::Problem;
use crate::known::{Read, Stamp};

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
    let (file, bytes) = open(path)?;
    contents(&file, bytes).map(|(contents, _)| contents)
}

/// The same, and what can be said of the file later.
pub(crate) fn read_to_know(path: &Path) -> Result<Read, Problem> {
    let begun = SystemTime::now();
    let (file, bytes) = open(path)?;
    let (contents, stamp) = contents(&file, bytes)?;
    Ok(Read::new(contents, &file, stamp, begun))
}

fn contents(file: &File, bytes: u64) -> Result<(Vec<u8>, Stamp), Problem> {
    let stamp = || file.metadata().map(|data| Stamp::of(&data)).map_err(Problem::Unreadable);
    let before = stamp()?;
    let mut contents = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    // The file may grow while it is read; the bound holds all the same.
    file.take(MAX_MODULE_BYTES + 1).read_to_end(&mut contents).map_err(Problem::Unreadable)?;
    // Half of one module and half of another is neither.
    if stamp()? != before {
        return Err(Problem::Rewritten);
    }
    match contents.len() as u64 {
        0 => Err(Problem::Empty),
        bytes if bytes > MAX_MODULE_BYTES => Err(Problem::TooLarge { bytes }),
        _ => Ok((contents, before)),
    }
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

//! Error numbers and errors that carry a sentence.

use std::borrow::Cow;
use std::fmt;

/// A Linux error number, positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// Operation not permitted.
    pub const PERM: Errno = Errno(1);
    /// No such file, key or number.
    pub const NOENT: Errno = Errno(2);
    /// Interrupted.
    pub const INTR: Errno = Errno(4);
    /// Input/output error.
    pub const IO: Errno = Errno(5);
    /// Try again later.
    pub const AGAIN: Errno = Errno(11);
    /// Out of memory.
    pub const NOMEM: Errno = Errno(12);
    /// Busy.
    pub const BUSY: Errno = Errno(16);
    /// Exists already.
    pub const EXIST: Errno = Errno(17);
    /// No such device.
    pub const NODEV: Errno = Errno(19);
    /// Invalid argument.
    pub const INVAL: Errno = Errno(22);
    /// No space left: also what a write past the end of a device answers.
    pub const NOSPC: Errno = Errno(28);
    /// Read-only.
    pub const ROFS: Errno = Errno(30);
    /// Result out of range.
    pub const RANGE: Errno = Errno(34);
    /// Function not implemented.
    pub const NOSYS: Errno = Errno(38);
    /// Malformed data.
    pub const PROTO: Errno = Errno(71);
    /// Not supported.
    pub const OPNOTSUPP: Errno = Errno(95);
    /// Canceled.
    pub const CANCELED: Errno = Errno(125);
    /// The driver panicked.
    pub const NOTRECOVERABLE: Errno = Errno(131);

    /// Turns an ABI result into a count or an error.
    pub(crate) fn check(result: i32) -> Result<u32, Errno> {
        u32::try_from(result).map_err(|_| Errno(result.wrapping_neg()))
    }

    /// As the ABI wants it: negative, and never 0.
    pub(crate) fn code(self) -> i32 {
        if self.0 > 0 { -self.0 } else { -Errno::IO.0 }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match *self {
            Errno::PERM => "operation not permitted",
            Errno::NOENT => "not found",
            Errno(13) => "permission denied",
            Errno(17) => "exists already",
            Errno::IO => "input/output error",
            Errno::AGAIN => "temporarily unavailable",
            Errno::NOMEM => "out of memory",
            Errno::BUSY => "busy",
            Errno::NODEV => "no such device",
            Errno(21) => "is a directory",
            Errno::INVAL => "invalid argument",
            Errno::NOSPC => "no space left",
            Errno::ROFS => "read-only",
            Errno::RANGE => "out of range",
            Errno::NOSYS => "not implemented",
            Errno::PROTO => "malformed data",
            Errno::OPNOTSUPP => "not supported",
            Errno::CANCELED => "canceled",
            Errno::NOTRECOVERABLE => "driver panicked",
            Errno(n) => return write!(f, "error {n}"),
        };
        f.write_str(text)
    }
}

impl std::error::Error for Errno {}

/// Why a driver could not do what an entry point asked: a number for the shell and a sentence for
/// people, which the SDK writes to the port's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    errno: Errno,
    message: Cow<'static, str>,
}

impl Error {
    /// An error with a sentence that names the thing, the value and what is allowed.
    pub fn new(errno: Errno, message: impl Into<Cow<'static, str>>) -> Error {
        Error { errno, message: message.into() }
    }

    /// The number.
    pub fn errno(&self) -> Errno {
        self.errno
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Error {
        Error { errno, message: Cow::Borrowed("") }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() { self.errno.fmt(f) } else { f.write_str(&self.message) }
    }
}

impl std::error::Error for Error {}

/// Result of the entry points that prepare, connect and disconnect.
pub type Result<T, E = Error> = std::result::Result<T, E>;

//! Error numbers: what a device says, and what the protocol has for it.

/// An error as a reply carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum NbdErrno {
    /// Not permitted: the export is read-only.
    Perm = 1,
    /// Input/output error.
    Io = 5,
    /// No memory.
    NoMem = 12,
    /// The request is wrong.
    Inval = 22,
    /// No space left, or beyond the end of the device.
    NoSpc = 28,
    /// Too large to answer as asked.
    Overflow = 75,
    /// Can't be done quickly.
    NotSup = 95,
    /// The server is ending.
    Shutdown = 108,
}

/// Which errors of the system become which error of the protocol; all others become
/// [`NbdErrno::Io`].
const TABLE: &[(i32, NbdErrno)] = &[
    (libc::EPERM, NbdErrno::Perm),
    (libc::EACCES, NbdErrno::Perm),
    (libc::EROFS, NbdErrno::Perm),
    (libc::ENOMEM, NbdErrno::NoMem),
    (libc::EINVAL, NbdErrno::Inval),
    (libc::ENOSPC, NbdErrno::NoSpc),
    (libc::EDQUOT, NbdErrno::NoSpc),
    (libc::EFBIG, NbdErrno::NoSpc),
    (libc::EOVERFLOW, NbdErrno::Overflow),
    (libc::EOPNOTSUPP, NbdErrno::NotSup),
    (libc::ESHUTDOWN, NbdErrno::Shutdown),
];

impl NbdErrno {
    /// The protocol's error for a request that ended with `errno` (positive). `fast_zero` says
    /// whether it was one that may be answered "can't be done quickly"; elsewhere that is an
    /// invalid request.
    pub fn from_errno(errno: i32, fast_zero: bool) -> NbdErrno {
        let found = TABLE.iter().find(|row| row.0 == errno).map_or(NbdErrno::Io, |row| row.1);
        match found {
            NbdErrno::NotSup if !fast_zero => NbdErrno::Inval,
            other => other,
        }
    }

    /// The number on the wire.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// A few words for the message of an error chunk.
    pub const fn text(self) -> &'static str {
        match self {
            NbdErrno::Perm => "not permitted",
            NbdErrno::Io => "input/output error",
            NbdErrno::NoMem => "out of memory",
            NbdErrno::Inval => "invalid request",
            NbdErrno::NoSpc => "no space left on device",
            NbdErrno::Overflow => "too large",
            NbdErrno::NotSup => "not supported",
            NbdErrno::Shutdown => "server is shutting down",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every errno that Linux has, with and without FAST_ZERO: nothing but the table's answers.
    #[test]
    fn every_errno_maps_to_one_of_the_protocol() {
        for errno in 0..4096 {
            let expected = match errno {
                libc::EPERM | libc::EACCES | libc::EROFS => 1,
                libc::ENOMEM => 12,
                libc::EINVAL | libc::EOPNOTSUPP => 22,
                libc::ENOSPC | libc::EDQUOT | libc::EFBIG => 28,
                libc::EOVERFLOW => 75,
                libc::ESHUTDOWN => 108,
                _ => 5,
            };
            assert_eq!(NbdErrno::from_errno(errno, false).code(), expected, "errno {errno}");
            let expected = if errno == libc::EOPNOTSUPP { 95 } else { expected };
            assert_eq!(NbdErrno::from_errno(errno, true).code(), expected, "errno {errno}, fast zero");
        }
    }

    #[test]
    fn texts_fit_a_reply() {
        for (_, errno) in TABLE {
            assert!(errno.text().len() <= 40);
        }
    }
}

//! The port's log, without allocation: a line is formatted on the stack and cut where it is too long.

use std::fmt;
use steadfast_abi as abi;

/// Longest line, bytes; the rest is cut off.
const MAX_LINE: usize = 512;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Level {
    /// Something failed.
    Error = abi::level::ERROR,
    /// Something is wrong and was coped with.
    Warn = abi::level::WARN,
    /// Something that an operator wants to know.
    Info = abi::level::INFO,
    /// For developers.
    Debug = abi::level::DEBUG,
}

/// Something that can write to the log of a port: [`Prepare`](crate::Prepare),
/// [`Port`](crate::Port), [`Io`](crate::Io).
pub trait Log {
    /// Writes one line; see the macros [`error!`](crate::error), [`warn!`](crate::warn),
    /// [`info!`](crate::info) and [`debug!`](crate::debug).
    fn log(&self, level: Level, line: fmt::Arguments<'_>);
}

/// A line being formatted in a fixed buffer.
pub(crate) struct Line {
    bytes: [u8; MAX_LINE],
    len: usize,
}

impl Line {
    pub(crate) const fn new() -> Line {
        Line { bytes: [0; MAX_LINE], len: 0 }
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or("")
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let mut take = s.len().min(MAX_LINE - self.len);
        while !s.is_char_boundary(take) {
            take -= 1;
        }
        // A line feed would forge a second log line.
        for (to, from) in self.bytes[self.len..self.len + take].iter_mut().zip(s.bytes()) {
            *to = if from == b'\n' || from == b'\r' { b' ' } else { from };
        }
        self.len += take;
        Ok(())
    }
}

/// Writes one line to the log of `port`.
///
/// # Safety
/// `port` is null or a live port, and its shell table is whole.
pub(crate) unsafe fn write(port: *mut abi::Port, level: Level, text: fmt::Arguments<'_>) {
    let mut line = Line::new();
    let _ = fmt::write(&mut line, text);
    // SAFETY: the caller promises that a non-null `port` is live; `shell` lives as long as it.
    unsafe {
        if let Some(log) = port.as_ref().and_then(|p| p.shell.as_ref()).and_then(|s| s.log) {
            log(port, level as u32, abi::Str::new(line.as_str()));
        }
    }
}

/// Logs that something failed: `error!(cx, "{path}: size 0")`.
#[macro_export]
macro_rules! error {
    ($cx:expr, $($arg:tt)*) => { $crate::Log::log(&*$cx, $crate::Level::Error, format_args!($($arg)*)) };
}

/// Logs that something is wrong and was coped with.
#[macro_export]
macro_rules! warn {
    ($cx:expr, $($arg:tt)*) => { $crate::Log::log(&*$cx, $crate::Level::Warn, format_args!($($arg)*)) };
}

/// Logs something that an operator wants to know.
#[macro_export]
macro_rules! info {
    ($cx:expr, $($arg:tt)*) => { $crate::Log::log(&*$cx, $crate::Level::Info, format_args!($($arg)*)) };
}

/// Logs something for developers.
#[macro_export]
macro_rules! debug {
    ($cx:expr, $($arg:tt)*) => { $crate::Log::log(&*$cx, $crate::Level::Debug, format_args!($($arg)*)) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    #[test]
    fn a_long_line_is_cut_at_a_character() {
        let mut line = Line::new();
        write!(line, "a{}", "é".repeat(400)).unwrap();
        assert_eq!(line.as_str().chars().count(), 256);
        assert!(line.as_str().ends_with('é'));
    }

    #[test]
    fn a_line_stays_one_line() {
        let mut line = Line::new();
        line.write_str("one\ntwo").unwrap();
        assert_eq!(line.as_str(), "one two");
    }
}

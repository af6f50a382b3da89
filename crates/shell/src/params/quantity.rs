//! Sizes and times with their units: what options, configurations and parameters take, read in one place.
//!
//! | | units | without one |
//! |---|---|---|
//! | size | `K`, `M`, `G`, `T`, `P`, `E`, upper or lower case, alone or as `KiB`: powers of 1024 | bytes |
//! | time | `ns`, `us`, `ms`, `s`, `m` or `min`, `h`, lower case | what the parameter is in; seconds for options |
//!
//! Numbers are whole and follow each other and their unit without a space. A time that isn't a whole number of the
//! parameter's own unit is refused, never rounded.

use super::error::Fault;
use super::value::{SUFFIXES, magnitude, parse_unsigned};

/// Bytes from a text such as `4096`, `4K`, `1m` or `2GiB`; suffixes are powers of 1024.
///
/// # Errors
/// [`Fault::NotASize`], or [`Fault::OutOfRange`] when it does not fit in 64 bits.
pub fn parse_size(text: &str) -> Result<u64, Fault> {
    let short = text.strip_suffix("iB").unwrap_or(text);
    let last = short.chars().last().map(|c| c.to_ascii_uppercase());
    let power = last.and_then(|c| SUFFIXES.iter().position(|s| *s == c));
    let (digits, shift) = match power {
        // Hexadecimal digits include E; a hexadecimal size has no suffix.
        Some(_) if text.starts_with("0x") => (text, 0),
        Some(power) => (&short[..short.len() - 1], 10 * (power as u32 + 1)),
        None => (text, 0),
    };
    let number = parse_unsigned(digits).map_err(|fault| match fault {
        Fault::NotANumber => Fault::NotASize,
        other => other,
    })?;
    number.checked_mul(1 << shift).ok_or(Fault::OutOfRange)
}

/// A number of bytes with the largest suffix that shows it exactly: `4K`, `1M`, `339968`.
pub fn show_size(bytes: u64) -> String {
    let mut number = bytes;
    let mut suffix = None;
    for next in SUFFIXES {
        if number == 0 || !number.is_multiple_of(1024) {
            break;
        }
        number /= 1024;
        suffix = Some(next);
    }
    match suffix {
        Some(suffix) => format!("{number}{suffix}"),
        None => number.to_string(),
    }
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Nanoseconds.
    Ns,
    /// Microseconds.
    Us,
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
    /// Minutes.
    Min,
    /// Hours.
    H,
}

impl TimeUnit {
    /// All of them, the smallest first.
    pub const ALL: [TimeUnit; 6] =
        [TimeUnit::Ns, TimeUnit::Us, TimeUnit::Ms, TimeUnit::S, TimeUnit::Min, TimeUnit::H];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            TimeUnit::Ns => "ns",
            TimeUnit::Us => "us",
            TimeUnit::Ms => "ms",
            TimeUnit::S => "s",
            TimeUnit::Min => "m",
            TimeUnit::H => "h",
        }
    }

    /// The unit of that name.
    pub fn from_name(name: &str) -> Option<TimeUnit> {
        match name {
            "min" => Some(TimeUnit::Min),
            name => TimeUnit::ALL.into_iter().find(|unit| unit.name() == name),
        }
    }

    /// Its length, nanoseconds.
    pub const fn ns(self) -> u64 {
        match self {
            TimeUnit::Ns => 1,
            TimeUnit::Us => 1_000,
            TimeUnit::Ms => 1_000_000,
            TimeUnit::S => 1_000_000_000,
            TimeUnit::Min => 60_000_000_000,
            TimeUnit::H => 3_600_000_000_000,
        }
    }
}

/// A time from a text such as `45`, `10s`, `250ms` or `2m`, as a whole number of `unit`, which also is the unit of a
/// number that has none.
///
/// # Errors
/// [`Fault::NotATime`], [`Fault::NotWhole`] where it is a part of the unit, or [`Fault::OutOfRange`] when it does not
/// fit in 64 bits or is negative.
pub fn parse_time(text: &str, unit: TimeUnit) -> Result<u64, Fault> {
    let plain = |text: &str| {
        parse_unsigned(text).map_err(|fault| if fault == Fault::NotANumber { Fault::NotATime } else { fault })
    };
    if text.starts_with("0x") {
        return plain(text);
    }
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (digits, said) = text.split_at(split);
    if said.is_empty() {
        return plain(digits);
    }
    let said = TimeUnit::from_name(said).ok_or(Fault::NotATime)?;
    if digits.starts_with('-') {
        return plain(digits);
    }
    // More than 64 bits of nanoseconds are no fault by themselves: 2^64 - 1 s in seconds are a number that fits.
    let number = magnitude(digits).map_err(|_| Fault::NotATime)?.ok_or(Fault::OutOfRange)?;
    let ns = u128::from(number) * u128::from(said.ns());
    if !ns.is_multiple_of(u128::from(unit.ns())) {
        return Err(Fault::NotWhole);
    }
    u64::try_from(ns / u128::from(unit.ns())).map_err(|_| Fault::OutOfRange)
}

/// A time with the largest unit that shows it exactly: `10s`, `250ms`, `2m`, `0s`.
pub fn show_time(number: u64, unit: TimeUnit) -> String {
    let ns = u128::from(number) * u128::from(unit.ns());
    let fits = |unit: &&TimeUnit| ns != 0 && ns.is_multiple_of(u128::from(unit.ns()));
    let unit = TimeUnit::ALL.iter().rev().find(fits).copied().unwrap_or(unit);
    format!("{}{}", ns / u128::from(unit.ns()), unit.name())
}

/// A parameter's value for people, by the unit that its numbers are in, where that says more than the number:
/// `25G` for 26843545600 bytes, `2m` for 120 s.
pub fn show_quantity(value: &str, unit: &str) -> Option<String> {
    let number: u64 = value.parse().ok()?;
    let shown = match (unit, TimeUnit::from_name(unit)) {
        ("bytes", _) => show_size(number),
        (_, Some(time)) => show_time(number, time),
        _ => return None,
    };
    let same = shown == value || shown == format!("{value}{unit}");
    (!same && number != 0).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_any_unit_and_kept_in_their_own() {
        for (text, unit, found) in [
            ("45", TimeUnit::S, Ok(45)),
            ("45", TimeUnit::Us, Ok(45)),
            ("10s", TimeUnit::S, Ok(10)),
            ("10s", TimeUnit::Us, Ok(10_000_000)),
            ("2m", TimeUnit::S, Ok(120)),
            ("2min", TimeUnit::S, Ok(120)),
            ("1h", TimeUnit::Ms, Ok(3_600_000)),
            ("2000ms", TimeUnit::S, Ok(2)),
            ("0ms", TimeUnit::S, Ok(0)),
            ("0x10", TimeUnit::S, Ok(16)),
            ("-0", TimeUnit::S, Ok(0)),
            ("18446744073709551615s", TimeUnit::S, Ok(u64::MAX)),
            ("18446744073709551615s", TimeUnit::Ms, Err(Fault::OutOfRange)),
            ("18446744073709551616s", TimeUnit::S, Err(Fault::OutOfRange)),
            ("250ms", TimeUnit::S, Err(Fault::NotWhole)),
            ("1ns", TimeUnit::Us, Err(Fault::NotWhole)),
            ("-1s", TimeUnit::S, Err(Fault::OutOfRange)),
            ("-1", TimeUnit::S, Err(Fault::OutOfRange)),
        ] {
            assert_eq!(parse_time(text, unit), found, "{text} in {unit:?}");
        }
        for text in [
            "", "s", " 10s", "10 s", "10s ", "10S", "10MS", "1.5s", "+1s", "10sec", "10K", "25G", "0x10s",
            "1e3s", "ten",
        ] {
            assert_eq!(parse_time(text, TimeUnit::S), Err(Fault::NotATime), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_read_with_and_without_units() {
        for (text, bytes) in [
            ("25G", 25 << 30),
            ("25g", 25 << 30),
            ("25GiB", 25 << 30),
            ("64k", 65536),
            ("0", 0),
            ("0x1000", 4096),
            ("-0K", 0),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in
            ["", "G", "25 G", "25G ", "25Gi", "25GB", "25iB", "1.5G", "+1G", "10s", "10ms", "0x1G", "1KK"]
        {
            assert_eq!(parse_size(text), Err(Fault::NotASize), "{text:?}");
        }
        for text in ["16E", "-1G", "18446744073709551616"] {
            assert_eq!(parse_size(text), Err(Fault::OutOfRange), "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_is_exact_and_says_more() {
        for (value, unit, shown) in [
            ("26843545600", "bytes", Some("25G")),
            ("512", "bytes", None),
            ("120", "s", Some("2m")),
            ("45", "s", None),
            ("30000", "ms", Some("30s")),
            ("1500", "ms", None),
            ("0", "s", None),
            ("64", "requests", None),
            ("auto", "s", None),
        ] {
            assert_eq!(show_quantity(value, unit).as_deref(), shown, "{value} {unit}");
        }
        for (number, unit) in
            [(1, TimeUnit::Ns), (90, TimeUnit::S), (7200, TimeUnit::S), (u64::MAX, TimeUnit::H)]
        {
            assert_eq!(parse_time(&show_time(number, unit), unit), Ok(number));
        }
    }
}

use std::fmt;

use serde::{Serialize, Serializer};

use super::error::Fault;
use super::quantity::{TimeUnit, parse_size, parse_time};
use super::{MAX_PATH_BYTES, MAX_STR_BYTES, ParamKind, Range};

/// A parameter's value. Its text (`Display`) parses to the same value again; in JSON it is a plain
/// `true`, number or string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `bool`.
    Bool(bool),
    /// `u32`, `u64`, `size`.
    U64(u64),
    /// `i64`.
    I64(i64),
    /// `str`, `path`.
    Str(String),
    /// `enum`.
    Enum {
        /// Place in the manifest's list.
        index: u32,
        /// The word.
        text: String,
    },
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(v) => write!(f, "{v}"),
            Value::U64(v) => write!(f, "{v}"),
            Value::I64(v) => write!(f, "{v}"),
            Value::Str(text) | Value::Enum { text, .. } => f.write_str(text),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Bool(v) => serializer.serialize_bool(*v),
            Value::U64(v) => serializer.serialize_u64(*v),
            Value::I64(v) => serializer.serialize_i64(*v),
            Value::Str(text) | Value::Enum { text, .. } => serializer.serialize_str(text),
        }
    }
}

/// The value of that kind and range that `text` stands for.
pub(super) fn parse(kind: ParamKind, range: Option<&Range>, unit: &str, text: &str) -> Result<Value, Fault> {
    let value = match kind {
        ParamKind::Bool => Value::Bool(parse_bool(text)?),
        ParamKind::U32 | ParamKind::U64 | ParamKind::Size => Value::U64(parse_in(kind, unit, text)?),
        ParamKind::I64 => Value::I64(parse_signed(text)?),
        ParamKind::Str => Value::Str(checked_text(text, MAX_STR_BYTES)?),
        ParamKind::Path if text.is_empty() => return Err(Fault::Empty),
        ParamKind::Path => Value::Str(checked_text(text, MAX_PATH_BYTES)?),
        ParamKind::Enum => parse_choice(range, text)?,
    };
    let within = match (&value, range) {
        (Value::U64(v), Some(Range::Unsigned(min, max))) => (min..=max).contains(&v),
        (Value::I64(v), Some(Range::Signed(min, max))) => (min..=max).contains(&v),
        _ => true,
    };
    if within { Ok(value) } else { Err(Fault::OutOfRange) }
}

fn parse_bool(text: &str) -> Result<bool, Fault> {
    match text {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(Fault::NotABool),
    }
}

fn checked_text(text: &str, most: usize) -> Result<String, Fault> {
    if text.len() > most {
        Err(Fault::TooLong)
    } else if text.contains('\0') {
        // Drivers in C would see only what is before it.
        Err(Fault::HasNul)
    } else {
        Ok(text.to_owned())
    }
}

fn parse_choice(range: Option<&Range>, text: &str) -> Result<Value, Fault> {
    let words = match range {
        Some(Range::Choices(words)) => words.as_slice(),
        _ => &[],
    };
    let index = words.iter().position(|word| word == text).ok_or(Fault::NotAChoice)?;
    let index = u32::try_from(index).map_err(|_| Fault::NotAChoice)?;
    Ok(Value::Enum { index, text: text.to_owned() })
}

/// A number of one of the three unsigned kinds, with the units that its own one allows.
fn parse_in(kind: ParamKind, unit: &str, text: &str) -> Result<u64, Fault> {
    let number = match (kind, unit, TimeUnit::from_name(unit)) {
        (ParamKind::U32 | ParamKind::U64, "bytes", _) => parse_size(text)?,
        (ParamKind::U32 | ParamKind::U64, _, Some(time)) => parse_time(text, time)?,
        _ => return parse_number(kind, text),
    };
    if kind == ParamKind::U32 && number > u64::from(u32::MAX) { Err(Fault::OutOfRange) } else { Ok(number) }
}

/// A number of one of the three unsigned kinds.
pub(super) fn parse_number(kind: ParamKind, text: &str) -> Result<u64, Fault> {
    match kind {
        ParamKind::Size => parse_size(text),
        ParamKind::U32 => parse_unsigned(text)
            .and_then(|v| if v <= u64::from(u32::MAX) { Ok(v) } else { Err(Fault::OutOfRange) }),
        _ => parse_unsigned(text),
    }
}

/// Digits only, or `0x` and hexadecimal digits. A whole negative number is out of range rather than
/// no number at all.
pub(super) fn parse_unsigned(text: &str) -> Result<u64, Fault> {
    match text.strip_prefix('-') {
        Some(rest) => match magnitude(rest)? {
            Some(0) => Ok(0),
            _ => Err(Fault::OutOfRange),
        },
        None => magnitude(text)?.ok_or(Fault::OutOfRange),
    }
}

pub(super) fn parse_signed(text: &str) -> Result<i64, Fault> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let number = i128::from(magnitude(digits)?.ok_or(Fault::OutOfRange)?);
    i64::try_from(if negative { -number } else { number }).map_err(|_| Fault::OutOfRange)
}

/// The number that the digits make; none when it does not fit in 64 bits.
pub(super) fn magnitude(text: &str) -> Result<Option<u64>, Fault> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(hex) => (hex, 16),
        None => (text, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(Fault::NotANumber);
    }
    Ok(u64::from_str_radix(digits, radix).ok())
}

/// Suffixes of sizes; each is 1024 times the one before.
pub(super) const SUFFIXES: [char; 6] = ['K', 'M', 'G', 'T', 'P', 'E'];

//! Values as they are written into a file.

use super::Written;
use crate::SettingsError;
use crate::text::toml_string;
use steadfast_shell::params::{MAX_STR_BYTES, ParamKind, ParamSpec, Value, show_size};

/// The form in which a value is saved: a time in the parameter's own unit, a size that was given with a unit with the
/// largest one that shows it exactly (`25G`); all else as it was given.
pub(super) fn canonical(value: &str, spec: Option<&ParamSpec>) -> String {
    let parsed = spec.map(|spec| (spec.kind, spec.parse_value(value)));
    match parsed {
        _ if is_decimal(value) || value.starts_with("0x") => value.to_owned(),
        Some((ParamKind::Size, Ok(Value::U64(bytes)))) => show_size(bytes),
        Some((_, Ok(Value::U64(number)))) => number.to_string(),
        _ => value.to_owned(),
    }
}

/// A value as TOML: numbers and booleans as such where the parameter's kind says that they are, all else
/// (sizes with a unit and hexadecimal masks too) as the string that was given.
pub(crate) fn written(value: &str, spec: Option<&ParamSpec>) -> (String, Written) {
    let integer = |n: i128| i64::try_from(n).is_ok().then(|| (n.to_string(), Written::Integer));
    let found = match spec.map(|spec| (spec.kind, spec.parse_value(value))) {
        Some((ParamKind::Bool, Ok(Value::Bool(flag)))) => Some((flag.to_string(), Written::Boolean)),
        Some((_, Ok(Value::U64(number)))) if is_decimal(value) => integer(number.into()),
        Some((_, Ok(Value::I64(number)))) if is_decimal(value) => integer(number.into()),
        Some(_) => None,
        // Of a parameter that is not known here its looks decide.
        None if value == "true" || value == "false" => Some((value.to_owned(), Written::Boolean)),
        None => {
            let number: Option<i64> = value.parse().ok();
            number.filter(|n| n.to_string() == value).map(|n| (n.to_string(), Written::Integer))
        }
    };
    found.unwrap_or_else(|| (toml_string(value), Written::String))
}

fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Whether a value can stand in a file at all. What it means is judged with the whole set.
pub(super) fn check_value(name: &str, value: &str) -> Result<(), SettingsError> {
    let fault = if value.len() > MAX_STR_BYTES {
        "it is longer than any value may be, 4096 bytes"
    } else if value.contains('\0') {
        "it has a NUL byte"
    } else {
        return Ok(());
    };
    Err(SettingsError::Value { name: name.to_owned(), value: value.to_owned(), fault })
}

use std::fmt;

use serde::{Serialize, Serializer};

use super::ParamKind;
use super::quantity::show_size;
use super::value;

/// The values that a parameter may have, where its kind allows more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Range {
    /// `u32`, `u64`, `size`: from the first to the second, both included.
    Unsigned(u64, u64),
    /// `i64`: from the first to the second, both included.
    Signed(i64, i64),
    /// `enum`: one of these.
    Choices(Vec<String>),
}

impl Range {
    /// The range that a manifest's text (`MIN..=MAX`, or `a,b,c`) means for a kind.
    ///
    /// # Errors
    /// What the text should have been.
    pub fn parse(kind: ParamKind, text: &str) -> Result<Range, String> {
        match kind {
            ParamKind::Bool | ParamKind::Str | ParamKind::Path => {
                Err(format!("no range: a {kind} parameter has none"))
            }
            ParamKind::Enum => parse_choices(text),
            ParamKind::I64 => {
                let (min, max) = bounds(text)?;
                let number = |text| value::parse_signed(text).map_err(|_| allowed(kind));
                ordered(number(min)?, number(max)?).map(|(min, max)| Range::Signed(min, max))
            }
            ParamKind::U32 | ParamKind::U64 | ParamKind::Size => {
                let (min, max) = bounds(text)?;
                let number = |text| value::parse_number(kind, text).map_err(|_| allowed(kind));
                ordered(number(min)?, number(max)?).map(|(min, max)| Range::Unsigned(min, max))
            }
        }
    }

    /// The range with its bounds as sizes: `4K..=1M`.
    pub(super) fn show_as_sizes(&self) -> String {
        match self {
            Range::Unsigned(min, max) => format!("{}..={}", show_size(*min), show_size(*max)),
            other => other.to_string(),
        }
    }
}

fn allowed(kind: ParamKind) -> String {
    format!("MIN..=MAX, both of kind {kind}")
}

fn bounds(text: &str) -> Result<(&str, &str), String> {
    text.split_once("..=").ok_or_else(|| "MIN..=MAX".to_owned())
}

fn ordered<T: PartialOrd>(min: T, max: T) -> Result<(T, T), String> {
    if min <= max { Ok((min, max)) } else { Err("MIN..=MAX with MIN not above MAX".to_owned()) }
}

/// Words of an `enum` are short, plain and different, so that they can be typed and compared.
fn parse_choices(text: &str) -> Result<Range, String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split(',') {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if word.is_empty() || word.len() > 64 || !word.bytes().all(plain) {
            return Err("words of letters, digits, '-', '_' and '.', with commas between".to_owned());
        }
        if words.iter().any(|w| w == word) {
            return Err(format!("different words ({word} is there twice)"));
        }
        words.push(word.to_owned());
        if words.len() > 256 {
            return Err("at most 256 words".to_owned());
        }
    }
    Ok(Range::Choices(words))
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Range::Unsigned(min, max) => write!(f, "{min}..={max}"),
            Range::Signed(min, max) => write!(f, "{min}..={max}"),
            Range::Choices(words) => f.write_str(&words.join(",")),
        }
    }
}

impl Serialize for Range {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

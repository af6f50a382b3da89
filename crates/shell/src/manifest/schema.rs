use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A schema of state or of a PDU: `NAME/N`, for example `file/2`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schema {
    /// Lower-case letters, digits, `-`, `_` and `.`; 1 to [`Schema::MAX_NAME`] of them.
    pub name: String,
    /// From 0 on.
    pub version: u32,
}

impl Schema {
    /// Longest name, bytes.
    pub const MAX_NAME: usize = 64;

    /// What a schema looks like, for messages.
    pub const FORM: &'static str =
        "NAME/N, NAME of lower-case letters, digits, '-', '_', '.', N a number below 2^32";

    /// Whether a text is this schema. Takes no memory, as it is asked while a port is held.
    pub fn is(&self, text: &str) -> bool {
        let parts = text.split_once('/');
        parts.is_some_and(|(name, version)| name == self.name && decimal(version) == Some(self.version))
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.version)
    }
}

impl FromStr for Schema {
    type Err = String;

    fn from_str(text: &str) -> Result<Schema, String> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
        text.split_once('/')
            .filter(|(name, _)| (1..=Schema::MAX_NAME).contains(&name.len()) && name.bytes().all(plain))
            .and_then(|(name, version)| Some((name, decimal(version)?)))
            .map(|(name, version)| Schema { name: name.to_owned(), version })
            .ok_or_else(|| Schema::FORM.to_owned())
    }
}

/// A decimal number in its one spelling, so that equal schemas are equal texts: no sign, no zero in
/// front.
pub(super) fn decimal<T: FromStr>(text: &str) -> Option<T> {
    let one_spelling = text == "0" || !text.starts_with('0');
    (one_spelling && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

impl TryFrom<String> for Schema {
    type Error = String;

    fn try_from(text: String) -> Result<Schema, String> {
        text.parse()
    }
}

impl From<Schema> for String {
    fn from(schema: Schema) -> String {
        schema.to_string()
    }
}

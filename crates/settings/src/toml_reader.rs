//! What readers of the TOML files have in common: every fault at once, each with its line.

use crate::text::Lines;
use crate::{Fault, FaultKind, Faults};
use std::path::Path;
use steadfast_shell::params::nearest;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

pub(crate) type Key<'a> = Spanned<DeString<'a>>;
pub(crate) type Value<'a> = Spanned<DeValue<'a>>;

/// In which form a value stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// As an integer.
    Integer,
    /// As `true` or `false`.
    Boolean,
    /// As a string.
    String,
}

/// A text that is being read, and what is wrong with it so far.
pub(crate) struct Reader<'t> {
    pub(crate) text: &'t str,
    pub(crate) lines: Lines,
    path: &'t Path,
    faults: Vec<Fault>,
}

impl<'t> Reader<'t> {
    /// Reads a text by `contents`, which says what is wrong by the reader's methods.
    ///
    /// # Errors
    /// Everything that is wrong, by line.
    pub(crate) fn read<T: Default>(
        path: &'t Path,
        text: &'t str,
        contents: impl FnOnce(&mut Reader<'t>, &DeTable<'_>) -> T,
    ) -> Result<T, Faults> {
        let (document, syntax) = DeTable::parse_recoverable(text);
        let mut reader = Reader { text, lines: Lines::of(text), path, faults: Vec::new() };
        let mut broken = false;
        for error in syntax {
            let span = error.span().unwrap_or(0..0);
            // Something said twice leaves the rest readable; behind another error all is guesswork.
            if error.message() == "duplicate key" {
                let name = text.get(span.clone()).unwrap_or_default().to_owned();
                reader.fault(span.start, FaultKind::Duplicate { name });
            } else {
                broken = true;
                reader.fault(span.start, FaultKind::Syntax(error.message().to_owned()));
            }
        }
        let read = if broken { T::default() } else { contents(&mut reader, document.get_ref()) };
        let mut faults = reader.faults;
        if faults.is_empty() {
            return Ok(read);
        }
        faults.sort_by_key(|fault| fault.line);
        Err(Faults(faults))
    }

    /// A value that a parameter can have, as text; none, and said, where it is something else.
    pub(crate) fn plain(&mut self, name: &str, value: &Value<'_>) -> Option<(String, Written)> {
        let found = plain(value.get_ref());
        if found.is_none() {
            self.wrong(name, value, "a string, an integer, true or false");
        }
        found
    }

    /// A key of the file itself that there is not.
    pub(crate) fn unknown(&mut self, key: &Key<'_>, keys: &[&str], allowed: &'static str) {
        let name: &str = key.get_ref();
        let hint = nearest(name, keys.iter().copied());
        let hint = hint.map(|word| format!("; did you mean {word}?")).unwrap_or_default();
        self.fault(key.span().start, FaultKind::UnknownKey { name: name.to_owned(), allowed, hint });
    }

    pub(crate) fn wrong(&mut self, name: &str, value: &Value<'_>, allowed: &'static str) {
        let written = self.text.get(value.span()).unwrap_or_default().to_owned();
        let kind = FaultKind::WrongType { name: name.to_owned(), value: written, allowed };
        self.fault(value.span().start, kind);
    }

    pub(crate) fn fault(&mut self, at: usize, kind: FaultKind) {
        self.faults.push(Fault { path: self.path.to_owned(), line: self.lines.at(at), kind });
    }
}

fn plain(value: &DeValue<'_>) -> Option<(String, Written)> {
    match value {
        DeValue::String(text) => Some((text.to_string(), Written::String)),
        DeValue::Boolean(flag) => Some((flag.to_string(), Written::Boolean)),
        DeValue::Integer(number) => {
            let value = i128::from_str_radix(number.as_str(), number.radix()).ok()?;
            // What is written in hexadecimal is a mask, and is shown as one.
            let text = if number.radix() == 16 { format!("{value:#x}") } else { value.to_string() };
            Some((text, Written::Integer))
        }
        _ => None,
    }
}

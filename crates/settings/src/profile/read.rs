//! From a profile's text to what it says, with the line and the reason of every value.

use crate::names::check_param_name;
use crate::text::{line_end, line_start};
use crate::toml_reader::{Reader, Value};
use crate::{FaultKind, Faults};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// What a profile says itself.
#[derive(Debug, Default)]
pub(super) struct Raw {
    pub(super) about: String,
    /// The profile that it extends, and at which line.
    pub(super) extends: Option<(String, u32)>,
    pub(super) values: BTreeMap<String, RawValue>,
}

#[derive(Debug)]
pub(super) struct RawValue {
    pub(super) value: String,
    pub(super) why: String,
    pub(super) line: u32,
}

const KEYS: [&str; 3] = ["about", "extends", "params"];

/// Reads a profile's text.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn read(path: &Path, text: &str) -> Result<Raw, Faults> {
    Reader::read(path, text, profile)
}

fn profile(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Raw {
    let mut raw = Raw::default();
    for (key, value) in root.iter() {
        match key.get_ref().as_ref() {
            "about" => raw.about = reader.word("about", value, "a string of one line").unwrap_or_default(),
            "extends" => {
                let line = reader.lines.at(value.span().start);
                let name = reader.word("extends", value, "a profile's name, as a string");
                raw.extends = name.map(|name| (name, line));
            }
            "params" => reader.params(value, &mut raw),
            _ => reader.unknown(key, &KEYS, "about, extends and [params]"),
        }
    }
    raw
}

impl Reader<'_> {
    fn params(&mut self, value: &Value<'_>, raw: &mut Raw) {
        let DeValue::Table(table) = value.get_ref() else {
            return self.wrong("params", value, "a table of parameters and their values");
        };
        for (key, value) in table.iter() {
            let name: &str = key.get_ref();
            if check_param_name(name).is_err() {
                self.fault(key.span().start, FaultKind::ParamName { name: name.to_owned() });
                continue;
            }
            let Some((text, _)) = self.plain(name, value) else { continue };
            let why = self.why(key.span(), value.span());
            let line = self.lines.at(key.span().start);
            raw.values.insert(name.to_owned(), RawValue { value: text, why, line });
        }
    }

    /// The comment behind a value, or else those right above it.
    fn why(&self, key: Range<usize>, value: Range<usize>) -> String {
        let behind = &self.text[value.end..line_end(self.text, value.end)];
        if let Some(comment) = behind.trim().strip_prefix('#') {
            return comment.trim().to_owned();
        }
        let mut above = Vec::new();
        let mut start = line_start(self.text, key.start);
        while start > 0 {
            let before = line_start(self.text, start - 1);
            let Some(comment) = self.text[before..start].trim().strip_prefix('#') else { break };
            above.push(comment.trim());
            start = before;
        }
        above.reverse();
        above.join(" ")
    }

    fn word(&mut self, name: &str, value: &Value<'_>, allowed: &'static str) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) if !text.contains(char::is_control) => Some(text.to_string()),
            _ => {
                self.wrong(name, value, allowed);
                None
            }
        }
    }
}

//! From a profile's text to what it says, with the line and the reason of every value.

use crate::driver_file::plain;
use crate::names::check_param_name;
use crate::text::{Lines, line_end, line_start};
use crate::{Fault, FaultKind, Faults};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use steadfast_shell::params::nearest;
use toml::Spanned;
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
    let (document, syntax) = DeTable::parse_recoverable(text);
    let mut reader = Reader { text, path, lines: Lines::of(text), faults: Vec::new() };
    for error in &syntax {
        let span = error.span().unwrap_or(0..0);
        let kind = match error.message() {
            "duplicate key" => FaultKind::Duplicate { name: text.get(span.clone()).unwrap_or("").to_owned() },
            other => FaultKind::Syntax(other.to_owned()),
        };
        reader.fault(span.start, kind);
    }
    // Behind an error of the syntax all is guesswork.
    let raw = if syntax.is_empty() { reader.profile(document.get_ref()) } else { Raw::default() };
    let mut faults = reader.faults;
    if faults.is_empty() {
        return Ok(raw);
    }
    faults.sort_by_key(|fault| fault.line);
    Err(Faults(faults))
}

struct Reader<'t> {
    text: &'t str,
    path: &'t Path,
    lines: Lines,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn profile(&mut self, root: &DeTable<'_>) -> Raw {
        let mut raw = Raw::default();
        for (key, value) in root.iter() {
            match key.get_ref().as_ref() {
                "about" => raw.about = self.word("about", value, "a string of one line").unwrap_or_default(),
                "extends" => {
                    let line = self.lines.at(value.span().start);
                    let name = self.word("extends", value, "a profile's name, as a string");
                    raw.extends = name.map(|name| (name, line));
                }
                "params" => self.params(value, &mut raw),
                other => {
                    let hint = nearest(other, KEYS.into_iter());
                    let hint = hint.map(|word| format!("; did you mean {word}?")).unwrap_or_default();
                    let allowed = "about, extends and [params]";
                    let kind = FaultKind::UnknownKey { name: other.to_owned(), allowed, hint };
                    self.fault(key.span().start, kind);
                }
            }
        }
        raw
    }

    fn params(&mut self, value: &Spanned<DeValue<'_>>, raw: &mut Raw) {
        let DeValue::Table(table) = value.get_ref() else {
            return self.wrong("params", value, "a table of parameters and their values");
        };
        for (key, value) in table.iter() {
            let name: &str = key.get_ref();
            if check_param_name(name).is_err() {
                self.fault(key.span().start, FaultKind::ParamName { name: name.to_owned() });
                continue;
            }
            let Some((text, _)) = plain(value.get_ref()) else {
                self.wrong(name, value, "a string, an integer, true or false");
                continue;
            };
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

    fn word(&mut self, name: &str, value: &Spanned<DeValue<'_>>, allowed: &'static str) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) if !text.contains(char::is_control) => Some(text.to_string()),
            _ => {
                self.wrong(name, value, allowed);
                None
            }
        }
    }

    fn wrong(&mut self, name: &str, value: &Spanned<DeValue<'_>>, allowed: &'static str) {
        let written = self.text.get(value.span()).unwrap_or_default().to_owned();
        let kind = FaultKind::WrongType { name: name.to_owned(), value: written, allowed };
        self.fault(value.span().start, kind);
    }

    fn fault(&mut self, at: usize, kind: FaultKind) {
        self.faults.push(Fault { path: self.path.to_owned(), line: self.lines.at(at), kind });
    }
}

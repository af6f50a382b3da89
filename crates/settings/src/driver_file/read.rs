//! From text to entries with lines and spans.

use super::Section;
use crate::names::{check_param_name, check_port_name};
use crate::toml_reader::{Key, Reader, Value, Written};
use crate::{FaultKind, Faults};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// The key under which a section lists what it undefines.
pub(super) const UNDEFINE: &str = "undefine";

/// What a section says of one parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Parameter.
    pub name: String,
    /// Value; none: it is undefined here.
    pub value: Option<String>,
    /// In which form the value stands there.
    pub written: Option<Written>,
    /// Line, from 1.
    pub line: u32,
    /// The key (of an entry of `undefine`: nothing), and the value.
    pub(super) key: Range<usize>,
    pub(super) span: Range<usize>,
}

/// How a section is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Under a header of its own.
    Header,
    /// `port.vol0.io_throttle = 8`.
    Dotted,
    /// `vol0 = { io_throttle = 8 }`.
    Inline,
    /// Within an inline table, and dotted there.
    Deep,
}

/// The list of what is undefined.
#[derive(Clone, Debug)]
pub(super) struct List {
    pub(super) key: Range<usize>,
    pub(super) span: Range<usize>,
    pub(super) items: Vec<Range<usize>>,
}

/// One section.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) form: Form,
    /// Header, inline table, or first key.
    pub(super) span: Range<usize>,
    pub(super) line: u32,
    pub(super) entries: Vec<Entry>,
    pub(super) undefine: Option<List>,
}

/// What a file says.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) sections: BTreeMap<Section, Body>,
}

impl Content {
    pub(super) fn parse(text: &str, path: &Path) -> Result<Content, Faults> {
        Reader::read(path, text, content)
    }

    /// What it says, without where.
    pub(super) fn meaning(&self) -> BTreeMap<(&Section, &str), Option<&str>> {
        let entries = self.sections.iter().flat_map(|(section, body)| {
            body.entries.iter().map(move |e| ((section, e.name.as_str()), e.value.as_deref()))
        });
        entries.collect()
    }
}

fn content(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Content {
    let mut content = Content::default();
    for (key, value) in root.iter() {
        match key.get_ref().as_ref() {
            "global" => {
                if let Some(body) = reader.section("global", value, false) {
                    content.sections.insert(Section::Global, body);
                }
            }
            "port" => reader.ports(value, &mut content),
            _ => reader.unknown(key, &["global", "port"], "[global] and [port.NAME]"),
        }
    }
    content
}

impl Reader<'_> {
    fn ports(&mut self, value: &Value<'_>, content: &mut Content) {
        let DeValue::Table(table) = value.get_ref() else {
            return self.wrong("port", value, "a table for each port: [port.NAME]");
        };
        let inline = self.is_inline(value);
        for (key, value) in table.iter() {
            let name: &str = key.get_ref();
            if check_port_name(name).is_err() {
                self.fault(key.span().start, FaultKind::PortName { name: name.to_owned() });
            } else if let Some(body) = self.section(&format!("port.{name}"), value, inline) {
                content.sections.insert(Section::port(name), body);
            }
        }
    }

    fn section(&mut self, name: &str, value: &Value<'_>, within_inline: bool) -> Option<Body> {
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong(name, value, "a table of parameters and their values");
            return None;
        };
        let span = value.span();
        let form = match self.text.as_bytes().get(span.start) {
            Some(b'{') => Form::Inline,
            Some(b'[') => Form::Header,
            _ if within_inline => Form::Deep,
            _ => Form::Dotted,
        };
        let line = self.lines.at(span.start);
        let mut body = Body { form, span, line, entries: Vec::new(), undefine: None };
        let mut keys: Vec<(&Key<'_>, &Value<'_>)> = table.iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in keys {
            if key.get_ref() == UNDEFINE {
                self.undefine(name, key.span(), value, &mut body);
            } else {
                body.entries.extend(self.entry(name, key, value));
            }
        }
        self.contradictions(&body);
        body.entries.sort_by_key(|entry| entry.span.start);
        Some(body)
    }

    fn entry(&mut self, section: &str, key: &Key<'_>, value: &Value<'_>) -> Option<Entry> {
        let name: &str = key.get_ref();
        if check_param_name(name).is_err() {
            self.fault(key.span().start, FaultKind::ParamName { name: name.to_owned() });
            return None;
        }
        let (text, written) = self.plain(&format!("{section}.{name}"), value)?;
        Some(Entry {
            name: name.to_owned(),
            value: Some(text),
            written: Some(written),
            line: self.lines.at(key.span().start),
            key: key.span(),
            span: value.span(),
        })
    }

    fn undefine(&mut self, section: &str, key: Range<usize>, value: &Value<'_>, body: &mut Body) {
        let allowed = "a list of parameters' names";
        let DeValue::Array(array) = value.get_ref() else {
            return self.wrong(&format!("{section}.{UNDEFINE}"), value, allowed);
        };
        let mut items = Vec::new();
        for item in array.iter() {
            let DeValue::String(name) = item.get_ref() else {
                self.wrong(&format!("{section}.{UNDEFINE}"), item, allowed);
                continue;
            };
            let (name, span) = (name.to_string(), item.span());
            if check_param_name(&name).is_err() {
                self.fault(span.start, FaultKind::ParamName { name });
            } else if body.entries.iter().any(|e| e.value.is_none() && e.name == name) {
                self.fault(span.start, FaultKind::Duplicate { name });
            } else {
                items.push(span.clone());
                let line = self.lines.at(span.start);
                body.entries.push(Entry { name, value: None, written: None, line, key: 0..0, span });
            }
        }
        body.undefine = Some(List { key, span: value.span(), items });
    }

    fn contradictions(&mut self, body: &Body) {
        for entry in body.entries.iter().filter(|e| e.value.is_none()) {
            let same = |e: &&Entry| e.value.is_some() && e.name == entry.name;
            if let Some(other) = body.entries.iter().find(same) {
                let kind = FaultKind::Contradiction { name: entry.name.clone(), defined: other.line };
                self.fault(entry.span.start, kind);
            }
        }
    }

    fn is_inline(&self, value: &Value<'_>) -> bool {
        self.text.as_bytes().get(value.span().start) == Some(&b'{')
    }
}

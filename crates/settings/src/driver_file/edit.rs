//! Edits in place.

use super::read::{Body, Content, Form, List, UNDEFINE};
use super::write::{canonical, check_value, written};
use super::{DriverFile, Section};
use crate::SettingsError;
use crate::names::{check_param_name, check_port_name};
use crate::text::{comma, line_end, line_start, newline, toml_string};
use std::collections::BTreeMap;
use std::ops::Range;
use steadfast_shell::params::ParamSpec;

/// What a file is to say: a value, or none where it is undefined.
type Meaning = BTreeMap<(Section, String), Option<String>>;

impl DriverFile {
    /// Defines a parameter in a section; says whether anything changed. `spec` decides whether the value
    /// is written as a number, a boolean or a string. A comment above it can come with a new entry.
    ///
    /// # Errors
    /// A name or value that cannot be written, or a form that cannot be edited; nothing changed then.
    pub fn set(
        &mut self,
        section: &Section,
        name: &str,
        value: &str,
        spec: Option<&ParamSpec>,
    ) -> Result<bool, SettingsError> {
        self.set_with_comment(section, name, value, spec, &[])
    }

    /// As [`DriverFile::set`]; where the entry is new these lines stand above it as comments.
    ///
    /// # Errors
    /// As [`DriverFile::set`].
    pub fn set_with_comment(
        &mut self,
        section: &Section,
        name: &str,
        value: &str,
        spec: Option<&ParamSpec>,
        comment: &[String],
    ) -> Result<bool, SettingsError> {
        check(section, name)?;
        check_value(name, value)?;
        let value = &canonical(value, spec)[..];
        let (text, form) = written(value, spec);
        if let Some(entry) = self.entry(section, name) {
            let same = |old: &str| match spec {
                Some(spec) => {
                    let (old, new) = (spec.parse_value(old), spec.parse_value(value));
                    old.is_ok() && old == new
                }
                None => false,
            };
            // What it says already stays as somebody has written it.
            let old = entry.value.as_deref();
            if old == Some(value) || (entry.written == Some(form) && old.is_some_and(same)) {
                return Ok(false);
            }
        }
        let stands = if form == super::Written::String { value.to_owned() } else { text.clone() };
        let mut wanted = self.meaning();
        wanted.insert((section.clone(), name.to_owned()), Some(stands));
        self.edit(section, name, &wanted, |file| {
            file.drop_undefined(section, name);
            match file.entry(section, name).map(|entry| entry.span.clone()) {
                Some(span) => file.splice(span, &text),
                None => file.insert(section, name, &text, comment),
            }
        })
    }

    /// Takes away what a section says of a parameter; says whether it said anything.
    ///
    /// # Errors
    /// As [`DriverFile::set`].
    pub fn unset(&mut self, section: &Section, name: &str) -> Result<bool, SettingsError> {
        if self.entry(section, name).is_none() {
            return Ok(false);
        }
        let mut wanted = self.meaning();
        wanted.remove(&(section.clone(), name.to_owned()));
        self.edit(section, name, &wanted, |file| {
            file.drop_undefined(section, name);
            file.drop_value(section, name);
        })
    }

    /// Undefines a parameter in a section: what is said elsewhere is hidden, the default shows. Says
    /// whether anything changed.
    ///
    /// # Errors
    /// As [`DriverFile::set`].
    pub fn undefine(&mut self, section: &Section, name: &str) -> Result<bool, SettingsError> {
        check(section, name)?;
        if self.entry(section, name).is_some_and(|entry| entry.value.is_none()) {
            return Ok(false);
        }
        let mut wanted = self.meaning();
        wanted.insert((section.clone(), name.to_owned()), None);
        self.edit(section, name, &wanted, |file| {
            file.drop_value(section, name);
            let item = toml_string(name);
            let list = file.body(section).and_then(|body| body.undefine.clone());
            match list {
                Some(list) => file.add_item(&list.span, list.items.last(), &item),
                None => file.insert(section, UNDEFINE, &format!("[{item}]"), &[]),
            }
        })
    }

    /// Takes a section away with all that it says and the comments in it; those above its header go with it
    /// where a blank line sets them off. Says how many entries it had.
    ///
    /// # Errors
    /// As [`DriverFile::set`].
    pub fn remove_section(&mut self, section: &Section) -> Result<usize, SettingsError> {
        let names: Vec<String> = self.entries(section).iter().map(|entry| entry.name.clone()).collect();
        let Some(body) = self.body(section) else { return Ok(0) };
        let headed = body.form == Form::Header;
        let first = names.first().map_or(UNDEFINE, String::as_str).to_owned();
        let mut wanted = self.meaning();
        wanted.retain(|(of, _), _| of != section);
        self.edit(section, &first, &wanted, |file| {
            if headed {
                return file.drop_headed(section);
            }
            for name in &names {
                file.drop_undefined(section, name);
                file.drop_value(section, name);
            }
        })?;
        Ok(names.len())
    }

    /// Takes a header away, and all up to the end of the last entry under it.
    fn drop_headed(&mut self, section: &Section) {
        let Some(body) = self.body(section) else { return };
        let last = keyed(body).last().map_or(body.span.end, |(_, value)| value.end);
        let header = line_start(&self.text, body.span.start);
        let mut end = (line_end(&self.text, last) + 1).min(self.text.len());
        let above = self.text[..header].split_inclusive('\n').rev();
        let comments: usize = above.take_while(|line| line.trim_start().starts_with('#')).map(str::len).sum();
        let blank = |text: &str| text.trim().is_empty();
        let line_before = |at: usize| &self.text[line_start(&self.text, at.saturating_sub(1))..at];
        let mut start = header;
        if comments < header && blank(line_before(header - comments)) {
            start -= comments;
        }
        // Two blank lines do not become one behind the other.
        let set_off = start > 0 && blank(line_before(start));
        if end == self.text.len() && set_off {
            start = line_start(&self.text, start - 1);
        } else if (start == 0 || set_off) && blank(&self.text[end..line_end(&self.text, end)]) {
            end = line_end(&self.text, end) + 1;
        }
        self.splice(start..end.min(self.text.len()), "");
    }

    /// Makes an edit, and takes it only if the file then says what it is to say and is as readable.
    fn edit(
        &mut self,
        section: &Section,
        name: &str,
        wanted: &Meaning,
        edit: impl FnOnce(&mut DriverFile),
    ) -> Result<bool, SettingsError> {
        let mut edited = self.clone();
        if self.body(section).is_none_or(|body| body.form != Form::Deep) {
            edit(&mut edited);
            if edited.meaning() == *wanted && Content::parse(&edited.text, &self.path).is_ok() {
                *self = edited;
                return Ok(true);
            }
        }
        Err(SettingsError::Form {
            path: self.path.clone(),
            line: self.body(section).map_or(1, |body| body.line),
            name: name.to_owned(),
            section: section.to_string(),
        })
    }

    fn meaning(&self) -> Meaning {
        let own = |((section, name), value): ((&Section, &str), Option<&str>)| {
            ((section.clone(), name.to_owned()), value.map(str::to_owned))
        };
        self.content.meaning().into_iter().map(own).collect()
    }

    fn body(&self, section: &Section) -> Option<&Body> {
        self.content.sections.get(section)
    }

    /// Puts a text in the place of another, and finds out anew where all is. What cannot be parsed then
    /// leaves nothing of what was meant, and so is not taken.
    fn splice(&mut self, span: Range<usize>, text: &str) {
        self.text.replace_range(span, text);
        self.content = Content::parse(&self.text, &self.path).unwrap_or_default();
    }

    /// Adds an entry that is not there, behind the last one of its section.
    fn insert(&mut self, section: &Section, key: &str, value: &str, comment: &[String]) {
        let line = newline(&self.text);
        let entry = format!("{key} = {value}");
        let above: String = comment.iter().map(|text| format!("# {}{line}", text.trim())).collect();
        let Some(body) = self.body(section) else {
            let mut new = String::new();
            if !self.text.is_empty() {
                new.push_str(if self.text.ends_with('\n') { line } else { "\n\n" });
            }
            new.push_str(&format!("[{section}]{line}{above}{entry}{line}"));
            let end = self.text.len();
            return self.splice(end..end, &new);
        };
        let keyed = keyed(body);
        if body.form == Form::Inline {
            let span = body.span.clone();
            let last = keyed.last().map(|(_, value)| value.clone());
            let padded = if last.is_some() { entry } else { format!(" {entry} ") };
            return self.add_item(&span, last.as_ref(), &padded);
        }
        // Written as the last one is: as far in, and with the same prefix where keys are dotted.
        let (before, behind) = match keyed.last() {
            Some((key, value)) => {
                (self.text[line_start(&self.text, key.start)..key.start].to_owned(), value.end)
            }
            None => (String::new(), body.span.end),
        };
        let indent: String = before.chars().take_while(|c| c.is_whitespace()).collect();
        let above = comment.iter().map(|text| format!("{indent}# {}{line}", text.trim())).collect::<String>();
        let end = line_end(&self.text, behind);
        let new = if end == self.text.len() {
            format!("{line}{above}{before}{entry}")
        } else {
            format!("\n{above}{before}{entry}{}", if line == "\n" { "" } else { "\r" })
        };
        self.splice(end..end, &new);
    }

    /// Takes a name out of `undefine`, and the list itself when nothing is left of it.
    fn drop_undefined(&mut self, section: &Section, name: &str) {
        let Some((body, list)) = self.body(section).and_then(|b| Some((b, b.undefine.clone()?))) else {
            return;
        };
        let undefined = |e: &&super::Entry| e.value.is_none() && e.name == name;
        let Some(entry) = body.entries.iter().find(undefined) else { return };
        let Some(at) = list.items.iter().position(|item| *item == entry.span) else { return };
        if list.items.len() == 1 && !self.text[list.span.clone()].contains('#') {
            return self.drop_pair(section, &list.key, &list.span);
        }
        let List { items, span, .. } = list;
        self.drop_item(&span, &items, &items[at].clone(), at);
    }

    fn drop_value(&mut self, section: &Section, name: &str) {
        let entry = self.entry(section, name).filter(|entry| entry.value.is_some());
        if let Some((key, span)) = entry.map(|entry| (entry.key.clone(), entry.span.clone())) {
            self.drop_pair(section, &key, &span);
        }
    }

    /// Takes a key and its value away. A comment behind them stays, as a line of its own.
    fn drop_pair(&mut self, section: &Section, key: &Range<usize>, value: &Range<usize>) {
        let Some(body) = self.body(section) else { return };
        if body.form == Form::Inline {
            let keyed = keyed(body);
            let Some(at) = keyed.iter().position(|(k, _)| k == key) else { return };
            let items: Vec<Range<usize>> = keyed.iter().map(|(_, value)| value.clone()).collect();
            let table = body.span.clone();
            return self.drop_item(&table, &items, &(key.start..value.end), at);
        }
        let start = line_start(&self.text, key.start);
        let end = line_end(&self.text, value.end);
        let rest = &self.text[value.end..end];
        if rest.trim().is_empty() {
            let end = (end + 1).min(self.text.len());
            return self.splice(start..end, "");
        }
        let indent = self.text[start..].chars().take_while(|c| *c == ' ' || *c == '\t').count();
        let comment = value.end + (rest.len() - rest.trim_start().len());
        self.splice(start + indent..comment, "");
    }

    /// Adds an item behind the last one of a list or an inline table.
    fn add_item(&mut self, list: &Range<usize>, last: Option<&Range<usize>>, item: &str) {
        match last {
            Some(last) => self.splice(last.end..last.end, &format!(", {item}")),
            None => self.splice(list.start + 1..list.start + 1, item),
        }
    }

    /// Takes an item of a list or an inline table away, with one of the commas beside it.
    fn drop_item(&mut self, list: &Range<usize>, items: &[Range<usize>], item: &Range<usize>, at: usize) {
        let blanks = |text: &str| text.len() - text.trim_start_matches([' ', '\t']).len();
        let close = list.end.saturating_sub(1).max(item.end);
        let behind = comma(&self.text, item.end..close);
        let cuts = match behind {
            Some(comma) => [item.clone(), comma..comma + 1 + blanks(&self.text[comma + 1..close])],
            None if at > 0 => {
                let from = items[at - 1].end;
                let comma = comma(&self.text, from..item.start).unwrap_or(item.start);
                let width = usize::from(comma < item.start);
                let cut = comma..comma + width + blanks(&self.text[comma + width..item.start]);
                [cut, item.clone()]
            }
            None => [item.clone(), item.end..item.end],
        };
        let mut text = self.text.clone();
        for cut in cuts.into_iter().rev() {
            text.replace_range(cut, "");
        }
        let all = self.text.len();
        self.splice(0..all, &text);
    }
}

/// Keys and values of a section in the order of the file, `undefine` among them.
fn keyed(body: &Body) -> Vec<(Range<usize>, Range<usize>)> {
    let values = body.entries.iter().filter(|e| e.value.is_some()).map(|e| (e.key.clone(), e.span.clone()));
    let list = body.undefine.iter().map(|list| (list.key.clone(), list.span.clone()));
    let mut keyed: Vec<_> = values.chain(list).collect();
    keyed.sort_by_key(|(key, _)| key.start);
    keyed
}

fn check(section: &Section, name: &str) -> Result<(), SettingsError> {
    let wrong = |what, name: &str, allowed| SettingsError::Name { what, name: name.to_owned(), allowed };
    if let Section::Port(port) = section {
        check_port_name(port).map_err(|allowed| wrong("port", port, allowed))?;
    }
    if name == UNDEFINE {
        return Err(wrong("parameter", name, "another name; this one is the list of what is undefined"));
    }
    check_param_name(name).map_err(|allowed| wrong("parameter", name, allowed))
}

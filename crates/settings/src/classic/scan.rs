//! From text to names and values. What cannot be read is passed over up to the end of its line or entry,
//! so that every fault is found.

use super::Comment;
use crate::FaultKind;

/// A name and its value, as they stand there.
pub(super) struct Assigned {
    pub(super) name: String,
    pub(super) value: String,
    /// The value is one word without quotes.
    pub(super) bare: bool,
    pub(super) line: u32,
    pub(super) comments: Vec<Comment>,
}

/// What a text has in it.
#[derive(Default)]
pub(super) struct Scanned {
    pub(super) assigned: Vec<Assigned>,
    /// Comments that stand at no entry.
    pub(super) loose: Vec<Comment>,
    pub(super) faults: Vec<(u32, FaultKind)>,
    /// What is not wrong but not likely to be meant either.
    pub(super) warnings: Vec<(u32, FaultKind)>,
}

pub(super) fn scan(text: &str) -> Scanned {
    // A byte order mark says nothing about the text that follows.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut scanner = Scanner { rest: text, line: 1, above: Vec::new(), loose: Vec::new(), last_comment: 0 };
    let mut found = Scanned::default();
    // Entries that have begun and not ended: `a=1 b=2;` is one entry with two properties.
    let mut open: Option<u32> = None;
    loop {
        scanner.space();
        let line = scanner.line;
        if scanner.rest.is_empty() {
            break;
        }
        if scanner.take(';') {
            scanner.behind(open, &mut found.assigned);
            open = None;
            continue;
        }
        match scanner.assignment() {
            Ok(assigned) => {
                // On one line it is meant so; on the next one a `;` is likely to be missing.
                if let (Some(_), Some(last)) = (open.filter(|open| *open < line), found.assigned.last()) {
                    found
                        .warnings
                        .push((last.line, FaultKind::Unended { name: last.name.clone(), next: line }));
                }
                found.assigned.push(assigned);
                open = Some(line);
            }
            Err(failed) => {
                found.faults.push(failed.fault());
                scanner.skip();
                open = None;
            }
        }
    }
    scanner.leave();
    found.loose = scanner.loose;
    if open.is_some() {
        found.faults.push(Failed::new(scanner.line, "`;` behind the value", "").fault());
    }
    found
}

/// What should stand somewhere and does not.
struct Failed {
    line: u32,
    expected: &'static str,
    found: String,
}

impl Failed {
    fn new(line: u32, expected: &'static str, found: impl Into<String>) -> Failed {
        Failed { line, expected, found: found.into() }
    }

    fn fault(self) -> (u32, FaultKind) {
        (self.line, FaultKind::Expected { expected: self.expected, found: self.found })
    }
}

struct Scanner<'t> {
    rest: &'t str,
    line: u32,
    /// Comments since the last blank line or entry.
    above: Vec<Comment>,
    loose: Vec<Comment>,
    /// Line of the last one of them.
    last_comment: u32,
}

impl<'t> Scanner<'t> {
    fn assignment(&mut self) -> Result<Assigned, Failed> {
        let line = self.line;
        // A comment belongs to what stands right under it.
        if self.last_comment + 1 < line {
            self.leave();
        }
        let comments = std::mem::take(&mut self.above);
        let name = self.word();
        if name.is_empty() {
            return Err(Failed::new(line, "a name", self.next()));
        }
        self.space();
        if !self.take('=') {
            return Err(Failed::new(self.line, "`=` behind the name", self.next()));
        }
        let (mut value, mut bare) = self.value()?;
        loop {
            self.space();
            if !self.take(',') {
                break;
            }
            let (part, _) = self.value()?;
            value.push(',');
            value.push_str(&part);
            bare = false;
        }
        self.leave();
        Ok(Assigned { name: name.to_owned(), value, bare, line, comments })
    }

    /// One value, and whether it is bare.
    fn value(&mut self) -> Result<(String, bool), Failed> {
        self.space();
        if self.rest.starts_with('"') {
            return self.quoted().map(|value| (value, false));
        }
        match self.word() {
            "" => Err(Failed::new(self.line, "a value", self.next())),
            word => Ok((word.to_owned(), true)),
        }
    }

    fn quoted(&mut self) -> Result<String, Failed> {
        let line = self.line;
        let mut value = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(value);
                }
                '\n' => break,
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('n') => value.push('\n'),
                    Some('r') => value.push('\r'),
                    Some('t') => value.push('\t'),
                    Some(c @ ('"' | '\\')) => value.push(c),
                    other => {
                        let found = format!("\\{}", other.map(String::from).unwrap_or_default());
                        return Err(Failed::new(
                            line,
                            "\\\", \\\\, \\n, \\r or \\t behind a backslash",
                            found,
                        ));
                    }
                },
                c => value.push(c),
            }
        }
        let found = self.rest.lines().next().unwrap_or_default().to_owned();
        Err(Failed::new(line, "a closing quote on the same line", found))
    }

    /// What stands up to the next space or sign.
    fn word(&mut self) -> &'t str {
        let sign = |c: char| c.is_whitespace() || matches!(c, '=' | ';' | ',' | '#' | '"');
        let (word, rest) = self.rest.split_at(self.rest.find(sign).unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    /// What stands there, for a message.
    fn next(&self) -> String {
        let end = |c: char| c.is_whitespace() || c == ';';
        let word = self.rest.split(end).next().unwrap_or_default();
        let first = self.rest.chars().next().map(String::from).unwrap_or_default();
        if word.is_empty() { first } else { word.to_owned() }
    }

    fn take(&mut self, sign: char) -> bool {
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// White space and comments.
    fn space(&mut self) {
        loop {
            let trimmed = self.rest.trim_start();
            let gone = &self.rest[..self.rest.len() - trimmed.len()];
            self.line += gone.matches('\n').count() as u32;
            self.rest = trimmed;
            if !trimmed.starts_with('#') {
                return;
            }
            let comment = trimmed.split('\n').next().unwrap_or(trimmed);
            self.rest = &trimmed[comment.len()..];
            if self.last_comment + 1 < self.line {
                self.leave();
            }
            self.last_comment = self.line;
            self.above.push(Comment { line: self.line, text: comment[1..].trim().to_owned() });
        }
    }

    /// The comments above stand at no entry.
    fn leave(&mut self) {
        self.loose.append(&mut self.above);
    }

    /// A comment behind the last entry, on its line, belongs to it.
    fn behind(&mut self, open: Option<u32>, assigned: &mut [Assigned]) {
        let spaces = self.rest.len() - self.rest.trim_start_matches([' ', '\t']).len();
        let rest = &self.rest[spaces..];
        if let (Some(_), true, Some(last)) = (open, rest.starts_with('#'), assigned.last_mut()) {
            let comment = rest.split('\n').next().unwrap_or(rest);
            last.comments.push(Comment { line: self.line, text: comment[1..].trim().to_owned() });
            self.rest = &rest[comment.len()..];
        }
    }

    /// Goes on behind the entry or at the next line, whichever comes first.
    fn skip(&mut self) {
        let end = self.rest.find(['\n', ';']).unwrap_or(self.rest.len());
        self.rest = &self.rest[end..];
        self.take(';');
    }
}

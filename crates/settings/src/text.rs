//! Small things about text and places in it.

use std::ops::Range;

/// Lines of the bytes of one text, found without counting from the start each time.
pub(crate) struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    pub(crate) fn of(text: &str) -> Lines {
        let breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
        Lines { starts: std::iter::once(0).chain(breaks).collect() }
    }

    /// Line of a byte, from 1.
    pub(crate) fn at(&self, byte: usize) -> u32 {
        u32::try_from(self.starts.partition_point(|start| *start <= byte)).unwrap_or(u32::MAX)
    }
}

/// Where the line of a byte begins.
pub(crate) fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |i| i + 1)
}

/// Where the line of a byte ends: at its line feed, or at the end of the text.
pub(crate) fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |i| at + i)
}

/// The line feed that the text uses.
pub(crate) fn newline(text: &str) -> &'static str {
    match text.find('\n') {
        Some(i) if text[..i].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

/// Where the next comma stands between two bytes, comments passed over.
pub(crate) fn comma(text: &str, within: Range<usize>) -> Option<usize> {
    let mut in_comment = false;
    for (i, b) in text.as_bytes()[within.clone()].iter().enumerate() {
        match b {
            b'\n' => in_comment = false,
            b'#' => in_comment = true,
            b',' if !in_comment => return Some(within.start + i),
            _ => {}
        }
    }
    None
}

/// A text as a TOML basic string.
pub(crate) fn toml_string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let text = "a\nbc\n";
        let lines = Lines::of(text);
        assert_eq!([0, 1, 2, 4, 5].map(|i| lines.at(i)), [1, 1, 2, 2, 3]);
        assert_eq!((line_start(text, 3), line_end(text, 3), line_end(text, 5)), (2, 4, 5));
        assert_eq!((newline(text), newline("a\r\nb"), newline("")), ("\n", "\r\n", "\n"));
        let list = "x # a, b\n, y";
        assert_eq!(comma(list, 1..list.len()), Some(9));
        assert_eq!(comma(list, 1..8), None);
    }

    #[test]
    fn strings_are_toml() {
        for text in ["", "a", "\"\\", "tab\tnew\nline\r", "\u{0}\u{7f}\u{85}", "ä€😀"] {
            let document = format!("k = {}", toml_string(text));
            let table = toml::de::DeTable::parse(&document).expect("TOML");
            let value = table.get_ref().get("k").expect("there").get_ref().as_str();
            assert_eq!(value, Some(text));
        }
    }
}

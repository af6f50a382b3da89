use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Columns that a table takes at most.
const COLUMNS: usize = 120;
/// Lines that a cell takes at most; what is longer is cut, and ends with `…`.
const CELL_LINES: usize = 6;
/// Between two columns.
const GAP: usize = 2;

/// What [`wide`] has set.
static LIMIT: AtomicUsize = AtomicUsize::new(COLUMNS);

/// From here on tables are as wide as what is in them: a line for each row, and nothing is cut.
pub(crate) fn wide() {
    LIMIT.store(usize::MAX, Ordering::Relaxed);
}

/// Text in columns: the first column to the left, columns that hold numbers to the right.
///
/// No line has more than 120 columns, unless [`wide`] was asked for. Where the text would, the widest columns of text
/// become narrower first, and a cell goes on in the next line: after a space, a slash or a comma where there is one.
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings. A heading that begins with `>` is of a column of numbers.
    pub(crate) fn new(head: &[&'static str]) -> Table {
        Table { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, a cell for each heading.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let one_line = |cell: String| if cell.contains('\n') { cell.replace('\n', " ") } else { cell };
        let mut cells: Vec<String> = cells.into_iter().map(|cell| one_line(cell.into())).collect();
        cells.resize(self.head.len(), String::new());
        self.rows.push(cells);
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, limit: usize) -> fmt::Result {
        let head: Vec<&str> = self.head.iter().map(|h| h.trim_start_matches('>')).collect();
        let widths = self.widths(&head, limit);
        self.write_row(f, &head, &widths)?;
        for row in &self.rows {
            let cells: Vec<Vec<String>> =
                row.iter().zip(&widths).map(|(cell, width)| fold(cell, *width)).collect();
            for at in 0..cells.iter().map(Vec::len).max().unwrap_or(1) {
                let line: Vec<&str> =
                    cells.iter().map(|cell| cell.get(at).map_or("", String::as_str)).collect();
                self.write_row(f, &line, &widths)?;
            }
        }
        Ok(())
    }

    fn write_row(&self, f: &mut fmt::Formatter<'_>, cells: &[&str], widths: &[usize]) -> fmt::Result {
        let mut text = String::new();
        for (i, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let gap = if i == 0 { 0 } else { GAP };
            if self.head[i].starts_with('>') {
                text.push_str(&format!("{:gap$}{cell:>width$}", ""));
            } else {
                text.push_str(&format!("{:gap$}{cell:<width$}", ""));
            }
        }
        writeln!(f, "{}", text.trim_end())
    }

    /// What each column takes, so that the whole fits.
    fn widths(&self, head: &[&str], limit: usize) -> Vec<usize> {
        let heads: Vec<usize> = head.iter().map(|head| head.chars().count()).collect();
        let whole = |i: usize| {
            self.rows.iter().map(|row| row[i].chars().count()).chain([heads[i]]).max().unwrap_or(0)
        };
        let whole: Vec<usize> = (0..head.len()).map(whole).collect();
        let room = limit.saturating_sub(GAP * head.len().saturating_sub(1));
        // Numbers stay whole as long as narrower text is enough.
        for numbers_too in [false, true] {
            let capped = |cap: usize| -> Vec<usize> {
                let one = |i: usize| match numbers_too || !self.head[i].starts_with('>') {
                    true => whole[i].min(cap.max(heads[i])),
                    false => whole[i],
                };
                (0..head.len()).map(one).collect()
            };
            let most = whole.iter().copied().max().unwrap_or(0).min(room);
            let fits = (1..=most).rev().map(capped).find(|widths| widths.iter().sum::<usize>() <= room);
            if let Some(widths) = fits {
                return widths;
            }
        }
        heads
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, LIMIT.load(Ordering::Relaxed))
    }
}

/// A cell in lines of at most `width` characters; those after the first are as far in as it is.
fn fold(cell: &str, width: usize) -> Vec<String> {
    let chars: Vec<char> = cell.chars().collect();
    if chars.len() <= width {
        return vec![cell.to_owned()];
    }
    let indent = chars.iter().take_while(|c| **c == ' ').count().min(width / 2);
    let mut lines: Vec<String> = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let indent = if lines.is_empty() { 0 } else { indent };
        let room = width - indent;
        let end =
            if chars.len() - at <= room { chars.len() } else { at + break_at(&chars[at..at + room + 1]) };
        let line: String = chars[at..end].iter().collect();
        lines.push(format!("{:indent$}{}", "", line.trim_end()));
        at = end + chars[end..].iter().take_while(|c| **c == ' ').count();
    }
    if lines.len() > CELL_LINES {
        lines.truncate(CELL_LINES);
        let last = &mut lines[CELL_LINES - 1];
        while last.chars().count() >= width {
            last.pop();
        }
        last.push('…');
    }
    lines
}

/// Where a line ends whose characters, and the one after them, these are: behind the last place at which a reader would
/// break it, but not so early that most of it stays empty.
fn break_at(chars: &[char]) -> usize {
    let room = chars.len() - 1;
    let good =
        |end: &usize| chars[*end] == ' ' || matches!(chars[end - 1], ' ' | '/' | ',' | ';' | ':' | '=');
    (room.div_ceil(3).max(1)..=room).rev().find(good).unwrap_or(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(table: &Table, limit: usize) -> String {
        struct At<'a>(&'a Table, usize);
        impl fmt::Display for At<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.write(f, self.1)
            }
        }
        At(table, limit).to_string()
    }

    fn widest(text: &str) -> usize {
        text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["NAME", ">SIZE", "DRIVER"]);
        table.row(["vol0", "1.0 GiB", "file 1.0.0"]);
        table.row(["a-long-name", "64 MiB", "ram 1.0.0"]);
        let text = "NAME            SIZE  DRIVER\n\
                    vol0         1.0 GiB  file 1.0.0\n\
                    a-long-name   64 MiB  ram 1.0.0\n";
        assert_eq!(table.to_string(), text);
    }

    #[test]
    fn what_is_too_wide_goes_on_in_the_next_line_and_is_whole() {
        let mut table = Table::new(&["PORT", ">RECEIPT", "WHY"]);
        table.row(["vol0", "17", "driver file: /srv/disks/vol0.img: No such file or directory"]);
        let text = "PORT  RECEIPT  WHY\n\
                    vol0       17  driver file: /srv/\n\
                    \x20              disks/vol0.img: No\n\
                    \x20              such file or\n\
                    \x20              directory\n";
        assert_eq!(at(&table, 34), text);
        assert_eq!(at(&table, usize::MAX).lines().count(), 2);
    }

    #[test]
    fn a_cell_without_end_is_cut_and_shows_it() {
        let mut table = Table::new(&["NAME", "VALUE"]);
        table.row(["  x".to_owned(), "y".repeat(4096)]);
        let text = at(&table, COLUMNS);
        assert_eq!((text.lines().count(), widest(&text)), (1 + CELL_LINES, COLUMNS));
        assert!(text.ends_with("y…\n"), "{text}");
        assert!(at(&table, usize::MAX).contains(&"y".repeat(4096)), "whole");
    }

    #[test]
    fn no_table_is_wider_than_it_may_be() {
        let heads: [&[&str]; 4] = [
            &["PORT", "ADAPTER", ">NUMBER", "DRIVER", "STATE", "ADMIN", ">GENERATION", "DEVICES", ">CLIENTS"],
            &["NAME", "CURRENT", "SAVED", "DEFAULT", "UNIT", "CLASS", "SCOPE", "BY", "SOURCE"],
            &["  NAME", "CURRENT", "SAVED", "CLASS", "EFFECT", "SOURCE"],
            &[
                ">CLIENT",
                "PEER",
                "DEVICE",
                "SINCE",
                ">IN FLIGHT",
                ">UNSENT",
                ">REQUESTS",
                ">RECEIVED",
                ">SENT",
            ],
        ];
        for head in heads {
            for length in [0, 1, 11, 12, 13, 63, 119, 120, 121, 4096] {
                for filler in ["x", "é ", "a/b", "word, ", " "] {
                    let mut table = Table::new(head);
                    table.row(
                        head.iter().map(|_| filler.repeat(length).chars().take(length).collect::<String>()),
                    );
                    table.row(
                        head.iter().enumerate().map(|(i, _)| "z".repeat(if i % 2 == 0 { length } else { 1 })),
                    );
                    let text = at(&table, COLUMNS);
                    assert!(widest(&text) <= COLUMNS, "{length} of {filler:?}: {text}");
                }
            }
        }
        let mut table = Table::new(&["NAME"]);
        table.row(["two\nlines"]);
        assert_eq!(table.to_string(), "NAME\ntwo lines\n");
    }
}

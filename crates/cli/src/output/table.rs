use std::fmt;

/// Text in columns: the first column to the left, columns that hold numbers to the right.
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
        let mut cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        cells.resize(self.head.len(), String::new());
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head: Vec<&str> = self.head.iter().map(|h| h.trim_start_matches('>')).collect();
        let width = |i: usize| {
            let cells = self.rows.iter().map(|row| row[i].chars().count());
            cells.chain([head[i].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let mut line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut text = String::new();
            for (i, cell) in cells.enumerate() {
                let gap = if i == 0 { "" } else { "  " };
                let width = widths[i];
                if self.head[i].starts_with('>') {
                    text.push_str(&format!("{gap}{cell:>width$}"));
                } else {
                    text.push_str(&format!("{gap}{cell:<width$}"));
                }
            }
            writeln!(f, "{}", text.trim_end())
        };
        line(&mut head.iter().copied())?;
        for row in &self.rows {
            line(&mut row.iter().map(String::as_str))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}

//! Columns for a terminal: as wide as their widest text, and never broken by what is in them.

use std::fmt;

/// The widest a column gets, unless it is told otherwise; what is longer is cut.
const MAX_WIDTH: usize = 40;

/// Rows under headings.
pub(super) struct Table {
    widest: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these headings.
    pub(super) fn new(headings: &[&str]) -> Self {
        Self { widest: MAX_WIDTH, rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()] }
    }

    /// With columns of up to this many characters.
    pub(super) fn up_to(self, widest: usize) -> Self {
        Self { widest, ..self }
    }

    /// Adds a row of as many cells.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| cut(&one_line(cell), self.widest)).collect());
    }
}

/// Control characters in somebody's agent name must not move the cursor of our reader.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn cut(text: &str, widest: usize) -> String {
    if text.chars().count() <= widest {
        return text.to_owned();
    }
    text.chars().take(widest - 1).chain(['…']).collect()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_is_in_them() {
        let mut table = Table::new(&["A", "B"]);
        table.row(["ü".into(), "x".into()]);
        table.row(["two\nlines\u{1b}[31m".into(), "y".repeat(60)]);
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].find('B'), Some(16));
        assert_eq!(lines[1].chars().nth(16), Some('x'));
        assert!(lines[2].ends_with('…') && !lines[2].contains('\u{1b}'));
    }
}

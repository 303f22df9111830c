//! What came out, as a table.

use std::fmt;

use super::row::{NotApplicable, Row};
use crate::fail::fail;

/// The outcome of every cell. Its `Display` form is the table, with the reasons below.
#[derive(Clone, Debug)]
#[must_use = "a report that nobody reads fails no test"]
pub struct Report {
    columns: Vec<Column>,
}

#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) marks: Vec<(Row, Mark)>,
}

#[derive(Clone, Debug)]
pub(super) enum Mark {
    Passed,
    Failed(String),
    NotApplicable(NotApplicable),
}

impl Report {
    pub(super) fn new(columns: Vec<Column>) -> Self {
        Self { columns }
    }

    /// Whether there is a transport and none of its cells failed.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        !self.columns.is_empty() && self.failures().is_empty()
    }

    /// The transport, row and message of every failed cell.
    #[must_use]
    pub fn failures(&self) -> Vec<(&str, Row, &str)> {
        let mut failures = Vec::new();
        for column in &self.columns {
            for (row, mark) in &column.marks {
                if let Mark::Failed(message) = mark {
                    failures.push((column.name.as_str(), *row, message.as_str()));
                }
            }
        }
        failures
    }

    /// Ends the test if a cell failed.
    ///
    /// # Panics
    /// When a cell failed or is missing, or there is no transport at all, with the table.
    #[track_caller]
    pub fn assert_passed(&self) {
        if !self.is_passed() {
            fail(&format!("the matrix has not passed\n{self}"));
        }
    }

    /// The reasons for which cells were left out, numbered as in the table.
    fn reasons(&self) -> Vec<NotApplicable> {
        let mut reasons = Vec::new();
        for (_, mark) in self.columns.iter().flat_map(|column| &column.marks) {
            if let Mark::NotApplicable(why) = mark
                && !reasons.contains(why)
            {
                reasons.push(*why);
            }
        }
        reasons
    }
}

// === impl Report ===

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons = self.reasons();
        let titles = Row::ALL.iter().map(|row| row.title().chars().count());
        let first = titles.max().unwrap_or_default();
        write!(f, "{:first$}", "")?;
        for column in &self.columns {
            write!(f, "  {}", column.name)?;
        }
        writeln!(f)?;
        for (index, row) in Row::ALL.iter().enumerate() {
            let mut line = format!("{row:first$}");
            for column in &self.columns {
                let width = column.name.chars().count();
                let mark = match column.marks.get(index).map(|(_, mark)| mark) {
                    Some(Mark::Passed) => "✓".to_owned(),
                    Some(Mark::NotApplicable(why)) => {
                        let number = reasons.iter().position(|reason| reason == why);
                        format!("n/a {}", number.unwrap_or_default() + 1)
                    }
                    Some(Mark::Failed(_)) | None => "✗".to_owned(),
                };
                line.push_str(&format!("  {mark:width$}"));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        for (reason, number) in reasons.iter().zip(1..) {
            writeln!(f, "n/a {number}: {reason}")?;
        }
        for (transport, row, message) in self.failures() {
            writeln!(f, "✗ {transport}, {row}: {message}")?;
        }
        Ok(())
    }
}

//! What goes to standard output: tables for people, JSON for programs.

use std::io::{self, Write as _};

use portreeve_types::UnixMillis;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    cli::{Global, Output},
    failure::Failure,
};

/// Writes a line to standard output.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
        _ => Failure::Refused(format!("cannot write to standard output: {error}")),
    })
}

/// Writes a remark to standard error, where it does not disturb what is piped on.
pub(crate) fn remark(text: &str) {
    // A closed standard error is the user's choice.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Writes a value as indented JSON.
pub(crate) fn say_json(value: &Value) -> Result<(), Failure> {
    say(&format!("{value:#}"))
}

/// Writes what the hub answered: as it is, or rendered for people. What waits for a second person is said to.
pub(crate) fn show(global: &Global, result: &Value, render: impl Fn(&Value) -> String) -> Result<(), Failure> {
    match (global.output, result["waits_for_approval"].as_u64()) {
        (Output::Json, _) => say_json(result),
        (Output::Table, Some(number)) => {
            say(&format!("Nothing is done yet: somebody else has to consent, with `portreeve approval grant {number}`"))
        }
        (Output::Table, None) => say(&render(result)),
    }
}

/// The rows of an array in the hub's answer, cell by cell.
pub(crate) fn rows(result: &Value, row: impl Fn(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    result.as_array().map(|rows| rows.iter().map(row).collect()).unwrap_or_default()
}

/// Rows in aligned columns. A column whose cells are all numbers is aligned to the right.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let columns: Vec<Column> = (0..head.len()).map(|at| Column::of(head, rows, at)).collect();
    let mut text = String::new();
    let head = head.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let cells: Vec<String> = columns.iter().zip(row).map(|(column, cell)| column.pad(cell)).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

struct Column {
    width: usize,
    numbers: bool,
}

impl Column {
    fn of(head: &[&str], rows: &[Vec<String>], at: usize) -> Self {
        let cells = || rows.iter().filter_map(|row| row.get(at));
        let width = cells().map(|cell| cell.chars().count()).chain([head[at].chars().count()]).max().unwrap_or(0);
        let numeric = |cell: &String| cell.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '%'));
        Self { width, numbers: !rows.is_empty() && cells().all(numeric) }
    }

    fn pad(&self, cell: &str) -> String {
        let width = self.width;
        if self.numbers { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
    }
}

/// Names and values, one a line.
pub(crate) fn list(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("{name:<width$}  {value}").trim_end().to_owned() + "\n").collect()
}

/// A field of the hub's answer as a cell.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        other => other.to_string(),
    }
}

/// Milliseconds since the epoch, for people; `never` for null.
pub(crate) fn instant(value: &Value) -> String {
    let Some(ms) = value.as_u64() else { return "never".into() };
    let seconds = i64::try_from(UnixMillis(ms).seconds()).ok();
    let formatted = seconds
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok());
    formatted.unwrap_or_else(|| format!("{ms} ms"))
}

/// A length of time in its two largest units.
pub(crate) fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_numbers_stand_right() {
        let rows =
            vec![vec!["sessions_total".into(), "7".into(), "100".into()], vec!["a".into(), "10".into(), "5".into()]];
        let expected = "LIMIT           USED   OF\nsessions_total     7  100\na                 10    5\n";
        assert_eq!(table(&["LIMIT", "USED", "OF"], &rows), expected);
    }

    #[test]
    fn a_table_without_rows_is_its_head() {
        assert_eq!(table(&["NAME", "KIND"], &[]), "NAME  KIND\n");
    }

    #[test]
    fn times_are_for_people() {
        assert_eq!(instant(&Value::from(1_700_000_000_123_u64)), "2023-11-14T22:13:20Z");
        assert_eq!(instant(&Value::Null), "never");
        assert_eq!([5, 65, 3_600, 90_061].map(span), ["5s", "1m 5s", "1h 0m", "1d 1h"].map(String::from));
    }

    #[test]
    fn a_list_aligns_its_values() {
        assert_eq!(
            list(&[("a", "1".into()), ("long", "2".into()), ("none", String::new())]),
            "a     1\nlong  2\nnone\n"
        );
    }
}

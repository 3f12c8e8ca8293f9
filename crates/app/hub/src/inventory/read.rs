//! A file becomes entries, or every problem in it is told with its line.

mod csv;
mod json;

use std::{collections::BTreeSet, fmt, str::FromStr};

use hashbrown::HashMap;
use portreeve_types::{IdentityName, Kind};

use super::{COLUMNS, FILE_BYTES_MAX, FILE_ROWS_MAX, Problems};
use crate::registry::{FIELD_CHARS_MAX, Fields, is_field};

/// What a file says of one identity. Only [`read`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub(crate) line: u64,
    /// Its name; no other entry of the file has it.
    pub(crate) name: IdentityName,
    /// What it is, if the file says so.
    pub(crate) kind: Option<Kind>,
    /// What is known of it. A column that the file lacks leaves a field as it is, an empty cell clears it.
    pub(crate) fields: Fields,
}

impl Entry {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &IdentityName {
        &self.name
    }

    /// The fields that the file has.
    #[must_use]
    pub fn fields(&self) -> &Fields {
        &self.fields
    }
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// In the order of the file.
    pub entries: Vec<Entry>,
    /// Columns that it has and that an import passes over.
    pub passed_over: BTreeSet<&'static str>,
}

/// Reads CSV, or JSON if the first character is a `[`.
///
/// # Errors
/// Everything that is wrong, up to the point behind which nothing can be made out.
pub fn read(text: &str) -> Result<List, Problems> {
    let (list, problems) = read_good(text);
    if problems.is_empty() { Ok(list) } else { Err(problems) }
}

/// The entries that are good by themselves, and everything that is wrong with the others: so that what the registry has
/// against the good ones is told at once with it.
pub(crate) fn read_good(text: &str) -> (List, Problems) {
    // Spreadsheets mark UTF-8 so.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader::default();
    if text.len() > FILE_BYTES_MAX {
        reader.problems.add(1, "", format_args!("the file has more than {FILE_BYTES_MAX} bytes; split it"));
    } else if text.trim_start().starts_with('[') {
        json::read(text, &mut reader);
    } else {
        csv::read(text, &mut reader);
    }
    (reader.list, reader.problems)
}

/// Collects entries and problems.
#[derive(Default)]
struct Reader {
    list: List,
    problems: Problems,
    rows: usize,
    lines: HashMap<IdentityName, u64>,
}

impl Reader {
    /// Whether there may be one more row; says so if not.
    fn has_room(&mut self, line: u64) -> bool {
        self.rows += 1;
        if self.rows > FILE_ROWS_MAX {
            self.problems.add(line, "", format_args!("the file has more than {FILE_ROWS_MAX} identities; split it"));
        }
        self.rows <= FILE_ROWS_MAX
    }

    /// One row: the columns that it has, each once, and their texts.
    fn row<'a>(&mut self, line: u64, cells: impl Iterator<Item = (&'static str, &'a str)>) {
        let (mut name, mut kind, mut fields) = (None::<IdentityName>, None, Fields::default());
        let before = self.problems.len();
        for (column, text) in cells {
            match column {
                "name" => name = self.sound(line, column, parse(text)),
                "kind" => kind = if text.is_empty() { None } else { self.sound(line, column, parse(text)) },
                _ => self.field(line, column, text, &mut fields),
            }
        }
        if self.problems.len() > before {
            return;
        }
        let Some(name) = name else {
            return self.problems.add(line, "name", format_args!("it is missing"));
        };
        if let Some(first) = self.lines.insert(name.clone(), line) {
            return self.problems.add(line, "name", format_args!("`{name}` stands on line {first} already"));
        }
        self.list.entries.push(Entry { line, name, kind, fields });
    }

    fn field(&mut self, line: u64, column: &'static str, text: &str, fields: &mut Fields) {
        let Some(field) = slot(fields, column) else {
            self.list.passed_over.insert(column);
            return;
        };
        if is_field(text) {
            *field = Some(text.to_owned());
        } else {
            let detail = format_args!("it must have at most {FIELD_CHARS_MAX} characters, and no control characters");
            self.problems.add(line, column, detail);
        }
    }

    fn sound<T>(&mut self, line: u64, column: &str, parsed: Result<T, String>) -> Option<T> {
        parsed.map_err(|why| self.problems.add(line, column, format_args!("{why}"))).ok()
    }

    /// The column that a header or key names, unless it is unknown.
    fn column(&mut self, line: u64, text: &str) -> Option<&'static str> {
        let known = COLUMNS.into_iter().find(|column| *column == text);
        if known.is_none() {
            self.problems.add(line, "", format_args!("there is no column `{text:.80}`; there are {ColumnNames}"));
        }
        known
    }
}

fn parse<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

fn slot<'a>(fields: &'a mut Fields, column: &str) -> Option<&'a mut Option<String>> {
    match column {
        "group" => Some(&mut fields.group),
        "owner" => Some(&mut fields.owner),
        "location" => Some(&mut fields.location),
        "model" => Some(&mut fields.model),
        "firmware" => Some(&mut fields.firmware),
        "notes" => Some(&mut fields.notes),
        _ => None,
    }
}

/// Written only where it is told.
struct ColumnNames;

impl fmt::Display for ColumnNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&COLUMNS.join(", "))
    }
}

/// Counts lines on the way through a text.
#[derive(Debug)]
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, line: 1 }
    }

    /// The line, from 1, of a place at or behind the last one that was asked for.
    fn of(&mut self, at: usize) -> u64 {
        let passed = self.text.as_bytes().get(self.at..at).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at = self.at.max(at);
        self.line
    }
}

#[cfg(test)]
mod tests;

//! TOML with the place of everything, read so that every problem is told and nothing is passed over.

use std::{collections::BTreeMap, fmt, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::Line;

/// Problems that are told of one text; whoever mends these sees the rest.
const PROBLEMS_MAX: usize = 64;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, and what is expected.
    pub message: Line<400>,
}

/// Everything that is wrong with a settings file; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// The file as it was named.
    pub file: String,
    /// What is wrong, in the order of the text.
    pub problems: Vec<Problem>,
}

impl std::error::Error for SettingsError {}

impl fmt::Display for SettingsError {
    /// One line a problem: `file:line:column: message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Problem { line, column, message }) in self.problems.iter().enumerate() {
            let line_end = if at == 0 { "" } else { "\n" };
            write!(f, "{line_end}{}:{line}:{column}: {message}", self.file)?;
        }
        Ok(())
    }
}

/// Where something stands, in bytes.
pub(super) type Span = Range<usize>;
type Value<'t> = Spanned<DeValue<'t>>;

/// Collects what is wrong with a text.
pub(super) struct Reader<'t> {
    text: &'t str,
    problems: Vec<(Span, String)>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, problems: Vec::new() }
    }

    pub(super) fn problem(&mut self, span: Span, message: impl Into<String>) {
        self.problems.push((span, message.into()));
    }

    /// The whole text as one table.
    pub(super) fn parse(&mut self) -> Option<Table<'t>> {
        match DeTable::parse(self.text) {
            Ok(table) => Some(Table::new(0..0, table.into_inner())),
            Err(error) => {
                self.problem(error.span().unwrap_or(0..0), error.message());
                None
            }
        }
    }

    /// `value`, unless something was wrong.
    pub(super) fn finish<T>(mut self, file: &str, value: Option<T>) -> Result<T, SettingsError> {
        match value {
            Some(value) if self.problems.is_empty() => return Ok(value),
            _ => self.problems.sort_by_key(|(span, _)| span.start),
        }
        self.problems.truncate(PROBLEMS_MAX);
        let problems = self.problems.iter().map(|(span, message)| {
            let (line, column) = place(self.text, span.start);
            Problem { line, column, message: Line::new(message) }
        });
        Err(SettingsError { file: file.to_owned(), problems: problems.collect() })
    }
}

/// Line and column, both from 1, of a byte offset; the column counts characters.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// A table whose keys are taken one by one; what is left at the end is unknown.
pub(super) struct Table<'t> {
    pub(super) span: Span,
    entries: BTreeMap<String, (Span, Value<'t>)>,
    asked: Vec<&'static str>,
}

impl<'t> Table<'t> {
    fn new(span: Span, table: DeTable<'t>) -> Self {
        let entries = table.into_iter().map(|(key, value)| {
            let key_span = key.span();
            (key.into_inner().into_owned(), (key_span, value))
        });
        Self { span, entries: entries.collect(), asked: Vec::new() }
    }

    fn take(&mut self, key: &'static str) -> Option<Value<'t>> {
        self.asked.push(key);
        self.entries.remove(key).map(|(_, value)| value)
    }

    /// The tables of `[[key]]`, at most `count_max`.
    pub(super) fn tables(&mut self, reader: &mut Reader<'_>, key: &'static str, count_max: usize) -> Vec<Table<'t>> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let span = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            reader.problem(span, format!("write [[{key}]] and its keys below"));
            return Vec::new();
        };
        if items.len() > count_max {
            reader.problem(span, format!("at most {count_max} of [[{key}]]"));
            return Vec::new();
        }
        let mut tables = Vec::new();
        for item in items {
            let span = item.span();
            match item.into_inner() {
                DeValue::Table(table) => tables.push(Table::new(span, table)),
                _ => reader.problem(span, format!("write [[{key}]] and its keys below")),
            }
        }
        tables
    }

    /// A text that `parse` makes something of, or says what is wrong with.
    pub(super) fn text<T, E: fmt::Display>(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.take(key)?;
        let span = value.span();
        let Some(text) = value.get_ref().as_str() else {
            reader.problem(span, format!("{key}: a text in quotes is expected"));
            return None;
        };
        parse(text).map_err(|why| reader.problem(span, format!("{key}: {why}"))).ok()
    }

    /// The same, which has to be there.
    pub(super) fn required<T, E: fmt::Display>(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        if !self.entries.contains_key(key) {
            self.asked.push(key);
            reader.problem(self.span.clone(), format!("`{key}` is missing"));
            return None;
        }
        self.text(reader, key, parse)
    }

    /// A list of texts of at most `count_max`, each with its place.
    pub(super) fn texts<T, E: fmt::Display>(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        count_max: usize,
        mut parse: impl FnMut(&str) -> Result<T, E>,
    ) -> Option<Vec<(Span, T)>> {
        let value = self.take(key)?;
        let span = value.span();
        let items = value.get_ref().as_array().filter(|items| (1..=count_max).contains(&items.len()));
        let Some(items) = items else {
            reader.problem(span, format!("{key}: a list of 1 to {count_max} texts is expected"));
            return None;
        };
        let mut texts = Vec::new();
        for item in items.iter() {
            match item.get_ref().as_str().ok_or("a text in quotes is expected".to_owned()).map(&mut parse) {
                Ok(Ok(parsed)) => texts.push((item.span(), parsed)),
                Ok(Err(why)) => reader.problem(item.span(), format!("{key}: {why}")),
                Err(why) => reader.problem(item.span(), format!("{key}: {why}")),
            }
        }
        Some(texts)
    }

    /// A whole number within bounds, or `default`.
    pub(super) fn number(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        bounds: std::ops::RangeInclusive<u32>,
        default: u32,
    ) -> u32 {
        let Some(value) = self.take(key) else { return default };
        let number = value.get_ref().as_integer().and_then(|n| u32::from_str_radix(n.as_str(), n.radix()).ok());
        if let Some(number) = number.filter(|number| bounds.contains(number)) {
            return number;
        }
        let (from, to) = bounds.into_inner();
        reader.problem(value.span(), format!("{key}: a number from {from} to {to} is expected"));
        default
    }

    /// A date without a time, which has to be there.
    pub(super) fn date(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Option<time::Date> {
        let Some(value) = self.take(key) else {
            reader.problem(self.span.clone(), format!("`{key}` is missing"));
            return None;
        };
        let date = value.get_ref().as_datetime().filter(|date| date.time.is_none() && date.offset.is_none());
        let date = date.and_then(|datetime| datetime.date).and_then(|date| {
            let month = time::Month::try_from(date.month).ok()?;
            time::Date::from_calendar_date(i32::from(date.year), month, date.day).ok()
        });
        if date.is_none() {
            reader.problem(value.span(), format!("{key}: a date such as 2026-11-22, without quotes, is expected"));
        }
        date
    }

    /// Tells what nobody asked for.
    pub(super) fn finish(self, reader: &mut Reader<'_>) {
        for (key, (span, _)) in self.entries {
            let known = self.asked.join(", ");
            reader.problem(span, format!("unknown key `{}`; there are: {known}", Line::<80>::new(&key)));
        }
    }
}

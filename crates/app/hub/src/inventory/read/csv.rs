//! Comma-separated values, RFC 4180, with a header.

use std::collections::BTreeSet;

use csv::{ReaderBuilder, StringRecord};

use super::{ColumnNames, Lines, Reader};
use crate::inventory::{COLUMNS, formula};

pub(super) fn read(text: &str, into: &mut Reader) {
    // Rows of another length are our own problem to tell: the library would stop at the first.
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let (mut record, mut lines) = (StringRecord::new(), Lines::new(text));
    let mut header: Option<Vec<&'static str>> = None;
    loop {
        let begin = offset(&reader);
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return into.problems.add(lines.of(begin), "", format_args!("{error}")),
        }
        let raw = text.get(begin..offset(&reader)).unwrap_or_default();
        // Empty lines before it belong to no row.
        let line = lines.of(begin + raw.len() - raw.trim_start_matches(['\r', '\n']).len());
        if raw.bytes().filter(|byte| *byte == b'"').count() % 2 == 1 {
            into.problems.add(
                line,
                "",
                format_args!("a quotation mark is not closed; one inside a quoted cell is doubled"),
            );
            continue;
        }
        let Some(columns) = &header else {
            let Some(columns) = read_header(line, &record, into) else { return };
            header = Some(columns);
            continue;
        };
        if !into.has_room(line) {
            return;
        }
        if record.len() == columns.len() {
            into.row(line, columns.iter().copied().zip(record.iter().map(formula::unguard)));
        } else {
            let (has, wanted) = (record.len(), columns.len());
            into.problems.add(line, "", format_args!("{has} cells; the header names {wanted} columns"));
        }
    }
    if header.is_none() {
        into.problems.add(
            1,
            "",
            format_args!("the file is empty; its first line names the columns, such as name,kind,group"),
        );
    }
}

fn offset(reader: &csv::Reader<&[u8]>) -> usize {
    // It lies inside the text.
    usize::try_from(reader.position().byte()).unwrap_or(usize::MAX)
}

/// The columns, unless it is no header that can be used.
fn read_header(line: u64, record: &StringRecord, into: &mut Reader) -> Option<Vec<&'static str>> {
    if record.len() == 1 && record.iter().any(|cell| cell.contains([';', '\t'])) {
        into.problems.add(line, "", format_args!("cells are separated by commas; this file uses another character"));
        return None;
    }
    if record.len() > COLUMNS.len() {
        let (has, known) = (record.len(), COLUMNS.len());
        into.problems.add(line, "", format_args!("the header names {has} columns; there are {known}: {ColumnNames}"));
        return None;
    }
    let before = into.problems.len();
    let columns: Vec<_> = record.iter().filter_map(|cell| into.column(line, cell.trim())).collect();
    let distinct: BTreeSet<_> = columns.iter().collect();
    if distinct.len() < columns.len() {
        into.problems.add(line, "", format_args!("the header names a column twice"));
    }
    if !columns.contains(&"name") {
        into.problems.add(line, "name", format_args!("the header has no such column"));
    }
    (into.problems.len() == before).then_some(columns)
}

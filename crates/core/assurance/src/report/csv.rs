use std::borrow::Cow;

use super::Report;
use crate::{Catalogue, CheckResult, RowVerdict};

const COLUMNS: [&str; 11] = [
    "requirement",
    "verdict",
    "reason",
    "asks",
    "check",
    "check_version",
    "target",
    "check_verdict",
    "observed",
    "expected",
    "evidence",
];

/// `report.csv` (RFC 4180): a line for each row and each check result that it rests on; one line for a row that rests on none.
#[must_use]
pub fn csv(report: &Report, catalogue: &Catalogue) -> Vec<u8> {
    let mut lines = String::new();
    push(&mut lines, COLUMNS.map(Cow::Borrowed));
    for row in &report.requirements {
        let mut results = report.results_of(row).peekable();
        if results.peek().is_none() {
            push(&mut lines, cells(catalogue, row, None));
        }
        results.for_each(|result| push(&mut lines, cells(catalogue, row, Some(result))));
    }
    lines.into_bytes()
}

fn cells<'a>(catalogue: &'a Catalogue, row: &'a RowVerdict, result: Option<&'a CheckResult>) -> [Cow<'a, str>; 11] {
    let id = row.requirement();
    let asks = id.as_ref().and_then(|id| catalogue.requirement(id)).map_or("", |row| &row.paraphrase);
    let of = |text: fn(&CheckResult) -> &str| result.map_or("", text).into();
    let evidence = |result: &CheckResult| result.evidence.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    [
        id.as_ref().map(ToString::to_string).unwrap_or_default().into(),
        row.verdict.as_str().into(),
        row.reason.as_str().into(),
        asks.into(),
        of(|result| result.id.as_str()),
        result.map(|result| result.version.to_string()).unwrap_or_default().into(),
        of(|result| &result.target),
        of(|result| result.verdict.as_str()),
        of(|result| &result.observed),
        of(|result| &result.expected),
        result.map(evidence).unwrap_or_default().into(),
    ]
}

fn push(lines: &mut String, cells: [Cow<'_, str>; 11]) {
    let cells = cells.map(|cell| quoted(&guarded(&cell)));
    lines.push_str(&cells.join(","));
    lines.push_str("\r\n");
}

/// Spreadsheets take a cell that begins so for a formula, which could send what stands in other cells elsewhere.
fn guarded(cell: &str) -> Cow<'_, str> {
    let begins_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    if begins_formula { format!("'{cell}").into() } else { cell.into() }
}

fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn every_row_has_a_line_that_no_spreadsheet_takes_for_a_formula() {
        let text = csv(&sample::report(), Catalogue::embedded());
        let mut reader = ::csv::Reader::from_reader(text.as_slice());
        let records: Vec<_> = reader.records().collect::<Result<_, _>>().unwrap();
        let ids: std::collections::BTreeSet<String> = records.iter().map(|record| record[0].to_owned()).collect();
        assert_eq!(ids.len(), sample::report().requirements.len());
        assert!(records.iter().all(|record| record.len() == COLUMNS.len()));
        let hostile = records.iter().find(|record| &record[6] == sample::HOSTILE_CELL).unwrap();
        assert!(hostile[8].starts_with("'="), "{hostile:?}");
        assert!(records.iter().flatten().all(|cell| !cell.starts_with(['=', '+', '-', '@'])));
    }
}

//! Spreadsheets take a cell that begins with `=`, `+`, `-`, `@` (also in full width), a tabulator or a line break for a
//! formula, which can send what stands in other cells elsewhere or start programs. What devices and operators wrote into
//! descriptive fields must not become that when somebody opens an export.
//!
//! Such a cell gets an apostrophe in front, and so does one that has apostrophes and then such a character, so that the way
//! back is unambiguous: one apostrophe is taken off exactly where one was put. All other cells stay as they are, whether they
//! begin with an apostrophe or not.

use std::borrow::Cow;

const GUARD: char = '\'';

/// Whether a spreadsheet takes a cell that begins so for a formula.
fn begins_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'])
}

/// The cell as it goes into a CSV file.
pub(super) fn guard(text: &str) -> Cow<'_, str> {
    if begins_formula(text.trim_start_matches(GUARD)) { format!("{GUARD}{text}").into() } else { text.into() }
}

/// The text of a cell from a CSV file.
pub(super) fn unguard(cell: &str) -> &str {
    match cell.strip_prefix(GUARD) {
        Some(text) if begins_formula(text.trim_start_matches(GUARD)) => text,
        _ => cell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_guarded_and_nothing_else() {
        for (text, cell) in [
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-5", "'-5"),
            ("+49 30 1", "'+49 30 1"),
            ("\tx", "'\tx"),
            ("\rx", "'\rx"),
            ("＝x", "'＝x"),
            ("'=x", "''=x"),
            ("''-", "'''-"),
            ("'t Harde", "'t Harde"),
            ("'", "'"),
            ("a=b", "a=b"),
            (" =x", " =x"),
            ("", ""),
        ] {
            assert_eq!(guard(text), cell, "{text:?}");
            assert_eq!(unguard(cell), text, "{cell:?}");
        }
        assert_eq!(unguard("=x"), "=x", "what was typed without a guard is taken as it is");
    }
}

//! What files have in common: lines, words, sections.

use portreeve_assurance::evidence::printable;

use crate::{IntakeError, LIST_MAX, THINGS_MAX};

/// A text file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct File<'a> {
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
}

/// The name of a file, or any text of one, as it is told.
pub(crate) fn shown(text: &str) -> String {
    printable(text.as_bytes())
}

/// UTF-8, without the mark that some editors put first.
pub(crate) fn text<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, IntakeError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        IntakeError::at(name, number(line), number(column), "this is not text in UTF-8")
    })
}

/// A number of lines or bytes. Files are far shorter than its type allows.
pub(crate) fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl<'a> File<'a> {
    /// Lines with their numbers, without blanks at their ends.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (u32, &'a str)> + use<'a> {
        self.text.lines().enumerate().map(|(index, line)| (number(index + 1), line.trim()))
    }

    /// Lines that say something: neither empty nor, by one of these first characters, a comment.
    pub(crate) fn said(&self, comments: &'static [char]) -> impl Iterator<Item = (u32, &'a str)> + use<'a> {
        self.lines().filter(move |(_, line)| !line.is_empty() && !line.starts_with(comments))
    }

    pub(crate) fn error(&self, line: u32, problem: &str) -> IntakeError {
        IntakeError::at(self.name, line, 1, problem)
    }

    /// Refuses more than a file may have.
    pub(crate) fn expect_things(&self, line: u32, count: usize) -> Result<(), IntakeError> {
        if count < THINGS_MAX { Ok(()) } else { Err(self.error(line, "there are too many of these in one file")) }
    }

    /// As [`Self::expect_things`], for lists.
    pub(crate) fn expect_list(&self, line: u32, count: usize) -> Result<(), IntakeError> {
        if count < LIST_MAX { Ok(()) } else { Err(self.error(line, "the list is too long")) }
    }
}

/// The first word and the rest.
pub(crate) fn head(line: &str) -> (&str, &str) {
    let (key, rest) = line.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((line, ""));
    (key, rest.trim())
}

/// `key = value`; the value may be empty.
pub(crate) fn pair(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    let key = key.trim();
    (!key.is_empty()).then_some((key, value.trim()))
}

/// Without the quotes around it.
pub(crate) fn unquoted(value: &str) -> &str {
    let inside = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

/// A setting of a file with sections.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) section: String,
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) line: u32,
}

/// Files of sections: `[section]`, `key=value`, comments behind `#` or `;`. A backslash at the end of a line joins the next, where the
/// software does so.
pub(crate) fn sections(file: &File<'_>, is_joined: bool) -> Result<Vec<Entry>, IntakeError> {
    let mut found: Vec<Entry> = Vec::new();
    let mut section = String::new();
    let mut is_open = false;
    for (line, text) in file.said(&['#', ';']) {
        let (text, goes_on) = match text.strip_suffix('\\') {
            Some(begin) if is_joined => (begin.trim_end(), true),
            _ => (text, false),
        };
        let was_open = std::mem::replace(&mut is_open, goes_on);
        if was_open {
            if let Some(last) = found.last_mut() {
                last.value = format!("{} {text}", last.value);
            }
        } else if let Some(name) = text.strip_prefix('[') {
            let name = name.strip_suffix(']').ok_or_else(|| file.error(line, "the section's name has no end"))?;
            section = shown(name.trim());
        } else {
            let (key, value) = pair(text).ok_or_else(|| file.error(line, "neither a section nor key=value"))?;
            file.expect_list(line, found.len())?;
            found.push(Entry { section: section.clone(), key: shown(key), value: value.to_owned(), line });
        }
    }
    Ok(found)
}

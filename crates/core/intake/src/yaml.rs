//! YAML as a flat list of scalars under their paths. Aliases are told and not followed, so nothing grows beyond the file.

use std::collections::BTreeMap;

use portreeve_assurance::evidence::config::Unread;
use saphyr_parser::{Event, Parser, ScanError, Span};

use crate::{
    IntakeError,
    lines::{File, number, shown},
};

/// How deep a file may be.
const DEPTH_MAX: usize = 32;

/// Scalars under their paths; elements of sequences under their numbers. A tag such as `!secret` stands before its scalar.
#[derive(Debug, Default)]
pub(crate) struct Flat {
    pub(crate) values: BTreeMap<String, (String, u32)>,
    pub(crate) unread: Vec<Unread>,
}

/// Where the reader stands in a mapping or sequence.
enum Level {
    /// The next scalar is a key; `None` behind it is a value.
    Mapping(Option<String>),
    Sequence(usize),
}

pub(crate) fn flat(file: &File<'_>) -> Result<Flat, IntakeError> {
    let mut found = Flat::default();
    let mut levels: Vec<Level> = Vec::new();
    for event in Parser::new_from_str(file.text) {
        let (event, span) = event.map_err(|error| refusal(file, &error))?;
        take(file, &mut found, &mut levels, event, &span)?;
    }
    Ok(found)
}

fn refusal(file: &File<'_>, error: &ScanError) -> IntakeError {
    let marker = error.marker();
    IntakeError::at(file.name, number(marker.line()), number(marker.col() + 1), error.info())
}

fn take(
    file: &File<'_>,
    found: &mut Flat,
    levels: &mut Vec<Level>,
    event: Event<'_>,
    span: &Span,
) -> Result<(), IntakeError> {
    let line = number(span.start.line());
    match event {
        Event::MappingStart(..) | Event::SequenceStart(..) => {
            if levels.len() >= DEPTH_MAX {
                return Err(file.error(line, "this is too deep"));
            }
            levels.push(if matches!(event, Event::MappingStart(..)) {
                Level::Mapping(None)
            } else {
                Level::Sequence(0)
            });
        }
        Event::MappingEnd | Event::SequenceEnd => {
            levels.pop();
            advance(levels);
        }
        Event::Scalar(text, _, _, tag) => {
            if let Some(Level::Mapping(key @ None)) = levels.last_mut() {
                *key = Some(shown(&text));
                return Ok(());
            }
            let text = tag.map_or(text.to_string(), |tag| format!("!{} {text}", tag.suffix));
            file.expect_list(line, found.values.len())?;
            found.values.insert(path(levels), (text, line));
            advance(levels);
        }
        Event::Alias(_) => {
            file.expect_things(line, found.unread.len())?;
            found.unread.push(Unread::at(line, &format!("{}: an alias", path(levels))));
            if let Some(Level::Mapping(key @ None)) = levels.last_mut() {
                *key = Some(String::new());
                return Ok(());
            }
            advance(levels);
        }
        _ => {}
    }
    Ok(())
}

/// Behind a value.
fn advance(levels: &mut [Level]) {
    match levels.last_mut() {
        // A mapping as a key has no name.
        Some(Level::Mapping(key @ None)) => *key = Some(String::new()),
        Some(Level::Mapping(key)) => *key = None,
        Some(Level::Sequence(index)) => *index += 1,
        None => {}
    }
}

fn path(levels: &[Level]) -> String {
    let name = |level: &Level| match level {
        Level::Mapping(key) => key.clone().unwrap_or_default(),
        Level::Sequence(index) => index.to_string(),
    };
    levels.iter().map(name).collect::<Vec<_>>().join(".")
}

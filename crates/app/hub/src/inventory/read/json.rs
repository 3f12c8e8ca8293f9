//! An array of flat objects, whose values are texts.

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{Lines, Reader};

/// What stands between values.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// Most keys of one object: more than there are columns, so that a few wrong ones are all told.
const KEYS_MAX: usize = 32;

pub(super) fn read(text: &str, into: &mut Reader) {
    let mut lines = Lines::new(text);
    let place = |rest: &str| text.len() - rest.len();
    let mut rest = text.trim_start().strip_prefix('[').unwrap_or_default().trim_start_matches(SPACE);
    if let Some(behind) = rest.strip_prefix(']') {
        return expect_end(behind, &mut lines, place(behind), into);
    }
    loop {
        let line = lines.of(place(rest));
        // One at a time, so that each has its line and a huge file is left early.
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Pairs>();
        let pairs = match values.next() {
            Some(Ok(pairs)) => pairs,
            Some(Err(error)) => {
                let at = line + (error.line() as u64).saturating_sub(1);
                return into.problems.add(at, "", format_args!("{error}; nothing behind it was read"));
            }
            None => return into.problems.add(line, "", format_args!("the array is not closed by `]`")),
        };
        rest = rest.get(values.byte_offset()..).unwrap_or_default().trim_start_matches(SPACE);
        if !into.has_room(line) {
            return;
        }
        take(line, &pairs, into);
        if let Some(behind) = rest.strip_prefix(']') {
            return expect_end(behind, &mut lines, place(behind), into);
        }
        let Some(next) = rest.strip_prefix(',') else {
            let line = lines.of(place(rest));
            return into.problems.add(line, "", format_args!("expected `,` or `]`; nothing behind it was read"));
        };
        rest = next.trim_start_matches(SPACE);
    }
}

fn expect_end(behind: &str, lines: &mut Lines<'_>, at: usize, into: &mut Reader) {
    if !behind.trim_start_matches(SPACE).is_empty() {
        into.problems.add(lines.of(at), "", format_args!("there is something behind the array"));
    }
}

fn take(line: u64, pairs: &Pairs, into: &mut Reader) {
    let (mut cells, mut seen) = (Vec::with_capacity(pairs.0.len()), BTreeSet::new());
    let before = into.problems.len();
    for (key, value) in &pairs.0 {
        let Some(column) = into.column(line, key) else { continue };
        match value {
            _ if !seen.insert(column) => into.problems.add(line, column, format_args!("it stands there twice")),
            Text(Some(text)) => cells.push((column, text.as_str())),
            _ => into.problems.add(line, column, format_args!("it must be a text, in quotation marks")),
        }
    }
    if into.problems.len() == before {
        into.row(line, cells.into_iter());
    }
}

/// An object with all its keys, also those that occur twice.
struct Pairs(Vec<(String, Text)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object for each identity")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            if pairs.len() == KEYS_MAX {
                return Err(A::Error::custom(format_args!("an object has at most {KEYS_MAX} keys")));
            }
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

/// A value, if it is a text; whatever else it is takes no memory, however large.
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text(Some(text.to_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_unit<E>(self) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Text, A::Error> {
        IgnoredAny.visit_seq(seq).map(|_| Text(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Text, A::Error> {
        IgnoredAny.visit_map(map).map(|_| Text(None))
    }
}

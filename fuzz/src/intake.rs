//! Files of others that an audit reads: `portreeve-intake`.

use portreeve_assurance::{Catalogue, CheckId, Outcome, Store, evidence::LINE_CHARS_MAX, judge_one};
use portreeve_intake::{Format, IntakeError, Piece, read, sbom::Matcher, secrets::Scanner, subjects};
use portreeve_types::UnixMillis;
use serde_json::Value;

const NOW: UnixMillis = UnixMillis(1_795_435_200_000);

/// A configuration or a scanner's output, under the name of its format and a line's end. What is read is bounded, prints, and has a
/// verdict; what is refused has a place.
pub fn intake_file(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (name, rest) = bytes.split_at(end);
    let format: Option<Format> = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
    match read("file.conf", rest.get(1..).unwrap_or_default(), format, &|_| None) {
        Ok(pieces) => {
            subjects(pieces).iter().for_each(|subject| judged(&subject.target, subject.checks, &subject.pieces))
        }
        Err(error) => is_placed(&error),
    }
}

/// An SBOM and an advisory, with a zero between.
pub fn intake_sbom(bytes: &[u8]) {
    let mut parts = bytes.split(|byte| *byte == 0);
    let mut matcher = match Matcher::new("sbom.json", parts.next().unwrap_or_default()) {
        Ok(matcher) => matcher,
        Err(error) => return is_placed(&error),
    };
    parts
        .take(4)
        .filter_map(|advisory| matcher.advisory("advisory.json", advisory).err())
        .for_each(|error| is_placed(&error));
    let piece = matcher.finish();
    judged(&piece.about.clone(), piece.checks, &[piece]);
}

/// A file that may hold secrets.
pub fn intake_secrets(bytes: &[u8]) {
    let mut scanner = Scanner::new(&[0; 32]);
    scanner.file("file", bytes);
    let piece = scanner.finish("folder");
    judged("folder", piece.checks, &[piece]);
}

/// Every text of the facts prints, and the rule says one line.
fn judged(target: &str, checks: &[&str], pieces: &[Piece]) {
    let mut store = Store::default();
    let mut hashes = Vec::new();
    for piece in pieces {
        check(&piece.data);
        let Ok(bytes) = piece.envelope(target, NOW, "fuzz").to_bytes() else { return };
        hashes.extend(store.add_bytes(bytes));
    }
    for id in checks {
        let Some(check) = id.parse::<CheckId>().ok().and_then(|id| Catalogue::embedded().check(&id)) else {
            panic!("{id}")
        };
        let result = judge_one(check, target, &Outcome::Evidence(hashes.clone()), &store, NOW);
        assert!(!result.observed.is_empty() && !result.observed.contains('\n'), "{result:?}");
        assert!(!result.observed.contains("is not of its kind"), "{}", result.observed);
    }
}

fn check(value: &Value) {
    match value {
        Value::String(text) => {
            assert!(
                text.len() <= LINE_CHARS_MAX + 64 && text.chars().all(|c| c.is_ascii_graphic() || c == ' '),
                "{text:?}"
            );
        }
        Value::Array(all) => all.iter().for_each(check),
        Value::Object(all) => all.values().for_each(check),
        _ => {}
    }
}

fn is_placed(error: &IntakeError) {
    if let IntakeError::At { line, column, problem, .. } = error {
        assert!(*line > 0 && *column > 0 && !problem.is_empty() && problem.len() <= LINE_CHARS_MAX, "{error:?}");
    }
}

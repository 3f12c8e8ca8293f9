//! "Did you mean …": the known key that is nearest to a mistyped one.

use crate::keys;

/// Longer input gets no suggestion, which bounds the work.
const INPUT_CHARS_MAX: usize = 64;

/// The nearest known key, if one is near enough to be meant. The right field name in the wrong section counts as near.
pub(crate) fn nearest(path: &str) -> Option<&'static str> {
    if path.chars().count() > INPUT_CHARS_MAX {
        return None;
    }
    let (section, field) = path.split_once('.')?;
    let scored = keys().iter().filter_map(|doc| {
        let (known_section, known_field) = doc.path.split_once('.')?;
        let field_edits = edits(field, known_field);
        // A short name has few letters to get wrong.
        let plausible = field_edits <= (known_field.len() / 3).clamp(1, 4);
        plausible.then_some((field_edits, edits(section, known_section), doc.path))
    });
    scored.min().map(|(_, _, path)| path)
}

/// The nearest of some words, by the same measure.
pub(crate) fn nearest_word<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.chars().count() > INPUT_CHARS_MAX {
        return None;
    }
    let scored = known.map(|candidate| (edits(word, candidate), candidate));
    scored.filter(|(distance, candidate)| *distance <= (candidate.len() / 3).clamp(1, 4)).min().map(|(_, found)| found)
}

/// Letters to insert, delete or replace to make one word the other (Levenshtein distance).
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("listen", "listen"), 0);
        assert_eq!(edits("lsiten", "listen"), 2);
        assert_eq!(edits("kitten", "sitting"), 3);
    }

    #[test]
    fn finds_what_was_meant() {
        assert_eq!(nearest("mqtt.lsten"), Some("mqtt.listen"));
        assert_eq!(nearest("metrics.lisen"), Some("metrics.listen"));
        assert_eq!(nearest("mqtt.packet_bytes"), Some("limits.packet_bytes"));
        assert_eq!(nearest("mqtt.tls_off"), None);
        assert_eq!(nearest_word("limit", ["hub", "limits"].into_iter()), Some("limits"));
        assert_eq!(nearest(&format!("mqtt.{}", "x".repeat(100))), None);
    }
}

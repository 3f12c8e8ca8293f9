//! The reference, `docs/DETECTION.md`: what is said once in code, as a document.

use crate::{
    Detector,
    settings::{Key, TABLES},
};
use std::fmt::Write as _;

const HEAD: &str = include_str!("reference_head.md");

/// The text of `docs/DETECTION.md`.
#[must_use]
pub fn reference_markdown() -> String {
    let mut out = String::from(HEAD);
    out += "\n## Detectors\n";
    for kind in Detector::ALL {
        detector(&mut out, *kind);
    }
    out += "\n## Settings of all detectors\n\n";
    TABLES.iter().filter(|(name, _)| *name == "general").for_each(|(name, keys)| table(&mut out, name, keys));
    out
}

fn detector(out: &mut String, kind: Detector) {
    let row = kind.row();
    let how = if row.learns { "compares with what was learnt" } else { "counts, from the first moment" };
    let (word, severity) = (kind.as_str(), row.severity.as_str());
    // Writing to a text does not fail.
    let _ = write!(
        out,
        "\n### `{word}`\n\n{}\n\n*Severity* {severity}; it {how}. *Asked for by* {}.\n\n*Stays below it:* {}\n*False alarms:* {}\n",
        row.sees,
        row.requirements.join(", "),
        row.evaded_by,
        row.mistakes
    );
    if let Some((name, keys)) = TABLES.iter().find(|(name, _)| *name == word) {
        out.push('\n');
        table(out, name, keys);
    }
}

fn table(out: &mut String, name: &str, keys: &[Key]) {
    out.push_str("| key | default | range | what it is |\n| --- | --- | --- | --- |\n");
    for key in keys {
        let text: Vec<&str> = key.text.iter().map(|line| line.trim()).collect();
        let Key { name: field, default, range, unit, .. } = key;
        let _ = writeln!(out, "| `{name}.{field}` | {default} | {range} {unit} | {} |", text.join(" "));
    }
}

/// The defaults are those that the reference tells; checked here because they are told as they are written.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::DetectSettings;

    #[test]
    fn every_table_belongs_to_a_detector_and_defaults_are_in_range() {
        DetectSettings::default().check().unwrap();
        for (name, _) in TABLES {
            assert!(*name == "general" || Detector::ALL.iter().any(|kind| kind.as_str() == *name), "{name}");
        }
        let text = reference_markdown();
        for kind in Detector::ALL {
            assert!(text.contains(&format!("### `{}`", kind.as_str())));
        }
    }
}

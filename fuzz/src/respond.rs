//! Settings of responses, what was stored of responses and cases, and exported cases, `portreeve-respond`.

use std::collections::BTreeMap;

use portreeve_respond::{
    Cases, Change, Facts, Finding, LIST_ENTRIES_MAX, MEASURES_MAX, Now, RULES_MAX, Responder, ResponseSettings,
    Severity, Subject, Verdict, verify_export,
};
use portreeve_types::UnixMillis;

const NOW: Now = Now { wall: UnixMillis(1_893_456_000_000), running_ms: 7_200_000 };

/// An operator's rules. What is refused has a place; what is taken is bounded, decides, and never blocks the hub's own machine.
pub fn response_settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let settings = match ResponseSettings::parse("r.toml", text, &["flood", "auth_failures"]) {
        Ok(settings) => settings,
        Err(problems) => {
            assert!(!problems.is_empty() && problems.len() <= RULES_MAX * 8 + LIST_ENTRIES_MAX * 4);
            assert!(problems.iter().all(|problem| problem.line >= 1 && problem.column >= 1));
            return;
        }
    };
    assert!(settings.rules.len() <= RULES_MAX);
    let (mut responder, _) = Responder::rebuild(settings, [], NOW);
    let source = "127.0.0.1".parse().ok();
    let finding = Finding { id: "f", kind: "flood", severity: Severity::High, subject: &Subject::Hub, text: "" };
    let decision = responder.decide(&finding, &Facts { source, ..Facts::default() }, 10, NOW);
    assert!(!matches!(decision.verdict, Verdict::Act { .. }), "{decision:?}");
}

/// Records as a damaged disk may have them, one a line: key, space, value. What is taken up ends, and goes on being stored as it is.
pub fn response_records(bytes: &[u8]) {
    let records = || bytes.split(|byte| *byte == b'\n').filter_map(record);
    let (mut responder, _) = Responder::rebuild(ResponseSettings::default(), records(), NOW);
    assert!(responder.measures().count() <= MEASURES_MAX);
    let later = Now { wall: NOW.wall, running_ms: u64::MAX };
    responder.tick(later);
    assert!(responder.measures().all(|measure| measure.until.is_none()) && responder.blocks().is_empty());

    let (mut cases, _) = Cases::rebuild(records());
    let numbers: Vec<u64> = cases.iter().map(portreeve_respond::Case::number).collect();
    for number in numbers {
        // A case whose custody log is full is not exported; any other is, and verifies.
        if let Ok(export) = cases.export(number, "auditor", "a test", BTreeMap::new(), NOW.wall) {
            assert!(verify_export(&export.files).is_ok_and(|verified| verified.sha256 == export.sha256));
        }
    }
    let mut stored: BTreeMap<String, Vec<u8>> = records()
        .filter(|(key, _)| key.starts_with("case/"))
        .map(|(key, value)| (key.to_owned(), value.to_vec()))
        .collect();
    for change in cases.take_changes() {
        match change {
            Change::Put { key, bytes } => drop(stored.insert(key, bytes)),
            Change::Delete { key } => drop(stored.remove(&key)),
        }
    }
    let (rebuilt, _) = Cases::rebuild(stored.iter().map(|(key, value)| (key.as_str(), value.as_slice())));
    assert!(rebuilt.iter().eq(cases.iter()));
}

fn record(line: &[u8]) -> Option<(&str, &[u8])> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    Some((std::str::from_utf8(&line[..space]).ok()?, &line[space + 1..]))
}

/// Files of an export: after a line `=== NAME` what is in it, up to the next such line. What verifies stops doing so
/// when any file is another byte longer, or missing.
pub fn case_export(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let file = |part: &str| part.split_once('\n').map(|(name, content)| (name.to_owned(), content.as_bytes().to_vec()));
    let files: BTreeMap<String, Vec<u8>> = text.split("=== ").filter_map(file).collect();
    if verify_export(&files).is_err() {
        return;
    }
    for name in files.keys() {
        let mut damaged = files.clone();
        damaged.entry(name.clone()).or_default().push(0);
        assert!(verify_export(&damaged).is_err(), "{name}");
        damaged.remove(name);
        assert!(verify_export(&damaged).is_err(), "{name}");
    }
}

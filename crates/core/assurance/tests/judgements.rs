//! What each rule makes of a corpus of evidence, and that nobody changes it without a new version.
//!
//! `data/judgements/CHECK.json` has the cases of a check; `data/judgements.csv` has, for each version of each rule, the digest of its
//! cases. A case has its evidence whole, or is `like` an earlier one `with` other values at JSON pointers (RFC 6901; a place behind the end
//! of a list, or a new key, adds). Who changes a rule changes cases; then the version in `data/checks.csv` of the crate rises, and a line is added here.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::collections::BTreeMap;

use portreeve_assurance::{Catalogue, Check, Envelope, Inputs, Judgement, Method, Sha256, Verdict, rule};
use portreeve_types::UnixMillis;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    target: String,
    at: String,
    #[serde(default)]
    like: Option<String>,
    #[serde(default)]
    with: BTreeMap<String, Value>,
    #[serde(default)]
    evidence: Vec<Value>,
    judgement: Judgement,
}

/// Rules that never say more than partial: what they would need cannot be seen by their probe alone.
const AT_BEST_PARTIAL: [(&str, &str); 1] = [("mqtt.malformed", "whether the broker logs it, nobody sees from outside")];

fn file(name: &str) -> String {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The cases of a check, each with its evidence.
fn cases(check: &Check) -> Vec<Case> {
    let mut cases: Vec<Case> = serde_json::from_str(&file(&format!("judgements/{}.json", check.id))).unwrap();
    for at in 0..cases.len() {
        let (earlier, rest) = cases.split_at_mut(at);
        let case = &mut rest[0];
        let Some(like) = &case.like else {
            assert!(case.with.is_empty(), "{}: {} is like no other", check.id, case.name);
            continue;
        };
        let model = earlier.iter().find(|other| other.name == *like);
        let model = model.unwrap_or_else(|| panic!("{}: {} comes before {like}", check.id, case.name));
        assert!(case.evidence.is_empty(), "{}: {} has evidence of its own", check.id, case.name);
        let mut evidence = Value::Array(model.evidence.clone());
        case.with.iter().for_each(|(pointer, value)| put(&mut evidence, pointer, value.clone()));
        case.evidence = serde_json::from_value(evidence).unwrap();
    }
    cases
}

fn put(evidence: &mut Value, pointer: &str, value: Value) {
    let (way, last) = pointer.rsplit_once('/').unwrap();
    let place = evidence.pointer_mut(way).unwrap_or_else(|| panic!("{pointer} leads nowhere"));
    match place {
        Value::Array(items) => {
            let index: usize = last.parse().unwrap();
            items.splice(index..items.len().min(index + 1), [value]);
        }
        Value::Object(members) => drop(members.insert(last.to_owned(), value)),
        _ => panic!("{pointer} leads nowhere"),
    }
}

fn with_rules() -> impl Iterator<Item = &'static Check> {
    Catalogue::embedded().checks().iter().filter(|check| rule(check.id.as_str()).is_some())
}

fn at(text: &str) -> UnixMillis {
    let date = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap();
    UnixMillis(u64::try_from(date.unix_timestamp()).unwrap() * 1000)
}

#[test]
fn every_rule_judges_its_cases_as_written() {
    for check in with_rules() {
        let cases = cases(check);
        let best = match AT_BEST_PARTIAL.iter().find(|(name, _)| *name == check.id.as_str()) {
            Some(_) => &[Verdict::Partial][..],
            None => &[Verdict::Pass, Verdict::Attested],
        };
        let good = |case: &&Case| best.contains(&case.judgement.verdict);
        let bad = |case: &&Case| case.judgement.verdict == Verdict::Fail;
        assert!(
            cases.iter().any(|case| good(&case)) && cases.iter().any(|case| bad(&case)),
            "{} says always the same",
            check.id
        );
        for case in cases {
            let read = |value: &Value| {
                let bytes = value.to_string().into_bytes();
                let envelope = Envelope::from_bytes(&bytes).unwrap();
                // Who writes these bytes again may put the fields in another order: the hash is but a name here.
                (Sha256::of(envelope.kind.as_bytes()), envelope)
            };
            let envelopes: Vec<(Sha256, Envelope)> = case.evidence.iter().map(read).collect();
            let evidence: Vec<(Sha256, &Envelope)> =
                envelopes.iter().map(|(hash, envelope)| (*hash, envelope)).collect();
            let inputs = Inputs { check, target: &case.target, at: at(&case.at), evidence: &evidence };
            let judge = rule(check.id.as_str()).unwrap();
            assert_eq!(judge(&inputs), case.judgement, "{}: {}", check.id, case.name);
        }
    }
}

#[test]
fn a_rule_that_changed_has_a_new_version() {
    let mut pinned: BTreeMap<(String, u32), String> = BTreeMap::new();
    for line in file("judgements.csv").lines().skip(1) {
        let [check, version, digest] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let before = pinned.insert((check.to_owned(), version.parse().unwrap()), digest.to_owned());
        assert_eq!(before, None, "{check} has version {version} twice");
    }
    for check in with_rules() {
        let digest = Sha256::of(file(&format!("judgements/{}.json", check.id)).as_bytes()).to_string();
        let line = format!("{},{},{digest}", check.id, check.version);
        let known = pinned.get(&(check.id.to_string(), check.version));
        assert_eq!(
            known,
            Some(&digest),
            "the cases of {} are not those of version {}: raise the version in data/checks.csv, and add `{line}` to \
             tests/data/judgements.csv",
            check.id,
            check.version
        );
    }
}

/// What records are asked is part of their rules: evidence with answers to the questions of before is judged otherwise.
#[test]
fn other_questions_are_a_new_version() {
    let pinned = file("questions.csv");
    let digest = Sha256::of(include_str!("../data/questions.csv").as_bytes());
    for check in Catalogue::embedded().checks().iter().filter(|check| check.method == Method::Attest) {
        let line = format!("{},{digest}", check.version);
        assert!(
            pinned.lines().skip(1).any(|pinned| pinned == line),
            "the questions are not those of version {} of {}: raise the version of every att.* check in data/checks.csv, and add \
             `{line}` to tests/data/questions.csv",
            check.version,
            check.id
        );
    }
}

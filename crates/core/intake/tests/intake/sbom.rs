use portreeve_assurance::Verdict;
use portreeve_intake::{Piece, sbom::Matcher};
use serde_json::{Value, json};

use crate::common::{data, evidence, judge};

const FEED: [&str; 4] = ["feed/smallvec.json", "feed/jinja.json", "feed/openssl.json", "feed/withdrawn.json"];

pub(crate) fn matched(sbom: &str, advisories: &[&str]) -> Piece {
    let mut matcher = Matcher::new(sbom, &data(sbom)).unwrap();
    advisories.iter().for_each(|name| matcher.advisory(name, &data(name)).unwrap());
    matcher.finish()
}

type Case = (&'static str, Vec<&'static str>, Vec<(&'static str, Value)>, Verdict, &'static [&'static str]);

/// IOTSF-2.4.7.4, IOTSF-2.4.7.13, CSA-TMM-04, CSA-UPD-04: known vulnerabilities, and what their makers say.
pub(crate) fn cases() -> Vec<Case> {
    use Verdict::{Fail, Inconclusive, Partial, Pass};
    let with_vex: Vec<&str> = FEED.into_iter().chain(["vex.json"]).collect();
    let severe = |tenths: u32| vec![("sbom-policy/1", json!({ "score_tenths_min": tenths, "feed_days_max": 30 }))];
    vec![
        (
            "sbom.json",
            FEED.to_vec(),
            vec![],
            Fail,
            &["smallvec 1.6.0: RUSTSEC-2021-0003 (9.8)", "libssl3 3.0.9-1: DSA-5532-1 (7.0)"],
        ),
        // What is said of libssl3 in the oven says nothing of the lamp.
        ("sbom.json", with_vex.clone(), vec![], Fail, &["libssl3 3.0.9-1: DSA-5532-1"]),
        (
            "sbom.json",
            with_vex,
            severe(80),
            Partial,
            &["1 components have no package URL or version, such as lwip 2.1.3"],
        ),
        ("spdx.json", FEED.to_vec(), vec![], Pass, &["1 components against 4 OSV records"]),
        ("spdx.json", vec![], vec![], Inconclusive, &["the snapshot has no record"]),
    ]
}

#[test]
fn components_meet_what_is_known_of_them() {
    for (sbom, advisories, declared, verdict, said) in cases() {
        let piece = matched(sbom, &advisories);
        let judgement = judge("cfg.sbom", sbom, &evidence(sbom, &[piece], &declared));
        assert_eq!(judgement.verdict, verdict, "{sbom} {advisories:?}: {}", judgement.observed);
        said.iter()
            .for_each(|said| assert!(judgement.observed.contains(said), "`{said}` is not in {}", judgement.observed));
    }
}

#[test]
fn a_word_of_the_maker_is_told_with_its_reason() {
    let text = matched("sbom.json", &["feed/jinja.json", "vex.json"]).data.to_string();
    assert!(text.contains("code_not_reachable"), "{text}");
    assert!(
        !text.contains("vulnerable_code_not_in_execute_path"),
        "the record of smallvec is not in this snapshot: {text}"
    );
}

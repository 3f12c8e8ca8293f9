use std::{fs, path::Path};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use portreeve_assurance::{
    Answer, Attempt, Attestation, Catalogue, Envelope, Outcome, Reply, Report, Run, Selection, Sha256, Store, bundle,
};
use portreeve_types::UnixMillis;
use serde_json::Value;

use crate::support::Place;

const AT: UnixMillis = UnixMillis(1_790_000_000_000);

/// Writes the report of a run with one record, answered so, and returns the key that signed, in hexadecimal.
fn write(directory: &Path, reply: Reply) -> String {
    let (requirement, check) = ("CSA-TRN-02".parse().unwrap(), "att.doc".parse().unwrap());
    let questions = Catalogue::embedded().questions(&requirement, &check);
    let answer = |question: &String| Answer { question: question.clone(), reply, remark: String::new() };
    let record = Attestation {
        answers: questions.iter().map(answer).collect(),
        requirement,
        check,
        title: "Training plan".into(),
        sha256: Sha256::of(b"plan"),
        owner: "Ada".into(),
        approver: "Grace".into(),
        approved: UnixMillis(AT.0 - 1),
        next_review: UnixMillis(AT.0 + 1),
    };
    let mut store = Store::default();
    let hash = store.add(Envelope::of(&record, Some("CSA-TRN-02"), AT, "test").unwrap()).unwrap();
    let attempt = Attempt { check: record.check, target: "CSA-TRN-02".into(), outcome: Outcome::Evidence(vec![hash]) };
    let run = Run {
        tool: ("portreeve", env!("CARGO_PKG_VERSION")),
        started: AT,
        ended: AT,
        selection: Selection::default(),
        targets: vec!["the fleet".into()],
        attempts: vec![attempt],
    };
    let catalogue = Catalogue::embedded();
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let key: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
    let sign = |bytes: &[u8]| <[u8; 64]>::try_from(pair.sign(bytes).as_ref());
    let files = bundle(&Report::new(catalogue, &run, &store), catalogue, &store, key, sign).unwrap();
    fs::create_dir_all(directory.join("evidence")).unwrap();
    files.iter().for_each(|(name, bytes)| fs::write(directory.join(name), bytes).unwrap());
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_untouched_report_verifies_and_any_change_is_found() {
    let place = Place::new();
    let directory = place.path("audit");
    let key = write(&directory, Reply::Yes);
    let told = place.ok(&["report", "verify", "audit"]);
    assert!(told.contains("1 pieces of evidence") && told.contains(&key) && told.contains("--key"), "{told}");
    place.write("key.hex", &key);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", spki(&key));
    place.write("key.pem", &pem);
    for key in ["key.hex", "key.pem"] {
        let told = place.ok(&["report", "verify", "audit/report.json", "--key", key, "--output", "json"]);
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!((&told["verified"], &told["key_was_given"]), (&true.into(), &true.into()));
    }
    place.write("other.hex", &"ab".repeat(32));
    assert_eq!(place.run(&["report", "verify", "audit", "--key", "other.hex"]).status, 1);
    place.write("none", "none");
    assert_eq!(place.run(&["report", "verify", "audit", "--key", "none"]).status, 2);

    fs::write(directory.join("more.txt"), "x").unwrap();
    let done = place.run(&["report", "verify", "audit", "--output", "json"]);
    assert!(done.status == 1 && done.err.contains("more.txt was added"), "{done:?}");
    assert_eq!(serde_json::from_str::<Value>(&done.out).unwrap()["verified"], false);
    fs::remove_file(directory.join("more.txt")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", directory.join("link")).unwrap();
    assert_eq!(place.run(&["report", "verify", "audit"]).status, 1);
    fs::remove_file(directory.join("link")).unwrap();
    let text = fs::read_to_string(directory.join("report.html")).unwrap();
    fs::write(directory.join("report.html"), text.replace("attested", "pass")).unwrap();
    let done = place.run(&["report", "verify", "audit"]);
    assert!(done.status == 1 && done.err.contains("report.html was changed"), "{done:?}");
}

/// The same key as others write it: RFC 8410, in base64.
fn spki(key: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(hex::decode(format!("302a300506032b6570032100{key}")).unwrap())
}

#[test]
fn a_report_is_shown_in_every_form() {
    let place = Place::new();
    write(&place.path("audit"), Reply::No);
    let told = place.ok(&["report", "show", "audit"]);
    assert!(told.contains("CSA-TRN-02   fail") && told.contains("answered with no"), "{told}");
    let totals: Value = serde_json::from_str(&place.ok(&["report", "show", "audit", "--output", "json"])).unwrap();
    assert_eq!((&totals["requirements"]["fail"], &totals["requirements"]["not-tested"]), (&1.into(), &246.into()));
    for (form, file) in [
        ("json", "report.json"),
        ("html", "report.html"),
        ("csv", "report.csv"),
        ("junit", "junit.xml"),
        ("sarif", "report.sarif"),
        ("oscal", "oscal-assessment-results.json"),
    ] {
        let shown = place.command(&["report", "show", "audit/report.json", "--as", form]).output().unwrap().stdout;
        assert_eq!(shown, fs::read(place.path("audit").join(file)).unwrap(), "{form}");
    }
    assert!(place.ok(&["report", "show", "audit", "--as", "oscal-component"]).contains("component-definition"));
}

#[test]
fn a_broken_report_is_status_2_with_line_and_column() {
    let place = Place::new();
    place.write("report.json", "{\n  \"format\": portreeve\n}\n");
    let done = place.run(&["report", "show", "report.json"]);
    assert!(done.status == 2 && done.err.contains("report.json, line 2, column 13: not JSON"), "{done:?}");
    assert_eq!(place.run(&["report", "show", "nothing.json"]).status, 2);
    write(&place.path("audit"), Reply::Yes);
    fs::write(place.path("audit").join("manifest.json"), "{\n\"files\": 1}").unwrap();
    let done = place.run(&["report", "verify", "audit"]);
    assert!(done.status == 2 && done.err.contains("manifest.json, line 2, column"), "{done:?}");
}

#[test]
fn a_difference_is_told_and_a_worse_one_is_status_1() {
    let place = Place::new();
    write(&place.path("good"), Reply::Yes);
    write(&place.path("bad"), Reply::No);
    let worse = place.run(&["report", "diff", "good", "bad"]);
    assert!(worse.status == 1 && worse.out.contains("CSA-TRN-02"), "{worse:?}");
    assert!(worse.err.contains("2 verdicts are worse than before"), "{worse:?}");
    assert_eq!(place.run(&["report", "diff", "bad", "good"]).status, 0);
    assert_eq!(place.ok(&["report", "diff", "good", "good"]).trim(), "nothing changed");
}

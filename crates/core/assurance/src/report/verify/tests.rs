use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

use super::*;
use crate::{
    Attempt, BundleError, Envelope,
    report::{bundle, sample},
};

type Files = BTreeMap<String, Vec<u8>>;

fn keys(seed: u8) -> ([u8; 32], Ed25519KeyPair) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    (pair.public_key().as_ref().try_into().unwrap(), pair)
}

fn signed(report: &Report, store: &Store, seed: u8) -> Files {
    let (key, pair) = keys(seed);
    let sign = |bytes: &[u8]| <[u8; 64]>::try_from(pair.sign(bytes).as_ref());
    bundle(report, Catalogue::embedded(), store, key, sign).unwrap()
}

/// A report with two records, one of which is overdue, and a check that was not made.
fn honest() -> (Report, Store) {
    let mut overdue = sample::attestation("CSA-SOP-02", "att.doc");
    overdue.next_review = sample::AT;
    let (store, mut attempts) = sample::attested(&[sample::attestation("CSA-TRN-02", "att.doc"), overdue]);
    let outcome = Outcome::NotTested("not asked for".into());
    attempts.push(Attempt { check: "mqtt.anon".parse().unwrap(), target: sample::HOSTILE.to_owned(), outcome });
    (Report::new(Catalogue::embedded(), &sample::run(attempts), &store), store)
}

fn files() -> Files {
    let (report, store) = honest();
    signed(&report, &store, 1)
}

fn problems(files: &Files) -> Vec<String> {
    let problems = verify(files, Catalogue::embedded(), None).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

/// What a liar with a key would hand out: the report changed, and everything else made to match.
fn lie(change: impl FnOnce(&mut Report)) -> Vec<String> {
    let (mut report, store) = honest();
    change(&mut report);
    problems(&signed(&report, &store, 1))
}

#[test]
fn an_untouched_report_verifies() {
    let verified = verify(&files(), Catalogue::embedded(), Some(keys(1).0)).unwrap();
    assert_eq!((verified.evidence, verified.forms_compared, verified.key), (2, true, keys(1).0));
    assert_eq!(verified.report, honest().0);
    assert_eq!(verified.report.rows_with(Verdict::Attested), 1);
    assert_eq!(verified.report.rows_with(Verdict::Inconclusive), 1);
}

#[test]
fn any_changed_missing_or_additional_file_is_found() {
    let whole = files();
    for name in whole.keys() {
        for at in [0, whole[name].len() / 2, whole[name].len() - 1] {
            let mut changed = whole.clone();
            changed.get_mut(name).unwrap()[at] ^= 1;
            assert!(verify(&changed, Catalogue::embedded(), None).is_err(), "{name}, byte {at}");
        }
        let mut less = whole.clone();
        less.remove(name);
        assert_eq!(problems(&less), [format!("{name} is missing")]);
    }
    let mut more = whole.clone();
    more.insert("evidence/more.json".into(), Vec::new());
    assert_eq!(problems(&more), ["evidence/more.json was added"]);
}

#[test]
fn another_key_is_not_the_one_that_was_given() {
    let (report, store) = honest();
    let problems = verify(&signed(&report, &store, 2), Catalogue::embedded(), Some(keys(1).0)).unwrap_err();
    assert_eq!(problems, [Problem::Key(Sha256(keys(2).0))]);
    let refused = bundle(&report, Catalogue::embedded(), &store, keys(1).0, |_| Ok::<_, String>([0; 64]));
    assert_eq!(refused.unwrap_err(), BundleError::Signature);
    let refused = bundle(&report, Catalogue::embedded(), &store, keys(1).0, |_| Err("locked"));
    assert_eq!(refused.unwrap_err(), BundleError::Sign("locked"));
}

/// Whoever signs cannot say more than the evidence does.
#[test]
fn a_signed_lie_is_found() {
    let at = |report: &Report, verdict| report.checks.iter().position(|result| result.verdict == verdict).unwrap();
    let flattered = lie(|report| {
        let at = at(report, Verdict::Inconclusive);
        report.checks[at].verdict = Verdict::Attested;
    });
    assert!(flattered[0].starts_with("att.doc at CSA-SOP-02 is said to be attested (overdue"), "{flattered:?}");
    let glossed = lie(|report| report.checks[0].observed = "all is well".into());
    assert!(glossed[0].contains("all is well"), "{glossed:?}");
    let invented = lie(|report| {
        let at = at(report, Verdict::NotTested);
        report.checks[at].verdict = Verdict::Pass;
    });
    assert!(invented[0].contains("is said to be pass (not asked for); the evidence says inconclusive"), "{invented:?}");
    let row = lie(|report| report.requirements[0].verdict = Verdict::Pass);
    assert!(row[0].starts_with("ISVS-4.1.1 is said to be pass (none of"), "{row:?}");
    let reason = lie(|report| report.requirements[0].reason = "fine".into());
    assert!(reason[0].starts_with("ISVS-4.1.1 is said to be not-tested (fine)"), "{reason:?}");
}

#[test]
fn nothing_is_left_out_or_added_or_renamed() {
    assert_eq!(lie(|report| drop(report.requirements.remove(0))), ["the rows are not those that were selected"]);
    assert_eq!(lie(|report| report.selection.level = Some(1)), ["the rows are not those that were selected"]);
    assert_eq!(lie(|report| report.selection.level = Some(9)), ["the selection of rows cannot be: levels are 1 to 3"]);
    assert_eq!(lie(|report| report.checks.swap(0, 1))[0], "the checks are not in order from att.doc on");
    let twice = lie(|report| report.checks.insert(0, report.checks[0].clone()));
    assert_eq!(twice[0], "the checks are not in order from att.doc on");
    assert_eq!(lie(|report| report.checks[0].id = "a.check".parse().unwrap())[0], "there is no check a.check");
    assert_eq!(
        lie(|report| report.checks[0].version = 9)[0],
        "att.doc was decided by version 9 of its rule; this program has version 2"
    );
    assert_eq!(
        lie(|report| report.statements.push(Sha256::of(b""))),
        ["the statements are not those among the evidence"]
    );
    assert!(lie(|report| report.tool.catalogue = Sha256::of(b""))[0].starts_with("decided by another catalogue"));
    let earlier = lie(|report| report.started.0 -= 1);
    assert!(earlier[0].contains("the evidence says attested"), "the overdue record was in date before: {earlier:?}");
}

/// An exception that is among the evidence and not in the report was hidden from its reader.
#[test]
fn an_exception_cannot_be_hidden() {
    let (report, mut store) = honest();
    let exemption = crate::Exemption {
        check: "tls.versions".parse().unwrap(),
        target: "t".into(),
        reason: "r".into(),
        owner: "o".into(),
        approver: None,
        granted: sample::AT,
        expires: sample::AT,
    };
    store.add(Envelope::of(&exemption, None, sample::AT, "test").unwrap()).unwrap();
    assert_eq!(problems(&signed(&report, &store, 1)), ["the statements are not those among the evidence"]);
}

/// What `verify` says of files that the scope declares: `tell` makes of the record's evidence what is said to have been read.
fn declared(tell: impl FnOnce(FilePart) -> Vec<FileRead>) -> Vec<String> {
    let mut scope = Scope::of(crate::Deployment { name: "d".into(), owner: "o".into() }, Selection::default());
    scope.files.push(crate::File { path: "records".into(), format: None, feed: None, of: None });
    let (mut store, attempts) = sample::attested(&[sample::attestation("CSA-TRN-02", "att.doc")]);
    let evidence = store.files().next().unwrap().0;
    let part = FilePart { evidence, check: "att.doc".parse().unwrap(), target: "CSA-TRN-02".into() };
    store.add(Envelope::of(&scope, None, sample::AT, "test").unwrap()).unwrap();
    for read in tell(part) {
        store.add(Envelope::of(&read, None, sample::AT, "test").unwrap()).unwrap();
    }
    let report = Report::new(Catalogue::embedded(), &sample::run(attempts), &store);
    match verify(&signed(&report, &store, 1), Catalogue::embedded(), None) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// Of a declared file nothing is left out: not the file, no part of it, and no check of a part.
#[test]
fn what_a_declared_file_says_cannot_be_left_out() {
    let read = |path: &str, parts: Vec<FilePart>| FileRead { path: path.into(), parts };
    assert_eq!(declared(|part| vec![read("records", vec![part])]), [""; 0]);
    let left_out =
        ["the scope declares the file records, and the evidence does not say once what was read from it".to_owned()];
    assert_eq!(declared(|_| Vec::new()), left_out);
    assert_eq!(declared(|part| vec![read("other", vec![part])]), left_out);
    assert_eq!(declared(|_| vec![read("records", Vec::new())]), left_out);
    let twice = |part: FilePart| vec![read("records", vec![part.clone()]), read("records", vec![part.clone(), part])];
    assert_eq!(declared(twice), left_out);
    let parts = [
        |part| FilePart { evidence: Sha256::of(b"gone"), ..part },
        |part| FilePart { check: "att.inspect".parse().unwrap(), ..part },
        |part| FilePart { target: "CSA-SOP-02".into(), ..part },
    ];
    for change in parts {
        let said = declared(|part| vec![read("records", vec![part.clone(), change(part)])]);
        assert!(said.len() == 1 && said[0].contains("which was read from records, is not among"), "{said:?}");
    }
}

/// A file whose bytes are replaced and listed again.
fn with_file(name: &str, bytes: &[u8]) -> Vec<Problem> {
    let (key, pair) = keys(1);
    let mut files = files();
    files.insert(name.to_owned(), bytes.to_vec());
    files.remove(MANIFEST);
    files.remove(SIGNATURE);
    let manifest = Manifest::of(&files, key).to_json();
    files.insert(SIGNATURE.to_owned(), pair.sign(&manifest).as_ref().to_vec());
    files.insert(MANIFEST.to_owned(), manifest);
    verify(&files, Catalogue::embedded(), None).unwrap_err()
}

#[test]
fn forms_and_evidence_are_what_the_report_says() {
    assert_eq!(with_file("report.html", b"<h1>All passed</h1>"), [Problem::Form("report.html")]);
    let hash = Sha256::of(b"x");
    let name = evidence_file(&hash);
    let text = String::from_utf8(
        Envelope::of(&sample::attestation("CSA-TRN-02", "att.doc"), None, sample::AT, "t").unwrap().to_bytes().unwrap(),
    )
    .unwrap();
    assert!(with_file(&name, text.as_bytes())[0].to_string().starts_with(&format!("{name}: its hash is ")));
    let broken = with_file(&name, b"{\n}");
    assert!(
        broken[0].is_unreadable()
            && broken[0].to_string().starts_with(&format!("{name}, line 2, column 1: missing field")),
        "{broken:?}"
    );
    let report = with_file("report.json", b"{\n \"format\": 1");
    assert!(
        report[0].is_unreadable() && report[0].to_string().starts_with("report.json, line 2, column "),
        "{report:?}"
    );
}

#[test]
fn a_manifest_that_is_none_has_its_place() {
    let mut files = files();
    files.insert(MANIFEST.into(), b"{\n\"files\": }".to_vec());
    assert_eq!(problems(&files), ["manifest.json, line 2, column 10: not JSON: expected value"]);
}

//! Rows that records alone decide, from the answers to the verdict of the row: ISVS-4.1.7, CSA-GVN-02, CSA-GVN-03, CSA-PRV-04,
//! CSA-PRV-05, CSA-SDV-01, CSA-SDV-05, CSA-SDV-09, CSA-SDV-14, CSA-SNT-08, CSA-SNT-18, CSA-OPA-08, CSA-CMP-05, CSA-LBT-01, CSA-TMM-01,
//! CSA-TMM-03, CSA-SOP-02, CSA-CLS-14 and CSA-TRN-02.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use portreeve_assurance::{
    Answer, Attempt, Attestation, Catalogue, CheckId, Envelope, Method, Outcome, Reply, Report, Requirement,
    RequirementId, Run, Selection, Sha256, Store, Verdict,
};
use portreeve_types::UnixMillis;

const AT: UnixMillis = UnixMillis(1_790_000_000_000);

/// All of them: a row that another check decides too is not met by a record.
const ROWS: [&str; 19] = [
    "ISVS-4.1.7",
    "CSA-GVN-02",
    "CSA-GVN-03",
    "CSA-PRV-04",
    "CSA-PRV-05",
    "CSA-SDV-01",
    "CSA-SDV-05",
    "CSA-SDV-09",
    "CSA-SDV-14",
    "CSA-SNT-08",
    "CSA-SNT-18",
    "CSA-OPA-08",
    "CSA-CMP-05",
    "CSA-LBT-01",
    "CSA-TMM-01",
    "CSA-TMM-03",
    "CSA-SOP-02",
    "CSA-CLS-14",
    "CSA-TRN-02",
];

fn catalogue() -> &'static Catalogue {
    Catalogue::embedded()
}

fn rows() -> Vec<&'static Requirement> {
    let is_record = |check: &CheckId| catalogue().check(check).unwrap().method == Method::Attest;
    catalogue().requirements().iter().filter(|row| row.checks.iter().all(is_record)).collect()
}

/// A good record for each of these checks, changed so.
fn records(row: &Requirement, change: impl Fn(&mut Attestation)) -> Vec<Attestation> {
    let made = row.questions.iter().map(|(check, questions)| {
        let yes = |question: &String| Answer { question: question.clone(), reply: Reply::Yes, remark: String::new() };
        let mut record = Attestation {
            requirement: row.id.clone(),
            check: check.clone(),
            title: "Record".into(),
            sha256: Sha256::of(b"document"),
            owner: "Ada".into(),
            approver: "Grace".into(),
            approved: UnixMillis(AT.0 - 1),
            next_review: UnixMillis(AT.0 + 1),
            answers: questions.iter().map(yes).collect(),
        };
        change(&mut record);
        record
    });
    made.collect()
}

/// What a report on everything says of the row.
fn verdict(row: &Requirement, records: &[Attestation]) -> Verdict {
    let mut store = Store::default();
    let attempt = |record: &Attestation| {
        let target = record.requirement.to_string();
        let hash = store.add(Envelope::of(record, Some(&target), AT, "test").unwrap()).unwrap();
        Attempt { check: record.check.clone(), target, outcome: Outcome::Evidence(vec![hash]) }
    };
    let run = Run {
        attempts: records.iter().map(attempt).collect(),
        tool: ("portreeve", "test"),
        started: AT,
        ended: AT,
        selection: Selection::default(),
        targets: Vec::new(),
    };
    let report = Report::new(catalogue(), &run, &store);
    let id = |framework, id: &str| RequirementId::new(framework, id).unwrap();
    report.requirements.iter().find(|judged| id(judged.framework, &judged.id) == row.id).unwrap().verdict
}

#[test]
fn they_are_these() {
    assert_eq!(rows().iter().map(|row| row.id.to_string()).collect::<Vec<_>>(), ROWS);
}

/// Each of [`ROWS`] is met by its records, and by nothing less.
#[test]
fn a_row_is_attested_by_all_of_its_records_and_all_of_their_answers() {
    for row in rows() {
        let of = |change: &dyn Fn(&mut Attestation)| verdict(row, &records(row, change));
        let id = &row.id;
        assert_eq!(of(&|_| ()), Verdict::Attested, "{id}");
        assert_eq!(of(&|record| record.answers.last_mut().unwrap().reply = Reply::No), Verdict::Fail, "{id}");
        assert_eq!(of(&|record| record.answers[0].reply = Reply::Partly), Verdict::Partial, "{id}");
        let undecided: [&dyn Fn(&mut Attestation); 5] = [
            &|record| record.next_review = AT,
            &|record| record.approver = "ada".into(),
            &|record| record.approved = UnixMillis(AT.0 + 1),
            &|record| drop(record.answers.pop()),
            &|record| record.answers[0].question = "Is it fine?".into(),
        ];
        for (at, change) in undecided.into_iter().enumerate() {
            assert_eq!(of(change), Verdict::Inconclusive, "{id}: {at}");
        }
        assert_eq!(verdict(row, &[]), Verdict::NotTested, "{id}");
        let all = records(row, |_| ());
        if all.len() > 1 {
            assert_eq!(verdict(row, &all[1..]), Verdict::Partial, "{id}: one of its records is missing");
        }
    }
}

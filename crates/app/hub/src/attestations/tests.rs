//! Records in a hub, on its own clock and on one that the test moves.

use std::sync::Arc;

use portreeve_assurance::{
    Answer, Attestation, Catalogue, Envelope, Outcome as Tried, Reply, Sha256, Store, Verdict, judge_one,
};
use portreeve_config::{Config, Role};
use portreeve_events::Kind as EventKind;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::{Actor, AdminRequest, Hub, Now};

const DAY: Duration = Duration::from_secs(86_400);

struct Desk {
    dir: TempDir,
    hub: Arc<Hub>,
    now: UnixMillis,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = UnixMillis(1_893_486_600_000);
        let hub = Hub::open(&dir.path().join("hub"), Config::default(), now).unwrap();
        Self { dir, hub, now }
    }

    fn restarted(self) -> Self {
        let Self { dir, hub, now } = self;
        assert!(hub.finish(Duration::from_secs(30)));
        drop(hub);
        let hub = Hub::open(&dir.path().join("hub"), Config::default(), now).unwrap();
        Self { dir, hub, now }
    }

    /// Does it at the desk's time.
    fn ask(&self, name: &str, request: AdminRequest) -> Result<Value, AdminError> {
        let actor = Actor { name: name.to_owned(), role: Role::Administrator };
        self.hub.perform(&actor, request, self.now).map(|outcome| outcome.result)
    }

    fn add(&self, name: &str) -> u64 {
        let added = self.ask(name, AdminRequest::AttestAdd { draft: Box::new(draft(self.now)) }).unwrap();
        assert_eq!((&added["state"], &added["added_by"]), (&"proposed".into(), &name.into()));
        added["record"].as_u64().unwrap()
    }

    fn review(&self, name: &str, number: u64, approve: bool) -> Result<Value, AdminError> {
        self.ask(name, AdminRequest::AttestReview { number, approve, remark: "read it".into() })
    }

    fn expire(&self, number: u64, dry_run: bool) -> Result<Value, AdminError> {
        self.ask("ada", AdminRequest::AttestExpire { number, reason: "the plan is void".into(), dry_run })
    }

    fn state(&self, number: u64) -> String {
        let shown = self.ask("ada", AdminRequest::AttestShow { number }).unwrap();
        shown["state"].as_str().unwrap().to_owned()
    }

    fn listed(&self, filter: RecordFilter) -> Vec<u64> {
        let listed = self.ask("ada", AdminRequest::AttestList { filter }).unwrap();
        listed.as_array().unwrap().iter().map(|row| row["record"].as_u64().unwrap()).collect()
    }

    fn exported(&self) -> Vec<Attestation> {
        let told = self.ask("ada", AdminRequest::AttestExport).unwrap();
        assert_eq!(told["taken_ms"], self.now.0);
        serde_json::from_value(told["records"].clone()).unwrap()
    }

    /// What an audit at the desk's time makes of what it is given.
    fn verdict(&self) -> Option<Verdict> {
        let mut records = self.exported();
        let record = records.pop().filter(|_| records.is_empty())?;
        let target = record.requirement.to_string();
        let mut store = Store::default();
        let hash = store.add(Envelope::of(&record, Some(&target), self.now, "test").unwrap()).unwrap();
        let check = Catalogue::embedded().check(&record.check).unwrap();
        Some(judge_one(check, &target, &Tried::Evidence(vec![hash]), &store, self.now).verdict)
    }

    fn count(&self, kind: EventKind) -> u64 {
        self.hub.events().count(kind)
    }
}

fn draft(now: UnixMillis) -> RecordDraft {
    let (requirement, check) = ("CSA-TRN-02".parse().unwrap(), "att.doc".parse().unwrap());
    let yes = |question: &String| Answer { question: question.clone(), reply: Reply::Yes, remark: "page 3".into() };
    RecordDraft {
        answers: Catalogue::embedded().questions(&requirement, &check).iter().map(yes).collect(),
        requirement,
        check,
        title: "Training plan".into(),
        document: DocumentSeal { name: "plan.pdf".into(), bytes: 4, sha256: Sha256::of(b"plan") },
        owner: "Olga Ivanova".into(),
        next_review: now.plus(365 * DAY),
    }
}

fn refused(done: Result<Value, AdminError>, word: &str) {
    let error = done.unwrap_err();
    assert!(matches!(&error, AdminError::Refused(text) if text.contains(word)), "{error:?}");
}

/// A record counts when somebody else has approved it, and never on the word of one.
#[test]
fn nobody_approves_what_they_added_or_answer_for() {
    let desk = Desk::new();
    let number = desk.add("ada");
    assert!(desk.exported().is_empty(), "it waits");
    for approve in [true, false] {
        refused(desk.review("ada", number, approve), "added");
        refused(desk.review(" olga  IVANOVA", number, approve), "answers for");
        refused(desk.review(Actor::OFFLINE, number, approve), "two persons");
    }
    refused(desk.ask(Actor::OFFLINE, AdminRequest::AttestAdd { draft: Box::new(draft(desk.now)) }), "two persons");
    refused(desk.review("grace", 99, true), "no record 99");
    let approved = desk.review("grace", number, true).unwrap();
    assert_eq!((&approved["state"], &approved["reviewed_by"]), (&"approved".into(), &"grace".into()));
    refused(desk.review("greta", number, false), "is approved");
    let exported = desk.exported();
    assert_eq!((exported[0].approver.as_str(), exported[0].approved), ("grace", desk.now));
    assert_eq!(exported[0].sha256, Sha256::of(b"plan"));
    assert_eq!(desk.verdict(), Some(Verdict::Attested));
    assert_eq!(desk.count(EventKind::AttestationChanged), 2);
}

#[test]
fn a_rejected_record_decides_nothing() {
    let desk = Desk::new();
    let number = desk.add("ada");
    desk.review("grace", number, false).unwrap();
    assert_eq!((desk.state(number).as_str(), desk.verdict()), ("rejected", None));
    refused(desk.review("greta", number, true), "is rejected");
    refused(desk.expire(number, false), "rejected already");
}

#[test]
fn only_the_questions_of_the_row_are_answered() {
    let desk = Desk::new();
    let wrong = |change: &dyn Fn(&mut RecordDraft), word: &str| {
        let mut draft = draft(desk.now);
        change(&mut draft);
        let done = desk.ask("ada", AdminRequest::AttestAdd { draft: Box::new(draft) });
        let error = done.unwrap_err();
        assert!(matches!(&error, AdminError::Invalid(text) if text.contains(word)), "{word}: {error:?}");
    };
    wrong(&|draft| _ = draft.answers.pop(), "answered 0 times");
    wrong(&|draft| draft.answers[0].question = "Is it fine?".into(), "answered 0 times");
    wrong(&|draft| draft.answers.push(draft.answers[0].clone()), "answered 2 times");
    wrong(
        &|draft| draft.answers.push(Answer { question: "Is it fine?".into(), ..draft.answers[0].clone() }),
        "not asked",
    );
    wrong(&|draft| draft.requirement = "ISVS-4.2.2".parse().unwrap(), "no record att.doc decides ISVS-4.2.2");
    wrong(&|draft| draft.check = "tls.versions".parse().unwrap(), "no record tls.versions decides");
    wrong(&|draft| draft.title = " ".into(), "the title is empty");
    wrong(&|draft| draft.owner = "a\u{1b}[2J".into(), "do not print");
    wrong(&|draft| draft.answers[0].remark = "a\nb".into(), "do not print");
    wrong(&|draft| draft.document.name = "n".repeat(501), "more than 500 bytes");
    wrong(&|draft| draft.document.bytes = 0, "the document is empty");
    wrong(&|draft| draft.next_review = desk.now, "in the future");
    wrong(&|draft| draft.next_review = desk.now.plus(731 * DAY + Duration::from_millis(1)), "within 731 days");
    assert!(desk.listed(RecordFilter { all: true, ..Default::default() }).is_empty());
    let mut last = draft(desk.now);
    last.next_review = desk.now.plus(731 * DAY);
    last.answers.reverse();
    let added = desk.ask("ada", AdminRequest::AttestAdd { draft: Box::new(last) }).unwrap();
    assert_eq!(added["answers"][0]["question"], draft(desk.now).answers[0].question, "in the order of the row");
}

/// CSA-PRV-05: a renewal takes the place of what counted when it is approved, not before, and what was is kept.
#[test]
fn a_renewal_takes_the_place_of_what_counted() {
    let mut desk = Desk::new();
    let first = desk.add("ada");
    desk.review("grace", first, true).unwrap();
    desk.now = desk.now.plus(DAY);
    let (second, third) = (desk.add("ada"), desk.add("grace"));
    assert_eq!([first, second, third].map(|number| desk.state(number)), ["approved", "superseded", "proposed"]);
    assert_eq!(desk.exported()[0].approved, UnixMillis(desk.now.0 - 86_400_000));
    desk.review("ada", third, true).unwrap();
    assert_eq!([first, third].map(|number| desk.state(number)), ["superseded", "approved"]);
    assert_eq!((desk.exported().len(), desk.exported()[0].approved), (1, desk.now));
    assert_eq!(desk.ask("ada", AdminRequest::AttestShow { number: first }).unwrap()["superseded_by"], third);
    assert_eq!(desk.listed(RecordFilter::default()), [third]);
    assert_eq!(desk.listed(RecordFilter { all: true, ..Default::default() }), [first, second, third]);
    let desk = desk.restarted();
    assert_eq!([first, second, third].map(|number| desk.state(number)), ["superseded", "superseded", "approved"]);
    assert_eq!(desk.add("ada"), third + 1, "no number is given twice");
}

#[test]
fn what_is_withdrawn_counts_no_more_at_once() {
    let desk = Desk::new();
    let number = desk.add("ada");
    desk.review("grace", number, true).unwrap();
    let events = desk.count(EventKind::AttestationChanged);
    assert_eq!(desk.expire(number, true).unwrap()["state"], "expired", "what would be");
    assert_eq!((desk.state(number).as_str(), desk.count(EventKind::AttestationChanged)), ("approved", events));
    let blank = AdminRequest::AttestExpire { number, reason: " ".into(), dry_run: false };
    assert!(matches!(desk.ask("ada", blank), Err(AdminError::Invalid(_))));
    desk.expire(number, false).unwrap();
    assert_eq!((desk.state(number).as_str(), desk.verdict()), ("expired", None));
    let desk = desk.restarted();
    assert_eq!((desk.state(number).as_str(), desk.verdict()), ("expired", None));
}

/// CSA-GVN-03: an overdue record is told of once, whatever restarts, and turns its row undecided.
#[test]
fn what_is_overdue_is_told_once_and_decides_nothing() {
    let mut desk = Desk::new();
    let number = desk.add("ada");
    desk.review("grace", number, true).unwrap();
    let mut mono_ms = 0;
    let mut tick = |desk: &Desk| {
        mono_ms += crate::ATTESTATIONS_EVERY_MS;
        desk.hub.tick(Now { wall: desk.now, mono_ms });
        desk.count(EventKind::AttestationOverdue)
    };
    let alerted = |desk: &Desk| {
        // Events are of the machine's own time.
        desk.hub.tend_alerts(Now { wall: desk.hub.wall_clock(), mono_ms: 1 });
        let alerts = desk.ask("ada", AdminRequest::AlertList { all: true }).unwrap().to_string();
        alerts.contains("attestation_overdue") && alerts.contains("att.doc of CSA-TRN-02, record 1")
    };
    let within =
        |desk: &Desk, days: u64| desk.listed(RecordFilter { due_within_s: Some(days * 86_400), ..Default::default() });
    assert_eq!((within(&desk, 364), within(&desk, 365)), (vec![], vec![number]));
    desk.now = UnixMillis(desk.now.plus(365 * DAY).0 - 1);
    assert_eq!((tick(&desk), desk.verdict(), alerted(&desk)), (0, Some(Verdict::Attested), false));
    desk.now = UnixMillis(desk.now.0 + 1);
    assert_eq!((tick(&desk), tick(&desk), alerted(&desk)), (1, 1, true));
    assert_eq!((desk.state(number).as_str(), desk.verdict()), ("overdue", Some(Verdict::Inconclusive)));
    assert_eq!(within(&desk, 0), [number]);
    let overdue = RecordFilter { state: Some(RecordState::Overdue), ..Default::default() };
    assert_eq!(desk.listed(overdue), [number]);
    let mut desk = desk.restarted();
    assert_eq!((tick(&desk), desk.state(number).as_str()), (0, "overdue"));
    let renewed = desk.add("ada");
    assert_eq!(desk.verdict(), Some(Verdict::Inconclusive), "a proposal renews nothing");
    desk.review("grace", renewed, true).unwrap();
    assert_eq!((desk.state(number).as_str(), desk.verdict()), ("superseded", Some(Verdict::Attested)));
    desk.now = desk.now.plus(366 * DAY);
    assert_eq!(tick(&desk), 1, "the next one is told of anew");
    refused(desk.review("greta", renewed, true), "is overdue");
}

#[test]
fn a_proposal_that_waited_too_long_is_not_approved() {
    let mut desk = Desk::new();
    let number = desk.add("ada");
    desk.now = desk.now.plus(365 * DAY);
    refused(desk.review("grace", number, true), "not in the future any more");
    assert_eq!(desk.state(number), "proposed");
    desk.review("grace", number, false).unwrap();
}

/// Who may propose, and who may judge; auditors judge, and do nothing else.
#[test]
fn roles_propose_and_judge() {
    let desk = Desk::new();
    let administer = |role, request| {
        desk.hub
            .administer(&Actor { name: "vera".into(), role }, request)
            .map_err(|error| matches!(error, AdminError::Role { .. }))
    };
    let add = || AdminRequest::AttestAdd { draft: Box::new(draft(desk.hub.wall_clock())) };
    let review = |number| AdminRequest::AttestReview { number, approve: true, remark: String::new() };
    for role in [Role::Viewer, Role::ReleaseSigner, Role::Auditor] {
        assert!(administer(role, add()).is_err_and(|of_role| of_role), "{role}");
    }
    let number = desk.add("ada");
    for role in [Role::Viewer, Role::ReleaseSigner] {
        assert!(administer(role, review(number)).is_err_and(|of_role| of_role), "{role}");
    }
    assert!(administer(Role::Auditor, review(number)).is_ok());
    assert!(administer(Role::Viewer, AdminRequest::AttestShow { number }).is_ok());
    for role in [Role::Operator, Role::KeyManager, Role::Administrator] {
        assert!(administer(role, add()).is_ok(), "{role}");
    }
}

#[test]
fn the_ledger_tells_what_was_vouched_for() {
    let note = AdminRequest::AttestAdd { draft: Box::new(draft(UnixMillis(0))) }.note();
    assert!(note.changes && note.request == "attest-add");
    assert_eq!(note.subject, format!("att.doc of CSA-TRN-02, document {}", Sha256::of(b"plan")));
    let note = AdminRequest::AttestReview { number: 7, approve: false, remark: "old".into() }.note();
    assert_eq!((note.subject.as_str(), note.reason.as_str(), note.changes), ("record 7 rejected", "old", true));
    let expire = |dry_run| AdminRequest::AttestExpire { number: 7, reason: "void".into(), dry_run }.note().changes;
    assert!(expire(false) && !expire(true) && !AdminRequest::AttestExport.note().changes);
}

/// However often a record is renewed, what is kept has a bound, and what counts is never what goes.
#[test]
fn the_oldest_that_ended_makes_room() {
    let mut book = Book::resume(&[]);
    let now = UnixMillis(1_893_486_600_000);
    book.add(draft(now), "ada", now).unwrap();
    book.review(1, true, "", "grace", now).unwrap();
    for _ in 0..RECORDS_MAX {
        book.add(draft(now), "ada", now).unwrap();
        assert!(book.make_room(now).len() <= 1);
    }
    assert_eq!((book.records.len(), book.next), (RECORDS_MAX, RECORDS_MAX as u64 + 2));
    assert_eq!(book.records[&1].state(now), RecordState::Approved);
    assert!(!book.records.contains_key(&2) && book.records.contains_key(&3));
    let ops = book.ops([1], &[2]);
    assert!(matches!(&ops[2], RegistryOp::DeleteBlob { name } if name == "attestation/0000000002"), "{ops:?}");
}

#[test]
fn a_damaged_record_decides_nothing_and_its_number_is_not_used_again() {
    let damaged = [(blob_name(4), b"{".to_vec()), (NEXT_BLOB.to_owned(), 9_u64.to_be_bytes().to_vec())];
    let book = Book::resume(&damaged);
    assert!(book.records.is_empty() && book.next == 9);
    let short = [(NEXT_BLOB.to_owned(), vec![1])];
    assert_eq!(Book::resume(&short).next, 1);
}

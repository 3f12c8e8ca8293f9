use super::*;
use crate::{Envelope, Exemption, report::sample};

const AT: UnixMillis = sample::AT;

fn catalogue() -> &'static Catalogue {
    Catalogue::embedded()
}

fn id(text: &str) -> CheckId {
    text.parse().unwrap()
}

fn result(check: &str, target: &str, verdict: Verdict) -> CheckResult {
    let (observed, expected) = (format!("{check} was seen"), "more".to_owned());
    CheckResult { id: id(check), version: 1, target: target.into(), verdict, observed, expected, evidence: Vec::new() }
}

/// The verdict on a row, and why, by these results of its checks.
fn row(name: &str, store: &Store, results: &[(&str, Verdict)]) -> (Verdict, String) {
    let row = catalogue().requirement(&name.parse().unwrap()).unwrap();
    let target = |check: &str| if check.starts_with("att.") { name.to_owned() } else { "tls://a:1".to_owned() };
    let results: Vec<CheckResult> =
        results.iter().map(|(check, verdict)| result(check, &target(check), *verdict)).collect();
    let verdict = conclude(catalogue(), &[row], &results, store, AT).remove(0);
    (verdict.verdict, verdict.reason)
}

fn combined(verdicts: &[Verdict]) -> Verdict {
    combine(verdicts.iter().copied())
}

#[test]
fn several_verdicts_make_one_as_the_rule_says() {
    use Verdict::*;
    for (verdicts, one) in [
        (&[][..], NotTested),
        (&[Pass, Pass], Pass),
        (&[Pass, Attested], Pass),
        (&[Attested, Attested], Attested),
        (&[Pass, NotTested], Partial),
        (&[Attested, NotTested], Partial),
        (&[NotTested, NotTested], NotTested),
        (&[NotApplicable, NotApplicable], NotApplicable),
        (&[NotApplicable, Pass], Pass),
        (&[NotApplicable, NotTested], NotTested),
        (&[Pass, Partial], Partial),
        (&[Partial, Exception], Exception),
        (&[Exception, Pass, NotTested], Exception),
        (&[Exception, Inconclusive], Inconclusive),
        (&[Inconclusive, Pass], Inconclusive),
        (&[Fail, Inconclusive, Exception, Pass, NotTested, NotApplicable], Fail),
    ] {
        assert_eq!(combined(verdicts), one, "{verdicts:?}");
    }
}

proptest::proptest! {
    /// A pass needs every part that counts to be one, and more knowledge of failures never helps.
    #[test]
    fn nothing_missing_ever_passes(picks in proptest::collection::vec(0..8_usize, 0..12)) {
        let verdicts: Vec<Verdict> = picks.iter().map(|at| Verdict::ALL[*at]).collect();
        let one = combined(&verdicts);
        let only_good = verdicts.iter().all(|verdict| matches!(verdict, Verdict::Pass | Verdict::Attested | Verdict::NotApplicable));
        proptest::prop_assert_eq!(matches!(one, Verdict::Pass | Verdict::Attested | Verdict::NotApplicable), only_good && !verdicts.is_empty());
        let mut reversed = verdicts.clone();
        reversed.reverse();
        proptest::prop_assert_eq!(combined(&reversed), one, "order says nothing");
        let worse: Vec<Verdict> = verdicts.into_iter().chain([Verdict::Fail]).collect();
        proptest::prop_assert_eq!(combined(&worse), Verdict::Fail);
    }
}

#[test]
fn a_row_passes_only_with_all_its_checks() {
    let store = Store::default();
    let all = ["tls.suites", "dtls.suites", "tls.pqc", "cap.tls"];
    let with = |last| {
        let mut results = all.map(|check| (check, Verdict::Pass));
        results[3].1 = last;
        row("GLOSSARY-P1", &store, &results)
    };
    assert_eq!(with(Verdict::Pass), (Verdict::Pass, "4 of 4 checks".into()));
    assert_eq!(with(Verdict::NotTested), (Verdict::Partial, "not tested: cap.tls".into()));
    assert_eq!(with(Verdict::Inconclusive), (Verdict::Inconclusive, "cap.tls at tls://a:1: cap.tls was seen".into()));
    assert_eq!(with(Verdict::Fail).0, Verdict::Fail);
    assert_eq!(with(Verdict::Exception).0, Verdict::Exception);
    assert_eq!(with(Verdict::NotApplicable), (Verdict::Pass, "3 of 4 checks".into()));
    let (verdict, reason) = row("GLOSSARY-P1", &store, &[]);
    assert_eq!(
        (verdict, reason.as_str()),
        (Verdict::NotTested, "none of tls.suites, dtls.suites, tls.pqc, cap.tls was made")
    );
}

#[test]
fn one_target_that_was_left_out_makes_it_partial() {
    let row = catalogue().requirement(&"IOTSF-2.4.7.24".parse().unwrap()).unwrap();
    let results = [
        result("hub.queue", "a", Verdict::Pass),
        result("outage.probe", "a", Verdict::Pass),
        result("outage.probe", "b", Verdict::NotTested),
    ];
    let verdict = conclude(catalogue(), &[row], &results, &Store::default(), AT).remove(0);
    assert_eq!((verdict.verdict, verdict.reason.as_str()), (Verdict::Partial, "not at every target: outage.probe"));
}

/// Rows of the kind attest: CSA-TRN-01 rests on a record and on the registry of roles.
#[test]
fn only_a_record_attests() {
    use Verdict::*;
    let store = Store::default();
    let by = |record, measured| row("CSA-TRN-01", &store, &[("att.doc", record), ("hub.rbac", measured)]);
    assert_eq!(by(Attested, Pass), (Attested, "2 of 2 checks; attested: att.doc".into()));
    assert_eq!(by(NotTested, Pass), (Partial, "not tested: att.doc".into()));
    assert_eq!(by(NotApplicable, Pass).0, Partial);
    assert_eq!(by(Inconclusive, Pass).0, Inconclusive, "overdue");
    assert_eq!(by(Attested, NotTested).0, Partial);
    assert_eq!(by(Attested, Fail).0, Fail, "what is measured weighs more than paper");
    assert_eq!(by(Fail, Pass).0, Fail);
}

/// A row that checks decide is not attested by a record beside them.
#[test]
fn a_record_beside_measurements_lets_them_pass() {
    use Verdict::*;
    let by = |record| {
        row("IIITA-DI5", &Store::default(), &[("cfg.mobile", Pass), ("hub.sessions", Pass), ("att.doc", record)])
    };
    assert_eq!(
        by(Attested).0,
        if catalogue().requirement(&"IIITA-DI5".parse().unwrap()).unwrap().kind == Kind::Attest {
            Attested
        } else {
            Pass
        }
    );
    assert_eq!(
        row(
            "CSA-COM-10",
            &Store::default(),
            &[("cap.wifi.rsn", Pass), ("cap.ble.enc", Pass), ("cap.zigbee.key", Pass), ("att.doc", Attested)]
        )
        .0,
        Pass
    );
}

#[test]
fn a_record_counts_only_for_the_row_that_it_names() {
    let row = catalogue().requirement(&"CSA-TRN-02".parse().unwrap()).unwrap();
    let of = |target: &str| {
        conclude(catalogue(), &[row], &[result("att.doc", target, Verdict::Attested)], &Store::default(), AT)
            .remove(0)
            .verdict
    };
    assert_eq!(of("CSA-TRN-02"), Verdict::Attested);
    assert_eq!(of("CSA-TRN-01"), Verdict::NotTested);
}

fn not_applicable(owner: &str, next_review: u64) -> Store {
    let word = NotApplicable {
        subject: "ISVS-4.3.3".to_owned().try_into().unwrap(),
        reason: "no radio".into(),
        owner: owner.into(),
        stated: UnixMillis(AT.0 - 1),
        next_review: UnixMillis(next_review),
    };
    let mut store = Store::default();
    store.add(Envelope::of(&word, None, AT, "test").unwrap()).unwrap();
    store
}

/// ISVS-4.3.3 asks for PINs of old Bluetooth.
#[test]
fn what_does_not_apply_is_somebodys_word_and_yields_to_what_is_seen() {
    use Verdict::*;
    let store = not_applicable("Ada", AT.0 + 1);
    assert_eq!(row("ISVS-4.3.3", &store, &[]), (NotApplicable, "Ada: no radio".into()));
    assert_eq!(row("ISVS-4.3.3", &store, &[("cap.hci", Fail)]).0, Fail);
    assert_eq!(row("ISVS-4.3.3", &store, &[("cap.hci", Exception)]).0, Exception);
    assert_eq!(row("ISVS-4.3.4", &store, &[]).0, NotTested, "another row");
    assert_eq!(row("ISVS-4.3.3", &not_applicable(" ", AT.0 + 1), &[]).0, NotTested, "nobody's word");
    assert_eq!(row("ISVS-4.3.3", &not_applicable("Ada", AT.0), &[]).0, NotTested, "overdue");
}

fn exemption() -> Exemption {
    Exemption {
        check: id("tls.versions"),
        target: "tls://a:1".into(),
        reason: "legacy pump".into(),
        owner: "Ada".into(),
        approver: None,
        granted: UnixMillis(AT.0),
        expires: UnixMillis(AT.0 + 1),
    }
}

/// What an exception makes of this verdict on a check of another kind, which [`excepted`] is given as a rule found it.
fn with(exemption: &Exemption, verdict: Verdict, check: &str, target: &str, at: UnixMillis) -> Verdict {
    let mut store = Store::default();
    store.add(Envelope::of(exemption, None, AT, "test").unwrap()).unwrap();
    let judgement = Judgement { verdict, observed: "TLS 1.0".into(), expected: String::new() };
    let judgement = excepted(judgement, catalogue().check(&id(check)).unwrap(), target, &store, at);
    assert!(judgement.observed.contains("TLS 1.0"), "what was seen stays");
    judgement.verdict
}

#[test]
fn an_exception_is_named_in_date_and_of_one_check_at_one_target() {
    use Verdict::*;
    let at = |verdict| with(&exemption(), verdict, "tls.versions", "tls://a:1", AT);
    assert_eq!(
        [at(Fail), at(Partial), at(Pass), at(Inconclusive), at(NotTested)],
        [Exception, Exception, Pass, Inconclusive, NotTested]
    );
    assert_eq!(with(&exemption(), Fail, "tls.suites", "tls://a:1", AT), Fail);
    assert_eq!(with(&exemption(), Fail, "tls.versions", "tls://b:1", AT), Fail);
    assert_eq!(with(&exemption(), Fail, "tls.versions", "tls://a:1", UnixMillis(AT.0 + 1)), Fail, "expired");
    assert_eq!(with(&exemption(), Fail, "tls.versions", "tls://a:1", UnixMillis(AT.0 - 1)), Fail, "not yet");
    assert_eq!(with(&Exemption { owner: String::new(), ..exemption() }, Fail, "tls.versions", "tls://a:1", AT), Fail);
    assert_eq!(with(&Exemption { reason: " ".into(), ..exemption() }, Fail, "tls.versions", "tls://a:1", AT), Fail);
    let record = Exemption { check: id("att.doc"), ..exemption() };
    assert_eq!(with(&record, Fail, "att.doc", "tls://a:1", AT), Fail, "records are renewed, not excepted");
}

fn judged(outcome: Outcome, store: &Store) -> (Verdict, String) {
    let attempt = Attempt { check: id("att.doc"), target: "CSA-TRN-02".into(), outcome };
    let mut results = judge(catalogue(), &[attempt], store, AT);
    let result = results.remove(0);
    (result.verdict, result.observed)
}

#[test]
fn without_evidence_there_is_no_verdict_worth_the_name() {
    let store = Store::default();
    assert_eq!(judged(Outcome::NotTested("no time".into()), &store), (Verdict::NotTested, "no time".into()));
    assert_eq!(judged(Outcome::Inconclusive("it hangs".into()), &store), (Verdict::Inconclusive, "it hangs".into()));
    assert_eq!(judged(Outcome::Evidence(Vec::new()), &store), (Verdict::Inconclusive, "there is no evidence".into()));
    let missing = Outcome::Evidence(vec![Sha256::of(b"")]);
    assert_eq!(judged(missing, &store), (Verdict::Inconclusive, "evidence is missing".into()));
}

#[test]
fn evidence_of_another_target_decides_nothing() {
    let mut store = Store::default();
    let record = sample::attestation("CSA-TRN-02", "att.doc");
    let hash = store.add(Envelope::of(&record, Some("CSA-TRN-01"), AT, "test").unwrap()).unwrap();
    assert_eq!(
        judged(Outcome::Evidence(vec![hash]), &store),
        (Verdict::Inconclusive, format!("evidence {hash} is of another target"))
    );
}

#[test]
fn evidence_that_is_not_of_its_kind_decides_nothing() {
    let mut store = Store::default();
    let mut envelope = Envelope::of(&sample::attestation("CSA-TRN-02", "att.doc"), None, AT, "test").unwrap();
    envelope.data["colour"] = 1.into();
    let hash = store.add(envelope).unwrap();
    let (verdict, observed) = judged(Outcome::Evidence(vec![hash]), &store);
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(observed.contains("unknown field `colour`"), "{observed}");
}

#[test]
fn a_check_without_a_rule_is_not_tested_whatever_there_is() {
    let (store, attempts) = sample::attested(&[sample::attestation("CSA-TRN-02", "att.doc")]);
    let untaught = catalogue().checks().iter().find(|check| rule(check.id.as_str()).is_none());
    let Some(check) = untaught else { return };
    let attempt = Attempt { check: check.id.clone(), ..attempts[0].clone() };
    assert_eq!(judge(catalogue(), &[attempt], &store, AT)[0].verdict, Verdict::NotTested);
}

#[test]
fn of_two_attempts_the_worse_counts_and_the_order_does_not() {
    let (store, mut attempts) = sample::attested(&[sample::attestation("CSA-TRN-02", "att.doc")]);
    let good = attempts.remove(0);
    let bad = Attempt { outcome: Outcome::Inconclusive("it hangs".into()), ..good.clone() };
    let unknown = Attempt { check: id("no.such"), ..good.clone() };
    let one = judge(catalogue(), &[good.clone(), bad.clone(), unknown], &store, AT);
    assert_eq!(one, judge(catalogue(), &[bad, good], &store, AT));
    assert_eq!((one.len(), one[0].verdict), (1, Verdict::Inconclusive));
}

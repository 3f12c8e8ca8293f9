//! A report with every verdict and with hostile text, for the tests of this folder.

use portreeve_types::UnixMillis;

use super::{Report, Run};
use crate::{
    Answer, Attempt, Attestation, Catalogue, CheckResult, Envelope, Outcome, Reply, Selection, Sha256, Store, Verdict,
    conclude, text,
};

/// A target that tries to leave whatever element, cell or line it stands in.
pub(crate) const HOSTILE: &str =
    "mqtts://\"><script>alert(1)</script>'<img src=x onerror=alert(1)>]]>\u{1b}[2J\u{202e}:8883";
/// The target of a result whose observation looks like a formula.
pub(crate) const HOSTILE_CELL: &str = "tls://formula:443";

pub(crate) const AT: UnixMillis = UnixMillis(1_790_000_000_000);
const DAY_MS: u64 = 86_400_000;

/// An attestation in date.
pub(crate) fn attestation(row: &str, check: &str) -> Attestation {
    let (requirement, check) = (row.parse().unwrap(), check.parse().unwrap());
    let yes = |question: &String| Answer { question: question.clone(), reply: Reply::Yes, remark: String::new() };
    Attestation {
        answers: Catalogue::embedded().questions(&requirement, &check).iter().map(yes).collect(),
        requirement,
        check,
        title: "Network policy".into(),
        sha256: Sha256::of(b"the document"),
        owner: "Ada".into(),
        approver: "Grace".into(),
        approved: UnixMillis(AT.0 - DAY_MS),
        next_review: UnixMillis(AT.0 + DAY_MS),
    }
}

/// A store with these attestations, and the attempts that they belong to.
pub(crate) fn attested(records: &[Attestation]) -> (Store, Vec<Attempt>) {
    let mut store = Store::default();
    let attempts = records
        .iter()
        .map(|record| {
            let target = record.requirement.to_string();
            let envelope = Envelope::of(record, Some(&target), AT, "test").unwrap();
            let hash = store.add(envelope).unwrap();
            Attempt { check: record.check.clone(), target, outcome: Outcome::Evidence(vec![hash]) }
        })
        .collect();
    (store, attempts)
}

/// Of these attempts.
pub(crate) fn run(attempts: Vec<Attempt>) -> Run<'static> {
    Run {
        tool: ("portreeve", env!("CARGO_PKG_VERSION")),
        started: AT,
        ended: UnixMillis(AT.0 + 1_500),
        selection: Selection::default(),
        targets: vec![HOSTILE.to_owned()],
        attempts,
    }
}

/// A report with every verdict, some of which no evidence is behind.
pub(crate) fn report() -> Report {
    let catalogue = Catalogue::embedded();
    let (store, mut attempts) = attested(&[attestation("CSA-TRN-02", "att.doc"), attestation("CSA-SOP-02", "att.doc")]);
    attempts.push(Attempt {
        check: "mqtt.anon".parse().unwrap(),
        target: HOSTILE.to_owned(),
        outcome: Outcome::NotTested("not asked for".into()),
    });
    let mut report = Report::new(catalogue, &run(attempts), &store);
    report.checks.extend([
        result("tls.versions", HOSTILE, Verdict::Fail),
        result("tls.suites", HOSTILE_CELL, Verdict::Pass),
        result("cap.hci", HOSTILE, Verdict::Exception),
        result("hub.registry", HOSTILE, Verdict::Pass),
        result("port.scan", HOSTILE, Verdict::Inconclusive),
        result("cfg.ssh", HOSTILE, Verdict::Partial),
        result("hub.ledger", HOSTILE, Verdict::Pass),
        result("cap.rf.privacy", HOSTILE, Verdict::NotApplicable),
    ]);
    report.checks.sort_by(|one, other| (&one.id, &one.target).cmp(&(&other.id, &other.target)));
    let rows = catalogue.select(&report.selection);
    report.requirements = conclude(catalogue, &rows, &report.checks, &store, AT);
    report
}

fn result(check: &str, target: &str, verdict: Verdict) -> CheckResult {
    CheckResult {
        id: check.parse().unwrap(),
        version: 1,
        target: text::line(target),
        verdict,
        observed: text::line("=cmd|' /C calc'!A0 & <b>\n\u{1b}"),
        expected: "1.2, \"1.3\"".into(),
        evidence: vec![Sha256::of(check.as_bytes())],
    }
}

//! From evidence to verdicts: of every check at every target, then of every row.
//!
//! **A check** is judged by its rule. Without evidence it is `not-tested` or `inconclusive`, never more. An exception that covers the
//! check at this target in its time turns `fail` and `partial` into `exception`; what was observed stays.
//!
//! **Several verdicts make one** by the first of these that applies:
//! 1. one is `fail`: `fail`;
//! 2. one is `inconclusive`: `inconclusive`;
//! 3. one is `exception`: `exception`;
//! 4. one is `partial`, or some are `not-tested` and others are not: `partial`;
//! 5. all are `not-tested`, or there are none: `not-tested`;
//! 6. one is `pass`: `pass`; otherwise `attested`.
//!
//! `not-applicable` is left out; if nothing else is there, that is the verdict.
//!
//! **A row** first makes one verdict of each of its checks, over all targets (a record counts only for the row that it names), and then
//! one of these. A check that somebody named says does not apply, and that was not made, is `not-applicable`. Then
//! - a row that somebody named says does not apply is `not-applicable`, unless the verdict is `fail` or `exception`: what is seen weighs
//!   more than what is said;
//! - a row that a record has to decide is `attested` if its records are and nothing else speaks against it, and no more than `partial`
//!   without one, whatever was measured.

use std::collections::BTreeMap;

use portreeve_types::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::{
    Catalogue, Check, CheckId, Framework, Inputs, Judgement, Kind, Method, NotApplicable, Requirement, Sha256, Store,
    Verdict, evidence::Subject, moment, rule, text,
};

/// A check that was to be made at a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// The check.
    pub check: CheckId,
    /// The target; for records, the row.
    pub target: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Evidence: what the rule judges.
    Evidence(Vec<Sha256>),
    /// It was tried, and there is no evidence: why.
    Inconclusive(String),
    /// It was not tried: why.
    NotTested(String),
}

/// The verdict on a check at a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckResult {
    /// The check.
    pub id: CheckId,
    /// Of its rule.
    pub version: u32,
    /// The target; for records, the row.
    pub target: String,
    /// What follows.
    pub verdict: Verdict,
    /// One line: what was seen.
    pub observed: String,
    /// One line: what would pass.
    pub expected: String,
    /// What the rule judged.
    pub evidence: Vec<Sha256>,
}

/// The verdict on a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowVerdict {
    /// Where it comes from.
    pub framework: Framework,
    /// Its id there.
    pub id: String,
    /// What follows.
    pub verdict: Verdict,
    /// One line: why.
    pub reason: String,
    /// What decides it.
    pub checks: Vec<CheckId>,
}

/// Several verdicts as one, by the rule above.
#[must_use]
pub fn combine(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    let all: Vec<Verdict> = verdicts.into_iter().collect();
    let mut counted = all.iter().copied().filter(|verdict| *verdict != Verdict::NotApplicable).peekable();
    if counted.peek().is_none() {
        return if all.is_empty() { Verdict::NotTested } else { Verdict::NotApplicable };
    }
    let has = |verdict| all.contains(&verdict);
    let worst = [Verdict::Fail, Verdict::Inconclusive, Verdict::Exception, Verdict::Partial]
        .into_iter()
        .find(|verdict| has(*verdict));
    if let Some(worst) = worst {
        return worst;
    }
    if has(Verdict::NotTested) {
        let all_untested = counted.all(|verdict| verdict == Verdict::NotTested);
        return if all_untested { Verdict::NotTested } else { Verdict::Partial };
    }
    if has(Verdict::Pass) { Verdict::Pass } else { Verdict::Attested }
}

/// The verdicts on checks, by check and target. Attempts at checks that there are not are left out; of two attempts at the same, the
/// worse counts.
#[must_use]
pub fn judge(catalogue: &Catalogue, attempts: &[Attempt], store: &Store, at: UnixMillis) -> Vec<CheckResult> {
    let mut results: BTreeMap<(CheckId, String), CheckResult> = BTreeMap::new();
    for attempt in attempts {
        let Some(check) = catalogue.check(&attempt.check) else { continue };
        let result = judge_one(check, &attempt.target, &attempt.outcome, store, at);
        let place = (check.id.clone(), result.target.clone());
        let is_better = |other: &CheckResult| combine([other.verdict, result.verdict]) != result.verdict;
        if results.get(&place).is_none_or(|other| !is_better(other)) {
            results.insert(place, result);
        }
    }
    results.into_values().collect()
}

/// The verdict on one check at one target.
#[must_use]
pub fn judge_one(check: &Check, target: &str, outcome: &Outcome, store: &Store, at: UnixMillis) -> CheckResult {
    let target = text::line(target);
    let (judgement, evidence) = match outcome {
        Outcome::Evidence(hashes) => (by_rule(check, &target, hashes, store, at), hashes.clone()),
        Outcome::Inconclusive(why) => (without_evidence(check, Verdict::Inconclusive, why), Vec::new()),
        Outcome::NotTested(why) => (without_evidence(check, Verdict::NotTested, why), Vec::new()),
    };
    let Judgement { verdict, observed, expected } = excepted(judgement, check, &target, store, at);
    CheckResult {
        id: check.id.clone(),
        version: check.version,
        target,
        verdict,
        observed: text::line(&observed),
        expected: text::line(&expected),
        evidence,
    }
}

fn without_evidence(check: &Check, verdict: Verdict, why: &str) -> Judgement {
    Judgement { verdict, observed: why.to_owned(), expected: check.passes_when.clone() }
}

fn by_rule(check: &Check, target: &str, hashes: &[Sha256], store: &Store, at: UnixMillis) -> Judgement {
    let Some(rule) = rule(check.id.as_str()) else {
        return without_evidence(check, Verdict::NotTested, "this version has no rule for it");
    };
    let found: Option<Vec<_>> = hashes.iter().map(|hash| Some((*hash, store.envelope(hash)?))).collect();
    match found {
        Some(evidence) if !evidence.is_empty() => rule(&Inputs { check, target, at, evidence: &evidence }),
        Some(_) => without_evidence(check, Verdict::Inconclusive, "there is no evidence"),
        None => without_evidence(check, Verdict::Inconclusive, "evidence is missing"),
    }
}

/// What an exception makes of a verdict. Records are not excepted: they are renewed.
fn excepted(judgement: Judgement, check: &Check, target: &str, store: &Store, at: UnixMillis) -> Judgement {
    if !matches!(judgement.verdict, Verdict::Fail | Verdict::Partial) || check.method == Method::Attest {
        return judgement;
    }
    let exemptions = store.exemptions();
    let Some((_, exemption)) = exemptions.iter().find(|(_, exemption)| exemption.covers(&check.id, target, at)) else {
        return judgement;
    };
    let until = moment::day(exemption.expires);
    let observed =
        format!("exception of {} until {until}, {}: {}", exemption.owner, exemption.reason, judgement.observed);
    Judgement { verdict: Verdict::Exception, observed, ..judgement }
}

/// The verdicts on rows, in their order.
#[must_use]
pub fn conclude(
    catalogue: &Catalogue,
    rows: &[&Requirement],
    results: &[CheckResult],
    store: &Store,
    at: UnixMillis,
) -> Vec<RowVerdict> {
    let mut by_check: BTreeMap<&CheckId, Vec<&CheckResult>> = BTreeMap::new();
    results.iter().for_each(|result| by_check.entry(&result.id).or_default().push(result));
    let words: BTreeMap<Subject, NotApplicable> = store
        .not_applicable()
        .into_iter()
        .filter(|(_, word)| word.holds(at))
        .map(|(_, word)| (word.subject.clone(), word))
        .collect();
    let conclude = |row: &&Requirement| {
        let parts: Vec<Part<'_>> =
            row.checks.iter().map(|check| Part::new(catalogue, row, check, &by_check, &words)).collect();
        let (verdict, reason) = weigh(row, &parts, words.get(&Subject::Requirement(row.id.clone())));
        RowVerdict {
            framework: row.id.framework(),
            id: row.id.local().to_owned(),
            verdict,
            reason: text::line(&reason),
            checks: row.checks.clone(),
        }
    };
    rows.iter().map(conclude).collect()
}

/// What one check says of a row.
struct Part<'a> {
    check: &'a CheckId,
    is_record: bool,
    results: Vec<&'a CheckResult>,
    verdict: Verdict,
}

impl<'a> Part<'a> {
    fn new(
        catalogue: &Catalogue,
        row: &Requirement,
        check: &'a CheckId,
        by_check: &BTreeMap<&CheckId, Vec<&'a CheckResult>>,
        words: &BTreeMap<Subject, NotApplicable>,
    ) -> Self {
        let is_record = catalogue.check(check).is_some_and(|check| check.method == Method::Attest);
        let id = row.id.to_string();
        let concerns = |result: &&&CheckResult| !is_record || result.target == id;
        let results: Vec<&CheckResult> = by_check.get(check).into_iter().flatten().filter(concerns).copied().collect();
        let is_made = !results.is_empty();
        let verdict = match words.get(&Subject::Check(check.clone())) {
            Some(_) if !is_made => Verdict::NotApplicable,
            _ => combine(results.iter().map(|result| result.verdict)),
        };
        Self { check, is_record, results, verdict }
    }
}

/// The verdict on a row, and why.
fn weigh(row: &Requirement, parts: &[Part<'_>], word: Option<&NotApplicable>) -> (Verdict, String) {
    let combined = combine(parts.iter().map(|part| part.verdict));
    let is_seen = matches!(combined, Verdict::Fail | Verdict::Exception);
    if let Some(word) = word.filter(|_| !is_seen) {
        return (Verdict::NotApplicable, format!("{}: {}", word.owner, word.reason));
    }
    let has_record = parts.iter().any(|part| part.is_record && part.verdict == Verdict::Attested);
    match combined {
        Verdict::Pass if row.kind == Kind::Attest && has_record => (Verdict::Attested, why(Verdict::Attested, parts)),
        // All that was measured passed, and the record does not apply: only a record can decide such a row.
        Verdict::Pass if row.kind == Kind::Attest => (Verdict::Partial, "there is no record that attests it".into()),
        combined => (combined, why(combined, parts)),
    }
}

fn why(verdict: Verdict, parts: &[Part<'_>]) -> String {
    let names = |wanted: Verdict| {
        let names: Vec<&str> =
            parts.iter().filter(|part| part.verdict == wanted).map(|part| part.check.as_str()).collect();
        names.join(", ")
    };
    match verdict {
        Verdict::Fail | Verdict::Inconclusive | Verdict::Exception => first(verdict, parts),
        Verdict::Partial
            if parts.iter().any(|part| part.results.iter().any(|result| result.verdict == Verdict::Partial)) =>
        {
            first(verdict, parts)
        }
        Verdict::Partial if names(Verdict::NotTested).is_empty() => {
            format!("not at every target: {}", names(Verdict::Partial))
        }
        Verdict::Partial => format!("not tested: {}", names(Verdict::NotTested)),
        Verdict::NotTested => {
            format!("none of {} was made", parts.iter().map(|part| part.check.as_str()).collect::<Vec<_>>().join(", "))
        }
        Verdict::Pass | Verdict::Attested => {
            let decided = parts.iter().filter(|part| part.verdict != Verdict::NotApplicable).count();
            let records = names(Verdict::Attested);
            let records = if records.is_empty() { records } else { format!("; attested: {records}") };
            format!("{decided} of {} checks{records}", parts.len())
        }
        Verdict::NotApplicable => "none of its checks applies".into(),
    }
}

/// The first check result with this verdict, and how many more there are.
fn first(verdict: Verdict, parts: &[Part<'_>]) -> String {
    let mut found = parts.iter().flat_map(|part| &part.results).filter(|result| result.verdict == verdict);
    let Some(result) = found.next() else { return verdict.to_string() };
    let more = match found.count() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    format!("{} at {}{more}: {}", result.id, result.target, result.observed)
}

#[cfg(test)]
mod tests;

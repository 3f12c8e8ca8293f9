use std::collections::BTreeMap;

use serde::Serialize;

use super::Report;
use crate::Verdict;

/// What is different between two reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// Whether both were decided by the same catalogue; if not, a difference may be of the rules.
    pub same_catalogue: bool,
    /// Rows with another verdict, or that are only in one.
    pub requirements: Vec<Change>,
    /// Checks with another verdict or version, or that are only in one; as `tls.versions at mqtts://hub:8883`.
    pub checks: Vec<Change>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The row, or the check and its target.
    pub what: String,
    /// In the first report; nothing if it is not there.
    pub before: Option<Verdict>,
    /// In the second.
    pub after: Option<Verdict>,
    /// Why, in the second; in the first if it is not there any more.
    pub reason: String,
    /// Whether the rule is of another version.
    pub other_version: bool,
}

impl Change {
    /// Whether less is known to be good than before. What is not there any more counts as not tested.
    #[must_use]
    pub fn is_worse(&self) -> bool {
        let rank = |verdict: Option<Verdict>| badness(verdict.unwrap_or(Verdict::NotTested));
        self.before.is_some() && rank(self.after) > rank(self.before)
            || self.before.is_none() && self.after == Some(Verdict::Fail)
    }
}

/// How far a verdict is from good.
const fn badness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass | Verdict::Attested | Verdict::NotApplicable => 0,
        Verdict::Partial => 1,
        Verdict::Exception => 2,
        Verdict::NotTested | Verdict::Inconclusive => 3,
        Verdict::Fail => 4,
    }
}

impl Diff {
    /// Whether anything is worse in the second.
    #[must_use]
    pub fn is_worse(&self) -> bool {
        self.requirements.iter().chain(&self.checks).any(Change::is_worse)
    }

    /// Whether there is no difference.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty() && self.checks.is_empty()
    }
}

/// What changed from one report to another.
#[must_use]
pub fn diff(before: &Report, after: &Report) -> Diff {
    Diff {
        same_catalogue: before.tool.catalogue == after.tool.catalogue,
        requirements: changes(&rows(before), &rows(after)),
        checks: changes(&checks(before), &checks(after)),
    }
}

struct Entry<'a> {
    verdict: Verdict,
    version: u32,
    reason: &'a str,
}

fn rows(report: &Report) -> BTreeMap<String, Entry<'_>> {
    let entry = |row: &'_ crate::RowVerdict| format!("{}-{}", row.framework, row.id);
    report
        .requirements
        .iter()
        .map(|row| (entry(row), Entry { verdict: row.verdict, version: 0, reason: &row.reason }))
        .collect()
}

fn checks(report: &Report) -> BTreeMap<String, Entry<'_>> {
    let name = |result: &crate::CheckResult| format!("{} at {}", result.id, result.target);
    report
        .checks
        .iter()
        .map(|result| {
            (name(result), Entry { verdict: result.verdict, version: result.version, reason: &result.observed })
        })
        .collect()
}

fn changes(before: &BTreeMap<String, Entry<'_>>, after: &BTreeMap<String, Entry<'_>>) -> Vec<Change> {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let change = |name: &String| {
        let (old, new) = (before.get(name), after.get(name));
        let other_version = old.zip(new).is_some_and(|(old, new)| old.version != new.version);
        let (was, is) = (old.map(|entry| entry.verdict), new.map(|entry| entry.verdict));
        let reason = new.or(old).map(|entry| entry.reason.to_owned()).unwrap_or_default();
        (was != is || other_version).then(|| Change {
            what: name.clone(),
            before: was,
            after: is,
            reason,
            other_version,
        })
    };
    names.into_iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_report_does_not_differ_from_itself() {
        let report = sample::report();
        let same = diff(&report, &report);
        assert!(same.is_empty() && same.same_catalogue && !same.is_worse());
    }

    #[test]
    fn what_changed_is_told_and_worse_is_worse() {
        let before = sample::report();
        let mut after = before.clone();
        let at = after.checks.iter().position(|result| result.verdict == Verdict::Attested).unwrap();
        after.checks[at].verdict = Verdict::Inconclusive;
        let gone = after.checks.pop().unwrap();
        let worse = diff(&before, &after);
        assert_eq!(worse.checks.len(), 2);
        assert!(worse.is_worse() && worse.checks.iter().any(|change| change.after.is_none()));
        let better = diff(&after, &before);
        assert_eq!(better.is_worse(), gone.verdict == Verdict::Fail);
        after = before.clone();
        after.checks[at].version += 1;
        let versions = diff(&before, &after);
        assert!(versions.checks.len() == 1 && versions.checks[0].other_version && !versions.is_worse());
    }
}

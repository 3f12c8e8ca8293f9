//! A report: what was selected, every verdict on a check and on a row; and the files that are made of it.

mod bundle;
mod csv;
mod diff;
mod html;
mod json;
mod junit;
mod manifest;
mod oscal;
#[cfg(test)]
pub(crate) mod sample;
mod sarif;
mod svg;
mod verify;

use portreeve_types::UnixMillis;
use serde::{Deserialize, Serialize};

pub use self::csv::csv;
pub use bundle::{BundleError, Format, bundle};
pub use diff::{Change, Diff, diff};
pub use html::html;
pub use json::{JsonProblem, REPORT_BYTES_MAX};
pub use junit::junit;
pub use manifest::{MANIFEST, SIGNATURE};
pub use oscal::{assessment_results, component_definition};
pub use sarif::sarif;
pub use verify::{Problem, Verified, evidence_file, verify};

use crate::{
    Attempt, Catalogue, CheckResult, RequirementId, RowVerdict, Selection, Sha256, Store, Verdict, conclude, judge,
    moment, text,
};

/// What the first field of a report says.
const FORMAT: &str = "portreeve-report/1";

/// What made a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// The program.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Of the catalogue that it decided by.
    pub catalogue: Sha256,
}

/// A run of which a report is made.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    /// The program and its version.
    pub tool: (&'a str, &'a str),
    /// When it began: what "in date" means.
    pub started: UnixMillis,
    /// When it ended.
    pub ended: UnixMillis,
    /// Which rows it is about.
    pub selection: Selection,
    /// What was to be examined, as it was declared.
    pub targets: Vec<String>,
    /// Every check that was to be made.
    pub attempts: Vec<Attempt>,
}

/// A report, as in `report.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    format: String,
    /// What made it.
    pub tool: Tool,
    /// When the run began.
    #[serde(with = "moment")]
    pub started: UnixMillis,
    /// When it ended.
    #[serde(with = "moment")]
    pub ended: UnixMillis,
    /// Which rows it is about.
    pub selection: Selection,
    /// What was to be examined.
    pub targets: Vec<String>,
    /// Every check at every target, in their order.
    pub checks: Vec<CheckResult>,
    /// Every row, in the catalogue's order.
    pub requirements: Vec<RowVerdict>,
    /// Exceptions, and words on what does not apply, that were before the judge.
    pub statements: Vec<Sha256>,
}

impl Report {
    /// What the evidence of a run says.
    #[must_use]
    pub fn new(catalogue: &Catalogue, run: &Run<'_>, store: &Store) -> Self {
        let checks = judge(catalogue, &run.attempts, store, run.started);
        let rows = catalogue.select(&run.selection);
        let requirements = conclude(catalogue, &rows, &checks, store, run.started);
        let exemptions = store.exemptions().into_iter().map(|(hash, _)| hash);
        let mut statements: Vec<Sha256> =
            exemptions.chain(store.not_applicable().into_iter().map(|(hash, _)| hash)).collect();
        statements.sort_unstable();
        let (name, version) = run.tool;
        Self {
            format: FORMAT.to_owned(),
            tool: Tool { name: name.to_owned(), version: version.to_owned(), catalogue: catalogue.digest() },
            started: run.started,
            ended: run.ended,
            selection: run.selection.clone(),
            targets: run.targets.iter().map(|target| text::line(target)).collect(),
            checks,
            requirements,
            statements,
        }
    }

    /// How many rows have a verdict.
    #[must_use]
    pub fn rows_with(&self, verdict: Verdict) -> usize {
        self.requirements.iter().filter(|row| row.verdict == verdict).count()
    }

    /// The check results that a row rests on. Records count only for the row that they name.
    pub fn results_of<'a>(&'a self, row: &'a RowVerdict) -> impl Iterator<Item = &'a CheckResult> {
        self.numbered_results_of(row).map(|(_, result)| result)
    }

    /// The same, each with its place in [`Self::checks`].
    fn numbered_results_of<'a>(&'a self, row: &'a RowVerdict) -> impl Iterator<Item = (usize, &'a CheckResult)> {
        let id = row.requirement().map(|id| id.to_string()).unwrap_or_default();
        let is_meant = move |(_, result): &(usize, &CheckResult)| {
            row.checks.contains(&result.id) && (!result.id.as_str().starts_with("att.") || result.target == id)
        };
        self.checks.iter().enumerate().filter(is_meant)
    }
}

impl RowVerdict {
    /// The row. `None` for what no catalogue can hold, which a report of others may.
    #[must_use]
    pub fn requirement(&self) -> Option<RequirementId> {
        RequirementId::new(self.framework, &self.id).ok()
    }
}

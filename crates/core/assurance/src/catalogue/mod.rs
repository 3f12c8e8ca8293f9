//! The catalogue: what is required, by whom, and what decides it. Three data files, read once into values that cannot be wrong.

mod check;
mod framework;
mod load;
mod requirement;
mod select;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::LazyLock};

pub use check::{Check, CheckId, Class, Method, NoCheckId};
pub use framework::{Framework, NoFramework};
pub use load::CatalogueError;
pub use requirement::{
    Applicability, Automation, CLASS_MAX, ID_BYTES_MAX, Kind, LEVEL_MAX, NoRequirementId, QUESTION_BYTES_MAX,
    QUESTIONS_MAX, QUESTIONS_MIN, Reference, Requirement, RequirementId,
};
pub use select::{Selection, SelectionError};

use crate::Sha256;

/// Every requirement and every check. What a row names is there, no id is there twice, and links go both ways.
#[derive(Clone, Debug)]
pub struct Catalogue {
    requirements: Vec<Requirement>,
    checks: Vec<Check>,
    by_id: BTreeMap<RequirementId, usize>,
    check_by_id: BTreeMap<CheckId, usize>,
    digest: Sha256,
}

impl Catalogue {
    /// The one that this program is made with.
    #[must_use]
    pub fn embedded() -> &'static Self {
        static EMBEDDED: LazyLock<Catalogue> = LazyLock::new(|| {
            let (requirements, checks) =
                (include_str!("../../data/requirements.csv"), include_str!("../../data/checks.csv"));
            let questions = include_str!("../../data/questions.csv");
            // proof: the data are part of the program, and every test of this module reads them.
            #[allow(clippy::expect_used)]
            Catalogue::read(requirements, checks, questions).expect("sound data")
        });
        &EMBEDDED
    }

    /// From the text of `requirements.csv`, of `checks.csv` and of `questions.csv`.
    ///
    /// # Errors
    /// [`CatalogueError`]: the first line that is wrong.
    pub fn read(requirements: &str, checks: &str, questions: &str) -> Result<Self, CatalogueError> {
        load::catalogue(requirements, checks, questions)
    }

    /// All rows, in the order of the data.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// All checks, in the order of the data.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// One row.
    #[must_use]
    pub fn requirement(&self, id: &RequirementId) -> Option<&Requirement> {
        self.requirements.get(*self.by_id.get(id)?)
    }

    /// One check.
    #[must_use]
    pub fn check(&self, id: &CheckId) -> Option<&Check> {
        self.checks.get(*self.check_by_id.get(id)?)
    }

    /// What a record has to answer to count for a row, [`QUESTIONS_MIN`] to [`QUESTIONS_MAX`]; empty where no such record decides it.
    #[must_use]
    pub fn questions(&self, row: &RequirementId, check: &CheckId) -> &[String] {
        self.requirement(row).and_then(|row| row.questions.get(check)).map_or(&[], Vec::as_slice)
    }

    /// The rows that are selected, in the order of the data.
    #[must_use]
    pub fn select(&self, selection: &Selection) -> Vec<&Requirement> {
        self.requirements.iter().filter(|row| selection.holds(row)).collect()
    }

    /// The rows that another document, or edition, names so: `ISVS1.0:4.1.5`.
    #[must_use]
    pub fn referenced_as(&self, name: &str) -> Vec<&Requirement> {
        let Some((scheme, id)) = name.split_once(':') else { return Vec::new() };
        let is_meant = |reference: &Reference| {
            reference.scheme.eq_ignore_ascii_case(scheme)
                && reference.ids.iter().any(|own| own.eq_ignore_ascii_case(id))
        };
        self.requirements.iter().filter(|row| row.references.iter().any(is_meant)).collect()
    }

    /// Whether a row has every one of these words somewhere, in whatever case.
    #[must_use]
    pub fn mentions(row: &Requirement, words: &str) -> bool {
        let id = row.id.to_string();
        let checks = row.checks.iter().map(CheckId::as_str);
        let texts =
            [&id, &row.paraphrase, &row.mechanism, &row.decision, &row.evidence, &row.subject].map(String::as_str);
        let all: Vec<&str> = texts.into_iter().chain(row.concepts.iter().map(String::as_str)).chain(checks).collect();
        let all = all.join("\n").to_lowercase();
        words.to_lowercase().split_whitespace().all(|word| all.contains(word))
    }

    /// Of the data: reports name it, so that nobody compares what was decided by different ones.
    #[must_use]
    pub const fn digest(&self) -> Sha256 {
        self.digest
    }
}

use portreeve_types::UnixMillis;
use serde::{Deserialize, Serialize};

use super::Facts;
use crate::{CheckId, RequirementId, Sha256, moment};

/// Most answers of one attestation.
pub const ANSWERS_MAX: usize = 64;

/// Somebody vouches for a row with a document, an inspection or a contract, and somebody else approves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// The row.
    pub requirement: RequirementId,
    /// As what it counts: `att.doc`, `att.inspect` or `att.contract`.
    pub check: CheckId,
    /// The document's title.
    pub title: String,
    /// Of the document.
    pub sha256: Sha256,
    /// Who answers for it.
    pub owner: String,
    /// Who approved it: somebody else.
    pub approver: String,
    /// When it was approved.
    #[serde(with = "moment")]
    pub approved: UnixMillis,
    /// Until when it is in date.
    #[serde(with = "moment")]
    pub next_review: UnixMillis,
    /// To every question of the row ([`Catalogue::questions`](crate::Catalogue::questions)) and to nothing else.
    pub answers: Vec<Answer>,
}

/// An answer to one question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// What is asked.
    pub question: String,
    /// What is answered.
    pub reply: Reply,
    /// Where it is shown; may be empty.
    pub remark: String,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It is so.
    Yes,
    /// It is not.
    No,
    /// In part, or not known.
    Partly,
}

impl Facts for Attestation {
    const KIND: &'static str = "attestation/1";
}

/// Why these are not the answers to just these questions, if they are not. In which order they come does not matter.
#[must_use]
pub fn answers_problem(questions: &[String], answers: &[Answer]) -> Option<String> {
    if questions.is_empty() {
        return Some("no such record decides the row".into());
    }
    if answers.len() > ANSWERS_MAX {
        return Some(format!("{} answers; at most {ANSWERS_MAX} are taken", answers.len()));
    }
    let times = |question: &String| answers.iter().filter(|answer| answer.question == *question).count();
    if let Some(question) = questions.iter().find(|question| times(question) != 1) {
        return Some(format!("answered {} times instead of once: {question}", times(question)));
    }
    let is_foreign = |answer: &&Answer| !questions.contains(&answer.question);
    answers.iter().find(is_foreign).map(|answer| format!("answered, and not asked: {}", answer.question))
}

/// Whoever writes a name twice in different ways is still one.
#[must_use]
pub fn same_person(one: &str, other: &str) -> bool {
    let words = |name: &str| name.to_lowercase().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    words(one) == words(other)
}

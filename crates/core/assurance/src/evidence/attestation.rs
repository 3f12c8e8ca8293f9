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
    /// To what the row asks, 1 to [`ANSWERS_MAX`].
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

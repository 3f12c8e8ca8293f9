use portreeve_types::UnixMillis;
use serde::{Deserialize, Serialize};

use super::Facts;
use crate::{CheckId, RequirementId, moment};

/// A weakness that is known: who answers for it, why, and until when. It turns `fail` and `partial` of one check at one target into
/// `exception`, and hides nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exemption {
    /// The check.
    pub check: CheckId,
    /// The target.
    pub target: String,
    /// Why.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
    /// Who else has approved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
    /// From when.
    #[serde(with = "moment::written")]
    pub granted: UnixMillis,
    /// Until when; not later.
    #[serde(with = "moment::written")]
    pub expires: UnixMillis,
}

impl Exemption {
    /// Whether it covers a check at a target at a time.
    pub(crate) fn covers(&self, check: &CheckId, target: &str, at: UnixMillis) -> bool {
        let is_named = !self.owner.trim().is_empty() && !self.reason.trim().is_empty();
        self.check == *check && self.target == target && is_named && self.granted <= at && at < self.expires
    }
}

impl Facts for Exemption {
    const KIND: &'static str = "exception/1";
}

/// A row or a check that does not concern the deployment, such as radio rules where there is no radio. What is observed weighs more: a
/// row of which a check fails stays failed, and a check that was made counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotApplicable {
    /// What.
    pub subject: Subject,
    /// Why.
    pub reason: String,
    /// Who says so.
    pub owner: String,
    /// When it was said.
    #[serde(with = "moment::written")]
    pub stated: UnixMillis,
    /// Until when it holds without being looked at again.
    #[serde(with = "moment::written")]
    pub next_review: UnixMillis,
}

/// A row or a check, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Subject {
    /// A row, such as ISVS-4.4.2.
    Requirement(RequirementId),
    /// A check, such as dtls.cookie.
    Check(CheckId),
}

impl TryFrom<String> for Subject {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        let row = || text.parse().map(Self::Requirement).ok();
        text.parse()
            .map(Self::Check)
            .ok()
            .or_else(row)
            .ok_or("neither a row such as ISVS-4.4.2 nor a check such as dtls.cookie")
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        match subject {
            Subject::Requirement(row) => row.to_string(),
            Subject::Check(check) => check.to_string(),
        }
    }
}

impl NotApplicable {
    /// Whether it is somebody's word that holds at a time.
    pub(crate) fn holds(&self, at: UnixMillis) -> bool {
        let is_named = !self.owner.trim().is_empty() && !self.reason.trim().is_empty();
        is_named && self.stated <= at && at < self.next_review
    }
}

impl Facts for NotApplicable {
    const KIND: &'static str = "not-applicable/1";
}

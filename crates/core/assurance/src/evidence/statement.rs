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
    /// From when.
    #[serde(with = "moment")]
    pub granted: UnixMillis,
    /// Until when; not later.
    #[serde(with = "moment")]
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

/// A row that does not concern the deployment, such as radio rules where there is no radio. What is observed weighs more: a row of
/// which a check fails stays failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotApplicable {
    /// The row.
    pub requirement: RequirementId,
    /// Why.
    pub reason: String,
    /// Who says so.
    pub owner: String,
    /// When it was said.
    #[serde(with = "moment")]
    pub stated: UnixMillis,
    /// Until when it holds without being looked at again.
    #[serde(with = "moment")]
    pub next_review: UnixMillis,
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

//! One record, and what it takes to be one.

use std::fmt;

use portreeve_assurance::{
    Answer, Attestation, Catalogue, CheckId, Framework, RequirementId, Sha256, answers_problem, is_one_line,
    same_person,
};
use portreeve_types::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::NEXT_REVIEW_MAX;
use crate::AdminError;

/// Longest title, name of a person, remark or reason, bytes.
const TEXT_BYTES_MAX: usize = 500;

/// What a document was when it was vouched for. The document itself is not kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentSeal {
    /// Name of its file.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Of all of it.
    pub sha256: Sha256,
}

/// What somebody vouches for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordDraft {
    /// The row.
    pub requirement: RequirementId,
    /// As what it is to count: `att.doc`, `att.inspect` or `att.contract`.
    pub check: CheckId,
    /// The document's title.
    pub title: String,
    /// The document.
    pub document: DocumentSeal,
    /// Who answers for it.
    pub owner: String,
    /// When it has to be renewed, at most 731 days ahead.
    pub next_review: UnixMillis,
    /// To every question of the row.
    pub answers: Vec<Answer>,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordState {
    /// It waits for somebody else's word.
    Proposed,
    /// It counts.
    Approved,
    /// It was approved, and has to be renewed: it decides nothing any more.
    Overdue,
    /// Somebody did not approve it.
    Rejected,
    /// Another took its place.
    Superseded,
    /// It was withdrawn.
    Expired,
}

impl RecordState {
    /// As in every answer.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Approved => "approved",
            Self::Overdue => "overdue",
            Self::Rejected => "rejected",
            Self::Superseded => "superseded",
            Self::Expired => "expired",
        }
    }

    /// Whether it is history.
    pub(super) const fn is_over(self) -> bool {
        matches!(self, Self::Rejected | Self::Superseded | Self::Expired)
    }
}

impl fmt::Display for RecordState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which records. The default is those that wait or count.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordFilter {
    /// Also those that are over.
    pub all: bool,
    /// Only in this state.
    pub state: Option<RecordState>,
    /// Only for rows of this framework.
    pub framework: Option<Framework>,
    /// Only those that count or did, and whose next review is within so many seconds, or was to be earlier.
    pub due_within_s: Option<u64>,
}

/// What somebody else said of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Review {
    pub(super) approved: bool,
    pub(super) by: String,
    pub(super) at: UnixMillis,
    pub(super) remark: String,
}

/// How it ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) by: String,
    pub(super) at: UnixMillis,
    pub(super) reason: String,
    /// The record that took its place, if one did.
    pub(super) successor: Option<u64>,
}

/// A record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    draft: RecordDraft,
    added_by: String,
    added: UnixMillis,
    pub(super) review: Option<Review>,
    pub(super) end: Option<End>,
    /// Whether an event told that it is overdue.
    pub(super) overdue_told: bool,
}

impl Record {
    /// One that waits.
    pub(super) fn new(draft: RecordDraft, by: &str, now: UnixMillis) -> Result<Self, AdminError> {
        let invalid = |text: String| Err(AdminError::Invalid(text));
        let RecordDraft { requirement, check, title, document, owner, next_review, answers } = draft;
        let questions = Catalogue::embedded().questions(&requirement, &check);
        if questions.is_empty() {
            let help = format!("`portreeve catalogue show {requirement}` tells what does");
            return invalid(format!("no record {check} decides {requirement}; {help}"));
        }
        if let Some(problem) = answers_problem(questions, &answers) {
            let help = format!("`portreeve attest questions {requirement} --check {check}` gives them all");
            return invalid(format!("{problem}; {help}"));
        }
        let needed = |what: &str, text: &str| match checked_text(what, text)? {
            text if text.is_empty() => Err(AdminError::Invalid(format!("{what} is empty"))),
            text => Ok(text),
        };
        let (title, owner) = (needed("the title", &title)?, needed("the owner", &owner)?);
        let document = DocumentSeal { name: needed("the document's name", &document.name)?, ..document };
        if document.bytes == 0 {
            return invalid("the document is empty".into());
        }
        if next_review <= now || next_review > now.plus(NEXT_REVIEW_MAX) {
            let days = NEXT_REVIEW_MAX.as_secs() / 86_400;
            return invalid(format!("the next review has to be in the future, and within {days} days"));
        }
        let checked = |answer: &Answer| {
            Ok(Answer { remark: checked_text("a remark to an answer", &answer.remark)?, ..answer.clone() })
        };
        let find = |question: &String| answers.iter().find(|answer| answer.question == *question);
        let answers = questions.iter().filter_map(find).map(checked).collect::<Result<Vec<_>, AdminError>>()?;
        let draft = RecordDraft { requirement, check, title, document, owner, next_review, answers };
        Ok(Self { draft, added_by: by.to_owned(), added: now, review: None, end: None, overdue_told: false })
    }

    pub(super) fn state(&self, now: UnixMillis) -> RecordState {
        match (&self.end, &self.review) {
            (Some(End { successor: Some(_), .. }), _) => RecordState::Superseded,
            (Some(_), _) => RecordState::Expired,
            (None, None) => RecordState::Proposed,
            (None, Some(review)) if !review.approved => RecordState::Rejected,
            (None, Some(_)) if self.next_review() <= now => RecordState::Overdue,
            (None, Some(_)) => RecordState::Approved,
        }
    }

    pub(super) fn next_review(&self) -> UnixMillis {
        self.draft.next_review
    }

    pub(super) fn document(&self) -> &DocumentSeal {
        &self.draft.document
    }

    /// The record that it is, for whom an event tells: `att.doc of CSA-TRN-02`.
    pub(super) fn what(&self) -> String {
        format!("{} of {}", self.draft.check, self.draft.requirement)
    }

    pub(super) fn is_for_same(&self, other: &Self) -> bool {
        (&self.draft.requirement, &self.draft.check) == (&other.draft.requirement, &other.draft.check)
    }

    /// Whether this person may say yes or no to it now.
    pub(super) fn expect_reviewer(&self, number: u64, by: &str, now: UnixMillis) -> Result<(), AdminError> {
        let refused = |text: String| Err(AdminError::Refused(text));
        let state = self.state(now);
        if state != RecordState::Proposed {
            return refused(format!("record {number} is {state} and waits for nobody; to renew it, add it anew"));
        }
        if by == self.added_by {
            return refused(format!("{by} added record {number}; somebody else has to review it"));
        }
        if same_person(by, &self.draft.owner) {
            return refused(format!("{by} answers for record {number}; somebody else has to review it"));
        }
        Ok(())
    }

    pub(super) fn is_meant(&self, filter: &RecordFilter, now: UnixMillis) -> bool {
        let RecordFilter { all, state, framework, due_within_s } = filter;
        let own = self.state(now);
        let is_due = |within_s: u64| {
            let by = UnixMillis(now.0.saturating_add(within_s.saturating_mul(1000)));
            matches!(own, RecordState::Approved | RecordState::Overdue) && self.next_review() <= by
        };
        (*all || state.is_some() || !own.is_over())
            && state.is_none_or(|state| state == own)
            && framework.is_none_or(|framework| framework == self.draft.requirement.framework())
            && due_within_s.is_none_or(is_due)
    }

    /// As evidence, if it counts, or counted and is overdue: then it has to be seen that it does not any more.
    pub(super) fn evidence(&self, now: UnixMillis) -> Option<Attestation> {
        if !matches!(self.state(now), RecordState::Approved | RecordState::Overdue) {
            return None;
        }
        let review = self.review.as_ref()?;
        let RecordDraft { requirement, check, title, document, owner, next_review, answers } = self.draft.clone();
        Some(Attestation {
            requirement,
            check,
            title,
            sha256: document.sha256,
            owner,
            approver: review.by.clone(),
            approved: review.at,
            next_review,
            answers,
        })
    }

    pub(super) fn to_json(&self, number: u64, now: UnixMillis) -> Value {
        let RecordDraft { requirement, check, title, document, owner, next_review, answers } = &self.draft;
        let review = self.review.as_ref();
        let end = self.end.as_ref();
        json!({
            "record": number,
            "requirement": requirement,
            "check": check,
            "state": self.state(now),
            "title": title,
            "document": document,
            "owner": owner,
            "next_review_ms": next_review.0,
            "added_by": self.added_by,
            "added_ms": self.added.0,
            "reviewed_by": review.map(|review| &review.by),
            "reviewed_ms": review.map(|review| review.at.0),
            "remark": review.map(|review| &review.remark),
            "ended_by": end.map(|end| &end.by),
            "ended_ms": end.map(|end| end.at.0),
            "reason": end.map(|end| &end.reason),
            "superseded_by": end.and_then(|end| end.successor),
            "answers": answers,
        })
    }
}

/// One line that somebody wrote, without blanks around it.
pub(super) fn checked_text(what: &str, text: &str) -> Result<String, AdminError> {
    let text = text.trim();
    if text.len() > TEXT_BYTES_MAX {
        return Err(AdminError::Invalid(format!("{what} has more than {TEXT_BYTES_MAX} bytes")));
    }
    if !is_one_line(text) {
        return Err(AdminError::Invalid(format!("{what} has characters that do not print")));
    }
    Ok(text.to_owned())
}

use std::{collections::BTreeMap, fmt};

use portreeve_types::{Severity, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::{Line, Word};

/// Whom or what an alert is about.
pub type Subject = Line<128>;
/// A group of identities.
pub type Group = Line<128>;
/// What happened, in a sentence or two.
pub type Text = Line<2048>;

/// Numbers that one occurrence may carry; those beyond are left out.
const NUMBERS_MAX: usize = 16;

/// The number of an alert; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AlertId(pub u64);

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Something that was found, as a detector tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    pub(crate) kind: Word,
    pub(crate) severity: Severity,
    pub(crate) subject: Subject,
    pub(crate) group: Option<Group>,
    pub(crate) text: Text,
    pub(crate) numbers: BTreeMap<Word, u64>,
}

impl Occurrence {
    /// Something of this kind about this subject.
    #[must_use]
    pub fn new(kind: Word, severity: Severity, subject: &str, text: &str) -> Self {
        let (subject, text) = (Line::new(subject), Line::new(text));
        Self { kind, severity, subject, group: None, text, numbers: BTreeMap::new() }
    }

    /// About an identity of this group, by which alerts can be routed.
    #[must_use]
    pub fn group(self, group: &str) -> Self {
        Self { group: Some(Line::new(group)), ..self }
    }

    /// How urgent it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Adds a measured value; at most 16 are kept.
    #[must_use]
    pub fn number(mut self, name: Word, value: u64) -> Self {
        if self.numbers.len() < NUMBERS_MAX {
            self.numbers.insert(name, value);
        }
        self
    }
}

impl fmt::Display for Occurrence {
    /// For a log: kind, severity, subject and text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) {}: {}", self.kind, self.severity, self.subject, self.text)
    }
}

/// Who took an alert on, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledged {
    /// The operator.
    pub by: Line<128>,
    /// When.
    pub at: UnixMillis,
}

/// Something that somebody has to know of: all occurrences of one kind about one subject until it is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// Its number.
    pub id: AlertId,
    /// What kind of thing was found.
    pub kind: Word,
    /// The highest so far.
    pub severity: Severity,
    /// Whom or what it is about.
    pub subject: Subject,
    /// The subject's group.
    pub group: Option<Group>,
    /// What happened, in the words of the latest occurrence.
    pub text: Text,
    /// The latest occurrence's numbers.
    pub numbers: BTreeMap<Word, u64>,
    /// When it was raised first.
    pub opened: UnixMillis,
    /// When it was raised last.
    pub last: UnixMillis,
    /// How often it was raised.
    pub count: u64,
    /// Who took it on.
    pub acknowledged: Option<Acknowledged>,
    /// Raised to test the channels: nothing has happened.
    pub canary: bool,
}

impl Alert {
    pub(crate) fn open(id: AlertId, occurrence: Occurrence, now: UnixMillis) -> Self {
        let Occurrence { kind, severity, subject, group, text, numbers } = occurrence;
        let (count, acknowledged, canary) = (1, None, false);
        Self { id, kind, severity, subject, group, text, numbers, opened: now, last: now, count, acknowledged, canary }
    }
}

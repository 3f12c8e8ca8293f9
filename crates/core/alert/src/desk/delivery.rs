//! What the desk gives out and keeps of it.

use std::{collections::BTreeMap, fmt, time::Duration};

use portreeve_types::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::{Alert, AlertId, Line, MailAddress, Severity, Word};

/// The number of a delivery; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeliveryId(pub u64);

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why somebody is told of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// It is new.
    Opened,
    /// Nobody before acknowledged it in time, or could be reached.
    Escalated,
    /// It goes on.
    Repeated,
    /// It became more urgent.
    Worse,
    /// The channel is tested.
    Test,
}

impl Why {
    /// The word used in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Escalated => "escalated",
            Self::Repeated => "repeated",
            Self::Worse => "worse",
            Self::Test => "test",
        }
    }
}

/// What a digest says of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigestLine {
    /// Notices that were not sent.
    pub count: u64,
    /// The most urgent of them.
    pub severity: Severity,
}

/// What a contact was not told one by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digest {
    /// Since when.
    pub since: UnixMillis,
    /// By kind; at most [`KINDS_MAX`](crate::KINDS_MAX) and one.
    pub kinds: BTreeMap<Word, DigestLine>,
}

impl Digest {
    /// How many notices it stands for.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.kinds.values().fold(0, |sum, line| sum.saturating_add(line.count))
    }

    /// The most urgent of them.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.kinds.values().map(|line| line.severity).max().unwrap_or(Severity::Info)
    }

    pub(super) fn add(&mut self, kind: &Word, severity: Severity, count: u64) {
        let line = self.kinds.entry(kind.clone()).or_insert(DigestLine { count: 0, severity });
        line.count = line.count.saturating_add(count);
        line.severity = line.severity.max(severity);
    }
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Notice {
    /// An alert, as it was when the notice was made.
    Alert {
        /// The reason.
        why: Why,
        /// The alert.
        alert: Alert,
    },
    /// How many notices of which kinds were suppressed.
    Digest(Digest),
}

impl Notice {
    /// How urgent it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::Alert { alert, .. } => alert.severity,
            Self::Digest(digest) => digest.severity(),
        }
    }

    /// The alert that it is about.
    #[must_use]
    pub fn alert(&self) -> Option<&Alert> {
        match self {
            Self::Alert { alert, .. } => Some(alert),
            Self::Digest(_) => None,
        }
    }

    pub(super) fn is_canary(&self) -> bool {
        self.alert().is_some_and(|alert| alert.canary)
    }
}

/// One notice to one contact through one channel, to be sent now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// What the sender reports back about.
    pub id: DeliveryId,
    /// The same for every attempt, also after a restart; no other delivery has it. Receivers pass over what they have.
    pub idempotency_key: String,
    /// Through which channel.
    pub channel: Word,
    /// To whom.
    pub contact: Word,
    /// Where mails for the contact go.
    pub mail: Option<MailAddress>,
    /// What is told.
    pub notice: Notice,
    /// From 1.
    pub attempt: u32,
}

/// What came of sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Worth another attempt.
    Transient(Line<400>),
    /// The same would fail again.
    Permanent(Line<400>),
}

impl Failure {
    /// What failed.
    #[must_use]
    pub fn why(&self) -> &Line<400> {
        match self {
            Self::Transient(why) | Self::Permanent(why) => why,
        }
    }
}

/// A delivery that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The alert, if it was about one.
    pub alert: Option<AlertId>,
    /// Through which channel.
    pub channel: Word,
    /// From the moment that called for it: the occurrence, or the end of a deadline.
    pub after: Duration,
    /// How often it was tried.
    pub attempts: u32,
}

/// A delivery that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetter {
    /// What was to be delivered.
    pub(super) pending: Pending,
    /// When it was given up.
    pub at: UnixMillis,
    /// Why.
    pub why: Line<400>,
}

impl DeadLetter {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> DeliveryId {
        self.pending.id
    }

    /// The channel that failed.
    #[must_use]
    pub fn channel(&self) -> &Word {
        &self.pending.channel
    }

    /// Who was not told.
    #[must_use]
    pub fn contact(&self) -> &Word {
        &self.pending.contact
    }

    /// What was not told.
    #[must_use]
    pub fn notice(&self) -> &Notice {
        &self.pending.notice
    }
}

/// How a delivery of an alert stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, so long after the moment that called for it.
    Delivered(Duration),
    /// Not yet.
    Waiting {
        /// Attempts that failed.
        attempts: u32,
        /// What the last one failed with.
        why: Option<Line<400>>,
    },
    /// Given up.
    Failed(Line<400>),
}

/// One line of what became of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Through which channel.
    pub channel: Word,
    /// To whom.
    pub contact: Word,
    /// How it stands.
    pub outcome: Outcome,
}

/// A delivery that is not done, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pending {
    pub(super) id: DeliveryId,
    pub(super) nonce: u64,
    pub(super) channel: Word,
    pub(super) contact: Word,
    pub(super) notice: Notice,
    pub(super) created: UnixMillis,
    pub(super) attempts: u32,
    /// Whether the contact is told through its next channel too.
    pub(super) fell_back: bool,
    /// The first of its kind: nothing suppresses it.
    pub(super) first: bool,
    /// What the last attempt failed with.
    pub(super) why: Option<Line<400>>,
}

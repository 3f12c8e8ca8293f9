use std::fmt;

use portreeve_types::{IdentityId, IdentityName, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::{Source, Subject, brake::Touched};

/// Steps that last. One of each stands for a subject at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lasting {
    Throttle,
    Block,
    Quarantine,
}

/// What is done, to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Hold the identity to a rate.
    Throttle {
        /// Whom.
        identity: IdentityId,
        /// Its name.
        name: IdentityName,
        /// At most so many messages a second.
        messages_per_s: u32,
    },
    /// End the identity's sessions.
    Disconnect {
        /// Whom.
        identity: IdentityId,
        /// Its name.
        name: IdentityName,
    },
    /// Take no connections from a source.
    BlockSource {
        /// Which.
        source: Source,
    },
    /// Confine the identity.
    Quarantine {
        /// Whom.
        identity: IdentityId,
        /// Its name.
        name: IdentityName,
    },
    /// Void the identity's credentials for ever. Never taken by a rule.
    Revoke {
        /// Whom.
        identity: IdentityId,
        /// Its name.
        name: IdentityName,
    },
}

impl Step {
    /// The word of its action in settings.
    #[must_use]
    pub fn action(&self) -> &'static str {
        match self {
            Self::Throttle { .. } => "throttle",
            Self::Disconnect { .. } => "disconnect",
            Self::BlockSource { .. } => "block-source",
            Self::Quarantine { .. } => "quarantine",
            Self::Revoke { .. } => "revoke",
        }
    }

    /// What lasts of it, and can be lifted, and on whom; nothing if it is over at once.
    pub(crate) fn lasting(&self) -> Option<(Lasting, Touched)> {
        match self {
            Self::Throttle { identity, .. } => Some((Lasting::Throttle, Touched::Identity(*identity))),
            Self::BlockSource { source } => Some((Lasting::Block, Touched::Source(*source))),
            Self::Quarantine { identity, .. } => Some((Lasting::Quarantine, Touched::Identity(*identity))),
            Self::Disconnect { .. } | Self::Revoke { .. } => None,
        }
    }

    pub(crate) fn is_block(&self) -> bool {
        matches!(self, Self::BlockSource { .. })
    }

    pub(crate) fn is_quarantine(&self) -> bool {
        matches!(self, Self::Quarantine { .. })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Throttle { name, messages_per_s, .. } => {
                write!(f, "hold {name} to {messages_per_s} messages a second")
            }
            Self::Disconnect { name, .. } => write!(f, "disconnect {name}"),
            Self::BlockSource { source } => write!(f, "block {source}"),
            Self::Quarantine { name, .. } => write!(f, "quarantine {name}"),
            Self::Revoke { name, .. } => write!(f, "revoke {name}"),
        }
    }
}

/// A step that was taken and stands until it ends or is lifted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// Its number, never given out again.
    pub id: u64,
    /// What was done.
    pub step: Step,
    /// Whom the finding was about.
    pub subject: Subject,
    /// The finding's name.
    pub finding: String,
    /// The rule, as `file:line`.
    pub rule: String,
    /// Since when.
    pub since: UnixMillis,
    /// When it ends by itself, as the wall clock reads now; without it, when somebody lifts it.
    pub until: Option<UnixMillis>,
    /// How long it was to last at most when it was last decided, seconds. It bounds what a clock that was set back adds at a restart.
    pub for_s: Option<u64>,
}

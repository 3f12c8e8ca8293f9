use std::{fmt, ops::Deref, sync::Arc};

use portreeve_types::LifecycleState;
use serde::Serialize;

use crate::Epoch;

/// A policy's `@id("…")`, or `file:line` where it has none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PolicyId(pub(crate) Arc<str>);

impl Deref for PolicyId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl PolicyId {
    /// `a, b, c`.
    pub(crate) fn list(ids: &[Self]) -> String {
        ids.iter().map(|id| &**id).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The answer to one request.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The proof of permission, or why there is none.
    pub verdict: Result<Permit, Denial>,
    /// Whether the answer holds for the same session, action and topic until the epoch or the identity changes.
    pub cacheable: bool,
}

impl Decision {
    /// Whether the request is granted.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.verdict.is_ok()
    }
}

/// How much of what a granted filter matches is proven to be granted topic by topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coverage {
    /// Nothing is proven: ask [`crate::Action::Receive`] for every topic.
    Unproven,
    /// Everything but the parent that a trailing `/#` matches too, which has this many levels.
    AllButParent(usize),
    /// Everything.
    All,
}

/// Proof that policy allowed something. Only this crate can make one, so a function that takes a `Permit` cannot be
/// reached without a decision.
#[derive(Clone, Debug)]
pub struct Permit {
    pub(crate) epoch: Epoch,
    pub(crate) policies: Vec<PolicyId>,
    pub(crate) coverage: Coverage,
}

impl Permit {
    /// The rules' version this was decided under.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The policies that grant it, in order of id.
    #[must_use]
    pub fn policies(&self) -> &[PolicyId] {
        &self.policies
    }

    /// Whether it is proven that every concrete topic under the granted filter is granted too (always so for a
    /// single topic), so that no delivery needs [`crate::Action::Receive`].
    #[must_use]
    pub fn covers_delivery(&self) -> bool {
        self.coverage == Coverage::All
    }

    /// Whether `topic`, which must match the granted filter, is proven to be granted.
    ///
    /// Finer than [`Permit::covers_delivery`]: a filter `devices/lamp-1/#` also matches its parent `devices/lamp-1`,
    /// which a grant of what lies *below* does not contain; every other topic needs no further decision.
    #[must_use]
    pub fn covers_delivery_of(&self, topic: &str) -> bool {
        match self.coverage {
            Coverage::All => true,
            Coverage::AllButParent(levels) => topic.split('/').count() > levels,
            Coverage::Unproven => false,
        }
    }
}

/// Why a request was refused. For the ledger and the operator; the peer learns only that it was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Denial {
    /// The kind of refusal.
    pub reason: DenialReason,
    /// The policies that caused it (forbids, or those that failed to evaluate), in order of id.
    pub policies: Vec<PolicyId>,
}

/// The kinds of refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DenialReason {
    /// Nothing grants it: the default.
    NoPermit,
    /// A `forbid` policy applies.
    Forbidden,
    /// A policy could not be evaluated, and it may have been one that forbids.
    EvaluationError {
        /// What went wrong, for the operator.
        message: String,
    },
    /// `$SYS/…`: nobody may publish there, and only a grant that names it lets an identity read it.
    Reserved,
    /// The text is no topic name, or no plain filter, of MQTT 5.0 §4.7.
    Malformed,
    /// The identity is not in service. No policy can override this.
    NotActive {
        /// The state it is in.
        state: LifecycleState,
    },
}

impl fmt::Display for DenialReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPermit => f.write_str("no policy permits it"),
            Self::Forbidden => f.write_str("a policy forbids it"),
            Self::EvaluationError { message } => write!(f, "a policy could not be evaluated: {message}"),
            Self::Reserved => {
                f.write_str("`$SYS/` is the hub's own: only a permit that names it lets an identity read")
            }
            Self::Malformed => f.write_str("the topic is malformed"),
            Self::NotActive { state } => write!(f, "the identity is {state}, not in service"),
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)?;
        if self.policies.is_empty() { Ok(()) } else { write!(f, ": {}", PolicyId::list(&self.policies)) }
    }
}

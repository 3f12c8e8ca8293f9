use std::{fmt, net::IpAddr};

use portreeve_types::{IdentityId, IdentityName, Kind, LifecycleState, Qos, UnixMillis};
use serde::{Deserialize, Serialize};

/// Which version of the rules a decision was made under. The hub counts it up at every change of policy, so that
/// a cached decision is valid only while its epoch is the current one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// What the registry knows of the identity that asks: Cedar's `principal` (`Identity::"<name>"` in `Group::"<group>"`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The registry's key; `principal.id`.
    pub id: IdentityId,
    /// Unique name; the Cedar entity id.
    pub name: IdentityName,
    /// `principal.kind`: `"device"`, `"gateway"` or `"application"`.
    pub kind: Kind,
    /// `principal.group`, and the parent `Group` unless empty.
    pub group: String,
    /// `principal.owner`: the person or team that answers for it.
    pub owner: String,
    /// `principal.location`.
    pub location: String,
    /// `principal.model`.
    pub model: String,
    /// `principal.firmware`.
    pub firmware: String,
    /// `principal.posture`: whether its firmware is what its group demands.
    pub posture: Posture,
    /// `principal.state`. Anything but `active` is refused whatever a policy says.
    pub state: LifecycleState,
}

/// Whether an identity's firmware is what its group demands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Posture {
    /// It is, or nothing is demanded.
    #[default]
    Current,
    /// It is below the minimum.
    Outdated,
    /// There is a minimum, and nobody has said what the identity runs.
    Unknown,
}

impl Posture {
    /// The word in policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Outdated => "outdated",
            Self::Unknown => "unknown",
        }
    }
}

/// What an identity wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Open a session: Cedar's `Action::"connect"` on `Hub::"portreeve"`.
    Connect,
    /// Publish to a topic, also as retained message or will: `Action::"publish"`.
    Publish,
    /// Subscribe with a plain filter (`$share/GROUP/` taken off): `Action::"subscribe"`.
    Subscribe,
    /// Be delivered a message on a concrete topic: decided as `Action::"subscribe"` on exactly that topic.
    Receive,
}

impl Action {
    /// The word in commands and test files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Receive => "receive",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Action {
    type Err = UnknownAction;

    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        let all = [Self::Connect, Self::Publish, Self::Subscribe, Self::Receive];
        all.into_iter().find(|action| action.as_str() == text).ok_or(UnknownAction)
    }
}

/// A word that names no [`Action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownAction;

impl fmt::Display for UnknownAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an action is one of: connect, publish, subscribe, receive")
    }
}

impl std::error::Error for UnknownAction {}

/// The circumstances of a request: Cedar's `context` (CSA-SCN-10).
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// `context.now`. A policy that reads it makes decisions uncacheable.
    pub now: UnixMillis,
    /// `context.source`: the peer's address; absent for requests made inside the hub.
    pub source: Option<IpAddr>,
    /// `context.transport`: `"mqtt"`, `"websocket"`, …
    pub transport: &'static str,
    /// `context.client_id`.
    pub client_id: &'a str,
    /// `context.qos`, for `publish` only; `None` counts as 0.
    pub qos: Option<Qos>,
    /// `context.retain`, for `publish` only.
    pub retain: bool,
}

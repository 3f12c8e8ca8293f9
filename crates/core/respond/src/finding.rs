use std::{fmt, net::IpAddr};

use portreeve_types::{IdentityId, IdentityName, Kind, Severity, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::{WHO_BYTES_MAX, text};

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For records and people. It may be set.
    pub wall: UnixMillis,
    /// Milliseconds of a clock that never goes back, from any start. Running timers go by it.
    pub running_ms: u64,
}

/// Whom or what a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "of", content = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Subject {
    /// A registered identity.
    Identity(IdentityName),
    /// An address that something came from.
    Source(IpAddr),
    /// A zone or radio.
    Zone(String),
    /// Who calls the administration.
    Caller(String),
    /// The hub itself.
    Hub,
}

impl Subject {
    /// The subject as it is kept: names are bounded and plain.
    pub(crate) fn clean(&self) -> Self {
        match self {
            Self::Zone(zone) => Self::Zone(text::clean(zone, WHO_BYTES_MAX)),
            Self::Caller(caller) => Self::Caller(text::clean(caller, WHO_BYTES_MAX)),
            Self::Identity(_) | Self::Source(_) | Self::Hub => self.clone(),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(name) => write!(f, "identity {name}"),
            Self::Source(address) => write!(f, "source {address}"),
            Self::Zone(zone) => write!(f, "zone {zone}"),
            Self::Caller(caller) => write!(f, "caller {caller}"),
            Self::Hub => f.write_str("the hub"),
        }
    }
}

/// What a detector found; one for each episode.
#[derive(Clone, Copy, Debug)]
pub struct Finding<'a> {
    /// The episode's stable name.
    pub id: &'a str,
    /// The detector's word.
    pub kind: &'a str,
    /// How grave it is.
    pub severity: Severity,
    /// Whom it is about.
    pub subject: &'a Subject,
    /// What was found, in a sentence.
    pub text: &'a str,
}

/// What the registry knows of an identity.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Its key in the registry.
    pub id: IdentityId,
    /// Its name.
    pub name: &'a IdentityName,
    /// Its group; empty if it has none.
    pub group: &'a str,
    /// What it is.
    pub kind: Kind,
    /// Whether it is quarantined already, or may not connect at all. A rule does not take over what a person decided.
    pub confined: bool,
}

/// Whom a response to a finding would meet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The identity that the finding is about, if it is about one.
    pub identity: Option<Identity<'a>>,
    /// Where it came from, if that is known.
    pub source: Option<IpAddr>,
    /// Every identity that is, or lately was, connected from what [`crate::Source::of`] makes of that source: a block meets them all.
    pub behind: &'a [Identity<'a>],
}

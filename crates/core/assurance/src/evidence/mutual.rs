//! Whom a TLS server lets through to what is behind it.

use serde::{Deserialize, Serialize};

use super::{Effort, Facts, Outcome, Seen};

/// What a client presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credential {
    /// No certificate.
    Nothing,
    /// One whose time is over.
    Expired,
    /// One whose time has not begun.
    NotYetValid,
    /// One of a CA that the server should not know.
    WrongCa,
    /// One for servers.
    WrongUsage,
    /// One that is revoked.
    Revoked,
    /// A good one.
    Valid,
}

impl Credential {
    /// All.
    pub const ALL: [Self; 7] =
        [Self::Nothing, Self::Expired, Self::NotYetValid, Self::WrongCa, Self::WrongUsage, Self::Revoked, Self::Valid];

    /// As people say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no certificate",
            Self::Expired => "an expired certificate",
            Self::NotYetValid => "a certificate that is not valid yet",
            Self::WrongCa => "a certificate of another CA",
            Self::WrongUsage => "a server's certificate",
            Self::Revoked => "a revoked certificate",
            Self::Valid => "a valid certificate",
        }
    }
}

/// Each credential's way through the door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MutualTls {
    /// Those that there were. Accepted means that the application answered.
    pub attempts: Vec<MutualAttempt>,
    /// What it took.
    pub effort: Effort,
}

impl Facts for MutualTls {
    const KIND: &'static str = "tls-mutual/1";
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MutualAttempt {
    /// With what.
    pub credential: Credential,
    /// How it ended.
    pub outcome: Seen<Outcome>,
}

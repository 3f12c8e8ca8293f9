//! What a hub can be asked about itself.

use serde::{Deserialize, Serialize};

/// What facts are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HubSubject {
    /// Who is registered.
    Registry,
    /// Its CAs and what they certified. It looks at the custody of keys, which may take its time.
    Pki,
    /// The policy in force.
    Policy,
    /// Who is connected.
    Sessions,
    /// The audit ledger. It is read up to a bound, and the answer waits some seconds at most for a signature.
    Ledger,
    /// Who administers it.
    Roles,
    /// What is kept for who is away.
    Queue,
    /// How it does.
    Metrics,
    /// The last self-test.
    Canary,
    /// What listens, to compare with what is seen from outside.
    Listeners,
}

impl HubSubject {
    /// Those that a check judges by themselves.
    pub const JUDGED: [Self; 9] = [
        Self::Registry,
        Self::Pki,
        Self::Policy,
        Self::Sessions,
        Self::Ledger,
        Self::Roles,
        Self::Queue,
        Self::Metrics,
        Self::Canary,
    ];

    /// The checks that judge it.
    #[must_use]
    pub const fn checks(self) -> &'static [&'static str] {
        match self {
            Self::Registry => &["hub.registry"],
            Self::Pki => &["hub.pki"],
            Self::Policy => &["hub.policy"],
            Self::Sessions => &["hub.sessions"],
            Self::Ledger => &["hub.ledger"],
            Self::Roles => &["hub.rbac"],
            Self::Queue => &["hub.queue"],
            Self::Metrics => &["hub.metrics"],
            Self::Canary => &["hub.canary"],
            Self::Listeners => &[],
        }
    }

    /// As people say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Registry => "the hub's registry",
            Self::Pki => "the hub's certificates",
            Self::Policy => "the hub's policy",
            Self::Sessions => "the hub's sessions",
            Self::Ledger => "the hub's ledger",
            Self::Roles => "the hub's operators",
            Self::Queue => "the hub's queues",
            Self::Metrics => "how the hub does",
            Self::Canary => "the hub's self-test",
            Self::Listeners => "the hub's listeners",
        }
    }
}

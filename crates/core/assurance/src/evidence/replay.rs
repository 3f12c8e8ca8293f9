//! What becomes of bytes that a target has had before.

use serde::{Deserialize, Serialize};

use super::{Effort, Facts, Outcome, Seen};

/// What is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Replayed {
    /// One record of TLS, in its own connection.
    Record,
    /// Everything that a client sent in one connection, in another one.
    Connection,
    /// A PUBLISH of QoS 2 that is not released yet, in its own session (MQTT 5.0 section 4.3.3). QoS 0 and 1 promise nothing: a client may
    /// send there what it likes, as often as it likes.
    Message,
}

impl Replayed {
    /// All.
    pub const ALL: [Self; 3] = [Self::Record, Self::Connection, Self::Message];

    /// As people say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Record => "a TLS record",
            Self::Connection => "a whole connection",
            Self::Message => "a message of QoS 2",
        }
    }
}

/// Recordings of test sessions, sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// Whether the listener speaks TLS: there are no records else.
    pub is_tls: bool,
    /// Each kind once. Accepted means that somebody who listens heard it a second time.
    pub attempts: Vec<ReplayAttempt>,
    /// Whether the target's own log names what was refused. It cannot be seen from outside: whoever can read the log says so.
    pub is_logged: Seen<bool>,
    /// What it took.
    pub effort: Effort,
}

impl Facts for Replay {
    const KIND: &'static str = "replay/1";
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayAttempt {
    /// What was sent again.
    pub what: Replayed,
    /// What came of it.
    pub outcome: Seen<Outcome>,
}

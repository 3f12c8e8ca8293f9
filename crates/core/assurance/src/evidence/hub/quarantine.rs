//! A rehearsal of the quarantine of one test device.

use serde::{Deserialize, Serialize};

use crate::evidence::{Facts, Outcome, Seen};

/// How long it took until a device that was quarantined had no access any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuarantineRehearsal {
    /// The test device.
    pub device: String,
    /// Connections that it had.
    pub connections: u64,
    /// Until the last of them had ended, milliseconds.
    pub dropped_ms: Seen<u64>,
    /// Until others were told that its certificate is on hold, milliseconds.
    pub revoked_ms: Seen<u64>,
    /// Until the network let nothing of it through, milliseconds.
    pub blocked_ms: Seen<u64>,
    /// Whether it was released again.
    pub released: bool,
}

impl Facts for QuarantineRehearsal {
    const KIND: &'static str = "hub-quarantine/1";
}

/// What a client of the test device saw of its quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuarantineSeen {
    /// What became of its connection: `accepted`, if it was still open.
    pub connection: Seen<Outcome>,
}

impl Facts for QuarantineSeen {
    const KIND: &'static str = "hub-quarantine-seen/1";
}

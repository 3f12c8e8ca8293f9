//! What came of the last self-test.

use serde::{Deserialize, Serialize};

use crate::evidence::{Facts, Seen};

/// Detectors and deliveries of the newest test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubCanary {
    /// What each detector found when it had to; nothing is known of rehearsals before the hub was opened.
    pub rehearsed: Seen<Rehearsed>,
    /// What came of the alerts.
    pub told: Seen<Told>,
}

impl Facts for HubCanary {
    const KIND: &'static str = "hub-canary/1";
}

/// A rehearsal of all detectors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rehearsed {
    /// How long ago, seconds.
    pub age_s: u64,
    /// Detectors that found what they had to.
    pub found: Vec<String>,
    /// Detectors that did not.
    pub missed: Vec<String>,
}

/// A test through all channels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// How long ago, seconds.
    pub age_s: u64,
    /// Each channel and contact, at most 200.
    pub deliveries: Vec<Delivery>,
    /// How many more there are.
    pub deliveries_more: u64,
}

/// A delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// Through which channel.
    pub channel: String,
    /// How long it took, milliseconds; unknown while it waits or if it was given up.
    pub after_ms: Seen<u64>,
}

//! What a deployment demands of its hub: declared beforehand, or these defaults.

use serde::{Deserialize, Serialize};

use super::Field;
use crate::evidence::Facts;

/// The demands. What has no safe default is `None`, and what depends on it stays open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HubExpectations {
    /// What must be known of each device and gateway.
    pub device_fields: Vec<Field>,
    /// What must be known of each application.
    pub application_fields: Vec<Field>,
    /// So many days may an identity be active and not used (IIITA-N8).
    pub unused_days_max: u64,
    /// The longest life of a certificate of a device, days (CSA-CRD-02: a year is ideal).
    pub certificate_days_max: u64,
    /// So much of its life is left at least when a certificate is followed by the next, percent (CSA-CRD-10).
    pub left_percent_min: u64,
    /// What may protect the keys of CAs.
    pub ca_protections: Vec<String>,
    /// What kinds of keys may be certified.
    pub key_kinds: Vec<String>,
    /// Whether every certificate needs somebody's consent.
    pub issuance_consent: bool,
    /// Whether administrators must have nothing to do with keys (CSA-CRD-03).
    pub keys_apart: bool,
    /// Whether operations on CAs must need two persons (CSA-SCN-08, CSA-CRD-03).
    pub two_persons: bool,
    /// So many days may an operator do nothing (CSA-GVN-04).
    pub operator_idle_days_max: u64,
    /// So many days must entries of the ledger be kept.
    pub ledger_keep_days_min: u64,
    /// What devices send; without it nobody knows how long a queue lasts.
    pub load: Option<Load>,
    /// So many hours must queues last (CSA-OPA-10).
    pub queue_hours_min: u64,
    /// What the hub is to achieve.
    pub objectives: Option<Objectives>,
    /// An alert has to arrive within this time, milliseconds.
    pub alert_ms_max: u64,
    /// The last self-test may be so old, seconds.
    pub canary_age_s_max: u64,
    /// Each step of a quarantine may take so long, milliseconds.
    pub quarantine_ms_max: u64,
}

impl Default for HubExpectations {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        Self {
            device_fields: Field::ALL.to_vec(),
            application_fields: vec![Field::Owner],
            unused_days_max: 90,
            certificate_days_max: 365,
            left_percent_min: 10,
            ca_protections: words(&["sealed file", "TPM 2.0", "PKCS #11 token"]),
            key_kinds: words(&["ecdsa-p256", "ecdsa-p384", "rsa-3072", "rsa-4096"]),
            issuance_consent: false,
            keys_apart: true,
            two_persons: true,
            operator_idle_days_max: 90,
            ledger_keep_days_min: 365,
            load: None,
            queue_hours_min: 24,
            objectives: None,
            alert_ms_max: 60_000,
            canary_age_s_max: 8 * 86_400,
            quarantine_ms_max: 1000,
        }
    }
}

impl Facts for HubExpectations {
    const KIND: &'static str = "hub-expectations/1";
}

/// What waits for one session that is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Messages an hour.
    pub messages_per_hour: u64,
    /// Bytes of each, with its topic.
    pub message_bytes: u64,
    /// Sessions that may be away at once.
    pub sessions_away: u64,
}

/// Service levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objectives {
    /// The least availability, in a thousandth of a percent: 99,900 is 99.9 %.
    pub availability_ppht_min: u32,
    /// Of a million messages so many may be dropped.
    pub dropped_ppm_max: u64,
    /// The longest delivery, the 99th percentile, microseconds.
    pub delivery_us_max: u64,
    /// So much of a limit may be in use, percent.
    pub used_percent_max: u64,
}

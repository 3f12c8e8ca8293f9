//! The hub's CAs and what they have certified.

use serde::{Deserialize, Serialize};

use super::{Measured, Offenders};
use crate::evidence::{Facts, Seen};

/// Certificates and keys, private ones by their place alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubPki {
    /// The CAs and the listeners' certificate, at most 64.
    pub own: Vec<HubCertificate>,
    /// How many more of these there are.
    pub own_more: u64,
    /// Certificates of identities that are neither over nor revoked.
    pub certificates: u64,
    /// Certificates of identities that are revoked.
    pub revoked: u64,
    /// Identities that share a public key with another.
    pub shared_keys: Offenders,
    /// Of certificates that are neither over nor revoked: how long each lives, days, rounded up.
    pub lifetime_days: Vec<Measured>,
    /// Of the newest certificate of each active identity: how much of its life is left, percent.
    pub left_percent: Vec<Measured>,
    /// Active identities whose newest certificate is over.
    pub over: Offenders,
    /// Who is connected with a certificate that is revoked, superseded for too long, over, or of a CA that was withdrawn.
    pub used_though_void: Seen<Offenders>,
    /// The kinds of keys that are certified now.
    pub key_kinds: Vec<String>,
    /// Whether a certificate by a one-time code needs somebody's consent.
    pub codes_need_consent: bool,
    /// Enrolment groups: all, and those whose devices get certificates without consent.
    pub groups: u64,
    /// See [`Self::groups`].
    pub groups_without_consent: Offenders,
}

impl Facts for HubPki {
    const KIND: &'static str = "hub-pki/1";
}

/// A certificate of the hub's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubCertificate {
    /// As `ca show` calls it.
    pub name: String,
    /// What it is for.
    pub purpose: String,
    /// SHA-256 of the certificate.
    pub sha256: String,
    /// Its whole life, days.
    pub lifetime_days: i64,
    /// What is left of it, days; less than 0, if it is over.
    pub days_left: i64,
    /// Whether it was withdrawn.
    pub withdrawn: bool,
    /// Its key's algorithm; nothing, if the key is not here.
    pub algorithm: Option<String>,
    /// What protects its key, if that is here.
    pub protection: Option<String>,
    /// Whether its key never leaves its hardware.
    pub hardware_held: bool,
}

//! Certificates as a target presented them.

use serde::{Deserialize, Serialize};

use super::Seen;

/// A chain, leaf first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// As sent, without the trust anchor unless it was sent too.
    pub certificates: Vec<CertificateFacts>,
    /// Whether the leaf is good for the name that was asked for (RFC 9525).
    pub name_matches: Seen<bool>,
    /// Whether it leads to one of the trust anchors that were declared, for a server, now. Not tried without anchors.
    pub anchored: Seen<bool>,
}

/// One certificate (RFC 5280). Texts are the target's, printable and bounded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFacts {
    /// SHA-256 of the certificate, hexadecimal.
    pub sha256: String,
    /// SHA-256 of its SubjectPublicKeyInfo, hexadecimal.
    pub key_sha256: String,
    /// Subject.
    pub subject: String,
    /// Issuer.
    pub issuer: String,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// Of its public key.
    pub key: KeyFacts,
    /// With what its issuer signed.
    pub signature: SignatureFacts,
    /// Seconds since 1970.
    pub not_before_s: i64,
    /// Seconds since 1970.
    pub not_after_s: i64,
    /// From the first to the last second, days.
    pub lifetime_days: i64,
    /// From the moment of looking to its end, days; negative, if it is over.
    pub days_left: i64,
    /// Whether its time had begun when it was looked at.
    pub has_begun: bool,
    /// Subject alternative names: DNS names, addresses and URIs, with what they are before them, such as "dns:hub".
    pub names: Vec<String>,
    /// Extended key usages, such as "server-auth"; others as object identifiers. Empty: none is named, all are meant.
    pub extended_key_usages: Vec<String>,
    /// Whether it may sign certificates.
    pub is_ca: bool,
    /// Whether subject and issuer are one.
    pub is_self_issued: bool,
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFacts {
    /// "rsa", "ec", "ed25519", "ed448", "dsa"; others as object identifiers.
    pub algorithm: String,
    /// Modulus of RSA, field of an elliptic curve, bits; 0, if that is not known.
    pub bits: u32,
    /// Name of the curve, or its object identifier.
    pub curve: Option<String>,
}

/// How a certificate is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureFacts {
    /// Such as "rsa-pkcs1-sha256" or "ecdsa-sha384"; others as object identifiers.
    pub algorithm: String,
    /// "md5", "sha1", "sha256" …; "none" where the algorithm has its own (Ed25519); empty, if it is not known.
    pub hash: String,
}

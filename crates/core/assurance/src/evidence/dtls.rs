//! What a DTLS server accepts.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    Effort, Facts, Seen,
    certificate::Chain,
    tls::{Version, VersionFacts},
};

/// Protocol versions, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DtlsVersion {
    /// DTLS 1.0 (RFC 4347), which is made of TLS 1.1.
    #[serde(rename = "dtls-1.0")]
    Dtls10,
    /// DTLS 1.2 (RFC 6347).
    #[serde(rename = "dtls-1.2")]
    Dtls12,
    /// DTLS 1.3 (RFC 9147).
    #[serde(rename = "dtls-1.3")]
    Dtls13,
}

impl DtlsVersion {
    /// All.
    pub const ALL: [Self; 3] = [Self::Dtls10, Self::Dtls12, Self::Dtls13];

    /// The TLS that it is made of.
    #[must_use]
    pub const fn tls(self) -> Version {
        match self {
            Self::Dtls10 => Version::Tls11,
            Self::Dtls12 => Version::Tls12,
            Self::Dtls13 => Version::Tls13,
        }
    }
}

impl fmt::Display for DtlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dtls10 => "DTLS 1.0",
            Self::Dtls12 => "DTLS 1.2",
            Self::Dtls13 => "DTLS 1.3",
        })
    }
}

/// A scan of one UDP port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DtlsScan {
    /// Each version once, oldest first.
    pub versions: Vec<VersionFacts<DtlsVersion>>,
    /// What a first hello gets, before it is known that its sender is where it says.
    pub first_answer: Seen<FirstAnswer>,
    /// Whether a client certificate is asked for; known where DTLS 1.2 or older is accepted with a certificate.
    pub client_certificate: Seen<bool>,
    /// The chains that were presented below DTLS 1.3, each once.
    pub chains: Vec<Chain>,
    /// What it took.
    pub effort: Effort,
}

impl Facts for DtlsScan {
    const KIND: &'static str = "dtls-scan/1";
}

/// What a hello without a cookie gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstAnswer {
    /// Whether nothing but a cookie comes (HelloVerifyRequest, HelloRetryRequest).
    pub is_cookie: bool,
    /// Bytes of the hello's datagram.
    pub request_bytes: u32,
    /// Bytes of all datagrams that came within a second.
    pub answer_bytes: u32,
}

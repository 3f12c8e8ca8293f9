//! What a TLS server accepts.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Effort, Facts, Listing, Seen, certificate::Chain};

/// Protocol versions, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Version {
    /// SSL 3.0 (RFC 6101).
    #[serde(rename = "ssl-3.0")]
    Ssl30,
    /// TLS 1.0 (RFC 2246).
    #[serde(rename = "tls-1.0")]
    Tls10,
    /// TLS 1.1 (RFC 4346).
    #[serde(rename = "tls-1.1")]
    Tls11,
    /// TLS 1.2 (RFC 5246).
    #[serde(rename = "tls-1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "tls-1.3")]
    Tls13,
}

impl Version {
    /// All that are tried.
    pub const ALL: [Self; 5] = [Self::Ssl30, Self::Tls10, Self::Tls11, Self::Tls12, Self::Tls13];

    /// As people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ssl30 => "SSL 3.0",
            Self::Tls10 => "TLS 1.0",
            Self::Tls11 => "TLS 1.1",
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A scan of one TCP port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsScan {
    /// The name that was asked for (RFC 6066 section 3).
    pub server_name: Option<String>,
    /// Each version once, oldest first.
    pub versions: Vec<VersionFacts>,
    /// What handshakes below TLS 1.3 show; of the newest such version that is accepted.
    pub classic: Seen<ClassicFacts>,
    /// What a handshake of TLS 1.3 shows behind its encryption.
    pub sealed: Seen<SealedFacts>,
    /// The chains that were presented, each once.
    pub chains: Vec<Chain>,
    /// Why there is no chain, or why one could not be read.
    pub chains_gap: Option<String>,
    /// What it took.
    pub effort: Effort,
}

impl Facts for TlsScan {
    const KIND: &'static str = "tls-scan/1";
}

impl TlsScan {
    /// The versions that are accepted.
    pub fn accepted(&self) -> impl Iterator<Item = &VersionFacts> {
        self.versions.iter().filter(|facts| facts.accepted.is_true())
    }
}

/// One protocol version, of TLS or DTLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionFacts<V = Version> {
    /// Which.
    pub version: V,
    /// Whether a ClientHello of this version got a ServerHello of this version.
    pub accepted: Seen<bool>,
    /// How it was refused, such as "alert protocol_version"; empty, if it was not.
    pub refusal: String,
    /// Cipher suites.
    pub suites: Listing,
    /// Who decides between suites.
    pub order: Seen<Order>,
    /// Groups for key exchange; without finite-field groups below TLS 1.3.
    pub groups: Listing,
    /// With what the server signs its key exchange: TLS 1.2 and 1.3, which say.
    pub signatures: Listing,
    /// The smallest prime of a finite-field key exchange below TLS 1.3, bits.
    pub dh_bits_min: Option<u32>,
}

/// Whose preference decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The server's.
    Server,
    /// The client's.
    Client,
    /// There is one suite only.
    One,
}

/// What a ServerHello below TLS 1.3 says in clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassicFacts {
    /// Of which version.
    pub version: Version,
    /// DEFLATE was chosen (CRIME).
    pub compression: bool,
    /// The heartbeat extension was answered (RFC 6520), without which there is no Heartbleed.
    pub heartbeat: bool,
    /// Extended Master Secret (RFC 7627).
    pub extended_master_secret: bool,
    /// Secure renegotiation (RFC 5746).
    pub secure_renegotiation: bool,
    /// A session ticket was promised (RFC 5077).
    pub ticket: bool,
    /// A client certificate is asked for.
    pub client_certificate: bool,
    /// A hello below the best version, with TLS_FALLBACK_SCSV, is refused (RFC 7507). Known where there is more than one version.
    pub fallback_refused: Seen<bool>,
    /// ChangeCipherSpec in the middle of the handshake is refused (CVE-2014-0224).
    pub early_ccs_refused: Seen<bool>,
}

/// What comes encrypted in TLS 1.3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedFacts {
    /// A client certificate is asked for.
    pub client_certificate: bool,
    /// Session tickets that came within the time of looking.
    pub tickets: u32,
    /// Early data that the tickets allow, bytes (RFC 8446 section 4.2.10).
    pub early_data_bytes: u32,
}

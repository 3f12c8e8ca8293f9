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

/// What a TLS endpoint may accept. The default is NIST SP 800-52 Rev. 2 with SP 800-131A Rev. 2, and the hybrids of FIPS 203.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsPolicy {
    /// The oldest version.
    pub version_min: Version,
    /// Cipher suites, TLS 1.3's included.
    pub suites: Vec<u16>,
    /// Groups for key exchange.
    pub groups: Vec<u16>,
    /// Signature schemes in handshakes.
    pub signatures: Vec<u16>,
    /// The smallest finite-field prime and RSA key, bits.
    pub rsa_dh_bits_min: u32,
    /// The smallest elliptic curve, bits.
    pub ec_bits_min: u32,
    /// Hashes of certificate signatures; "none" for algorithms with their own.
    pub hashes: Vec<String>,
    /// The longest life of a leaf, days.
    pub lifetime_days_max: i64,
    /// How long a leaf must still be valid, days.
    pub days_left_min: i64,
    /// Whether TLS 1.3 must agree on a group that a quantum computer does not break.
    pub is_pqc_required: bool,
}

impl Default for TlsPolicy {
    fn default() -> Self {
        Self {
            version_min: Version::Tls12,
            // AES-GCM and AES-CCM with ephemeral elliptic keys (SP 800-52r2 section 3.3.1).
            suites: vec![
                0x1301, 0x1302, 0x1304, 0x1305, 0xc02b, 0xc02c, 0xc02f, 0xc030, 0xc0ac, 0xc0ad, 0xc0ae, 0xc0af,
            ],
            // NIST curves, the finite fields of RFC 7919, and ML-KEM in hybrids (SP 800-56A Rev. 3 appendix D, SP 800-227).
            groups: vec![0x0017, 0x0018, 0x0019, 0x0100, 0x0101, 0x0102, 0x0103, 0x0104, 0x11eb, 0x11ec, 0x11ed],
            signatures: vec![
                0x0401, 0x0403, 0x0501, 0x0503, 0x0601, 0x0603, 0x0804, 0x0805, 0x0806, 0x0807, 0x0808, 0x0809, 0x080a,
                0x080b, 0x0904, 0x0905, 0x0906,
            ],
            rsa_dh_bits_min: 2048,
            ec_bits_min: 256,
            hashes: ["sha256", "sha384", "sha512", "none"].map(str::to_owned).to_vec(),
            lifetime_days_max: 398,
            days_left_min: 7,
            is_pqc_required: false,
        }
    }
}

impl TlsPolicy {
    /// The default, and what is as strong without NIST's word: ChaCha20-Poly1305 (RFC 8439), X25519 and X448 (RFC 7748).
    #[must_use]
    pub fn modern() -> Self {
        let mut policy = Self::default();
        policy.suites.extend([0x1303, 0xcca8, 0xcca9]);
        policy.groups.extend([0x001d, 0x001e]);
        policy
    }
}

impl Facts for TlsPolicy {
    const KIND: &'static str = "tls-policy/1";
}

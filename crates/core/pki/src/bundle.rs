//! What a device trusts, signed and numbered, so that it can be replaced on devices that nobody can touch.

use base64::{Engine, engine::general_purpose::STANDARD};
use portreeve_types::{KeyHash, UnixMillis};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::{
    DocumentRefusal, PkiError, SignWith, SubjectPublicKey, audit_key,
    document::{DocumentKind, Span, open, peek, seal},
};

/// Longest trust bundle, as it is sent, with the links before it.
pub const TRUST_BUNDLE_BYTES_MAX: usize = 64 * 1024;
/// How many anchors it may hold.
pub const ANCHORS_MAX: usize = 8;
/// How many pins it may hold; there are never less than two (current and next).
pub const PINS_MAX: usize = 4;
/// How many keys may sign its successor.
pub const BUNDLE_SIGNERS_MAX: usize = 4;

/// How many documents may lead from one signer to the next, before the bundle that counts.
pub const TRUST_LINKS_MAX: usize = 4;

/// How far a device's clock may be behind the hub's before a bundle counts as one from the future.
const SKEW_MS: u64 = 24 * 60 * 60 * 1000;

const KIND: DocumentKind = DocumentKind { name: "portreeve-trust-bundle", bytes_max: TRUST_BUNDLE_BYTES_MAX };

/// The trust of a device (ISVS-4.1.6): anchors, pins, and the keys that may change them.
///
/// It travels as a JWS (RFC 7515) with a JSON content: the list of trust anchors of RFC 5914, a CMS content, has room for
/// neither a version nor pins, and asks a device for a CMS verifier. A device keeps the last one that it accepted and takes another
/// only if one of *that* bundle's signers has signed it and its version is higher: who steals the hub's TLS key cannot
/// change what devices trust, and nobody can put back a bundle with an anchor that has been withdrawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustBundle {
    /// Rises with every bundle.
    pub version: u64,
    /// When it was made.
    pub issued: UnixMillis,
    /// Until when it is accepted by who does not have it yet. A device goes on trusting the one it has.
    pub expires: UnixMillis,
    /// CA certificates; both old and new ones while one replaces the other.
    pub anchors: Vec<CertificateDer<'static>>,
    /// The hub's keys: current and next.
    pub pins: Vec<KeyHash>,
    /// Who may sign the next bundle.
    pub signers: Vec<SubjectPublicKey>,
}

/// The JSON content.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Content {
    format: u32,
    version: u64,
    issued_s: u64,
    expires_s: u64,
    /// DER in base64.
    anchors: Vec<String>,
    /// Hexadecimal.
    pins_sha256: Vec<String>,
    /// DER `SubjectPublicKeyInfo` in base64.
    signers: Vec<String>,
}

impl TrustBundle {
    /// Signs the bundle. The key has to be one that the preceding bundle named.
    ///
    /// # Errors
    /// [`PkiError::BadDocument`] for a bundle that no device would accept; what signing fails with.
    pub fn seal(&self, key: SignWith<'_>) -> Result<String, PkiError> {
        let content = Content {
            format: 1,
            version: self.version,
            issued_s: self.issued.seconds(),
            expires_s: self.expires.seconds(),
            anchors: self.anchors.iter().map(|anchor| STANDARD.encode(anchor)).collect(),
            pins_sha256: self.pins.iter().map(ToString::to_string).collect(),
            signers: self.signers.iter().map(|signer| STANDARD.encode(signer.spki_der())).collect(),
        };
        let json = |error: serde_json::Error| PkiError::Crypto(error.to_string());
        let again = serde_json::from_slice(&serde_json::to_vec(&content).map_err(json)?).map_err(json)?;
        Self::from_content(&again).map_err(PkiError::BadDocument)?;
        seal(&KIND, &content, key)
    }

    /// Reads a bundle by the signers that it names itself: the first one of a device, from a hub that has shown by other
    /// means who it is; and the one that the device keeps.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_first(document: &[u8], now: Option<UnixMillis>) -> Result<Self, DocumentRefusal> {
        let (_, document) = split(document)?;
        let content: Content = peek(&KIND, document)?;
        let named = Self::from_content(&content).map_err(|reason| DocumentRefusal::Content(reason.to_owned()))?;
        Self::open(document, &named.signers, now)
    }

    /// Reads a bundle that one of these keys has to have signed. `now` is absent on a device without a clock, which then
    /// relies on the version alone.
    ///
    /// # Errors
    /// The precise reason.
    pub fn open(
        document: &[u8],
        signers: &[SubjectPublicKey],
        now: Option<UnixMillis>,
    ) -> Result<Self, DocumentRefusal> {
        let content: Content = open(&KIND, document, signers)?;
        let bundle = Self::from_content(&content).map_err(|reason| DocumentRefusal::Content(reason.to_owned()))?;
        Span { issued: bundle.issued, expires: bundle.expires }.check(now, SKEW_MS)?;
        Ok(bundle)
    }

    /// Reads the bundle that is to replace this one. It comes alone, or behind links, a line each: documents in which one
    /// signer named the next. Those that lead here are passed over; from the others each follows from the one before. Only
    /// the last one counts in time, for a link is as good as the key that this bundle names.
    ///
    /// # Errors
    /// As [`Self::open`]; [`DocumentRefusal::NotNewer`] for this version and all before.
    pub fn successor(&self, document: &[u8], now: Option<UnixMillis>) -> Result<Self, DocumentRefusal> {
        let (links, last) = split(document)?;
        let mut held = self.clone();
        for link in links {
            let version = peek::<Content>(&KIND, link)?.version;
            if version > held.version {
                held = Self::open(link, &held.signers, None)?;
            }
        }
        let next = Self::open(last, &held.signers, now)?;
        if next.version <= held.version {
            return Err(DocumentRefusal::NotNewer { have: held.version, got: next.version });
        }
        Ok(next)
    }

    fn from_content(content: &Content) -> Result<Self, &'static str> {
        if content.format != 1 {
            return Err("an unknown format");
        }
        let span = Span::from_seconds(content.issued_s, content.expires_s).ok_or("it ends before it begins")?;
        let pins = several(&content.pins_sha256, 2..=PINS_MAX, pin).ok_or("2 to 4 different pins are needed")?;
        let anchors = several(&content.anchors, 1..=ANCHORS_MAX, anchor).ok_or("1 to 8 CA certificates are needed")?;
        let signers =
            several(&content.signers, 1..=BUNDLE_SIGNERS_MAX, signer).ok_or("1 to 4 keys of signers are needed")?;
        let Span { issued, expires } = span;
        Ok(Self { version: content.version, issued, expires, anchors, pins, signers })
    }
}

/// The links, and the bundle behind them.
fn split(document: &[u8]) -> Result<(Vec<&[u8]>, &[u8]), DocumentRefusal> {
    if document.len() > TRUST_BUNDLE_BYTES_MAX {
        return Err(DocumentRefusal::Oversized { max_bytes: TRUST_BUNDLE_BYTES_MAX });
    }
    let mut lines: Vec<_> = document.trim_ascii_end().split(|byte| *byte == b'\n').collect();
    let last = lines.pop().filter(|_| lines.len() <= TRUST_LINKS_MAX).ok_or(DocumentRefusal::Malformed)?;
    Ok((lines, last))
}

/// So many texts, none twice, all of them readable.
fn several<T>(
    texts: &[String],
    count: std::ops::RangeInclusive<usize>,
    read: impl Fn(&str) -> Option<T>,
) -> Option<Vec<T>> {
    let repeated = |at: usize| texts[..at].contains(&texts[at]);
    if !count.contains(&texts.len()) || (0..texts.len()).any(repeated) {
        return None;
    }
    texts.iter().map(|text| read(text)).collect()
}

/// A SHA-256 in hexadecimal, in small letters, so that there is one spelling.
pub(crate) fn pin(text: &str) -> Option<KeyHash> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).ok()?;
    (!text.bytes().any(|byte| byte.is_ascii_uppercase())).then_some(KeyHash(hash))
}

fn anchor(text: &str) -> Option<CertificateDer<'static>> {
    let der = STANDARD.decode(text).ok()?;
    let (rest, parsed) = X509Certificate::from_der(&der).ok()?;
    let is_ca = rest.is_empty() && parsed.is_ca();
    is_ca.then(|| CertificateDer::from(der))
}

fn signer(text: &str) -> Option<SubjectPublicKey> {
    audit_key(&STANDARD.decode(text).ok()?).ok()
}

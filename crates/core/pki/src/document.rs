//! Signed JSON documents: JWS in its compact form (RFC 7515) with one algorithm a key (ES256, ES384) and a type that
//! keeps one kind of document from passing for another (RFC 8725 §3.11). A dozen languages can make and check them.

use aws_lc_rs::signature::{self, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use der::{Decode, Reader, SliceReader, asn1::UintRef};
use portreeve_types::UnixMillis;
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{PkiError, SignWith, SubjectPublicKey, key::key_hash, signer::signature_algorithm};

/// Longest header.
const HEADER_BYTES_MAX: usize = 512;

/// Why a signed document was refused. For the log of who got it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentRefusal {
    /// Longer than documents of its kind are.
    #[error("the document is longer than {max_bytes} bytes")]
    Oversized {
        /// What is allowed.
        max_bytes: usize,
    },
    /// Not three parts in base64url, or a header that is not understood to the last word.
    #[error("not a JWS in compact form with a plain header")]
    Malformed,
    /// A document of another kind.
    #[error("it is a document of another kind")]
    OtherKind,
    /// None of the keys that may sign it has.
    #[error("it is not signed by a key that is trusted to")]
    Signature,
    /// Signed, but not understood.
    #[error("its content is not as it should be: {0}")]
    Content(String),
    /// A version that is not above the one at hand: a replay, or an attempt to go back.
    #[error("it is version {got}, and version {have} is at hand")]
    NotNewer {
        /// The version at hand.
        have: u64,
        /// The version that came.
        got: u64,
    },
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// It comes from the future.
    #[error("it was issued in the future")]
    NotYetValid,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)] // `crit`, `jwk`, `x5u` and their like would want to be obeyed
struct Header {
    alg: String,
    typ: String,
    /// Which key: the hash that the registry knows it by. A hint that nothing depends on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
}

/// A kind of document: the `typ` of its header, and how long it may be.
pub(crate) struct DocumentKind {
    pub(crate) name: &'static str,
    pub(crate) bytes_max: usize,
}

/// The validity that every kind has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) issued: UnixMillis,
    pub(crate) expires: UnixMillis,
}

impl Span {
    /// A span of whole seconds, as they stand in the documents; `None` if it ends before it begins.
    pub(crate) fn from_seconds(issued_s: u64, expires_s: u64) -> Option<Self> {
        let millis = |seconds: u64| seconds.checked_mul(1000).map(UnixMillis);
        let span = Self { issued: millis(issued_s)?, expires: millis(expires_s)? };
        (span.issued < span.expires).then_some(span)
    }

    /// `now` is absent where there is no clock; `skew_ms` is how far a clock may be behind.
    pub(crate) fn check(self, now: Option<UnixMillis>, skew_ms: u64) -> Result<(), DocumentRefusal> {
        let Some(now) = now else { return Ok(()) };
        if now >= self.expires {
            return Err(DocumentRefusal::Expired);
        }
        if now.0.saturating_add(skew_ms) < self.issued.0 {
            return Err(DocumentRefusal::NotYetValid);
        }
        Ok(())
    }
}

/// Signs a document.
pub(crate) fn seal(kind: &DocumentKind, content: &impl Serialize, key: SignWith<'_>) -> Result<String, PkiError> {
    signature_algorithm(key)?; // none but the keys on the list
    let json = |error: serde_json::Error| PkiError::Crypto(error.to_string());
    let kid = Some(key_hash(&key.subject_public_key_info()).to_string());
    let header = Header { alg: algorithm_name(key.algorithm()).to_owned(), typ: kind.name.to_owned(), kid };
    let header = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).map_err(json)?);
    let content = URL_SAFE_NO_PAD.encode(serde_json::to_vec(content).map_err(json)?);
    let signed = format!("{header}.{content}");
    let signature = fixed_width(&key.sign(signed.as_bytes())?, key.der_bytes().len() / 2)?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Reads a document that one of these keys has signed. Nothing of the content is looked at before.
pub(crate) fn open<T: DeserializeOwned>(
    kind: &DocumentKind,
    document: &[u8],
    signers: &[SubjectPublicKey],
) -> Result<T, DocumentRefusal> {
    if document.len() > kind.bytes_max {
        return Err(DocumentRefusal::Oversized { max_bytes: kind.bytes_max });
    }
    let text = std::str::from_utf8(document.trim_ascii_end()).map_err(|_| DocumentRefusal::Malformed)?;
    let (signed, signature) = text.rsplit_once('.').ok_or(DocumentRefusal::Malformed)?;
    let (header, content) = signed.split_once('.').ok_or(DocumentRefusal::Malformed)?;
    if header.len() > HEADER_BYTES_MAX {
        return Err(DocumentRefusal::Malformed);
    }
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| DocumentRefusal::Malformed);
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| DocumentRefusal::Malformed)?;
    let (content, signature) = (decode(content)?, decode(signature)?);
    if header.typ != kind.name {
        return Err(DocumentRefusal::OtherKind);
    }
    let signed_by = |key: &SubjectPublicKey| {
        let p256 = *key.algorithm() == PKCS_ECDSA_P256_SHA256;
        let algorithm = if p256 { &signature::ECDSA_P256_SHA256_FIXED } else { &signature::ECDSA_P384_SHA384_FIXED };
        header.alg == algorithm_name(key.algorithm())
            && UnparsedPublicKey::new(algorithm, key.der_bytes()).verify(signed.as_bytes(), &signature).is_ok()
    };
    if !signers.iter().any(signed_by) {
        return Err(DocumentRefusal::Signature);
    }
    serde_json::from_slice(&content).map_err(|error| DocumentRefusal::Content(error.to_string()))
}

/// What a document says, whoever signed it: to find out by whose key it claims to be signed.
pub(crate) fn peek<T: DeserializeOwned>(kind: &DocumentKind, document: &[u8]) -> Result<T, DocumentRefusal> {
    if document.len() > kind.bytes_max {
        return Err(DocumentRefusal::Oversized { max_bytes: kind.bytes_max });
    }
    let content = document.split(|byte| *byte == b'.').nth(1).ok_or(DocumentRefusal::Malformed)?;
    let content = URL_SAFE_NO_PAD.decode(content).map_err(|_| DocumentRefusal::Malformed)?;
    serde_json::from_slice(&content).map_err(|error| DocumentRefusal::Content(error.to_string()))
}

/// RFC 7518 §3.4: the curve decides the hash.
fn algorithm_name(algorithm: &SignatureAlgorithm) -> &'static str {
    if *algorithm == PKCS_ECDSA_P256_SHA256 { "ES256" } else { "ES384" }
}

/// An ECDSA signature as X.509 has it, turned into the two numbers of equal width that JOSE has (RFC 7518 §3.4).
fn fixed_width(signature_der: &[u8], number_bytes: usize) -> Result<Vec<u8>, PkiError> {
    let mut reader = SliceReader::new(signature_der)?;
    let (r, s) = reader.sequence(|inner| Ok((UintRef::decode(inner)?, UintRef::decode(inner)?)))?;
    let mut fixed = Vec::with_capacity(number_bytes * 2);
    for number in [r.as_bytes(), s.as_bytes()] {
        let padding = number_bytes.checked_sub(number.len()).ok_or(PkiError::UnacceptableKey)?;
        fixed.resize(fixed.len() + padding, 0);
        fixed.extend_from_slice(number);
    }
    Ok(fixed)
}

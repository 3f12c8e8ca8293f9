use portreeve_types::{IdentityId, KeyHash, UnixMillis};
use uuid::Uuid;
use x509_parser::{
    certificate::{TbsCertificate, X509Certificate, X509CertificateParser},
    extensions::{GeneralName, SubjectAlternativeName},
    nom::Parser,
    oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME,
    prelude::FromDer,
    time::ASN1Time,
    x509::X509Version,
};

use crate::{PkiError, key::key_hash};

/// Longest serial number a conforming CA issues (RFC 5280 §4.1.2.2).
const SERIAL_BYTES_MAX: usize = 20;

/// How an identity stands in a certificate's subject alternative name (RFC 9562 §4, RFC 8141).
pub(crate) const IDENTITY_URN: &str = "urn:uuid:";

/// What a presented certificate says about itself. That it is true is for the chain check to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafFacts {
    /// Hash of its public key: the registry's way in.
    pub key: KeyHash,
    /// Serial number, big-endian, without leading zeros.
    pub serial: Vec<u8>,
    /// The identity it names, if it names one.
    pub identity: Option<IdentityId>,
    /// Not valid before this time.
    pub not_before: UnixMillis,
    /// Not valid after this time.
    pub not_after: UnixMillis,
}

/// Reads a certificate that came from outside. Strict, without side effects, and total: no input makes it panic.
///
/// # Errors
/// [`PkiError::BadCertificate`] for everything but one well-formed X.509 v3 certificate that names at most one identity.
pub fn leaf_facts(der: &[u8]) -> Result<LeafFacts, PkiError> {
    let leaf = parse(der)?;
    let (not_before, not_after) = (millis(leaf.validity().not_before)?, millis(leaf.validity().not_after)?);
    if not_before > not_after {
        return Err(PkiError::BadCertificate("it ends before it begins"));
    }
    Ok(LeafFacts {
        key: key_hash(leaf.public_key().raw),
        serial: serial(&leaf)?,
        identity: identity(&leaf)?,
        not_before,
        not_after,
    })
}

/// Whether a certificate names a CA as its issuer and bears its signature.
#[must_use]
pub fn is_issued_by(leaf_der: &[u8], ca_der: &[u8]) -> bool {
    let (Ok(leaf), Ok(ca)) = (parse(leaf_der), parse(ca_der)) else { return false };
    leaf.issuer().as_raw() == ca.subject().as_raw() && leaf.verify_signature(Some(ca.public_key())).is_ok()
}

/// The certificate, its extensions left as bytes: only one of them is of interest, so the others cost nothing.
fn parse(der: &[u8]) -> Result<X509Certificate<'_>, PkiError> {
    let (rest, leaf) = X509CertificateParser::new()
        .with_deep_parse_extensions(false)
        .parse(der)
        .map_err(|_| PkiError::BadCertificate("not an X.509 certificate"))?;
    if !rest.is_empty() {
        return Err(PkiError::BadCertificate("bytes follow it"));
    }
    if leaf.version() != X509Version::V3 {
        return Err(PkiError::BadCertificate("not version 3"));
    }
    Ok(leaf)
}

fn serial(leaf: &TbsCertificate<'_>) -> Result<Vec<u8>, PkiError> {
    let digits = match leaf.raw_serial() {
        [first, ..] if *first >= 0x80 => return Err(PkiError::BadCertificate("negative serial number")),
        [0, digits @ ..] => digits,
        digits => digits,
    };
    if digits.is_empty() || digits.len() > SERIAL_BYTES_MAX {
        return Err(PkiError::BadCertificate("serial number of no or too many bytes"));
    }
    Ok(digits.to_vec())
}

fn identity(leaf: &TbsCertificate<'_>) -> Result<Option<IdentityId>, PkiError> {
    let names = leaf
        .get_extension_unique(&OID_X509_EXT_SUBJECT_ALT_NAME)
        .map_err(|_| PkiError::BadCertificate("more than one subject alternative name extension"))?;
    let Some(names) = names else { return Ok(None) };
    let (rest, names) = SubjectAlternativeName::from_der(names.value)
        .map_err(|_| PkiError::BadCertificate("malformed subject alternative name"))?;
    if !rest.is_empty() {
        return Err(PkiError::BadCertificate("bytes follow the subject alternative name"));
    }
    let mut found = None;
    for name in &names.general_names {
        let GeneralName::URI(uri) = name else { continue };
        let Some(text) = uri.strip_prefix(IDENTITY_URN) else { continue };
        if found.replace(IdentityId(hyphenated(text)?)).is_some() {
            return Err(PkiError::BadCertificate("it names more than one identity"));
        }
    }
    Ok(found)
}

/// The one spelling that is issued, so that two different names never stand for one identity.
fn hyphenated(text: &str) -> Result<Uuid, PkiError> {
    Uuid::try_parse(text)
        .ok()
        .filter(|uuid| uuid.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text)
        .ok_or(PkiError::BadCertificate("malformed identity"))
}

fn millis(time: ASN1Time) -> Result<UnixMillis, PkiError> {
    let seconds = u64::try_from(time.timestamp()).map_err(|_| PkiError::BadCertificate("dated before 1970"))?;
    Ok(UnixMillis(seconds.saturating_mul(1000)))
}

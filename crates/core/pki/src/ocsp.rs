//! The Online Certificate Status Protocol, the answering side (RFC 6960, its lightweight profile RFC 5019, nonces of
//! RFC 9654).
//! For relying parties; the hub itself asks its registry.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use der::{
    Decode, Encode,
    asn1::{BitString, GeneralizedTime, ObjectIdentifier, OctetString, OctetStringRef},
    oid::db::{
        rfc5280::ID_KP_OCSP_SIGNING,
        rfc5912::{ID_SHA_256, ID_SHA_384, ID_SHA_512},
        rfc6960::ID_PKIX_OCSP_NONCE,
    },
};
use portreeve_types::UnixMillis;
use rustls_pki_types::CertificateDer;
use x509_cert::{
    Certificate,
    ext::{
        Extension,
        pkix::{CrlReason, ExtendedKeyUsage},
    },
};
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspGeneralizedTime, OcspRequest, OcspResponse, ResponderId, ResponseData,
    RevokedInfo, SingleResponse, Version,
};

use crate::{
    CaSigner, PkiError, RevocationReason, SignWith,
    order::is_in_order,
    signer::{key_name, signature_algorithm},
    verify::is_signed_by,
};

/// Longest request. One for a single certificate has some 100 bytes.
pub const OCSP_REQUEST_BYTES_MAX: usize = 4 * 1024;
/// How many certificates one request may ask about.
pub const OCSP_CERTIFICATES_MAX: usize = 16;
/// Longest nonce: RFC 9654 §2.1 has longer and empty ones refused.
pub const OCSP_NONCE_BYTES_MAX: usize = 128;
/// How long an answer may count.
pub const OCSP_VALIDITY_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The media type of requests.
pub const OCSP_REQUEST_TYPE: &str = "application/ocsp-request";
/// The media type of answers.
pub const OCSP_RESPONSE_TYPE: &str = "application/ocsp-response";

/// What the registry knows about a serial number of the CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateStatus {
    /// Issued, and not revoked.
    Good,
    /// Revoked.
    Revoked {
        /// When.
        at: UnixMillis,
        /// Why.
        reason: RevocationReason,
    },
    /// Never issued.
    Unknown,
}

/// Why a request got no answer about certificates. For the ledger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OcspRefusal {
    /// Longer than [`OCSP_REQUEST_BYTES_MAX`].
    #[error("the request is longer than {OCSP_REQUEST_BYTES_MAX} bytes")]
    Oversized,
    /// Not an OCSP request.
    #[error("not an OCSP request")]
    Malformed,
    /// None, or more than [`OCSP_CERTIFICATES_MAX`].
    #[error("the request asks about {0} certificates")]
    Count(usize),
    /// A nonce that is empty or longer than [`OCSP_NONCE_BYTES_MAX`].
    #[error("the nonce has {0} bytes")]
    NonceLength(usize),
    /// An extension that has to be understood and is not.
    #[error("the request has the critical extension {0}")]
    CriticalExtension(ObjectIdentifier),
    /// Certificates of another CA, or hashes of a kind that is not computed.
    #[error("the request asks about certificates of another CA")]
    OtherIssuer,
    /// The answer could not be signed.
    #[error("the answer could not be made: {0}")]
    Internal(PkiError),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OcspAnswer {
    /// In DER, to be sent with status 200 whatever it says.
    pub der: Vec<u8>,
    /// How long it may be cached; 0 for not at all (RFC 5019 §6: not with a nonce, and not an error).
    pub max_age_s: u64,
    /// About how many certificates it speaks, or why about none.
    pub outcome: Result<usize, OcspRefusal>,
}

/// Answers for one CA.
pub struct OcspResponder<'k> {
    issuer_name_der: Vec<u8>,
    issuer_point: Vec<u8>,
    key: SignWith<'k>,
    /// The delegate's certificate, which goes with every answer.
    delegate: Option<Certificate>,
    not_after: UnixMillis,
}

impl std::fmt::Debug for OcspResponder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OcspResponder").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl<'k> OcspResponder<'k> {
    /// Signs with the CA's own key.
    ///
    /// # Errors
    /// [`PkiError::BadCertificate`] should the certificate not be read.
    pub fn direct(ca: &CaSigner<'k>) -> Result<Self, PkiError> {
        let parsed = parse(ca.certificate())?;
        Self::new(&parsed, ca.key(), None)
    }

    /// Signs with a key that the CA has certified for this ([`CaSigner::issue_ocsp_signer`]).
    ///
    /// # Errors
    /// [`PkiError::BadCertificate`] if the certificate is not one of this CA for this purpose and this key.
    pub fn delegated(
        ca: &CertificateDer<'_>,
        certificate: &CertificateDer<'_>,
        key: SignWith<'k>,
    ) -> Result<Self, PkiError> {
        let (ca, delegate) = (parse(ca)?, parse(certificate)?);
        let tbs = &delegate.tbs_certificate;
        if tbs.issuer != ca.tbs_certificate.subject || !is_signed_by(&delegate, &ca.tbs_certificate) {
            return Err(PkiError::BadCertificate("the responder's certificate is not of this CA"));
        }
        if tbs.get::<ExtendedKeyUsage>().ok().flatten().is_none_or(|(_, usage)| usage.0 != [ID_KP_OCSP_SIGNING]) {
            return Err(PkiError::BadCertificate("it is not the certificate of an OCSP responder"));
        }
        if tbs.subject_public_key_info.to_der()? != key.subject_public_key_info() {
            return Err(PkiError::BadCertificate("the key belongs to another certificate"));
        }
        Self::new(&ca, key, Some(delegate))
    }

    fn new(ca: &Certificate, key: SignWith<'k>, delegate: Option<Certificate>) -> Result<Self, PkiError> {
        let point = |certificate: &Certificate| {
            certificate.tbs_certificate.subject_public_key_info.subject_public_key.raw_bytes().to_vec()
        };
        let signer = &delegate.as_ref().unwrap_or(ca).tbs_certificate;
        let seconds = signer.validity.not_after.to_unix_duration().as_secs();
        Ok(Self {
            issuer_name_der: ca.tbs_certificate.subject.to_der()?,
            issuer_point: point(ca),
            not_after: UnixMillis(seconds.saturating_mul(1000)),
            key,
            delegate,
        })
    }

    /// Answers a request with what `status` says about each serial number (big-endian, without leading zeros). The
    /// answer counts for `validity`, never longer than [`OCSP_VALIDITY_MAX`] or the responder's own certificate.
    pub fn answer(
        &self,
        request_der: &[u8],
        now: UnixMillis,
        validity: Duration,
        mut status: impl FnMut(&[u8]) -> CertificateStatus,
    ) -> OcspAnswer {
        let query = match self.read(request_der) {
            Ok(query) => query,
            Err(refusal) => return OcspAnswer::refusal(refusal),
        };
        let until = now.plus(validity.min(OCSP_VALIDITY_MAX)).min(self.not_after);
        if until <= now {
            return OcspAnswer::refusal(OcspRefusal::Internal(PkiError::CaExpired));
        }
        match self.sign(&query, now, until, &mut status) {
            Ok(der) => OcspAnswer {
                der,
                max_age_s: if query.nonce.is_some() { 0 } else { until.since(now).as_secs() },
                outcome: Ok(query.certificates.len()),
            },
            Err(error) => OcspAnswer::refusal(OcspRefusal::Internal(error)),
        }
    }

    /// The certificates a request asks about, all of them this CA's, and its nonce.
    fn read(&self, request_der: &[u8]) -> Result<Query, OcspRefusal> {
        if request_der.len() > OCSP_REQUEST_BYTES_MAX {
            return Err(OcspRefusal::Oversized);
        }
        if !is_in_order(request_der) {
            return Err(OcspRefusal::Malformed);
        }
        let request = OcspRequest::from_der(request_der).map_err(|_| OcspRefusal::Malformed)?.tbs_request;
        let count = request.request_list.len();
        if count == 0 || count > OCSP_CERTIFICATES_MAX {
            return Err(OcspRefusal::Count(count));
        }
        let nonce = read_extensions(request.request_extensions.unwrap_or_default())?;
        let mut certificates = Vec::with_capacity(count);
        for single in request.request_list {
            if let Some(nonce) = read_extensions(single.single_request_extensions.unwrap_or_default())? {
                return Err(OcspRefusal::CriticalExtension(nonce.extn_id)); // it has no meaning there
            }
            if !self.is_issuer_of(&single.req_cert) {
                return Err(OcspRefusal::OtherIssuer);
            }
            certificates.push(single.req_cert);
        }
        Ok(Query { certificates, nonce })
    }

    fn is_issuer_of(&self, id: &CertId) -> bool {
        let algorithm = match id.hash_algorithm.oid {
            SHA_1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            ID_SHA_256 => &digest::SHA256,
            ID_SHA_384 => &digest::SHA384,
            ID_SHA_512 => &digest::SHA512,
            _ => return false,
        };
        let matches = |hash: &OctetString, of: &[u8]| digest::digest(algorithm, of).as_ref() == hash.as_bytes();
        matches(&id.issuer_name_hash, &self.issuer_name_der) && matches(&id.issuer_key_hash, &self.issuer_point)
    }

    fn sign(
        &self,
        query: &Query,
        now: UnixMillis,
        until: UnixMillis,
        status: &mut dyn FnMut(&[u8]) -> CertificateStatus,
    ) -> Result<Vec<u8>, PkiError> {
        let mut responses = Vec::with_capacity(query.certificates.len());
        for id in &query.certificates {
            responses.push(SingleResponse {
                cert_id: id.clone(),
                cert_status: cert_status(status(without_zeros(id.serial_number.as_bytes())))?,
                this_update: time(now)?,
                next_update: Some(time(until)?),
                single_extensions: None,
            });
        }
        let tbs_response_data = ResponseData {
            version: Version::V1,
            responder_id: ResponderId::ByKey(OctetString::new(key_name(self.key.der_bytes()))?),
            produced_at: time(now)?,
            responses,
            response_extensions: query.nonce.clone().map(|nonce| vec![nonce]),
        };
        let signature = self.key.sign(&tbs_response_data.to_der()?)?;
        let response = BasicOcspResponse {
            signature_algorithm: signature_algorithm(self.key)?,
            signature: BitString::from_bytes(&signature)?,
            certs: self.delegate.clone().map(|certificate| vec![certificate]),
            tbs_response_data,
        };
        Ok(OcspResponse::successful(response)?.to_der()?)
    }
}

impl OcspAnswer {
    /// For when there is too much to do.
    #[must_use]
    pub fn try_later() -> Self {
        Self::unsigned(&OcspResponse::try_later(), Ok(0))
    }

    fn refusal(refusal: OcspRefusal) -> Self {
        let response = match refusal {
            OcspRefusal::OtherIssuer => OcspResponse::unauthorized(),
            OcspRefusal::Internal(_) => OcspResponse::internal_error(),
            _ => OcspResponse::malformed_request(),
        };
        Self::unsigned(&response, Err(refusal))
    }

    fn unsigned(response: &OcspResponse, outcome: Result<usize, OcspRefusal>) -> Self {
        // Five fixed bytes, which the encoder cannot fail to make.
        Self { der: response.to_der().unwrap_or_default(), max_age_s: 0, outcome }
    }
}

/// A request that is in order.
struct Query {
    certificates: Vec<CertId>,
    /// The nonce's extension, to be sent back as it came.
    nonce: Option<Extension>,
}

/// The request in the path of a `GET` (RFC 6960 §A.1): base64, then URL-escaped, after the responder's own path.
///
/// # Errors
/// [`OcspRefusal::Oversized`] and [`OcspRefusal::Malformed`].
pub fn ocsp_request_from_path(escaped: &str) -> Result<Vec<u8>, OcspRefusal> {
    // Escaping makes three bytes of one at most, base64 four of three.
    if escaped.len() > OCSP_REQUEST_BYTES_MAX * 4 {
        return Err(OcspRefusal::Oversized);
    }
    let mut encoded = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        encoded.push(match byte {
            b'%' => match (hex(bytes.next()), hex(bytes.next())) {
                (Some(high), Some(low)) => u8::try_from(high << 4 | low).map_err(|_| OcspRefusal::Malformed)?,
                _ => return Err(OcspRefusal::Malformed),
            },
            plain => plain,
        });
    }
    STANDARD.decode(encoded).map_err(|_| OcspRefusal::Malformed)
}

/// What the program's own requests use; an identifier, not a protection (RFC 6960 §4.1.1).
const SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");

/// The nonce among extensions, if there is one. Nothing else has to be understood.
fn read_extensions(extensions: Vec<Extension>) -> Result<Option<Extension>, OcspRefusal> {
    let mut nonce = None;
    for extension in extensions {
        if extension.extn_id != ID_PKIX_OCSP_NONCE {
            if extension.critical {
                return Err(OcspRefusal::CriticalExtension(extension.extn_id));
            }
            continue;
        }
        let value = OctetStringRef::from_der(extension.extn_value.as_bytes()).map_err(|_| OcspRefusal::Malformed)?;
        let length = value.as_bytes().len();
        if length == 0 || length > OCSP_NONCE_BYTES_MAX {
            return Err(OcspRefusal::NonceLength(length));
        }
        if nonce.replace(Extension { critical: false, ..extension }).is_some() {
            return Err(OcspRefusal::Malformed);
        }
    }
    Ok(nonce)
}

fn cert_status(status: CertificateStatus) -> Result<CertStatus, PkiError> {
    Ok(match status {
        CertificateStatus::Good => CertStatus::good(),
        CertificateStatus::Unknown => CertStatus::unknown(),
        CertificateStatus::Revoked { at, reason } => {
            let revocation_reason = match reason {
                RevocationReason::Unspecified => None,
                RevocationReason::KeyCompromise => Some(CrlReason::KeyCompromise),
                RevocationReason::CaCompromise => Some(CrlReason::CaCompromise),
                RevocationReason::Superseded => Some(CrlReason::Superseded),
                RevocationReason::CessationOfOperation => Some(CrlReason::CessationOfOperation),
                RevocationReason::CertificateHold => Some(CrlReason::CertificateHold),
                RevocationReason::PrivilegeWithdrawn => Some(CrlReason::PrivilegeWithdrawn),
            };
            CertStatus::Revoked(RevokedInfo { revocation_time: time(at)?, revocation_reason })
        }
    })
}

fn time(at: UnixMillis) -> Result<OcspGeneralizedTime, PkiError> {
    GeneralizedTime::from_unix_duration(Duration::from_secs(at.seconds()))
        .map(OcspGeneralizedTime)
        .map_err(|_| PkiError::Time)
}

fn without_zeros(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|&&byte| byte == 0).count();
    &serial[zeros..]
}

fn parse(der: &CertificateDer<'_>) -> Result<Certificate, PkiError> {
    Certificate::from_der(der).map_err(|_| PkiError::BadCertificate("not in DER"))
}

//! Enrolment over Secure Transport: what its messages look like (RFC 7030, with the corrections of RFC 8951 and the
//! reading of `csrattrs` of RFC 9908). Who may ask for what is decided elsewhere.

use base64::{Engine, engine::general_purpose::STANDARD};
use cms::{
    cert::CertificateChoices,
    content_info::{CmsVersion, ContentInfo},
    signed_data::{CertificateSet, EncapsulatedContentInfo, SignedData, SignerInfos},
};
use der::{
    Any, Decode, Encode, Tag,
    asn1::{ObjectIdentifier, SetOfVec},
    oid::db::{
        rfc5911::{ID_DATA, ID_SIGNED_DATA},
        rfc5912::{
            ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ID_EC_PUBLIC_KEY, RSA_ENCRYPTION, SECP_256_R_1, SECP_384_R_1,
            SHA_256_WITH_RSA_ENCRYPTION,
        },
    },
};
use rustls_pki_types::CertificateDer;
use x509_cert::{Certificate, attr::Attribute};

use crate::{CSR_BYTES_MAX, KeyKind, PkiError, order::is_in_order};

/// Longest body of an enrolment: a request of [`CSR_BYTES_MAX`] in base64, with room for line breaks.
pub const EST_BODY_BYTES_MAX: usize = CSR_BYTES_MAX * 3 / 2;

/// How many certificates one answer may hold.
const CERTIFICATES_MAX: usize = 16;

/// Where all operations live (RFC 7030 §3.2.2).
const WELL_KNOWN: &str = "/.well-known/est/";

/// The operations that are offered. `fullcmc` and `serverkeygen` are not: devices make their own keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EstOperation {
    /// `GET cacerts`: what to trust.
    CaCerts,
    /// `GET csrattrs`: what a request should look like.
    CsrAttrs,
    /// `POST simpleenroll`: a first certificate.
    SimpleEnroll,
    /// `POST simplereenroll`: a further certificate for who has one.
    SimpleReenroll,
}

impl EstOperation {
    /// The operation of a path, and the label of the CA it names, if it does (RFC 7030 §3.2.2).
    #[must_use]
    pub fn from_path(path: &str) -> Option<(Self, Option<&str>)> {
        let rest = path.strip_prefix(WELL_KNOWN)?;
        let (label, name) = match rest.split_once('/') {
            Some((label, name)) => (Some(label).filter(|label| !label.is_empty()), name),
            None => (None, rest),
        };
        let operation = match name {
            "cacerts" => Self::CaCerts,
            "csrattrs" => Self::CsrAttrs,
            "simpleenroll" => Self::SimpleEnroll,
            "simplereenroll" => Self::SimpleReenroll,
            _ => return None,
        };
        (label.is_some() || !rest.contains('/')).then_some((operation, label))
    }

    /// The HTTP method it is asked for with.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::CaCerts | Self::CsrAttrs => "GET",
            Self::SimpleEnroll | Self::SimpleReenroll => "POST",
        }
    }
}

/// Why the body of an enrolment was refused. For the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EstRefusal {
    /// Another media type than `application/pkcs10`.
    #[error("the content type is not application/pkcs10")]
    ContentType,
    /// Longer than [`EST_BODY_BYTES_MAX`].
    #[error("the body is longer than {EST_BODY_BYTES_MAX} bytes")]
    Oversized,
    /// An answer that is no CMS message with certificates, and at most [`CERTIFICATES_MAX`] of them.
    #[error("it holds no certificates, or too many")]
    Certificates,
    /// Not base64 with white space.
    #[error("the body is not base64")]
    Base64,
}

/// The request in the body of `simpleenroll` or `simplereenroll`, as DER that [`crate::read_csr`] understands.
///
/// The body is base64 whatever `Content-Transfer-Encoding` says, and white space in it means nothing (RFC 8951 §3).
/// Parameters of the media type are ignored.
///
/// # Errors
/// The precise reason; [`EstResponse::refused`] is the answer to each.
pub fn read_enrol_body(content_type: Option<&str>, body: &[u8]) -> Result<Vec<u8>, EstRefusal> {
    let media_type = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/pkcs10") {
        return Err(EstRefusal::ContentType);
    }
    if body.len() > EST_BODY_BYTES_MAX {
        return Err(EstRefusal::Oversized);
    }
    let compact: Vec<u8> = body.iter().copied().filter(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).collect();
    let der = STANDARD.decode(compact).map_err(|_| EstRefusal::Base64)?;
    if der.is_empty() { Err(EstRefusal::Base64) } else { Ok(der) }
}

/// A header of ours that tells the name which a new certificate stands for.
pub const EST_NAME_HEADER: &str = "portreeve-name";

/// Longest answer that a client reads: [`CERTIFICATES_MAX`] certificates of 4 KiB.
pub const EST_ANSWER_BYTES_MAX: usize = CERTIFICATES_MAX * 4096;

/// The certificates in an answer to `cacerts`, `simpleenroll` or `simplereenroll`: what a client reads.
///
/// # Errors
/// [`EstRefusal::Oversized`], [`EstRefusal::Base64`], or [`EstRefusal::Certificates`].
pub fn read_est_certificates(body: &[u8]) -> Result<Vec<CertificateDer<'static>>, EstRefusal> {
    if body.len() > EST_ANSWER_BYTES_MAX {
        return Err(EstRefusal::Oversized);
    }
    let compact: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let der = STANDARD.decode(compact).map_err(|_| EstRefusal::Base64)?;
    certificates_of(&der).filter(|found| !found.is_empty()).ok_or(EstRefusal::Certificates)
}

fn certificates_of(der: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    if !is_in_order(der) {
        return None;
    }
    let content = ContentInfo::from_der(der).ok().filter(|content| content.content_type == ID_SIGNED_DATA)?;
    let set = content.content.decode_as::<SignedData>().ok()?.certificates?;
    if set.0.len() > CERTIFICATES_MAX {
        return None;
    }
    let certificate = |choice: &CertificateChoices| match choice {
        CertificateChoices::Certificate(certificate) => certificate.to_der().ok().map(CertificateDer::from),
        CertificateChoices::Other(_) => None,
    };
    set.0.iter().map(certificate).collect()
}

/// An answer, in the parts that an HTTP server needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EstResponse {
    /// HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl EstResponse {
    /// `cacerts`: all CA certificates of a device's trust, the root among them (RFC 7030 §4.1.3).
    ///
    /// # Errors
    /// [`PkiError::BadCertificate`] for none, too many, or something else than certificates.
    pub fn ca_certs(certificates: &[CertificateDer<'_>]) -> Result<Self, PkiError> {
        Ok(Self::base64("application/pkcs7-mime", &certs_only(certificates)?))
    }

    /// `simpleenroll` and `simplereenroll`: the one certificate that was issued (RFC 7030 §4.2.3). The issuing CA comes
    /// with `cacerts`.
    ///
    /// # Errors
    /// [`PkiError::BadCertificate`] if it is none.
    pub fn enrolled(leaf: &CertificateDer<'_>) -> Result<Self, PkiError> {
        let body = certs_only(std::slice::from_ref(leaf))?;
        Ok(Self::base64("application/pkcs7-mime; smime-type=certs-only", &body))
    }

    /// `csrattrs`: asks for a key of this kind and for a request signed to match, and for nothing else, since a request
    /// gives its key only. The plain list of RFC 7030 §4.5.2 as RFC 8951 §4 has it; RFC 9908 lets servers go on with
    /// it.
    ///
    /// # Errors
    /// [`PkiError::Crypto`] should the encoder fail.
    pub fn csr_attrs(wanted: KeyKind) -> Result<Self, PkiError> {
        let ec = |curve: ObjectIdentifier| Ok::<_, PkiError>((ID_EC_PUBLIC_KEY, Any::encode_from(&curve)?));
        let rsa = |bits: u16| Ok::<_, PkiError>((RSA_ENCRYPTION, Any::encode_from(&bits)?));
        let (key, signature) = match wanted {
            KeyKind::EcdsaP256 => (ec(SECP_256_R_1)?, ECDSA_WITH_SHA_256),
            KeyKind::EcdsaP384 => (ec(SECP_384_R_1)?, ECDSA_WITH_SHA_384),
            KeyKind::Rsa3072 => (rsa(3072)?, SHA_256_WITH_RSA_ENCRYPTION),
            KeyKind::Rsa4096 => (rsa(4096)?, SHA_256_WITH_RSA_ENCRYPTION),
        };
        Ok(Self::base64("application/csrattrs", &attributes_der(key, signature)?))
    }

    /// The request waits for something, an operator's approval for one; the same request may be sent again after this
    /// time (RFC 7030 §4.2.3).
    #[must_use]
    pub fn accepted(retry_after_s: u32) -> Self {
        Self::text(202, "The request is waiting.\n", vec![("retry-after", retry_after_s.to_string())])
    }

    /// The answer to every request that is refused for what it says. One text, so that it says nothing
    /// about why.
    #[must_use]
    pub fn refused() -> Self {
        Self::text(400, "The request was refused.\n", Vec::new())
    }

    /// The answer to who has not shown to be entitled, by certificate or code; HTTP Basic carries the code
    /// (RFC 7030 §3.2.3).
    #[must_use]
    pub fn unauthorised() -> Self {
        Self::text(401, "Not entitled.\n", vec![("www-authenticate", "Basic realm=\"enrolment\"".to_owned())])
    }

    /// Nothing is wrong with the request; the server has too much to do.
    #[must_use]
    pub fn busy(retry_after_s: u32) -> Self {
        Self::text(503, "Try again later.\n", vec![("retry-after", retry_after_s.to_string())])
    }

    /// Base64 in lines of 64 characters. The `content-transfer-encoding` is for clients older than RFC 8951, which has
    /// everybody else ignore it.
    fn base64(content_type: &str, der: &[u8]) -> Self {
        let encoded = STANDARD.encode(der).into_bytes();
        let mut body = Vec::with_capacity(encoded.len() + encoded.len() / 64 + 1);
        for line in encoded.chunks(64) {
            body.extend_from_slice(line);
            body.push(b'\n');
        }
        let headers =
            vec![("content-type", content_type.to_owned()), ("content-transfer-encoding", "base64".to_owned())];
        Self { status: 200, headers, body }
    }

    fn text(status: u16, body: &str, mut headers: Vec<(&'static str, String)>) -> Self {
        headers.insert(0, ("content-type", "text/plain; charset=utf-8".to_owned()));
        Self { status, headers, body: body.into() }
    }
}

/// A degenerate CMS `SignedData` (RFC 5652 §5.2): certificates, and nobody's signature over nothing.
fn certs_only(certificates: &[CertificateDer<'_>]) -> Result<Vec<u8>, PkiError> {
    if certificates.is_empty() || certificates.len() > CERTIFICATES_MAX {
        return Err(PkiError::BadCertificate("none, or too many for one answer"));
    }
    let mut set = SetOfVec::new();
    for (at, der) in certificates.iter().enumerate() {
        let certificate = Certificate::from_der(der).map_err(|_| PkiError::BadCertificate("not in DER"))?;
        if !certificates[..at].contains(der) {
            set.insert(CertificateChoices::Certificate(certificate))?;
        }
    }
    let data = SignedData {
        version: CmsVersion::V1,
        digest_algorithms: SetOfVec::new(),
        encap_content_info: EncapsulatedContentInfo { econtent_type: ID_DATA, econtent: None },
        certificates: Some(CertificateSet(set)),
        crls: None,
        signer_infos: SignerInfos(SetOfVec::new()),
    };
    let content = Any::encode_from(&data)?;
    Ok(ContentInfo { content_type: ID_SIGNED_DATA, content }.to_der()?)
}

/// `CsrAttrs ::= SEQUENCE OF AttrOrOID`.
fn attributes_der((oid, value): (ObjectIdentifier, Any), signature: ObjectIdentifier) -> Result<Vec<u8>, PkiError> {
    let mut values = SetOfVec::new();
    values.insert(value)?;
    let mut content = Attribute { oid, values }.to_der()?;
    content.extend(signature.to_der()?);
    Ok(Any::new(Tag::Sequence, content)?.to_der()?)
}

//! What a certificate signing request says, read strictly and believed sparingly.

use base64::{Engine, engine::general_purpose::STANDARD};
use der::{
    Decode, Encode, Tag, Tagged,
    asn1::{Any, ObjectIdentifier},
    oid::{
        AssociatedOid,
        db::{
            rfc4519::{COMMON_NAME, SERIAL_NUMBER},
            rfc5280::ID_KP_CLIENT_AUTH,
            rfc5912::ID_EXTENSION_REQ,
        },
    },
};
use x509_cert::{
    Certificate,
    attr::Attribute,
    ext::{
        Extension,
        pkix::{
            BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName, SubjectKeyIdentifier,
            name::GeneralName,
        },
    },
    name::Name,
    request::{CertReq, CertReqInfo, ExtensionReq},
};

use crate::{
    CSR_BYTES_MAX, KeyKind, KeyRefusal, SubjectPublicKey, audit_device_key,
    leaf::IDENTITY_URN,
    order::is_in_order,
    verify::{by_name, is_signature},
};

/// How many extensions a request may ask for.
const EXTENSIONS_MAX: usize = 16;

/// PKCS #9 challengePassword (RFC 2985 §5.4.1).
const CHALLENGE_PASSWORD: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.7");

/// What a request may say beyond its public key. None of it is ever put into a certificate: the question is only
/// whether a request that says more than it should is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectRule<'a> {
    /// Whatever else the request says is dropped and reported in [`Csr::excess`]. For requests by operators.
    Ignore,
    /// The request names nobody, or only these; it asks for no usage beyond a client's. For first enrolments, where a
    /// request that names somebody else is a mistake or an attack.
    Only(&'a [&'a str]),
    /// Subject and alternative names are absent or those of this certificate (RFC 7030 §4.2.2). For renewals.
    SameAs(&'a [u8]),
}

/// What to make of a `challengePassword`.
///
/// RFC 7030 §3.5 puts the `tls-unique` of RFC 5929 there, to tie the request to the connection that brings it. TLS 1.3
/// has no such value (RFC 8446 §C.5); its successor is `tls-exporter` (RFC 9266). RFC 8295, RFC 9148 and RFC 9908 add
/// no other meaning. A value that cannot be checked must not pass as one that was, so it is refused unless the caller
/// knows the binding of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeRule<'a> {
    /// A request with a challenge is refused.
    Refuse,
    /// A challenge has to be the base64 form of this channel binding. A request without one is accepted: possession
    /// of the key is proved by its signature, and who asks by the connection.
    Binding(&'a [u8]),
}

/// How to read a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CsrPolicy<'a> {
    /// Which kinds of keys are certified.
    pub keys: &'a [KeyKind],
    /// What it may say about its subject and its extensions.
    pub subject: SubjectRule<'a>,
    /// What to make of a challenge.
    pub challenge: ChallengeRule<'a>,
}

/// Something in a request that no certificate of ours would contain for its sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// A subject that is not the sender's, or with attributes that are never used.
    #[error("a foreign subject")]
    Subject,
    /// An alternative name that is not the sender's.
    #[error("a foreign alternative name")]
    AlternativeName,
    /// To be a certificate authority.
    #[error("a request to become a CA")]
    CertificateAuthority,
    /// A key usage beyond signing.
    #[error("a key usage beyond digitalSignature")]
    KeyUsage,
    /// An extended key usage beyond client authentication.
    #[error("an extended key usage beyond clientAuth")]
    ExtendedKeyUsage,
    /// Any other extension.
    #[error("the extension {0}")]
    Extension(ObjectIdentifier),
    /// Any other attribute.
    #[error("the attribute {0}")]
    Attribute(ObjectIdentifier),
}

/// Why a request was refused. For the ledger; outside, one answer serves for all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrRefusal {
    /// Longer than [`CSR_BYTES_MAX`].
    #[error("the request is longer than {CSR_BYTES_MAX} bytes")]
    Oversized,
    /// PEM armour that holds no request.
    #[error("not a certificate request in PEM")]
    Pem,
    /// Not PKCS #10, not DER in its one form, or with bytes after it.
    #[error("not a PKCS #10 request in DER")]
    Malformed,
    /// A key that may not be certified.
    #[error("{0}")]
    Key(#[from] KeyRefusal),
    /// Signed with an algorithm that does not go with the key.
    #[error("the signature algorithm {0} is not accepted")]
    SignatureAlgorithm(ObjectIdentifier),
    /// Not signed by the key that is to be certified: no proof of possession.
    #[error("the request is not signed by its own key")]
    NoPossession,
    /// It asks for too much.
    #[error("the request contains {0}")]
    Excess(#[from] Excess),
    /// A challenge where none can be checked.
    #[error("the request contains a challenge that nothing can be compared with")]
    Challenge,
    /// A challenge for another connection.
    #[error("the request was made for another connection")]
    OtherConnection,
}

/// A request that is in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Csr {
    /// The key to certify, whose private half the sender holds.
    pub key: SubjectPublicKey,
    /// The serial number in its subject, if one stands there: what an allow-list is asked about. Only a claim.
    pub serial_number: Option<String>,
    /// What it asked for in vain; always `None` unless [`SubjectRule::Ignore`] holds.
    pub excess: Option<Excess>,
    /// Whether its challenge was that of this connection.
    pub bound: bool,
}

/// Reads a PKCS #10 request (RFC 2986), PEM or DER, and checks proof of possession and policy.
///
/// # Errors
/// The precise reason. Nothing that depends on the key is done before the key is known to be acceptable.
pub fn read_csr(pem_or_der: &[u8], policy: &CsrPolicy<'_>) -> Result<Csr, CsrRefusal> {
    if pem_or_der.len() > CSR_BYTES_MAX {
        return Err(CsrRefusal::Oversized);
    }
    if !pem_or_der.trim_ascii_start().starts_with(b"-----BEGIN") {
        return read_der(pem_or_der, policy);
    }
    let pem = pem::parse(pem_or_der).map_err(|_| CsrRefusal::Pem)?;
    // The second label is what some older tools write (RFC 7468 §7).
    if !matches!(pem.tag(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") {
        return Err(CsrRefusal::Pem);
    }
    read_der(pem.contents(), policy)
}

fn read_der(der: &[u8], policy: &CsrPolicy<'_>) -> Result<Csr, CsrRefusal> {
    if !is_in_order(der) {
        return Err(CsrRefusal::Malformed);
    }
    let request = CertReq::from_der(der).map_err(|_| CsrRefusal::Malformed)?;
    // One request, one encoding: what is re-encoded here is what its signature covers.
    if request.to_der().as_deref() != Ok(der) {
        return Err(CsrRefusal::Malformed);
    }
    let spki = request.info.public_key.to_der().map_err(|_| CsrRefusal::Malformed)?;
    let key = audit_device_key(&spki, policy.keys)?;
    check_possession(&request, &key)?;
    let bound = check_challenge(&request.info, policy.challenge)?;
    let excess = match policy.subject {
        SubjectRule::Ignore => first_excess(&request.info, &|_| false)?,
        SubjectRule::Only(names) => refuse(first_excess(&request.info, &|name| names.contains(&name))?)?,
        SubjectRule::SameAs(leaf) => refuse(excess_over(&request.info, leaf)?)?,
    };
    Ok(Csr { key, serial_number: serial_number(&request.info.subject), excess, bound })
}

fn refuse(excess: Option<Excess>) -> Result<Option<Excess>, CsrRefusal> {
    excess.map_or(Ok(None), |excess| Err(excess.into()))
}

fn check_possession(request: &CertReq, key: &SubjectPublicKey) -> Result<(), CsrRefusal> {
    // ECDSA takes none, and should be without any (RFC 5758 §3.2); openssl's provider for TPMs writes that there are none.
    let mut name = request.algorithm.clone();
    if matches!(key.kind(), KeyKind::EcdsaP256 | KeyKind::EcdsaP384) {
        name.parameters.take_if(|parameters| parameters.is_null());
    }
    let algorithm = by_name(&name, key).ok_or(CsrRefusal::SignatureAlgorithm(name.oid))?;
    let message = request.info.to_der().map_err(|_| CsrRefusal::Malformed)?;
    let signature = request.signature.as_bytes().ok_or(CsrRefusal::Malformed)?;
    if is_signature(algorithm, key, &message, signature) { Ok(()) } else { Err(CsrRefusal::NoPossession) }
}

/// The one value of an attribute that may have no more.
fn single(attribute: &Attribute) -> Result<&Any, CsrRefusal> {
    let mut values = attribute.values.iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(CsrRefusal::Malformed),
    }
}

/// The one attribute of a kind that may not be repeated (RFC 2985 §5.4).
fn unique(info: &CertReqInfo, oid: ObjectIdentifier) -> Result<Option<&Any>, CsrRefusal> {
    let mut found = info.attributes.iter().filter(|attribute| attribute.oid == oid);
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(CsrRefusal::Malformed),
        (attribute, None) => attribute.map(single).transpose(),
    }
}

fn check_challenge(info: &CertReqInfo, rule: ChallengeRule<'_>) -> Result<bool, CsrRefusal> {
    let Some(challenge) = unique(info, CHALLENGE_PASSWORD)? else { return Ok(false) };
    let ChallengeRule::Binding(binding) = rule else { return Err(CsrRefusal::Challenge) };
    let same = text(challenge).is_some_and(|text| text == STANDARD.encode(binding));
    if same { Ok(true) } else { Err(CsrRefusal::OtherConnection) }
}

fn requested_extensions(info: &CertReqInfo) -> Result<Vec<Extension>, CsrRefusal> {
    let Some(value) = unique(info, ID_EXTENSION_REQ)? else { return Ok(Vec::new()) };
    let ExtensionReq(extensions) = value.decode_as().map_err(|_| CsrRefusal::Malformed)?;
    let repeated = |at: usize| extensions[..at].iter().any(|earlier| earlier.extn_id == extensions[at].extn_id);
    if extensions.len() > EXTENSIONS_MAX || (0..extensions.len()).any(repeated) {
        return Err(CsrRefusal::Malformed);
    }
    Ok(extensions)
}

/// The first thing that goes beyond a plain client of one of the expected names.
fn first_excess(info: &CertReqInfo, expected: &dyn Fn(&str) -> bool) -> Result<Option<Excess>, CsrRefusal> {
    let usage = usage_excess(info, expected)?;
    Ok(subject_excess(&info.subject, expected).or(usage))
}

/// The same but for the subject. Reads every part, so that a malformed one is always found.
fn usage_excess(info: &CertReqInfo, expected: &dyn Fn(&str) -> bool) -> Result<Option<Excess>, CsrRefusal> {
    let mut found = None;
    for extension in requested_extensions(info)? {
        let excess = extension_excess(&extension, expected)?;
        found = found.or(excess);
    }
    let known = |oid| oid == ID_EXTENSION_REQ || oid == CHALLENGE_PASSWORD;
    let attribute = info.attributes.iter().find(|attribute| !known(attribute.oid));
    Ok(found.or(attribute.map(|attribute| Excess::Attribute(attribute.oid))))
}

fn subject_excess(subject: &Name, expected: &dyn Fn(&str) -> bool) -> Option<Excess> {
    let mut attributes = subject.0.iter().flat_map(|rdn| rdn.0.iter());
    let own = attributes.all(|attribute| {
        matches!(attribute.oid, COMMON_NAME | SERIAL_NUMBER) && text(&attribute.value).is_some_and(expected)
    });
    (!own).then_some(Excess::Subject)
}

fn extension_excess(extension: &Extension, expected: &dyn Fn(&str) -> bool) -> Result<Option<Excess>, CsrRefusal> {
    let bytes = extension.extn_value.as_bytes();
    let bad = |_| CsrRefusal::Malformed;
    let (fine, excess) = match extension.extn_id {
        BasicConstraints::OID => (!BasicConstraints::from_der(bytes).map_err(bad)?.ca, Excess::CertificateAuthority),
        KeyUsage::OID => (KeyUsage::from_der(bytes).map_err(bad)?.0 == KeyUsages::DigitalSignature, Excess::KeyUsage),
        ExtendedKeyUsage::OID => {
            (ExtendedKeyUsage::from_der(bytes).map_err(bad)?.0 == [ID_KP_CLIENT_AUTH], Excess::ExtendedKeyUsage)
        }
        SubjectAltName::OID => {
            let names = SubjectAltName::from_der(bytes).map_err(bad)?;
            (names.0.iter().all(|name| is_expected(name, expected)), Excess::AlternativeName)
        }
        SubjectKeyIdentifier::OID => (true, Excess::Extension(extension.extn_id)),
        other => (false, Excess::Extension(other)),
    };
    Ok((!fine).then_some(excess))
}

fn is_expected(name: &GeneralName, expected: &dyn Fn(&str) -> bool) -> bool {
    let text = match name {
        GeneralName::DnsName(name) => name.as_str(),
        GeneralName::UniformResourceIdentifier(uri) => uri.as_str().strip_prefix(IDENTITY_URN).unwrap_or(uri.as_str()),
        _ => return false,
    };
    expected(text)
}

/// As [`first_excess`], measured by the certificate that is to be renewed.
fn excess_over(info: &CertReqInfo, leaf_der: &[u8]) -> Result<Option<Excess>, CsrRefusal> {
    let leaf = Certificate::from_der(leaf_der).map_err(|_| CsrRefusal::Malformed)?.tbs_certificate;
    if !info.subject.0.is_empty() && info.subject != leaf.subject {
        return Ok(Some(Excess::Subject));
    }
    let asked = requested_extensions(info)?;
    let names_of = |extensions: &[Extension]| {
        extensions
            .iter()
            .find(|extension| extension.extn_id == SubjectAltName::OID)
            .map(|names| names.extn_value.clone())
    };
    let names = names_of(&asked);
    if names.is_some() && names != names_of(leaf.extensions.as_deref().unwrap_or_default()) {
        return Ok(Some(Excess::AlternativeName));
    }
    // Names are settled; the rest of the request is measured as at a first enrolment.
    usage_excess(info, &|_| true)
}

fn serial_number(subject: &Name) -> Option<String> {
    let mut found = subject.0.iter().flat_map(|rdn| rdn.0.iter()).filter(|attribute| attribute.oid == SERIAL_NUMBER);
    let only = found.next().filter(|_| found.next().is_none())?;
    text(&only.value).map(str::to_owned)
}

/// A string of one of the kinds whose bytes are UTF-8.
pub(crate) fn text(value: &Any) -> Option<&str> {
    let readable = matches!(value.tag(), Tag::Utf8String | Tag::PrintableString | Tag::Ia5String);
    std::str::from_utf8(value.value()).ok().filter(|_| readable)
}

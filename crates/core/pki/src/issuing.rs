//! Issuing CAs whose root is somewhere else: the request goes out, the certificate comes back, and is checked.

use std::time::Duration;

use der::Encode;
use portreeve_types::UnixMillis;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyUsagePurpose};
use rustls_pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{KeyUsage, ParsedExtension},
    prelude::FromDer,
};

use crate::{
    CaRole, CaSigner, ChallengeRule, CsrPolicy, CsrRefusal, KeyKind, PkiError, Purpose, SignWith, SubjectPublicKey,
    SubjectRule,
    authority::{ISSUING_LIFETIME, ROOT_LIFETIME, Validity, ca_name, ca_params, check_lifetime, timestamp},
    read_csr,
    signer::signature_algorithm,
};

/// How long an issuing CA may live at most, and lives unless said otherwise.
pub const ISSUING_LIFETIME_MAX: Duration = ISSUING_LIFETIME;
/// How long after its certificate was signed an issuing CA has to be taken: from the begin of its validity it follows
/// when the last leaves of its predecessor end.
pub const IMPORT_WITHIN: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Why the certificate of an issuing CA was not accepted, or not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuingRefusal {
    /// Not one PEM block or DER certificate.
    #[error("not an X.509 certificate")]
    Malformed,
    /// For another key than the one that is waiting for it.
    #[error("the certificate is for another key")]
    OtherKey,
    /// Not signed by the root that devices trust.
    #[error("the certificate is not signed by the root")]
    OtherRoot,
    /// Not the certificate of a CA that may sign certificates and lists, and only leaves.
    #[error("it is not an issuing CA: it needs CA:TRUE with path length 0, keyCertSign and cRLSign")]
    NotIssuing,
    /// For another purpose, or for more than one.
    #[error("it is not confined to its purpose by its one extended key usage")]
    OtherPurpose,
    /// Leaves could not point to it.
    #[error("it has no subject key identifier")]
    NoKeyIdentifier,
    /// Not valid now.
    #[error("it is not valid at this time")]
    OutOfTime,
    /// It was signed too long ago.
    #[error("it was signed more than {} days ago: have the request signed once more", IMPORT_WITHIN.as_secs() / 86_400)]
    Stale,
    /// Not the certificate of a root: signed by itself, by a key that none before it has, and for longer than the one it follows.
    #[error("it is not a root that can follow: {0}")]
    NotSuccessor(&'static str),
    /// It would outlive its root.
    #[error("it ends after its root")]
    OutlivesRoot,
    /// The request that was to be signed is not in order.
    #[error("{0}")]
    Request(#[from] CsrRefusal),
    /// This CA cannot make issuing CAs.
    #[error("the certificate to sign with is not that of a root")]
    NotRoot,
    /// Making it failed.
    #[error("{0}")]
    Pki(#[from] PkiError),
}

/// The request for a new issuing CA, in PEM, to be carried to the machine that has the root's key. It asks for the
/// extensions that [`import_issuing_ca`] will look for, so that any program may sign it.
///
/// # Errors
/// [`PkiError::UnacceptableKey`] for a key off the list; what signing fails with.
pub fn request_issuing_ca(purpose: Purpose, key: SignWith<'_>) -> Result<String, PkiError> {
    signature_algorithm(key)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = ca_name(purpose.issuer(), &key);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![purpose.usage()];
    Ok(params.serialize_request(&key)?.pem()?)
}

impl CaSigner<'_> {
    /// Certifies an issuing CA, on the machine that has the root's key. Only the request's key is used.
    ///
    /// # Errors
    /// [`IssuingRefusal::Request`] for a bad request, [`IssuingRefusal::NotRoot`] if this is an issuing CA itself,
    /// [`PkiError::Lifetime`] beyond [`ISSUING_LIFETIME_MAX`].
    pub fn sign_issuing_ca(
        &self,
        request: &[u8],
        purpose: Purpose,
        now: UnixMillis,
        lifetime: Duration,
    ) -> Result<CertificateDer<'static>, IssuingRefusal> {
        let policy = CsrPolicy { keys: KeyKind::ECDSA, subject: SubjectRule::Ignore, challenge: ChallengeRule::Refuse };
        let key = read_csr(request, &policy)?.key;
        if self.purpose().is_some() {
            return Err(IssuingRefusal::NotRoot);
        }
        check_lifetime(lifetime, ISSUING_LIFETIME_MAX)?;
        if now >= self.not_after() {
            return Err(PkiError::CaExpired.into());
        }
        let validity = Validity::from(now, lifetime).at_most(self.not_after());
        let params = ca_params(purpose.issuer(), &key, validity, Some(purpose))?;
        Ok(params.signed_by(&key, &self.issuer).map_err(PkiError::from)?.into())
    }
}

/// Makes the certificate of a root for its key: signed by itself, it is what devices will trust.
///
/// # Errors
/// [`PkiError::UnacceptableKey`] for a key off the list; what signing fails with.
pub fn make_root(key: SignWith<'_>, now: UnixMillis) -> Result<CertificateDer<'static>, PkiError> {
    signature_algorithm(key)?;
    let params = ca_params(CaRole::Root, &key, Validity::from(now, ROOT_LIFETIME), None)?;
    Ok(params.self_signed(&key)?.into())
}

impl CaSigner<'_> {
    /// Certifies the root that follows this one, so that whoever trusts only this one can verify what is below that one (RFC
    /// 4949, cross-certificate). It ends with this root.
    ///
    /// # Errors
    /// [`IssuingRefusal::NotRoot`] if this is an issuing CA; [`IssuingRefusal::Malformed`].
    pub fn cross_certify(
        &self,
        root: &CertificateDer<'_>,
        now: UnixMillis,
    ) -> Result<CertificateDer<'static>, IssuingRefusal> {
        if self.purpose().is_some() {
            return Err(IssuingRefusal::NotRoot);
        }
        let (_, parsed) = X509Certificate::from_der(root).map_err(|_| IssuingRefusal::Malformed)?;
        let key = SubjectPublicKey::from_spki_der(parsed.public_key().raw)?;
        let validity = Validity::from(now, ROOT_LIFETIME).at_most(self.not_after());
        let params = ca_params(CaRole::Root, &key, validity, None)?;
        Ok(params.signed_by(&key, &self.issuer).map_err(PkiError::from)?.into())
    }
}

/// Takes the certificate of a root, PEM or DER, that was made elsewhere to follow `roots`.
///
/// # Errors
/// The first thing found wrong with it.
pub fn import_root(
    pem_or_der: &[u8],
    roots: &[CertificateDer<'_>],
    now: UnixMillis,
) -> Result<CertificateDer<'static>, IssuingRefusal> {
    let der = one_certificate(pem_or_der)?;
    let (rest, root) = X509Certificate::from_der(&der).map_err(|_| IssuingRefusal::Malformed)?;
    if !rest.is_empty() || x509_cert_is_strange(&der) {
        return Err(IssuingRefusal::Malformed);
    }
    let refuse = |why| Err(IssuingRefusal::NotSuccessor(why));
    if root.issuer().as_raw() != root.subject().as_raw() || root.verify_signature(None).is_err() {
        return refuse("it is not signed by itself");
    }
    let signs = |usage: &KeyUsage| usage.key_cert_sign() && usage.crl_sign();
    let may_certify =
        root.basic_constraints().ok().flatten().is_some_and(|found| found.value.path_len_constraint.is_none());
    if !root.is_ca() || !may_certify || !root.key_usage().ok().flatten().is_some_and(|usage| signs(usage.value)) {
        return refuse("it needs CA:TRUE without a path length, keyCertSign and cRLSign");
    }
    if !root.extended_key_usage().is_ok_and(|usage| usage.is_none()) {
        return refuse("it is confined to some purpose");
    }
    if key_identifier(&root).is_none() {
        return Err(IssuingRefusal::NoKeyIdentifier);
    }
    SubjectPublicKey::from_spki_der(root.public_key().raw)?;
    for before in roots {
        let (_, before) = X509Certificate::from_der(before).map_err(|_| IssuingRefusal::OtherRoot)?;
        if before.public_key().raw == root.public_key().raw || before.subject().as_raw() == root.subject().as_raw() {
            return refuse("its key or its name is that of a root before it");
        }
        if root.validity().not_after.timestamp() <= before.validity().not_after.timestamp() {
            return refuse("it does not outlive the root that it follows");
        }
    }
    if now.seconds() < timestamp(root.validity().not_before.timestamp()) {
        return Err(IssuingRefusal::OutOfTime);
    }
    drop(root);
    Ok(der)
}

/// Takes the certificate, PEM or DER, that one root has given to the next.
///
/// # Errors
/// The first thing found wrong with it.
pub fn import_cross(
    pem_or_der: &[u8],
    root: &CertificateDer<'_>,
    by: &CertificateDer<'_>,
    now: UnixMillis,
) -> Result<CertificateDer<'static>, IssuingRefusal> {
    let der = one_certificate(pem_or_der)?;
    let (rest, cross) = X509Certificate::from_der(&der).map_err(|_| IssuingRefusal::Malformed)?;
    let [root, by] = [root, by].map(|der| X509Certificate::from_der(der).map_err(|_| IssuingRefusal::OtherRoot));
    let ((_, root), (_, by)) = (root?, by?);
    if !rest.is_empty() || x509_cert_is_strange(&der) {
        return Err(IssuingRefusal::Malformed);
    }
    if cross.public_key().raw != root.public_key().raw || cross.subject().as_raw() != root.subject().as_raw() {
        return Err(IssuingRefusal::OtherKey);
    }
    if cross.issuer().as_raw() != by.subject().as_raw() || cross.verify_signature(Some(by.public_key())).is_err() {
        return Err(IssuingRefusal::OtherRoot);
    }
    let may_certify =
        cross.is_ca() && cross.key_usage().ok().flatten().is_some_and(|usage| usage.value.key_cert_sign());
    if !may_certify {
        return Err(IssuingRefusal::NotSuccessor("it needs CA:TRUE and keyCertSign"));
    }
    // By that the CAs below the root name who has issued them, and verifiers look for it.
    if key_identifier(&cross) != key_identifier(&root) {
        return Err(IssuingRefusal::NotSuccessor("its subject key identifier is not that of the root"));
    }
    let span = (cross.validity().not_before.timestamp(), cross.validity().not_after.timestamp());
    if now.seconds() < timestamp(span.0) || now.seconds() >= timestamp(span.1) {
        return Err(IssuingRefusal::OutOfTime);
    }
    drop(cross);
    Ok(der)
}

/// Takes the certificate of an issuing CA, PEM or DER, that was signed elsewhere for a key that is here.
///
/// # Errors
/// The first thing found wrong with it.
pub fn import_issuing_ca(
    pem_or_der: &[u8],
    purpose: Purpose,
    key: &SubjectPublicKey,
    root: &CertificateDer<'_>,
    now: UnixMillis,
) -> Result<CertificateDer<'static>, IssuingRefusal> {
    let der = one_certificate(pem_or_der)?;
    let (rest, ca) = X509Certificate::from_der(&der).map_err(|_| IssuingRefusal::Malformed)?;
    let (_, root) = X509Certificate::from_der(root).map_err(|_| IssuingRefusal::OtherRoot)?;
    if !rest.is_empty() || x509_cert_is_strange(&der) {
        return Err(IssuingRefusal::Malformed);
    }
    if ca.public_key().raw != key.spki_der() {
        return Err(IssuingRefusal::OtherKey);
    }
    if ca.issuer().as_raw() != root.subject().as_raw() || ca.verify_signature(Some(root.public_key())).is_err() {
        return Err(IssuingRefusal::OtherRoot);
    }
    check_extensions(&ca, purpose)?;
    let (not_before, not_after) = (ca.validity().not_before.timestamp(), ca.validity().not_after.timestamp());
    if now.seconds() < timestamp(not_before) || now.seconds() >= timestamp(not_after) {
        return Err(IssuingRefusal::OutOfTime);
    }
    if now.seconds() >= timestamp(not_before).saturating_add(IMPORT_WITHIN.as_secs()) {
        return Err(IssuingRefusal::Stale);
    }
    if not_after > root.validity().not_after.timestamp() {
        return Err(IssuingRefusal::OutlivesRoot);
    }
    Ok(der.clone())
}

fn check_extensions(ca: &X509Certificate<'_>, purpose: Purpose) -> Result<(), IssuingRefusal> {
    let constraints = ca.basic_constraints().ok().flatten();
    let leaves_only = constraints.is_some_and(|found| found.critical && found.value.path_len_constraint == Some(0));
    let signs = |usage: &KeyUsage| usage.key_cert_sign() && usage.crl_sign();
    if !ca.is_ca() || !leaves_only || !ca.key_usage().ok().flatten().is_some_and(|usage| signs(usage.value)) {
        return Err(IssuingRefusal::NotIssuing);
    }
    if !ca.extended_key_usage().ok().flatten().is_some_and(|usage| purpose.is_exactly(usage.value)) {
        return Err(IssuingRefusal::OtherPurpose);
    }
    key_identifier(ca).map(drop).ok_or(IssuingRefusal::NoKeyIdentifier)
}

fn key_identifier<'a>(ca: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    ca.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    })
}

/// Whether the certificate is anything but DER in its one form.
fn x509_cert_is_strange(der: &[u8]) -> bool {
    use der::Decode;
    let again = x509_cert::Certificate::from_der(der).and_then(|certificate| certificate.to_der());
    again.as_deref() != Ok(der)
}

fn one_certificate(pem_or_der: &[u8]) -> Result<CertificateDer<'static>, IssuingRefusal> {
    if !pem_or_der.trim_ascii_start().starts_with(b"-----BEGIN") {
        return Ok(CertificateDer::from(pem_or_der.to_vec()));
    }
    let blocks = pem::parse_many(pem_or_der).map_err(|_| IssuingRefusal::Malformed)?;
    match blocks.as_slice() {
        [block] if block.tag() == "CERTIFICATE" => Ok(CertificateDer::from(block.contents().to_vec())),
        _ => Err(IssuingRefusal::Malformed),
    }
}

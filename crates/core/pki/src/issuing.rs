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
    CaSigner, ChallengeRule, CsrPolicy, CsrRefusal, KeyKind, PkiError, Purpose, SignWith, SubjectPublicKey,
    SubjectRule,
    authority::{ISSUING_LIFETIME, Validity, ca_name, ca_params, check_lifetime, timestamp},
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
    let is_key_id = |parsed: &ParsedExtension<'_>| matches!(parsed, ParsedExtension::SubjectKeyIdentifier(_));
    if !ca.iter_extensions().any(|extension| is_key_id(extension.parsed_extension())) {
        return Err(IssuingRefusal::NoKeyIdentifier);
    }
    Ok(())
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

//! A CA at work: its certificate, and its key wherever that is.

use std::time::Duration;

use aws_lc_rs::digest;
use der::{
    Encode,
    asn1::Ia5String,
    oid::db::rfc5280::{ID_AD_OCSP, ID_PE_AUTHORITY_INFO_ACCESS},
};
use portreeve_types::{IdentityId, UnixMillis};
use rcgen::{
    CertificateParams, CrlDistributionPoint, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SanType, SerialNumber, SigningKey,
};
use rustls_pki_types::CertificateDer;
use x509_cert::{
    ext::pkix::{AccessDescription, AuthorityInfoAccessSyntax, name::GeneralName},
    spki::AlgorithmIdentifierOwned,
};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{KeyUsage, ParsedExtension},
    prelude::FromDer,
};

use crate::{
    Generation, HUB_NAMES_MAX, Issued, PkiError, Profile, Purpose, Role, SubjectPublicKey,
    authority::{Validity, check_lifetime, common_name, leaf_params, random_serial, server_name, timestamp},
    leaf::IDENTITY_URN,
};

/// A private key to sign with: in memory, in a token, in a TPM. Signatures of ECDSA keys are in DER (RFC 3279 §2.2.3).
pub type SignWith<'k> = &'k (dyn SigningKey + Sync + 'k);

/// How long the certificate of an OCSP responder may live. It cannot be revoked (RFC 6960 §4.2.2.2.1), so not long.
pub const OCSP_SIGNER_LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Longest address of a CRL or an OCSP responder in a certificate.
const URL_BYTES_MAX: usize = 256;

/// A CA certificate and the means to sign as that CA.
///
/// *Invariant:* the key is that of the certificate, and the certificate is that of a CA.
pub struct CaSigner<'k> {
    certificate: CertificateDer<'static>,
    number: u32,
    not_after: UnixMillis,
    purpose: Option<Purpose>,
    pub(crate) key_id: Vec<u8>,
    pub(crate) issuer: Issuer<'static, SignWith<'k>>,
    crl_urls: Vec<String>,
    access: Option<Vec<u8>>,
}

impl std::fmt::Debug for CaSigner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaSigner").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl<'k> CaSigner<'k> {
    /// Brings certificate and key together. Whether the CA is trusted, and in its time, is not asked here.
    ///
    /// # Errors
    /// [`PkiError::BadCertificate`] for a certificate that is not a CA's or not this key's.
    pub fn new(certificate: CertificateDer<'static>, key: SignWith<'k>) -> Result<Self, PkiError> {
        let (rest, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|_| PkiError::BadCertificate("not an X.509 certificate"))?;
        let may_sign = parsed.key_usage().ok().flatten().is_some_and(|usage| KeyUsage::key_cert_sign(usage.value));
        if !rest.is_empty() || !parsed.is_ca() || !may_sign {
            return Err(PkiError::BadCertificate("not the certificate of a CA"));
        }
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(PkiError::BadCertificate("the key belongs to another certificate"));
        }
        signature_algorithm(key)?;
        let key_id = parsed.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        let usage = parsed.extended_key_usage().ok().flatten();
        let is = |purpose: Purpose| usage.as_ref().is_some_and(|usage| purpose.is_exactly(usage.value));
        let purpose = [Purpose::Client, Purpose::Server].into_iter().find(|&purpose| is(purpose));
        let not_after = UnixMillis(timestamp(parsed.validity().not_after.timestamp()).saturating_mul(1000));
        let key_id = key_id.ok_or(PkiError::BadCertificate("it has no subject key identifier"))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self { number: 1, not_after, purpose, key_id, issuer, certificate, crl_urls: Vec::new(), access: None })
    }

    /// The same, as the how many-th of its role, from 1.
    pub(crate) fn numbered(self, number: u32) -> Self {
        Self { number, ..self }
    }

    /// The same, and what it issues from now on tells where revocation is published.
    ///
    /// # Errors
    /// [`PkiError::BadName`] for an address that is none.
    pub fn publishing(mut self, crl_url: Option<&str>, ocsp_url: Option<&str>) -> Result<Self, PkiError> {
        self.crl_urls = crl_url.map(checked_url).transpose()?.into_iter().map(str::to_owned).collect();
        self.access = ocsp_url.map(checked_url).transpose()?.map(ocsp_access).transpose()?;
        Ok(self)
    }

    /// The how many-th CA of its role it is, from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The CA certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What its leaves are good for; `None` for a root, which has no leaves.
    #[must_use]
    pub fn purpose(&self) -> Option<Purpose> {
        self.purpose
    }

    /// The end of the CA certificate.
    #[must_use]
    pub fn not_after(&self) -> UnixMillis {
        self.not_after
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> SignWith<'k> {
        *self.issuer.key()
    }

    /// Certifies a client's key. The serial number carries the generation.
    ///
    /// # Errors
    /// [`PkiError::BadCertificate`] if this CA is not for clients or the profile is not a client's,
    /// [`PkiError::CaExpired`] at the CA's end.
    pub fn issue_client(
        &self,
        profile: &Profile,
        id: IdentityId,
        generation: Generation,
        key: &SubjectPublicKey,
        now: UnixMillis,
    ) -> Result<Issued, PkiError> {
        if !matches!(profile.role(), Role::Client(_)) {
            return Err(PkiError::BadCertificate("the profile is not that of a client"));
        }
        self.issue(profile, generation, self.client_params(id)?, key, now)
    }

    /// The same certificate once more, for whom the answer was lost: it differs in its signature and in nothing else.
    ///
    /// # Errors
    /// As [`Self::issue_client`].
    pub fn repeat_client(
        &self,
        id: IdentityId,
        serial: &[u8],
        key: &SubjectPublicKey,
        (not_before, not_after): (UnixMillis, UnixMillis),
    ) -> Result<Issued, PkiError> {
        if self.purpose != Some(Purpose::Client) {
            return Err(PkiError::BadCertificate("it is an issuing CA for another purpose"));
        }
        let params = self.client_params(id)?;
        self.sign(params, serial.to_vec(), key, Validity::between(not_before, not_after))
    }

    fn client_params(&self, id: IdentityId) -> Result<CertificateParams, PkiError> {
        let urn = SanType::URI(format!("{IDENTITY_URN}{id}").try_into()?);
        Ok(self.with_addresses(leaf_params(&id.to_string(), vec![urn], Purpose::Client)))
    }

    /// Certifies a key of the hub's own listeners under these DNS names and IP addresses (CSA-CLS-01).
    ///
    /// # Errors
    /// As [`Self::issue_client`], for servers; and for names that are none.
    pub fn issue_hub(
        &self,
        profile: &Profile,
        names: &[String],
        key: &SubjectPublicKey,
        now: UnixMillis,
    ) -> Result<Issued, PkiError> {
        if profile.role() != Role::Hub {
            return Err(PkiError::BadCertificate("the profile is not that of the hub"));
        }
        if names.is_empty() || names.len() > HUB_NAMES_MAX {
            return Err(PkiError::NameCount { given: names.len(), max: HUB_NAMES_MAX });
        }
        let names = names.iter().map(|name| server_name(name)).collect::<Result<_, _>>()?;
        let params = self.with_addresses(leaf_params("Portreeve hub", names, Purpose::Server));
        self.issue(profile, Generation::default(), params, key, now)
    }

    fn issue(
        &self,
        profile: &Profile,
        generation: Generation,
        params: CertificateParams,
        key: &SubjectPublicKey,
        now: UnixMillis,
    ) -> Result<Issued, PkiError> {
        if self.purpose != Some(profile.purpose()) {
            return Err(PkiError::BadCertificate("it is an issuing CA for another purpose"));
        }
        let mut serial = random_serial()?;
        generation.append_to(&mut serial);
        self.finish(params, serial, key, now, profile.lifetime())
    }

    /// Where revocation is published.
    fn with_addresses(&self, mut params: CertificateParams) -> CertificateParams {
        params.crl_distribution_points =
            self.crl_urls.iter().map(|url| CrlDistributionPoint { uris: vec![url.clone()] }).collect();
        params.custom_extensions.extend(
            self.access
                .iter()
                .map(|access| CustomExtension::from_oid_content(&arcs(ID_PE_AUTHORITY_INFO_ACCESS), access.clone())),
        );
        params
    }

    /// Certifies the key of an OCSP responder for this CA (RFC 6960 §4.2.2.2), so that the CA's own key is not needed
    /// for every answer. Relying parties do not ask whether it is revoked.
    ///
    /// # Errors
    /// [`PkiError::Lifetime`] beyond [`OCSP_SIGNER_LIFETIME_MAX`], [`PkiError::CaExpired`] at the CA's end.
    pub fn issue_ocsp_signer(
        &self,
        key: &SubjectPublicKey,
        now: UnixMillis,
        lifetime: Duration,
    ) -> Result<Issued, PkiError> {
        const NO_CHECK: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 5];
        const NULL: [u8; 2] = [5, 0];
        check_lifetime(lifetime, OCSP_SIGNER_LIFETIME_MAX)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("Portreeve OCSP");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        params.use_authority_key_identifier_extension = true;
        params.custom_extensions = vec![CustomExtension::from_oid_content(NO_CHECK, NULL.to_vec())];
        self.finish(params, random_serial()?, key, now, lifetime)
    }

    fn finish(
        &self,
        params: CertificateParams,
        serial: Vec<u8>,
        key: &SubjectPublicKey,
        now: UnixMillis,
        lifetime: Duration,
    ) -> Result<Issued, PkiError> {
        if now >= self.not_after {
            return Err(PkiError::CaExpired);
        }
        self.sign(params, serial, key, Validity::from(now, lifetime).at_most(self.not_after))
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        serial: Vec<u8>,
        key: &SubjectPublicKey,
        validity: Validity,
    ) -> Result<Issued, PkiError> {
        validity.stamp(&mut params)?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let leaf = CertificateDer::from(params.signed_by(key, &self.issuer)?);
        Ok(Issued::new(vec![leaf, self.certificate.clone()], serial, self.number, key, validity))
    }
}

/// An absolute HTTP address in plain ASCII. What it publishes is signed, so it need not be HTTPS (RFC 5280 §8).
fn checked_url(url: &str) -> Result<&str, PkiError> {
    let scheme = ["http://", "https://"].iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme));
    let plain = url.len() <= URL_BYTES_MAX && url.bytes().all(|byte| byte.is_ascii_graphic());
    if scheme && plain { Ok(url) } else { Err(PkiError::BadName(url.chars().take(80).collect())) }
}

/// The value of an authority information access extension with the address of an OCSP responder.
fn ocsp_access(url: &str) -> Result<Vec<u8>, PkiError> {
    let access_location = GeneralName::UniformResourceIdentifier(Ia5String::new(url)?);
    Ok(AuthorityInfoAccessSyntax(vec![AccessDescription { access_method: ID_AD_OCSP, access_location }]).to_der()?)
}

fn arcs(oid: der::asn1::ObjectIdentifier) -> Vec<u64> {
    oid.arcs().map(u64::from).collect()
}

/// How a key's signatures are named in DER.
pub(crate) fn signature_algorithm(key: SignWith<'_>) -> Result<AlgorithmIdentifierOwned, PkiError> {
    use der::oid::db::rfc5912::{ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384};
    let algorithm = key.algorithm();
    let oid = if *algorithm == PKCS_ECDSA_P256_SHA256 {
        ECDSA_WITH_SHA_256
    } else if *algorithm == PKCS_ECDSA_P384_SHA384 {
        ECDSA_WITH_SHA_384
    } else {
        return Err(PkiError::UnacceptableKey);
    };
    Ok(AlgorithmIdentifierOwned { oid, parameters: None })
}

/// The SHA-1 of a public key's bits, which is what OCSP calls a responder (RFC 6960 §4.2.1). A name, not a protection.
pub(crate) fn key_name(point: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, point).as_ref().to_vec()
}

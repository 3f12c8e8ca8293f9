//! Certificates for each face.

use aws_lc_rs::{
    digest::{Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, digest},
    rand,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair},
};
use der::{Decode as _, Encode as _, asn1::BitString, oid::ObjectIdentifier};
use portreeve_assurance::evidence::rogue::Face;
use portreeve_tls::{Credentials, certificates_from_pem};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, PublicKeyData, RevokedCertParams, SerialNumber, SignatureAlgorithm,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

use super::RogueError;

/// The name that no device expects (RFC 6761 section 6.4).
const WRONG_NAME: &str = "wrong-name.invalid";
/// ecdsa-with-SHA1 (RFC 3279 section 2.2.3).
const ECDSA_WITH_SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.1");
/// RSAPublicKey of 1024 bits (RFC 8017 appendix A.1.1), whose private half nobody needs.
const WEAK_KEY: &[u8] = include_bytes!("weak-key.der");
/// How long a certificate that is in date is valid yet.
const VALID: Duration = Duration::days(30);
const DAY: Duration = Duration::days(1);

/// A CA that the device trusts: with its key the auditor makes certificates that are wrong in one respect only.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, and those above it.
    chain: Vec<CertificateDer<'static>>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

impl Authority {
    /// From PEM: the CA's certificate, followed by those above it, if there are any but the device's anchor; and its key.
    ///
    /// # Errors
    /// [`RogueError`], if one of them cannot be read.
    pub fn from_pem(certificates: &str, key: &str) -> Result<Self, RogueError> {
        let chain = certificates_from_pem("the CA's certificate", certificates.as_bytes())?;
        let ca = chain.first().ok_or(RogueError::NoCertificate)?;
        let issuer = Issuer::from_ca_cert_der(ca, KeyPair::from_pem(key)?)?;
        Ok(Self { issuer, chain })
    }

    /// A CA that nobody knows.
    fn unknown() -> Result<Self, RogueError> {
        let (key, mut params) = (KeyPair::generate()?, CertificateParams::default());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Portreeve audit: a CA that nobody knows");
        let chain = vec![params.self_signed(&key)?.der().clone()];
        Ok(Self { issuer: Issuer::new(params, key), chain })
    }
}

/// Of which kind a leaf's key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ec,
    Rsa,
}

/// Makes certificates.
pub(super) struct Mint {
    names: Vec<String>,
    now: OffsetDateTime,
    ec: KeyPair,
    rsa: KeyPair,
    unknown: Authority,
    authority: Option<Authority>,
    crl_url: Option<String>,
    /// The number of the revoked certificate.
    revoked: SerialNumber,
}

impl Mint {
    pub(super) fn new(
        names: Vec<String>,
        now: OffsetDateTime,
        authority: Option<Authority>,
        crl_url: Option<String>,
    ) -> Result<Self, RogueError> {
        let (ec, rsa) = (KeyPair::generate()?, KeyPair::generate_for(&PKCS_RSA_SHA256)?);
        Ok(Self { names, now, ec, rsa, unknown: Authority::unknown()?, authority, crl_url, revoked: serial()? })
    }

    pub(super) const fn has_authority(&self) -> bool {
        self.authority.is_some()
    }

    /// Why a face cannot be shown to anybody.
    pub(super) fn lacks(&self, face: Face) -> Option<&'static str> {
        let needs_authority =
            !matches!(face, Face::SelfSigned | Face::UnknownCa | Face::OldVersion | Face::WeakSuite | Face::StaticRsa);
        match &self.authority {
            None if needs_authority => Some("no CA that the device trusts was given"),
            Some(_) if face == Face::Revoked && self.crl_url.is_none() => {
                Some("no place for a list of revoked ones was given")
            }
            Some(authority) if face == Face::WeakSignature && ecdsa(authority.issuer.key()).is_none() => {
                Some("the CA's key is not of ECDSA, with which alone SHA-1 is signed here")
            }
            _ => None,
        }
    }

    /// What a leaf of this face is.
    fn params(&self, face: Face) -> Result<CertificateParams, RogueError> {
        let names = if face == Face::WrongName { vec![WRONG_NAME.to_owned()] } else { self.names.clone() };
        let mut params = CertificateParams::new(names)?;
        (params.not_before, params.not_after) = match face {
            Face::Expired => (self.now - VALID, self.now - DAY),
            Face::NotYetValid => (self.now + DAY, self.now + VALID),
            _ => (self.now - DAY, self.now + VALID),
        };
        params.serial_number = Some(if face == Face::Revoked { self.revoked.clone() } else { serial()? });
        params.distinguished_name.push(DnType::CommonName, "Portreeve audit");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![match face {
            Face::WrongUsage => ExtendedKeyUsagePurpose::ClientAuth,
            _ => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        if face == Face::CaAsLeaf {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params.extended_key_usages = Vec::new();
        }
        let uris = self.crl_url.iter().cloned().collect::<Vec<_>>();
        if !uris.is_empty() {
            params.crl_distribution_points = vec![CrlDistributionPoint { uris }];
        }
        Ok(params)
    }

    /// The certificate of a face, with its chain.
    pub(super) fn chain(&self, face: Face, kind: Kind) -> Result<Vec<CertificateDer<'static>>, RogueError> {
        let (params, key) = (self.params(face)?, self.key(kind));
        if face == Face::SelfSigned {
            return Ok(vec![params.self_signed(key)?.der().clone()]);
        }
        let known = self.authority.as_ref().filter(|_| face != Face::UnknownCa);
        let by = known.unwrap_or(&self.unknown);
        let leaf = match face {
            Face::WeakKey => params.signed_by(&WeakKey, &by.issuer)?.der().clone(),
            Face::WeakSignature => over_sha1(params.signed_by(key, &by.issuer)?.der(), by.issuer.key())?,
            _ => params.signed_by(key, &by.issuer)?.der().clone(),
        };
        Ok([&[leaf][..], &by.chain].concat())
    }

    /// The same, with its key.
    pub(super) fn credentials(&self, face: Face, kind: Kind) -> Result<Credentials, RogueError> {
        let key = PrivatePkcs8KeyDer::from(self.key(kind).serialized_der().to_vec());
        Ok(Credentials { chain: self.chain(face, kind)?, key: PrivateKeyDer::Pkcs8(key) })
    }

    /// The key of leaves.
    pub(super) const fn key(&self, kind: Kind) -> &KeyPair {
        match kind {
            Kind::Ec => &self.ec,
            Kind::Rsa => &self.rsa,
        }
    }

    /// The list of revoked certificates, DER (RFC 5280 section 5).
    pub(super) fn crl(&self) -> Result<Vec<u8>, RogueError> {
        let authority = self.authority.as_ref().ok_or(RogueError::NoCertificate)?;
        let revoked = RevokedCertParams {
            serial_number: self.revoked.clone(),
            revocation_time: self.now - DAY,
            reason_code: None,
            invalidity_date: None,
        };
        let crl = CertificateRevocationListParams {
            this_update: self.now - DAY,
            next_update: self.now + VALID,
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(crl.signed_by(&authority.issuer)?.der().to_vec())
    }
}

/// 127 random bits (RFC 5280 section 4.1.2.2).
fn serial() -> Result<SerialNumber, RogueError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| RogueError::Crypto)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from(bytes.to_vec()))
}

struct WeakKey;

impl PublicKeyData for WeakKey {
    fn der_bytes(&self) -> &[u8] {
        WEAK_KEY
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

/// Signs a certificate again, over SHA-1.
fn over_sha1(leaf: &[u8], key: &KeyPair) -> Result<CertificateDer<'static>, RogueError> {
    let mut leaf = x509_cert::Certificate::from_der(leaf)?;
    leaf.tbs_certificate.signature.oid = ECDSA_WITH_SHA1;
    leaf.signature_algorithm.oid = ECDSA_WITH_SHA1;
    leaf.signature = BitString::from_bytes(&sign_sha1(key, &leaf.tbs_certificate.to_der()?)?)?;
    Ok(leaf.to_der()?.into())
}

/// The key for ECDSA, and the hash that it should be used with.
fn ecdsa(key: &KeyPair) -> Option<(EcdsaKeyPair, &'static aws_lc_rs::digest::Algorithm)> {
    let (algorithm, hash) = if key.algorithm() == &PKCS_ECDSA_P256_SHA256 {
        (&ECDSA_P256_SHA256_ASN1_SIGNING, &SHA256)
    } else if key.algorithm() == &PKCS_ECDSA_P384_SHA384 {
        (&ECDSA_P384_SHA384_ASN1_SIGNING, &SHA384)
    } else {
        return None;
    };
    EcdsaKeyPair::from_pkcs8(algorithm, key.serialized_der()).ok().map(|key| (key, hash))
}

/// ECDSA over SHA-1, which the library does not sign. It signs a digest that is given to it, and a shorter one is the same number
/// with zeros before it (FIPS 186-5 section 6.4.1).
pub(super) fn sign_sha1(key: &KeyPair, message: &[u8]) -> Result<Vec<u8>, RogueError> {
    let (key, hash) = ecdsa(key).ok_or(RogueError::Crypto)?;
    let short = digest(&SHA1_FOR_LEGACY_USE_ONLY, message);
    let zeros = vec![0; hash.output_len() - short.as_ref().len()];
    let long = Digest::import_less_safe(&[&zeros, short.as_ref()].concat(), hash).map_err(|_| RogueError::Crypto)?;
    Ok(key.sign_digest(&long).map_err(|_| RogueError::Crypto)?.as_ref().to_vec())
}

use std::fmt;

use aws_lc_rs::{digest, signature};
use portreeve_types::KeyHash;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey,
};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};
use zeroize::Zeroizing;

use crate::{PkiError, audit_device_key};

/// Longest accepted certificate signing request, PEM or DER. An honest one is well below 1 KiB.
pub const CSR_BYTES_MAX: usize = 8 * 1024;

/// First byte of an elliptic curve point that is written out in full (SEC 1 §2.3.3).
const UNCOMPRESSED_POINT: u8 = 4;

/// A kind of key that may be certified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// RSA with a modulus of 3072 bits and the exponent 65537.
    Rsa3072,
    /// RSA with a modulus of 4096 bits and the exponent 65537.
    Rsa4096,
}

impl KeyKind {
    /// Every kind: what the hub's configuration may choose from for devices.
    pub const ALL: &'static [Self] = &[Self::EcdsaP256, Self::EcdsaP384, Self::Rsa3072, Self::Rsa4096];
    /// The kinds that CAs and signers of documents have.
    pub const ECDSA: &'static [Self] = &[Self::EcdsaP256, Self::EcdsaP384];
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "ECDSA on P-256",
            Self::EcdsaP384 => "ECDSA on P-384",
            Self::Rsa3072 => "RSA with 3072 bits",
            Self::Rsa4096 => "RSA with 4096 bits",
        })
    }
}

/// A public key that may be certified, in its one canonical encoding: ECDSA with a point on its curve, or, where
/// [`crate::audit_device_key`] was told to accept it, RSA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectPublicKey {
    info: rcgen::SubjectPublicKeyInfo,
    spki_der: Vec<u8>,
    kind: KeyKind,
}

impl SubjectPublicKey {
    /// Checks a DER `SubjectPublicKeyInfo` with an ECDSA key on P-256 or P-384.
    ///
    /// # Errors
    /// [`PkiError::UnacceptableKey`] for any other algorithm, a compressed point (which would give one key a second
    /// hash) and a point off the curve.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, PkiError> {
        let info = rcgen::SubjectPublicKeyInfo::from_der(der).map_err(|_| PkiError::UnacceptableKey)?;
        let (kind, curve) = curve_of(info.algorithm()).ok_or(PkiError::UnacceptableKey)?;
        if info.der_bytes().first() != Some(&UNCOMPRESSED_POINT) {
            return Err(PkiError::UnacceptableKey);
        }
        signature::ParsedPublicKey::new(curve, info.der_bytes()).map_err(|_| PkiError::UnacceptableKey)?;
        let spki_der = info.subject_public_key_info();
        Ok(Self { info, spki_der, kind })
    }

    /// An RSA key that was audited. `None` if it cannot be used or is not in its canonical encoding, with NULL for
    /// parameters (RFC 3279 §2.3.1).
    pub(crate) fn rsa(der: &[u8], kind: KeyKind) -> Option<Self> {
        let info = rcgen::SubjectPublicKeyInfo::from_der(der).ok()?;
        signature::ParsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, info.der_bytes()).ok()?;
        let spki_der = info.subject_public_key_info();
        (*info.algorithm() == PKCS_RSA_SHA256 && spki_der == der).then_some(Self { info, spki_der, kind })
    }

    /// Which kind of key it is.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// Whether it is on P-256, rather than P-384.
    pub(crate) fn is_p256(&self) -> bool {
        *self.info.algorithm() == PKCS_ECDSA_P256_SHA256
    }

    /// What the registry knows this key by.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        key_hash(&self.spki_der)
    }
}

impl PublicKeyData for SubjectPublicKey {
    fn der_bytes(&self) -> &[u8] {
        self.info.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.info.algorithm()
    }
}

/// A fresh private key, wiped from memory when dropped.
pub struct GeneratedKey {
    /// PKCS #8 in PEM, as `key.pem` holds it.
    pub pkcs8_pem: Zeroizing<String>,
    /// The same in DER.
    pub pkcs8_der: Zeroizing<Vec<u8>>,
    /// The public half.
    pub public: SubjectPublicKey,
}

impl std::fmt::Debug for GeneratedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GeneratedKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// A request for a certificate for this key, PKCS #8 in PEM, and what the key is known by. It names nobody: who it is for
/// shows otherwise; or it gives a serial number, by which a device is found on an allow-list.
///
/// # Errors
/// [`PkiError::UnacceptableKey`] for what is no private key, [`PkiError::Key`] for one that may not be certified whatever
/// the hub's configuration says, [`PkiError::BadRequest`] for a serial number that a certificate cannot hold.
pub fn make_csr(pkcs8_pem: &str, serial: Option<&str>) -> Result<(Vec<u8>, KeyHash), PkiError> {
    let pair = KeyPair::from_pem(pkcs8_pem).map_err(|_| PkiError::UnacceptableKey)?;
    make_csr_with(&pair, serial)
}

/// The same for a key that is used where it is kept.
///
/// # Errors
/// As above, and [`PkiError::Crypto`] when the key cannot be used.
pub fn make_csr_with(pair: &impl SigningKey, serial: Option<&str>) -> Result<(Vec<u8>, KeyHash), PkiError> {
    let key = audit_device_key(&pair.subject_public_key_info(), KeyKind::ALL)?.hash();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if let Some(serial) = serial {
        let text = serial.try_into().map_err(|_| PkiError::BadRequest("not a serial number"))?;
        params.distinguished_name.push(DnType::CustomDnType(SERIAL_NUMBER.to_vec()), DnValue::PrintableString(text));
    }
    Ok((params.serialize_request(pair)?.der().to_vec(), key))
}

/// X.520 serialNumber.
const SERIAL_NUMBER: [u64; 4] = [2, 5, 4, 5];

/// A key to sign documents with, PKCS #8 in PEM.
///
/// # Errors
/// [`PkiError::UnacceptableKey`] for what is no ECDSA key on P-256 or P-384.
pub fn signing_key(pkcs8_pem: &str) -> Result<impl SigningKey + Sync + use<>, PkiError> {
    let pair = KeyPair::from_pem(pkcs8_pem).map_err(|_| PkiError::UnacceptableKey)?;
    SubjectPublicKey::from_spki_der(&pair.subject_public_key_info())?;
    Ok(pair)
}

/// Makes an ECDSA key on P-256: small, fast, and understood by every client.
///
/// # Errors
/// [`PkiError::Crypto`] when the library has no entropy.
pub fn generate_key() -> Result<GeneratedKey, PkiError> {
    let pair = KeyPair::generate()?;
    Ok(GeneratedKey {
        pkcs8_pem: Zeroizing::new(pair.serialize_pem()),
        public: SubjectPublicKey::from_spki_der(&pair.subject_public_key_info())?,
        pkcs8_der: Zeroizing::new(pair.serialize_der()),
    })
}

/// The public key of a PKCS #10 request (RFC 2986), PEM or DER, once the request's own signature has shown that its
/// sender holds the private key. Everything else the request says is dropped here.
///
/// # Errors
/// [`PkiError::BadRequest`] for garbage, excess bytes and a wrong signature, [`PkiError::UnacceptableKey`] for a key
/// that may not be certified.
pub fn public_key_from_csr(pem_or_der: &[u8]) -> Result<SubjectPublicKey, PkiError> {
    if pem_or_der.len() > CSR_BYTES_MAX {
        return Err(PkiError::BadRequest("too long"));
    }
    if !pem_or_der.trim_ascii_start().starts_with(b"-----BEGIN") {
        return public_key_from_csr_der(pem_or_der);
    }
    let pem = pem::parse(pem_or_der).map_err(|_| PkiError::BadRequest("not valid PEM"))?;
    // The second label is what some older tools write (RFC 7468 §7).
    if !matches!(pem.tag(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") {
        return Err(PkiError::BadRequest("the PEM block is not a certificate request"));
    }
    public_key_from_csr_der(pem.contents())
}

fn public_key_from_csr_der(der: &[u8]) -> Result<SubjectPublicKey, PkiError> {
    let (rest, request) =
        X509CertificationRequest::from_der(der).map_err(|_| PkiError::BadRequest("not a PKCS #10 request"))?;
    if !rest.is_empty() {
        return Err(PkiError::BadRequest("bytes follow the request"));
    }
    // The kind of key first: it decides which signatures are worth checking.
    let key = SubjectPublicKey::from_spki_der(request.certification_request_info.subject_pki.raw)?;
    request.verify_signature().map_err(|_| PkiError::BadRequest("its signature is not made by its own key"))?;
    Ok(key)
}

/// SHA-256 over a DER `SubjectPublicKeyInfo`.
pub(crate) fn key_hash(spki_der: &[u8]) -> KeyHash {
    let mut hash = KeyHash([0; 32]);
    hash.0.copy_from_slice(digest::digest(&digest::SHA256, spki_der).as_ref());
    hash
}

fn curve_of(algorithm: &SignatureAlgorithm) -> Option<(KeyKind, &'static signature::EcdsaVerificationAlgorithm)> {
    if *algorithm == PKCS_ECDSA_P256_SHA256 {
        Some((KeyKind::EcdsaP256, &signature::ECDSA_P256_SHA256_ASN1))
    } else if *algorithm == PKCS_ECDSA_P384_SHA384 {
        Some((KeyKind::EcdsaP384, &signature::ECDSA_P384_SHA384_ASN1))
    } else {
        None
    }
}

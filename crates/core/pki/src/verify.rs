//! Signatures of keys on the list, checked.

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use der::{
    Encode,
    asn1::{Any, ObjectIdentifier},
    oid::db::rfc5912::{
        ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512, SHA_256_WITH_RSA_ENCRYPTION,
        SHA_384_WITH_RSA_ENCRYPTION, SHA_512_WITH_RSA_ENCRYPTION,
    },
};
use rcgen::PublicKeyData;
use x509_cert::{Certificate, TbsCertificate, spki::AlgorithmIdentifierOwned};

use crate::{KeyKind, SubjectPublicKey, audit_key};

/// The algorithm that a name stands for with this key: ECDSA, or RSA as of PKCS #1 v1.5, with a hash of SHA-2. `None` for
/// any other, and for other parameters than there are: none with ECDSA (RFC 5758 §3.2), NULL with RSA (RFC 4055 §5).
pub(crate) fn by_name(
    name: &AlgorithmIdentifierOwned,
    key: &SubjectPublicKey,
) -> Option<&'static dyn VerificationAlgorithm> {
    let parameters = name.parameters.as_ref();
    match key.kind() {
        KeyKind::EcdsaP256 | KeyKind::EcdsaP384 if parameters.is_none() => {
            ecdsa(name.oid, key.kind() == KeyKind::EcdsaP256)
        }
        KeyKind::Rsa3072 | KeyKind::Rsa4096 if parameters.is_some_and(Any::is_null) => rsa(name.oid),
        _ => None,
    }
}

fn ecdsa(oid: ObjectIdentifier, p256: bool) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match (oid, p256) {
        (ECDSA_WITH_SHA_256, true) => &signature::ECDSA_P256_SHA256_ASN1,
        (ECDSA_WITH_SHA_384, true) => &signature::ECDSA_P256_SHA384_ASN1,
        (ECDSA_WITH_SHA_512, true) => &signature::ECDSA_P256_SHA512_ASN1,
        (ECDSA_WITH_SHA_256, false) => &signature::ECDSA_P384_SHA256_ASN1,
        (ECDSA_WITH_SHA_384, false) => &signature::ECDSA_P384_SHA384_ASN1,
        (ECDSA_WITH_SHA_512, false) => &signature::ECDSA_P384_SHA512_ASN1,
        _ => return None,
    })
}

fn rsa(oid: ObjectIdentifier) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match oid {
        SHA_256_WITH_RSA_ENCRYPTION => &signature::RSA_PKCS1_2048_8192_SHA256,
        SHA_384_WITH_RSA_ENCRYPTION => &signature::RSA_PKCS1_2048_8192_SHA384,
        SHA_512_WITH_RSA_ENCRYPTION => &signature::RSA_PKCS1_2048_8192_SHA512,
        _ => return None,
    })
}

/// Whether the key made this signature.
pub(crate) fn is_signature(
    algorithm: &'static dyn VerificationAlgorithm,
    key: &SubjectPublicKey,
    message: &[u8],
    signature: &[u8],
) -> bool {
    UnparsedPublicKey::new(algorithm, key.der_bytes()).verify(message, signature).is_ok()
}

/// Whether a certificate is signed by the key of another.
pub(crate) fn is_signed_by(certificate: &Certificate, ca: &TbsCertificate) -> bool {
    let verified = || {
        let key = audit_key(&ca.subject_public_key_info.to_der().ok()?).ok()?;
        let algorithm = by_name(&certificate.signature_algorithm, &key)?;
        let message = certificate.tbs_certificate.to_der().ok()?;
        Some(is_signature(algorithm, &key, &message, certificate.signature.as_bytes()?))
    };
    verified().unwrap_or(false)
}

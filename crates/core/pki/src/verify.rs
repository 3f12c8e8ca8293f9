//! Signatures of keys on the list, checked.

use aws_lc_rs::signature::{self, EcdsaVerificationAlgorithm, UnparsedPublicKey};
use der::{
    Encode,
    asn1::ObjectIdentifier,
    oid::db::rfc5912::{ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512},
};
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData};
use x509_cert::{Certificate, TbsCertificate, spki::AlgorithmIdentifierOwned};

use crate::{SubjectPublicKey, audit_key};

/// The algorithm that a name stands for with this key: ECDSA with a hash of SHA-2. `None` for any other, and for
/// parameters, which ECDSA does not have here (RFC 5758 §3.2).
pub(crate) fn ecdsa_by_name(
    name: &AlgorithmIdentifierOwned,
    key: &SubjectPublicKey,
) -> Option<&'static EcdsaVerificationAlgorithm> {
    if name.parameters.is_some() {
        return None;
    }
    by_oid(name.oid, *key.algorithm() == PKCS_ECDSA_P256_SHA256)
}

fn by_oid(oid: ObjectIdentifier, p256: bool) -> Option<&'static EcdsaVerificationAlgorithm> {
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

/// Whether the key made this signature.
pub(crate) fn is_signature(
    algorithm: &'static EcdsaVerificationAlgorithm,
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
        let algorithm = ecdsa_by_name(&certificate.signature_algorithm, &key)?;
        let message = certificate.tbs_certificate.to_der().ok()?;
        Some(is_signature(algorithm, &key, &message, certificate.signature.as_bytes()?))
    };
    verified().unwrap_or(false)
}

use aws_lc_rs::{
    digest,
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, ParsedPublicKey, UnparsedPublicKey,
        VerificationAlgorithm,
    },
};
use pkcs8::der::{
    Encode as _, Tag,
    asn1::{AnyRef, UintRef},
};

use crate::{KeyAlgorithm, KeyError};

impl KeyAlgorithm {
    /// What comes before the key's own bytes in its one DER `SubjectPublicKeyInfo` (RFC 5480 §2, RFC 8410 §4): the
    /// lengths are fixed, so the encoding is a constant prefix.
    fn spki_prefix(self) -> &'static [u8] {
        match self {
            Self::EcdsaP256 => {
                b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00"
            }
            Self::EcdsaP384 => {
                b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00"
            }
            Self::Ed25519 => b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00",
        }
    }

    /// Length of the key's own bytes: an uncompressed point (SEC 1 §2.3.3), or Ed25519's 32.
    fn raw_bytes(self) -> usize {
        match self {
            Self::EcdsaP256 => 65,
            Self::EcdsaP384 => 97,
            Self::Ed25519 => 32,
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::EcdsaP256 => &ECDSA_P256_SHA256_ASN1,
            Self::EcdsaP384 => &ECDSA_P384_SHA384_ASN1,
            Self::Ed25519 => &ED25519,
        }
    }

    /// The digest that is signed; none for Ed25519, which takes the message.
    pub(crate) fn digest(self, message: &[u8]) -> Option<digest::Digest> {
        match self {
            Self::EcdsaP256 => Some(digest::digest(&digest::SHA256, message)),
            Self::EcdsaP384 => Some(digest::digest(&digest::SHA384, message)),
            Self::Ed25519 => None,
        }
    }
}

/// A public key: a point on its curve, in its one canonical encoding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey {
    algorithm: KeyAlgorithm,
    spki_der: Vec<u8>,
}

impl PublicKey {
    /// Checks a DER `SubjectPublicKeyInfo`; nothing if it is no key of ours.
    #[must_use]
    pub fn from_spki_der(der: &[u8]) -> Option<Self> {
        KeyAlgorithm::ALL.into_iter().find_map(|algorithm| {
            let raw = der.strip_prefix(algorithm.spki_prefix())?;
            Self::from_raw(algorithm, raw)
        })
    }

    /// Checks a key's own bytes: an uncompressed point, or Ed25519's 32.
    #[must_use]
    pub fn from_raw(algorithm: KeyAlgorithm, raw: &[u8]) -> Option<Self> {
        if raw.len() != algorithm.raw_bytes() {
            return None;
        }
        let on_curve = match algorithm {
            KeyAlgorithm::EcdsaP256 => ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, raw).is_ok(),
            KeyAlgorithm::EcdsaP384 => ParsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, raw).is_ok(),
            KeyAlgorithm::Ed25519 => ParsedPublicKey::new(&ED25519, raw).is_ok(),
        };
        on_curve.then(|| Self { algorithm, spki_der: [algorithm.spki_prefix(), raw].concat() })
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// The key's own bytes, without the algorithm.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.spki_der[self.algorithm.spki_prefix().len()..]
    }

    /// Whether the signature over the message is this key's.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm.verification(), self.raw()).verify(message, signature).is_ok()
    }

    /// Passes on a signature that a device made, if it is good. A device that errs, or is made to err, could otherwise
    /// give its key away by a wrong signature, or put one into a certificate.
    pub(crate) fn checked(&self, device: &str, message: &[u8], signature: Vec<u8>) -> Result<Vec<u8>, KeyError> {
        if self.verifies(message, &signature) {
            return Ok(signature);
        }
        Err(KeyError::Device { device: device.to_owned(), reason: "made a signature that does not verify".into() })
    }
}

/// `ECDSA-Sig-Value` (RFC 3279 §2.2.3) of two big-endian numbers, as devices give them.
pub(crate) fn ecdsa_signature(r: &[u8], s: &[u8]) -> Option<Vec<u8>> {
    der_sequence(&[der_number(r)?, der_number(s)?])
}

/// A positive INTEGER.
pub(crate) fn der_number(big_endian: &[u8]) -> Option<Vec<u8>> {
    UintRef::new(big_endian).ok()?.to_der().ok()
}

/// A SEQUENCE of what is already in DER.
pub(crate) fn der_sequence(parts: &[Vec<u8>]) -> Option<Vec<u8>> {
    AnyRef::new(Tag::Sequence, &parts.concat()).ok()?.to_der().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_have_the_shortest_der() {
        assert_eq!(
            ecdsa_signature(&[0, 0, 0x80], &[1]).unwrap(),
            [0x30, 7, 0x02, 2, 0, 0x80, 0x02, 1, 1],
            "leading zeros go, and one keeps the number positive"
        );
    }

    #[test]
    fn only_points_on_the_curve_are_keys() {
        assert!(PublicKey::from_raw(KeyAlgorithm::EcdsaP256, &[4; 65]).is_none());
        assert!(PublicKey::from_raw(KeyAlgorithm::EcdsaP384, &[4; 65]).is_none());
        assert!(PublicKey::from_spki_der(b"").is_none());
        assert!(PublicKey::from_spki_der(KeyAlgorithm::EcdsaP256.spki_prefix()).is_none());
    }
}

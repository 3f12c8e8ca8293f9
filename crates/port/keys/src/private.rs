use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    },
};
use zeroize::Zeroizing;

use crate::{KeyAlgorithm, KeyError, PublicKey, SigningKey};

/// A private key in this process's memory; the library wipes it when it is dropped.
pub(crate) struct PrivateKey {
    public: PublicKey,
    pair: Pair,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl PrivateKey {
    pub(crate) fn generate(algorithm: KeyAlgorithm) -> Result<Self, KeyError> {
        let pair = match algorithm {
            KeyAlgorithm::EcdsaP256 => Pair::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?),
            KeyAlgorithm::EcdsaP384 => Pair::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING)?),
            KeyAlgorithm::Ed25519 => Pair::Ed25519(Ed25519KeyPair::generate()?),
        };
        Self::of(algorithm, pair).ok_or(KeyError::Crypto)
    }

    /// Reads PKCS #8; nothing if it is no key of a kind that we use. The library checks that the halves match.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let ecdsa = |algorithm, scheme| Self::of(algorithm, Pair::Ecdsa(EcdsaKeyPair::from_pkcs8(scheme, der).ok()?));
        let ed25519 =
            || Self::of(KeyAlgorithm::Ed25519, Pair::Ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?));
        ecdsa(KeyAlgorithm::EcdsaP256, &ECDSA_P256_SHA256_ASN1_SIGNING)
            .or_else(|| ecdsa(KeyAlgorithm::EcdsaP384, &ECDSA_P384_SHA384_ASN1_SIGNING))
            .or_else(ed25519)
    }

    fn of(algorithm: KeyAlgorithm, pair: Pair) -> Option<Self> {
        let public = match &pair {
            Pair::Ecdsa(pair) => PublicKey::from_raw(algorithm, pair.public_key().as_ref()),
            Pair::Ed25519(pair) => PublicKey::from_raw(algorithm, pair.public_key().as_ref()),
        };
        Some(Self { public: public?, pair })
    }

    /// PKCS #8 in its first version (RFC 5208), which every program reads.
    pub(crate) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let document = match &self.pair {
            Pair::Ecdsa(pair) => pair.to_pkcs8v1()?,
            Pair::Ed25519(pair) => pair.to_pkcs8v1()?,
        };
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }
}

impl SigningKey for PrivateKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(match &self.pair {
            Pair::Ecdsa(pair) => pair.sign(&SystemRandom::new(), message)?.as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.try_sign(message)?.as_ref().to_vec(),
        })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").field("public", &self.public).finish_non_exhaustive()
    }
}

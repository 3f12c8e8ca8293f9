//! Certificates whose private key is used where it is kept, rather than handed over.

use std::{fmt, sync::Arc};

use rustls::{
    Error, SignatureAlgorithm, SignatureScheme,
    sign::{CertifiedKey, Signer, SigningKey},
};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};

use crate::{Presentable, TlsError};

/// An ECDSA key on P-256 that signs and is never seen.
pub trait HeldKey: fmt::Debug + Send + Sync {
    /// The public half as `SubjectPublicKeyInfo`.
    fn spki_der(&self) -> &[u8];

    /// Signs a message with SHA-256; the signature is `ECDSA-Sig-Value` in DER. Nothing, if that failed.
    fn sign(&self, message: &[u8]) -> Option<Vec<u8>>;
}

/// A certificate chain, leaf first, and the use of its leaf's private key.
#[derive(Clone, Debug)]
pub struct HeldCredentials {
    /// Leaf, then the CAs that lead to a trust anchor.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's private key.
    pub key: Arc<dyn HeldKey>,
}

impl Presentable for HeldCredentials {
    fn certify(self) -> Result<Arc<CertifiedKey>, TlsError> {
        let certified = CertifiedKey::new(self.chain, Arc::new(Held(self.key)));
        match certified.keys_match() {
            Ok(()) => Ok(Arc::new(certified)),
            Err(Error::InconsistentKeys(_)) => Err(TlsError::KeyMismatch),
            Err(error) => Err(TlsError::Unusable(error)),
        }
    }
}

/// The key as rustls takes it, and the one signature that it makes.
#[derive(Clone, Debug)]
struct Held(Arc<dyn HeldKey>);

impl SigningKey for Held {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.scheme()).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(self.0.spki_der().into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Held {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.sign(message).ok_or_else(|| Error::General("the private key cannot be used".into()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

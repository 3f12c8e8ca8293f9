use std::{fmt, sync::Arc};

use parking_lot::Mutex;
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData, SignatureAlgorithm};

use crate::{KeyAlgorithm, KeyError, SigningKey};

/// A key in custody as rcgen takes it: for CA certificates, leaves, CRLs and requests.
pub struct X509Key {
    key: Arc<dyn SigningKey>,
    failure: Mutex<Option<KeyError>>,
}

impl X509Key {
    /// Wraps the key.
    #[must_use]
    pub fn new(key: Arc<dyn SigningKey>) -> Self {
        Self { key, failure: Mutex::default() }
    }

    /// Why the last signature failed, once: rcgen's own error says no more than that it did.
    #[must_use]
    pub fn take_failure(&self) -> Option<KeyError> {
        self.failure.lock().take()
    }
}

impl fmt::Debug for X509Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("X509Key").field(&self.key).finish()
    }
}

impl PublicKeyData for X509Key {
    fn der_bytes(&self) -> &[u8] {
        self.key.public().raw()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self.key.public().algorithm() {
            KeyAlgorithm::EcdsaP256 => &PKCS_ECDSA_P256_SHA256,
            KeyAlgorithm::EcdsaP384 => &PKCS_ECDSA_P384_SHA384,
            KeyAlgorithm::Ed25519 => &PKCS_ED25519,
        }
    }
}

impl rcgen::SigningKey for X509Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.key.sign(message).map_err(|error| {
            *self.failure.lock() = Some(error);
            rcgen::Error::RemoteKeyError
        })
    }
}

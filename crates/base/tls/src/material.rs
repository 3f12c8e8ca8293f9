use std::{fmt, sync::Arc};

use rustls::{Error, sign::CertifiedKey};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};

use crate::{TlsError, policy::provider};

/// A certificate chain, leaf first, with the private key of its leaf.
pub struct Credentials {
    /// Leaf, then the CAs that lead to a trust anchor.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's private key.
    pub key: PrivateKeyDer<'static>,
}

impl Credentials {
    /// Reads both from PEM. The names are for error messages.
    ///
    /// # Errors
    /// Names the file that is at fault.
    pub fn from_pem(chain_file: &str, chain: &[u8], key_file: &str, key: &[u8]) -> Result<Self, TlsError> {
        let (chain, key) = (certificates_from_pem(chain_file, chain)?, key_from_pem(key_file, key)?);
        Ok(Self { chain, key })
    }
}

/// What a listener or a client can present: a certificate chain with the means to sign for its leaf.
pub trait Presentable {
    /// Checks that key and leaf belong together, and prepares them for signing.
    ///
    /// # Errors
    /// [`TlsError::KeyMismatch`] and [`TlsError::Unusable`].
    fn certify(self) -> Result<Arc<CertifiedKey>, TlsError>;
}

impl Presentable for Credentials {
    fn certify(self) -> Result<Arc<CertifiedKey>, TlsError> {
        match CertifiedKey::from_der(self.chain, self.key, &provider()) {
            Ok(certified) => Ok(Arc::new(certified)),
            Err(Error::InconsistentKeys(_)) => Err(TlsError::KeyMismatch),
            Err(error) => Err(TlsError::Unusable(error)),
        }
    }
}

impl Clone for Credentials {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

/// Every certificate of a PEM file, in order; at least one.
///
/// # Errors
/// [`TlsError::Pem`] for broken PEM, [`TlsError::Nothing`] when there is none.
pub fn certificates_from_pem(file: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = read(file, pem)?;
    if certificates.is_empty() {
        return Err(TlsError::Nothing { file: file.into(), expected: "certificate" });
    }
    Ok(certificates)
}

/// The one private key of a PEM file: PKCS #8, SEC 1 or PKCS #1, not encrypted.
///
/// # Errors
/// [`TlsError::Pem`] for broken PEM, [`TlsError::Nothing`] when there is none, [`TlsError::ManyKeys`].
pub fn key_from_pem(file: &str, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let mut keys: Vec<_> = read(file, pem)?;
    if keys.len() > 1 {
        return Err(TlsError::ManyKeys { file: file.into() });
    }
    keys.pop().ok_or_else(|| TlsError::Nothing { file: file.into(), expected: "private key" })
}

fn read<T: PemObject>(file: &str, pem: &[u8]) -> Result<Vec<T>, TlsError> {
    let broken = |error: pem::Error| TlsError::Pem { file: file.into(), reason: error.to_string() };
    T::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(broken)
}

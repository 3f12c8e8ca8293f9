//! A device's private key: in a file, or in its TPM.

use std::{fs, path::Path, sync::Arc};

use portreeve_keys::{Custody as _, KeyAlgorithm, KeyError, KeyName, SigningKey, TpmCustody, X509Key};
use portreeve_pki::{make_csr, make_csr_with};
use portreeve_tls::{
    Credentials, HeldCredentials, HeldKey, TlsError, certificates_from_pem, client_config, key_from_pem,
};
use portreeve_types::KeyHash;
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::bundle::{KEY, TPM_KEY, origin};
use crate::{failure::Failure, output::remark};

/// The key of a directory that `device enrol` or `device add` made.
pub(crate) enum DeviceKey {
    /// PKCS #8 in PEM.
    File(Zeroizing<Vec<u8>>),
    /// A key that only its TPM can use.
    Tpm(TpmKey),
}

/// A key in a TPM.
pub(crate) struct TpmKey {
    pub(super) custody: TpmCustody,
    key: Arc<dyn SigningKey>,
}

impl DeviceKey {
    /// The key of a directory, wherever it is.
    pub(crate) fn of_bundle(bundle: &Path) -> Result<Self, Failure> {
        if bundle.join(TPM_KEY).symlink_metadata().is_ok() {
            let tcti = origin(bundle).and_then(|origin| origin.tpm);
            let tcti = tcti.ok_or_else(|| {
                Failure::Usage(format!("{}: enrolment.json does not say which TPM has the key", bundle.display()))
            })?;
            return TpmKey::open(&tcti, bundle).map(Self::Tpm);
        }
        let path = bundle.join(KEY);
        let read = fs::read(&path).map_err(|error| {
            Failure::Usage(format!(
                "cannot read {}: {error}; `portreeve device add NAME --out DIR` makes a bundle",
                path.display()
            ))
        });
        read.map(|pem| Self::File(Zeroizing::new(pem)))
    }

    /// A request for a certificate of this key, and the key's hash.
    pub(super) fn request(&self, serial: Option<&str>) -> Result<(Vec<u8>, KeyHash), String> {
        match self {
            Self::File(pem) => {
                let pem = std::str::from_utf8(pem).map_err(|_| "the key is no text")?;
                make_csr(pem, serial).map_err(|error| error.to_string())
            }
            Self::Tpm(TpmKey { key, .. }) => {
                let key = X509Key::new(Arc::clone(key));
                make_csr_with(&key, None)
                    .map_err(|error| key.take_failure().map_or(error.to_string(), |failure| failure.to_string()))
            }
        }
    }

    /// A client that shows this chain and signs with this key.
    pub(crate) fn client_config(
        &self,
        anchors: &[CertificateDer<'_>],
        cert_file: &str,
        cert_pem: &[u8],
    ) -> Result<Arc<ClientConfig>, TlsError> {
        let chain = certificates_from_pem(cert_file, cert_pem)?;
        match self {
            Self::File(pem) => client_config(anchors, Credentials { chain, key: key_from_pem(KEY, pem)? }),
            Self::Tpm(TpmKey { key, .. }) => {
                client_config(anchors, HeldCredentials { chain, key: Arc::new(Held(Arc::clone(key))) })
            }
        }
    }
}

impl TpmKey {
    /// Opens the key of a directory.
    fn open(tcti: &str, directory: &Path) -> Result<Self, Failure> {
        let custody = custody(tcti, directory)?;
        let key = custody.open(&name()?).map_err(|error| unusable(&error))?;
        Ok(Self { custody, key })
    }

    /// The same; makes the key if there is none yet.
    pub(super) fn make(tcti: &str, directory: &Path) -> Result<Self, Failure> {
        let custody = custody(tcti, directory)?;
        let key = match custody.open(&name()?) {
            Err(KeyError::Missing { .. }) => custody.create(&name()?, KeyAlgorithm::EcdsaP256),
            opened => opened,
        };
        Ok(Self { key: key.map_err(|error| unusable(&error))?, custody })
    }
}

fn custody(tcti: &str, directory: &Path) -> Result<TpmCustody, Failure> {
    let address = tcti.parse().map_err(|error| unusable(&error))?;
    TpmCustody::open(address, directory, None).map_err(|error| unusable(&error))
}

/// The stem of [`TPM_KEY`].
pub(super) fn name() -> Result<KeyName, Failure> {
    "key".parse().map_err(|error| unusable(&error))
}

pub(super) fn unusable(error: &KeyError) -> Failure {
    Failure::Usage(format!("the TPM cannot be used: {error} (--tcti, or is this user in the group tss?)"))
}

/// The key as TLS takes it.
#[derive(Debug)]
struct Held(Arc<dyn SigningKey>);

impl HeldKey for Held {
    fn spki_der(&self) -> &[u8] {
        self.0.public().spki_der()
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.0.sign(message).inspect_err(|error| remark(&format!("The TPM cannot sign: {error}"))).ok()
    }
}

//! What a scope refers to, read before anything is looked at.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use portreeve_assurance::{Account, Device, Endpoint, Scope, TestSession, evidence::mutual::Credential};
use portreeve_probe::{console::Session, http::secret_header, mqtt, mutual::stranger, rogue::Authority};
use portreeve_tls::{Credentials, certificates_from_pem};
use rustls_pki_types::{CertificateDer, ServerName};

use crate::failure::Failure;

/// Longest certificate or key file, bytes.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// Test identities and trust anchors.
#[derive(Default)]
pub(super) struct Material {
    base: PathBuf,
    identities: BTreeMap<String, (Credential, Credentials)>,
    anchors: BTreeMap<PathBuf, Vec<CertificateDer<'static>>>,
    good: BTreeMap<String, Credentials>,
    secrets: BTreeMap<PathBuf, String>,
    authorities: BTreeMap<String, (String, zeroize::Zeroizing<String>)>,
}

impl Material {
    /// Of the files that a scope names; what is relative is so to `base`.
    pub(super) fn read(scope: &Scope, base: &Path) -> Result<Self, Failure> {
        let mut material = Self { base: base.to_owned(), ..Self::default() };
        for identity in &scope.identities {
            let credentials = material.credentials(&identity.bundle)?;
            material.identities.insert(identity.name.clone(), (identity.state, credentials));
        }
        for path in scope.endpoints.iter().filter_map(|endpoint| endpoint.ca.as_ref()) {
            let certificates = certificates_from_pem(&path.display().to_string(), &material.file(path)?)
                .map_err(|error| Failure::Usage(error.to_string()))?;
            material.anchors.insert(path.clone(), certificates);
        }
        for endpoint in &scope.endpoints {
            for path in endpoint.accounts.iter().filter_map(|account| account.secret_file.as_ref()) {
                material.secret(path)?;
            }
            for session in &endpoint.console.sessions {
                let value = material.secret(&session.value_file)?;
                if secret_header(&session.header, &value).is_none() {
                    let path = material.path(&session.value_file);
                    return Err(Failure::Usage(format!("{} is not one line for a header", path.display())));
                }
            }
        }
        for device in &scope.devices {
            if let Some(folder) = &device.good {
                material.good.insert(device.name.clone(), material.credentials(folder)?);
            }
            if let Some(folder) = &device.trusted_ca {
                let authority = material.authority(folder)?;
                material.authorities.insert(device.name.clone(), authority);
            }
        }
        Ok(material)
    }

    /// A file's one line, kept for later.
    fn secret(&mut self, path: &Path) -> Result<String, Failure> {
        let text = String::from_utf8(self.file(path)?)
            .map_err(|_| Failure::Usage(format!("{} is not text", self.path(path).display())))?;
        let secret = text.trim_end_matches(['\r', '\n']).to_owned();
        self.secrets.insert(path.to_owned(), secret.clone());
        Ok(secret)
    }

    /// A CA's certificate and key, tried here so that what is wrong with them is told before anything is looked at.
    fn authority(&self, folder: &Path) -> Result<(String, zeroize::Zeroizing<String>), Failure> {
        let text = |name: &str| {
            let path = folder.join(name);
            String::from_utf8(self.file(&path)?)
                .map_err(|_| Failure::Usage(format!("{} is not PEM", self.path(&path).display())))
        };
        let (certificates, key) = (text("cert.pem")?, zeroize::Zeroizing::new(text("key.pem")?));
        Authority::from_pem(&certificates, &key)
            .map_err(|error| Failure::Usage(format!("{}: {error}", self.path(folder).display())))?;
        Ok((certificates, key))
    }

    /// With what the verifier plays the server to a device.
    pub(super) fn device(&self, device: &Device) -> (Option<Credentials>, Option<Authority>) {
        let authority = self.authorities.get(&device.name);
        let authority = authority.and_then(|(certificates, key)| Authority::from_pem(certificates, key).ok());
        (self.good.get(&device.name).cloned(), authority)
    }

    /// A path as it is meant.
    pub(super) fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    fn file(&self, path: &Path) -> Result<Vec<u8>, Failure> {
        let path = self.path(path);
        let unreadable =
            |error: &dyn std::fmt::Display| Failure::Usage(format!("cannot read {}: {error}", path.display()));
        let metadata = fs::metadata(&path).map_err(|error| unreadable(&error))?;
        if metadata.len() > PEM_BYTES_MAX || !metadata.is_file() {
            return Err(unreadable(&format!("not a file of at most {PEM_BYTES_MAX} bytes")));
        }
        fs::read(&path).map_err(|error| unreadable(&error))
    }

    fn credentials(&self, bundle: &Path) -> Result<Credentials, Failure> {
        let (chain, key) = (bundle.join("cert.pem"), bundle.join("key.pem"));
        let (chain_bytes, key_bytes) = (self.file(&chain)?, zeroize::Zeroizing::new(self.file(&key)?));
        Credentials::from_pem(&chain.display().to_string(), &chain_bytes, &key.display().to_string(), &key_bytes)
            .map_err(|error| Failure::Usage(error.to_string()))
    }

    /// The trust anchors of an endpoint.
    pub(super) fn anchors(&self, endpoint: &Endpoint) -> Vec<CertificateDer<'static>> {
        endpoint.ca.as_ref().and_then(|path| self.anchors.get(path)).cloned().unwrap_or_default()
    }

    /// The test accounts of an endpoint, with their secrets.
    pub(super) fn accounts<'a>(&self, endpoint: &'a Endpoint) -> Vec<(&'a Account, Option<String>)> {
        let secret = |account: &Account| self.secrets.get(account.secret_file.as_ref()?).cloned();
        endpoint.accounts.iter().map(|account| (account, secret(account))).collect()
    }

    /// The test sessions of an endpoint's console.
    pub(super) fn sessions(&self, endpoint: &Endpoint) -> Vec<Session> {
        let session = |session: &TestSession| {
            // That they make a header was seen when they were read.
            let header = secret_header(&session.header, self.secrets.get(&session.value_file)?)?;
            let (role, own, foreign) = (session.role.clone(), session.own.clone(), session.foreign.clone());
            Some(Session { role, standing: session.standing, header, own, foreign })
        };
        endpoint.console.sessions.iter().filter_map(session).collect()
    }

    /// With what an endpoint's door is tried. What everybody could come with need not be given.
    pub(super) fn credentials_for(&self, endpoint: &Endpoint) -> Vec<(Credential, Credentials)> {
        let known = |name: &String| self.identities.get(name).cloned();
        let stranger = stranger().ok().map(|credentials| (Credential::WrongCa, credentials));
        let mut all: Vec<_> = endpoint.identities.iter().filter_map(known).chain(stranger).collect();
        // One of each is enough.
        all.sort_by_key(|(credential, _)| Credential::ALL.iter().position(|known| known == credential));
        all.dedup_by_key(|(credential, _)| *credential);
        all
    }

    /// The good identities of an endpoint, as MQTT knows them.
    pub(super) fn clients(&self, endpoint: &Endpoint) -> Vec<mqtt::Identity> {
        let client = |name: &String| {
            let (credential, credentials) = self.identities.get(name)?;
            (*credential == Credential::Valid)
                .then(|| mqtt::Identity { name: name.clone(), credentials: Some(credentials.clone()) })
        };
        endpoint.identities.iter().filter_map(client).collect()
    }
}

/// The name by which an endpoint's certificate is judged.
pub(super) fn server_name(endpoint: &Endpoint) -> Option<ServerName<'static>> {
    let host = endpoint.server_name.as_ref().unwrap_or(&endpoint.url.host);
    ServerName::try_from(host.as_str().to_owned()).ok()
}

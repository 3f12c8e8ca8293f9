//! Certificates and the TLS configuration of each client.

use std::{collections::HashMap, fs, path::PathBuf, sync::Arc};

use portreeve_tls::{Credentials, certificates_from_pem, provider};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    client::Resumption,
    crypto::{
        CryptoProvider, SupportedKxGroup,
        aws_lc_rs::{default_provider, kx_group},
    },
    version::{TLS12, TLS13},
};

use crate::{BenchError, Pattern};

/// Where each client finds its certificates; the numbers of the client may be part of the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The broker's CA, PEM.
    pub ca: Pattern,
    /// The client's chain, leaf first, PEM.
    pub cert: Pattern,
    /// Its private key, PEM.
    pub key: Pattern,
}

/// The version of TLS to insist on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TlsVersion {
    /// TLS 1.3
    #[value(name = "1.3")]
    Tls13,
    /// TLS 1.2
    #[value(name = "1.2")]
    Tls12,
}

/// The key agreement to insist on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Group {
    /// X25519 with ML-KEM-768 (TLS 1.3 only)
    #[value(name = "x25519mlkem768")]
    X25519MlKem768,
    /// NIST P-256
    #[value(name = "p256")]
    P256,
    /// NIST P-384
    #[value(name = "p384")]
    P384,
}

impl Group {
    fn implementation(self) -> &'static dyn SupportedKxGroup {
        match self {
            Self::X25519MlKem768 => kx_group::X25519MLKEM768,
            Self::P256 => kx_group::SECP256R1,
            Self::P384 => kx_group::SECP384R1,
        }
    }
}

/// Makes configurations, one for each set of files.
pub struct Wardrobe {
    files: Files,
    version: &'static SupportedProtocolVersion,
    provider: Arc<CryptoProvider>,
    roots: HashMap<PathBuf, Arc<RootCertStore>>,
    configs: HashMap<[PathBuf; 3], Arc<ClientConfig>>,
}

impl Wardrobe {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(files: &Files, version: TlsVersion, group: Option<Group>) -> Self {
        let ours = provider();
        let kx_groups = group.map_or_else(|| ours.kx_groups.clone(), |group| vec![group.implementation()]);
        // The suites are our policy; what signs the certificate of a foreign broker may be RSA.
        let provider = CryptoProvider { cipher_suites: ours.cipher_suites.clone(), kx_groups, ..default_provider() };
        let version = match version {
            TlsVersion::Tls13 => &TLS13,
            TlsVersion::Tls12 => &TLS12,
        };
        Self {
            files: files.clone(),
            version,
            provider: Arc::new(provider),
            roots: HashMap::new(),
            configs: HashMap::new(),
        }
    }

    /// The configuration of one client. Clients with the same files share one.
    ///
    /// # Errors
    /// [`BenchError::Usage`]: what is wrong with its files.
    pub fn config(&mut self, number: u32, pair: u32) -> Result<Arc<ClientConfig>, BenchError> {
        let path = |pattern: &Pattern| PathBuf::from(pattern.fill(number, pair));
        let paths = [path(&self.files.ca), path(&self.files.cert), path(&self.files.key)];
        if let Some(config) = self.configs.get(&paths) {
            return Ok(Arc::clone(config));
        }
        let [ca, cert, key] = &paths;
        let roots = self.roots(ca)?;
        let credentials =
            Credentials::from_pem(&cert.display().to_string(), &read(cert)?, &key.display().to_string(), &read(key)?);
        let credentials = credentials.map_err(|error| BenchError::Usage(error.to_string()))?;
        let unusable = |error| BenchError::Usage(format!("{} with {}: {error}", cert.display(), key.display()));
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[self.version])
            .map_err(unusable)?
            .with_root_certificates(roots)
            .with_client_auth_cert(credentials.chain, credentials.key)
            .map_err(unusable)?;
        config.resumption = Resumption::disabled();
        let config = Arc::new(config);
        self.configs.insert(paths, Arc::clone(&config));
        Ok(config)
    }

    fn roots(&mut self, ca: &PathBuf) -> Result<Arc<RootCertStore>, BenchError> {
        if let Some(roots) = self.roots.get(ca) {
            return Ok(Arc::clone(roots));
        }
        let name = ca.display().to_string();
        let anchors = certificates_from_pem(&name, &read(ca)?).map_err(|error| BenchError::Usage(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for anchor in anchors {
            roots.add(anchor).map_err(|error| BenchError::Usage(format!("{name}: {error}")))?;
        }
        let roots = Arc::new(roots);
        self.roots.insert(ca.clone(), Arc::clone(&roots));
        Ok(roots)
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, BenchError> {
    fs::read(path).map_err(|error| {
        let hint = "`portreeve device add NAME --kind application --out DIR` makes a bundle; --ca, --cert and --key name other files";
        BenchError::Usage(format!("cannot read {}: {error}; {hint}", path.display()))
    })
}

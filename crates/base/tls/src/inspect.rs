use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use parking_lot::Mutex;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, NamedGroup, ServerConfig, SignatureScheme, SupportedProtocolVersion,
    client::{
        ClientSessionStore, ResolvesClientCert, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs::default_provider, verify_tls12_signature, verify_tls13_signature},
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use crate::{Credentials, Presentable, TlsError, policy::VERSIONS};

/// What a handshake with a server of others showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    /// Its chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// With which scheme it signed the handshake.
    pub scheme: Option<u16>,
    /// Whether it asked for a client certificate.
    pub client_certificate: bool,
    /// Session tickets that it sent.
    pub tickets: u32,
    /// The most early data that a ticket allows, bytes.
    pub early_data_bytes: u32,
}

/// Watches handshakes of one configuration.
#[derive(Debug)]
pub struct Inspector {
    chain: Mutex<Vec<CertificateDer<'static>>>,
    scheme: Mutex<Option<u16>>,
    client_certificate: AtomicBool,
    tickets: AtomicU32,
    early_data_bytes: AtomicU32,
    algorithms: WebPkiSupportedAlgorithms,
    schemes: Vec<SignatureScheme>,
    credentials: Option<Arc<CertifiedKey>>,
}

impl Inspector {
    /// What was seen so far.
    pub fn seen(&self) -> Inspected {
        Inspected {
            chain: self.chain.lock().clone(),
            scheme: *self.scheme.lock(),
            client_certificate: self.client_certificate.load(Ordering::Relaxed),
            tickets: self.tickets.load(Ordering::Relaxed),
            early_data_bytes: self.early_data_bytes.load(Ordering::Relaxed),
        }
    }
}

/// How an auditor connects: to any server, whatever its certificate, which it looks at and does not rely on; with every algorithm
/// that the library has, because what is to be seen must first be spoken. Nothing that is worth protecting is sent to such a
/// server. There is no resumption here either. The server may sign with one of `schemes`; none named is all that can be verified.
///
/// # Errors
/// [`TlsError::KeyMismatch`] and [`TlsError::Unusable`] for `credentials`.
pub fn inspecting_client_config(
    credentials: Option<impl Presentable>,
    schemes: &[u16],
) -> Result<(Arc<ClientConfig>, Arc<Inspector>), TlsError> {
    inspecting_client_config_for(credentials, schemes, VERSIONS)
}

/// The same in some versions only.
///
/// # Errors
/// As [`inspecting_client_config`].
pub fn inspecting_client_config_for(
    credentials: Option<impl Presentable>,
    schemes: &[u16],
    versions: &[&'static SupportedProtocolVersion],
) -> Result<(Arc<ClientConfig>, Arc<Inspector>), TlsError> {
    let provider = Arc::new(default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let schemes = match schemes {
        [] => algorithms.supported_schemes(),
        schemes => schemes.iter().copied().map(SignatureScheme::from).collect(),
    };
    let inspector = Arc::new(Inspector {
        chain: Mutex::default(),
        scheme: Mutex::default(),
        client_certificate: AtomicBool::new(false),
        tickets: AtomicU32::new(0),
        early_data_bytes: AtomicU32::new(0),
        algorithms,
        schemes,
        credentials: credentials.map(Presentable::certify).transpose()?,
    });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(TlsError::Unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&inspector) as _);
    let mut config = builder.with_client_cert_resolver(Arc::clone(&inspector) as _);
    config.resumption = Resumption::store(Arc::clone(&inspector) as _);
    Ok((Arc::new(config), inspector))
}

/// Whether a server's chain leads to one of `anchors`, for a server, at a time.
///
/// # Errors
/// Why it does not, in words.
pub fn check_server_chain(
    chain: &[CertificateDer<'_>],
    anchors: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), String> {
    let (leaf, others) = chain.split_first().ok_or("there is no certificate")?;
    let anchors: Vec<_> = anchors.iter().filter_map(|anchor| webpki::anchor_from_trusted_cert(anchor).ok()).collect();
    let leaf = EndEntityCert::try_from(leaf).map_err(|error| error.to_string())?;
    let algorithms = default_provider().signature_verification_algorithms.all;
    leaf.verify_for_usage(algorithms, &anchors, others, now, KeyUsage::server_auth(), None, None)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// Whether a server's certificate is good for a name (RFC 9525).
///
/// # Errors
/// Why that cannot be said.
pub fn check_server_name(leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<bool, String> {
    let leaf = EndEntityCert::try_from(leaf).map_err(|error| error.to_string())?;
    Ok(leaf.verify_is_valid_for_subject_name(name).is_ok())
}

impl ServerCertVerifier for Inspector {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.chain.lock() =
            std::iter::once(leaf).chain(others).map(|certificate| certificate.clone().into_owned()).collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        *self.scheme.lock() = Some(signed.scheme.into());
        verify_tls12_signature(message, leaf, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        *self.scheme.lock() = Some(signed.scheme.into());
        verify_tls13_signature(message, leaf, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

impl ResolvesClientCert for Inspector {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.client_certificate.store(true, Ordering::Relaxed);
        self.credentials.clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Counts tickets and keeps none.
impl ClientSessionStore for Inspector {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.tickets.fetch_add(1, Ordering::Relaxed);
        self.early_data_bytes.fetch_max(ticket.max_early_data_size(), Ordering::Relaxed);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

/// How an auditor plays the server to a device: with whatever certificate, which the device should look at, and with every
/// algorithm that the library has. Nothing is resumed, so that the device has to look each time.
///
/// # Errors
/// [`TlsError::KeyMismatch`] and [`TlsError::Unusable`] for `credentials`.
pub fn inspecting_server_config(credentials: Credentials) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(VERSIONS)
        .map_err(TlsError::Unusable)?;
    let mut config =
        builder.with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(credentials.certify()?)));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

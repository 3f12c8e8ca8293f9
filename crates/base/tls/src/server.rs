use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, danger::ClientCertVerifier},
    sign::CertifiedKey,
    time_provider::{DefaultTimeProvider, TimeProvider},
};
use rustls_pki_types::CertificateDer;

use crate::{
    ClientKeys, LeafGate, Presentable, TlsError,
    policy::{VERSIONS, provider},
    verifier::ClientVerifier,
};

/// A server to whom it does not matter who asks, because what it is sent proves itself: for witnesses of ledgers. Without
/// resumption, as everywhere.
///
/// # Errors
/// [`TlsError::KeyMismatch`] and [`TlsError::Unusable`].
pub fn witness_server_config(own: impl Presentable, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(TlsError::Unusable)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ServedCertificate(ArcSwap::new(own.certify()?))));
    config.ignore_client_order = true;
    config.require_ems = true;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    config.alpn_protocols = owned(alpn);
    Ok(Arc::new(config))
}

/// The server side of mutual TLS, for any number of listeners.
///
/// A handshake uses the certificate and the anchors that stand when it gets there: replacing them needs no restart and
/// disturbs no session.
#[derive(Debug)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    enrolment: Arc<ServerConfig>,
    verifier: Arc<ClientVerifier>,
    certificate: Arc<ServedCertificate>,
}

impl ServerTls {
    /// Serves `hub` to clients whose certificates one of `anchors` has signed, which prove to hold `keys`, and which `gate` lets in.
    ///
    /// # Errors
    /// [`TlsError::Anchor`]; [`TlsError::KeyMismatch`] and [`TlsError::Unusable`] for `hub`.
    pub fn new(
        anchors: &[CertificateDer<'_>],
        hub: impl Presentable,
        gate: Arc<dyn LeafGate>,
        keys: ClientKeys,
        alpn: &[&[u8]],
    ) -> Result<Self, TlsError> {
        Self::with_time(anchors, hub, gate, keys, alpn, Arc::new(DefaultTimeProvider))
    }

    /// The same, with a clock of the caller's.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_time(
        anchors: &[CertificateDer<'_>],
        hub: impl Presentable,
        gate: Arc<dyn LeafGate>,
        keys: ClientKeys,
        alpn: &[&[u8]],
        time: Arc<dyn TimeProvider>,
    ) -> Result<Self, TlsError> {
        let verifier = Arc::new(ClientVerifier::new(anchors, gate, keys)?);
        let certificate = Arc::new(ServedCertificate(ArcSwap::new(hub.certify()?)));
        let build = |clients: Arc<dyn ClientCertVerifier>, time| {
            let mut config = ServerConfig::builder_with_details(provider(), time)
                .with_protocol_versions(VERSIONS)
                .map_err(TlsError::Unusable)?
                .with_client_cert_verifier(clients)
                .with_cert_resolver(Arc::clone(&certificate) as _);
            // One order of suites for the fleet: ours.
            config.ignore_client_order = true;
            // RFC 7627; SP 800-52r2 §3.5.2. Without it a TLS 1.2 session could be spliced onto another.
            config.require_ems = true;
            // A resumed session skips the verifier, so a revoked device would come back in.
            config.send_tls13_tickets = 0;
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.max_early_data_size = 0;
            config.alpn_protocols = owned(alpn);
            Ok::<_, TlsError>(Arc::new(config))
        };
        let config = build(Arc::clone(&verifier) as _, Arc::clone(&time))?;
        let enrolment = build(Arc::new(verifier.or_strangers()), time)?;
        Ok(Self { config, enrolment, verifier, certificate })
    }

    /// The configuration to accept connections with.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// The same for a listener that speaks another application protocol (RFC 7301); it follows every replacement too.
    #[must_use]
    pub fn config_with_alpn(&self, alpn: &[&[u8]]) -> Arc<ServerConfig> {
        with_alpn(&self.config, alpn)
    }

    /// As [`Self::config_with_alpn`], for the one kind of listener that also hears clients who have no certificate yet.
    /// One of ours is looked at as everywhere; who presents none, or one for which [`Self::is_ours`] does not hold, is
    /// nobody, and has to be treated so.
    #[must_use]
    pub fn enrolment_config(&self, alpn: &[&[u8]]) -> Arc<ServerConfig> {
        with_alpn(&self.enrolment, alpn)
    }

    /// Whether a certificate says that one of the anchors has issued it. That it is so, is established in the handshake.
    #[must_use]
    pub fn is_ours(&self, leaf: &CertificateDer<'_>) -> bool {
        self.verifier.is_ours(leaf).is_ok_and(|is_ours| is_ours)
    }

    /// The chain that is served now, leaf first.
    #[must_use]
    pub fn certificate(&self) -> Vec<CertificateDer<'static>> {
        self.certificate.0.load().cert.clone()
    }

    /// Serves another certificate from the next handshake on. On error the old one stays.
    ///
    /// # Errors
    /// [`TlsError::KeyMismatch`] and [`TlsError::Unusable`].
    pub fn replace_certificate(&self, hub: impl Presentable) -> Result<(), TlsError> {
        self.certificate.0.store(hub.certify()?);
        Ok(())
    }

    /// Trusts other CAs from the next handshake on. On error the old ones stay.
    ///
    /// # Errors
    /// [`TlsError::Anchor`].
    pub fn replace_anchors(&self, anchors: &[CertificateDer<'_>]) -> Result<(), TlsError> {
        self.verifier.replace_anchors(anchors)
    }
}

fn with_alpn(config: &ServerConfig, alpn: &[&[u8]]) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols = owned(alpn);
    Arc::new(config)
}

fn owned(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|protocol| protocol.to_vec()).collect()
}

#[derive(Debug)]
struct ServedCertificate(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for ServedCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

use std::sync::Arc;

use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, WantsVerifier,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    sign::SingleCertAndKey,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::{
    Presentable, TlsError,
    policy::{VERSIONS, outbound_provider, provider},
};

/// How our own clients connect: to servers below `anchors` and under their right name only, with `credentials`, a
/// post-quantum key share first, and no resumption (ISVS-4.1.3); there is no trust store but the one given.
///
/// # Errors
/// [`TlsError::NoAnchor`] and [`TlsError::Anchor`]; [`TlsError::KeyMismatch`] and [`TlsError::Unusable`] for `credentials`.
pub fn client_config(
    anchors: &[CertificateDer<'_>],
    credentials: impl Presentable,
) -> Result<Arc<ClientConfig>, TlsError> {
    let certified = Arc::unwrap_or_clone(credentials.certify()?);
    let builder = builder()?.with_root_certificates(roots(anchors)?);
    Ok(finish(builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))))
}

/// The same for a client that has no certificate yet, and connects to get one.
///
/// # Errors
/// [`TlsError::NoAnchor`] and [`TlsError::Anchor`].
pub fn enrolment_client_config(anchors: &[CertificateDer<'_>]) -> Result<Arc<ClientConfig>, TlsError> {
    Ok(finish(builder()?.with_root_certificates(roots(anchors)?).with_no_client_auth()))
}

/// For the one question that is asked before anything is trusted: which CA certificates a hub has (RFC 7030 §4.1.1).
/// The answer comes from anybody, and is to be compared with a fingerprint that came another way.
///
/// # Errors
/// [`TlsError::Unusable`], should the provider lack what is configured.
pub fn unverified_client_config() -> Result<Arc<ClientConfig>, TlsError> {
    let algorithms = provider().signature_verification_algorithms;
    let anybody = Arc::new(Anybody { algorithms });
    Ok(finish(builder()?.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth()))
}

/// How the hub connects to servers of others, such as those that take alerts: below `anchors` and under their right name
/// only, with `credentials` if they want to see some. The suites are those of [`provider`]; certificates may be signed with RSA
/// of at least 2048 bits too, because most of the world's are (SP 800-131A Rev. 2 §3).
///
/// # Errors
/// [`TlsError::NoAnchor`] and [`TlsError::Anchor`]; [`TlsError::KeyMismatch`] and [`TlsError::Unusable`] for `credentials`.
pub fn outbound_client_config(
    anchors: &[CertificateDer<'_>],
    credentials: Option<impl Presentable>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(outbound_provider())
        .with_protocol_versions(VERSIONS)
        .map_err(TlsError::Unusable)?
        .with_root_certificates(roots(anchors)?);
    let Some(credentials) = credentials else { return Ok(finish(builder.with_no_client_auth())) };
    let certified = Arc::unwrap_or_clone(credentials.certify()?);
    Ok(finish(builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))))
}

/// The trust anchors that the operating system keeps, without those that are none.
///
/// # Errors
/// [`TlsError::NoAnchor`], if it keeps none that can be read.
pub fn system_anchors() -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let mut anchors = rustls_native_certs::load_native_certs().certs;
    anchors.retain(|anchor| roots(std::slice::from_ref(anchor)).is_ok());
    if anchors.is_empty() { Err(TlsError::NoAnchor) } else { Ok(anchors) }
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TlsError> {
    ClientConfig::builder_with_provider(provider()).with_protocol_versions(VERSIONS).map_err(TlsError::Unusable)
}

fn roots(anchors: &[CertificateDer<'_>]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (index, anchor) in anchors.iter().enumerate() {
        roots.add(anchor.clone().into_owned()).map_err(|_| TlsError::Anchor { index })?;
    }
    if roots.is_empty() { Err(TlsError::NoAnchor) } else { Ok(roots) }
}

fn finish(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.require_ems = true;
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// Takes any server for what it says it is, as long as it holds its own key.
#[derive(Debug)]
struct Anybody {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

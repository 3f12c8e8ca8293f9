use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, client::Resumption, sign::SingleCertAndKey};
use rustls_pki_types::CertificateDer;

use crate::{
    Credentials, TlsError,
    policy::{VERSIONS, provider},
};

/// How our own clients connect: to servers below `anchors` and under their right name only, with `credentials`, a
/// post-quantum key share first, and no resumption (ISVS-4.1.3); there is no trust store but the one given.
///
/// # Errors
/// [`TlsError::NoAnchor`] and [`TlsError::Anchor`]; [`TlsError::KeyMismatch`] and [`TlsError::Unusable`] for `credentials`.
pub fn client_config(anchors: &[CertificateDer<'_>], credentials: Credentials) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for (index, anchor) in anchors.iter().enumerate() {
        roots.add(anchor.clone().into_owned()).map_err(|_| TlsError::Anchor { index })?;
    }
    if roots.is_empty() {
        return Err(TlsError::NoAnchor);
    }
    let certified = Arc::unwrap_or_clone(credentials.certify()?);
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(TlsError::Unusable)?
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.require_ems = true;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

//! A ClientHello to replay, and the configuration of a client without certificate.

use std::sync::Arc;

use portreeve_tls::{certificates_from_pem, provider};
use rustls::{ClientConfig, ClientConnection, RootCertStore, client::Resumption};
use rustls_pki_types::ServerName;

use portreeve_bench::BenchError;

/// The bytes of a real ClientHello, key share and all.
pub(crate) fn client_hello(ca_path: &str, name: &ServerName<'static>) -> Result<Vec<u8>, BenchError> {
    let mut tls = ClientConnection::new(anonymous(ca_path)?, name.clone()).map_err(usage)?;
    let mut bytes = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut bytes).map_err(usage)?;
    }
    Ok(bytes)
}

/// A client that trusts the hub and has nothing to show.
pub(crate) fn anonymous(ca_path: &str) -> Result<Arc<ClientConfig>, BenchError> {
    let pem = std::fs::read(ca_path).map_err(|error| BenchError::Usage(format!("cannot read {ca_path}: {error}")))?;
    let mut roots = RootCertStore::empty();
    for anchor in certificates_from_pem(ca_path, &pem).map_err(usage)? {
        roots.add(anchor).map_err(usage)?;
    }
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(usage)?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn usage(error: impl std::fmt::Display) -> BenchError {
    BenchError::Usage(error.to_string())
}

//! A connection to the server of a channel.

use std::{
    fmt,
    time::{Duration, Instant},
};

use portreeve_alert::{Failure, Peer, Server};
use portreeve_tls::{Credentials, certificates_from_pem, outbound_client_config, system_anchors};
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    files::{self, OpenError},
    transient,
};

/// Longest wait for a TCP connection; the deadline of a send may end before.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Where a channel connects to, and whom it expects there.
pub(crate) struct Connector {
    server: Server,
    name: ServerName<'static>,
    tls: TlsConnector,
}

impl Connector {
    pub(crate) fn open(server: &Server, peer: &Peer) -> Result<Self, OpenError> {
        let name = ServerName::try_from(server.host.clone()).map_err(|_| OpenError::Host(server.host.clone()))?;
        let anchors = match &peer.ca_file {
            Some(path) => certificates_from_pem(&path.display().to_string(), &files::certificates(path)?)?,
            None => system_anchors()?,
        };
        let credentials = match &peer.client {
            Some(client) => {
                let (chain, key) = (files::certificates(&client.certificate_file)?, files::key(&client.key_file)?);
                let names = [&client.certificate_file, &client.key_file].map(|path| path.display().to_string());
                Some(Credentials::from_pem(&names[0], &chain, &names[1], &key)?)
            }
            None => None,
        };
        let tls = TlsConnector::from(outbound_client_config(&anchors, credentials)?);
        Ok(Self { server: server.clone(), name, tls })
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    pub(crate) async fn tcp(&self) -> Result<TcpStream, Failure> {
        let connect = TcpStream::connect((self.server.host.as_str(), self.server.port));
        match timeout(CONNECT_WITHIN, connect).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(transient(&format!("cannot reach {}: {error}", self.server))),
            Err(_) => Err(transient(&format!("cannot reach {}: no answer", self.server))),
        }
    }

    pub(crate) async fn secure(&self, tcp: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
        let secured = self.tls.connect(self.name.clone(), tcp).await;
        secured.map_err(|error| transient(&format!("no TLS with {}: {error}", self.server)))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Runs one attempt on this thread, up to its deadline.
pub(crate) fn within<T>(deadline: Instant, attempt: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| transient(&format!("cannot start: {error}")))?;
    let attempt = async { tokio::time::timeout_at(deadline.into(), attempt).await };
    let outcome = runtime.block_on(attempt);
    // The resolver of names cannot be interrupted; its thread ends when it gives up.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|_| Err(transient("the time for this attempt is over")))
}

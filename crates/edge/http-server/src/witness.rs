//! A witness of ledgers over HTTPS: `POST /add-checkpoint` of C2SP tlog-witness; a program of its own, or a hub at
//! `/witness` of its device HTTPS.
//!
//! Who asks need not show who it is: a head proves itself by its ledger's signature.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use http_body_util::{BodyExt as _, Limited};
use hyper::{Method, Request, StatusCode, body::Incoming};
use parking_lot::Mutex;
use portreeve_keys::SigningKey;
use portreeve_ledger::witness::Refusal;
use portreeve_ledger_files::{Folder, Witness, WitnessError};
use portreeve_tls::{Credentials, TlsError, witness_server_config};
use portreeve_types::{Bucket, UnixMillis, source_of};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    exchange::{Answer, content, converse, rest_after},
    shares::Shares,
};

/// Where heads are posted.
const PATH: &str = "/add-checkpoint";
/// Where they are posted at a hub.
pub(crate) const HUB_PATH: &str = "/witness/add-checkpoint";
/// Bytes of a request: the largest note, and a proof before it.
const BODY_BYTES_MAX: usize = 72 << 10;
/// Connections at once, and of one source.
const CONNECTIONS_MAX: usize = 256;
const CONNECTIONS_PER_SOURCE_MAX: usize = 8;
/// Longest handshake, and longest conversation.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
const LIFETIME: Duration = Duration::from_secs(30);
/// Requests of one source: on average a second, and at once.
const REQUESTS_PER_S: u64 = 2;
const REQUESTS_BURST: u64 = 20;
/// Sources whose requests are counted; with so many, those that have not asked for long are forgotten.
const SOURCES_MAX: usize = 4096;
/// What a size is answered as.
const SIZE_TYPE: &str = "text/x.tlog.size";
const NOTHING_HERE: &str = "there is nothing here";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// A witness with its door, bound.
pub struct WitnessServer {
    listener: TcpListener,
    shared: Arc<Shared>,
    connections: Arc<Shares<IpAddr>>,
    tls: TlsAcceptor,
}

#[derive(Debug)]
struct Shared {
    /// A head is compared, kept and signed in one go: of two that come together, one is the later.
    witness: Mutex<Witness<Folder>>,
    key: Arc<dyn SigningKey>,
    rates: Rates,
}

impl std::fmt::Debug for WitnessServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WitnessServer").field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// How much each source has asked.
#[derive(Debug)]
pub(crate) struct Rates {
    started: Instant,
    requests: Mutex<HashMap<IpAddr, Bucket>>,
}

impl WitnessServer {
    /// Binds the door, within the runtime that is going to serve it.
    ///
    /// # Errors
    /// The address, or certificate and key, cannot be used.
    pub async fn bind(
        address: SocketAddr,
        credentials: Credentials,
        witness: Witness<Folder>,
        key: Arc<dyn SigningKey>,
    ) -> io::Result<Self> {
        let tls = witness_server_config(credentials, &[b"http/1.1"]);
        let tls = tls.map_err(|error: TlsError| io::Error::other(error.to_string()))?;
        let shared = Shared { witness: Mutex::new(witness), key, rates: Rates::default() };
        let connections = Shares::new(CONNECTIONS_PER_SOURCE_MAX);
        Ok(Self { listener: TcpListener::bind(address).await?, shared: Arc::new(shared), connections, tls: tls.into() })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves for ever.
    pub async fn serve(self) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        // The semaphore is never closed.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            match self.listener.accept().await {
                Ok((stream, peer)) => self.attend(stream, source_of(peer.ip()), place),
                Err(error) => rest_after(&error).await,
            }
        }
    }

    fn attend(&self, stream: TcpStream, source: IpAddr, place: OwnedSemaphorePermit) {
        let Some(share) = self.connections.take(source) else { return };
        let (shared, tls) = (Arc::clone(&self.shared), self.tls.clone());
        tokio::spawn(async move {
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_MAX, tls.accept(stream)).await {
                converse(stream, LIFETIME, |request| {
                    let witness = Arc::clone(&shared);
                    answer(&shared.rates, source, request, PATH, move |body| Some(witness.add(body)))
                })
                .await;
            }
            drop((share, place));
        });
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self { started: Instant::now(), requests: Mutex::default() }
    }
}

impl Rates {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn may_ask(&self, source: IpAddr, now_ms: u64) -> bool {
        let mut requests = self.requests.lock();
        if requests.len() >= SOURCES_MAX {
            requests.retain(|_, bucket| !bucket.is_full(now_ms));
        }
        if requests.len() >= SOURCES_MAX && !requests.contains_key(&source) {
            return false;
        }
        let fresh = || Bucket::new(REQUESTS_PER_S, REQUESTS_BURST, now_ms);
        requests.entry(source).or_insert_with(fresh).take(1, now_ms)
    }
}

/// Answers a request of this source. `add` considers a head, or says that none are witnessed here; heads are posted at `path`.
pub(crate) async fn answer(
    rates: &Rates,
    source: IpAddr,
    request: Request<Incoming>,
    path: &str,
    add: impl FnOnce(&[u8]) -> Option<Result<String, WitnessError>> + Send + 'static,
) -> Answer {
    let say = |status, text: &str| content(status, TEXT_TYPE, format!("{text}\n"));
    if !rates.may_ask(source, rates.now_ms()) {
        return say(StatusCode::TOO_MANY_REQUESTS, "too many requests");
    }
    if request.uri().path() != path {
        return say(StatusCode::NOT_FOUND, NOTHING_HERE);
    }
    if request.method() != Method::POST {
        return say(StatusCode::METHOD_NOT_ALLOWED, "heads are posted");
    }
    let Ok(body) = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await else {
        return say(StatusCode::PAYLOAD_TOO_LARGE, "a head and its proof are shorter");
    };
    // It waits for the disk.
    let added = tokio::task::spawn_blocking(move || add(&body.to_bytes())).await;
    match added {
        Ok(Some(Ok(line))) => content(StatusCode::OK, TEXT_TYPE, line),
        Ok(Some(Err(WitnessError::Refused(refusal)))) => refused(source, &refusal),
        Ok(Some(Err(error))) => {
            tracing::error!(%error, "a head was not cosigned");
            say(StatusCode::SERVICE_UNAVAILABLE, "try again later")
        }
        Ok(None) => say(StatusCode::NOT_FOUND, NOTHING_HERE),
        Err(_) => say(StatusCode::INTERNAL_SERVER_ERROR, "the witness failed"),
    }
}

impl Shared {
    fn add(&self, body: &[u8]) -> Result<String, WitnessError> {
        let seconds = UnixMillis::from(SystemTime::now()).seconds();
        self.witness.lock().add(body, seconds, |message| {
            let signature = self.key.sign(message).map_err(|error| error.to_string())?;
            signature.try_into().map_err(|_| "not an Ed25519 key".to_owned())
        })
    }
}

fn refused(source: IpAddr, refusal: &Refusal) -> Answer {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    match refusal {
        Refusal::Fork { .. } => tracing::error!(%source, "FORK: {refusal}; it is kept in the folder `forks`"),
        Refusal::Inconsistent => tracing::warn!(%source, "{refusal}"),
        _ => tracing::debug!(%source, "{refusal}"),
    }
    match refusal {
        Refusal::Conflict { size } | Refusal::Fork { size } => content(status, SIZE_TYPE, format!("{size}\n")),
        _ => content(status, TEXT_TYPE, format!("{refusal}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_asks_much_waits_and_others_do_not() {
        let rates = Rates::default();
        let [one, other] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        let asked = (0..100).filter(|_| rates.may_ask(one, 0)).count();
        assert_eq!(asked as u64, REQUESTS_BURST);
        assert!(rates.may_ask(other, 0) && rates.may_ask(one, 1000));
        for number in 0..u32::try_from(2 * SOURCES_MAX).unwrap() {
            let _ = rates.may_ask(std::net::Ipv4Addr::from_bits(number).into(), 1000);
        }
        assert!(rates.requests.lock().len() <= SOURCES_MAX, "what is counted is bounded");
        assert!(rates.may_ask(one, 60_000), "and those of before are forgotten");
    }
}

//! Device HTTPS: MQTT over WebSocket at `/mqtt`, enrolment ([`crate::est`]) and revocation ([`crate::revocation`]), and for other
//! hubs' ledgers a witness ([`crate::witness`]); everything else is not found.
//!
//! Who has no certificate yet is heard here, and gets to enrolment, revocation and the witness and nowhere else.

use std::{cell::Cell, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::Either;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use portreeve_config::Config;
use portreeve_hub::{Connection, Hub};
use portreeve_mqtt_server::{Admission, Arrival, Arrived, Clients, TlsDoor, drive, now};
use portreeve_types::source_of;
use tokio::{
    net::TcpListener,
    task::{LocalSet, spawn_local},
};
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    StartError, est,
    exchange::{Answer, converse, error},
    frames::{FrameRates, Frames},
    revocation,
    witness::{self, Rates},
};

/// Longest conversation before the upgrade to WebSocket.
const LIFETIME: Duration = Duration::from_secs(30);
/// The smallest frame that must be possible, whatever the largest packet: several small packets share one.
const MESSAGE_BYTES_MIN: usize = 64 * 1024;
/// Where MQTT over WebSocket is.
const MQTT_PATH: &str = "/mqtt";
/// The WebSocket subprotocol [MQTT-6.0.0-3].
const SUBPROTOCOL: &str = "mqtt";

/// The TLS door for HTTP.
pub(crate) struct DeviceDoor {
    hub: Arc<Hub>,
    door: TlsDoor,
    listener: TcpListener,
    address: SocketAddr,
}

impl DeviceDoor {
    /// Binds `device_https.listen`, within the runtime that is going to serve it.
    pub(crate) fn open(hub: Arc<Hub>, admission: &Admission) -> Result<Self, StartError> {
        let address = hub.config().device_https.listen;
        let open = || -> io::Result<_> {
            let door = TlsDoor::bind(&hub, admission, address, &[b"http/1.1"], Clients::OrStrangers, "websocket")?;
            Ok((door.listener()?, door.local_addr()?, door))
        };
        let failed = |source| StartError::Listen { key: "device_https.listen", address, source };
        let (listener, address, door) = open().map_err(failed)?;
        Ok(Self { hub, door, listener, address })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `no_more`, then waits for those connected to go, at most until `end`.
    pub(crate) async fn serve(self, no_more: &CancellationToken, end: &CancellationToken) {
        LocalSet::new().run_until(self.serve_here(no_more, end)).await;
    }

    async fn serve_here(self, no_more: &CancellationToken, end: &CancellationToken) {
        let tasks = TaskTracker::new();
        let rates = Rc::new(Rates::default());
        loop {
            let arrival = tokio::select! {
                biased;
                () = no_more.cancelled() => break,
                arrival = self.door.accept(&self.listener) => arrival,
            };
            let Ok(arrival) = arrival else { break };
            spawn_local(tasks.track_future(attend(Arc::clone(&self.hub), Rc::clone(&rates), tasks.clone(), arrival)));
        }
        drop((self.listener, self.door));
        tasks.close();
        tokio::select! {
            () = tasks.wait() => {}
            () = end.cancelled() => {}
        }
    }
}

/// One device, from its TLS handshake to the answer or the upgrade.
async fn attend(hub: Arc<Hub>, rates: Rc<Rates>, tasks: TaskTracker, arrival: Arrival) {
    let Some(Arrived { stream, identity, peer, slot }) = arrival.handshake().await else { return };
    let is_stranger = identity.is_none();
    let applicant = hub.presented(identity.clone(), stream.peer_chain(), peer.address, now().wall);
    let source = source_of(peer.address);
    let evicted = slot.evicted();
    // The first upgrade takes who the peer is; HTTP/1.1 knows no second one.
    let visitor = Cell::new(Some((identity, peer, slot)));
    let conversation = converse(stream, LIFETIME, |mut request| {
        if est::is_meant(request.uri().path()) {
            return Either::Left(Either::Left(est::answer(Arc::clone(&hub), applicant.clone(), request)));
        }
        if revocation::is_meant(request.uri().path()) {
            return Either::Left(Either::Right(revocation::answer(Arc::clone(&hub), request)));
        }
        if request.uri().path() == witness::HUB_PATH {
            let (hub, rates) = (Arc::clone(&hub), Rc::clone(&rates));
            return Either::Right(Either::Left(async move {
                let cosign = move |body: &[u8]| hub.cosign(body, now().wall);
                witness::answer(&rates, source, request, witness::HUB_PATH, cosign).await
            }));
        }
        // Whatever else there is or is not, strangers do not learn it.
        if is_stranger {
            let needed = error(StatusCode::UNAUTHORIZED, "a client certificate is needed here");
            return Either::Right(Either::Right(std::future::ready(needed)));
        }
        let answer = match switch(&hub.config(), &request) {
            Ok(answer) => {
                if let Some((Some(identity), peer, slot)) = visitor.take() {
                    let upgrade = hyper::upgrade::on(&mut request);
                    let hub = Arc::clone(&hub);
                    spawn_local(tasks.track_future(async move {
                        // A peer that vanished before the answer reached it.
                        let Ok(upgraded) = upgrade.await else { return };
                        let config = hub.config();
                        let message_bytes_max = config.limits.packet_bytes.max(MESSAGE_BYTES_MIN);
                        let rates = FrameRates::new(identity.kind(), &config.limits, now().mono_ms);
                        drop(config);
                        let frames = Frames::accept(TokioIo::new(upgraded), message_bytes_max, rates).await;
                        let connection = Connection::new(Arc::clone(&hub), identity, peer, now());
                        drive(frames, connection, hub).await;
                        drop(slot);
                    }));
                }
                answer
            }
            Err(refusal) => *refusal,
        };
        Either::Right(Either::Right(std::future::ready(answer)))
    });
    tokio::select! {
        () = conversation => {}
        // Only a stranger's: his place is needed for somebody else's handshake.
        () = evicted.cancelled() => {}
    }
}

/// The answer that switches to WebSocket, or the one that says why not.
fn switch(config: &Config, request: &Request<Incoming>) -> Result<Answer, Box<Answer>> {
    let refuse = |status, text: &str| Box::new(error(status, text));
    if request.uri().path() != MQTT_PATH || !config.device_https.websocket {
        return Err(refuse(StatusCode::NOT_FOUND, "there is nothing here"));
    }
    if request.method() != Method::GET {
        let mut answer = refuse(StatusCode::METHOD_NOT_ALLOWED, "a WebSocket begins with GET");
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return Err(answer);
    }
    let headers = request.headers();
    if !may_come_from(headers, &config.device_https.websocket_origins) {
        return Err(refuse(StatusCode::FORBIDDEN, "this web origin is not listed"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version != "13") {
        let mut answer = refuse(StatusCode::UPGRADE_REQUIRED, "WebSocket version 13 is spoken here");
        answer.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Err(answer);
    }
    if !offers_mqtt(headers) {
        return Err(refuse(StatusCode::BAD_REQUEST, "the WebSocket subprotocol mqtt is needed"));
    }
    let mut answer = create_response_with_body(request, || Full::new(Bytes::new()))
        .map_err(|why| refuse(StatusCode::BAD_REQUEST, &format!("not a WebSocket request: {why}")))?;
    answer.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    Ok(answer)
}

fn offers_mqtt(headers: &HeaderMap) -> bool {
    let offers = texts(headers, &header::SEC_WEBSOCKET_PROTOCOL).flat_map(|text| text.split(','));
    offers.map(str::trim).any(|offer| offer == SUBPROTOCOL)
}

/// A browser presents its user's certificate on behalf of any page, and names the page's origin: only listed ones, and
/// our own, are welcome. Programs name none.
fn may_come_from(headers: &HeaderMap, listed: &[String]) -> bool {
    let host = texts(headers, &header::HOST).next();
    texts(headers, &header::ORIGIN).all(|origin| {
        let own = origin.split_once("://").map(|(_, authority)| authority);
        listed.iter().any(|known| known.eq_ignore_ascii_case(origin))
            || own.zip(host).is_some_and(|(own, host)| own.eq_ignore_ascii_case(host))
    })
}

/// Every value of a header; one that is not text counts as a text that nothing equals.
fn texts<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("\u{fffd}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    /// [MQTT-6.0.0-3]
    #[test]
    fn the_subprotocol_is_found_among_others_and_in_any_header() {
        let offers = |values: &[&str]| {
            let mut all = HeaderMap::new();
            for value in values {
                all.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(value).unwrap());
            }
            offers_mqtt(&all)
        };
        assert!(offers(&["mqtt"]));
        assert!(offers(&["mqttv3.1, mqtt"]));
        assert!(offers(&["mqttv3.1", " mqtt "]));
        assert!(!offers(&[]));
        assert!(!offers(&["mqttv3.1"]));
    }

    #[test]
    fn a_page_of_another_origin_does_not_get_in() {
        let from = |origin: &str, listed: &[&str]| {
            let headers = headers(&[(header::HOST, "hub.example.org:8444"), (header::ORIGIN, origin)]);
            may_come_from(&headers, &listed.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
        };
        assert!(from("https://app.example.org", &["https://app.example.org"]));
        assert!(from("https://hub.example.org:8444", &[]));
        assert!(!from("https://evil.example", &[]));
        assert!(!from("https://evil.example", &["https://app.example.org"]));
        assert!(!from("https://hub.example.org", &[]), "another port is another origin");
        assert!(!from("null", &[]), "what a sandboxed page is called");
        assert!(may_come_from(&HeaderMap::new(), &[]), "programs name no origin");
    }
}

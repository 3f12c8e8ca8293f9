//! The client side of EST (RFC 7030): one connection, one question.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER},
};
use hyper_util::rt::TokioIo;
use portreeve_pki::{
    ChallengeAnswer, EST_ANSWER_BYTES_MAX, EST_NAME_HEADER, Question, TPM_CHALLENGE_PATH, leaf_facts,
    read_est_certificates,
};
use portreeve_types::KeyHash;
use rustls::{AlertDescription, ClientConfig};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Longest wait for connection and handshake.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);
/// Longest wait for an answer: the hub may have a queue.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);
const PORT: u16 = 8444;

/// Where the hub's device HTTPS listener is, and who has to answer there.
#[derive(Clone, Debug)]
pub(super) struct Address {
    host: String,
    port: u16,
    /// The keys that it may show; empty while none are known.
    pins: Vec<KeyHash>,
}

impl Address {
    /// `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || Failure::Usage(format!("--hub {text}: HOST or HOST:PORT is expected"));
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
                (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(wrong)?) })
            }
            None => match text.rsplit_once(':') {
                Some((host, port)) if !host.contains(':') => (host, Some(port)),
                _ => (text, None),
            },
        };
        let port = port.map_or(Ok(PORT), str::parse).map_err(|_| wrong())?;
        if host.is_empty() { Err(wrong()) } else { Ok(Self { host: host.to_owned(), port, pins: Vec::new() }) }
    }
}

impl Address {
    /// The same, answered by one of these keys only (ISVS-4.1.6).
    pub(super) fn pinned(self, pins: Vec<KeyHash>) -> Self {
        Self { pins, ..self }
    }

    fn expect_pin(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<(), Failure> {
        let shown = chain.and_then(|chain| leaf_facts(chain.first()?).ok()).map(|facts| facts.key);
        if self.pins.is_empty() || shown.is_some_and(|shown| self.pins.contains(&shown)) {
            return Ok(());
        }
        Err(Failure::Refused(format!(
            "what answers at {self} has a certificate of the hub, and not its key; nothing was asked of it. If the hub's keys were \
             lost, begin anew with a code: `portreeve device code NAME` on the hub, and `device enrol` into another directory"
        )))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// What came of a request for a certificate.
pub(super) enum Reply {
    /// The certificate, and the name that it stands for, if the hub told.
    Issued(CertificateDer<'static>, Option<String>),
    /// Somebody has to consent first; the same may be asked again then.
    Waiting(Duration),
    /// The same may be asked again then.
    Later(Duration),
}

/// Asks which CA certificates the hub has.
pub(super) fn ca_certificates(
    hub: &Address,
    config: Arc<ClientConfig>,
) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let Whole { status, body, .. } = ask(hub, config, Method::GET, "cacerts", None, Vec::new())?;
    if status != StatusCode::OK {
        return Err(Failure::Refused(format!(
            "{hub} does not say which CA it has ({status}): is enrolment served there?"
        )));
    }
    read_est_certificates(&body).map_err(|error| strange(hub, &error))
}

/// Asks what to trust. Nothing, if this hub does not say.
pub(super) fn trust_bundle(hub: &Address, config: Arc<ClientConfig>) -> Result<Option<Bytes>, Failure> {
    let Whole { status, body, .. } = ask_at(hub, config, Method::GET, "/pki/trust", None, Vec::new())?;
    match status {
        StatusCode::OK => Ok(Some(body)),
        StatusCode::NOT_FOUND => Ok(None),
        other => Err(strange(hub, &other)),
    }
}

/// Asks for a first certificate, or a new one, by what the connection and the request show.
pub(super) fn enrol_vouched(hub: &Address, config: Arc<ClientConfig>, csr: &[u8]) -> Result<Reply, Failure> {
    let reply = ask(hub, config, Method::POST, "simpleenroll", None, encoded(csr))?;
    read_reply(hub, &reply, || UNVOUCHED.to_owned())
}

const UNVOUCHED: &str = "nobody whom the hub trusts vouches for this device; its log tells what was missing, and \
                         `portreeve enrolment group list` there whom it trusts";

/// Asks for a challenge that this machine's TPM can open; or hears when to come again.
pub(super) fn tpm_challenge(
    hub: &Address,
    config: Arc<ClientConfig>,
    question: &Question,
) -> Result<Result<ChallengeAnswer, Duration>, Failure> {
    let reply = ask_at(hub, config, Method::POST, TPM_CHALLENGE_PATH, None, question.to_json())?;
    match reply.status {
        StatusCode::OK => {
            ChallengeAnswer::read(&reply.body).map(Ok).ok_or_else(|| strange(hub, &"its challenge is none"))
        }
        StatusCode::SERVICE_UNAVAILABLE => Ok(Err(reply.later())),
        StatusCode::UNAUTHORIZED => Err(Failure::Refused(UNVOUCHED.into())),
        StatusCode::BAD_REQUEST => {
            Err(Failure::Refused("the hub refused the question; its log tells the reason".into()))
        }
        other => Err(strange(hub, &other)),
    }
}

/// Asks for a first certificate, or a new one, with what the TPM has made of a challenge.
pub(super) fn enrol_activated(
    hub: &Address,
    config: Arc<ClientConfig>,
    token: &str,
    csr: &[u8],
) -> Result<Reply, Failure> {
    let authorization = Zeroizing::new(format!("Bearer {token}"));
    let reply = ask(hub, config, Method::POST, "simpleenroll", Some(&authorization), encoded(csr))?;
    read_reply(hub, &reply, || UNVOUCHED.to_owned())
}

/// Asks for a first certificate, or a new one, with a one-time code.
pub(super) fn enrol(
    hub: &Address,
    config: Arc<ClientConfig>,
    name: &str,
    code: &str,
    csr: &[u8],
) -> Result<Reply, Failure> {
    let credentials = Zeroizing::new(format!("{name}:{code}"));
    let authorization = Zeroizing::new(format!("Basic {}", STANDARD.encode(credentials.as_bytes())));
    let reply = ask(hub, config, Method::POST, "simpleenroll", Some(&authorization), encoded(csr))?;
    read_reply(hub, &reply, || {
        format!(
            "the code is not accepted for {name}: it is wrong, was used, or its time is over; `portreeve device code {name}` on the hub makes another"
        )
    })
}

/// Asks for the next certificate with the present one, which `config` presents.
pub(super) fn renew(hub: &Address, config: Arc<ClientConfig>, csr: &[u8]) -> Result<Reply, Failure> {
    let reply = ask(hub, config, Method::POST, "simplereenroll", None, encoded(csr))?;
    read_reply(hub, &reply, || "the hub does not accept the present certificate".to_owned())
}

fn encoded(csr: &[u8]) -> Vec<u8> {
    STANDARD.encode(csr).into_bytes()
}

/// An answer that was read to its end.
struct Whole {
    status: StatusCode,
    retry_after: Option<Duration>,
    name: Option<String>,
    body: Bytes,
}

impl Whole {
    /// When to come again.
    fn later(&self) -> Duration {
        self.retry_after.unwrap_or(Duration::from_secs(60))
    }
}

fn read_reply(hub: &Address, reply: &Whole, not_entitled: impl Fn() -> String) -> Result<Reply, Failure> {
    match reply.status {
        StatusCode::OK => {
            let mut certificates = read_est_certificates(&reply.body).map_err(|error| strange(hub, &error))?;
            match (certificates.pop(), certificates.is_empty()) {
                (Some(leaf), true) => Ok(Reply::Issued(leaf, reply.name.clone())),
                _ => Err(strange(hub, &"it sent several certificates")),
            }
        }
        StatusCode::ACCEPTED => Ok(Reply::Waiting(reply.later())),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Ok(Reply::Later(reply.later())),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failure::Refused(not_entitled())),
        StatusCode::BAD_REQUEST => {
            Err(Failure::Refused("the hub refused the request; its log tells the reason".into()))
        }
        other => Err(strange(hub, &other)),
    }
}

fn strange(hub: &Address, why: &dyn std::fmt::Display) -> Failure {
    Failure::Unreachable(format!("{hub} does not answer as an enrolment service does: {why}"))
}

fn ask(
    hub: &Address,
    config: Arc<ClientConfig>,
    method: Method,
    operation: &str,
    authorization: Option<&str>,
    body: Vec<u8>,
) -> Result<Whole, Failure> {
    ask_at(hub, config, method, &format!("/.well-known/est/{operation}"), authorization, body)
}

fn ask_at(
    hub: &Address,
    config: Arc<ClientConfig>,
    method: Method,
    path: &str,
    authorization: Option<&str>,
    body: Vec<u8>,
) -> Result<Whole, Failure> {
    let mut request = Request::builder().method(method).uri(path).header(HOST, hub.to_string());
    if path == TPM_CHALLENGE_PATH {
        request = request.header(CONTENT_TYPE, "application/json");
    } else if !body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/pkcs10").header("content-transfer-encoding", "base64");
    }
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|error| Failure::Usage(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Unreachable(format!("cannot start: {error}")))?;
    runtime.block_on(exchange(hub, config, request))
}

async fn exchange(hub: &Address, config: Arc<ClientConfig>, request: Request<Full<Bytes>>) -> Result<Whole, Failure> {
    let unreachable = |why: &dyn std::fmt::Display| {
        Failure::Unreachable(format!("cannot reach the hub at {hub}: {why}; does it run there? (--hub)"))
    };
    let name = ServerName::try_from(hub.host.clone())
        .map_err(|_| Failure::Usage(format!("--hub {hub}: that is no host name or address")))?;
    let connect = async {
        let tcp = TcpStream::connect((hub.host.as_str(), hub.port)).await.map_err(|error| unreachable(&error))?;
        TlsConnector::from(config).connect(name, tcp).await.map_err(|error| not_trusted(hub, &error))
    };
    let stream = timeout(CONNECT_PATIENCE, connect).await.map_err(|_| unreachable(&"no answer"))??;
    hub.expect_pin(stream.get_ref().1.peer_certificates())?;
    let answer = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the runtime.
        tokio::spawn(connection);
        sender.send_request(request).await
    };
    let answer = timeout(ANSWER_PATIENCE, answer).await.map_err(|_| unreachable(&"no answer to the request"))?;
    let answer = answer.map_err(|error| broken_off(hub, &error))?;
    let status = answer.status();
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let name = answer.headers().get(EST_NAME_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = timeout(ANSWER_PATIENCE, Limited::new(answer.into_body(), EST_ANSWER_BYTES_MAX).collect()).await;
    let body = body.map_err(|_| unreachable(&"the answer does not end"))?.map_err(|error| strange(hub, &error))?;
    Ok(Whole { status, retry_after: retry_after.map(Duration::from_secs), name, body: body.to_bytes() })
}

/// TLS 1.3 tells a client that its certificate is refused only after the client took the handshake for done.
fn broken_off(hub: &Address, error: &hyper::Error) -> Failure {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return not_trusted(hub, io);
        }
        source = cause.source();
    }
    Failure::Unreachable(format!("{hub} broke off: {error}"))
}

fn not_trusted(hub: &Address, error: &std::io::Error) -> Failure {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::AlertReceived(alert)) if *alert != AlertDescription::CloseNotify => {
            Failure::Refused(format!(
                "{hub} does not accept the certificate that was shown ({alert:?}): has it ended, or was it revoked? A device \
             without a certificate in force needs a new code: `portreeve device code NAME` on the hub"
            ))
        }
        Some(rustls::Error::InvalidCertificate(why)) => {
            Failure::Refused(format!("what answers at {hub} is not the expected hub ({why:?}); nothing was sent to it"))
        }
        _ => Failure::Unreachable(format!("cannot talk to {hub}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_perhaps_a_port() {
        let read = |text: &str| Address::parse(text).ok().map(|address| address.to_string());
        assert_eq!(read("hub.example.org").as_deref(), Some("hub.example.org:8444"));
        assert_eq!(read("hub:9").as_deref(), Some("hub:9"));
        assert_eq!(read("192.0.2.1:443").as_deref(), Some("192.0.2.1:443"));
        assert_eq!(read("::1").as_deref(), Some("[::1]:8444"));
        assert_eq!(read("[::1]").as_deref(), Some("[::1]:8444"));
        assert_eq!(read("[::1]:9").as_deref(), Some("[::1]:9"));
        for bad in ["", ":9", "hub:x", "hub:65536", "[::1", "[::1]9:"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}

//! A client of HTTP/1.1 that expects nothing of its server: one request a connection, within a [`Dialer`]'s limits.

use std::pin::pin;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Method, Request, Response,
    body::Incoming,
    client::conn::http1::{Builder, SendRequest},
    header::{CONNECTION, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use portreeve_tls::{Credentials, inspecting_client_config};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::dial::{Connection, Dialer, Gap, Turn};

/// Longest head of an answer, bytes, and lines in it.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 100;
/// How much of a body is read, bytes; the rest is left.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Redirects that are followed.
const HOPS_MAX: u8 = 5;

/// An origin (RFC 6454).
#[derive(Clone, Debug)]
pub struct Site<'a> {
    /// Who opens connections to it.
    pub dialer: &'a Dialer,
    /// Its name for TLS; nothing, where it speaks in clear. Whoever answers is spoken to, whatever certificate he has.
    pub tls: Option<ServerName<'static>>,
    /// Its host as it stands in URLs, without the port.
    pub host: String,
}

/// A header that a request has.
pub type Header = (HeaderName, HeaderValue);

/// A header whose value is secret, if they can be one.
#[must_use]
pub fn secret_header(name: &str, value: &str) -> Option<Header> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some((name.parse().ok()?, value))
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: &'a str,
    pub(crate) headers: Vec<Header>,
    pub(crate) body: Bytes,
}

impl<'a> Ask<'a> {
    /// Asks for a page.
    pub(crate) fn get(path: &'a str, headers: Vec<Header>) -> Self {
        Self { method: Method::GET, path, headers, body: Bytes::new() }
    }
}

/// What came back. Of a body that is too long, never ends or is cut off, this is the beginning.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// Values of a header that are text.
    pub(crate) fn texts(&self, name: HeaderName) -> impl Iterator<Item = &str> {
        self.headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
    }
}

/// The end of a chain of redirects.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub(crate) reply: Reply,
    /// Path and query of the last request.
    pub(crate) path: String,
    pub(crate) hops: u8,
    /// Where it goes on outside the origin.
    pub(crate) elsewhere: Option<String>,
    /// Heads of the redirects before.
    pub(crate) before: Vec<HeaderMap>,
}

/// Where a redirect leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// To this path and query of the same origin.
    Here(String),
    /// Out of the origin; scheme, host and path, without what may be secret.
    Elsewhere(String),
}

impl Site<'_> {
    /// The port that URLs of this origin have.
    fn port(&self) -> u16 {
        self.dialer.address().port()
    }

    const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Host and port as they stand in URLs and in `Host` (RFC 9110 section 7.2).
    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port() == default_port(self.scheme()) { host } else { format!("{host}:{}", self.port()) }
    }

    /// Asks once, on a connection of its own.
    pub(crate) async fn ask(&self, ask: &Ask<'_>) -> Result<Reply, Gap> {
        let connection = self.dialer.open().await?;
        self.ask_on(connection, ask).await
    }

    pub(crate) async fn ask_on(&self, connection: Connection<'_>, ask: &Ask<'_>) -> Result<Reply, Gap> {
        let request = self.request(ask)?;
        let (stream, turn) = connection.into_parts();
        let Some(name) = &self.tls else { return exchange(stream, &turn, request).await };
        let made = inspecting_client_config(None::<Credentials>, &[]);
        let (config, _) = made.map_err(|error| Gap::odd(&error))?;
        let tls = turn.within(TlsConnector::from(config).connect(name.clone(), stream)).await?;
        exchange(tls.map_err(|error| Gap::odd(&error))?, &turn, request).await
    }

    fn request(&self, ask: &Ask<'_>) -> Result<Request<Full<Bytes>>, Gap> {
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(ask.path)
            .header(HOST, self.authority())
            .header(USER_AGENT, "portreeve-probe")
            .header(CONNECTION, "close");
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        request.body(Full::new(ask.body.clone())).map_err(|error| Gap::odd(&error))
    }

    /// Asks for a page, and goes where it leads within the origin. Headers go along: they never leave it.
    pub(crate) async fn visit(&self, path: &str, headers: &[Header]) -> Result<Visit, Gap> {
        let (mut path, mut before) = (path.to_owned(), Vec::new());
        for hops in 0..=HOPS_MAX {
            let reply = self.ask(&Ask::get(&path, headers.to_vec())).await?;
            let elsewhere = match self.next(&path, &reply) {
                Some(Place::Here(next)) => {
                    before.push(reply.headers);
                    path = next;
                    continue;
                }
                Some(Place::Elsewhere(there)) => Some(there),
                None => None,
            };
            return Ok(Visit { reply, path, hops, elsewhere, before });
        }
        Err(Gap::Odd(format!("it redirects more than {HOPS_MAX} times")))
    }

    /// Where an answer sends one, if it does.
    fn next(&self, path: &str, reply: &Reply) -> Option<Place> {
        let is_redirect = matches!(reply.status, 301 | 302 | 303 | 307 | 308);
        reply.texts(LOCATION).next().filter(|_| is_redirect).map(|place| self.place(path, place))
    }

    /// Resolves a `Location` (RFC 3986 section 5.2). Dot segments are left to the server.
    #[must_use]
    pub fn place(&self, current: &str, location: &str) -> Place {
        let location = location.split('#').next().unwrap_or_default().trim();
        let scheme_end = location.find(':').filter(|end| !location[..*end].contains(['/', '?']));
        let (scheme, rest) = match scheme_end {
            Some(end) => (location[..end].to_ascii_lowercase(), &location[end + 1..]),
            None => (self.scheme().to_owned(), location),
        };
        let Some(network) = rest.strip_prefix("//") else {
            return if scheme_end.is_some() { elsewhere(location) } else { Place::Here(relative(current, rest)) };
        };
        let path_start = network.find(['/', '?']).unwrap_or(network.len());
        let (authority, path) = network.split_at(path_start);
        if scheme != self.scheme() || !self.is_own(authority) {
            return elsewhere(&format!("{scheme}://{network}"));
        }
        Place::Here(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
    }

    /// Whether an authority is this origin's. One with a user name is somebody's trick.
    fn is_own(&self, authority: &str) -> bool {
        let own = self.authority();
        authority.eq_ignore_ascii_case(&own)
            || authority.eq_ignore_ascii_case(&format!("{own}:{}", default_port(self.scheme())))
                && self.port() == default_port(self.scheme())
    }
}

fn default_port(scheme: &str) -> u16 {
    if scheme == "https" { 443 } else { 80 }
}

/// A path without a scheme or host, in relation to another.
fn relative(current: &str, path: &str) -> String {
    let current = current.split('?').next().unwrap_or_default();
    match path.as_bytes().first() {
        None => current.to_owned(),
        Some(b'/') => path.to_owned(),
        Some(b'?') => format!("{current}{path}"),
        Some(_) => format!("{}/{path}", current.rsplit_once('/').map_or("", |(folder, _)| folder)),
    }
}

/// Without what stands before `@` and behind `?`: both may be secret.
fn elsewhere(location: &str) -> Place {
    let bare = without_query(location);
    let bare = match bare.split_once("//") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            format!("{scheme}//{}{path}", authority.rsplit('@').next().unwrap_or_default())
        }
        // No place in the network, such as `javascript:`; what follows the scheme is not told.
        None => bare.split(':').next().unwrap_or_default().to_owned(),
    };
    Place::Elsewhere(portreeve_assurance::evidence::printable(bare.as_bytes()))
}

pub(crate) fn without_query(path: &str) -> &str {
    path.split('?').next().unwrap_or_default()
}

async fn exchange<S>(stream: S, turn: &Turn<'_>, request: Request<Full<Bytes>>) -> Result<Reply, Gap>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new();
    builder.max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
    let shaken = turn.within(builder.handshake(TokioIo::new(stream))).await?;
    let (sender, connection) = shaken.map_err(|error| Gap::odd(&error))?;
    let talk = pin!(talk(sender, turn, request));
    match select(talk, pin!(connection)).await {
        Either::Left((reply, _)) => reply,
        // The connection has ended; what it brought is still to be read.
        Either::Right((_, talk)) => talk.await,
    }
}

async fn talk(
    mut sender: SendRequest<Full<Bytes>>,
    turn: &Turn<'_>,
    request: Request<Full<Bytes>>,
) -> Result<Reply, Gap> {
    let response = turn.within(sender.send_request(request)).await?.map_err(|error| Gap::odd(&error))?;
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let body = body(response, turn).await;
    Ok(Reply { status, headers, body })
}

/// As much of a body as comes.
async fn body(response: Response<Incoming>, turn: &Turn<'_>) -> Vec<u8> {
    let (mut incoming, mut read) = (response.into_body(), Vec::new());
    while let Ok(Some(Ok(frame))) = turn.within(incoming.frame()).await {
        if let Some(data) = frame.data_ref() {
            read.extend_from_slice(&data[..data.len().min(BODY_BYTES_MAX - read.len())]);
        }
        if read.len() >= BODY_BYTES_MAX {
            break;
        }
    }
    read
}

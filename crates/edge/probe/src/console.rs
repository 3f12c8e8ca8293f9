//! Consoles and APIs on HTTP: what strangers see, what other roles see, and what browsers are told.

use std::{fmt, io::ErrorKind};

use hyper::{
    HeaderMap, Method,
    header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue, LOCATION},
};
use portreeve_assurance::evidence::{
    Seen,
    console::{
        Clear, ConsoleScan, Knock, PATHS_MAX, Page, RoleVisit, SESSION_PATHS_MAX, SESSIONS_MAX, Standing, Stranger,
        Trace,
    },
    printable,
};

use crate::{
    dial::Gap,
    http::{Ask, Header, Site, Visit},
    page::page,
};

/// What is asked for, where nothing is declared.
pub const PATHS: [&str; 10] =
    ["/", "/api", "/api/v1", "/admin", "/metrics", "/status", "/config", "/users", "/debug", "/actuator"];
/// Names of cookies that are invented.
const COOKIES_MAX: usize = 20;
/// A path that nobody has.
const NOWHERE: &str = "/portreeve-probe-nowhere";
/// A session that nobody issued.
const INVENTED: &str = "portreeve-probe-invented";
/// The session's cookie, where the console sets none before one logs in.
const COOKIE_NAME: &str = "session";
const MARK: &str = "portreeve-probe-mark";

/// A session of a test account, which the caller has opened. It is shown to whoever answers at the address.
#[derive(Clone)]
pub struct Session {
    /// Name of the role.
    pub role: String,
    /// What it stands for.
    pub standing: Standing,
    /// What carries it, such as a cookie.
    pub header: Header,
    /// Paths that the role may see.
    pub own: Vec<String>,
    /// Paths that it may not.
    pub foreign: Vec<String>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("role", &self.role).field("standing", &self.standing).finish_non_exhaustive()
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Console<'a> {
    /// Where.
    pub site: Site<'a>,
    /// Which paths, at most [`PATHS_MAX`]; none are [`PATHS`].
    pub paths: Vec<String>,
    /// Test sessions, at most [`SESSIONS_MAX`] with [`SESSION_PATHS_MAX`] of each sort.
    pub sessions: Vec<Session>,
    /// The port on which plain HTTP may listen beside HTTPS.
    pub clear_port: Option<u16>,
}

/// Asks for everything.
pub async fn scan(console: &Console<'_>) -> ConsoleScan {
    let site = &console.site;
    let nowhere = visit(site, NOWHERE, &[]).await;
    let knocks = knocks(console).await;
    let mut visits = Vec::new();
    for session in console.sessions.iter().take(SESSIONS_MAX) {
        for (paths, is_declared) in [(&session.own, true), (&session.foreign, false)] {
            for path in paths.iter().take(SESSION_PATHS_MAX) {
                visits.push(RoleVisit {
                    role: printable(session.role.as_bytes()),
                    standing: session.standing,
                    path: printable(path.as_bytes()),
                    is_declared,
                    page: visit(site, path, std::slice::from_ref(&session.header)).await,
                });
            }
        }
    }
    let trace = seen(trace(site).await);
    let clear = match (&site.tls, console.clear_port) {
        (Some(_), Some(port)) => seen(clear(site, port).await),
        _ => Seen::NotTried,
    };
    ConsoleScan { is_tls: site.tls.is_some(), nowhere, knocks, visits, trace, clear, effort: site.dialer.effort() }
}

async fn knocks(console: &Console<'_>) -> Vec<Knock> {
    let default: Vec<String> = PATHS.map(str::to_owned).into();
    let paths = if console.paths.is_empty() { &default } else { &console.paths };
    let mut knocks = Vec::new();
    let mut cookie_names = Vec::new();
    for stranger in Stranger::ALL {
        let headers = headers(stranger, &cookie_names);
        for path in paths.iter().take(PATHS_MAX) {
            let page = visit(&console.site, path, &headers).await;
            if let (Stranger::Nobody, Seen::Known(page)) = (stranger, &page) {
                cookie_names.extend(page.cookies.iter().map(|cookie| cookie.name.clone()));
            }
            knocks.push(Knock { path: printable(path.as_bytes()), stranger, page });
        }
        cookie_names.sort_unstable();
        cookie_names.dedup();
        cookie_names.truncate(COOKIES_MAX);
    }
    knocks
}

/// What a stranger shows. Names of cookies are the console's own, if they can be sent.
fn headers(stranger: Stranger, cookie_names: &[String]) -> Vec<Header> {
    let cookie = |names: &[String]| {
        let pairs: Vec<String> = names.iter().map(|name| format!("{name}={INVENTED}")).collect();
        HeaderValue::from_str(&pairs.join("; ")).ok()
    };
    match stranger {
        Stranger::Nobody => Vec::new(),
        Stranger::Bearer => vec![(AUTHORIZATION, HeaderValue::from_static("Bearer portreeve-probe-invented"))],
        Stranger::Cookie => {
            let own = cookie(cookie_names).filter(|_| !cookie_names.is_empty());
            own.or_else(|| cookie(&[COOKIE_NAME.to_owned()])).map(|value| (COOKIE, value)).into_iter().collect()
        }
    }
}

async fn visit(site: &Site<'_>, path: &str, headers: &[Header]) -> Seen<Page> {
    seen(site.visit(path, headers).await.map(|visit: Visit| page(&visit)))
}

fn seen<T>(result: Result<T, Gap>) -> Seen<T> {
    result.map_or_else(|gap| Seen::Unknown(gap.to_string()), Seen::Known)
}

async fn trace(site: &Site<'_>) -> Result<Trace, Gap> {
    let header = (HeaderName::from_static("x-portreeve-probe"), HeaderValue::from_static(MARK));
    let ask = Ask { method: Method::TRACE, ..Ask::get("/", vec![header]) };
    let reply = site.ask(&ask).await?;
    let is_echoed = reply.body.windows(MARK.len()).any(|window| window == MARK.as_bytes());
    Ok(Trace { status: reply.status, is_echoed })
}

/// What plain HTTP says on another port of the same host.
async fn clear(site: &Site<'_>, port: u16) -> Result<Clear, Gap> {
    let connection = match site.dialer.open_port(port).await {
        Ok(connection) => connection,
        Err(Gap::Unreachable(ErrorKind::ConnectionRefused)) => return Ok(Clear::Closed),
        Err(gap) => return Err(gap),
    };
    let plain = Site { tls: None, ..site.clone() };
    let reply = plain.ask_on(connection, &Ask::get("/", Vec::new())).await?;
    let is_sent_on = (300..400).contains(&reply.status) && is_https(&reply.headers);
    Ok(if is_sent_on { Clear::Redirects } else { Clear::Answers(reply.status) })
}

fn is_https(head: &HeaderMap) -> bool {
    let location = head.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    location.to_ascii_lowercase().starts_with("https://")
}

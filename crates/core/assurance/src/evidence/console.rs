//! What a console or API on HTTP shows to whom.

use serde::{Deserialize, Serialize};

use super::{Effort, Facts, Seen};
use crate::Sha256;

/// Paths of one scan, at most.
pub const PATHS_MAX: usize = 40;
/// Test sessions of one scan, at most.
pub const SESSIONS_MAX: usize = 10;
/// Paths of one test session, of each sort, at most.
pub const SESSION_PATHS_MAX: usize = 20;

/// One origin, as far as it was asked. No cookie's value, token or query is in here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleScan {
    /// Whether it speaks TLS.
    pub is_tls: bool,
    /// A path that nobody has, without a session: what it says when there is nothing.
    pub nowhere: Seen<Page>,
    /// Each path with each stranger.
    pub knocks: Vec<Knock>,
    /// Each path of each test session.
    pub visits: Vec<RoleVisit>,
    /// What TRACE gets.
    pub trace: Seen<Trace>,
    /// What plain HTTP gets; not tried, where no port for it was declared.
    pub clear: Seen<Clear>,
    /// What it took.
    pub effort: Effort,
}

impl Facts for ConsoleScan {
    const KIND: &'static str = "console-scan/1";
}

/// With what somebody comes who may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stranger {
    /// Without a session.
    Nobody,
    /// With a session cookie that nobody issued.
    Cookie,
    /// With a bearer token that nobody issued.
    Bearer,
}

impl Stranger {
    /// All.
    pub const ALL: [Self; 3] = [Self::Nobody, Self::Cookie, Self::Bearer];

    /// As people say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nobody => "without a session",
            Self::Cookie => "with an invented cookie",
            Self::Bearer => "with an invented token",
        }
    }
}

/// A stranger at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Knock {
    /// Which path was asked for.
    pub path: String,
    /// With what.
    pub stranger: Stranger,
    /// What it got.
    pub page: Seen<Page>,
}

/// What a test session stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Somebody who is logged in.
    Full,
    /// Somebody who has shown the first factor and not yet the second.
    FirstFactor,
    /// Somebody who has logged out, or whose time is over.
    Ended,
}

/// A test session at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleVisit {
    /// Name of the role.
    pub role: String,
    /// What the session stands for.
    pub standing: Standing,
    /// Which path was asked for.
    pub path: String,
    /// Whether the declared roles allow it.
    pub is_declared: bool,
    /// What it got.
    pub page: Seen<Page>,
}

/// The last answer, after redirects within the origin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Its status.
    pub status: u16,
    /// Its path, without a query.
    pub path: String,
    /// Redirects on the way.
    pub hops: u8,
    /// Where it sends one outside the origin, without a query; that was not followed.
    pub elsewhere: Option<String>,
    /// Whether it is HTML.
    pub is_html: bool,
    /// Whether it has a field for passwords.
    pub is_login: bool,
    /// Schemes of `WWW-Authenticate`, in lower case.
    pub challenges: Vec<String>,
    /// SHA-256 of what was read of its body, in which the path, numbers and long tokens are masked.
    pub digest: Option<Sha256>,
    /// What it tells browsers to beware of.
    pub headers: PageHeaders,
    /// Cookies that it and the redirects before it set, each name once.
    pub cookies: Vec<Cookie>,
}

/// Headers that protect visitors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageHeaders {
    /// `max-age` of Strict-Transport-Security (RFC 6797), seconds.
    pub hsts_max_age_s: Option<u64>,
    /// What Content-Security-Policy says of scripts: `script-src`, or else `default-src`.
    pub script_policy: Option<String>,
    /// Whether other sites may not frame it: `frame-ancestors` or X-Frame-Options.
    pub is_framing_limited: bool,
    /// Whether X-Content-Type-Options says `nosniff`.
    pub is_sniffing_off: bool,
}

/// A cookie without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Only over TLS.
    pub is_secure: bool,
    /// Not for scripts.
    pub is_http_only: bool,
    /// `SameSite`, in lower case.
    pub same_site: Option<String>,
}

/// What TRACE gets (RFC 9110 section 9.3.8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// The status.
    pub status: u16,
    /// Whether a header that was sent came back, as a session's would.
    pub is_echoed: bool,
}

/// What plain HTTP gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clear {
    /// Nobody listens.
    Closed,
    /// It sends one to HTTPS.
    Redirects,
    /// It answers with this status.
    Answers(u16),
}

/// What the owner of a console declares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsolePolicy {
    /// Paths that everybody may see.
    pub public_paths: Vec<String>,
    /// The least `max-age` of Strict-Transport-Security, seconds.
    pub hsts_max_age_s_min: u64,
    /// Whether HTTP Basic will do, which knows neither a second factor nor the end of a session.
    pub is_basic_allowed: bool,
}

impl Default for ConsolePolicy {
    /// A front page and a login, half a year, and no Basic (CSA-CLS-11).
    fn default() -> Self {
        Self {
            public_paths: ["/", "/login", "/favicon.ico", "/robots.txt"].map(str::to_owned).into(),
            hsts_max_age_s_min: 180 * 24 * 60 * 60,
            is_basic_allowed: false,
        }
    }
}

impl Facts for ConsolePolicy {
    const KIND: &'static str = "console-policy/1";
}

//! What is kept of a page: nothing that could let anybody in.

use hyper::{
    HeaderMap,
    header::{
        CONTENT_SECURITY_POLICY, CONTENT_TYPE, SET_COOKIE, STRICT_TRANSPORT_SECURITY, WWW_AUTHENTICATE,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};
use portreeve_assurance::{
    Sha256,
    evidence::{
        console::{Cookie, Page, PageHeaders},
        printable,
    },
};

use crate::http::{Reply, Visit, without_query};

/// Cookies and challenges that one page has in evidence.
const COOKIES_MAX: usize = 20;
const CHALLENGES_MAX: usize = 8;
/// Longest name of a cookie or scheme, characters.
const NAME_CHARS_MAX: usize = 64;
/// From here on a word may be a token, bytes.
const TOKEN_BYTES_MIN: usize = 16;

/// Of the last answer, and of cookies on the way.
pub(crate) fn page(visit: &Visit) -> Page {
    let reply = &visit.reply;
    let path = without_query(&visit.path);
    let mut cookies: Vec<Cookie> = Vec::new();
    for head in visit.before.iter().chain([&reply.headers]) {
        for cookie in head.get_all(SET_COOKIE).into_iter().filter_map(|value| cookie(value.as_bytes())) {
            cookies.retain(|earlier| earlier.name != cookie.name);
            if cookies.len() < COOKIES_MAX {
                cookies.push(cookie);
            }
        }
    }
    Page {
        status: reply.status,
        path: printable(path.as_bytes()),
        hops: visit.hops,
        elsewhere: visit.elsewhere.clone(),
        is_html: reply.texts(CONTENT_TYPE).any(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/html")),
        is_login: has_password_field(&reply.body),
        challenges: challenges(reply),
        digest: Some(digest(&reply.body, &[path])),
        headers: headers(&reply.headers),
        cookies,
    }
}

/// Schemes that a page asks for (RFC 9110 section 11.6.1): words that are followed by a parameter or nothing.
fn challenges(reply: &Reply) -> Vec<String> {
    let mut schemes: Vec<String> = Vec::new();
    for challenge in reply.texts(WWW_AUTHENTICATE).flat_map(|line| line.split(',')) {
        let word = challenge.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        let is_new = !word.is_empty() && !word.contains('=') && !schemes.contains(&word);
        if is_new && schemes.len() < CHALLENGES_MAX {
            schemes.push(name(word.as_bytes()));
        }
    }
    schemes
}

fn name(bytes: &[u8]) -> String {
    printable(bytes).chars().take(NAME_CHARS_MAX).collect()
}

/// Whether HTML asks for a password.
fn has_password_field(body: &[u8]) -> bool {
    let text: String = String::from_utf8_lossy(body).to_ascii_lowercase();
    text.split("<input").skip(1).any(|rest| {
        let tag: String = rest.split('>').next().unwrap_or_default().split(['"', '\'', ' ']).collect();
        tag.contains("type=password")
    })
}

/// A cookie without its value (RFC 6265 section 5.2); nothing, where it is one that is taken back.
#[must_use]
pub fn cookie(line: &[u8]) -> Option<Cookie> {
    let line = String::from_utf8_lossy(line);
    let mut parts = line.split(';').map(|part| part.split_once('=').unwrap_or((part, "")));
    let (cookie_name, _) = parts.next()?;
    let mut cookie =
        Cookie { name: name(cookie_name.trim().as_bytes()), is_secure: false, is_http_only: false, same_site: None };
    for (attribute, value) in parts {
        match attribute.trim().to_ascii_lowercase().as_str() {
            "secure" => cookie.is_secure = true,
            "httponly" => cookie.is_http_only = true,
            "samesite" => cookie.same_site = Some(name(value.trim().to_ascii_lowercase().as_bytes())),
            "max-age" if value.trim().parse::<i64>().is_ok_and(|seconds| seconds <= 0) => return None,
            _ => {}
        }
    }
    (!cookie.name.is_empty()).then_some(cookie)
}

/// What a head tells browsers to beware of.
#[must_use]
pub fn headers(head: &HeaderMap) -> PageHeaders {
    let text = |name| head.get(name).and_then(|value| value.to_str().ok());
    let policies: Vec<&str> =
        head.get_all(CONTENT_SECURITY_POLICY).into_iter().filter_map(|value| value.to_str().ok()).collect();
    let directive = |wanted: &str| {
        policies.iter().flat_map(|policy| policy.split(';')).find_map(|directive| {
            let (name, sources) = directive.trim().split_once(' ').unwrap_or((directive.trim(), ""));
            name.eq_ignore_ascii_case(wanted).then(|| sources.trim().to_ascii_lowercase())
        })
    };
    let scripts = directive("script-src").or_else(|| directive("default-src"));
    let ancestors = directive("frame-ancestors");
    let framing = text(X_FRAME_OPTIONS).map(|value| value.trim().to_ascii_lowercase());
    PageHeaders {
        hsts_max_age_s: text(STRICT_TRANSPORT_SECURITY).and_then(max_age_s),
        script_policy: scripts.map(|sources| printable(by_weight(&sources).as_bytes())),
        // Where both are there, browsers heed the policy (CSP level 3 section 6.4.2).
        is_framing_limited: match ancestors {
            Some(ancestors) => !ancestors.split(' ').any(|source| matches!(source, "*" | "http:" | "https:")),
            None => matches!(framing.as_deref(), Some("deny" | "sameorigin")),
        },
        is_sniffing_off: text(X_CONTENT_TYPE_OPTIONS).is_some_and(|value| value.trim().eq_ignore_ascii_case("nosniff")),
    }
}

/// A list of sources, whose order means nothing, with those first that let any script in, and then nonces and hashes: where the line
/// is cut, none of them is lost among names of hosts.
fn by_weight(sources: &str) -> String {
    let weight = |source: &&str| match *source {
        "*" | "http:" | "https:" | "data:" | "'unsafe-inline'" => 0,
        source if source.starts_with('\'') => 1,
        _ => 2,
    };
    let mut sources: Vec<&str> = sources.split_ascii_whitespace().collect();
    sources.sort_by_key(weight);
    sources.dedup();
    sources.join(" ")
}

fn max_age_s(header: &str) -> Option<u64> {
    header.split(';').find_map(|directive| {
        let (name, value) = directive.split_once('=')?;
        name.trim().eq_ignore_ascii_case("max-age").then(|| value.trim().trim_matches('"').parse().ok())?
    })
}

/// SHA-256 of an answer in which what may vary between two that mean the same is masked: the `names` that were sent, numbers, and
/// words that may be tokens.
#[must_use]
pub fn digest(body: &[u8], names: &[&str]) -> Sha256 {
    let mut text = String::from_utf8_lossy(body).into_owned();
    for name in names.iter().filter(|name| name.len() > 1) {
        text = text.replace(name, "*");
    }
    let is_of_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '=');
    let mut masked = String::with_capacity(text.len());
    for word in text.split_inclusive(|c| !is_of_token(c)) {
        let letters = word.trim_end_matches(|c| !is_of_token(c));
        let has_digit = letters.bytes().any(|byte| byte.is_ascii_digit());
        if has_digit || letters.len() >= TOKEN_BYTES_MIN {
            masked.push('*');
            masked.push_str(&word[letters.len()..]);
        } else {
            masked.push_str(word);
        }
    }
    Sha256::of(masked.as_bytes())
}

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest host name (RFC 1035 §2.3.4), bytes.
const HOST_BYTES_MAX: usize = 253;
/// Longest URL, bytes.
const URL_BYTES_MAX: usize = 2048;
/// Longest mail address (RFC 5321 §4.5.3.1.3 less the angle brackets), bytes.
const MAIL_ADDRESS_BYTES_MAX: usize = 254;

/// A host name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Letters, digits, `.` and `-`; or an address, IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Server {
    /// `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.
    pub(super) fn parse(text: &str, default_port: u16) -> Result<Self, &'static str> {
        const EXPECTED: &str = "HOST or HOST:PORT is expected, an IPv6 address in brackets";
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or(EXPECTED)?;
                let is_address = host.parse::<std::net::Ipv6Addr>().is_ok();
                let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or(EXPECTED)?) };
                (is_address.then_some(host).ok_or(EXPECTED)?, port)
            }
            None => match text.split_once(':') {
                Some((host, port)) => (is_host(host).then_some(host).ok_or(EXPECTED)?, Some(port)),
                None => (is_host(text).then_some(text).ok_or(EXPECTED)?, None),
            },
        };
        let port = match port {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().map_err(|_| EXPECTED)?,
            Some(_) => return Err(EXPECTED),
            None => default_port,
        };
        if port == 0 { Err(EXPECTED) } else { Ok(Self { host: host.to_ascii_lowercase(), port }) }
    }
}

fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(is_part)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= HOST_BYTES_MAX && text.split('.').all(is_label)
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Where a webhook is: `https://HOST[:PORT][/PATH[?QUERY]]`, and nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpsUrl {
    /// Host and port.
    pub server: Server,
    /// Path and query, beginning with `/`. It may be a secret: some services tell their clients apart by it.
    pub path: String,
}

impl FromStr for HttpsUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "https://HOST/PATH is expected, without user, password and fragment";
        let rest = text.strip_prefix("https://").filter(|_| text.len() <= URL_BYTES_MAX).ok_or(EXPECTED)?;
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let in_path = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&byte);
        if !path.starts_with('/') || !path.bytes().all(in_path) {
            return Err(EXPECTED);
        }
        Ok(Self { server: Server::parse(authority, 443).map_err(|_| EXPECTED)?, path: path.to_owned() })
    }
}

impl fmt::Debug for HttpsUrl {
    /// Without the path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}/…", self.server)
    }
}

/// `LOCAL@DOMAIN` of the form that every server takes: a dot-atom (RFC 5322 §3.2.3) and a host name, in ASCII. It ends
/// no header and no command that it stands in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MailAddress(String);

impl MailAddress {
    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands behind the `@`.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl FromStr for MailAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let is_atom = |atom: &str| {
            !atom.is_empty()
                && atom.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte))
        };
        let valid = text.len() <= MAIL_ADDRESS_BYTES_MAX
            && text
                .split_once('@')
                .is_some_and(|(local, domain)| local.len() <= 64 && local.split('.').all(is_atom) && is_host(domain));
        if valid { Ok(Self(text.to_owned())) } else { Err("a mail address such as ann@example.org is expected") }
    }
}

impl TryFrom<String> for MailAddress {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        text.parse()
    }
}

impl From<MailAddress> for String {
    fn from(address: MailAddress) -> Self {
        address.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_https_and_nothing_is_hidden_in_its_address() {
        let read = |text: &str| text.parse::<HttpsUrl>().ok().map(|url| format!("{} {}", url.server, url.path));
        assert_eq!(read("https://Hook.example.org").as_deref(), Some("hook.example.org:443 /"));
        assert_eq!(read("https://[::1]:8/a/b?c=d%20e").as_deref(), Some("[::1]:8 /a/b?c=d%20e"));
        for bad in [
            "http://hook.example.org/",
            "https://",
            "https:///path",
            "https://user:word@hook.example.org/",
            "https://hook.example.org@evil.example/",
            "https://hook.example.org\\@evil.example/",
            "https://hook.example.org/a b",
            "https://hook.example.org/\r\nX: y",
            "https://hook.example.org/#x",
            "https://hook.example.org?x",
            "https://hook.example.org:0/",
            "https://hook.example.org:+443/",
            "https://hook.example.org:65536/",
            "https://::1/",
            "HTTPS://hook.example.org/",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert!(read(&format!("https://h/{}", "x".repeat(3000))).is_none());
        assert!(!format!("{:?}", "https://h/token".parse::<HttpsUrl>()).contains("token"));
    }

    #[test]
    fn a_mail_address_ends_no_line() {
        for good in ["ann@example.org", "on-call+night@mx_1.example", "a.b@c"] {
            assert!(good.parse::<MailAddress>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "ann",
            "@a",
            "a@",
            "a@b@c",
            "a b@c",
            "a@b\r\nRCPT",
            "<a@b>",
            ".a@b",
            "a..b@c",
            "ä@b",
            "a@b.",
            "a@-b",
            "\"a\"@b",
        ] {
            assert!(bad.parse::<MailAddress>().is_err(), "{bad:?}");
        }
        assert!(format!("{}@b", "a".repeat(65)).parse::<MailAddress>().is_err());
    }
}

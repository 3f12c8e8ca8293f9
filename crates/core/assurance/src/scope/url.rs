use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest host name, bytes (RFC 1035 section 2.3.4).
const HOST_BYTES_MAX: usize = 253;
/// Longest label of a host name, bytes.
const LABEL_BYTES_MAX: usize = 63;

/// What is spoken at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// MQTT in clear.
    Mqtt,
    /// MQTT over TLS.
    Mqtts,
    /// HTTP in clear.
    Http,
    /// HTTP over TLS.
    Https,
    /// CoAP in clear.
    Coap,
    /// CoAP over DTLS.
    Coaps,
    /// TLS, of whatever inside.
    Tls,
    /// DTLS, of whatever inside.
    Dtls,
    /// SSH.
    Ssh,
}

impl Scheme {
    /// All.
    pub const ALL: [Self; 9] =
        [Self::Mqtt, Self::Mqtts, Self::Http, Self::Https, Self::Coap, Self::Coaps, Self::Tls, Self::Dtls, Self::Ssh];

    /// As in a URL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
            Self::Http => "http",
            Self::Https => "https",
            Self::Coap => "coap",
            Self::Coaps => "coaps",
            Self::Tls => "tls",
            Self::Dtls => "dtls",
            Self::Ssh => "ssh",
        }
    }

    /// The port that it has by convention.
    const fn port(self) -> Option<u16> {
        match self {
            Self::Mqtt => Some(1883),
            Self::Mqtts => Some(8883),
            Self::Http => Some(80),
            Self::Https => Some(443),
            Self::Coap => Some(5683),
            Self::Coaps => Some(5684),
            Self::Ssh => Some(22),
            Self::Tls | Self::Dtls => None,
        }
    }
}

/// A host: a name or an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Host(String);

/// What names no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a host is a name such as hub.example.org, or an address such as 192.0.2.7 or 2001:db8::7")]
pub struct NoHost;

impl Host {
    /// As it is asked for.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As in a URL.
    #[must_use]
    pub fn in_url(&self) -> String {
        if self.0.contains(':') { format!("[{}]", self.0) } else { self.0.clone() }
    }
}

impl FromStr for Host {
    type Err = NoHost;
    fn from_str(text: &str) -> Result<Self, NoHost> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.to_string()));
        }
        let is_label = |label: &str| {
            let edges = [label.bytes().next(), label.bytes().last()];
            (1..=LABEL_BYTES_MAX).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
                && !edges.contains(&Some(b'-'))
        };
        // What looks like an address is a slip of the pen, and no name.
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let is_name = text.len() <= HOST_BYTES_MAX && text.split('.').all(is_label) && !is_number;
        is_name.then(|| Self(text.to_ascii_lowercase())).ok_or(NoHost)
    }
}

impl TryFrom<String> for Host {
    type Error = NoHost;
    fn try_from(text: String) -> Result<Self, NoHost> {
        text.parse()
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An endpoint: `mqtts://hub.example.org:8883`. Its text always has the port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Url {
    /// What is spoken there.
    pub scheme: Scheme,
    /// Where.
    pub host: Host,
    /// At which port.
    pub port: u16,
}

/// What names no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoUrl {
    /// Nothing that is known is spoken there.
    #[error("an endpoint begins with {}", schemes())]
    Scheme,
    /// No host.
    #[error(transparent)]
    Host(#[from] NoHost),
    /// No port.
    #[error("a port is 1 to 65535; {0}:// has none by convention, so it has to be given")]
    Port(&'static str),
    /// It goes on.
    #[error("an endpoint has no path, user or query: SCHEME://HOST:PORT")]
    More,
}

fn schemes() -> String {
    Scheme::ALL.map(|scheme| format!("{}://", scheme.as_str())).join(", ")
}

impl FromStr for Url {
    type Err = NoUrl;
    fn from_str(text: &str) -> Result<Self, NoUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(NoUrl::Scheme)?;
        let scheme = Scheme::ALL.into_iter().find(|known| known.as_str() == scheme).ok_or(NoUrl::Scheme)?;
        let place = rest.strip_suffix('/').unwrap_or(rest);
        if place.contains(['/', '@', '?', '#']) {
            return Err(NoUrl::More);
        }
        let (host, port) = match place.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':').or((!rest.is_empty()).then_some("?"))),
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port > 0),
            None => scheme.port(),
        };
        Ok(Self { scheme, host: host.parse()?, port: port.ok_or(NoUrl::Port(scheme.as_str()))? })
    }
}

impl TryFrom<String> for Url {
    type Error = NoUrl;
    fn try_from(text: String) -> Result<Self, NoUrl> {
        text.parse()
    }
}

impl From<Url> for String {
    fn from(url: Url) -> Self {
        url.to_string()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme.as_str(), self.host.in_url(), self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_written_in_one_way() {
        for (text, same) in [
            ("mqtts://Hub.Example", "mqtts://hub.example:8883"),
            ("mqtts://hub:18883/", "mqtts://hub:18883"),
            ("coaps://[2001:DB8::7]", "coaps://[2001:db8::7]:5684"),
            ("tls://192.0.2.7:443", "tls://192.0.2.7:443"),
        ] {
            assert_eq!(text.parse::<Url>().map(|url| url.to_string()), Ok(same.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_told_why() {
        for (text, why) in [
            ("hub:8883", NoUrl::Scheme),
            ("ftp://hub", NoUrl::Scheme),
            ("tls://hub", NoUrl::Port("tls")),
            ("mqtts://hub:0", NoUrl::Port("mqtts")),
            ("mqtts://hub:65536", NoUrl::Port("mqtts")),
            ("mqtts://[::1]x", NoUrl::Port("mqtts")),
            ("https://hub/path", NoUrl::More),
            ("https://user@hub", NoUrl::More),
            ("mqtts://", NoUrl::Host(NoHost)),
            ("mqtts://192.0.2.777", NoUrl::Host(NoHost)),
            ("mqtts://-hub", NoUrl::Host(NoHost)),
            ("mqtts://hub example", NoUrl::Host(NoHost)),
        ] {
            assert_eq!(text.parse::<Url>(), Err(why), "{text}");
        }
    }
}

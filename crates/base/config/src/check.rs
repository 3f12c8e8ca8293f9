//! What no single key can tell: combinations of values, and texts with a form of their own.

use crate::{Config, ConfigError, KeyCustody, Origin, Problem};
use std::net::IpAddr;
use std::path::Path;

/// Something wrong with one key or between several; the first is where it is shown.
pub(crate) struct Finding {
    pub(crate) keys: Vec<&'static str>,
    pub(crate) message: String,
}

impl Config {
    /// Checks what the loader checks after all values are in place.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let problem = |finding: Finding| {
            let key = finding.keys.first().map(|key| (*key).to_owned());
            Problem::new(Origin::Default, key, finding.message)
        };
        ConfigError::unless_empty(self.findings().into_iter().map(problem).collect())
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        self.check_listeners(&mut found);
        self.check_names(&mut found);
        self.check_keys(&mut found);
        self.check_order(&mut found);
        found
    }

    fn check_listeners(&self, found: &mut Vec<Finding>) {
        if !self.metrics.listen.ip().to_canonical().is_loopback() {
            found.push(Finding {
                keys: vec!["metrics.listen"],
                message: format!(
                    "metrics.listen must be a loopback address, for nobody is asked who he is there; found {}",
                    self.metrics.listen
                ),
            });
        }
        let mut listeners = vec![
            ("mqtt.listen", self.mqtt.listen),
            ("device_https.listen", self.device_https.listen),
            ("metrics.listen", self.metrics.listen),
        ];
        listeners.extend(self.mqtt.provisioning_listen.map(|address| ("mqtt.provisioning_listen", address)));
        for (at, (key, address)) in listeners.iter().enumerate() {
            for (other_key, other) in &listeners[..at] {
                // Port 0 stands for any free port.
                if address == other && address.port() != 0 {
                    found.push(Finding {
                        keys: vec![key, other_key],
                        message: format!("{key} and {other_key} are both {address}"),
                    });
                }
            }
        }
    }

    fn check_names(&self, found: &mut Vec<Finding>) {
        for name in self.hub.names.iter().filter(|name| !is_host(name)) {
            found.push(Finding {
                keys: vec!["hub.names"],
                message: format!("hub.names: {name:?} is neither an IP address nor a DNS name"),
            });
        }
        for origin in self.device_https.websocket_origins.iter().filter(|origin| !is_origin(origin)) {
            found.push(Finding {
                keys: vec!["device_https.websocket_origins"],
                message: format!(
                    "device_https.websocket_origins: {origin:?} is not an origin such as https://example.org"
                ),
            });
        }
        if self.enrolment.key_algorithms.is_empty() {
            found.push(Finding {
                keys: vec!["enrolment.key_algorithms"],
                message: "enrolment.key_algorithms: without a kind of key no device gets a certificate".into(),
            });
        }
        let urls =
            [("revocation.crl_url", &self.revocation.crl_url), ("revocation.ocsp_url", &self.revocation.ocsp_url)];
        for (key, url) in urls.into_iter().filter(|(_, url)| !url.is_empty() && !is_url(url)) {
            found.push(Finding {
                keys: vec![key],
                message: format!(
                    "{key}: {url:?} is no address such as https://hub.example.org:8444/pki, of at most 256 bytes"
                ),
            });
        }
        found.extend(self.inventory.findings().map(|message| Finding { keys: vec!["inventory.namespaces"], message }));
        for user in self.admin.operators.keys().filter(|user| !is_user_name(user)) {
            found.push(Finding {
                keys: vec!["admin.operators"],
                message: format!("admin.operators: {user:?} is not a user name"),
            });
        }
    }

    /// What the chosen custody needs to know.
    fn check_keys(&self, found: &mut Vec<Finding>) {
        let keys = &self.keys;
        let is_token = keys.custody == KeyCustody::Pkcs11;
        if is_token && !keys.pkcs11_module.is_absolute() {
            found.push(Finding {
                keys: vec!["keys.pkcs11_module", "keys.custody"],
                message: "keys.pkcs11_module: with keys.custody = \"pkcs11\" it has to be the absolute path of the module of the token's vendor".into(),
            });
        }
        if is_token && keys.pkcs11_token.is_empty() {
            found.push(Finding {
                keys: vec!["keys.pkcs11_token", "keys.custody"],
                message: "keys.pkcs11_token: with keys.custody = \"pkcs11\" it has to be the label of the token".into(),
            });
        }
        for path in keys.pkcs11_paths.iter().filter(|path| !Path::new(path).is_absolute()) {
            found.push(Finding {
                keys: vec!["keys.pkcs11_paths"],
                message: format!("keys.pkcs11_paths: {path:?} is no absolute path"),
            });
        }
    }

    /// The smaller bound must not exceed the larger one that contains it.
    fn check_order(&self, found: &mut Vec<Finding>) {
        let l = &self.limits;
        let pairs = [
            (("limits.connect_bytes", l.connect_bytes), ("limits.packet_bytes", l.packet_bytes)),
            (("limits.packet_bytes", l.packet_bytes), ("limits.queue_bytes_per_session", l.queue_bytes_per_session)),
            (
                ("limits.queue_bytes_per_session", l.queue_bytes_per_session),
                ("limits.queue_bytes_total", l.queue_bytes_total),
            ),
            (("limits.packet_bytes", l.packet_bytes), ("limits.journal_pending_bytes", l.journal_pending_bytes)),
            (("limits.retained_message_bytes", l.retained_message_bytes), ("limits.packet_bytes", l.packet_bytes)),
            (
                ("limits.subscriptions_per_session", l.subscriptions_per_session),
                ("limits.subscriptions_total", l.subscriptions_total),
            ),
            (("limits.sessions_per_device", l.sessions_per_device), ("limits.sessions_total", l.sessions_total)),
            (
                ("limits.sessions_per_application", l.sessions_per_application),
                ("limits.sessions_total", l.sessions_total),
            ),
            (
                ("limits.half_open_per_source", l.half_open_per_source),
                ("limits.half_open_connections", l.half_open_connections),
            ),
        ];
        for ((small_key, small), (large_key, large)) in pairs {
            if small > large {
                found.push(Finding {
                    keys: vec![small_key, large_key],
                    message: format!("{small_key} ({small}) must not exceed {large_key} ({large})"),
                });
            }
        }
    }
}

/// An IP address, or a DNS name of letters, digits and hyphens (RFC 1123 §2.1); no wildcard, for a hub has names.
fn is_host(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(is_label) && !looks_numeric(text))
}

fn is_label(label: &str) -> bool {
    let clean = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    clean && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
}

/// A name whose last label is a number would be taken for an address by others.
fn looks_numeric(text: &str) -> bool {
    text.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()))
}

/// As it may stand in a certificate: absolute, and plain ASCII.
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty()) && text.len() <= 256 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Scheme, host and perhaps a port, and nothing after it (RFC 6454 §6.2).
fn is_origin(text: &str) -> bool {
    let Some(authority) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else { return false };
    let bracketed = authority.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host_is_good, port) = match bracketed {
        Some((host, rest)) => (host.parse::<std::net::Ipv6Addr>().is_ok(), rest),
        None => {
            let host_end = authority.find(':').unwrap_or(authority.len());
            (is_host(&authority[..host_end]), &authority[host_end..])
        }
    };
    let port_is_good = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    host_is_good && port_is_good
}

/// Not empty, and nothing in it that would confuse a log line or a table.
fn is_user_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 256 && !text.chars().any(|c| c.is_control() || c.is_whitespace() || c == ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in ["hub", "hub.example.org", "192.0.2.1", "2001:db8::1", "a-b.c1"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", ".", "a..b", "-a", "a-", "*.example.org", "a b", "1.2.3.4.5", "300.1.1.1", "ä.org", "[::1]"] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn origins() {
        for good in ["https://example.org", "http://localhost:8080", "https://[2001:db8::1]:444"] {
            assert!(is_origin(good), "{good}");
        }
        for bad in
            ["*", "null", "example.org", "https://example.org/", "https://a:b", "https://[::1", "https://", "ftp://x"]
        {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}

//! Brokers: Mosquitto, EMQX, VerneMQ.

pub(crate) mod acl;
pub(crate) mod emqx;
mod hocon;
pub(crate) mod mosquitto;
pub(crate) mod vernemq;

use portreeve_assurance::evidence::tls::Version;

/// Whether an address, with or without a port behind it, is reached from its own host only.
fn is_local(address: &str) -> bool {
    let host = address.trim_start_matches('[');
    ["127.", "localhost", "::1"].iter().any(|begin| host.starts_with(begin)) || address.starts_with('/')
}

/// A version as brokers write it.
fn version(text: &str) -> Option<Version> {
    match text.trim().trim_matches('"').to_ascii_lowercase().as_str() {
        "tlsv1.3" => Some(Version::Tls13),
        "tlsv1.2" => Some(Version::Tls12),
        "tlsv1.1" => Some(Version::Tls11),
        "tlsv1" | "tlsv1.0" => Some(Version::Tls10),
        "sslv3" => Some(Version::Ssl30),
        _ => None,
    }
}

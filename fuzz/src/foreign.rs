//! What arrives before MQTT does, and what operators write: PROXY headers, certificates, requests, configuration, policy.

use portreeve_config::Sources;
use portreeve_mqtt_server::proxy::{self, HEADER_BYTES_MAX};
use portreeve_policy::{Epoch, PolicySet, PolicySource};

/// A header is recognised at one length only: every shorter prefix asks for more, and what follows it changes nothing.
pub fn proxy_header(bytes: &[u8]) {
    let Ok(Some((origin, length))) = proxy::parse(bytes) else { return };
    assert!(length <= bytes.len() && length <= HEADER_BYTES_MAX);
    assert_eq!(proxy::parse(&bytes[..length]), Ok(Some((origin, length))));
    (0..length).for_each(|cut| assert_eq!(proxy::parse(&bytes[..cut]), Ok(None)));
}

/// A client's certificate, read before anything is known of the client.
pub fn leaf_certificate(bytes: &[u8]) {
    let Ok(facts) = portreeve_pki::leaf_facts(bytes) else { return };
    assert!(facts.not_before <= facts.not_after);
    assert!(!facts.serial.is_empty() && facts.serial.len() <= 20);
}

/// A certificate signing request, PEM or DER.
pub fn signing_request(bytes: &[u8]) {
    let Ok(key) = portreeve_pki::public_key_from_csr(bytes) else { return };
    let again = portreeve_pki::SubjectPublicKey::from_spki_der(key.spki_der());
    assert_eq!(again.map(|key| key.hash()).ok(), Some(key.hash()));
}

/// The configuration file. Whatever is refused is refused with a place.
pub fn config_toml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let sources = Sources { file: Some(("fuzz.toml".into(), text.into())), ..Sources::default() };
    if let Err(error) = portreeve_config::load(&sources) {
        assert!(!error.problems().is_empty());
    }
}

/// Policy text. Whatever is refused is refused with a line and a column.
pub fn policy_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let source = PolicySource { file: "fuzz.cedar".into(), text: text.into() };
    if let Err(problems) = PolicySet::compile(&[source], Epoch(1)) {
        assert!(!problems.is_empty() && problems.iter().all(|problem| problem.line >= 1 && problem.column >= 1));
    }
}

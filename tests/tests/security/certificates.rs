//! Who gets through the handshake, and that all others learn the same: nothing.

use std::{
    io::{Read as _, Write as _},
    process::{Command, Stdio},
    sync::Arc,
};

use portreeve_tests::{
    Client, Identity, Login, V5,
    hub::{Hub, client_config, dial_address},
    pki::{self, Forgery},
    unique,
};
use rustls::{AlertDescription, ClientConfig, Error, HandshakeKind, client::Resumption};

use crate::hub;

/// How the hub refuses a client: the alert, wherever in the handshake it comes.
fn refusal(hub: &Hub, tls: Arc<ClientConfig>) -> AlertDescription {
    let answered = hub.try_dial(tls).and_then(|mut stream| {
        // In TLS 1.3 a client is done before the server has looked at its certificate.
        let login = Login::new(V5, "intruder").bytes();
        stream.write_all(&login).and_then(|()| stream.flush())?;
        stream.read(&mut [0])
    });
    let error = answered.expect_err("an answer to an intruder, or an end without an alert");
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::AlertReceived(alert)) => *alert,
        _ => panic!("no alert but {error:?}"),
    }
}

/// The URN in a registered identity's certificate.
fn urn(hub: &Hub, name: &str) -> String {
    let id = hub.json(&["device", "show", name])["id"].as_str().unwrap().to_owned();
    format!("urn:uuid:{id}")
}

/// With the same keys, but TLS 1.2.
fn tls12(identity: &Identity) -> Arc<ClientConfig> {
    let read = |file: &str| std::fs::read(identity.bundle.join(file)).unwrap();
    let mut config = (*client_config(&read("ca.pem"), Some((&read("cert.pem"), &read("key.pem"))))).clone();
    let provider = Arc::clone(config.crypto_provider());
    let chain = pem_chain(&read("cert.pem"));
    let key = pem_key(&read("key.pem"));
    config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots(&read("ca.pem")))
        .with_client_auth_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

fn roots(pem: &[u8]) -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    pem_chain(pem).into_iter().for_each(|anchor| roots.add(anchor).unwrap());
    roots
}

fn pem_chain(pem: &[u8]) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    use rustls::pki_types::pem::PemObject as _;
    rustls::pki_types::CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().unwrap()
}

fn pem_key(pem: &[u8]) -> rustls::pki_types::PrivateKeyDer<'static> {
    use rustls::pki_types::pem::PemObject as _;
    rustls::pki_types::PrivateKeyDer::from_pem_slice(pem).unwrap()
}

#[test]
fn every_bad_certificate_gets_the_same_alert() {
    // The peer learns that it was refused, not why. A hub of its own: others' floods thin out the log of a shared one.
    let hub = Hub::start(&[]);
    let owner = hub.add(&unique("owner"), "device");
    let urn = urn(&hub, &owner.name);
    let revoked = hub.add(&unique("revoked"), "device");
    hub.device("revoke", &revoked.name);
    let disabled = hub.add(&unique("disabled"), "device");
    hub.device("disable", &disabled.name);
    let retired = hub.add(&unique("retired"), "device");
    hub.device("retire", &retired.name);
    let refused = [
        ("foreign CA", pki::foreign(&hub, Some(&urn))),
        ("expired", pki::forged(&hub, Forgery::EXPIRED, Some(&urn))),
        ("not yet valid", pki::forged(&hub, Forgery::NOT_YET_VALID, Some(&urn))),
        ("a server's", pki::forged(&hub, Forgery::FOR_SERVERS, Some(&urn))),
        ("unregistered key", pki::forged(&hub, Forgery::UNREGISTERED, Some(&urn))),
        ("unregistered key, no name", pki::forged(&hub, Forgery::UNREGISTERED, None)),
        ("unregistered key, unknown name", {
            let unknown = "urn:uuid:00000000-0000-4000-8000-000000000000";
            pki::forged(&hub, Forgery::UNREGISTERED, Some(unknown))
        }),
        ("revoked", revoked.tls()),
        ("disabled", disabled.tls()),
        ("retired", retired.tls()),
        ("revoked, TLS 1.2", tls12(&revoked)),
    ];
    let alerts = refused.map(|(why, tls)| (why, refusal(&hub, tls)));
    for (why, alert) in alerts {
        assert_eq!(alert, alerts[0].1, "{why}");
    }
    // The log tells them apart.
    let log = hub.log();
    for word in ["not issued by a trusted CA", "expired", "revoked", "disabled"] {
        assert!(log.contains(word), "`{word}` in\n{log}");
    }
    // The owner is not concerned by what others claim to be.
    Login::new(V5, &owner.name).open_as(&hub, &owner).alive();
}

#[test]
fn no_certificate_no_session() {
    let alert = refusal(hub(), pki::anonymous(hub()));
    assert_eq!(alert, AlertDescription::CertificateRequired);
}

#[test]
fn tls_1_2_is_served_with_the_same_identity() {
    let device = hub().add(&unique("twelve"), "device");
    let mut client = Client::new(hub().try_dial(tls12(&device)).unwrap(), V5);
    client.send(&Login::new(V5, &device.name).bytes());
    assert_eq!(client.packet()[3], 0);
}

#[test]
fn no_connection_is_resumed() {
    // A ticket would outlive a revocation (FINDINGS §1).
    for tls13 in [true, false] {
        let device = hub().add(&unique("resume"), "device");
        let mut config = if tls13 { (*device.tls()).clone() } else { (*tls12(&device)).clone() };
        config.resumption = Resumption::in_memory_sessions(16);
        let config = Arc::new(config);
        for _ in 0..3 {
            let mut client = Client::new(dial_address(hub().mqtt(), Arc::clone(&config)).unwrap(), V5);
            client.send(&Login::new(V5, &device.name).bytes());
            assert_eq!(client.packet()[3], 0);
            // By the CONNACK everything of the handshake has come.
            let kind = client.stream().conn.handshake_kind();
            assert!(matches!(kind, Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)), "{kind:?}");
        }
    }
}

/// `openssl s_client` with a good certificate and these options; what it says.
fn openssl(options: &[&str]) -> String {
    let app = hub().app();
    let file = |name: &str| app.bundle.join(name).display().to_string();
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &hub().mqtt().to_string(), "-servername", "localhost"])
        .args(["-cert", &file("cert.pem"), "-key", &file("key.pem"), "-CAfile", &file("ca.pem")])
        .args(options)
        .stdin(Stdio::null())
        .output()
        .expect("openssl");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn an_independent_client_finds_only_approved_tls() {
    let good = openssl(&["-tls1_3", "-verify_return_error"]);
    assert!(good.contains("Verify return code: 0 (ok)"), "{good}");
    let good = openssl(&["-tls1_2", "-verify_return_error"]);
    assert!(good.contains("Cipher is ECDHE-ECDSA-AES"), "{good}");
    assert!(good.contains("Extended master secret: yes"), "{good}");
    for (what, options) in [
        ("TLS 1.1", &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..]),
        ("TLS 1.0", &["-tls1", "-cipher", "ALL:@SECLEVEL=0"][..]),
        ("CBC", &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384"][..]),
        ("RSA key exchange", &["-tls1_2", "-cipher", "AES128-GCM-SHA256"][..]),
        ("ChaCha20", &["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"][..]),
        ("a weak group", &["-tls1_3", "-groups", "P-521"][..]),
    ] {
        let said = openssl(options);
        assert!(said.contains("Cipher is (NONE)") || said.contains("no ciphers available"), "{what}: {said}");
    }
    // Five reconnections, none of them by a session.
    let said = openssl(&["-tls1_2", "-reconnect"]);
    assert!(!said.contains("Reused, "), "{said}");
    assert!(said.matches("New, TLS").count() >= 6, "{said}");
}

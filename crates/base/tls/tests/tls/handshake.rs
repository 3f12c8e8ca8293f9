//! Handshakes in memory, on a clock of the test's: what gets in, what does not, and what each side learns.

use std::sync::{Arc, atomic::Ordering};

use portreeve_tls::{ClientKeys, Refusal, TlsError, provider};
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls::{
    AlertDescription, ClientConfig, Error, HandshakeKind, NamedGroup, PeerIncompatible, ProtocolVersion,
    client::Resumption,
    crypto::aws_lc_rs::kx_group,
    version::{TLS12, TLS13},
};

use crate::support::{self, Ca, DAY_S, Outcome, World, handshake};

const BOTH: [&rustls::SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

#[test]
fn our_client_gets_in_with_a_post_quantum_share_at_the_first_try() {
    let world = World::new();
    let (client, server) = handshake(world.our_client(&world.hub_ca), world.server.config()).unwrap();
    for group in [client.negotiated_key_exchange_group(), server.negotiated_key_exchange_group()] {
        assert_eq!(group.unwrap().name(), NamedGroup::X25519MLKEM768);
    }
    assert_eq!(server.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(server.negotiated_cipher_suite().unwrap().suite(), rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    assert_eq!(server.handshake_kind(), Some(HandshakeKind::Full), "without a second round trip");
    assert_eq!(world.gate.asked.load(Ordering::Relaxed), 1);
    assert_eq!(server.peer_certificates().unwrap().len(), 2);
}

#[test]
fn both_versions_are_served_and_the_gate_is_asked_once() {
    for version in BOTH {
        let world = World::new();
        let (_, server) = handshake(world.client(version, Some(world.device())), world.server.config()).unwrap();
        assert_eq!(server.protocol_version(), Some(version.version));
        assert_eq!(world.gate.asked.load(Ordering::Relaxed), 1, "{version:?}");
    }
}

/// ISVS-4.1.2, IOTSF-2.4.7.15, GLOSSARY-P1: the list itself, so that an addition shows in a diff.
#[test]
fn only_approved_algorithms_are_offered() {
    let provider = provider();
    let suites: Vec<_> = provider.cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect();
    assert_eq!(
        suites,
        [
            "TLS13_AES_128_GCM_SHA256",
            "TLS13_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        ]
    );
    let groups: Vec<_> = provider.kx_groups.iter().map(|group| group.name()).collect();
    assert_eq!(groups, [NamedGroup::X25519MLKEM768, NamedGroup::secp256r1, NamedGroup::secp384r1]);
    let schemes: Vec<_> = provider.signature_verification_algorithms.supported_schemes();
    assert_eq!(
        schemes.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>(),
        ["ECDSA_NISTP256_SHA256", "ECDSA_NISTP384_SHA384"]
    );
}

/// ISVS-4.1.2: what a device may have that has nothing but RSA, where its operator lets it; it has to hold its key all the
/// same. Everywhere else it stays outside.
#[test]
fn rsa_keys_are_verified_where_they_are_expected() {
    let world = World::with_clients_of(ClientKeys::EcdsaOrRsa);
    let devices = [RsaKeySize::_3072, RsaKeySize::_4096].map(|size| world.devices_ca.rsa_device(size));
    for version in BOTH {
        for device in &devices {
            handshake(world.client(version, Some(device.clone())), world.server.config()).unwrap();
        }
        handshake(world.client(version, Some(world.device())), world.server.config()).unwrap();
        let asked = world.gate.asked.load(Ordering::Relaxed);
        let mut stolen = devices[0].clone();
        stolen.key = devices[1].key.clone_key();
        let thief = world.client_with_mismatched_key(version, stolen);
        assert_refused(&handshake(thief, world.server.config()).unwrap_err(), &Refusal::NoPossession);
        assert_eq!(world.gate.asked.load(Ordering::Relaxed), asked);

        let strict = World::new();
        let device = strict.devices_ca.rsa_device(RsaKeySize::_3072);
        let outcome = handshake(strict.client(version, Some(device)), strict.server.config()).unwrap_err();
        assert_eq!(
            Refusal::from_tls(&outcome.server.unwrap()),
            Some(Refusal::NoCertificate),
            "it has none that counts"
        );
    }
}

/// Only a client's own key may be RSA: a CA that signs with one leads nowhere.
#[test]
fn an_rsa_ca_leads_nowhere() {
    let world = World::with_clients_of(ClientKeys::EcdsaOrRsa);
    let rsa_ca = Ca::of("rsa", KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072).unwrap());
    world.server.replace_anchors(&rsa_ca.anchors()).unwrap();
    let outcome = handshake(world.client(&TLS13, Some(rsa_ca.device())), world.server.config()).unwrap_err();
    assert!(outcome.server.is_some());
    assert_eq!(world.gate.asked.load(Ordering::Relaxed), 0);
}

#[cfg(feature = "fips")]
#[test]
fn the_fips_build_is_one() {
    assert!(World::new().server.config().fips());
}

#[test]
fn a_client_that_leads_with_another_group_is_asked_for_an_approved_one() {
    let world = World::new();
    let mut theirs = rustls::crypto::aws_lc_rs::default_provider();
    theirs.kx_groups = vec![kx_group::X25519, kx_group::SECP256R1];
    let config = world.client_of(theirs, &[&TLS13], Some(world.device()));
    let (_, server) = handshake(config, world.server.config()).unwrap();
    assert_eq!(server.negotiated_key_exchange_group().unwrap().name(), NamedGroup::secp256r1);
    assert_eq!(server.handshake_kind(), Some(HandshakeKind::FullWithHelloRetryRequest));
}

/// Algorithms beyond the list find no counterpart (ISVS-4.1.2).
#[test]
fn a_client_with_nothing_approved_to_offer_stays_outside() {
    let world = World::new();
    let everything = rustls::crypto::aws_lc_rs::default_provider;
    let mut chacha_only = everything();
    chacha_only.cipher_suites.retain(|suite| format!("{:?}", suite.suite()).contains("CHACHA20"));
    assert!(!chacha_only.cipher_suites.is_empty());
    let mut x25519_only = everything();
    x25519_only.kx_groups = vec![kx_group::X25519];
    for theirs in [chacha_only, x25519_only] {
        for version in BOTH {
            let config = world.client_of(theirs.clone(), &[version], Some(world.device()));
            let outcome = handshake(config, world.server.config()).unwrap_err();
            assert!(matches!(outcome.server, Some(Error::PeerIncompatible(_))), "{outcome:?}");
            assert_eq!(Refusal::from_tls(&outcome.server.unwrap()), None, "no matter of identity");
        }
    }
}

/// GLOSSARY-P2, IOTSF-2.4.7.13: a ClientHello that ends at TLS 1.1, or at 1.0, is answered by `protocol_version`.
#[test]
fn older_versions_are_refused() {
    let config = World::new().server.config();
    assert!(support::answer_to(&config, &support::client_hello(3, true)).is_ok(), "the same words in TLS 1.2");
    for minor in [1, 2] {
        let (error, answer) = support::answer_to(&config, &support::client_hello(minor, true)).unwrap_err();
        assert!(matches!(error, Error::PeerIncompatible(_)), "{error:?}");
        assert_eq!(answer[5..], [2, 70], "fatal, protocol_version");
    }
}

/// RFC 7627; SP 800-52r2 §3.5.2.
#[test]
fn tls_1_2_needs_the_extended_master_secret() {
    let config = World::new().server.config();
    let (error, _) = support::answer_to(&config, &support::client_hello(3, false)).unwrap_err();
    assert_eq!(error, Error::PeerIncompatible(PeerIncompatible::ExtendedMasterSecretExtensionRequired));
}

/// ISVS-4.2.3, IOTSF-2.4.7.5: the hub learns which, the peer learns one and the same.
#[test]
fn every_refusal_looks_the_same_from_outside() {
    for version in BOTH {
        let world = World::new();
        let foreign = Ca::new("foreign");
        let namesake = Ca::new("devices");
        let cases = [
            (foreign.device(), Refusal::UnknownIssuer),
            (namesake.device(), Refusal::BadSignature),
            (world.devices_ca.leaf(support::Usage::Client, -2, -1), Refusal::Expired),
            (world.devices_ca.leaf(support::Usage::Client, 1, 2), Refusal::NotYetValid),
            (world.devices_ca.leaf(support::Usage::Server, -1, 1), Refusal::WrongPurpose),
            (world.devices_ca.credentials(), Refusal::WrongPurpose),
            (world.hub_ca.device(), Refusal::UnknownIssuer),
        ];
        for (credentials, reason) in cases {
            let outcome = handshake(world.client(version, Some(credentials)), world.server.config()).unwrap_err();
            assert_refused(&outcome, &reason);
        }
        assert_eq!(world.gate.asked.load(Ordering::Relaxed), 0, "the registry is not bothered with strangers");

        world.gate.refuse("revoked");
        let outcome = handshake(world.client(version, Some(world.device())), world.server.config()).unwrap_err();
        let refusal = Refusal::from_tls(outcome.server.as_ref().unwrap()).unwrap();
        assert_eq!((refusal.code(), world.gate.asked.load(Ordering::Relaxed)), ("revoked", 1));
        assert_refused(&outcome, &refusal);
    }
}

fn assert_refused(outcome: &Outcome, reason: &Refusal) {
    let server = outcome.server.clone().unwrap();
    assert_eq!(Refusal::from_tls(&server).as_ref(), Some(reason));
    let wrapped = std::io::Error::new(std::io::ErrorKind::InvalidData, server);
    assert_eq!(Refusal::from_io(&wrapped).as_ref(), Some(reason), "as an asynchronous handshake reports it");
    assert_eq!(outcome.client, Some(Error::AlertReceived(AlertDescription::CertificateUnknown)), "{reason}");
}

/// CSA-COM-03, CSA-SCN-01.
#[test]
fn a_client_without_a_certificate_stays_outside() {
    for version in BOTH {
        let world = World::new();
        let outcome = handshake(world.client(version, None), world.server.config()).unwrap_err();
        assert_eq!(Refusal::from_tls(&outcome.server.unwrap()), Some(Refusal::NoCertificate));
        assert_eq!(outcome.client, Some(Error::AlertReceived(AlertDescription::CertificateRequired)));
        assert_eq!(world.gate.asked.load(Ordering::Relaxed), 0);
    }
}

/// Where strangers are heard, somebody else's certificate makes nobody of its holder, who has to hold its key all the same;
/// one that names our CA is looked at as everywhere (CSA-CRD-04).
#[test]
fn the_enrolment_door_hears_strangers_and_believes_nobody_more() {
    for version in BOTH {
        let world = World::new();
        let door = || world.server.enrolment_config(&[]);
        let foreign = Ca::new("foreign").device();
        for stranger in [None, Some(foreign)] {
            handshake(world.client(version, stranger), door()).unwrap();
        }
        assert_eq!(world.gate.asked.load(Ordering::Relaxed), 0, "the registry is not bothered with strangers");
        handshake(world.client(version, Some(world.device())), door()).unwrap();
        assert_eq!(world.gate.asked.load(Ordering::Relaxed), 1);
        let namesake = Ca::new("devices").device();
        let outcome = handshake(world.client(version, Some(namesake)), door()).unwrap_err();
        assert_refused(&outcome, &Refusal::BadSignature);
        let late = world.devices_ca.leaf(support::Usage::Client, -2, -1);
        assert_refused(&handshake(world.client(version, Some(late)), door()).unwrap_err(), &Refusal::Expired);
        world.gate.refuse("revoked");
        let revoked = handshake(world.client(version, Some(world.device())), door()).unwrap_err();
        assert_refused(&revoked, &Refusal::from_tls(revoked.server.as_ref().unwrap()).unwrap());
    }
}

/// A copied certificate tells its finder nothing about the device's state, and leaves no mark on the device.
#[test]
fn a_stolen_certificate_without_its_key_never_reaches_the_gate() {
    for version in BOTH {
        let world = World::new();
        world.gate.refuse("revoked");
        let mut stolen = world.device();
        let thief = world.device();
        stolen.key = thief.key;
        let config = world.client_with_mismatched_key(version, stolen);
        let outcome = handshake(config, world.server.config()).unwrap_err();
        assert_refused(&outcome, &Refusal::NoPossession);
        assert_eq!(world.gate.asked.load(Ordering::Relaxed), 0);
    }
}

/// A ticket would outlive a revocation: none is ever given, and a client that would resume cannot.
#[test]
fn sessions_cannot_be_resumed() {
    for version in BOTH {
        let world = World::new();
        let mut config = ClientConfig::clone(&world.client(version, Some(world.device())));
        config.resumption = Resumption::in_memory_sessions(8);
        config.enable_early_data = true;
        let config = Arc::new(config);
        for attempt in 1..=3 {
            let (client, server) = handshake(Arc::clone(&config), world.server.config()).unwrap();
            assert_eq!(server.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(client.tls13_tickets_received(), 0);
            assert_eq!(world.gate.asked.load(Ordering::Relaxed), attempt, "asked every time");
        }
        world.gate.refuse("revoked");
        assert!(handshake(config, world.server.config()).is_err());
    }
}

#[test]
fn a_replaced_certificate_is_served_at_once() {
    let world = World::new();
    let served = |config| {
        let (client, _) = handshake(world.client(&TLS13, Some(world.device())), config).unwrap();
        client.peer_certificates().unwrap()[0].clone()
    };
    let first = served(world.server.config());
    let next = world.hub_ca.leaf(support::Usage::Server, -1, 1);
    let expected = next.chain[0].clone();
    let other_listener = world.server.config_with_alpn(&[]);
    world.server.replace_certificate(next).unwrap();
    assert_ne!(first, expected);
    assert_eq!(served(world.server.config()), expected);
    assert_eq!(served(other_listener), expected);

    let mut mismatched = world.hub_ca.leaf(support::Usage::Server, -1, 1);
    mismatched.key = world.device().key;
    assert_eq!(world.server.replace_certificate(mismatched), Err(TlsError::KeyMismatch));
    assert_eq!(served(world.server.config()), expected, "a failed replacement changes nothing");
}

/// Anchors are replaced in service.
#[test]
fn replaced_anchors_count_at_once() {
    let world = World::new();
    let next = Ca::new("next");
    let attempt = |credentials| handshake(world.client(&TLS13, Some(credentials)), world.server.config());
    assert!(attempt(next.device()).is_err());
    world.server.replace_anchors(&[world.devices_ca.anchors(), next.anchors()].concat()).unwrap();
    assert!(attempt(next.device()).is_ok(), "both, during the overlap");
    assert!(attempt(world.device()).is_ok());
    world.server.replace_anchors(&next.anchors()).unwrap();
    assert_refused(&attempt(world.device()).unwrap_err(), &Refusal::UnknownIssuer);

    let broken = [next.anchors()[0].clone(), vec![0x30, 0].into()];
    assert_eq!(world.server.replace_anchors(&broken), Err(TlsError::Anchor { index: 1 }));
    assert!(attempt(next.device()).is_ok(), "a failed replacement changes nothing");
    // When the only CA was withdrawn.
    world.server.replace_anchors(&[]).unwrap();
    assert_refused(&attempt(next.device()).unwrap_err(), &Refusal::UnknownIssuer);
}

#[test]
fn time_decides() {
    let world = World::new();
    let attempt = || handshake(world.client(&TLS13, Some(world.device())), world.server.config());
    assert!(attempt().is_ok());
    world.clock.advance(2 * DAY_S);
    assert_refused(&attempt().unwrap_err(), &Refusal::Expired);
}

/// A certificate from below a foreign intermediate is followed when the foreign root is an anchor.
#[test]
fn a_chain_is_followed_to_its_anchor() {
    let world = World::new();
    let root = Ca::new("manufacturer");
    let issuing = root.sub_ca("factory");
    world.server.replace_anchors(&root.anchors()).unwrap();
    let attempt = |credentials| handshake(world.client(&TLS13, Some(credentials)), world.server.config());
    assert!(attempt(issuing.device()).is_ok());
    let mut leaf_only = issuing.device();
    leaf_only.chain.truncate(1);
    assert_refused(&attempt(leaf_only).unwrap_err(), &Refusal::UnknownIssuer);
}

/// ISVS-4.1.3, CSA-CLS-01: our client refuses a stranger, a wrong name and a device that plays the hub.
#[test]
fn our_client_checks_the_server() {
    let world = World::new();
    let attempt = |trusted: &Ca| handshake(world.our_client(trusted), world.server.config());
    assert!(attempt(&world.hub_ca).is_ok());
    let outcome = attempt(&Ca::new("hub")).unwrap_err();
    assert!(matches!(outcome.client, Some(Error::InvalidCertificate(_))), "{outcome:?}");

    let impostor = world.hub_ca.leaf(support::Usage::Client, -1, 1);
    world.server.replace_certificate(impostor).unwrap();
    assert!(attempt(&world.hub_ca).is_err(), "a client's certificate does not serve");

    let elsewhere = world.hub_ca.named("other.example");
    world.server.replace_certificate(elsewhere).unwrap();
    assert!(attempt(&world.hub_ca).is_err(), "another server's name");
}

#[test]
fn application_protocols_belong_to_listeners() {
    let world = World::new();
    let ask = |server, protocol: &[u8]| {
        let mut config = ClientConfig::clone(&world.client(&TLS13, Some(world.device())));
        config.alpn_protocols = vec![protocol.to_vec()];
        handshake(Arc::new(config), server).map(|(_, server)| server.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(ask(world.server.config(), b"mqtt").unwrap(), Some(b"mqtt".to_vec()));
    let http = world.server.config_with_alpn(&[b"http/1.1"]);
    assert_eq!(ask(Arc::clone(&http), b"http/1.1").unwrap(), Some(b"http/1.1".to_vec()));
    assert!(ask(http, b"mqtt").is_err(), "RFC 7301 §3.2");
}

#[test]
fn a_client_needs_an_anchor() {
    let world = World::new();
    assert_eq!(portreeve_tls::client_config(&[], world.device()).unwrap_err(), TlsError::NoAnchor);
    let broken = [vec![1].into()];
    assert_eq!(portreeve_tls::client_config(&broken, world.device()).unwrap_err(), TlsError::Anchor { index: 0 });
}

/// Looking for a path among many certificates takes long, and is done before the peer has shown that it holds a key: whoever
/// sends more of them than any honest client is refused without looking.
#[test]
fn a_pile_of_certificates_is_refused_unread() {
    let world = World::new();
    let maze = |count| {
        let mut credentials = Ca::new("maze").device();
        credentials.chain.truncate(1);
        credentials.chain.extend((0..count).flat_map(|_| Ca::new("maze").anchors()));
        handshake(world.client(&TLS13, Some(credentials)), world.server.config()).unwrap_err()
    };
    assert_refused(&maze(3), &Refusal::UnknownIssuer);
    for count in [4, 20] {
        let outcome = maze(count);
        assert_eq!(Refusal::from_tls(outcome.server.as_ref().unwrap()).unwrap().code(), "malformed", "{outcome:?}");
    }
}

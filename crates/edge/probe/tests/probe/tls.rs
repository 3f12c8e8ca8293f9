use portreeve_assurance::{
    Verdict,
    checks::{
        tls::{tls_cert, tls_pqc, tls_suites, tls_versions},
        vulns::tls_vulns,
    },
    evidence::{
        Seen,
        attacks::TlsAttacks,
        tls::{ClassicFacts, Order, SealedFacts, TlsPolicy, TlsScan, Version, VersionFacts},
    },
};

use crate::support::{Certificates, P256, RSA, anchors, limits, s_server, scan, scripted, survives};

fn of(facts: &TlsScan, version: Version) -> &VersionFacts {
    facts.versions.iter().find(|found| found.version == version).unwrap()
}

fn names(listing: &portreeve_assurance::evidence::Listing) -> Vec<&str> {
    listing.found.iter().map(|code| &*code.name).collect()
}

/// ISVS-4.1.1, ISVS-4.1.2, GLOSSARY-P2: everything that an old server accepts is seen, and condemned.
#[tokio::test]
async fn a_weak_server_fails_where_it_is_weak() {
    let certificates = Certificates::new();
    let ec = certificates.server("ec", P256);
    let rsa = certificates.server("rsa", &["-newkey", "rsa:1024", "-sha1"]);
    let more = ["-dcert", &rsa.0, "-dkey", &rsa.1, "-cipher", "ALL:@SECLEVEL=0"];
    let server = s_server(&ec, &more);
    let facts = scan(server.address, Vec::new(), limits()).await;

    assert_eq!(of(&facts, Version::Ssl30).accepted, Seen::Known(false));
    assert!(
        [Version::Tls10, Version::Tls11, Version::Tls12, Version::Tls13]
            .iter()
            .all(|version| of(&facts, *version).accepted.is_true())
    );
    let old = of(&facts, Version::Tls10);
    assert!(old.suites.has(0x0034) && old.suites.has(0xc014) && !old.suites.has(0xc02b), "{:?}", names(&old.suites));
    assert_eq!((old.suites.gap.as_deref(), old.order.known()), (None, Some(&Order::Client)));
    let new = of(&facts, Version::Tls12);
    assert!([0xc02b, 0xc0af, 0x00a6, 0xccaa, 0x009c].iter().all(|suite| new.suites.has(*suite)));
    assert!(new.dh_bits_min.is_some_and(|bits| bits >= 1024));
    assert!(
        new.groups.has(0x0017) && new.groups.has(0x001d) && new.signatures.has(0x0403) && new.signatures.has(0x0203)
    );
    assert_eq!(facts.chains.len(), 2);

    let policy = TlsPolicy::default();
    let judgement = tls_versions(&facts, &policy);
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert_eq!(judgement.observed, "TLS 1.0 is accepted; TLS 1.1 is accepted");
    assert_eq!(tls_suites(&facts, &policy).verdict, Verdict::Fail);
    let judgement = tls_cert(&facts, &policy);
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert!(
        judgement.observed.contains("rsa 1024 bits") && judgement.observed.contains("rsa-pkcs1-sha1"),
        "{judgement:?}"
    );
    assert!(facts.effort.connections < 300, "{:?}", facts.effort);
    survives(&facts);
}

/// What openssl itself says that it offers is what is found, suite by suite.
#[tokio::test]
async fn what_is_found_is_what_was_configured() {
    let certificates = Certificates::new();
    let ec = certificates.server("ec", P256);
    let cipher = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-SHA";
    let more = ["-serverpref", "-cipher", cipher, "-ciphersuites", "TLS_AES_256_GCM_SHA384", "-curves", "P-384:P-256"];
    let server = s_server(&ec, &[&more[..], &["-no_tls1", "-no_tls1_1", "-num_tickets", "0"]].concat());
    let facts = scan(server.address, Vec::new(), limits()).await;
    let (classic, sealed) = (of(&facts, Version::Tls12), of(&facts, Version::Tls13));
    assert_eq!(
        names(&classic.suites),
        [
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"
        ]
    );
    assert_eq!(classic.order, Seen::Known(Order::Server));
    assert_eq!(names(&sealed.suites), ["TLS_AES_256_GCM_SHA384"]);
    assert_eq!(names(&sealed.groups), ["secp384r1", "secp256r1"]);
    assert_eq!(names(&classic.groups), ["secp384r1", "secp256r1"]);
    assert_eq!(names(&sealed.signatures), ["ecdsa_secp256r1_sha256"]);
    let strict = tls_suites(&facts, &TlsPolicy::default());
    let offences = "TLS 1.2: suite TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256; TLS 1.2: suite TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA";
    assert!(strict.verdict == Verdict::Fail && strict.observed.starts_with(offences), "{strict:?}");
    assert!(!tls_suites(&facts, &TlsPolicy::modern()).observed.contains("CHACHA20"));
    let Seen::Known(before) = &facts.classic else { panic!("{:?}", facts.classic) };
    assert!(before.extended_master_secret && before.secure_renegotiation && !before.heartbeat && !before.compression);
    assert_eq!((&before.fallback_refused, &before.early_ccs_refused), (&Seen::Known(true), &Seen::Known(true)));
    assert_eq!(facts.sealed.known().map(|sealed| (sealed.tickets, sealed.early_data_bytes)), Some((0, 0)));
}

/// A server as the policy wants it passes; the same under one that wants more does not.
#[tokio::test]
async fn a_good_server_passes_and_says_what_is_left_open() {
    let certificates = Certificates::new();
    let (ca, ca_key) = certificates.make(
        "ca",
        P256,
        &["-subj", "/CN=ca", "-days", "3000", "-addext", "basicConstraints=critical,CA:TRUE"],
    );
    let more = ["-days", "90", "-CA", &ca, "-CAkey", &ca_key, "-addext", "extendedKeyUsage=serverAuth"];
    let more =
        [&more[..], &["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE"]].concat();
    let leaf = certificates.make("leaf", P256, &more);
    let server = s_server(
        &leaf,
        &["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256", "-curves", "P-256", "-Verify", "1", "-CAfile", &ca],
    );
    let policy = TlsPolicy::default();
    let facts = scan(server.address, anchors(&ca), limits()).await;
    for judgement in [tls_versions(&facts, &policy), tls_suites(&facts, &policy), tls_cert(&facts, &policy)] {
        assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}");
    }
    assert_eq!(tls_vulns(&facts, &TlsAttacks::default()).verdict, Verdict::Partial);
    assert_eq!(tls_pqc(&facts, &TlsPolicy { is_pqc_required: true, ..policy.clone() }).verdict, Verdict::Fail);
    assert_eq!(
        tls_versions(&facts, &TlsPolicy { version_min: Version::Tls13, ..policy.clone() }).verdict,
        Verdict::Pass
    );
    assert_eq!(facts.sealed.known().map(|sealed| sealed.client_certificate), Some(true));

    // The same certificate without anybody to compare it with, and with somebody else.
    let facts = scan(server.address, Vec::new(), limits()).await;
    assert_eq!(tls_cert(&facts, &policy).verdict, Verdict::Partial);
    let (other, _) = certificates.make("other", P256, &["-days", "30"]);
    let judgement = tls_cert(&scan(server.address, anchors(&other), limits()).await, &policy);
    assert_eq!(
        (judgement.verdict, &*judgement.observed),
        (Verdict::Fail, "it does not lead to a declared trust anchor")
    );
}

/// CSA-CRD-09: what is wrong with a certificate is said.
#[tokio::test]
async fn bad_certificates_are_told_apart() {
    let certificates = Certificates::new();
    let cases: [(&str, &[&str], &str); 2] = [
        ("wrong", &["-days", "30", "-addext", "subjectAltName=DNS:elsewhere"], "it is not for the name of the target"),
        (
            "client",
            &["-days", "30", "-addext", "subjectAltName=DNS:localhost", "-addext", "extendedKeyUsage=clientAuth"],
            "it is not for servers",
        ),
    ];
    let made = cases.map(|(name, more, said)| (name, certificates.make(name, RSA, more), said));
    for (name, pair, said) in made.into_iter().chain([("expired", certificates.expired(), "it expired 5 days ago")]) {
        let server = s_server(&pair, &["-tls1_2"]);
        let judgement = tls_cert(&scan(server.address, Vec::new(), limits()).await, &TlsPolicy::default());
        assert_eq!(judgement.verdict, Verdict::Fail);
        assert!(judgement.observed.contains(said), "{name}: {judgement:?}");
    }
}

/// Each weakness that a handshake shows is condemned by itself, and what needs an attack to be seen is said to be open.
#[tokio::test]
async fn what_is_exploitable_fails() {
    let certificates = Certificates::new();
    let server =
        s_server(&certificates.server("rsa", RSA), &["-tls1_2", "-cipher", "AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256"]);
    let facts = scan(server.address, Vec::new(), limits()).await;
    let judgement = tls_vulns(&facts, &TlsAttacks::default());
    assert_eq!(judgement.verdict, Verdict::Partial);
    assert!(["ROBOT", "CBC", "renegotiation"].iter().all(|open| judgement.observed.contains(open)), "{judgement:?}");

    let weak: [fn(&mut ClassicFacts); 4] = [
        |classic| classic.compression = true,
        |classic| classic.secure_renegotiation = false,
        |classic| classic.extended_master_secret = false,
        |classic| classic.early_ccs_refused = Seen::Known(false),
    ];
    for weaken in weak {
        let mut facts = facts.clone();
        let Seen::Known(classic) = &mut facts.classic else { panic!("{:?}", facts.classic) };
        weaken(classic);
        assert_eq!(tls_vulns(&facts, &TlsAttacks::default()).verdict, Verdict::Fail);
    }
    let mut early = facts;
    early.sealed = Seen::Known(SealedFacts { client_certificate: false, tickets: 2, early_data_bytes: 16384 });
    assert_eq!(tls_vulns(&early, &TlsAttacks::default()).verdict, Verdict::Fail);
}

/// A server that closes old hellos without a word refuses them, as long as it answers new ones.
#[tokio::test]
async fn silence_refuses_where_others_are_answered() {
    let certificates = Certificates::new();
    let server = s_server(&certificates.server("ec", P256), &["-tls1_2"]);
    let behind = server.address;
    let door = scripted(move |mut stream| async move {
        let mut start = [0; 11];
        let is_new = stream.peek(&mut start).await.is_ok_and(|read| read == 11) && start[9..] >= [3, 3][..];
        if is_new && let Ok(mut inside) = tokio::net::TcpStream::connect(behind).await {
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut inside).await;
        }
    })
    .await;
    let facts = scan(door, Vec::new(), limits()).await;
    assert_eq!(of(&facts, Version::Tls10).refusal, "closed the connection");
    assert_eq!(tls_versions(&facts, &TlsPolicy::default()).verdict, Verdict::Pass, "{facts:?}");
}

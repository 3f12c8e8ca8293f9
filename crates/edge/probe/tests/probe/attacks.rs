use std::{net::SocketAddr, time::Duration};

use aws_lc_rs::rsa::{Pkcs1PrivateDecryptingKey, PrivateDecryptingKey};
use portreeve_assurance::{
    Verdict,
    checks::vulns::tls_vulns,
    evidence::{
        Outcome, Seen,
        attacks::{HeartbeatAnswer, Resumption, TlsAttacks},
        tls::{ClassicFacts, TlsScan, Version},
    },
};
use portreeve_probe::{
    Dialer, Limits,
    mutual::Application,
    tls::{Attack, Target, attacks},
};
use portreeve_tls::Credentials;
use rustls_pki_types::{PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Authority, Certificates, P256, RSA, limits, s_server, saying, scan, scripted, short, survives};

async fn attack(address: SocketAddr, scan: &TlsScan, identity: Option<&Credentials>, limits: Limits) -> TlsAttacks {
    let target = Target { address, name: Some(ServerName::try_from("localhost").unwrap()), anchors: Vec::new() };
    let dialer = Dialer::new(address, limits);
    let application = Application::Http;
    let random = [9; 32];
    attacks(&Attack { target: &target, dialer: &dialer, scan, identity, application, is_intrusive: true, random }).await
}

fn of(facts: &TlsAttacks, version: Version) -> &Seen<Resumption> {
    &facts.resumption.iter().find(|attempt| attempt.version == version).unwrap().outcome
}

/// IOTSF-2.4.7.13, CSA-VLN-01: a server that resumes and renegotiates as it is told fails for both, though not for ROBOT, which
/// OpenSSL does not have.
#[tokio::test]
async fn an_obliging_server_fails_where_it_obliges() {
    let certificates = Certificates::new();
    let authority = Authority::new();
    let more = ["-cipher", "AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256", "-client_renegotiation", "-www"];
    let ca = authority.file(&certificates);
    let more = [&more[..], &["-no_tls1", "-no_tls1_1", "-verify", "1", "-CAfile", &ca]].concat();
    let server = s_server(&certificates.server("rsa", RSA), &more);
    let facts = scan(server.address, Vec::new(), limits()).await;
    let client = authority.client("a");
    let found = attack(server.address, &facts, Some(&client), limits()).await;
    assert_eq!(found.renegotiation, Seen::Known(Outcome { accepted: true, how: "ServerHello".into() }));
    for version in [Version::Tls12, Version::Tls13] {
        assert_eq!(of(&found, version), &Seen::Known(Resumption::ResumedWithoutCertificate), "{version}");
    }
    assert_eq!(found.early_data, Seen::Known(Outcome { accepted: false, how: "no ticket allows any".into() }));
    assert_eq!(found.robot.known().map(Vec::len), Some(10));
    let judgement = tls_vulns(&facts, &found);
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert!(
        ["may renegotiate", "without its client's certificate"].iter().all(|what| judgement.observed.contains(what))
    );
    assert!(!judgement.observed.contains("ROBOT"), "{judgement:?}");
    assert!(found.effort.connections < 30, "{:?}", found.effort);
    survives(&found);
    assert!(found.robot.known().unwrap()[0].answer.starts_with("alert bad_record_mac"), "{:?}", found.robot);
}

/// Who has no certificate does not get far where one is needed, and so cannot know.
#[tokio::test]
async fn strangers_learn_nothing() {
    let certificates = Certificates::new();
    let ca = Authority::new().file(&certificates);
    let more = ["-tls1_2", "-cipher", "AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256", "-Verify", "1", "-CAfile", &ca];
    let server = s_server(&certificates.server("rsa", RSA), &more);
    let facts = scan(server.address, Vec::new(), limits()).await;
    let found = attack(server.address, &facts, None, limits()).await;
    assert_eq!((of(&found, Version::Tls12), &found.renegotiation), (&Seen::NotTried, &Seen::NotTried));
    assert!(found.robot.gap().is_some_and(|gap| gap.contains("does not get as far")), "{:?}", found.robot);
    assert_eq!(tls_vulns(&facts, &found).verdict, Verdict::Inconclusive);
    let gentle = TlsAttacks { robot: Seen::NotTried, ..found };
    assert_eq!(tls_vulns(&facts, &gentle).verdict, Verdict::Partial);
}

/// One that does neither passes, and only with the attacks made; without client certificates, tickets are no harm.
#[tokio::test]
async fn a_strict_server_passes() {
    let certificates = Certificates::new();
    let authority = Authority::new();
    let ca = authority.file(&certificates);
    let more = ["-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256", "-no_ticket", "-no_cache", "-num_tickets", "0", "-www"];
    let more = [&more[..], &["-no_tls1", "-no_tls1_1", "-Verify", "1", "-CAfile", &ca]].concat();
    let pair = certificates.server("ec", P256);
    let server = s_server(&pair, &more);
    let facts = scan(server.address, Vec::new(), limits()).await;
    assert_eq!(tls_vulns(&facts, &TlsAttacks::default()).verdict, Verdict::Partial);
    let found = attack(server.address, &facts, Some(&authority.client("a")), limits()).await;
    assert_eq!(found.renegotiation, Seen::Known(Outcome { accepted: false, how: "alert no_renegotiation".into() }));
    let judgement = tls_vulns(&facts, &found);
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?} {found:?}");

    let server = s_server(&pair, &["-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305", "-no_tls1", "-no_tls1_1", "-www"]);
    let facts = scan(server.address, Vec::new(), limits()).await;
    let found = attack(server.address, &facts, None, limits()).await;
    assert_eq!((of(&found, Version::Tls12), of(&found, Version::Tls13)), (&RESUMED, &RESUMED));
    assert_eq!(tls_vulns(&facts, &found).verdict, Verdict::Pass, "{found:?}");
}

const RESUMED: Seen<Resumption> = Seen::Known(Resumption::Resumed);

/// Early data are taken by who promises them.
#[tokio::test]
async fn early_data_are_tried() {
    let certificates = Certificates::new();
    let server = s_server(&certificates.server("ec", P256), &["-tls1_3", "-early_data"]);
    let facts = scan(server.address, Vec::new(), limits()).await;
    let found = attack(server.address, &facts, None, limits()).await;
    assert_eq!(found.early_data, Seen::Known(Outcome { accepted: true, how: "taken".into() }), "{found:?}");
    assert_eq!(tls_vulns(&facts, &found).verdict, Verdict::Fail);
    // A promise that is not kept is none.
    let kept = TlsAttacks { early_data: Seen::Known(Outcome { accepted: false, how: "refused".into() }), ..found };
    assert_ne!(tls_vulns(&facts, &kept).verdict, Verdict::Fail);
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3][..], &u16::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &u32::try_from(body.len()).unwrap().to_be_bytes()[1..], body].concat()
}

/// ServerHello of TLS 1.2 with TLS_RSA_WITH_AES_128_GCM_SHA256 and heartbeats, a certificate, and that is all.
fn flight(certificate: &[u8]) -> Vec<u8> {
    let hello = [&[3, 3][..], &[5; 32], &[0, 0, 0x9c, 0, 0, 5, 0, 15, 0, 1, 1]].concat();
    let sized = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[1..], bytes].concat();
    let chain = sized(&sized(certificate));
    record(22, &[message(2, &hello), message(11, &chain), message(14, &[])].concat())
}

async fn next_record(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.ok()?;
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut body).await.ok()?;
    Some((head[0], body))
}

/// A server of TLS 1.2 with RSA key exchange and heartbeats, as a scan shows it.
async fn old_server_facts(pair: &(String, String)) -> TlsScan {
    let server = s_server(pair, &["-tls1_2", "-cipher", "AES128-GCM-SHA256"]);
    let mut facts = scan(server.address, Vec::new(), limits()).await;
    let heartbeats = |classic: ClassicFacts| ClassicFacts { heartbeat: true, ..classic };
    facts.classic = Seen::Known(heartbeats(facts.classic.known().unwrap().clone()));
    facts
}

/// A server that treats what follows its first flight by `treat`; whatever it writes is sent, and nothing ends the connection.
async fn with_flight(
    certificate: Vec<u8>,
    treat: fn(&PrivateDecryptingKey, u8, &[u8]) -> Option<Vec<u8>>,
    key: PrivateDecryptingKey,
) -> SocketAddr {
    scripted(move |mut stream| {
        let (certificate, key) = (certificate.clone(), key.clone());
        async move {
            let _ = next_record(&mut stream).await;
            let _ = stream.write_all(&flight(&certificate)).await;
            while let Some((kind, body)) = next_record(&mut stream).await {
                if let Some(answer) = treat(&key, kind, &body) {
                    let _ = stream.write_all(&answer).await;
                    return;
                }
            }
        }
    })
    .await
}

/// A memory leak, and an oracle that decrypts with the server's real key and says whether that worked, are found; the same servers
/// without their faults have none.
#[tokio::test]
async fn heartbleed_and_robot_are_told_from_their_absence() {
    let certificates = Certificates::new();
    let pair = certificates.server("rsa", RSA);
    let facts = old_server_facts(&pair).await;
    let certificate = crate::support::anchors(&pair.0).remove(0).to_vec();
    let PrivateKeyDer::Pkcs8(key) = PrivateKeyDer::from_pem_file(&pair.1).unwrap() else { panic!() };
    let key = PrivateDecryptingKey::from_pkcs8(key.secret_pkcs8_der()).unwrap();

    let weak = with_flight(
        certificate.clone(),
        |key, kind, body| match (kind, body) {
            (24, [1, high, low, ..]) => {
                let claimed = usize::from(u16::from_be_bytes([*high, *low]));
                Some(record(24, &[&[2, *high, *low][..], &vec![0x41; claimed + 16]].concat()))
            }
            (22, [16, _, _, _, _, _, secret @ ..]) => {
                let key = Pkcs1PrivateDecryptingKey::new(key.clone()).unwrap();
                let mut plain = vec![0; 256];
                let is_good = key.decrypt(secret, &mut plain).is_ok_and(|plain| plain.len() == 48);
                Some(record(21, &[2, if is_good { 20 } else { 51 }]))
            }
            _ => None,
        },
        key.clone(),
    )
    .await;
    let found = attack(weak, &facts, None, limits()).await;
    assert_eq!(found.heartbeat, Seen::Known(HeartbeatAnswer::Bytes(35)));
    let judgement = tls_vulns(&facts, &found);
    assert_eq!(judgement.verdict, Verdict::Fail);
    let oracle =
        "a Bleichenbacher oracle (ROBOT): alert bad_record_mac, closed the connection or alert decrypt_error, closed";
    assert!(judgement.observed.contains(oracle) && judgement.observed.contains("35 bytes"), "{judgement:?}");

    let strong = with_flight(certificate, |_, kind, _| (kind == 20).then(|| record(21, &[2, 20])), key).await;
    let found = attack(strong, &facts, None, limits()).await;
    assert_eq!(found.heartbeat, Seen::Known(HeartbeatAnswer::Nothing));
    let judgement = tls_vulns(&facts, &found);
    assert!(!judgement.observed.contains("oracle") && !judgement.observed.contains("Heartbleed,"), "{judgement:?}");
    // Nothing else could be tried: this server never finishes a handshake.
    assert_eq!(judgement.verdict, Verdict::Inconclusive, "{judgement:?}");
    assert!(found.robot.known().is_some_and(|answers| answers.len() == 10));
}

/// Whatever a target does instead, the attacks end in their time and claim nothing.
#[tokio::test]
async fn hostile_targets_are_not_judged_by_their_noise() {
    let certificates = Certificates::new();
    let pair = certificates.server("rsa", RSA);
    let facts = old_server_facts(&pair).await;
    let certificate = crate::support::anchors(&pair.0).remove(0).to_vec();
    let cases: [(&str, Vec<u8>); 6] = [
        ("nothing", Vec::new()),
        ("another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("a record that says it is longest", vec![22, 3, 3, 0xff, 0xff]),
        ("a flight without a certificate", flight(&[])),
        ("a certificate that is none", flight(&[0x30; 900])),
        ("half a certificate", flight(&certificate[..certificate.len() / 2])),
    ];
    for (what, bytes) in cases {
        let started = std::time::Instant::now();
        let found = attack(saying(bytes).await, &facts, None, short()).await;
        assert_ne!(tls_vulns(&facts, &found).verdict, Verdict::Pass, "{what}");
        assert_eq!(found.robot.known(), None, "{what}");
        assert_eq!(found.renegotiation.known(), None, "{what}");
        assert!(started.elapsed() < Duration::from_secs(15), "{what}");
    }
    let endless = scripted(move |mut stream| {
        let flight = flight(&certificate);
        async move {
            let _ = stream.write_all(&flight).await;
            let noise = record(24, &[2; 1000]).repeat(100);
            while stream.write_all(&noise).await.is_ok() {}
        }
    })
    .await;
    let found = attack(endless, &facts, None, short()).await;
    assert_eq!((found.robot.known(), found.heartbeat.known()), (None, None), "{found:?}");
    assert_eq!(tls_vulns(&facts, &found).verdict, Verdict::Inconclusive);

    // Answers that change by chance are no oracle.
    let whim = std::sync::atomic::AtomicU8::new(0);
    let whim: &'static std::sync::atomic::AtomicU8 = Box::leak(Box::new(whim));
    let certificate = crate::support::anchors(&pair.0).remove(0).to_vec();
    let moody = scripted(move |mut stream| {
        let flight = flight(&certificate);
        async move {
            let _ = next_record(&mut stream).await;
            let _ = stream.write_all(&flight).await;
            let _ = next_record(&mut stream).await;
            let alert = whim.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let _ = stream.write_all(&record(21, &[2, 40 + alert % 7])).await;
        }
    })
    .await;
    let found = attack(moody, &facts, None, limits()).await;
    assert_eq!(found.robot.gap(), Some("its answers change from time to time"));
}

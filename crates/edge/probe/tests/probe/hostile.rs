use std::time::{Duration, Instant};

use portreeve_assurance::{
    Verdict,
    checks::{
        tls::{tls_cert, tls_pqc, tls_suites, tls_versions},
        vulns::tls_vulns,
    },
    evidence::{
        attacks::TlsAttacks,
        tls::{TlsPolicy, TlsScan},
    },
};
use portreeve_probe::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{saying, scan, scripted, short};

/// Whatever a target does, the run ends in its time, within its connections, and claims nothing.
fn is_inconclusive(what: &str, facts: &TlsScan) {
    let policy = TlsPolicy::default();
    for judgement in [tls_versions(facts, &policy), tls_suites(facts, &policy), tls_cert(facts, &policy)] {
        assert_eq!(judgement.verdict, Verdict::Inconclusive, "{what}: {judgement:?}");
        assert!(!judgement.observed.is_empty(), "{what}");
    }
    for judgement in [tls_vulns(facts, &TlsAttacks::default()), tls_pqc(facts, &policy)] {
        assert_ne!(judgement.verdict, Verdict::Fail, "{what}: {judgement:?}");
    }
    assert_eq!(tls_vulns(facts, &TlsAttacks::default()).verdict, Verdict::Inconclusive, "{what}");
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind, 3, 3][..], &length, body].concat()
}

/// ServerHello of TLS 1.2 with a suite that is always offered, and without extensions.
fn server_hello(suite: [u8; 2]) -> Vec<u8> {
    let body = [&[3, 3][..], &[5; 32], &[0], &suite, &[0]].concat();
    let length = u8::try_from(body.len()).unwrap();
    record(22, &[&[2, 0, 0, length][..], &body].concat())
}

#[tokio::test]
async fn whoever_says_nonsense_is_not_judged_by_it() {
    let large = |claimed: [u8; 3]| {
        [server_hello([0xc0, 0x2f]), record(22, &[&[11][..], &claimed, &[0; 9000]].concat())].concat()
    };
    let cases: [(&str, Vec<u8>); 11] = [
        ("nothing", Vec::new()),
        ("another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("random", (0..5000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()),
        ("a record that says it is longest", [22, 3, 3, 0xff, 0xff].to_vec()),
        ("a message that is longer than its record", record(22, &[2, 0, 0xff, 0xff, 3, 3])),
        ("a message of 16 MiB", record(22, &[2, 0xff, 0xff, 0xff])),
        ("a hello that ends early", record(22, &[2, 0, 0, 4, 3, 3, 1, 1])),
        ("a suite that was not offered", server_hello([0x13, 0x37])),
        ("a certificate of 1 MiB", large([0x10, 0, 0])),
        ("a certificate that never ends", large([0x01, 0xff, 0xff])),
        ("an alert of three bytes", record(21, &[2, 40, 0])),
    ];
    for (what, bytes) in cases {
        let started = Instant::now();
        let facts = scan(saying(bytes).await, Vec::new(), short()).await;
        is_inconclusive(what, &facts);
        assert!(started.elapsed() < Duration::from_secs(9), "{what}: {:?}", started.elapsed());
        assert!(facts.effort.connections < 60, "{what}: {:?}", facts.effort);
    }
}

#[tokio::test]
async fn whoever_hangs_resets_or_streams_costs_no_more_than_the_limits() {
    let reset = scripted(|stream| async move {
        let _ = stream.set_zero_linger();
    })
    .await;
    is_inconclusive("reset", &scan(reset, Vec::new(), short()).await);

    let endless = scripted(|mut stream| async move {
        let warning = record(21, &[1, 112]).repeat(1000);
        while stream.write_all(&warning).await.is_ok() {}
    })
    .await;
    let facts = scan(endless, Vec::new(), short()).await;
    is_inconclusive("endless", &facts);
    assert!(facts.versions[0].accepted.gap().unwrap().contains("bytes"), "{:?}", facts.versions[0]);

    let drip = scripted(|mut stream| async move {
        for byte in server_hello([0xc0, 0x2f]) {
            let _ = stream.write_all(&[byte]).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    is_inconclusive("drip", &scan(drip, Vec::new(), short()).await);

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let facts = scan(nobody, Vec::new(), short()).await;
    is_inconclusive("nobody", &facts);
    assert!(facts.versions[0].accepted.gap().unwrap().contains("refused"), "{:?}", facts.versions[0]);
}

/// A target that would give us work for ever gets what the limits say.
#[tokio::test]
async fn connections_and_time_are_bounded() {
    let yes = scripted(|mut stream| async move {
        let mut hello = [0; 4096];
        let _ = stream.read(&mut hello).await;
        // The first suite that is offered, whatever it is.
        let suites = 5 + 4 + 2 + 32 + 1 + usize::from(hello[5 + 4 + 2 + 32]);
        let flight = [server_hello([hello[suites + 2], hello[suites + 3]]), record(22, &[14, 0, 0, 0])].concat();
        let _ = stream.write_all(&flight).await;
    })
    .await;
    let facts = scan(yes, Vec::new(), Limits { connections_max: 40, ..short() }).await;
    assert_eq!(facts.effort.connections, 40);
    let gaps = facts.versions.iter().filter_map(|found| found.suites.gap.as_deref());
    assert!(gaps.into_iter().any(|gap| gap.contains("40 connections")), "{facts:?}");
    let policy = TlsPolicy { version_min: portreeve_assurance::evidence::tls::Version::Ssl30, ..TlsPolicy::default() };
    assert_ne!(tls_suites(&facts, &policy).verdict, Verdict::Pass);

    let hangs = saying(Vec::new()).await;
    let limits = Limits { total_time: Duration::from_millis(300), ..short() };
    let started = Instant::now();
    is_inconclusive("no time", &scan(hangs, Vec::new(), limits).await);
    assert!(started.elapsed() < Duration::from_secs(3));

    let slow = Limits { connections_per_s: 10, connections_max: 5, parallel_max: 1, ..short() };
    let started = Instant::now();
    let refuses = saying(record(21, &[2, 40])).await;
    let _ = scan(refuses, Vec::new(), slow).await;
    assert!(started.elapsed() >= Duration::from_millis(400), "{:?}", started.elapsed());
}

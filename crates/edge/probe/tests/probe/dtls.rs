use std::process::{Child, Command, Stdio};

use portreeve_assurance::{
    Verdict,
    checks::dtls::{dtls_cookie, dtls_suites, dtls_versions},
    evidence::{
        Seen,
        dtls::{DtlsScan, DtlsVersion},
        tls::TlsPolicy,
    },
};
use portreeve_probe::{Dialer, Limits, tls};
use rustls_pki_types::{ServerName, UnixTime};
use std::net::SocketAddr;
use tokio::net::UdpSocket;

use crate::support::{Certificates, P256, RSA, limits, short, survives};

struct Server(Child, SocketAddr);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `openssl s_server` over UDP; that it listens is seen by its cookie.
fn s_server(pair: &(String, String), more: &[&str]) -> Server {
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let accept = format!("127.0.0.1:{port}");
    let mut command = Command::new("openssl");
    command.args(["s_server", "-quiet", "-accept", &accept, "-cert", &pair.0, "-key", &pair.1]).args(more);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let address = accept.parse().unwrap();
    // A port is taken as soon as it cannot be bound.
    while std::net::UdpSocket::bind(address).is_ok() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Server(child, address)
}

async fn scan(address: SocketAddr, limits: Limits) -> DtlsScan {
    let name = Some(ServerName::try_from("localhost").unwrap());
    let target = tls::Target { address, name, anchors: Vec::new() };
    tls::dtls::scan(&target, &Dialer::new(address, limits), [7; 32], UnixTime::now()).await
}

/// IOTSF-2.4.7.14, CSA-COM-09: an old server fails in version and suites, and is known to ask for a cookie.
#[tokio::test]
async fn an_old_server_fails_where_it_is_old() {
    let certificates = Certificates::new();
    let pair = certificates.server("rsa", RSA);
    let server = s_server(&pair, &["-dtls", "-cipher", "ALL:@SECLEVEL=0"]);
    let facts = scan(server.1, limits()).await;
    let policy = TlsPolicy::default();
    let judgement = dtls_versions(&facts, &policy);
    assert_eq!((judgement.verdict, &*judgement.observed), (Verdict::Fail, "DTLS 1.0 is accepted"), "{facts:?}");
    assert_eq!(dtls_suites(&facts, &policy).verdict, Verdict::Fail);
    let found = facts.versions.iter().find(|found| found.version == DtlsVersion::Dtls12).unwrap();
    assert!(found.suites.has(0xc02f) && found.suites.has(0x009c) && found.suites.gap.is_none(), "{found:?}");
    assert_eq!(facts.chains.len(), 1);
    survives(&facts);
    assert_eq!(dtls_cookie(&facts).verdict, Verdict::Pass, "{:?}", facts.first_answer);
}

#[tokio::test]
async fn a_good_server_passes() {
    let certificates = Certificates::new();
    let pair = certificates.server("ec", P256);
    let cipher = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-CCM8";
    let more = ["-dtls1_2", "-cipher", cipher, "-curves", "P-256", "-Verify", "1", "-sigalgs", "ECDSA+SHA256"];
    let server = s_server(&pair, &more);
    let facts = scan(server.1, limits()).await;
    let policy = TlsPolicy::default();
    assert_eq!(dtls_versions(&facts, &policy).verdict, Verdict::Pass, "{facts:?}");
    assert_eq!(dtls_suites(&facts, &policy).verdict, Verdict::Pass, "{:?}", dtls_suites(&facts, &policy));
    let policy = TlsPolicy { suites: vec![0xc02b], ..policy };
    assert_eq!(dtls_suites(&facts, &policy).observed, "DTLS 1.2: suite TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8");
}

/// Silence, nonsense and floods are not refusals.
#[tokio::test]
async fn hostile_servers_are_inconclusive_in_bounded_time() {
    let answers: [&'static [u8]; 5] = [
        b"",
        b"\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff",
        b"\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0d\x02\xff\xff\xff\x00\x00\xff\xff\xff\x00\x00\x01\x00",
        b"HTTP/1.1 200 OK",
        b"\x61\x45\x50\x72\x07",
    ];
    for answer in answers {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let echo = tokio::spawn(async move {
            let mut bytes = [0; 4096];
            while let Ok((_, from)) = socket.recv_from(&mut bytes).await {
                if !answer.is_empty() {
                    for _ in 0..100 {
                        let _ = socket.send_to(answer, from).await;
                    }
                }
            }
        });
        let facts = scan(address, short()).await;
        let policy = TlsPolicy::default();
        for judgement in [dtls_versions(&facts, &policy), dtls_suites(&facts, &policy), dtls_cookie(&facts)] {
            assert_eq!(judgement.verdict, Verdict::Inconclusive, "{judgement:?}");
        }
        assert!(facts.effort.connections < 40);
        echo.abort();
    }
}

/// A server that answers a stranger with its whole flight is a means to attack others.
#[tokio::test]
async fn amplification_fails() {
    let certificates = Certificates::new();
    let pair = certificates.server("ec", P256);
    let server = s_server(&pair, &["-dtls1_2"]);
    let mut facts = scan(server.1, limits()).await;
    let Seen::Known(answer) = &mut facts.first_answer else { panic!("{:?}", facts.first_answer) };
    answer.answer_bytes = answer.request_bytes * 3;
    assert_eq!(dtls_cookie(&facts).verdict, Verdict::Fail);
    let Seen::Known(answer) = &mut facts.first_answer else { panic!() };
    (answer.is_cookie, answer.answer_bytes) = (false, 60);
    assert_eq!(dtls_cookie(&facts).verdict, Verdict::Fail);
}

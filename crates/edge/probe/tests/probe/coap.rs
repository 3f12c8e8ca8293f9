//! libcoap's servers, with OpenSSL and with GnuTLS: IOTSF-2.4.7.14, CSA-SCN-11, IOTSF-2.4.7.1.

use std::{
    net::{SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use portreeve_assurance::{
    Verdict,
    checks::coap::{access, discovery},
    evidence::{
        Seen,
        coap::{CoapAccessMatrix, CoapAnswer, CoapDiscovery, CoapMethod, Way},
    },
};
use portreeve_probe::{
    Dialer, Limits,
    coap::{self, CoapIdentity, CoapWish, Credential, Server},
};
use portreeve_tls::Credentials;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use crate::support::{Certificates, limits, short, survives};

/// A server that ends with the test. Its port for DTLS is the next one.
struct CoapServer {
    child: Child,
    plain: SocketAddr,
    secured: SocketAddr,
}

impl Drop for CoapServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two free UDP ports beside each other.
fn two_ports() -> u16 {
    for _ in 0..100 {
        let first = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && UdpSocket::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
    panic!("no two ports");
}

/// A GET of "/" (RFC 7252 section 3), to see that it listens.
const HELLO: &[u8] = b"\x40\x01\x00\x01";

fn start(program: &str, arguments: &[&str]) -> CoapServer {
    let port = two_ports();
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let mut command = Command::new(program);
    command.args(["-A", "127.0.0.1", "-p", &port.to_string()]).args(arguments);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.unwrap_or_else(|error| panic!("{program}: {error}"));
    let server = CoapServer { child, plain: address(port), secured: address(port + 1) };
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.plain).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while socket.send(HELLO).is_err() || socket.recv(&mut [0; 1500]).is_err() {
        assert!(Instant::now() < until, "{program} {arguments:?} does not answer");
    }
    server
}

struct Fleet {
    files: Certificates,
    issuer: Issuer<'static, KeyPair>,
}

impl Fleet {
    fn new() -> Self {
        let (files, key, mut params) =
            (Certificates::new(), KeyPair::generate().unwrap(), CertificateParams::default());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "CA of the test");
        std::fs::write(files.path("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { files, issuer: Issuer::new(params, key) }
    }

    fn leaf(&self, name: &str) -> (String, String) {
        let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::new([name.to_owned()]).unwrap());
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn identity(&self, name: &str) -> CoapIdentity {
        let (certificate, key) = self.leaf(name);
        let made = Credentials::from_pem("certificate", certificate.as_bytes(), "key", key.as_bytes());
        CoapIdentity { name: name.into(), credential: Credential::Certificate(made.unwrap()) }
    }

    fn server(&self, program: &str, more: &[&str]) -> CoapServer {
        let (certificate, key) = self.leaf("localhost");
        let (certificate_file, key_file) = (self.files.path("server.pem"), self.files.path("server.key"));
        std::fs::write(&certificate_file, certificate).unwrap();
        std::fs::write(&key_file, key).unwrap();
        let ca = self.files.path("ca.pem");
        start(program, &[&["-c", &certificate_file, "-j", &key_file, "-C", &ca], more].concat())
    }
}

fn key(identity: &str, key: &str) -> CoapIdentity {
    let credential = Credential::Psk { identity: identity.into(), key: key.into() };
    CoapIdentity { name: identity.into(), credential }
}

async fn discover(server: &CoapServer, with_plain: bool, identity: Option<&CoapIdentity>) -> CoapDiscovery {
    let (plain, secured) = (Dialer::new(server.plain, limits()), Dialer::new(server.secured, limits()));
    let closed = Dialer::new(([127, 0, 0, 1], two_ports()).into(), limits());
    let where_ =
        Server { plain: Some(if with_plain { &plain } else { &closed }), secured: Some(&secured), multicast: None };
    let facts = coap::discovery(&where_, identity).await;
    survives(&facts);
    facts
}

fn answer(facts: &CoapDiscovery, way: Way) -> &CoapAnswer {
    match &facts.ways.iter().find(|found| found.way == way).unwrap().answer {
        Seen::Known(answer) => answer,
        other => panic!("{way:?}: {other:?}"),
    }
}

#[tokio::test]
async fn servers_that_know_their_clients_show_nothing_to_strangers() {
    for program in ["coap-server-openssl", "coap-server-gnutls"] {
        let fleet = Fleet::new();
        let server = fleet.server(program, &[]);
        let facts = discover(&server, false, Some(&fleet.identity("alice"))).await;
        let listed = answer(&facts, Way::Identity);
        assert!(
            matches!(listed, CoapAnswer::Response { code, links, .. } if code == "2.05" && links.contains(&"/time".into())),
            "{program}: {facts:?}"
        );
        assert!(matches!(answer(&facts, Way::Stranger), CoapAnswer::Refused { .. }), "{program}: {facts:?}");
        assert_eq!(discovery(&facts).verdict, Verdict::Pass, "{program}: {facts:?}");

        // The same server, also in clear.
        let judgement = discovery(&discover(&server, true, None).await);
        assert_eq!(judgement.verdict, Verdict::Fail, "{program}");
        assert!(judgement.observed.starts_with("in clear: 2.05"), "{judgement:?}");
    }
}

#[tokio::test]
async fn servers_that_take_any_certificate_or_key_are_found_out() {
    let fleet = Fleet::new();
    let facts = discover(&fleet.server("coap-server-openssl", &["-n"]), false, None).await;
    assert_eq!(discovery(&facts).verdict, Verdict::Fail, "{facts:?}");

    // A key that everybody guesses.
    let facts = discover(&start("coap-server-openssl", &["-k", "portreeve-probe"]), false, None).await;
    assert_eq!(discovery(&facts).verdict, Verdict::Fail, "{facts:?}");
    let facts =
        discover(&start("coap-server-gnutls", &["-k", "long and secret"]), false, Some(&key("a", "long and secret")))
            .await;
    assert!(matches!(answer(&facts, Way::Identity), CoapAnswer::Response { .. }), "{facts:?}");
    assert_eq!(discovery(&facts).verdict, Verdict::Pass, "{facts:?}");
    assert!(!serde_json::to_string(&facts).unwrap().contains("long and secret"));
}

fn wish(identity: usize, method: CoapMethod, path: &str, is_declared: bool) -> CoapWish {
    CoapWish { identity, method, path: path.into(), is_declared }
}

async fn matrix(server: &CoapServer, identities: &[CoapIdentity], wishes: &[CoapWish]) -> CoapAccessMatrix {
    let facts = coap::access_matrix(&Dialer::new(server.secured, limits()), identities, wishes).await;
    survives(&facts);
    facts
}

#[tokio::test]
async fn a_matrix_tells_who_may_do_what_with_keys_and_with_certificates() {
    use CoapMethod::{Get, Observe, Put};
    let keyed = start("coap-server-openssl", &["-k", "alice's key"]);
    let fleet = Fleet::new();
    let certified = fleet.server("coap-server-gnutls", &[]);
    let cases = [
        (&keyed, vec![key("alice", "alice's key"), key("mallory", "a guess")]),
        (&certified, vec![fleet.identity("alice"), Fleet::new().identity("mallory")]),
    ];
    for (server, identities) in cases {
        let declared = [
            wish(0, Get, "time", true),
            wish(0, Observe, "time", true),
            wish(0, Put, "time", true),
            wish(0, Get, "/nothing/here", false),
            wish(1, Get, "time", false),
            wish(1, Observe, "time", false),
        ];
        let facts = matrix(server, &identities, &declared).await;
        assert_eq!(access(&facts).verdict, Verdict::Pass, "{facts:?}");

        // This server lets whoever it knows do anything, so whoever declares less finds more.
        let less = [wish(0, Get, "time", true), wish(0, Put, "time", false), wish(0, Observe, "/", true)];
        let judgement = access(&matrix(server, &identities, &less).await);
        assert_eq!(judgement.verdict, Verdict::Fail);
        assert_eq!(
            judgement.observed,
            "alice put \"time\" is possible; alice observe \"/\" is not possible, though declared"
        );
    }
}

#[tokio::test]
async fn whoever_is_silent_or_says_nonsense_is_not_judged_by_it() {
    let hole = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = hole.local_addr().unwrap();
    let (dialer, secured) = (Dialer::new(address, limits()), Dialer::new(address, limits()));
    let facts = coap::discovery(&Server { plain: Some(&dialer), secured: Some(&secured), multicast: None }, None).await;
    assert_eq!(*answer(&facts, Way::Plain), CoapAnswer::Silent);
    assert_eq!(discovery(&facts).verdict, Verdict::Inconclusive, "{facts:?}");

    for nonsense in [&b"\xff\xff\xff\xff\xff"[..], b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\xff\xff", &[0x45; 1500], b""] {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let echo = tokio::spawn(async move {
            let mut bytes = [0; 2048];
            while let Ok((_, from)) = socket.recv_from(&mut bytes).await {
                let _ = socket.send_to(nonsense, from).await;
            }
        });
        let (dialer, secured) = (Dialer::new(address, short()), Dialer::new(address, short()));
        let server = Server { plain: Some(&dialer), secured: Some(&secured), multicast: None };
        let facts = coap::discovery(&server, None).await;
        echo.abort();
        assert_eq!(discovery(&facts).verdict, Verdict::Inconclusive, "{facts:?}");
    }
    let limits = Limits { connections_max: 0, ..short() };
    let facts =
        coap::access_matrix(&Dialer::new(address, limits), &[key("a", "b")], &[wish(0, CoapMethod::Get, "x", true)])
            .await;
    assert_eq!(access(&facts).verdict, Verdict::Inconclusive);
}

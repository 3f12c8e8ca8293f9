//! Real clients, pointed at a server that is not theirs: ISVS-4.1.3, ISVS-4.1.6, IIITA-DI3. Each is accepted or refused exactly where it
//! should be.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use portreeve_assurance::{
    Judgement, Verdict,
    checks::rogue::{pin, validate},
    evidence::rogue::{Face, Reaction, RogueServer, Said, Spoken},
};
use portreeve_probe::rogue::{Authority, CrlPoint, Plan, Post, RogueLimits, serve};
use portreeve_tls::{Credentials, client_config};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls_pki_types::{ServerName, UnixTime};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsConnector;

use crate::support::{anchors, survives};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const USED: &[Face] = &[
    Face::Good,
    Face::SelfSigned,
    Face::UnknownCa,
    Face::Expired,
    Face::NotYetValid,
    Face::WrongName,
    Face::CaAsLeaf,
    Face::WrongUsage,
    Face::WeakSignature,
    Face::WeakKey,
    Face::OldVersion,
    Face::WeakSuite,
    Face::StaticRsa,
    Face::Unpinned,
];

/// A CA that the clients trust, with a certificate that is the server's true one.
struct Trust {
    folder: TempDir,
    ca: String,
    ca_key: String,
    good: Credentials,
}

impl Trust {
    fn new() -> Self {
        let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "CA of the test");
        let (ca, ca_key) = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
        let (issuer, leaf_key) = (Issuer::new(params, key), KeyPair::generate().unwrap());
        let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&leaf_key, &issuer).unwrap();
        let good =
            Credentials::from_pem("leaf", leaf.pem().as_bytes(), "key", leaf_key.serialize_pem().as_bytes()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), &ca).unwrap();
        Self { folder, ca, ca_key, good }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn plan(&self) -> Plan {
        Plan {
            names: vec!["localhost".into()],
            devices: vec![LOOPBACK],
            good: Some(self.good.clone()),
            authority: Some(Authority::from_pem(&self.ca, &self.ca_key).unwrap()),
            crl: None,
            limits: RogueLimits {
                face_time: Duration::from_secs(30),
                reaction_time: Duration::from_secs(5),
                ..RogueLimits::default()
            },
        }
    }
}

/// A device that comes again as long as it is told to: each time, a shell runs the command, in which `$P` is the port.
struct Device {
    is_over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Device {
    fn new(command: &str, port: u16) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, command) = (Arc::clone(&is_over), command.to_owned());
        let thread = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("exec timeout 8 {command}")]).env("P", port.to_string());
                let mut child = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
                while child.try_wait().unwrap().is_none() {
                    if over.load(Ordering::Relaxed) {
                        let _ = child.kill();
                    }
                    thread::sleep(Duration::from_millis(5));
                }
            }
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind((LOOPBACK, 0)).await.unwrap()
}

/// Shows faces on one port to a client that a shell runs.
async fn face(plan: Plan, faces: &[Face], command: &str) -> RogueServer {
    let listener = listener().await;
    let device = Device::new(command, listener.local_addr().unwrap().port());
    let facts = serve(plan, vec![Post { listener, faces: faces.to_vec() }], UnixTime::now()).await.unwrap();
    drop(device);
    survives(&facts);
    facts
}

fn reactions(facts: &RogueServer) -> BTreeMap<Face, &Reaction> {
    facts.trials.iter().map(|trial| (trial.face, &trial.reaction)).collect()
}

/// Which faces the client went along with; nothing may be unclear.
fn accepted(facts: &RogueServer) -> Vec<Face> {
    let went_on = |trial: &&portreeve_assurance::evidence::rogue::Trial| match &trial.reaction {
        Reaction::WentOn { .. } | Reaction::Left { .. } => true,
        Reaction::Refused { .. } | Reaction::NotOffered { .. } | Reaction::NotTried { .. } => false,
        Reaction::Unclear { why } => panic!("{:?}: {why}", trial.face),
    };
    facts.trials.iter().filter(went_on).map(|trial| trial.face).collect()
}

fn verdicts(facts: &RogueServer) -> (Verdict, Verdict) {
    let judgements: [Judgement; 2] = [validate(facts), pin(facts)];
    (judgements[0].verdict, judgements[1].verdict)
}

#[tokio::test]
async fn mosquitto_validates_and_with_insecure_takes_any_name() {
    let trust = Trust::new();
    let mosquitto = format!("mosquitto_sub -h localhost -p $P --cafile {} -t t -u u -P secret", trust.path("ca.pem"));
    let facts = face(trust.plan(), USED, &mosquitto).await;
    assert_eq!(accepted(&facts), [Face::Good, Face::StaticRsa, Face::Unpinned]);
    let said = Some(Said { protocol: Spoken::Mqtt, credentials: true });
    assert!(matches!(reactions(&facts)[&Face::Good], Reaction::WentOn { said: found, .. } if *found == said));
    assert!(!serde_json::to_string(&facts).unwrap().contains("secret"));
    assert_eq!(verdicts(&facts), (Verdict::Partial, Verdict::Fail), "only revocation was not tried");
    assert!(validate(&facts).observed.contains("a revoked certificate: not tried"));

    let facts =
        face(trust.plan(), &[Face::Good, Face::WrongName, Face::Expired], &format!("{mosquitto} --insecure")).await;
    assert_eq!(accepted(&facts), [Face::Good, Face::WrongName]);
    let judgement = validate(&facts);
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert!(judgement.observed.starts_with("a certificate for another name is accepted"), "{judgement:?}");
    assert!(judgement.observed.ends_with("and credentials were sent"), "{judgement:?}");
}

#[tokio::test]
async fn curl_validates_and_with_k_takes_anything() {
    let trust = Trust::new();
    let curl = |more: &str| format!("curl -s {more} -u user:secret https://localhost:$P/");
    let facts = face(trust.plan(), USED, &curl(&format!("--tlsv1.2 --cacert {}", trust.path("ca.pem")))).await;
    assert_eq!(accepted(&facts), [Face::Good, Face::WrongName, Face::StaticRsa, Face::Unpinned]);
    // It compares the name behind the handshake, and says nothing to a wrong one.
    assert!(matches!(reactions(&facts)[&Face::WrongName], Reaction::Left { .. }));
    assert_eq!(verdicts(&facts), (Verdict::Partial, Verdict::Fail));
    let hello = facts.hello.as_ref().unwrap();
    assert_eq!(hello.server_name.as_deref(), Some("localhost"));
    assert!(hello.protocols.contains(&"h2".to_owned()), "{hello:?}");

    let facts = face(trust.plan(), USED, &curl("-k")).await;
    let certificates =
        [Face::SelfSigned, Face::UnknownCa, Face::Expired, Face::NotYetValid, Face::WrongName, Face::WrongUsage];
    assert!(certificates.iter().all(|face| accepted(&facts).contains(face)));
    assert_eq!(verdicts(&facts), (Verdict::Fail, Verdict::Fail));
}

#[tokio::test]
async fn curl_with_a_pin_refuses_a_good_certificate_of_the_same_ca() {
    let trust = Trust::new();
    let pin_of = format!(
        "openssl x509 -in {} -pubkey -noout | openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary | base64",
        trust.path("leaf.pem")
    );
    fs::write(trust.path("leaf.der"), &trust.good.chain[0]).unwrap();
    let made = Command::new("openssl")
        .args(["x509", "-inform", "DER", "-in", &trust.path("leaf.der"), "-out", &trust.path("leaf.pem")])
        .status();
    assert!(made.unwrap().success());
    let hash = Command::new("sh").args(["-c", &pin_of]).output().unwrap().stdout;
    let hash = String::from_utf8(hash).unwrap();
    let curl = format!(
        "curl -s --cacert {} --pinnedpubkey sha256//{} https://localhost:$P/",
        trust.path("ca.pem"),
        hash.trim()
    );
    let facts = face(trust.plan(), &[Face::Good, Face::Unpinned], &curl).await;
    assert_eq!(pin(&facts).verdict, Verdict::Pass, "{facts:?}");
    assert_eq!(validate(&facts).verdict, Verdict::Inconclusive, "nothing bad was shown");
}

/// `openssl s_client` that speaks HTTP.
fn s_client(more: &str) -> String {
    format!(
        "sh -c 'printf \"GET / HTTP/1.0\\r\\n\\r\\n\" | openssl s_client -connect localhost:$P -servername localhost -quiet {more}'"
    )
}

#[tokio::test]
async fn openssl_that_also_asks_for_revocation_passes() {
    let trust = Trust::new();
    let crl = listener().await;
    let url = format!("http://127.0.0.1:{}/revoked.crl", crl.local_addr().unwrap().port());
    // The good certificate has to name the list too, so it is made like the others.
    let plan = Plan { good: None, crl: Some(CrlPoint { listener: crl, url }), ..trust.plan() };
    let strict = s_client(&format!(
        "-CAfile {} -verify_return_error -verify_hostname localhost -crl_check -crl_download -min_protocol TLSv1.2",
        trust.path("ca.pem")
    ));
    let facts = face(plan, &Face::ALL, &strict).await;
    assert_eq!(accepted(&facts), [Face::Good, Face::StaticRsa, Face::Unpinned]);
    assert!(
        matches!(reactions(&facts)[&Face::Revoked], Reaction::Refused { how } if how == "alert certificate_revoked")
    );
    assert!(facts.crl_fetches > 0);
    assert_eq!(verdicts(&facts), (Verdict::Pass, Verdict::Fail));
}

#[tokio::test]
async fn openssl_without_verification_or_with_old_settings_fails_exactly_there() {
    let trust = Trust::new();
    let verifying = format!("-CAfile {} -verify_return_error -verify_hostname localhost", trust.path("ca.pem"));
    let cases: [(&str, &[Face], &[Face]); 4] = [
        ("-no_tls1_3", &[Face::Good, Face::SelfSigned, Face::Expired], &[Face::Good, Face::SelfSigned, Face::Expired]),
        (
            &format!("{verifying} -cipher DEFAULT:@SECLEVEL=0"),
            &[Face::Good, Face::SelfSigned, Face::WeakSignature, Face::WeakKey],
            &[Face::Good, Face::WeakSignature, Face::WeakKey],
        ),
        (
            &format!("{verifying} -no_tls1_3 -cipher NULL-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:@SECLEVEL=0"),
            &[Face::Good, Face::Expired, Face::WeakSuite],
            &[Face::Good, Face::WeakSuite],
        ),
        // It speaks nothing else, so that it has no use for a good certificate here.
        (
            &format!("{verifying} -tls1_1 -cipher ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"),
            &[Face::OldVersion],
            &[Face::OldVersion],
        ),
    ];
    for (settings, shown, expected) in cases {
        let facts = face(trust.plan(), shown, &s_client(settings)).await;
        assert_eq!(accepted(&facts), expected, "{settings}");
        assert_eq!(validate(&facts).verdict, Verdict::Fail, "{settings}");
    }
}

const PYTHON: &str = r#"
import hashlib, socket, ssl, sys
port, pin = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
with context.wrap_socket(socket.create_connection(("localhost", port)), server_hostname="localhost") as stream:
    if pin in ("any", hashlib.sha256(stream.getpeercert(True)).hexdigest()):
        stream.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        stream.recv(100)
"#;

#[tokio::test]
async fn python_that_verifies_nothing_fails_and_one_that_pins_afterwards_is_told_apart() {
    let trust = Trust::new();
    fs::write(trust.path("client.py"), PYTHON).unwrap();
    let python = |pin: &str| format!("python3 {} $P {pin}", trust.path("client.py"));
    let shown = [Face::Good, Face::SelfSigned, Face::WrongName, Face::Unpinned];

    let facts = face(trust.plan(), &shown, &python("any")).await;
    assert_eq!(accepted(&facts), shown);
    assert_eq!(verdicts(&facts), (Verdict::Fail, Verdict::Fail));

    let hash = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &trust.good.chain[0]));
    let facts = face(trust.plan(), &shown, &python(&hash)).await;
    assert!(matches!(reactions(&facts)[&Face::SelfSigned], Reaction::Left { .. }), "{facts:?}");
    assert_eq!(verdicts(&facts), (Verdict::Partial, Verdict::Pass));
}

const GO: &str = r#"package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
)

func main() {
	pem, _ := os.ReadFile(os.Args[2])
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	config := &tls.Config{RootCAs: roots, InsecureSkipVerify: len(os.Args) > 3}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	client.Get("https://localhost:" + os.Args[1] + "/")
}
"#;

#[tokio::test]
async fn go_takes_a_ca_for_a_server_and_insecure_anything() {
    let trust = Trust::new();
    fs::write(trust.path("client.go"), GO).unwrap();
    let mut go = Command::new("go");
    go.args(["build", "-o", &trust.path("client"), &trust.path("client.go")]);
    let built = go.env("GOCACHE", trust.path("cache")).env("GO111MODULE", "off").output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let client = format!("{} $P {}", trust.path("client"), trust.path("ca.pem"));
    let facts = face(trust.plan(), USED, &client).await;
    let found = accepted(&facts);
    for face in [Face::SelfSigned, Face::UnknownCa, Face::Expired, Face::NotYetValid, Face::WrongName, Face::WrongUsage]
    {
        assert!(!found.contains(&face), "{face:?}");
    }
    assert!(found.contains(&Face::Good) && found.contains(&Face::Unpinned));
    // crypto/x509 does not ask what a server's certificate is for otherwise, nor how long its key is.
    assert!(found.contains(&Face::CaAsLeaf) && found.contains(&Face::WeakKey), "{found:?}");

    let facts =
        face(trust.plan(), &[Face::Good, Face::SelfSigned, Face::WrongName], &format!("{client} insecure")).await;
    assert_eq!(accepted(&facts), [Face::Good, Face::SelfSigned, Face::WrongName]);
    assert_eq!(validate(&facts).verdict, Verdict::Fail);
}

/// How the program's own clients connect: nothing bad is accepted, and nothing old or weak is offered.
#[tokio::test]
async fn our_own_client_accepts_nothing_bad() {
    let trust = Trust::new();
    let listener = listener().await;
    let address = listener.local_addr().unwrap();
    let config = client_config(&anchors(&trust.path("ca.pem")), trust.good.clone()).unwrap();
    let device = async {
        loop {
            let Ok(stream) = TcpStream::connect(address).await else { continue };
            let name = ServerName::try_from("localhost").unwrap();
            let Ok(mut tls) = TlsConnector::from(Arc::clone(&config)).connect(name, stream).await else { continue };
            let _ = tls.write_all(b"\x10\x11\x00\x04MQTT\x04\x02\x00\x0a\x00\x05probe").await;
            let _ = tls.read(&mut [0; 4]).await;
        }
    };
    let serving = serve(trust.plan(), vec![Post::with_all(listener)], UnixTime::now());
    let facts = tokio::select! { facts = serving => facts.unwrap(), () = device => unreachable!() };
    assert_eq!(accepted(&facts), [Face::Good, Face::Unpinned]);
    assert_eq!(validate(&facts).verdict, Verdict::Partial, "{:?}", validate(&facts));
    let open =
        |trial: &&portreeve_assurance::evidence::rogue::Trial| matches!(trial.reaction, Reaction::NotTried { .. });
    let open: Vec<Face> = facts.trials.iter().filter(open).map(|trial| trial.face).collect();
    assert_eq!(open, [Face::Revoked]);
}

#[tokio::test]
async fn strangers_are_not_served_and_silence_is_no_refusal() {
    let trust = Trust::new();
    let elsewhere = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let limits = RogueLimits {
        face_time: Duration::from_secs(2),
        reaction_time: Duration::from_millis(300),
        attempts_max: 2,
        ..RogueLimits::default()
    };
    let plan = Plan { devices: vec![elsewhere], limits, ..trust.plan() };
    let facts = face(plan, &[Face::Good, Face::SelfSigned], "curl -sk https://localhost:$P/").await;
    assert!(facts.strangers > 0 && facts.effort.connections == 0, "{facts:?}");
    assert_eq!(verdicts(&facts), (Verdict::Inconclusive, Verdict::NotTested));

    let silent = async |bytes: &[u8]| {
        let listener = listener().await;
        let address: SocketAddr = listener.local_addr().unwrap();
        let plan = Plan { limits, ..trust.plan() };
        let device = async {
            loop {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let _ = stream.write_all(bytes).await;
                let _ = stream.read(&mut [0; 1]).await;
            }
        };
        let posts = vec![Post { listener, faces: vec![Face::Good, Face::SelfSigned] }];
        tokio::select! { facts = serve(plan, posts, UnixTime::now()) => facts.unwrap(), () = device => unreachable!() }
    };
    for bytes in [&b""[..], b"\x10\x11\x00\x04MQTT", b"\x16\x03\x01\xff\xff", b"\x16\x03\x01\x00\x04\x01\x00\x00\x00"] {
        let facts = silent(bytes).await;
        assert!(
            facts.trials.iter().all(|trial| matches!(trial.reaction, Reaction::Unclear { .. }) && trial.attempts == 2)
        );
        assert_eq!(validate(&facts).verdict, Verdict::Inconclusive);
    }
}

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use portreeve_assurance::{Facts, evidence::tls::TlsScan};
use portreeve_probe::{Dialer, Limits, tls};
use portreeve_tls::Credentials;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream as Stream},
};

/// A server that ends with the test.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts a program that is to listen on a TCP port.
pub(crate) fn start(program: &str, port: u16, arguments: &[&str]) -> Server {
    let mut command = Command::new(program);
    let command = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    let server = Server { child, address: SocketAddr::from(([127, 0, 0, 1], port)) };
    let until = Instant::now() + std::time::Duration::from_secs(20);
    while TcpStream::connect(server.address).is_err() {
        assert!(Instant::now() < until, "{program} {arguments:?} does not listen");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    server
}

/// Certificates that `openssl req` makes.
pub(crate) struct Certificates {
    folder: TempDir,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// A self-signed certificate, `NAME.pem` with `NAME.key`.
    pub(crate) fn make(&self, name: &str, key: &[&str], more: &[&str]) -> (String, String) {
        let (pem, key_file) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        let request = ["req", "-x509", "-nodes", "-subj", "/CN=localhost", "-out", &pem, "-keyout", &key_file];
        let output = Command::new("openssl").args(request).args(key).args(more).output().expect("openssl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (pem, key_file)
    }

    /// The same with what a server's certificate has.
    pub(crate) fn server(&self, name: &str, key: &[&str]) -> (String, String) {
        let more = ["-days", "90", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE"];
        self.make(name, key, &more)
    }

    /// One whose time is over, which openssl does not make.
    pub(crate) fn expired(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let now = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now - Duration::days(30), now - Duration::hours(4 * 24 + 1));
        let pair = (self.path("expired.pem"), self.path("expired.key"));
        fs::write(&pair.0, params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&pair.1, key.serialize_pem()).unwrap();
        pair
    }
}

pub(crate) const P256: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
pub(crate) const RSA: &[&str] = &["-newkey", "rsa:2048"];

pub(crate) fn anchors(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(&fs::read(Path::new(pem)).unwrap()).map(Result::unwrap).collect()
}

/// `openssl s_server` on a free port.
pub(crate) fn s_server(pair: &(String, String), more: &[&str]) -> Server {
    let port = free_port();
    let accept = format!("127.0.0.1:{port}");
    let arguments = [&["s_server", "-quiet", "-accept", &accept, "-cert", &pair.0, "-key", &pair.1], more].concat();
    start("openssl", port, &arguments)
}

fn secs(seconds: f64) -> std::time::Duration {
    std::time::Duration::from_secs_f64(seconds)
}

/// Tests run on one thread beside others, so time is generous where it does not matter.
pub(crate) fn limits() -> Limits {
    Limits { connection_time: secs(20.), total_time: secs(120.), ..Limits::default() }
}

/// For targets that never answer.
pub(crate) fn short() -> Limits {
    Limits { connection_time: secs(0.5), total_time: secs(10.), ..Limits::default() }
}

pub(crate) async fn scan(address: SocketAddr, anchors: Vec<CertificateDer<'static>>, limits: Limits) -> TlsScan {
    let name = Some(ServerName::try_from("localhost").unwrap());
    let dialer = Dialer::new(address, limits);
    tls::scan(&tls::Target { address, name, anchors }, &dialer, [7; 32], UnixTime::now()).await
}

/// Facts are read back as they were written, and not with anything added.
pub(crate) fn survives<F: Facts + PartialEq + std::fmt::Debug>(facts: &F) {
    let mut json = serde_json::to_value(facts).unwrap();
    assert_eq!(&serde_json::from_value::<F>(json.clone()).unwrap(), facts);
    json["more"] = 1.into();
    assert!(serde_json::from_value::<F>(json).is_err());
}

/// A scripted server: each connection gets the same treatment.
pub(crate) async fn scripted<F, W>(treat: F) -> SocketAddr
where
    F: Fn(Stream) -> W + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(treat(stream));
        }
    });
    address
}

/// A server that says the same to everybody, and then waits.
pub(crate) async fn saying(bytes: Vec<u8>) -> SocketAddr {
    scripted(move |mut stream| {
        let bytes = bytes.clone();
        async move {
            let _ = stream.write_all(&bytes).await;
            tokio::time::sleep(secs(60.)).await;
        }
    })
    .await
}

/// A CA, and clients of all sorts.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// What is known by its serial number to be revoked.
const REVOKED: u64 = 4711;

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn leaf(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let now = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now - Duration::days(30), now + Duration::days(30));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn credentials((certificate, key): &(String, String)) -> Credentials {
        Credentials::from_pem("certificate", certificate.as_bytes(), "key", key.as_bytes()).unwrap()
    }

    pub(crate) fn client(&self, name: &str) -> Credentials {
        Self::credentials(&self.leaf(name, |_| {}))
    }

    /// Its own certificate, as a file.
    pub(crate) fn file(&self, certificates: &Certificates) -> String {
        let path = certificates.path("authority.pem");
        fs::write(&path, &self.certificate).unwrap();
        path
    }

    pub(crate) fn expired(&self) -> Credentials {
        Self::credentials(
            &self.leaf("expired", |params| params.not_after = OffsetDateTime::now_utc() - Duration::days(1)),
        )
    }

    pub(crate) fn not_yet_valid(&self) -> Credentials {
        Self::credentials(
            &self.leaf("early", |params| params.not_before = OffsetDateTime::now_utc() + Duration::days(1)),
        )
    }

    pub(crate) fn for_servers(&self) -> Credentials {
        Self::credentials(
            &self.leaf("server", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        )
    }

    pub(crate) fn revoked(&self) -> Credentials {
        Self::credentials(&self.leaf("revoked", |params| params.serial_number = Some(REVOKED.into())))
    }

    /// Settings of a Mosquitto that demands certificates of this CA.
    pub(crate) fn mosquitto(&self, certificates: &Certificates) -> String {
        let now = OffsetDateTime::now_utc();
        let crl = CertificateRevocationListParams {
            this_update: now - Duration::days(1),
            next_update: now + Duration::days(1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: REVOKED.into(),
                revocation_time: now - Duration::days(1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let crl = crl.signed_by(&self.issuer).unwrap().pem().unwrap();
        let (leaf, key) =
            self.leaf("broker", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
        let write = |name: &str, text: &str| {
            let path = certificates.path(name);
            fs::write(&path, text).unwrap();
            path
        };
        let files = [
            ("certfile", write("broker.pem", &leaf)),
            ("keyfile", write("broker.key", &key)),
            ("cafile", write("ca.pem", &self.certificate)),
            ("crlfile", write("ca.crl", &crl)),
        ];
        let files: String = files.map(|(name, path)| format!("{name} {path}\n")).concat();
        format!("{files}require_certificate true\nallow_anonymous true\n")
    }
}

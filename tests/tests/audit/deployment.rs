//! Real servers on loopback, weak or strong in one thing, and the certificates that they need.

use std::{
    cell::RefCell,
    fs,
    net::{SocketAddr, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
};
use serde_json::Value;
use tempfile::TempDir;
use time::OffsetDateTime;

/// How long a server has to listen.
const START: Duration = Duration::from_secs(20);

/// A server of TLS as it should be.
pub(crate) const GOOD: &str = "-ciphersuites TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256 -cipher ECDHE+AESGCM \
    -groups P-256:P-384 -sigalgs ECDSA+SHA256:ECDSA+SHA384:RSA-PSS+SHA256:RSA+SHA256 -no_tls1 -no_tls1_1";

/// Ends with its test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder with a CA and whatever its servers need, and the servers.
pub(crate) struct Deployment {
    folder: TempDir,
    ca: Issuer<'static, KeyPair>,
    servers: RefCell<Vec<Server>>,
}

/// Certificate and key, PEM files.
pub(crate) type Pair = (String, String);

impl Deployment {
    pub(crate) fn new() -> Self {
        let (folder, key, mut params) =
            (tempfile::tempdir().unwrap(), KeyPair::generate().unwrap(), CertificateParams::default());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Plant CA");
        fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, ca: Issuer::new(params, key), servers: RefCell::default() }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.folder.path().join(name), text).unwrap();
        self.path(name)
    }

    fn leaf(&self, folder: &Path, change: impl FnOnce(&mut CertificateParams)) {
        let (key, mut params) =
            (KeyPair::generate().unwrap(), CertificateParams::new(["localhost".to_owned()]).unwrap());
        let now = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now - time::Duration::days(30), now + time::Duration::days(60));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        change(&mut params);
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("cert.pem"), params.signed_by(&key, &self.ca).unwrap().pem()).unwrap();
        fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    }

    /// A server's certificate for `localhost`, of the CA, wrong in what `change` makes wrong.
    pub(crate) fn server(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let folder = PathBuf::from(self.path(name));
        self.leaf(&folder, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            change(params);
        });
        (self.path(&format!("{name}/cert.pem")), self.path(&format!("{name}/key.pem")))
    }

    /// A client's bundle.
    pub(crate) fn client(&self, name: &str) {
        self.leaf(Path::new(&self.path(name)), |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.distinguished_name.push(DnType::CommonName, name);
        });
    }

    /// Clients of the CA that are not to be let in, each in its bundle, and `crl.pem`, which knows one of them.
    pub(crate) fn bad_clients(&self) {
        /// The serial number of the revoked one.
        const REVOKED: u64 = 4711;
        let now = OffsetDateTime::now_utc();
        let client = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.leaf(Path::new(&self.path("expired")), |params| {
            (params.not_after, params.extended_key_usages) = (now - time::Duration::days(1), client.clone());
        });
        self.leaf(Path::new(&self.path("early")), |params| {
            (params.not_before, params.extended_key_usages) = (now + time::Duration::days(1), client.clone());
        });
        self.leaf(Path::new(&self.path("server")), |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        self.leaf(Path::new(&self.path("revoked")), |params| {
            (params.serial_number, params.extended_key_usages) = (Some(REVOKED.into()), client);
        });
        let crl = CertificateRevocationListParams {
            this_update: now - time::Duration::days(1),
            next_update: now + time::Duration::days(1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: REVOKED.into(),
                revocation_time: now - time::Duration::days(1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.write("crl.pem", &crl.signed_by(&self.ca).unwrap().pem().unwrap());
    }

    /// The CA with its key, in a folder, for whoever plays a server.
    pub(crate) fn authority(&self, name: &str) {
        let folder = PathBuf::from(self.path(name));
        fs::create_dir_all(&folder).unwrap();
        fs::copy(self.path("ca.pem"), folder.join("cert.pem")).unwrap();
        fs::write(folder.join("key.pem"), self.ca.key().serialize_pem()).unwrap();
    }

    /// A self-signed certificate as `openssl req` makes it.
    pub(crate) fn self_signed(&self, name: &str, options: &str) -> Pair {
        let pair = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        let fixed =
            ["req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=localhost", "-out", &pair.0, "-keyout", &pair.1];
        let done = Command::new("openssl").args(fixed).args(options.split_whitespace()).output().expect("openssl");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        pair
    }

    fn spawn(&self, program: &str, arguments: &[&str], is_there: impl Fn() -> bool) {
        let mut command = Command::new(program);
        // A server of OpenSSL ends with its standard input.
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = Server(command.spawn().unwrap_or_else(|error| panic!("{program}: {error}")));
        let until = Instant::now() + START;
        while !is_there() {
            let ended = server.0.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < until, "{program} {arguments:?} does not listen ({ended:?})");
            thread::sleep(Duration::from_millis(20));
        }
        self.servers.borrow_mut().push(server);
    }

    fn listen(&self, program: &str, address: SocketAddr, arguments: &[&str]) {
        self.spawn(program, arguments, || TcpStream::connect(address).is_ok());
    }

    /// `openssl s_server`; returns its port.
    pub(crate) fn openssl(&self, pair: &Pair, options: &str) -> u16 {
        let port = free_port();
        let accept = format!("127.0.0.1:{port}");
        let fixed = ["s_server", "-quiet", "-accept", &accept, "-cert", &pair.0, "-key", &pair.1];
        let options: Vec<&str> = options.split_whitespace().collect();
        self.listen("openssl", ([127, 0, 0, 1], port).into(), &[&fixed[..], &options].concat());
        port
    }

    /// Mosquitto with these settings of its listener.
    pub(crate) fn mosquitto(&self, address: SocketAddr, settings: &str) {
        let (ip, port) = (address.ip(), address.port());
        let file =
            self.write(&format!("mosquitto-{port}.conf"), &format!("user root\nlistener {port} {ip}\n{settings}"));
        self.listen("/usr/sbin/mosquitto", address, &["-c", &file]);
    }

    /// sshd with these settings; returns its port.
    pub(crate) fn sshd(&self, settings: &str) -> u16 {
        let (port, key) = (free_port(), self.path("ssh_host_key"));
        if !Path::new(&key).exists() {
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &key]).status().unwrap();
            assert!(made.success());
        }
        let config = self.write(
            &format!("sshd-{port}.conf"),
            &format!("Port {port}\nListenAddress 127.0.0.1\nHostKey {key}\nPidFile none\nUsePAM no\nStrictModes no\n{settings}"),
        );
        // Where sshd keeps unprivileged children.
        fs::create_dir_all("/run/sshd").unwrap();
        self.listen("/usr/sbin/sshd", ([127, 0, 0, 1], port).into(), &["-D", "-e", "-f", &config]);
        port
    }

    /// dropbear with these options; returns its port.
    pub(crate) fn dropbear(&self, options: &str) -> u16 {
        let (port, key) = (free_port(), self.path("dropbear_host_key"));
        let made = Command::new("dropbearkey").args(["-t", "rsa", "-s", "1024", "-f", &key]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let at = format!("127.0.0.1:{port}");
        let fixed = ["-F", "-E", "-p", &at, "-r", &key];
        let options: Vec<&str> = options.split_whitespace().collect();
        self.listen("/usr/sbin/dropbear", ([127, 0, 0, 1], port).into(), &[&fixed[..], &options].concat());
        port
    }

    /// libcoap's server on a port, in clear, and over DTLS on the next one.
    pub(crate) fn libcoap(&self, options: &[&str]) -> u16 {
        /// GET of "/" (RFC 7252 section 3).
        const HELLO: &[u8] = b"\x40\x01\x00\x01";
        let port = two_ports();
        let text = port.to_string();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        self.spawn("coap-server-openssl", &[&["-A", "127.0.0.1", "-p", &text], options].concat(), || {
            socket.send(HELLO).is_ok() && socket.recv(&mut [0; 1500]).is_ok()
        });
        port
    }

    /// nginx with this server block.
    pub(crate) fn nginx(&self, server: &str) {
        let (folder, port) = (self.path("nginx"), free_port());
        fs::create_dir_all(&folder).unwrap();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
            .concat();
        let config = self.write(
            "nginx.conf",
            &format!(
                "daemon off; master_process off; pid {folder}/pid; error_log stderr crit;\nevents {{ worker_connections 64; }}\n\
                 http {{ access_log off; default_type text/html;\n{temporary}server {{ listen 127.0.0.1:{port}; }}\n{server}\n}}\n"
            ),
        );
        self.listen("/usr/sbin/nginx", ([127, 0, 0, 1], port).into(), &["-e", "stderr", "-c", &config]);
    }

    /// The built program, in this folder.
    pub(crate) fn portreeve(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(portreeve_tests::hub::program());
        command.current_dir(self.folder.path()).args(arguments).stdin(Stdio::null());
        // The key that signs is made where the user's configuration is.
        command.env("XDG_CONFIG_HOME", self.path("config"));
        command
    }

    /// Runs the scope, verifies the report, and returns it.
    pub(crate) fn audited(&self, scope: &str) -> Value {
        self.write("scope.toml", scope);
        let done = self.portreeve(&["audit", "run", "scope.toml", "--out", "audit"]);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(matches!(done.status.code(), Some(0 | 1)), "{said}");
        self.report("audit")
    }

    /// A report that verifies.
    pub(crate) fn report(&self, folder: &str) -> Value {
        let verified = self.portreeve(&["report", "verify", folder]);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
        serde_json::from_slice(&fs::read(self.path(&format!("{folder}/report.json"))).unwrap()).unwrap()
    }
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
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
    panic!("no two ports beside each other");
}

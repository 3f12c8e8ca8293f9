//! Real receivers of alerts on loopback, with certificates of a CA of their own. Tests of other crates use this file too.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(dead_code, reason = "not each of those needs all of it")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use tempfile::TempDir;
use time::OffsetDateTime;

/// How long a receiver may take to start, or to tell what it got.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A CA, and certificates below it.
pub(crate) struct Pki {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        Self::of(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap())
    }

    /// As most of the world's are.
    pub(crate) fn rsa() -> Self {
        Self::of(&KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap())
    }

    fn of(key: &KeyPair) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "receivers");
        let ca = params.self_signed(key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        let key = KeyPair::from_pem(&key.serialize_pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// A certificate for this name that ends in so many days, and its key: `NAME.pem`, `NAME.key`.
    pub(crate) fn issue(&self, name: &str, days: i64) -> [PathBuf; 2] {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = OffsetDateTime::now_utc() - time::Duration::days(30);
        params.not_after = OffsetDateTime::now_utc() + time::Duration::days(days);
        params.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let [certificate_file, key_file] = ["pem", "key"].map(|end| self.path(&format!("{name}.{end}")));
        fs::write(&certificate_file, leaf.pem()).unwrap();
        self.secret(&format!("{name}.key"), &key.serialize_pem());
        [certificate_file, key_file]
    }

    /// A file that its owner alone can read.
    pub(crate) fn secret(&self, file: &str, text: &str) -> PathBuf {
        let path = self.path(file);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

/// A receiver's process, ended with the test.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().expect("./test installs what is needed");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// Debian's Python, which has Debian's packages.
    pub(crate) fn python(script: &str, arguments: &[&Path]) -> (Self, u16) {
        // Beside this file, whichever crate's tests use it.
        let folders = ["tests/channels", "../crates/port/channels/tests/channels"];
        let folders = folders.map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        let script = folders.iter().map(|folder| folder.join(script)).find(|script| script.exists()).unwrap();
        let program = Self::start(Command::new("/usr/bin/python3").arg(script).args(arguments));
        let port = program.line().parse().unwrap();
        (program, port)
    }

    pub(crate) fn line_within(&self, time: Duration) -> Option<String> {
        self.lines.recv_timeout(time).ok()
    }

    pub(crate) fn line(&self) -> String {
        self.line_within(PATIENCE).expect("the receiver tells nothing")
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.line()).unwrap()
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.lines.try_recv().is_err()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// rsyslog with TLS, and the file that it writes to.
pub(crate) struct Rsyslog {
    _program: Program,
    pub(crate) port: u16,
    pub(crate) file: PathBuf,
}

impl Rsyslog {
    /// `mode` is rsyslog's word for whom it lets in: `anon`, or `x509/certvalid` with a certificate.
    pub(crate) fn start(pki: &Pki, mode: &str) -> Self {
        let [certificate, key] = pki.issue("localhost", 1);
        let [ca, work, port_file, file, configuration, pid] =
            ["ca.pem", "", "port", "messages", "rsyslog.conf", "pid"].map(|file| pki.path(file));
        let text = format!(
            "global(workDirectory=\"{}\" defaultNetstreamDriver=\"gtls\" defaultNetstreamDriverCAFile=\"{}\"\n\
             defaultNetstreamDriverCertFile=\"{}\" defaultNetstreamDriverKeyFile=\"{}\")\n\
             module(load=\"imtcp\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\" streamDriver.authMode=\"{mode}\")\n\
             input(type=\"imtcp\" port=\"0\" address=\"127.0.0.1\" listenPortFileName=\"{}\")\n\
             template(name=\"parts\" type=\"string\" string=\"%pri% %protocol-version% %hostname% %app-name% %msgid% %structured-data% %msg%\\n\")\n\
             action(type=\"omfile\" file=\"{}\" template=\"parts\")\n",
            work.display(),
            ca.display(),
            certificate.display(),
            key.display(),
            port_file.display(),
            file.display(),
        );
        fs::write(&configuration, text).unwrap();
        let program = Program::start(
            Command::new("/usr/sbin/rsyslogd").arg("-n").arg("-f").arg(&configuration).arg("-i").arg(&pid),
        );
        let port = wait_for(|| fs::read_to_string(&port_file).ok()?.trim().parse().ok());
        Self { _program: program, port, file }
    }
}

pub(crate) fn wait_for<T>(mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "it does not happen");
        thread::sleep(Duration::from_millis(20));
    }
}

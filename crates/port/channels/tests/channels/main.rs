//! Real receivers on loopback: Python's HTTPS server, aiosmtpd, and rsyslog.

// Helpers of tests fail like tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod https;
mod mail;
mod syslog;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant, SystemTime},
};

use portreeve_alert::{AlertSettings, Delivery, Desk, Failure, Occurrence, Severity};
use portreeve_channels::{Channel, OpenError, Receipt, open};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use tempfile::TempDir;
use time::OffsetDateTime;

/// How long a receiver may take to start, or to tell what it got.
const PATIENCE: Duration = Duration::from_secs(20);

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
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/channels").join(script);
        let program = Self::start(Command::new("/usr/bin/python3").arg(script).args(arguments));
        let port = program.line().parse().unwrap();
        (program, port)
    }

    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the receiver tells nothing")
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

fn settings(channel: &str) -> AlertSettings {
    let text = format!(
        "[[channel]]\nname = \"way\"\n{channel}\n[[contact]]\nname = \"ann\"\nmail = \"ann@example.org\"\n\
         channels = [\"way\"]\nreviewed = 2026-11-01\n[[route]]\ncontacts = [\"ann\"]\n"
    );
    AlertSettings::parse("alerts.toml", &text, &[]).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The channel of these lines of settings.
pub(crate) fn opened(channel: &str) -> Result<Box<dyn Channel>, OpenError> {
    let settings = settings(channel);
    open(&settings.channels()[0].kind, "hub.example.org").map(|channel| channel.unwrap())
}

pub(crate) fn delivery(channel: &str) -> Delivery {
    let now = SystemTime::now().into();
    let mut desk = Desk::restore(settings(channel), [], 7, now).unwrap();
    let text = "five failures\r\nBcc: eve@example.org\n.\n]\"äöü";
    desk.raise(Occurrence::new("auth_failures".parse().unwrap(), Severity::High, "lamp-1", text), now);
    desk.poll(now).remove(0)
}

/// Sends one delivery through a channel of these settings.
pub(crate) fn send(channel: &str) -> Result<Receipt, Failure> {
    send_within(channel, PATIENCE)
}

pub(crate) fn send_within(channel: &str, time: Duration) -> Result<Receipt, Failure> {
    opened(channel).unwrap().send(&delivery(channel), SystemTime::now().into(), Instant::now() + time)
}

/// Whether another attempt is worth it, and why this one failed.
pub(crate) fn failure(sent: Result<Receipt, Failure>) -> (bool, String) {
    match sent.unwrap_err() {
        Failure::Transient(why) => (true, why.to_string()),
        Failure::Permanent(why) => (false, why.to_string()),
    }
}

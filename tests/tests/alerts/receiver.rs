//! A receiver of webhooks that checks signatures by itself, with a CA of its own.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::Value;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Ended with the test.
pub(crate) struct Receiver {
    child: Child,
    lines: mpsc::Receiver<Value>,
    pub(crate) port: u16,
    pub(crate) secret: PathBuf,
    pub(crate) ca: PathBuf,
}

impl Receiver {
    /// Its files lie in `folder`.
    pub(crate) fn start(folder: &Path) -> Self {
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path
        };
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "receivers");
        let ca = file("receiver-ca.pem", &params.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &issuer).unwrap();
        let (certificate, key) = (file("receiver.pem", &leaf.pem()), file("receiver.key", &key.serialize_pem()));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/port/channels/tests/channels/https.py");
        let mut command = Command::new("/usr/bin/python3");
        let command = command.arg(script).args([&certificate, &key]).arg(SECRET);
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().expect("python3");
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut port = String::new();
        stdout.read_line(&mut port).unwrap();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let values = stdout.lines().map_while(Result::ok).map_while(|line| serde_json::from_str(&line).ok());
            for value in values {
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, port: port.trim().parse().unwrap(), secret: file("receiver.secret", SECRET), ca }
    }

    /// The next message of a kind; others are passed over.
    pub(crate) fn message(&self, within: Duration, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        let until = Instant::now() + within;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let message = self.lines.recv_timeout(left).ok()?;
            if wanted(&message) {
                return Some(message);
            }
        }
    }

    pub(crate) fn all_within(&self, time: Duration) -> Vec<Value> {
        thread::sleep(time);
        self.lines.try_iter().collect()
    }

    pub(crate) fn silent_for(&self, time: Duration, why: &str) {
        if let Ok(message) = self.lines.recv_timeout(time) {
            panic!("{why}: {message}");
        }
    }

    /// It takes connections, and does nothing with them.
    pub(crate) fn pause(&mut self) {
        self.signal("STOP");
    }

    pub(crate) fn resume(&mut self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

use std::{
    fs,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::{PATIENCE, Pki, Program, failure, send};

/// rsyslog with TLS, and the file that it writes to.
struct Rsyslog {
    _program: Program,
    port: u16,
    file: PathBuf,
}

impl Rsyslog {
    /// `mode` is rsyslog's word for whom it lets in: `anon`, or `x509/certvalid` with a certificate.
    fn start(pki: &Pki, mode: &str) -> Self {
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

fn wait_for<T>(mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "it does not happen");
        thread::sleep(Duration::from_millis(20));
    }
}

fn lines(pki: &Pki, port: u16) -> String {
    format!("kind = \"syslog\"\nserver = \"localhost:{port}\"\nca_file = \"{}\"", pki.path("ca.pem").display())
}

#[test]
fn rsyslog_reads_every_part_of_a_line() {
    let pki = Pki::new();
    let rsyslog = Rsyslog::start(&pki, "anon");
    for _ in 0..3 {
        send(&lines(&pki, rsyslog.port)).unwrap();
    }
    let text = wait_for(|| {
        let text = fs::read_to_string(&rsyslog.file).ok()?;
        (text.lines().count() >= 3).then_some(text)
    });
    for line in text.lines() {
        assert!(line.starts_with("83 1 hub.example.org portreeve auth_failures [alert@32473 alert=\"0\""), "{line}");
        assert!(
            line.contains(" subject=\"lamp-1\" ") && line.contains("five failures  Bcc: eve@example.org . ]\"äöü"),
            "{line}"
        );
    }
}

#[test]
fn rsyslog_may_ask_for_a_certificate() {
    let pki = Pki::new();
    let rsyslog = Rsyslog::start(&pki, "x509/certvalid");
    let [certificate, key] = pki.issue("hub.example.org", 1);
    let (without, with) = (lines(&pki, rsyslog.port), |certificate: &PathBuf, key: &PathBuf| {
        let files = [certificate, key].map(|path| path.display().to_string());
        format!("{}\ncertificate_file = \"{}\"\nkey_file = \"{}\"", lines(&pki, rsyslog.port), files[0], files[1])
    });
    let (transient, why) = failure(send(&without));
    assert!(transient && why.contains("broke off"), "{why}");
    send(&with(&certificate, &key)).unwrap();
    let text = wait_for(|| fs::read_to_string(&rsyslog.file).ok().filter(|text| text.contains('\n')));
    assert_eq!(text.lines().count(), 1);
    // A certificate with somebody else's key is not even tried.
    let [_, foreign] = pki.issue("other.example.org", 1);
    assert!(crate::opened(&with(&certificate, &foreign)).is_err());
}

#[test]
fn a_stranger_s_receiver_gets_nothing() {
    let (pki, other) = (Pki::new(), Pki::new());
    let rsyslog = Rsyslog::start(&pki, "anon");
    let (transient, why) = failure(send(&lines(&other, rsyslog.port)));
    assert!(transient && why.contains("BadSignature"), "{why}");
    assert!(!rsyslog.file.exists());
}

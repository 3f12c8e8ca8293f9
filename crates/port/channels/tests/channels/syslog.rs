use std::{fs, path::PathBuf};

use crate::{
    Pki, failure,
    receivers::{Rsyslog, wait_for},
    send,
};

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

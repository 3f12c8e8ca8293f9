use std::path::Path;

use portreeve_channels::Receipt;

use crate::{Pki, Program, delivery, failure, opened, send};

fn server(pki: &Pki, mode: &str) -> (Program, u16) {
    let [certificate, key] = pki.issue("localhost", 1);
    Program::python("smtp.py", &[&certificate, &key, Path::new(mode)])
}

fn lines(pki: &Pki, port: u16, security: &str, password: &str) -> String {
    let password = pki.secret("password", password);
    format!(
        "kind = \"smtp\"\nserver = \"localhost:{port}\"\nsecurity = \"{security}\"\nfrom = \"hub@example.org\"\n\
         username = \"hub\"\npassword_file = \"{}\"\nca_file = \"{}\"",
        password.display(),
        pki.path("ca.pem").display()
    )
}

const PASSWORD: &str = "wort ä\n";

#[test]
fn mails_go_over_tls_and_starttls_with_a_login() {
    for (mode, security, mechanism) in
        [("tls", "tls", "PLAIN"), ("starttls", "starttls", "PLAIN"), ("login", "tls", "LOGIN")]
    {
        let pki = Pki::new();
        let (program, port) = server(&pki, mode);
        assert_eq!(send(&lines(&pki, port, security, PASSWORD)), Ok(Receipt::Confirmed), "{mode}");
        let mail = program.json();
        assert_eq!((&mail["from"], &mail["to"][0]), (&"hub@example.org".into(), &"ann@example.org".into()));
        assert_eq!((&mail["user"], &mail["tls"]), (&mechanism.into(), &true.into()));
        let subject = mail["subject"].as_str().unwrap();
        assert_eq!(subject, "[high] auth_failures lamp-1 (opened, alert 0 of hub.example.org)");
        assert!(!mail["headers"].as_array().unwrap().contains(&"Bcc".into()));
        let text = mail["text"].as_str().unwrap();
        assert!(text.starts_with("five failures  Bcc: eve@example.org . ]\"äöü\n"), "{text}");
    }
}

#[test]
fn a_server_without_starttls_hears_neither_password_nor_mail() {
    let pki = Pki::new();
    let (program, port) = server(&pki, "plain");
    let (transient, why) = failure(send(&lines(&pki, port, "starttls", PASSWORD)));
    assert!(!transient && why.contains("does not offer STARTTLS"), "{why}");
    // Nor one that speaks no TLS where it should.
    let (transient, why) = failure(send(&lines(&pki, port, "tls", PASSWORD)));
    assert!(transient && why.contains("no TLS with"), "{why}");
    assert!(program.is_silent());
}

/// CVE-2011-0411
#[test]
fn what_is_said_before_tls_does_not_count_inside() {
    let pki = Pki::new();
    let (_program, port) = server(&pki, "injected");
    let (transient, why) = failure(send(&lines(&pki, port, "starttls", PASSWORD)));
    assert!(!transient && why.contains("between STARTTLS and TLS"), "{why}");
}

#[test]
fn a_wrong_password_is_refused_for_good_and_told_to_nobody() {
    let pki = Pki::new();
    let (program, port) = server(&pki, "tls");
    let to = lines(&pki, port, "tls", "a-wrong-password\n");
    let (transient, why) = failure(send(&to));
    assert!(!transient && why.contains("AUTH: the mail server answered 535"), "{why}");
    let shown = format!("{why} {:?}", opened(&to).unwrap());
    assert!(!shown.contains("wrong-password") && program.is_silent());
}

#[test]
fn a_mailbox_that_is_not_there_is_no_use_and_a_busy_one_is() {
    let pki = Pki::new();
    let (program, port) = server(&pki, "starttls");
    let to = lines(&pki, port, "starttls", PASSWORD);
    for (address, is_transient, code) in [("nobody@example.org", false, "550"), ("later@example.org", true, "451")] {
        let mut delivery = delivery(&to);
        delivery.mail = Some(address.parse().unwrap());
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let sent = opened(&to).unwrap().send(&delivery, std::time::SystemTime::now().into(), deadline);
        let (transient, why) = failure(sent);
        assert!(transient == is_transient && why.contains(code), "{why}");
    }
    assert!(program.is_silent());
}

/// The other CA has the same name.
#[test]
fn a_stranger_s_mail_server_gets_nothing() {
    let (pki, other) = (Pki::new(), Pki::new());
    for (mode, security) in [("tls", "tls"), ("starttls", "starttls")] {
        let (program, port) = server(&pki, mode);
        let (transient, why) = failure(send(&lines(&other, port, security, PASSWORD)));
        assert!(transient && why.contains("BadSignature"), "{why}");
        assert!(program.is_silent());
    }
}

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use portreeve_channels::{OpenError, Receipt};

use crate::{Pki, Program, delivery, failure, opened, send, send_within};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn lines(pki: &Pki, host: &str, port: u16, path: &str) -> String {
    let [ca, secret] = ["ca.pem", "secret"].map(|file| pki.path(file).display().to_string());
    pki.secret("secret", &format!("{SECRET}\n"));
    format!("kind = \"webhook\"\nurl = \"https://{host}:{port}{path}\"\nsecret_file = \"{secret}\"\nca_file = \"{ca}\"")
}

fn receiver(pki: &Pki, name: &str, days: i64) -> (Program, u16) {
    let [certificate, key] = pki.issue(name, days);
    Program::python("https.py", &[&certificate, &key, Path::new(SECRET)])
}

#[test]
fn a_webhook_is_signed_over_tls_and_its_status_decides() {
    let pki = Pki::new();
    let (program, port) = receiver(&pki, "localhost", 1);
    let to = |path: &str| lines(&pki, "localhost", port, path);
    assert_eq!(send(&to("/in?token=x")), Ok(Receipt::Confirmed));
    let got = program.json();
    assert_eq!((got["signed"].as_bool(), got["path"].as_str()), (Some(true), Some("/in?token=x")));
    assert_eq!(got["host"], format!("localhost:{port}"));
    assert_eq!((&got["body"]["alert"]["subject"], &got["body"]["key"]), (&"lamp-1".into(), &got["key"]));
    // An error, and the same again: one key.
    let (flaky, delivery) = (opened(&to("/flaky")).unwrap(), delivery(&to("/flaky")));
    let again = || flaky.send(&delivery, SystemTime::now().into(), Instant::now() + Duration::from_secs(10));
    assert_eq!(failure(again()), (true, format!("localhost:{port} answered 500")));
    assert_eq!(again(), Ok(Receipt::Confirmed));
    assert_eq!(program.json()["key"], program.json()["key"]);
    for (path, is_transient, why) in [
        ("/busy", true, "answered 429"),
        ("/slow", true, "answered 408"),
        ("/missing", false, "answered 404"),
        ("/redirect", false, "answered 302: redirects are not followed"),
        ("/garbage", true, "broke off"),
        ("/headers", true, "broke off"),
    ] {
        let (transient, told) = failure(send(&to(path)));
        assert!(transient == is_transient && told.contains(why), "{path}: {told}");
        assert_eq!(program.json()["path"], path);
    }
    // Its answer's body is nobody's matter, however long it is.
    assert_eq!(send(&to("/huge")), Ok(Receipt::Confirmed));
    assert_eq!(program.json()["path"], "/huge");
    assert!(program.is_silent(), "nobody asked for /stolen");
}

#[test]
fn a_server_that_hangs_costs_its_deadline_and_no_more() {
    let pki = Pki::new();
    let (_program, port) = receiver(&pki, "localhost", 1);
    let started = Instant::now();
    let sent = send_within(&lines(&pki, "localhost", port, "/hang"), Duration::from_secs(2));
    assert_eq!(failure(sent), (true, "the time for this attempt is over".into()));
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    // One that accepts and never shakes hands.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = mute.local_addr().unwrap().port();
    let sent = send_within(&lines(&pki, "localhost", port, "/"), Duration::from_secs(1));
    assert!(failure(sent).0);
    drop(mute);
    let (transient, why) = failure(send(&lines(&pki, "127.0.0.1", port, "/")));
    assert!(transient && why.contains("cannot reach 127.0.0.1"), "{why}");
}

/// Who cannot show the right certificate gets nothing.
#[test]
fn another_ca_another_name_and_an_old_certificate_get_nothing() {
    let (pki, other) = (Pki::new(), Pki::new());
    let refused = |pki: &Pki, name: &str, days: i64, expected: &str| {
        let (program, port) = receiver(pki, name, days);
        let to = lines(&other, "localhost", port, "/in").replace(
            &other.path("ca.pem").display().to_string(),
            &if expected == "BadSignature" { other.path("ca.pem") } else { pki.path("ca.pem") }.display().to_string(),
        );
        let (transient, why) = failure(send(&to));
        assert!(transient && why.contains(expected), "{why}");
        assert!(program.is_silent());
    };
    refused(&pki, "localhost", 1, "BadSignature");
    refused(&pki, "other.example.org", 1, "not valid for name");
    refused(&pki, "localhost", -1, "expired");
}

/// Others' certificates may be signed with RSA; what a system trusts is read where none is named.
#[test]
fn certificates_of_rsa_are_taken_from_others() {
    let pki = Pki::rsa();
    let (program, port) = receiver(&pki, "localhost", 1);
    let to = lines(&pki, "localhost", port, "/in");
    assert_eq!(send(&to), Ok(Receipt::Confirmed));
    assert_eq!(program.json()["signed"], true);
    let ca = format!("ca_file = \"{}\"", pki.path("ca.pem").display());
    let system = to.replace(&ca, "");
    match opened(&system) {
        Ok(_) => assert!(failure(send(&system)).1.contains("UnknownIssuer")),
        // A system without a store of its own.
        Err(error) => assert!(error.to_string().contains("no trust anchor"), "{error}"),
    }
}

#[test]
fn secrets_are_files_of_their_owner_and_stand_in_no_message() {
    let pki = Pki::new();
    pki.issue("localhost", 1);
    let to = lines(&pki, "localhost", 1, "/token");
    let shown = format!("{:?} {:?}", opened(&to).unwrap(), failure(send(&to)));
    assert!(!shown.contains(SECRET) && !shown.contains("token"), "{shown}");
    let secret = pki.path("secret");
    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(opened(&to), Err(OpenError::TooOpen { .. })), "{mode:o}");
    }
    pki.secret("secret", "too short\n");
    assert!(matches!(opened(&to), Err(OpenError::Size { min: 16, .. })));
    pki.secret("secret", &"x".repeat(5000));
    assert!(matches!(opened(&to), Err(OpenError::Size { .. })));
    fs::remove_file(&secret).unwrap();
    assert!(matches!(opened(&to), Err(OpenError::Io { .. })));
    fs::create_dir(&secret).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(matches!(opened(&to), Err(OpenError::Size { .. })));
    fs::remove_dir(&secret).unwrap();
    pki.secret("secret", SECRET);
    fs::write(pki.path("ca.pem"), "nothing").unwrap();
    assert!(matches!(opened(&to), Err(OpenError::Tls(_))));
}

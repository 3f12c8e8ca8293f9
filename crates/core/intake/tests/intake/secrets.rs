use std::process::Command;

use portreeve_assurance::Verdict;
use portreeve_intake::{Piece, secrets::Scanner};

use crate::common::{evidence, judge};

pub(crate) fn scanned(files: &[(&str, &[u8])]) -> Piece {
    let mut scanner = Scanner::new(&[7; 32]);
    files.iter().for_each(|(name, bytes)| scanner.file(name, bytes));
    scanner.finish("image")
}

fn found(text: &str) -> Vec<(String, String)> {
    let piece = scanned(&[("file", text.as_bytes())]);
    let word = |one: &serde_json::Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    piece.data["findings"].as_array().unwrap().iter().map(|one| (word(one, "kind"), word(one, "name"))).collect()
}

#[test]
fn secrets_are_found() {
    let token = |parts: &[&str]| parts.concat();
    for (text, kind) in [
        (token(&["aws_access_key_id = AK", "IAIOSFODNN7EXAMPLX"]), "token"),
        (token(&["x: gh", "p_0123456789abcdefghijABCDEFGHIJ012345"]), "token"),
        (
            token(&[
                "Authorization: Bearer ey",
                "JhbGciOiJFUzI1NiJ9.eyJzdWIiOiJsYW1wLTEifQ.c2lnbmF0dXJlLW9mLW5vYm9keQ",
            ]),
            "token",
        ),
        (token(&["HostName=h.azure-devices.net;SharedAccess", "Key=", &"A1b2".repeat(11)]), "token"),
        ("server = mqtts://user:s3cr3t-w0rd@hub.example".into(), "url-password"),
        ("mqtt_password = \"correct horse battery\"".into(), "literal"),
        ("wpa_passphrase=a8dk39dk3k2".into(), "literal"),
        ("  password: changeme".into(), "well-known"),
        ("root:$6$saltsalt$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:19000:0:99999:7:::".into(), "password-hash"),
        ("operator:$7$101$bm9ib2R5$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa==".into(), "password-hash"),
        ("const API_KEY: &str = \"\"; let api_key = \"k3jd82kd93kd02kd\";".into(), "literal"),
    ] {
        assert_eq!(found(&text).first().map(|(kind, _)| kind.as_str()), Some(kind), "{text}: {:?}", found(&text));
    }
}

#[test]
fn what_is_none_is_left_alone() {
    for text in [
        "-----BEGIN CERTIFICATE-----\nMIIDHzCCAgegAwIBAgIULKmb+RNE9rwTBtssSwUyYzfJMtAwDQYJKoZIhvcNAQEL\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n-----END PUBLIC KEY-----",
        "A key begins with -----BEGIN PRIVATE KEY----- and so on.",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ1bGxldHByb29mLWtleS1vZi1ub2JvZHk operator@host",
        "password_file /etc/mosquitto/passwd",
        "password = ${MQTT_PASSWORD}",
        "password: {{ vault_password }}",
        "token = <your token here>",
        "let password = read_password()?;",
        "fn token(&self) -> Token { self.token }",
        "PasswordAuthentication no",
        "https://example.com/path?x=1:2@3",
        "secret: !secret mqtt",
        "psk=xxxxxxxxxxxx",
        "permit_password_login = false",
    ] {
        assert_eq!(found(text), [], "{text}");
    }
}

/// Keys that `openssl` and `ssh-keygen` make: in clear and sealed, in PEM and in DER.
#[test]
fn keys_of_real_programs_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let done = Command::new(program).args(arguments).current_dir(folder.path()).output().unwrap();
        assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    run("openssl", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "key.pem"]);
    run("openssl", &["pkcs8", "-topk8", "-in", "key.pem", "-out", "sealed.pem", "-passout", "pass:word-of-tests"]);
    run("openssl", &["ec", "-in", "key.pem", "-out", "ec.pem"]);
    run("openssl", &["pkcs8", "-topk8", "-nocrypt", "-in", "key.pem", "-outform", "DER", "-out", "key.der"]);
    run("openssl", &["req", "-x509", "-new", "-key", "key.pem", "-subj", "/CN=a", "-out", "cert.pem"]);
    run("openssl", &["x509", "-in", "cert.pem", "-outform", "DER", "-out", "cert.der"]);
    run(
        "openssl",
        &[
            "pkcs12",
            "-export",
            "-inkey",
            "key.pem",
            "-in",
            "cert.pem",
            "-out",
            "store.p12",
            "-passout",
            "pass:word-of-tests",
        ],
    );
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", "ssh"]);
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "word-of-tests", "-f", "ssh-sealed"]);
    for (name, kinds) in [
        ("key.pem", &["private-key"][..]),
        ("ec.pem", &["private-key"]),
        ("sealed.pem", &["sealed-private-key"]),
        ("key.der", &["private-key"]),
        ("cert.pem", &[]),
        ("cert.der", &[]),
        ("store.p12", &["key-store"]),
        ("ssh", &["private-key"]),
        ("ssh.pub", &[]),
        ("ssh-sealed", &["sealed-private-key"]),
    ] {
        let piece = scanned(&[(name, &std::fs::read(folder.path().join(name)).unwrap())]);
        let found: Vec<&str> =
            piece.data["findings"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
        assert_eq!(found, kinds, "{name}");
    }
}

type Case = (Vec<(&'static str, &'static [u8])>, Verdict, &'static [&'static str]);

pub(crate) fn cases() -> Vec<Case> {
    use Verdict::{Fail, Partial, Pass};
    vec![
        (vec![("readme", b"nothing here"), ("public.pem", b"-----BEGIN PUBLIC KEY-----\nMFkw\n")], Pass, &["2 files"]),
        (
            vec![("a.conf", b"\nmqtt_password = \"correct horse\"\n")],
            Fail,
            &["a secret: mqtt_password (a.conf, line 2)"],
        ),
        (
            vec![("a", b"password=\"correct horse\""), ("b", b"password=\"correct horse\"")],
            Fail,
            &["1 secrets stand in more than one place"],
        ),
        (vec![("a", b"psk = \"changeme\"")], Fail, &["a password that everybody tries first: psk (a, line 1)"]),
        (
            vec![("a", b"password=\"correct horse\" # portreeve:allow opens nothing")],
            Partial,
            &["said to be allowed: opens nothing"],
        ),
    ]
}

/// IOTSF-2.4.7.7, IOTSF-2.4.7.12, IIITA-DI1, CSA-SDV-04, CSA-SDV-11
#[test]
fn a_folder_is_judged_and_no_secret_is_told() {
    for (files, verdict, said) in cases() {
        let piece = scanned(&files);
        assert!(!piece.data.to_string().contains("horse"), "{}", piece.data);
        let judgement = judge("cfg.secrets", "image", &evidence("image", &[piece], &[]));
        assert_eq!(judgement.verdict, verdict, "{files:?}: {}", judgement.observed);
        said.iter()
            .for_each(|said| assert!(judgement.observed.contains(said), "`{said}` is not in {}", judgement.observed));
    }
}

#[test]
fn fingerprints_are_of_one_scan() {
    let print = |random: u8| {
        let mut scanner = Scanner::new(&[random; 32]);
        scanner.file("a", b"password=\"correct horse\"");
        scanner.finish("a").data["findings"][0]["fingerprint"].clone()
    };
    assert_eq!(print(1), print(1));
    assert_ne!(print(1), print(2));
}

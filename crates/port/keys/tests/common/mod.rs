//! The suite that every custody passes, and the outside judges of it: the openssl program above all.

// Each test binary uses a part; helpers of tests panic as tests do.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub(crate) mod swtpm;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    sync::Arc,
};

use portreeve_keys::{Custody, KeyAlgorithm, KeyError, KeyName, Passphrase, Protection, SigningKey, X509Key};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, SerialNumber,
};

pub(crate) const PASSPHRASE: &str = "correct horse battery";

pub(crate) fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.to_owned().into()).unwrap()
}

pub(crate) fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

pub(crate) fn run(command: &mut Command) -> Output {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; ./test installs what is needed"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// `open` makes the custody anew each time, over the same keys; there are none at the start.
pub(crate) fn conformance(protection: Protection, unsupported: &[KeyAlgorithm], open: &dyn Fn() -> Box<dyn Custody>) {
    let custody = open();
    assert_eq!(custody.protection(), protection);
    assert_eq!(custody.list().unwrap(), []);
    nothing_is_called(&*custody, "absent");

    let mut made: Vec<(KeyName, Arc<dyn SigningKey>)> = Vec::new();
    // Not in the order of their names.
    for (label, algorithm) in ["z-root", "m.devices", "a_ledger"].into_iter().zip(KeyAlgorithm::ALL) {
        let created = custody.create(&name(label), algorithm);
        if unsupported.contains(&algorithm) {
            assert!(matches!(created, Err(KeyError::Unsupported { .. })), "{created:?}");
            nothing_is_called(&*custody, label);
            continue;
        }
        let key = created.unwrap();
        assert_eq!(key.public().algorithm(), algorithm);
        signs(&*key);
        made.push((name(label), key));
    }
    assert!(made.len() >= 2);
    never_overwrites(&*custody, &made);
    lists(&*custody, &made);

    // What was made is what is found later.
    let again = open();
    lists(&*again, &made);
    for (label, key) in &made {
        let opened = again.open(label).unwrap();
        assert_eq!(opened.public(), key.public());
        signs(&*opened);
        certifies(opened);
    }
    signs_for_many_at_once(&made);

    let (gone, _) = made.remove(0);
    again.destroy(&gone).unwrap();
    nothing_is_called(&*again, gone.as_str());
    nothing_is_called(&*open(), gone.as_str());
    lists(&*again, &made);
    let anew = again.create(&gone, KeyAlgorithm::EcdsaP256).unwrap();
    signs(&*anew);
}

fn nothing_is_called(custody: &dyn Custody, label: &str) {
    let label = name(label);
    assert!(matches!(custody.open(&label), Err(KeyError::Missing { name, .. }) if name == label));
    assert!(matches!(custody.destroy(&label), Err(KeyError::Missing { name, .. }) if name == label));
}

fn never_overwrites(custody: &dyn Custody, made: &[(KeyName, Arc<dyn SigningKey>)]) {
    for (label, key) in made {
        let refused = custody.create(label, KeyAlgorithm::EcdsaP256).unwrap_err();
        assert!(matches!(refused, KeyError::Exists { .. }), "{refused}");
        assert_eq!(custody.open(label).unwrap().public(), key.public());
    }
}

fn lists(custody: &dyn Custody, made: &[(KeyName, Arc<dyn SigningKey>)]) {
    let mut expected: Vec<_> = made.iter().map(|(label, key)| (label.clone(), key.public().clone())).collect();
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    let listed: Vec<_> = custody.list().unwrap().into_iter().map(|facts| (facts.name, facts.public)).collect();
    assert_eq!(listed, expected);
}

fn signs(key: &dyn SigningKey) {
    let long = vec![7; 100_000];
    for message in [b"".as_slice(), b"x", &long] {
        let signature = key.sign(message).unwrap();
        assert!(key.public().verifies(message, &signature));
        assert!(!key.public().verifies(b"another message", &signature));
        openssl_verifies(key, message, &signature);
    }
}

pub(crate) fn openssl_verifies(key: &dyn SigningKey, message: &[u8], signature: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    // A one-shot algorithm wants a file with content.
    if message.is_empty() && key.public().algorithm() == KeyAlgorithm::Ed25519 {
        return;
    }
    let mut command = Command::new("openssl");
    command.args(["pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER"]);
    match key.public().algorithm() {
        KeyAlgorithm::EcdsaP256 => command.args(["-digest", "sha256"]),
        KeyAlgorithm::EcdsaP384 => command.args(["-digest", "sha384"]),
        KeyAlgorithm::Ed25519 => &mut command,
    };
    command.arg("-inkey").arg(file("public", key.public().spki_der()));
    command.arg("-sigfile").arg(file("signature", signature)).arg("-in").arg(file("message", message));
    run(&mut command);
}

/// A CA of this key: `openssl` accepts its certificate, the leaf that it issues and its CRL.
fn certifies(key: Arc<dyn SigningKey>) {
    let key = X509Key::new(key);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Test root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let root = params.self_signed(&key).unwrap();
    let issuer = Issuer::from_params(&params, &key);
    let leaf = |serial: u64| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Test leaf");
        params.serial_number = Some(serial.into());
        params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().pem()
    };
    let now = rcgen::date_time_ymd(2020, 1, 1);
    let crl = CertificateRevocationListParams {
        this_update: now,
        next_update: rcgen::date_time_ymd(2090, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![rcgen::RevokedCertParams {
            serial_number: 2.into(),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let crl = crl.signed_by(&issuer).unwrap().pem().unwrap();
    assert!(key.take_failure().is_none());

    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("root.pem", &root.pem());
    write("crl.pem", &crl);
    write("good.pem", &leaf(1));
    write("revoked.pem", &leaf(2));
    let verify = |leaf: &str| openssl_verify(directory.path(), leaf);
    assert!(verify("good.pem").status.success(), "{:?}", verify("good.pem"));
    let revoked = verify("revoked.pem");
    assert!(!revoked.status.success() && String::from_utf8_lossy(&revoked.stderr).contains("revoked"), "{revoked:?}");
}

fn openssl_verify(directory: &Path, leaf: &str) -> Output {
    let mut command = Command::new("openssl");
    command.current_dir(directory);
    command.args(["verify", "-check_ss_sig", "-crl_check", "-CRLfile", "crl.pem", "-CAfile", "root.pem", leaf]);
    command.output().unwrap()
}

fn signs_for_many_at_once(made: &[(KeyName, Arc<dyn SigningKey>)]) {
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for (_, key) in made {
                    let message = format!("message of {thread}");
                    assert!(key.public().verifies(message.as_bytes(), &key.sign(message.as_bytes()).unwrap()));
                }
            });
        }
    });
}

//! An independent implementation reads what is issued, and asks for what must not be granted.

#![allow(clippy::unwrap_used, clippy::expect_used)] // in tests, helpers included, a panic is the report

use std::{
    path::Path,
    process::{Command, Output},
    time::{Duration, SystemTime},
};

use portreeve_pki::{Authority, HUB_LIFETIME_MAX, generate_key, public_key_from_csr};
use portreeve_types::{IdentityId, UnixMillis};
use uuid::Uuid;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn openssl(directory: &Path, arguments: &str) -> Output {
    let mut command = Command::new("openssl");
    command.args(arguments.split_whitespace()).current_dir(directory);
    command.output().expect("the tests need the openssl command")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A directory with ca.pem, and for a device and the hub a chain and a key.
fn bundle() -> (tempfile::TempDir, Authority, UnixMillis) {
    let now = SystemTime::now().into();
    let authority = Authority::create(now).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| std::fs::write(directory.path().join(name), content).unwrap();
    let (device_key, hub_key) = (generate_key().unwrap(), generate_key().unwrap());
    let device = authority.issue_device(IdentityId(Uuid::from_u128(1)), &device_key.public, now, DAY).unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let hub = authority.issue_hub(&names, &hub_key.public, now, HUB_LIFETIME_MAX).unwrap();
    write("ca.pem", &authority.trust_pem());
    write("device.pem", &device.chain_pem);
    write("device-key.pem", &device_key.pkcs8_pem);
    write("hub.pem", &hub.chain_pem);
    (directory, authority, now)
}

#[test]
fn openssl_verifies_both_chains_for_their_purpose_only() {
    let (directory, ..) = bundle();
    let verify = |rest: &str| openssl(directory.path(), &format!("verify -x509_strict -CAfile ca.pem {rest}"));
    for good in [
        "-purpose sslclient -untrusted device.pem device.pem",
        "-purpose sslserver -verify_hostname localhost -untrusted hub.pem hub.pem",
        "-purpose sslserver -verify_ip 127.0.0.1 -untrusted hub.pem hub.pem",
    ] {
        let output = verify(good);
        assert!(output.status.success(), "{good}: {}", text(&output));
    }
    for bad in [
        "-purpose sslserver -untrusted device.pem device.pem",
        "-purpose sslclient -untrusted hub.pem hub.pem",
        "-purpose sslserver -verify_hostname other.example -untrusted hub.pem hub.pem",
        "-purpose sslclient device.pem",
    ] {
        assert!(!verify(bad).status.success(), "{bad}");
    }
}

#[test]
fn openssl_reads_the_key_that_goes_with_the_certificate() {
    let (directory, ..) = bundle();
    let from_key = openssl(directory.path(), "pkey -in device-key.pem -pubout");
    let from_certificate = openssl(directory.path(), "x509 -in device.pem -noout -pubkey");
    assert!(from_key.status.success(), "{}", text(&from_key));
    assert_eq!(from_key.stdout, from_certificate.stdout);
}

/// Whatever a request asks for, the answer is a plain leaf.
#[test]
fn a_request_to_become_a_ca_gets_a_plain_leaf() {
    let (directory, authority, now) = bundle();
    let made = openssl(
        directory.path(),
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout evil.key -out evil.csr -subj /CN=root \
         -addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign \
         -addext extendedKeyUsage=serverAuth -addext subjectAltName=DNS:localhost",
    );
    assert!(made.status.success(), "{}", text(&made));
    let asked = text(&openssl(directory.path(), "req -in evil.csr -noout -text"));
    assert!(asked.contains("CA:TRUE") && asked.contains("DNS:localhost"), "{asked}");

    let key = public_key_from_csr(&std::fs::read(directory.path().join("evil.csr")).unwrap()).unwrap();
    let issued = authority.issue_device(IdentityId(Uuid::from_u128(2)), &key, now, DAY).unwrap();
    std::fs::write(directory.path().join("leaf.pem"), issued.chain_pem).unwrap();
    let granted = text(&openssl(directory.path(), "x509 -in leaf.pem -noout -text"));
    assert!(granted.contains("CA:FALSE") && granted.contains("TLS Web Client Authentication"), "{granted}");
    for denied in ["CA:TRUE", "Certificate Sign", "Server Authentication", "localhost", "CN = root"] {
        assert!(!granted.contains(denied), "{denied} in {granted}");
    }
}

#[test]
fn openssl_rsa_requests_are_refused() {
    let (directory, ..) = bundle();
    for bits in [1024, 2048] {
        let made = openssl(
            directory.path(),
            &format!("req -new -newkey rsa:{bits} -nodes -keyout weak.key -out weak.csr -subj /CN=weak"),
        );
        assert!(made.status.success(), "{}", text(&made));
        assert!(public_key_from_csr(&std::fs::read(directory.path().join("weak.csr")).unwrap()).is_err(), "{bits}");
    }
}

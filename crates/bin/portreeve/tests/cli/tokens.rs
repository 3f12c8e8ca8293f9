//! Custody of the CA's keys in a PKCS #11 token (SoftHSM) and in a TPM 2.0 (swtpm): made there, used there, nowhere else.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    custody::{open_keys, publishes},
    support::{Done, Place},
};

#[expect(dead_code, reason = "what other tests need of it")]
#[path = "../../../../port/keys/tests/common/swtpm.rs"]
mod swtpm;
use swtpm::Swtpm;

/// How long a TPM is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
const PIN: &str = "73911";
const MODULES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
];
const SOFTHSM: &str = "SOFTHSM2_CONF";

fn module() -> &'static str {
    let found = MODULES.into_iter().find(|module| Path::new(module).is_file());
    found.expect("SoftHSM is missing: apt-get install softhsm2, or ./test")
}

/// A place with a token of its own.
fn place_with_token() -> Place {
    let mut place = Place::new();
    fs::create_dir(place.path("tokens")).unwrap();
    let tokens = place.path("tokens");
    let config = place.write("softhsm.conf", &format!("directories.tokendir = {}\n", tokens.display()));
    place.env.push((SOFTHSM, config));
    place.secret("pin", PIN);
    init_token(&place, "hub");
    place
}

fn init_token(place: &Place, label: &str) {
    let mut command = Command::new("softhsm2-util");
    command.args(["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "99887766"]);
    let done = Done::from(command.envs(place.env.iter().cloned()).output().unwrap());
    assert_eq!(done.status, 0, "{done:?}");
}

/// The settings for the token of this label.
fn token(place: &Place, label: &str) -> Vec<String> {
    [
        "keys.custody=pkcs11".to_owned(),
        format!("keys.pkcs11_module={}", module()),
        format!("keys.pkcs11_token={label}"),
        format!("keys.pkcs11_paths={}", place.path("tokens").display()),
        "keys.passphrase_file=pin".to_owned(),
    ]
    .into_iter()
    .flat_map(|set| ["--set".to_owned(), set])
    .collect()
}

fn as_str(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// The listeners' keys, and where the ledger's is: no TPM signs with Ed25519, which the ledger's readers want.
fn keys_in_files(protection: &str) -> Vec<&'static str> {
    let ledger = protection.starts_with("TPM").then_some("ledger.key");
    ledger.into_iter().chain(["server-2.key", "server.key"]).collect()
}

/// A hub whose CA keys are not in its data directory issues; `openssl` agrees that its CA did.
fn issues(place: &Place, args: &[&str], protection: &str) {
    let hub = place.serve(args);
    place.ok(&["device", "add", "lamp-1", "--out", "lamp-1"]);
    publishes(place, &hub, "lamp-1");
    let shown = place.json(&["ca", "show"]);
    for entry in &shown["certificates"].as_array().unwrap()[..3] {
        assert_eq!((&entry["key"]["protection"], &entry["key"]["hardware_held"]), (&protection.into(), &true.into()));
    }
    hub.stop();
    assert_eq!(open_keys(place), keys_in_files(protection), "no CA's key is in a file");
    place.openssl("verify -purpose sslclient -CAfile lamp-1/ca.pem -untrusted lamp-1/cert.pem lamp-1/cert.pem");
    place.openssl("verify -CAfile data/pki/root.pem data/pki/devices.pem");

    // A restart finds the same keys.
    let hub = place.serve(args);
    publishes(place, &hub, "lamp-1");
    place.ok(&["device", "add", "lamp-2", "--out", "lamp-2"]);
    publishes(place, &hub, "lamp-2");
    place.openssl("verify -purpose sslclient -CAfile lamp-1/ca.pem -untrusted lamp-2/cert.pem lamp-2/cert.pem");

    // A CA that follows has its key there too; the root's, which signs it, never leaves.
    place.ok(&["ca", "rotate"]);
    place.ok(&["device", "add", "lamp-3", "--out", "lamp-3"]);
    place.openssl("verify -partial_chain -CAfile data/pki/devices-2.pem lamp-3/cert.pem");
    for device in ["lamp-1", "lamp-3"] {
        publishes(place, &hub, device);
    }
    // So has a root that follows, and the CAs below it.
    place.ok(&["ca", "rotate", "root"]);
    place.ok(&["ca", "rotate", "root", "--now"]);
    place.ok(&["device", "add", "lamp-4", "--out", "lamp-4"]);
    place.openssl("verify -CAfile data/pki/root-2.pem -untrusted lamp-4/cert.pem lamp-4/cert.pem");
    for device in ["lamp-1", "lamp-4"] {
        publishes(place, &hub, device);
    }
    let shown = place.json(&["ca", "show"]);
    let cas = shown["certificates"].as_array().unwrap().iter().filter(|entry| entry["name"] != "server");
    assert!(cas.clone().count() >= 6, "{shown}");
    for entry in cas {
        assert_eq!(entry["key"]["protection"], protection, "{entry}");
    }
    hub.stop();
    assert_eq!(open_keys(place), keys_in_files(protection));
    let hub = place.serve(args);
    publishes(place, &hub, "lamp-3");
    hub.stop();
    let refused = place.run(&[&["ca", "root", "export", "safe"], args].concat());
    assert_eq!(refused.status, 4, "{refused:?}");
    assert!(refused.err.contains("cannot leave it"), "{refused:?}");
}

fn fails(place: &Place, args: &[String], words: &[&str]) {
    let done = place.fails_to_serve(&as_str(args));
    assert_eq!(done.status, 2, "{done:?}");
    for word in words {
        assert!(done.err.contains(word), "{word}: {done:?}");
    }
}

/// IOTSF-2.4.7.12: the keys of the CA are made in the token and used there.
#[test]
fn a_token_holds_the_keys_of_the_ca() {
    let place = place_with_token();
    let args = token(&place, "hub");
    issues(&place, &as_str(&args), "PKCS #11 token");

    fails(&place, &token(&place, "other"), &["there is no such token, but \"hub\"", "keys.pkcs11_token"]);
    let mut elsewhere = args.clone();
    elsewhere.extend(["--set".into(), "keys.pkcs11_module=/nowhere/module.so".into()]);
    fails(&place, &elsewhere, &["there is no such file", "keys.pkcs11_module"]);
    place.secret("pin", "00000");
    fails(&place, &args, &["wrong passphrase for token \"hub\"", "PIN", "keys.passphrase_file"]);
    place.secret("pin", PIN);
    // Another token, though it has the name and the PIN, does not have the keys.
    fs::rename(place.path("tokens"), place.path("taken")).unwrap();
    fs::create_dir(place.path("tokens")).unwrap();
    init_token(&place, "hub");
    fails(&place, &args, &["there is no key devices-3 in token \"hub\"", "keys.pkcs11_paths"]);
    fails(&place, &[], &["there is no key devices-3 in", "keys.custody is \"file\""]);
}

/// What a first start made in a token goes when the start fails; what it found there stays.
#[test]
fn a_failed_first_start_leaves_the_token_as_it_was() {
    let place = place_with_token();
    let args = token(&place, "hub");
    // Found at the very end: the directory cannot be put into its place.
    std::os::unix::fs::symlink("nowhere", place.path("data")).unwrap();
    fails(&place, &args, &["cannot create"]);
    fs::remove_file(place.path("data")).unwrap();
    place.serve(&as_str(&args)).stop();

    fs::rename(place.path("data"), place.path("first")).unwrap();
    fails(&place, &args, &["there is a key root in token", "a token of its own"]);
    fs::rename(place.path("first"), place.path("data")).unwrap();
    place.serve(&as_str(&args)).stop();
}

fn tpm(socket: &Path, with_passphrase: bool) -> Vec<String> {
    let mut sets = vec!["keys.custody=tpm".to_owned(), format!("keys.tpm_tcti=swtpm:path={}", socket.display())];
    sets.extend(with_passphrase.then(|| "keys.passphrase_file=pass".to_owned()));
    sets.into_iter().flat_map(|set| ["--set".to_owned(), set]).collect()
}

/// IOTSF-2.4.7.12: the same with a TPM, with and without a passphrase.
#[test]
fn a_tpm_holds_the_keys_of_the_ca() {
    for with_passphrase in [false, true] {
        let (place, own, other) = (Place::new(), Swtpm::start(), Swtpm::start());
        place.secret("pass", "correct horse");
        let args = tpm(&own.socket(), with_passphrase);
        issues(&place, &as_str(&args), "TPM 2.0");
        fails(&place, &tpm(&other.socket(), with_passphrase), &["devices-3.tpm", "made for another one"]);
        fails(
            &place,
            &tpm(Path::new("/nowhere/socket"), with_passphrase),
            &["TPM at /nowhere/socket", "keys.tpm_tcti"],
        );
        if with_passphrase {
            fails(&place, &tpm(&own.socket(), false), &["devices-3.tpm", "a passphrase is needed"]);
            place.secret("pass", "wrong horse");
            fails(&place, &args, &["wrong passphrase for", "devices-3.tpm"]);
        }
    }
}

/// A TPM that does not answer keeps waiting whoever needs its signature, and nobody else: the clock goes on, devices
/// speak, and who is revoked is cut off.
#[test]
fn a_tpm_that_does_not_answer_holds_up_no_revocation() {
    let (place, own) = (Place::new(), Swtpm::start());
    let hub = place.serve(&as_str(&tpm(&own.socket(), false)));
    place.ok(&["device", "add", "lamp-1", "--out", "lamp-1"]);
    place.ok(&["device", "add", "thief", "--out", "thief"]);
    own.freeze();
    // More than the hub has threads for them.
    let mut waiting: Vec<_> = (2..14)
        .map(|number| format!("lamp-{number}"))
        .map(|name| place.command(&["device", "add", &name, "--out", &name]).stdout(Stdio::null()).spawn().unwrap())
        .collect();
    // Time for the request to reach the TPM; were it too short, the test would see less, and not fail.
    std::thread::sleep(Duration::from_millis(500));
    let asked = Instant::now();
    place.ok(&["device", "revoke", "thief", "--reason", "stolen"]);
    publishes(&place, &hub, "lamp-1");
    let refused = place.run(&["client", "pub", "--bundle", "thief", "--port", &hub.port(), "-t", "t", "-m", "m"]);
    assert_ne!(refused.status, 0);
    assert!(asked.elapsed() < ANSWER_TIMEOUT, "nothing of that waited for the TPM to be given up");
    assert!(waiting.iter_mut().all(|adds| adds.try_wait().unwrap().is_none()), "who needs the TPM waits");
    own.thaw();
    assert!(waiting.iter_mut().all(|adds| adds.wait().unwrap().success()));
    publishes(&place, &hub, "lamp-2");
    hub.stop();
}

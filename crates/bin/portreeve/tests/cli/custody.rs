//! Custody of the CA's keys in files: sealed and not, moved, and with the root somewhere else.

use std::fs;

use serde_json::Value;

use crate::support::{Done, Place, Running, mode};

const PASSPHRASE: &str = "correct horse battery";
pub(crate) const SEALED: [&str; 4] = ["--set", "keys.custody=sealed", "--set", "keys.passphrase_file=pass"];

pub(crate) fn publishes(place: &Place, hub: &Running<'_>, name: &str) {
    let topic = format!("devices/{name}/telemetry/x");
    place.ok(&["client", "pub", "--bundle", name, "--port", &hub.port(), "-t", &topic, "-m", "1"]);
}

/// A device makes its own key and gets a certificate by a code.
pub(crate) fn enrols(place: &Place, hub: &Running<'_>, name: &str) {
    place.ok(&["device", "add", name]);
    let told = place.json(&["device", "code", name]);
    let (code, root) = (told["code"].as_str().unwrap(), told["ca_sha256"].as_str().unwrap());
    let at = format!("localhost:{}", hub.address("device_https").port());
    place.ok(&["device", "enrol", name, "--hub", &at, "--code", code, "--ca-sha256", root, "--out", name]);
}

/// Names of the files in `pki/` that hold a private key as it is.
pub(crate) fn open_keys(place: &Place) -> Vec<String> {
    let mut open = Vec::new();
    for entry in fs::read_dir(place.path("data/pki")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        if text.contains("PRIVATE KEY") {
            assert_eq!(mode(&path), 0o600, "{path:?}");
        }
        if text.contains("BEGIN PRIVATE KEY") || text.contains("BEGIN EC PRIVATE KEY") {
            open.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    open.sort();
    open
}

fn refused(done: &Done, status: i32, words: &[&str]) {
    assert_eq!(done.status, status, "{done:?}");
    for word in words {
        assert!(done.err.contains(word), "{word}: {done:?}");
    }
    assert!(!done.err.contains("horse"), "a passphrase is not shown: {done:?}");
}

fn key_of<'a>(shown: &'a Value, name: &str) -> &'a Value {
    let entries = shown["certificates"].as_array().unwrap();
    &entries.iter().find(|entry| entry["name"] == name).unwrap()["key"]
}

/// IOTSF-2.4.7.12: without the passphrase nothing on the disk is of use, and with it everything goes on.
#[test]
fn a_sealed_ca_opens_with_its_passphrase_only() {
    let place = Place::new();
    place.secret("pass", PASSPHRASE);
    let hub = place.serve(&SEALED);
    let limits = fs::read_to_string(format!("/proc/{}/limits", hub.id())).unwrap();
    let cores: Vec<&str> =
        limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap().split_whitespace().collect();
    assert_eq!(cores[..2], ["0", "0"], "passphrase and keys stay out of core files");
    place.ok(&["device", "add", "lamp-1", "--out", "lamp-1"]);
    publishes(&place, &hub, "lamp-1");
    let shown = place.json(&["ca", "show"]);
    assert_eq!(shown["custody"], "sealed");
    for name in ["root", "devices", "hub", "server"] {
        assert_eq!(key_of(&shown, name)["protection"], "sealed file", "{shown}");
    }
    assert_eq!(key_of(&shown, "root")["in_use"], false, "{shown}");
    hub.stop();
    assert_eq!(open_keys(&place), [""; 0]);

    let hub = place.serve(&SEALED);
    publishes(&place, &hub, "lamp-1");
    enrols(&place, &hub, "lamp-2");
    publishes(&place, &hub, "lamp-2");
    place.openssl("verify -purpose sslclient -CAfile lamp-1/ca.pem -untrusted lamp-2/cert.pem lamp-2/cert.pem");
    hub.stop();

    place.secret("pass", "wrong horse battery");
    refused(&place.fails_to_serve(&SEALED), 2, &["wrong passphrase for", "devices.key", "keys.passphrase_file"]);
    refused(&place.run(&[&["device", "list"][..], &SEALED].concat()), 2, &["wrong passphrase for"]);
    place.write("pass", PASSPHRASE);
    fs::set_permissions(place.path("pass"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    refused(&place.fails_to_serve(&SEALED), 2, &["others can read it", "chmod 600"]);
    refused(&place.fails_to_serve(&[]), 2, &["a passphrase is needed", "set keys.custody to \"sealed\""]);
    // What was refused has changed nothing.
    place.secret("pass", PASSPHRASE);
    let hub = place.serve(&SEALED);
    publishes(&place, &hub, "lamp-2");
    drop(hub);
    assert!(place.ok(&[&["device", "list"][..], &SEALED].concat()).contains("lamp-2"), "also without a hub");
}

#[test]
fn a_first_start_with_a_weak_passphrase_leaves_nothing() {
    let place = Place::new();
    place.secret("pass", "elf letters");
    refused(&place.fails_to_serve(&SEALED), 2, &["at least 12 characters"]);
    let left: Vec<_> = fs::read_dir(place.root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["pass"], "nothing half-made");
}

/// As systemd hands it over.
#[test]
fn a_credential_opens_the_keys() {
    let mut place = Place::new();
    fs::create_dir(place.path("credentials")).unwrap();
    place.secret("credentials/portreeve-keys", PASSPHRASE);
    place.env.push(("CREDENTIALS_DIRECTORY", place.path("credentials").display().to_string()));
    let sealed = ["--set", "keys.custody=sealed"];
    place.serve(&sealed).stop();
    assert_eq!(open_keys(&place), [""; 0]);
    place.serve(&sealed).stop();
}

/// The hub issues to devices and to itself without the root's key, which is whole somewhere else.
#[test]
fn the_root_goes_offline_and_the_hub_goes_on() {
    let place = Place::new();
    let hub = place.serve(&[]);
    let shown = place.json(&["ca", "show"]);
    assert_eq!(key_of(&shown, "root")["protection"], "unencrypted file", "{shown}");
    let dry = place.ok(&["ca", "root", "export", "safe", "--remove", "--dry-run"]);
    assert!(dry.contains("would be copied") && !place.path("safe").exists(), "{dry}");
    let told = place.json(&["ca", "root", "export", "safe", "--remove"]);
    assert_eq!(told["removed"], true, "{told}");
    assert!(!place.path("data/pki/root.key").exists());
    assert_eq!((mode(&place.path("safe")), mode(&place.path("safe/root.key"))), (0o700, 0o600));
    let public = place.openssl("pkey -in safe/root.key -pubout");
    assert_eq!(public, place.openssl("x509 -in safe/root.pem -noout -pubkey"), "the copy is whole");

    // The hub that runs, and the next one, with a certificate of its own for a new name.
    let shown = place.json(&["ca", "show"]);
    assert!(key_of(&shown, "root").is_null() && !key_of(&shown, "devices").is_null(), "{shown}");
    assert!(place.ok(&["ca", "show"]).contains("not here"));
    enrols(&place, &hub, "lamp-1");
    hub.stop();
    let hub = place.serve(&["--set", "hub.names=hub.example"]);
    enrols(&place, &hub, "lamp-2");
    publishes(&place, &hub, "lamp-1");
    publishes(&place, &hub, "lamp-2");
    place.openssl(
        "verify -purpose sslserver -verify_hostname hub.example -CAfile safe/root.pem -untrusted data/pki/hub.pem data/pki/server.pem",
    );
    refused(&place.run(&["ca", "root", "export", "again"]), 2, &["there is no key root"]);
    // It comes back the way it went.
    fs::copy(place.path("safe/root.key"), place.path("data/pki/root.key")).unwrap();
    assert!(!key_of(&place.json(&["ca", "show"]), "root").is_null());
    refused(&place.run(&["ca", "root", "export", "safe", "--remove"]), 2, &["there is a key root in", "already"]);
    assert!(place.path("data/pki/root.key").exists(), "a copy that failed takes nothing away");
}

/// A key that is not the root's is no copy of it.
#[test]
fn a_foreign_root_key_is_not_exported() {
    let place = Place::new();
    place.serve(&[]).stop();
    fs::copy(place.path("data/pki/hub.key"), place.path("data/pki/root.key")).unwrap();
    let done = place.run(&["ca", "root", "export", "safe", "--remove"]);
    refused(&done, 2, &["not the private key of root.pem"]);
    assert!(place.path("data/pki/root.key").exists() && !place.path("safe").exists(), "{done:?}");
    assert!(key_of(&place.json(&["ca", "show"]), "root").is_null());
}

#[test]
fn keys_move_between_sealed_and_plain_files() {
    let place = Place::new();
    place.secret("pass", PASSPHRASE);
    place.secret("next", "another horse battery");
    let seal = ["ca", "custody", "--to", "sealed", "--new-passphrase-file", "pass"];
    let hub = place.serve(&[]);
    place.ok(&["device", "add", "lamp-1", "--out", "lamp-1"]);
    refused(&place.run(&seal), 4, &["a hub is running"]);
    hub.stop();
    let keys = ["devices.key", "hub.key", "ledger.key", "root.key", "server-2.key", "server.key", "trust.key"];
    assert_eq!(open_keys(&place), keys);
    place.ok(&[&seal[..], &["--dry-run"]].concat());
    assert_eq!(open_keys(&place).len(), 7, "a dry run changes nothing");

    let told = place.ok(&seal);
    assert!(told.contains("sealed") && told.contains("set keys.custody to \"sealed\""), "{told}");
    assert_eq!(open_keys(&place), [""; 0]);
    let hub = place.serve(&SEALED);
    publishes(&place, &hub, "lamp-1");
    hub.stop();

    let change = ["ca", "custody", "--to", "sealed", "--new-passphrase-file", "next"];
    place.ok(&[&change[..], &SEALED].concat());
    refused(&place.fails_to_serve(&SEALED), 2, &["wrong passphrase"]);
    let next = ["--set", "keys.custody=sealed", "--set", "keys.passphrase_file=next"];
    refused(&place.run(&[&["ca", "custody", "--to", "file"][..], &SEALED].concat()), 2, &["wrong passphrase"]);
    place.ok(&[&["ca", "custody", "--to", "file"][..], &next].concat());
    assert_eq!(open_keys(&place).len(), 7);
    let refusal = place.fails_to_serve(&next);
    refused(&refusal, 2, &["is not sealed", "ca custody --to sealed"]);
    let hub = place.serve(&[]);
    publishes(&place, &hub, "lamp-1");
}

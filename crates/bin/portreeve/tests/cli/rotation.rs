//! Issuing CAs that follow one another, as an operator sees it.

use std::fs;

use serde_json::Value;

use crate::{
    custody::{enrols, publishes},
    support::{Place, Running, eventually},
};

/// What the machine that has the root's key is told about the request, as OPERATIONS.md has it.
const EXTENSIONS: &str = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n\
    extendedKeyUsage=clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";

fn names(shown: &Value) -> Vec<&str> {
    shown["certificates"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect()
}

/// CSA-CRD-07, CSA-CRD-02: the root's key stays where it is; who was enrolled before stays in.
#[test]
fn a_root_that_is_elsewhere_signs_the_next_ca() {
    let place = Place::new();
    let hub = place.serve(&["--set", "enrolment.renew_after_percent=0"]);
    enrols(&place, &hub, "old");
    place.ok(&["ca", "root", "export", "safe", "--remove"]);

    place.write("devices-2.csr", &place.ok(&["ca", "request", "devices"]));
    place.write("ca.ext", EXTENSIONS);
    place.openssl(
        "x509 -req -in devices-2.csr -CA safe/root.pem -CAkey safe/root.key -sha384 -days 1825 -extfile ca.ext -out devices-2.pem",
    );
    let foreign = place.run(&["ca", "import", "safe/root.pem"]);
    assert!(foreign.status == 2 && foreign.err.contains("ca request"), "{foreign:?}");
    let dry = place.json(&["ca", "import", "devices-2.pem", "--dry-run"]);
    assert_eq!((&dry["names"][0], &dry["dry_run"]), (&"devices-2".into(), &true.into()));
    assert!(!place.path("data/pki/devices-2.pem").exists());
    assert_eq!(names(&place.json(&["ca", "show"])), ["root", "devices", "hub", "server"]);
    let told = place.ok(&["ca", "import", "devices-2.pem"]);
    assert!(told.starts_with("devices-2 issues from now on"), "{told}");
    assert!(place.log().contains("ca_rotated"), "{}", place.log());
    let again = place.run(&["ca", "import", "devices-2.pem"]);
    assert_eq!(again.status, 2, "{again:?}");

    enrols(&place, &hub, "new");
    let check = |device: &str, ca: &str| {
        let chain = fs::read_to_string(place.path(device).join("cert.pem")).unwrap();
        assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2, "leaf and the CA that issued it");
        place.openssl(&format!("verify -partial_chain -CAfile data/pki/{ca} {device}/cert.pem"));
        place.openssl(&format!("verify -CAfile {device}/ca.pem -untrusted {device}/cert.pem {device}/cert.pem"));
    };
    check("old", "devices.pem");
    check("new", "devices-2.pem");
    for device in ["old", "new"] {
        publishes(&place, &hub, device);
    }
    place.ok(&["device", "renew", "old", "--now"]);
    check("old", "devices-2.pem");
    assert_eq!(names(&place.json(&["ca", "show"])), ["root", "devices-2", "hub", "devices", "server"]);
    hub.stop();

    let hub = place.serve(&[]);
    for device in ["old", "new"] {
        publishes(&place, &hub, device);
    }
    hub.stop();
}

/// ISVS-4.1.6, CSA-CRD-07: a device keeps to the hub's announced keys, and to whoever may announce others.
#[test]
fn a_device_keeps_its_trust_and_renews_it() {
    let place = Place::new();
    let settings = ["--set", "enrolment.renew_after_percent=0"];
    let hub = place.serve(&settings);
    enrols(&place, &hub, "lamp");
    let trust = || fs::read(place.path("lamp/trust.jws")).unwrap();
    let first = trust();
    place.ok(&["device", "renew", "lamp", "--now"]);
    assert_eq!(trust(), first, "there is nothing new");
    hub.stop();

    // Another start, another bundle, of the same signer.
    let hub = place.serve(&settings);
    let at = format!("localhost:{}", hub.address("device_https").port());
    let renew = ["device", "renew", "lamp", "--now", "--hub", &at];
    place.ok(&renew);
    let second = trust();
    assert_ne!(second, first);

    // The bundle of another hub: its pins are not this hub's.
    let other = Place::new();
    let stranger = other.serve(&settings);
    enrols(&other, &stranger, "lamp");
    fs::copy(other.path("lamp/trust.jws"), place.path("lamp/trust.jws")).unwrap();
    let cert = fs::read(place.path("lamp/cert.pem")).unwrap();
    let refused = place.run(&renew);
    assert!(refused.status == 4 && refused.err.contains("not its key"), "{refused:?}");
    assert_eq!(fs::read(place.path("lamp/cert.pem")).unwrap(), cert);
    fs::write(place.path("lamp/trust.jws"), second).unwrap();
    place.ok(&renew);
    stranger.stop();
    hub.stop();
}

/// CSA-CRD-02: the CA's key was stolen. OpenSSL learns it from the root's list and from OCSP; a device whose key is known
/// comes back, and Mosquitto's client with its new certificate.
#[test]
fn a_stolen_ca_is_told_to_everybody() {
    let place = Place::new();
    let hub = place.serve(&["--set", "enrolment.renew_after_percent=90"]);
    enrols(&place, &hub, "lamp");
    let https = format!("localhost:{}", hub.address("device_https").port());
    let fetch = |list: &str| {
        let url = format!("https://{https}/pki/{list}.crl");
        let mut curl = std::process::Command::new("curl");
        let curl = curl.current_dir(place.root.path()).args(["-sf", "--cacert", "lamp/ca.pem", "-o", "list.der", &url]);
        assert!(curl.status().unwrap().success(), "{url}");
        place.openssl(&format!("crl -inform DER -in list.der -out {list}.crl"));
    };
    let lists = |names: &[&str]| {
        names.iter().for_each(|name| fetch(name));
        let text: String =
            names.iter().map(|name| fs::read_to_string(place.path(&format!("{name}.crl"))).unwrap()).collect();
        place.write("all.crl", &text);
    };
    let verify = |device: &str| {
        let mut openssl = std::process::Command::new("openssl");
        let line = format!("verify -crl_check_all -CRLfile all.crl -CAfile lamp/ca.pem -untrusted {device} {device}");
        openssl.current_dir(place.root.path()).args(line.split_whitespace()).output().unwrap()
    };
    fs::copy(place.path("lamp/cert.pem"), place.path("old.pem")).unwrap();
    let old = fs::read(place.path("old.pem")).unwrap();
    lists(&["root", "devices"]);
    assert!(verify("old.pem").status.success());

    let dry = place.ok(&["ca", "revoke", "devices", "--reason", "stolen", "--dry-run"]);
    assert!(dry.contains("would be withdrawn"), "{dry}");
    let mut listener = place.command(&[
        "client",
        "sub",
        "--bundle",
        "lamp",
        "--host",
        "localhost",
        "--port",
        &hub.port(),
        "-t",
        "devices/lamp/commands/x",
    ]);
    let mut listener =
        listener.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    eventually("a session", || place.json(&["device", "show", "lamp"])["sessions"][0]["connected"] == true);
    let begun = std::time::Instant::now();
    let told = place.ok(&["ca", "revoke", "devices", "--reason", "stolen"]);
    assert!(told.contains("devices is withdrawn, 1 connections") && told.contains("devices-2 issues"), "{told}");
    eventually("the end of the session", || {
        place.json(&["device", "show", "lamp"])["sessions"][0]["connected"] != true
    });
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "a second, and what the commands take");
    let _ = listener.kill();
    let _ = listener.wait();
    assert!(place.log().contains("ca_withdrawn"), "{}", place.log());
    assert!(place.ok(&["ca", "show"]).contains("withdrawn: issued to devices"));

    lists(&["root", "devices", "devices-2"]);
    let refused = verify("old.pem");
    assert!(
        !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("certificate revoked"),
        "{refused:?}"
    );
    let ocsp = |device: &str, ca: &str| {
        place.openssl(&format!("ocsp -issuer data/pki/{ca}.pem -cert {device} -reqout q.der -no_nonce"));
        let mut curl = std::process::Command::new("curl");
        let kind = "content-type: application/ocsp-request";
        let url = format!("https://{https}/pki/ocsp");
        let args = ["-sf", "--cacert", "lamp/ca.pem", "-H", kind, "--data-binary", "@q.der", "-o", "a.der", &url];
        assert!(curl.current_dir(place.root.path()).args(args).status().unwrap().success());
        place.openssl(&format!(
            "ocsp -issuer data/pki/{ca}.pem -cert {device} -respin a.der -CAfile data/pki/{ca}.pem -partial_chain"
        ))
    };
    let answer = ocsp("old.pem", "devices");
    assert!(answer.contains("old.pem: revoked") && answer.contains("cACompromise"), "{answer}");

    // Long before its time: who watches notices that the CA is gone.
    let mut watch = place.command(&["device", "renew", "lamp", "--watch"]);
    let mut watch = watch.stdout(std::process::Stdio::null()).spawn().unwrap();
    eventually("another certificate", || fs::read(place.path("lamp/cert.pem")).unwrap() != old);
    let _ = watch.kill();
    let _ = watch.wait();
    let check = verify("lamp/cert.pem");
    assert!(check.status.success(), "{check:?}");
    assert!(ocsp("lamp/cert.pem", "devices-2").contains("lamp/cert.pem: good"));
    publishes(&place, &hub, "lamp");
    assert!(mosquitto(&place, &hub, "lamp", "lamp/ca.pem"));
    hub.stop();
}

/// Whether Mosquitto's client gets a message through as this device, trusting this file alone.
fn mosquitto(place: &Place, hub: &Running<'_>, device: &str, ca: &str) -> bool {
    let (port, topic) = (hub.port(), format!("devices/{device}/telemetry/x"));
    let (cert, key) = (format!("{device}/cert.pem"), format!("{device}/key.pem"));
    let args = ["-h", "localhost", "-p", &port, "--cafile", ca, "--cert", &cert, "--key", &key, "-i", device];
    let mut client = std::process::Command::new("mosquitto_pub");
    let client = client.current_dir(place.root.path()).args(args).args(["-q", "1", "-t", &topic, "-m", "on"]);
    client.output().unwrap().status.success()
}

/// CSA-CRD-07: a device with bundles, one that trusts the old root for ever, and one with the new root alone.
#[test]
fn a_root_is_followed_and_nobody_is_left_behind() {
    let place = Place::new();
    let settings = ["--set", "enrolment.renew_after_percent=0"];
    let hub = place.serve(&settings);
    enrols(&place, &hub, "lamp");
    place.ok(&["device", "add", "fixed", "--out", "fixed"]);
    assert!(fs::read_to_string(place.path("fixed/trust.jws")).unwrap().len() > 500, "with the hub's pins");
    let told = place.ok(&["ca", "rotate", "root"]);
    assert!(told.starts_with("root-2 is announced and certifies from"), "{told}");
    place.ok(&["ca", "rotate", "trust"]);
    assert!(place.ok(&["ca", "show"]).contains("announced to devices"));
    enrols(&place, &hub, "late");
    let trusted = fs::read_to_string(place.path("late/ca.pem")).unwrap();
    assert_eq!(trusted.matches("BEGIN").count(), 2, "who comes now knows both roots");
    place.ok(&["device", "renew", "lamp", "--now"]);
    let trusted = fs::read_to_string(place.path("lamp/ca.pem")).unwrap();
    assert_eq!(trusted.matches("BEGIN").count(), 2, "both roots, by the bundle of the next signer");
    hub.stop();

    let hub = place.serve(&settings);
    place.ok(&["ca", "rotate", "root", "--now"]);
    eventually("the listeners' certificate below the new root", || place.log().contains("hub_certificate_renewed"));
    for ca in ["fixed/ca.pem", "lamp/ca.pem", "data/pki/root-2.pem"] {
        assert!(mosquitto(&place, &hub, "fixed", ca), "{ca}");
    }
    for device in ["lamp", "fixed"] {
        publishes(&place, &hub, device);
    }
    let at = format!("localhost:{}", hub.address("device_https").port());
    for device in ["lamp", "fixed"] {
        place.ok(&["device", "renew", device, "--now", "--hub", &at]);
        publishes(&place, &hub, device);
    }
    place.openssl("verify -CAfile data/pki/root-2.pem -untrusted lamp/cert.pem lamp/cert.pem");
    hub.stop();
}

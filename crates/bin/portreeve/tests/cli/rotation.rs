//! Issuing CAs that follow one another, as an operator sees it.

use std::fs;

use serde_json::Value;

use crate::{
    custody::{enrols, publishes},
    support::Place,
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

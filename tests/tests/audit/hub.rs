use std::{fs, path::Path};

use portreeve_tests::{
    Hub,
    pki::{self, Forgery},
};

use crate::{deployment::Deployment, results, rows_follow, with};

/// Chain and key as a bundle.
fn bundle(plant: &Deployment, name: &str, (chain, key): &(String, String)) {
    let folder = plant.path(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(Path::new(&folder).join("cert.pem"), chain).unwrap();
    fs::write(Path::new(&folder).join("key.pem"), key).unwrap();
}

/// ISVS-4.1.1, ISVS-4.1.2, ISVS-4.2.2, ISVS-4.2.3, CSA-COM-01, CSA-CRD-11, IIITA-N1: at its doors, a hub passes all that it claims, tried with
/// every sort of certificate, with leave to disturb it, and beside what it says of itself.
#[test]
fn a_hub_passes_at_its_doors() {
    let (plant, hub) = (Deployment::new(), Hub::start(&[]));
    let (one, two, gone) = (hub.add("lamp-1", "device"), hub.add("lamp-2", "device"), hub.add("lamp-0", "device"));
    hub.device("revoke", "lamp-0");
    let id = hub.json(&["device", "show", "lamp-1"])["id"].as_str().unwrap().to_owned();
    let urn = format!("urn:uuid:{id}");
    for (name, forgery) in
        [("expired", Forgery::EXPIRED), ("early", Forgery::NOT_YET_VALID), ("server", Forgery::FOR_SERVERS)]
    {
        bundle(&plant, name, &pki::forged_pem(&hub, forgery, Some(&urn)));
    }
    let identities: String = [
        ("lamp-1", one.bundle.display().to_string(), "valid"),
        ("lamp-2", two.bundle.display().to_string(), "valid"),
        ("lamp-0", gone.bundle.display().to_string(), "revoked"),
        ("expired", plant.path("expired"), "expired"),
        ("early", plant.path("early"), "not-yet-valid"),
        ("server", plant.path("server"), "wrong-usage"),
    ]
    .map(|(name, path, state)| format!("[[identity]]\nname = \"{name}\"\nbundle = \"{path}\"\nstate = \"{state}\"\n"))
    .concat();
    let names = "identities = [\"lamp-1\", \"lamp-2\", \"lamp-0\", \"expired\", \"early\", \"server\"]\n";
    let cells: String = [
        ("lamp-1", "publish", "devices/lamp-1/telemetry/state", true),
        ("lamp-1", "retain", "devices/lamp-1/telemetry/state", true),
        ("lamp-1", "subscribe", "devices/lamp-1/#", true),
        ("lamp-2", "publish", "devices/lamp-2/telemetry/state", true),
        ("lamp-1", "subscribe", "devices/lamp-2/#", false),
        ("lamp-1", "subscribe", "$share/g/devices/lamp-2/#", false),
        ("lamp-1", "subscribe", "$SYS/#", false),
        ("lamp-1", "subscribe", "#", false),
        ("lamp-2", "publish", "devices/lamp-1/telemetry/state", false),
        ("lamp-2", "will", "devices/lamp-1/telemetry/state", false),
        ("lamp-2", "retain", "devices/lamp-1/telemetry/state", false),
    ]
    .map(|(who, does, topic, allowed)| {
        format!("[[endpoint.cell]]\nidentity = \"{who}\"\noperation = \"{does}\"\ntopic = \"{topic}\"\nallowed = {allowed}\n")
    })
    .concat();
    let (mqtt, https) = (hub.mqtt().port(), hub.address("device_https").port());
    let scope = format!(
        "[deployment]\nname = \"hub\"\nowner = \"Ada\"\n[checks]\nclass = \"intrusive\"\nexcept = [\"auth.*\", \"hub.*\", \"ssdp.upnp\"]\n\
         [authorisation]\nby = \"Ada\"\nreference = \"a test\"\nuntil = 2099-01-01\n[hub]\ndata = \"{}\"\n{identities}\
         [[endpoint]]\nurl = \"mqtts://localhost:{mqtt}\"\nof_hub = true\n{names}{cells}\
         [[endpoint]]\nurl = \"https://localhost:{https}\"\nof_hub = true\n{names}\
         [[host]]\naddress = \"127.0.0.2\"\nof_hub = true\nservices = []\n",
        hub.data().display(),
    );
    let report = plant.audited(&scope);
    let failed: Vec<_> = results(&report).into_iter().filter(|(_, (verdict, _))| verdict == "fail").collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let at_mqtt = with(&report, &format!("mqtts://localhost:{mqtt}"), "pass");
    for check in [
        "mqtt.acl.matrix",
        "mqtt.anon",
        "mqtt.identity",
        "mqtt.password",
        "tls.cert",
        "tls.mutual",
        "tls.pqc",
        "tls.suites",
        "tls.versions",
        "tls.vulns",
    ] {
        assert!(at_mqtt.iter().any(|passed| passed == check), "{check}: {:#?}", results(&report));
    }
    let at_https = with(&report, &format!("https://localhost:{https}"), "pass");
    for check in ["tls.cert", "tls.mutual", "tls.suites", "tls.versions"] {
        assert!(at_https.iter().any(|passed| passed == check), "{check}: {:#?}", results(&report));
    }
    rows_follow(&report);
}

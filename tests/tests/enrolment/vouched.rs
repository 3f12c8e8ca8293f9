//! Devices that nobody registers: their maker vouches, with a certificate in each or with a signed list, and an operator
//! consents where a rule says so (CSA-CRD-04, CSA-CRD-08, IIITA-N1).

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use portreeve_tests::{Hub, Identity, Login, V5, hub::program};

use crate::{
    EMPTY_SUBJECT, NOT_ENTITLED, REFUSED,
    machine::{Machine, Reply, code, done, expected, openssl, state},
};

const ACCEPTED: u16 = 202;
const P256: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/// A maker of devices, with openssl as its CA.
pub(crate) struct Acme {
    folder: PathBuf,
}

impl Acme {
    pub(crate) fn new(hub: &Hub, name: &str) -> Self {
        let acme = Self { folder: hub.beside_data(name) };
        fs::create_dir_all(&acme.folder).unwrap();
        let (key, ca) = (acme.path("ca.key"), acme.path("ca.pem"));
        let mut command = openssl(&["req", "-x509", "-days", "30", "-subj", "/CN=ACME devices"]);
        command.args(P256).args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"]);
        done(command.arg("-keyout").arg(key).arg("-out").arg(ca));
        fs::write(acme.path("index"), "").unwrap();
        fs::write(acme.path("number"), "01\n").unwrap();
        let folder = acme.folder.display();
        let config = format!(
            "[ca]\ndefault_ca = acme\n[acme]\ndatabase = {folder}/index\ncrlnumber = {folder}/number\ndefault_md = sha256\n\
             default_crl_days = 30\ncrl_extensions = lists\n[lists]\nauthorityKeyIdentifier = keyid\n"
        );
        fs::write(acme.path("ca.conf"), config).unwrap();
        let usage = "basicConstraints = CA:FALSE\nkeyUsage = digitalSignature\nextendedKeyUsage = clientAuth\n";
        fs::write(acme.path("device.conf"), usage).unwrap();
        acme
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Puts a certificate into a device; returns what curl needs to show it.
    pub(crate) fn make(&self, serial: &str) -> [String; 4] {
        let (key, csr, cert) = (format!("{serial}.key"), format!("{serial}.csr"), format!("{serial}.pem"));
        let mut request = openssl(&["req", "-new", "-subj", &format!("/O=ACME/serialNumber={serial}")]);
        done(request.args(P256).arg("-keyout").arg(self.path(&key)).arg("-out").arg(self.path(&csr)));
        let mut sign = openssl(&["x509", "-req", "-days", "20"]);
        sign.arg("-in").arg(self.path(&csr)).arg("-CA").arg(self.path("ca.pem")).arg("-CAkey").arg(self.path("ca.key"));
        done(sign.arg("-extfile").arg(self.path("device.conf")).arg("-out").arg(self.path(&cert)));
        ["--cert".into(), self.shown(&cert), "--key".into(), self.shown(&key)]
    }

    fn ca(&self, arguments: &[&str]) {
        let mut command = openssl(&["ca", "-config"]);
        command
            .arg(self.path("ca.conf"))
            .arg("-cert")
            .arg(self.path("ca.pem"))
            .arg("-keyfile")
            .arg(self.path("ca.key"));
        done(command.args(arguments));
    }

    fn revocation_list(&self) -> String {
        let file = self.shown("crl.pem");
        self.ca(&["-gencrl", "-out", &file]);
        file
    }
}

fn present(machine: &Machine<'_>, shown: &[String; 4], request: &Path) -> Reply {
    machine.post("simpleenroll", request, &shown.each_ref().map(String::as_str))
}

/// One's own key, in a request that names nobody.
fn request(machine: &Machine<'_>, name: &str) -> PathBuf {
    machine.request(name, &EMPTY_SUBJECT)
}

#[test]
fn a_makers_certificate_lets_a_device_in_by_its_own_name() {
    let hub = Hub::start(&["limits.enrolment_failures_per_source_per_min=1000"]);
    let (machine, acme) = (Machine::new(&hub), Acme::new(&hub, "acme"));
    let device = acme.make("SN-1");
    let first = request(&machine, "first");
    let refused = present(&machine, &device, &first);
    assert_eq!(refused.status, NOT_ENTITLED, "nobody trusts this maker yet");
    let list = acme.revocation_list();
    let (ca, names) = (acme.shown("ca.pem"), "pump-{serial}");
    let group = ["enrolment", "group", "add", "pumps", "--maker-ca", &ca, "--crl", &list, "--names", names];
    let _ = hub.succeed(&[&group[..], &["--group", "wet"]].concat());
    assert_eq!(hub.run(&group).status.code(), Some(4), "it is there already");

    let pump = machine.keep("first", &present(&machine, &device, &first));
    let shown = hub.json(&["device", "show", "pump-SN-1"]);
    assert_eq!((shown["state"].as_str(), shown["group"].as_str()), (Some("active"), Some("wet")));
    let mut client = Login::new(V5, "pump-SN-1").open_as(&hub, &pump);
    client.publish("devices/pump-SN-1/telemetry/t", "wet", 1);
    let history = hub.succeed(&["device", "history", "pump-SN-1"]);
    assert!(history.contains("pumps, serial SN-1") && history.contains("manufacturer certificate"), "{history}");

    // The maker's certificate is good for that, and for nothing else.
    let cert_and_key =
        |name: &str| (fs::read(acme.path(&format!("{name}.pem"))), fs::read(acme.path(&format!("{name}.key"))));
    let (cert, key) = cert_and_key("SN-1");
    let bundle = machine.path("makers.bundle");
    fs::create_dir_all(&bundle).unwrap();
    fs::write(bundle.join("cert.pem"), cert.unwrap()).unwrap();
    fs::write(bundle.join("key.pem"), key.unwrap()).unwrap();
    fs::copy(hub.data().join("pki/root.pem"), bundle.join("ca.pem")).unwrap();
    assert!(hub.try_dial(Identity::from_bundle("makers", &bundle).tls()).is_err() || machine.is_refused("makers"));
    let renewal = machine.post("simplereenroll", &first, &device.each_ref().map(String::as_str));
    assert_eq!(renewal.status, NOT_ENTITLED);

    // A device that was reset comes back under its name, with a new key.
    let again = machine.keep("again", &present(&machine, &device, &request(&machine, "again")));
    Login::new(V5, "pump-SN-1").open_as(&hub, &again).disconnect();
    assert_eq!(hub.json(&["device", "list"]).as_array().unwrap().len(), 1);

    // What it calls itself is its own: nothing, its name, its serial number, or what its maker calls it.
    for (subject, status) in [
        ("/CN=pump-SN-1", 200),
        ("/serialNumber=SN-1", 200),
        ("/O=ACME/serialNumber=SN-1", 200),
        ("/CN=pump-SN-2", REFUSED),
        ("/serialNumber=SN-2", REFUSED),
    ] {
        let asked = machine.request("named", &[&EMPTY_SUBJECT[..4], &["-subj", subject]].concat());
        assert_eq!(present(&machine, &device, &asked).status, status, "{subject}");
    }
    // Of what it has asked for and never used, the newest is good; and so is the one in use.
    let unused = machine.keep("unused", &present(&machine, &device, &request(&machine, "unused")));
    let newest = machine.keep("newest", &present(&machine, &device, &request(&machine, "newest")));
    assert_eq!((machine.ocsp("unused"), machine.ocsp("newest")), ("revoked".into(), "good".into()));
    assert!(hub.try_dial(unused.tls()).is_err() || machine.is_refused("unused"));
    Login::new(V5, "pump-SN-1:used").open_as(&hub, &again).disconnect();
    Login::new(V5, "pump-SN-1:newest").open_as(&hub, &newest).disconnect();
}

#[test]
fn a_maker_vouches_for_its_own_that_it_has_not_revoked() {
    let hub = Hub::start(&["limits.enrolment_failures_per_source_per_min=1000"]);
    let (machine, acme) = (Machine::new(&hub), Acme::new(&hub, "acme"));
    // Of the same name, with another key.
    let forger = Acme::new(&hub, "forger");
    let list = acme.revocation_list();
    let ca = acme.shown("ca.pem");
    let _ = hub.succeed(&["enrolment", "group", "add", "pumps", "--maker-ca", &ca, "--crl", &list]);
    let wish = request(&machine, "wish");
    assert_eq!(present(&machine, &forger.make("SN-1"), &wish).status, NOT_ENTITLED);
    assert_eq!(present(&machine, &acme.make("SN 1"), &wish).status, NOT_ENTITLED, "of which no name can be made");

    // Somebody else has that name: a certificate of the maker does not make it this device's.
    let _ = hub.add("SN-3", "device");
    assert_eq!(present(&machine, &acme.make("SN-3"), &wish).status, NOT_ENTITLED);
    // Whoever made a code for this one means another device; and this one is announced for another group.
    let _ = expected(&hub, "SN-7");
    let _ = hub.succeed(&["device", "add", "SN-8", "--group", "lamps"]);
    assert_eq!(present(&machine, &acme.make("SN-7"), &wish).status, NOT_ENTITLED);
    assert_eq!(present(&machine, &acme.make("SN-8"), &wish).status, NOT_ENTITLED);
    // An operator has announced this one.
    let _ = hub.succeed(&["device", "add", "SN-4", "--location", "hall 2"]);
    machine.keep("wish", &present(&machine, &acme.make("SN-4"), &wish));
    let announced = hub.json(&["device", "show", "SN-4"]);
    assert_eq!((announced["state"].as_str(), announced["location"].as_str()), (Some("active"), Some("hall 2")));

    let stolen = acme.make("SN-5");
    acme.ca(&["-revoke", &acme.shown("SN-5.pem")]);
    let older = acme.shown("older.pem");
    fs::copy(&list, &older).unwrap();
    // Lists tell their age in seconds.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let newer = acme.revocation_list();
    let _ = hub.succeed(&["enrolment", "group", "crls", "pumps", &newer]);
    let back = hub.run(&["enrolment", "group", "crls", "pumps", &older]);
    assert_eq!(back.status.code(), Some(4), "an older list would let it in again");
    let none = acme.shown("none.pem");
    fs::write(&none, "").unwrap();
    assert_eq!(hub.run(&["enrolment", "group", "crls", "pumps", &none]).status.code(), Some(4));
    assert_eq!(present(&machine, &stolen, &request(&machine, "stolen")).status, NOT_ENTITLED);
    assert!(hub.log().contains("the maker has revoked the certificate"), "{}", hub.log());
    assert_eq!(hub.run(&["device", "show", "SN-5"]).status.code(), Some(4), "nothing of it was registered");

    // A revoked identity does not come back by its maker's word.
    hub.device("revoke", "SN-4");
    let device = ["--cert".to_owned(), acme.shown("SN-4.pem"), "--key".into(), acme.shown("SN-4.key")];
    assert_eq!(present(&machine, &device, &request(&machine, "again")).status, REFUSED);

    let _ = hub.succeed(&["enrolment", "group", "remove", "pumps"]);
    assert_eq!(present(&machine, &acme.make("SN-6"), &request(&machine, "late")).status, NOT_ENTITLED);
    assert_eq!(hub.run(&["enrolment", "group", "remove", "pumps"]).status.code(), Some(4));
}

/// What is no CA, no list of revocations and no template is said at once, and nothing is kept of it.
#[test]
fn a_group_that_cannot_work_is_refused() {
    let hub = Hub::start(&[]);
    let acme = Acme::new(&hub, "acme");
    let _ = acme.make("SN-1");
    let (ca, leaf, key) = (acme.shown("ca.pem"), acme.shown("SN-1.pem"), acme.shown("ca.key"));
    let add = ["enrolment", "group", "add", "pumps"];
    for (what, more) in [
        ("a leaf", vec!["--maker-ca", leaf.as_str()]),
        ("a key", vec!["--maker-ca", key.as_str()]),
        ("a CA for a list", vec!["--maker-ca", ca.as_str(), "--crl", ca.as_str()]),
        ("one name for all", vec!["--maker-ca", ca.as_str(), "--names", "pump"]),
        ("an unknown placeholder", vec!["--maker-ca", ca.as_str(), "--names", "{mac}"]),
        ("a certificate for a signer", vec!["--list-signer", ca.as_str()]),
        ("nobody's word", vec![]),
        ("no file", vec!["--maker-ca", "/nowhere"]),
    ] {
        assert_eq!(hub.run(&[&add[..], &more].concat()).status.code(), Some(2), "{what}");
    }
    assert_eq!(hub.json(&["enrolment", "group", "list"]).as_array().map(Vec::len), Some(0));
}

/// Whoever signs lists, and a device that stands on one.
pub(crate) struct Signer<'h> {
    hub: &'h Hub,
    folder: PathBuf,
}

impl<'h> Signer<'h> {
    pub(crate) fn new(hub: &'h Hub, name: &str) -> Self {
        let signer = Self { hub, folder: hub.beside_data(name) };
        fs::create_dir_all(&signer.folder).unwrap();
        signer.key("signer");
        signer
    }

    pub(crate) fn shown(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Makes a key pair; returns the private half's file.
    fn key(&self, name: &str) -> String {
        let (private, public) = (self.shown(&format!("{name}.key")), self.shown(&format!("{name}.pub")));
        let make = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &private];
        done(&mut openssl(&make));
        done(&mut openssl(&["pkey", "-in", &private, "-pubout", "-out", &public]));
        private
    }

    /// Signs a list of these serial numbers, each with the key of that name.
    fn list(&self, edition: u32, serials: &[&str]) -> String {
        let lines: Vec<String> = serials
            .iter()
            .map(|serial| {
                let key = self.shown(&format!("{serial}.pub"));
                self.hub.succeed(&["enrolment", "list", "entry", serial, "--key", &key])
            })
            .collect();
        self.sign(edition, &lines.join("\n"))
    }

    /// Signs a list of these lines.
    pub(crate) fn sign(&self, edition: u32, lines: &str) -> String {
        let (lines_file, list) = (self.shown("devices.csv"), self.shown(&format!("list-{edition}")));
        fs::write(&lines_file, lines).unwrap();
        let (key, edition) = (self.shown("signer.key"), edition.to_string());
        let signed =
            self.hub.succeed(&["enrolment", "list", "sign", &lines_file, "--key", &key, "--edition", &edition]);
        fs::write(&list, signed).unwrap();
        list
    }
}

/// The device-side command.
fn enrol(hub: &Hub, out: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(program());
    command.args(["device", "enrol", "--hub", &hub.address("device_https").to_string(), "--wait", "0s", "--out"]);
    command.arg(out).arg("--ca").arg(hub.data().join("pki/root.pem")).args(arguments).stdin(Stdio::null());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_signed_list_lets_in_whom_it_names_with_the_key_it_names() {
    let mut hub = Hub::start(&["limits.enrolment_failures_per_source_per_min=1000"]);
    let machine = Machine::new(&hub);
    let signer = Signer::new(&hub, "signer");
    let (one, two, other) = (signer.key("SN-1"), signer.key("SN-2"), signer.key("other"));
    let public = signer.shown("signer.pub");
    let _ = hub.succeed(&["enrolment", "group", "add", "lamps", "--list-signer", &public, "--names", "lamp-{serial}"]);
    let out = |name: &str| machine.path(name);
    let by = |serial, key| enrol(&hub, &out(serial), &["--serial", serial, "--key", key]);
    assert_eq!(by("SN-1", &one).0, Some(4), "there is no list yet");
    let _ = hub.succeed(&["enrolment", "group", "allow", "lamps", &signer.list(1, &["SN-1"])]);

    assert_eq!(by("SN-1", &other).0, Some(4), "the serial number with another key");
    assert_eq!(by("SN-2", &two).0, Some(4), "not on it");
    fs::remove_dir_all(out("SN-1")).unwrap();
    let (status, said) = by("SN-1", &one);
    assert_eq!(status, Some(0), "{said}\n{}", hub.log());
    let lamp = Identity::from_bundle("lamp-SN-1", &out("SN-1"));
    let mut client = Login::new(V5, "lamp-SN-1").open_as(&hub, &lamp);
    client.publish("devices/lamp-SN-1/telemetry/t", "on", 1);

    // Lists that somebody else signed, that were altered, and older ones change nothing.
    let stranger = Signer::new(&hub, "stranger");
    let _ = stranger.key("SN-2");
    let altered = signer.shown("altered");
    fs::write(&altered, fs::read_to_string(signer.list(3, &["SN-2"])).unwrap().replacen('.', ".AA", 1)).unwrap();
    for (what, list) in [
        ("a stranger's", stranger.list(2, &["SN-2"])),
        ("altered", altered),
        ("the same edition", signer.list(1, &["SN-2"])),
    ] {
        assert_eq!(hub.run(&["enrolment", "group", "allow", "lamps", &list]).status.code(), Some(2), "{what}");
    }
    assert_eq!(by("SN-2", &two).0, Some(4));
    let _ = hub.succeed(&["enrolment", "group", "allow", "lamps", &signer.list(2, &["SN-1", "SN-2"])]);
    fs::remove_dir_all(out("SN-2")).unwrap();
    assert_eq!(by("SN-2", &two).0, Some(0), "{}", hub.log());
    let rules = hub.succeed(&["enrolment", "rules"]);
    assert!(rules.contains("group lamps") && rules.contains("signed allow-list"), "{rules}");
    // Which edition was taken outlives a restart.
    let older = signer.list(1, &["SN-1"]);
    assert!(hub.terminate().success());
    hub.launch();
    assert_eq!(hub.run(&["enrolment", "group", "allow", "lamps", &older]).status.code(), Some(2));
}

/// Who cannot wait is not registered either: nobody fills the registry by asking.
#[test]
fn who_finds_the_queue_full_leaves_nothing_behind() {
    let hub = Hub::start(&["limits.approvals_waiting=1"]);
    let (machine, acme) = (Machine::new(&hub), Acme::new(&hub, "acme"));
    let ca = acme.shown("ca.pem");
    let _ = hub.succeed(&["enrolment", "group", "add", "pumps", "--maker-ca", &ca, "--approval"]);
    let (one, wish) = (acme.make("SN-1"), request(&machine, "wish"));
    assert_eq!(present(&machine, &one, &wish).status, ACCEPTED);
    assert_eq!(present(&machine, &acme.make("SN-2"), &request(&machine, "other")).status, 503);
    assert_eq!(hub.run(&["device", "show", "SN-2"]).status.code(), Some(4));
    assert_eq!(hub.metric("portreeve_approvals_waiting_used"), Some(1.0));
    assert_eq!(present(&machine, &one, &wish).status, ACCEPTED, "whoever waits waits on");
}

/// A group has so many devices without a certificate; whoever is refused makes room.
#[test]
fn a_group_cannot_fill_the_registry() {
    let hub = Hub::start(&["limits.identities_pending_per_group=1"]);
    let (machine, acme) = (Machine::new(&hub), Acme::new(&hub, "acme"));
    let ca = acme.shown("ca.pem");
    let _ = hub.succeed(&["enrolment", "group", "add", "pumps", "--maker-ca", &ca, "--approval"]);
    let (one, wish) = (acme.make("SN-1"), request(&machine, "wish"));
    let (two, other) = (acme.make("SN-2"), request(&machine, "other"));
    assert_eq!(present(&machine, &one, &wish).status, ACCEPTED);
    assert_eq!(present(&machine, &two, &other).status, 503);
    assert_eq!(hub.run(&["device", "show", "SN-2"]).status.code(), Some(4));
    assert_eq!(hub.metric("portreeve_identities_pending_per_group_used"), Some(1.0));
    assert!(hub.log().contains("limit_reached"), "{}", hub.log());
    let number = hub.json(&["approval", "list"])[0]["number"].to_string();
    let _ = hub.succeed(&["approval", "refuse", &number]);
    assert_eq!(hub.run(&["device", "show", "SN-1"]).status.code(), Some(4), "nothing of it is left");
    assert_eq!(present(&machine, &one, &wish).status, REFUSED, "but the answer");
    assert_eq!(present(&machine, &two, &other).status, ACCEPTED);
}

/// A namespace belongs to its group, whoever vouches (CSA-ACT-04).
#[test]
fn a_maker_names_nobody_in_anothers_namespace() {
    let hub = Hub::start(&["inventory.namespaces={ plant7 = \"plant-7\" }"]);
    let (machine, acme) = (Machine::new(&hub), Acme::new(&hub, "acme"));
    let ca = acme.shown("ca.pem");
    let names = ["--names", "plant7.{serial}", "--group", "others"];
    let _ = hub.succeed(&[&["enrolment", "group", "add", "pumps", "--maker-ca", &ca][..], &names].concat());
    let wish = request(&machine, "wish");
    assert_eq!(present(&machine, &acme.make("SN-1"), &wish).status, REFUSED);
    assert_eq!(hub.json(&["device", "list"]).as_array().map(Vec::len), Some(0));
}

/// A rule may demand consent: RFC 7030 §4.2.3 has the device ask again, and its first connection is not dropped.
#[test]
fn what_needs_consent_waits_for_it() {
    let mut hub = Hub::start(&["limits.enrolment_failures_per_source_per_min=1000"]);
    let folder = hub.beside_data("acme");
    {
        let acme = Acme::new(&hub, "acme");
        let ca = acme.shown("ca.pem");
        let _ = hub.succeed(&["enrolment", "group", "add", "pumps", "--maker-ca", &ca, "--approval"]);
    }
    let acme = Acme { folder };
    let (good, bad) = (acme.make("SN-1"), acme.make("SN-2"));
    let machine = Machine::new(&hub);
    let (wish, other) = (request(&machine, "wish"), request(&machine, "other"));
    assert_eq!(present(&machine, &good, &wish).status, ACCEPTED);
    assert_eq!(present(&machine, &good, &wish).status, ACCEPTED, "the same question");
    assert_eq!(present(&machine, &bad, &other).status, ACCEPTED);
    assert_eq!(state(&hub, "SN-1"), "pending");
    let waiting = hub.json(&["approval", "list"]);
    let subjects: Vec<_> = waiting.as_array().unwrap().iter().map(|row| row["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, ["SN-1", "SN-2"]);
    let number = |row: usize| waiting[row]["number"].to_string();
    let _ = hub.succeed(&["approval", "grant", &number(0)]);
    let _ = hub.succeed(&["approval", "refuse", &number(1), "--reason", "not ours"]);
    assert_eq!(hub.run(&["approval", "grant", &number(1)]).status.code(), Some(4), "it was answered");
    assert_eq!(hub.run(&["approval", "grant", "77"]).status.code(), Some(4));
    let machine_folder = machine.path("");
    drop(machine);
    // What was said outlives a restart.
    assert!(hub.terminate().success());
    hub.launch();
    let machine = Machine::new(&hub);
    assert!(machine_folder.exists());
    assert_eq!(present(&machine, &bad, &other).status, REFUSED);
    // Consent was to one key.
    let third = request(&machine, "third");
    assert_eq!(present(&machine, &good, &third).status, ACCEPTED);
    machine.keep("wish", &present(&machine, &good, &wish));
    assert_eq!(state(&hub, "SN-1"), "active");
    // And the device-side command waits as long as it is told to.
    let [_, cert, _, key] = &acme.make("SN-3");
    let (status, said) = enrol(&hub, &machine.path("out"), &["--maker-cert", cert, "--maker-key", key]);
    assert_eq!(status, Some(3), "{said}");
    let asked = hub.json(&["approval", "list"]);
    let row = asked.as_array().unwrap().iter().find(|row| row["subject"] == "SN-3").unwrap();
    let _ = hub.succeed(&["approval", "grant", &row["number"].to_string()]);
    let (status, said) = enrol(&hub, &machine.path("out"), &["--maker-cert", cert, "--maker-key", key]);
    assert_eq!(status, Some(0), "with the same key as before: {said}");
    Login::new(V5, "SN-3").open_as(&hub, &Identity::from_bundle("SN-3", &machine.path("out"))).disconnect();
}

/// Whoever makes a code does not consent to what is asked for with it.
#[test]
fn a_code_may_need_a_second_person() {
    let hub = Hub::start(&["enrolment.code_approval=true"]);
    let machine = Machine::new(&hub);
    let code_of_lamp = expected(&hub, "lamp");
    let wish = machine.good_request("lamp");
    assert_eq!(machine.enrol("lamp", &code_of_lamp, &wish).status, ACCEPTED);
    let number = hub.json(&["approval", "list"])[0]["number"].to_string();
    // With other keys nothing is asked for a time, and each try costs its source a failure, as the question did.
    for _ in 0..3 {
        let other =
            machine.request("other", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=lamp"]);
        assert_eq!(machine.enrol("lamp", &code_of_lamp, &other).status, 503);
    }
    assert_eq!(hub.json(&["approval", "list"])[0]["number"].to_string(), number);
    assert_eq!(hub.metric("portreeve_enrolment_failures_per_source_per_min_used"), Some(4.0));
    let refused = hub.run(&["approval", "grant", &number]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("somebody else"));
    assert_eq!(machine.enrol("lamp", &code_of_lamp, &wish).status, ACCEPTED);
    assert_eq!(state(&hub, "lamp"), "pending");
    assert_ne!(code(&hub, "lamp"), code_of_lamp);
    assert_eq!(machine.enrol("lamp", &code_of_lamp, &wish).status, NOT_ENTITLED, "a newer code voids it");
}

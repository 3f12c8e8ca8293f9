//! Enrolment as devices see it: curl and openssl as the EST client (RFC 7030), and the device-side commands.

// What goes wrong in a helper is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod machine;
mod over_mqtt;
mod tpm;
mod vouched;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use portreeve_tests::{Hub, Identity, Login, V4, V5, hub::program};

use machine::{Machine, Reply, code, done, expected, openssl, state};

const NOT_ENTITLED: u16 = 401;
const REFUSED: u16 = 400;

/// RFC 7030 §4.1 to §4.2: the first certificate by a code, the next by the one before (CSA-CRD-04, CSA-CRD-10).
#[test]
fn curl_and_openssl_enrol_and_renew() {
    let hub = Hub::start(&["enrolment.renew_after_percent=0"]);
    let machine = Machine::new(&hub);
    let code = expected(&hub, "lamp-1");
    assert_eq!(state(&hub, "lamp-1"), "pending");
    let lamp = machine.keep("lamp-1", &machine.enrol("lamp-1", &code, &machine.good_request("lamp-1")));
    assert_eq!(state(&hub, "lamp-1"), "active");
    let mut first = Login::new(V5, "lamp-1").open_as(&hub, &lamp);
    first.publish("devices/lamp-1/telemetry/t", "on", 1);

    // The chain is one that others can check, and says nothing but an opaque name.
    let mut verify = openssl(&["verify", "-purpose", "sslclient", "-CAfile"]);
    verify.arg(hub.data().join("pki/root.pem")).arg("-untrusted").arg(hub.data().join("pki/devices.pem"));
    done(verify.arg(machine.path("lamp-1.pem")));
    let text = done(openssl(&["x509", "-noout", "-text", "-in"]).arg(machine.path("lamp-1.pem"))).stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("urn:uuid:") && !text.contains("lamp"), "{text}");
    assert!(text.contains("TLS Web Client Authentication") && !text.contains("TLS Web Server"), "{text}");

    let next = machine.keep("next", &machine.reenrol("lamp-1", &machine.request("next", &EMPTY_SUBJECT)));
    // Until the new one is used both are good: an answer may be lost.
    first.publish("devices/lamp-1/telemetry/t", "still", 1);
    Login::new(V5, "lamp-1").open_as(&hub, &lamp).disconnect();
    let mut second = Login::new(V5, "lamp-1").open_as(&hub, &next);
    second.publish("devices/lamp-1/telemetry/t", "again", 1);
    assert!(machine.is_refused("lamp-1"), "the one before is void");
    assert!(hub.log().contains("clone_suspected"), "{}", hub.log());
}

const EMPTY_SUBJECT: [&str; 6] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/"];

#[test]
fn anybody_may_ask_what_to_trust_and_strangers_get_no_further() {
    let hub = Hub::start(&[]);
    let machine = Machine::new(&hub);
    let anchors = machine.curl(&[], "/.well-known/est/cacerts");
    assert_eq!(anchors.status, 200);
    fs::write(machine.path("ca.b64"), &anchors.body).unwrap();
    let mut decode = openssl(&["base64", "-d"]);
    done(decode.arg("-in").arg(machine.path("ca.b64")).arg("-out").arg(machine.path("ca.der")));
    let mut print = openssl(&["pkcs7", "-inform", "DER", "-print_certs"]);
    let printed = String::from_utf8(done(print.arg("-in").arg(machine.path("ca.der"))).stdout).unwrap();
    let root = fs::read_to_string(hub.data().join("pki/root.pem")).unwrap();
    assert!(printed.contains(root.trim()), "the root is among them: {printed}");
    assert_eq!(machine.curl(&[], "/.well-known/est/csrattrs").status, 200);
    let websocket = [
        "--header",
        "Upgrade: websocket",
        "--header",
        "Connection: Upgrade",
        "--header",
        "Sec-WebSocket-Version: 13",
        "--header",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "--header",
        "Sec-WebSocket-Protocol: mqtt",
    ];
    assert_eq!(machine.curl(&websocket, "/mqtt").status, 401);
    assert_eq!(machine.curl(&[], "/").status, 401, "whatever else there is or is not, strangers do not learn it");
    assert_eq!(machine.curl(&[], "/.well-known/est/other/cacerts").status, 404, "there is one CA, without a label");
    assert_eq!(machine.curl(&[], "/.well-known/est/serverkeygen").status, 404, "devices make their own keys");
    assert_eq!(machine.curl(&["--request", "POST"], "/.well-known/est/cacerts").status, 405);
    assert_eq!(machine.curl(&[], "/.well-known/est/simpleenroll").status, 405);
}

/// Replayed codes, codes for others, and what is none: one answer for all (IOTSF-2.4.7.8).
#[test]
fn a_code_is_good_once_for_one_name() {
    let hub = Hub::start(&["limits.enrolment_failures_per_source_per_min=1000"]);
    let machine = Machine::new(&hub);
    let (mine, other) = (expected(&hub, "mine"), expected(&hub, "other"));
    let request = machine.good_request("mine");
    let refused = machine.enrol("mine", &other, &request);
    assert_eq!(refused.status, NOT_ENTITLED);
    for (name, code) in [
        ("mine", "00000-00000-00000-00000"),
        ("mine", ""),
        ("mine", "no code at all"),
        ("nobody", mine.as_str()),
        ("$SYS/#", mine.as_str()),
        ("", mine.as_str()),
    ] {
        assert_eq!(machine.enrol(name, code, &request), refused, "{name} {code}");
    }
    assert_eq!(machine.post("simpleenroll", &request, &[]), refused, "nothing shown");
    assert_eq!(machine.post("simplereenroll", &request, &["--user", &format!("mine:{mine}")]), refused);
    let newer = code(&hub, "mine");
    assert_eq!(machine.enrol("mine", &mine, &request), refused, "a newer code voids it");
    let typed = newer.to_lowercase().replace('-', "");
    machine.keep("mine", &machine.enrol("mine", &typed, &request));
    assert_eq!(machine.enrol("mine", &newer, &request), refused, "it is used up");
    // Nothing of a code is on the disk.
    let registry = fs::read(hub.data().join("registry.redb")).unwrap();
    let waiting = other.replace('-', "");
    assert!(!registry.windows(waiting.len()).any(|window| window == waiting.as_bytes()));
}

/// A request gives its key and nothing else; one that asks for more is refused, and its code is not used up.
#[test]
fn requests_that_ask_for_too_much_are_refused() {
    let hub = Hub::start(&["limits.enrolment_failures_per_source_per_min=1000"]);
    let machine = Machine::new(&hub);
    let code = expected(&hub, "mine");
    let p256 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let bad: [(&str, Vec<&str>); 7] = [
        ("another's name", [&p256[..], &["-subj", "/CN=other"]].concat()),
        ("a place", [&p256[..], &["-subj", "/CN=mine/L=Berlin"]].concat()),
        ("to be a CA", [&p256[..], &["-subj", "/CN=mine", "-addext", "basicConstraints=critical,CA:TRUE"]].concat()),
        ("to serve", [&p256[..], &["-subj", "/CN=mine", "-addext", "extendedKeyUsage=serverAuth"]].concat()),
        ("a host's name", [&p256[..], &["-subj", "/CN=mine", "-addext", "subjectAltName=DNS:hub.example"]].concat()),
        ("RSA", vec!["-newkey", "rsa:2048", "-subj", "/CN=mine"]),
        ("another curve", vec!["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1", "-subj", "/CN=mine"]),
    ];
    let nothing = machine.path("nothing");
    fs::write(&nothing, "AAAA").unwrap();
    let refused = machine.enrol("mine", &code, &nothing);
    assert_eq!(refused.status, REFUSED);
    for (what, arguments) in &bad {
        assert_eq!(machine.enrol("mine", &code, &machine.request("bad", arguments)), refused, "{what}");
    }
    let large = machine.path("large");
    fs::write(&large, "A".repeat(1 << 16)).unwrap();
    assert_eq!(machine.enrol("mine", &code, &large), refused, "oversized");
    // Signed by another key than its own.
    let (one, two) = (machine.good_request("one"), machine.good_request("two"));
    let [mut one, two] = [one, two].map(|file| decoded(&fs::read(file).unwrap()));
    let tail = one.len() - 60;
    one.splice(tail.., two[two.len() - 60..].iter().copied());
    let forged = machine.path("forged");
    fs::write(&forged, encoded(&one)).unwrap();
    assert_eq!(machine.enrol("mine", &code, &forged), refused, "no proof of possession");
    let request = machine.good_request("mine");
    let wrong_type = ["--header", "Content-Type: text/plain", "--user", &format!("mine:{code}")];
    let data = format!("@{}", request.display());
    let plain = machine.curl(&[&wrong_type[..], &["--data-binary", &data]].concat(), "/.well-known/est/simpleenroll");
    assert_eq!(plain, refused);
    assert_eq!(state(&hub, "mine"), "pending");
    machine.keep("mine", &machine.enrol("mine", &code, &request));
}

/// ISVS-4.1.2: RSA of the lengths that the configuration names, and only while it does: for requests of openssl and of
/// `device enrol`, in the handshake, and for renewals.
#[test]
fn rsa_is_for_whom_the_configuration_lets() {
    let with = |keys: &str| format!("[enrolment]\nkey_algorithms = [{keys}]\nrenew_after_percent = 0\n");
    let mut hub = Hub::start_configured(&with(r#""rsa-3072", "ecdsa-p256""#));
    let own = {
        let machine = Machine::new(&hub);
        let wanted = decoded(&machine.curl(&[], "/.well-known/est/csrattrs").body);
        assert!(wanted.windows(4).any(|window| window == [2, 2, 0x0c, 0]), "3072");
        let code = expected(&hub, "lamp");
        let p384 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-subj", "/CN=lamp"];
        assert_eq!(machine.enrol("lamp", &code, &machine.request("bad", &p384)).status, REFUSED);
        assert!(hub.log().contains("ECDSA on P-384 are not accepted"), "{}", hub.log());
        let rsa = |name: &str| machine.request(name, &["-newkey", "rsa:3072", "-subj", "/"]);
        let lamp = machine.keep("lamp", &machine.enrol("lamp", &code, &rsa("lamp")));
        for version in [V4, V5] {
            Login::new(version, "lamp").open_as(&hub, &lamp).disconnect();
        }
        let request = rsa("next");
        let renewed = machine.reenrol("lamp", &request);
        let lamp = machine.keep("next", &renewed);
        Login::new(V5, "lamp").open_as(&hub, &lamp).disconnect();

        let _ = hub.succeed(&["device", "add", "own"]);
        let made = hub.json(&["device", "code", "own"]);
        let [code, pin] = ["code", "ca_sha256"].map(|key| made[key].as_str().unwrap());
        let out = hub.beside_data("own");
        let mut enrol = Command::new(program());
        enrol.args(["device", "enrol", "own", "--hub", &format!("localhost:{}", hub.address("device_https").port())]);
        enrol.args(["--ca-sha256", pin, "--key"]).arg(machine.path("fresh.key")).arg("--out").arg(&out);
        let _ = rsa("fresh");
        done(enrol.env("PORTREEVE_CODE", code).stdin(Stdio::null()));
        Login::new(V5, "own").open_as(&hub, &Identity::from_bundle("own", &out)).disconnect();
        done(Command::new(program()).args(["device", "renew", "--now"]).arg(&out));
        Identity::from_bundle("own", &out)
    };
    hub.kill();
    hub.configure(&with(r#""ecdsa-p256""#));
    hub.launch();
    Login::new(V5, "own").open_as(&hub, &own).disconnect(); // its second key is the command's own choice
    assert!(Machine::new(&hub).is_refused("next"), "what is no longer accepted is no longer verified");
}

fn decoded(base64: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut child = openssl(&["base64", "-d"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(base64).unwrap();
    child.wait_with_output().unwrap().stdout
}

fn encoded(der: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut child = openssl(&["base64"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(der).unwrap();
    child.wait_with_output().unwrap().stdout
}

/// The same public key on two devices is refused at issuance (CSA-CRD-02).
#[test]
fn one_key_is_one_devices() {
    let hub = Hub::start(&["enrolment.renew_after_percent=0"]);
    let machine = Machine::new(&hub);
    let (first, second) = (expected(&hub, "first"), expected(&hub, "second"));
    let request = machine.request("first", &EMPTY_SUBJECT);
    machine.keep("first", &machine.enrol("first", &first, &request));
    assert_eq!(machine.enrol("second", &second, &request).status, REFUSED);
    assert_eq!(state(&hub, "second"), "pending");
    assert!(hub.log().contains("key_reuse_refused"), "{}", hub.log());
    assert_eq!(machine.reenrol("first", &request).status, REFUSED, "each certificate has a key of its own");
    // Neither comes back with a key that was revoked.
    hub.device("revoke", "first");
    assert_eq!(machine.enrol("second", &second, &request).status, REFUSED);
    let refused = hub.run(&["device", "code", "first"]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("revoked"));
}

#[test]
fn a_source_that_fails_too_often_has_to_wait() {
    let hub = Hub::start(&["limits.enrolment_failures_per_source_per_min=3"]);
    let machine = Machine::new(&hub);
    let code = expected(&hub, "mine");
    let request = machine.good_request("mine");
    for _ in 0..3 {
        assert_eq!(machine.enrol("mine", "00000-00000-00000-00000", &request).status, NOT_ENTITLED);
    }
    assert_eq!(machine.enrol("mine", &code, &request).status, 503, "also with the right one");
    assert_eq!(state(&hub, "mine"), "pending");
    let metrics = hub.status();
    let row =
        metrics["limits"].as_array().unwrap().iter().find(|row| row["name"] == "enrolment_failures_per_source_per_min");
    assert_eq!(row.unwrap()["used"], 3);
}

#[test]
fn a_renewal_comes_neither_early_nor_from_a_copy() {
    let hub = Hub::start_configured("[enrolment]\non_clone = \"quarantine\"\n");
    let machine = Machine::new(&hub);
    let code = expected(&hub, "lamp");
    machine.keep("lamp", &machine.enrol("lamp", &code, &machine.good_request("lamp")));
    assert_eq!(machine.reenrol("lamp", &machine.request("early", &EMPTY_SUBJECT)).status, REFUSED);
    hub.configure("[enrolment]\nrenew_after_percent = 0\non_clone = \"quarantine\"\n");
    let _ = hub.succeed(&["reload"]);
    let request = machine.request("next", &EMPTY_SUBJECT);
    let first = machine.keep("next", &machine.reenrol("lamp", &request));
    let serial = machine.serial("next");
    // The answer was lost: the same certificate once more, so that whichever arrived is good.
    let next = machine.keep("next", &machine.reenrol("lamp", &request));
    assert_eq!(machine.serial("next"), serial);
    assert_eq!(machine.ocsp("next"), "good");
    Login::new(V5, "lamp:first").open_as(&hub, &first).disconnect();
    assert_eq!(hub.json(&["device", "show", "lamp"])["certificates"].as_array().unwrap().len(), 2);
    // The one before is void now. That somebody shows it is told, and cuts nobody off.
    assert!(machine.is_refused("lamp"));
    assert_eq!(state(&hub, "lamp"), "active");
    assert!(hub.log().contains("clone_suspected"), "{}", hub.log());
    // A copy of the device renews before the device does, each with a key of its own.
    machine.keep("copy", &machine.reenrol("next", &machine.request("copy", &EMPTY_SUBJECT)));
    assert_eq!(machine.reenrol("next", &machine.request("own", &EMPTY_SUBJECT)).status, REFUSED);
    assert_eq!(state(&hub, "lamp"), "quarantined");
    let mut confined = Login::new(V5, "lamp").open_as(&hub, &next);
    assert_eq!(confined.try_publish("devices/lamp/telemetry/t", b"1", 1, false, ""), 0x87);
}

/// What a code promised before a crash it promises after it; what it gave stays given.
#[test]
fn codes_and_certificates_survive_kill_9() {
    let mut hub = Hub::start(&[]);
    let (waiting, used) = (expected(&hub, "waiting"), expected(&hub, "used"));
    let request = {
        let machine = Machine::new(&hub);
        let request = machine.good_request("used");
        machine.keep("used", &machine.enrol("used", &used, &request));
        request
    };
    hub.kill();
    hub.launch();
    let machine = Machine::new(&hub);
    assert_eq!(machine.enrol("used", &used, &request).status, NOT_ENTITLED);
    let lamp = Identity::from_bundle("used", &machine.path("used.bundle"));
    Login::new(V5, "used").open_as(&hub, &lamp).disconnect();
    machine.keep("waiting", &machine.enrol("waiting", &waiting, &machine.good_request("waiting")));
}

/// `portreeve device enrol` and `renew`, as a person types them.
#[test]
fn the_device_side_commands() {
    let hub = Hub::start(&["enrolment.renew_after_percent=0"]);
    let folder = hub.beside_data("lamp");
    let shown = folder.display().to_string();
    let _ = hub.succeed(&["device", "add", "lamp"]);
    let made = hub.json(&["device", "code", "lamp", "--valid", "10m"]);
    let [code, pin] = ["code", "ca_sha256"].map(|key| made[key].as_str().unwrap());
    let address = format!("localhost:{}", hub.address("device_https").port());
    let enrol = |pin: &str, code: &str| {
        let mut command = Command::new(program());
        command.args(["device", "enrol", "lamp", "--hub", &address, "--ca-sha256", pin, "--out", &shown]);
        command.env("PORTREEVE_CODE", code).stdin(Stdio::null()).output().unwrap()
    };
    let somebody_else = enrol(&"ab".repeat(32), code);
    assert_eq!(somebody_else.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&somebody_else.stderr).contains("nothing was sent to it"));
    assert_eq!(enrol(pin, "00000-00000-00000-00000").status.code(), Some(4));
    assert_eq!(enrol("zz", code).status.code(), Some(2));
    let enrolled = enrol(pin, code);
    assert!(enrolled.status.success(), "{}", String::from_utf8_lossy(&enrolled.stderr));
    assert_eq!(enrol(pin, code).status.code(), Some(4), "the directory is not overwritten");
    Login::new(V5, "lamp").open_as(&hub, &Identity::from_bundle("lamp", &folder)).disconnect();

    let renew = |arguments: &[&str]| {
        Command::new(program()).args(["device", "renew", &shown]).args(arguments).output().unwrap()
    };
    let before = fs::read(folder.join("cert.pem")).unwrap();
    assert!(renew(&[]).status.success(), "it is not time, and that is no failure");
    assert_eq!(fs::read(folder.join("cert.pem")).unwrap(), before);
    let renewed = renew(&["--now"]);
    assert!(renewed.status.success(), "{}", String::from_utf8_lossy(&renewed.stderr));
    assert_ne!(fs::read(folder.join("cert.pem")).unwrap(), before);
    Login::new(V5, "lamp").open_as(&hub, &Identity::from_bundle("lamp", &folder)).disconnect();
    hub.device("revoke", "lamp");
    let refused = renew(&["--now"]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("device code"), "it says what to do");
}

/// Processes that renew the same directory, and one that was killed between key and certificate, leave a pair that works.
#[test]
fn one_process_at_a_time_works_on_a_directory() {
    let hub = Hub::start(&["enrolment.renew_after_percent=0"]);
    let folder = hub.beside_data("lamp");
    let shown = folder.display().to_string();
    let _ = hub.succeed(&["device", "add", "lamp"]);
    let made = hub.json(&["device", "code", "lamp", "--valid", "10m"]);
    let [code, pin] = ["code", "ca_sha256"].map(|key| made[key].as_str().unwrap());
    let address = format!("localhost:{}", hub.address("device_https").port());
    let command = |arguments: &[&str]| {
        let mut command = Command::new(program());
        command.arg("device").args(arguments).env("PORTREEVE_CODE", code);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let enrol = ["enrol", "lamp", "--hub", &address, "--ca-sha256", pin, "--out", &shown];
    let renew = ["renew", &shown, "--now"];
    let is_told_of_another = |arguments: &[&str]| {
        let refused = command(arguments).output().unwrap();
        assert_eq!(refused.status.code(), Some(4));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("another `portreeve device"));
    };
    let works = || Login::new(V5, "lamp").open_as(&hub, &Identity::from_bundle("lamp", &folder)).disconnect();

    fs::create_dir_all(&folder).unwrap();
    let lock = fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    is_told_of_another(&enrol);
    drop(lock);
    done(&mut command(&enrol));
    works();

    let before = fs::read(folder.join("cert.pem")).unwrap();
    let lock = fs::File::open(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    is_told_of_another(&renew);
    is_told_of_another(&renew[..2]);
    drop(lock);
    assert_eq!(fs::read(folder.join("cert.pem")).unwrap(), before);

    let mut ends = Vec::new();
    for process in std::array::from_fn::<_, 3, _>(|_| command(&renew).spawn().unwrap()) {
        ends.push(process.wait_with_output().unwrap().status.code());
    }
    assert!(ends.iter().all(|end| matches!(end, Some(0 | 4))) && ends.contains(&Some(0)), "{ends:?}");
    works();

    let before = fs::read(folder.join("cert.pem")).unwrap();
    done(&mut command(&renew));
    let after = fs::read(folder.join("cert.pem")).unwrap();
    fs::create_dir_all(folder.join("next")).unwrap();
    fs::write(folder.join("next/cert.pem"), &after).unwrap();
    fs::write(folder.join("cert.pem"), before).unwrap();
    done(&mut command(&renew[..2]));
    assert_eq!(fs::read(folder.join("cert.pem")).unwrap(), after);
    works();
}

/// CRL (RFC 5280) and OCSP (RFC 6960) as others see them: openssl agrees with the hub.
#[test]
fn openssl_agrees_about_revocation() {
    let hub = Hub::start(&[
        "revocation.crl_url=\"https://hub.example/pki/devices.crl\"",
        "revocation.ocsp_url=\"https://hub.example/pki/ocsp\"",
    ]);
    let machine = Machine::new(&hub);
    for name in ["good", "held", "stolen"] {
        let code = expected(&hub, name);
        machine.keep(name, &machine.enrol(name, &code, &machine.good_request(name)));
    }
    let text = done(openssl(&["x509", "-noout", "-text", "-in"]).arg(machine.path("good.pem"))).stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains("hub.example/pki/devices.crl") && text.contains("OCSP - URI:https://hub.example/pki/ocsp"),
        "{text}"
    );
    let before = machine.crl();
    assert!(machine.is_valid("stolen", &before) && machine.is_valid("held", &before));
    assert_eq!(machine.ocsp("stolen"), "good");
    hub.device("revoke", "stolen");
    hub.device("disable", "held");
    // A list is made once a second at most.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let after = machine.crl();
    assert!(machine.is_valid("good", &after));
    assert!(!machine.is_valid("stolen", &after) && !machine.is_valid("held", &after));
    assert_eq!(
        (machine.ocsp("good"), machine.ocsp("stolen"), machine.ocsp("held")),
        ("good".into(), "revoked".into(), "revoked".into())
    );
    hub.device("enable", "held");
    assert_eq!(machine.ocsp("held"), "good", "a hold is taken back");
    assert!(machine.number(&after) > machine.number(&before));
    // Another CA's certificate is none of ours; what is no request is told so; both without a word about anybody.
    let question = machine.path("question");
    fs::write(&question, "nonsense").unwrap();
    let data = format!("@{}", question.display());
    let post = ["--header", "Content-Type: application/ocsp-request", "--data-binary", &data];
    assert_eq!(
        machine.curl(&post, "/pki/ocsp"),
        Reply { status: 200, body: vec![0x30, 3, 0x0a, 1, 1] },
        "malformedRequest"
    );
    assert_eq!(machine.curl(&["--data-binary", &data], "/pki/ocsp").status, 415);
    assert_eq!(machine.curl(&["--request", "PUT"], "/pki/ocsp").status, 405);
    assert_eq!(machine.curl(&[], "/pki/devices.key").status, 401);
}

/// CSA-CRD-02, CSA-CRD-07: one CA follows another while devices come and go; openssl agrees with the hub about the
/// certificates of both.
#[test]
fn a_ca_follows_another_and_relying_parties_go_by_both() {
    let hub =
        Hub::start(&["revocation.crl_url=\"https://hub.example/pki/devices.crl\"", "enrolment.renew_after_percent=0"]);
    let machine = Machine::new(&hub);
    let enrol = |name: &str| {
        let code = expected(&hub, name);
        machine.keep(name, &machine.enrol(name, &code, &machine.good_request(name)))
    };
    let (old, _) = (enrol("old"), enrol("old-stolen"));
    let mut session = Login::new(V5, "old").open_as(&hub, &old);
    let first_list = machine.crl_of("devices");
    assert!(hub.succeed(&["ca", "rotate"]).contains("devices-2 and hub-2 issue from now on"));
    let (new, _) = (enrol("new"), enrol("new-stolen"));
    session.publish("devices/old/telemetry/t", "still here", 1);
    for (name, identity) in [("old", &old), ("new", &new)] {
        Login::new(V5, &format!("{name}:again")).open_as(&hub, identity).disconnect();
    }
    let text = done(openssl(&["x509", "-noout", "-text", "-in"]).arg(machine.path("new.pem"))).stdout;
    assert!(String::from_utf8(text).unwrap().contains("hub.example/pki/devices-2.crl"));
    assert_eq!(machine.curl(&[], "/pki/devices-3.crl").status, 404);

    for name in ["old-stolen", "new-stolen"] {
        hub.device("revoke", name);
    }
    // A list is made once a second at most.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    for (ca, good, stolen) in [("devices", "old", "old-stolen"), ("devices-2", "new", "new-stolen")] {
        let list = machine.crl_of(ca);
        assert!(machine.is_valid_by(ca, good, &list) && !machine.is_valid_by(ca, stolen, &list), "{ca}");
        assert_eq!((machine.ocsp_by(ca, good), machine.ocsp_by(ca, stolen)), ("good".into(), "revoked".into()), "{ca}");
        assert!(machine.number(&list) > machine.number(&first_list), "{ca}");
    }
    // A device whose present certificate is of the one CA gets the next from the other.
    machine.keep("next", &machine.reenrol("old", &machine.request("next", &EMPTY_SUBJECT)));
    assert!(machine.is_valid_by("devices-2", "next", &machine.crl_of("devices-2")));
}

impl Machine<'_> {
    fn crl(&self) -> PathBuf {
        self.crl_of("devices")
    }

    /// Fetches the list of a CA; its file, in PEM.
    fn crl_of(&self, ca: &str) -> PathBuf {
        let reply = self.curl(&[], &format!("/pki/{ca}.crl"));
        assert_eq!(reply.status, 200);
        let (der, pem) = (self.path("crl.der"), self.path(&portreeve_tests::unique("crl")));
        fs::write(&der, reply.body).unwrap();
        done(openssl(&["crl", "-inform", "DER", "-in"]).arg(&der).arg("-out").arg(&pem));
        pem
    }

    fn serial(&self, name: &str) -> String {
        let printed = done(openssl(&["x509", "-noout", "-serial", "-in"]).arg(self.path(&format!("{name}.pem"))));
        String::from_utf8(printed.stdout).unwrap()
    }

    fn number(&self, crl: &Path) -> u64 {
        let text = String::from_utf8(done(openssl(&["crl", "-noout", "-crlnumber", "-in"]).arg(crl)).stdout).unwrap();
        u64::from_str_radix(text.trim().trim_start_matches("crlNumber=0x").trim_start_matches("crlNumber="), 16)
            .unwrap()
    }

    fn is_valid(&self, name: &str, crl: &Path) -> bool {
        self.is_valid_by("devices", name, crl)
    }

    fn is_valid_by(&self, ca: &str, name: &str, crl: &Path) -> bool {
        let (pki, ca) = (self.hub.data().join("pki"), format!("{ca}.pem"));
        let mut command = openssl(&["verify", "-crl_check", "-CAfile"]);
        command.arg(pki.join("root.pem")).arg("-untrusted").arg(pki.join(ca)).arg("-CRLfile").arg(crl);
        let output = command.arg(self.path(&format!("{name}.pem"))).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() || said.contains("certificate revoked"), "{said}");
        output.status.success()
    }

    fn ocsp(&self, name: &str) -> String {
        self.ocsp_by("devices", name)
    }

    /// Asks about a certificate of a CA, verifies the answer, and returns its word.
    fn ocsp_by(&self, ca: &str, name: &str) -> String {
        let pki = self.hub.data().join("pki");
        let ca = pki.join(format!("{ca}.pem"));
        let (cert, question, answer) =
            (self.path(&format!("{name}.pem")), self.path("ask.der"), self.path("answer.der"));
        let mut ask = openssl(&["ocsp", "-issuer"]);
        done(ask.arg(&ca).arg("-cert").arg(&cert).arg("-reqout").arg(&question));
        let data = format!("@{}", question.display());
        let reply =
            self.curl(&["--header", "Content-Type: application/ocsp-request", "--data-binary", &data], "/pki/ocsp");
        assert_eq!(reply.status, 200);
        fs::write(&answer, reply.body).unwrap();
        // (Given both, openssl would put a nonce of its own into the question that it compares with.)
        let mut read = openssl(&["ocsp", "-no_nonce", "-issuer"]);
        read.arg(&ca).arg("-cert").arg(&cert).arg("-respin").arg(&answer);
        read.arg("-CAfile").arg(pki.join("root.pem")).arg("-verify_other").arg(&ca);
        let output = done(&mut read);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(String::from_utf8_lossy(&output.stderr).contains("Response verify OK"), "{output:?}");
        let line = said.lines().find_map(|line| line.split_once(".pem: ")).unwrap();
        line.1.to_owned()
    }
}

/// Both bounds of what the hub signs for whoever asks, when they are full.
#[test]
fn what_is_signed_a_second_is_bounded() {
    let hub = Hub::start(&["limits.certificates_per_s=1", "limits.ocsp_answers_per_s=1"]);
    let machine = Machine::new(&hub);
    let names = ["a", "b", "c"];
    let codes = names.map(|name| expected(&hub, name));
    let requests = names.map(|name| machine.good_request(name));
    let statuses = [0, 1, 2].map(|at| machine.enrol(names[at], &codes[at], &requests[at]).status);
    assert!(statuses[0] == 200 && statuses.contains(&503), "{statuses:?}");
    let late = statuses.iter().position(|status| *status == 503).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    machine.keep(names[late], &machine.enrol(names[late], &codes[late], &requests[late]));

    let (cert, question) = (machine.path(&format!("{}.pem", names[late])), machine.path("ask.der"));
    let mut ask = openssl(&["ocsp", "-issuer"]);
    done(ask.arg(hub.data().join("pki/devices.pem")).arg("-cert").arg(&cert).arg("-reqout").arg(&question));
    let data = format!("@{}", question.display());
    let post = ["--header", "Content-Type: application/ocsp-request", "--data-binary", &data];
    let answers: Vec<Reply> = (0..5).map(|_| machine.curl(&post, "/pki/ocsp")).collect();
    assert!(answers[0].body.len() > 100, "{answers:?}");
    let try_later = Reply { status: 200, body: vec![0x30, 3, 0x0a, 1, 3] };
    assert!(answers.contains(&try_later), "{answers:?}");
}

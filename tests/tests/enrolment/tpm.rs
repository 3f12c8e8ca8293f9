//! Devices with a TPM 2.0, here swtpm: its maker, or a signed list, vouches for the endorsement key, and the TPM shows that it
//! holds the key that is certified (CSA-CRD-04, CSA-CRD-08). tpm2-tools and curl do it as well as our own command.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use portreeve_tests::{Hub, hub::program};

use crate::{
    EMPTY_SUBJECT, NOT_ENTITLED, REFUSED,
    machine::{Machine, Reply, done, openssl, state},
    vouched::Signer,
};

#[expect(dead_code, reason = "what other tests need of it")]
#[path = "../../../crates/port/keys/tests/common/swtpm.rs"]
mod swtpm;
use swtpm::Swtpm;

const PATH: &str = "/.well-known/portreeve/tpm/challenge";
/// Where a TPM keeps the certificate of its endorsement key on P-256, and of the one of RSA.
const ECC_INDEX: &str = "0x01c0000a";
const RSA_INDEX: &str = "0x01c00002";

/// Carries the bytes of tpm2-tools, from its standard streams, to the TPM's socket and back.
const RELAY: &str = r#"
import os, socket, sys, threading
tpm = socket.socket(socket.AF_UNIX)
tpm.connect(sys.argv[1])
def commands():
    while data := os.read(0, 4096):
        tpm.sendall(data)
    tpm.shutdown(socket.SHUT_WR)
threading.Thread(target=commands, daemon=True).start()
while data := tpm.recv(4096):
    os.write(1, data)
"#;

/// A gateway with a TPM that never existed before.
struct Gateway<'h> {
    hub: &'h Hub,
    tpm: Swtpm,
    folder: PathBuf,
}

impl<'h> Gateway<'h> {
    fn new(hub: &'h Hub, name: &str) -> Self {
        let folder = hub.beside_data(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("relay.py"), RELAY).unwrap();
        Self { hub, tpm: Swtpm::start(), folder }
    }

    fn shown(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn tcti(&self) -> String {
        format!("swtpm:path={}", self.tpm.socket().display())
    }

    /// One of tpm2-tools.
    fn tool(&self, name: &str, arguments: &[&str]) -> Output {
        let relay = format!("cmd:python3 {} {}", self.shown("relay.py"), self.tpm.socket().display());
        let mut command = Command::new(format!("tpm2_{name}"));
        command.args(arguments).current_dir(&self.folder).env("TPM2TOOLS_TCTI", relay);
        let output = done(&mut command);
        // There is no resource manager that would clear up.
        if name != "flushcontext" {
            self.tool("flushcontext", &["-t"]);
        }
        output
    }

    /// The endorsement key, in PEM.
    fn endorsement(&self, kind: &str) -> String {
        let pem = self.shown(&format!("ek-{kind}.pem"));
        self.tool("createek", &["-G", kind, "-c", "ek.ctx", "-f", "pem", "-u", &pem]);
        pem
    }

    /// Puts a certificate where its maker puts it, in a place that is longer.
    fn keep(&self, index: &str, der: &Path) {
        let file = self.shown("ek.nv");
        let filled = [fs::read(der).unwrap(), vec![0; 40]].concat();
        fs::write(&file, &filled).unwrap();
        let (size, attributes) = (filled.len().to_string(), "ppwrite|ppread|ownerread|authread|no_da|platformcreate");
        self.tool("nvdefine", &[index, "-C", "p", "-s", &size, "-a", attributes]);
        self.tool("nvwrite", &[index, "-C", "p", "-i", &file]);
    }

    /// Our own command.
    fn enrol(&self, out: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(program());
        command.args(["device", "enrol", "--tpm", "--tcti", &self.tcti(), "--wait", "0s"]);
        command.args(["--hub", &self.hub.address("device_https").to_string(), "--out", &self.shown(out)]);
        command.arg("--ca").arg(self.hub.data().join("pki/root.pem")).args(arguments).stdin(Stdio::null());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn name(&self, out: &str) -> String {
        let text = fs::read_to_string(self.folder.join(out).join("enrolment.json")).unwrap();
        text.split('"').skip_while(|word| *word != "name").nth(2).unwrap().to_owned()
    }

    /// Publishes with the certificate in a directory, whose key is in the TPM.
    fn publishes(&self, out: &str, name: &str) -> bool {
        let (port, topic) = (self.hub.mqtt().port().to_string(), format!("devices/{name}/telemetry/t"));
        let mut command = Command::new(program());
        command.args(["client", "pub", "--host", "localhost", "--port", &port, "-t", &topic, "-m", "on", "--bundle"]);
        command.arg(self.folder.join(out)).stdin(Stdio::null()).output().unwrap().status.success()
    }
}

/// A maker of TPMs, whose CA has an RSA key.
struct TpmMaker {
    folder: PathBuf,
}

impl TpmMaker {
    fn new(hub: &Hub, name: &str) -> Self {
        let maker = Self { folder: hub.beside_data(name) };
        fs::create_dir_all(&maker.folder).unwrap();
        let mut command =
            openssl(&["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=TPMs"]);
        command.args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"]).arg("-keyout").arg(maker.path("ca.key"));
        done(command.arg("-out").arg(maker.path("ca.pem")));
        let mut command = openssl(&["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/"]);
        done(command.arg("-keyout").arg(maker.path("any.key")).arg("-out").arg(maker.path("any.csr")));
        // TCG EK Credential Profile: the name of the TPM is critical, since the subject is empty.
        let profile = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,keyAgreement,keyEncipherment\n\
                       extendedKeyUsage=2.23.133.8.1\nsubjectAltName=critical,dirName:tpm\n[tpm]\n\
                       a.2.23.133.2.1=id:49465800\nb.2.23.133.2.2=SLB9670\nc.2.23.133.2.3=id:0755\n";
        fs::write(maker.path("ek.conf"), profile).unwrap();
        maker
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn ca(&self) -> String {
        self.path("ca.pem").display().to_string()
    }

    /// Certifies an endorsement key.
    fn certify(&self, endorsement_pem: &str, serial: &str, days: &str) -> PathBuf {
        let der = self.path(&format!("{serial}.der"));
        let mut command = openssl(&["x509", "-req", "-outform", "DER", "-set_serial", serial, "-days", days]);
        command.arg("-in").arg(self.path("any.csr")).arg("-force_pubkey").arg(endorsement_pem);
        command.arg("-CA").arg(self.path("ca.pem")).arg("-CAkey").arg(self.path("ca.key"));
        done(command.arg("-extfile").arg(self.path("ek.conf")).arg("-out").arg(&der));
        der
    }
}

#[test]
fn the_maker_of_its_tpm_lets_a_gateway_in() {
    let hub = Hub::start(&["limits.enrolment_failures_per_source_per_min=1000", "enrolment.renew_after_percent=0"]);
    let (maker, gateway) = (TpmMaker::new(&hub, "maker"), Gateway::new(&hub, "gateway"));
    let (status, said) = gateway.enrol("none", &[]);
    assert!(status == Some(4) && said.contains("brings no certificate"), "{said}");
    gateway.keep(ECC_INDEX, &maker.certify(&gateway.endorsement("ecc"), "0x1234abcd", "20"));
    assert_eq!(gateway.enrol("early", &[]).0, Some(4), "nobody trusts this maker yet");
    let foreign = TpmMaker::new(&hub, "foreign");
    let add = |name: &str, ca: &str| {
        hub.succeed(&["enrolment", "group", "add", name, "--tpm-ca", ca, "--names", "gw-{serial}", "--kind", "gateway"])
    };
    let _ = add("foreign", &foreign.ca());
    assert_eq!(gateway.enrol("early", &[]).0, Some(4), "another maker of the same name");
    let _ = add("gateways", &maker.ca());
    let (status, said) = gateway.enrol("first", &[]);
    assert_eq!(status, Some(0), "{said}\n{}", hub.log());
    assert_eq!(gateway.name("first"), "gw-1234abcd");
    let shown = hub.json(&["device", "show", "gw-1234abcd"]);
    assert_eq!((shown["state"].as_str(), shown["kind"].as_str()), (Some("active"), Some("gateway")));
    let history = hub.succeed(&["device", "history", "gw-1234abcd"]);
    assert!(history.contains("gateways, serial 1234abcd") && history.contains("TPM endorsement key"), "{history}");
    let rules = hub.succeed(&["enrolment", "rules"]);
    assert!(rules.contains("group gateways") && rules.contains("TPM endorsement key"), "{rules}");

    // The key is in the TPM: what lies in the directory is of no use to another one.
    assert!(!gateway.folder.join("first/key.pem").exists());
    assert!(gateway.publishes("first", "gw-1234abcd"));
    let thief = Gateway::new(&hub, "thief");
    let stolen = thief.folder.join("first");
    done(Command::new("cp").arg("-a").arg(gateway.folder.join("first")).arg(&stolen));
    let origin = stolen.join("enrolment.json");
    let text = fs::read_to_string(&origin).unwrap();
    fs::write(&origin, text.replace(&gateway.tcti(), &thief.tcti())).unwrap();
    assert!(!thief.publishes("first", "gw-1234abcd"));

    let first = fs::read(gateway.folder.join("first/key.tpm")).unwrap();
    let renewed = Command::new(program()).args(["device", "renew", "--now"]).arg(gateway.folder.join("first")).output();
    let renewed = renewed.unwrap();
    assert!(renewed.status.success(), "{renewed:?}\n{}", hub.log());
    assert_ne!(fs::read(gateway.folder.join("first/key.tpm")).unwrap(), first, "a new key in the same TPM");
    assert!(gateway.publishes("first", "gw-1234abcd"));

    // It was reset, and comes back as the same device; once it is revoked, it does not.
    assert_eq!(gateway.enrol("again", &[]).0, Some(0), "{}", hub.log());
    assert_eq!(gateway.name("again"), "gw-1234abcd");
    assert_eq!(hub.json(&["device", "list"]).as_array().unwrap().len(), 1);
    hub.device("revoke", "gw-1234abcd");
    assert_eq!(gateway.enrol("revoked", &[]).0, Some(4));
    assert_eq!(state(&hub, "gw-1234abcd"), "revoked");
}

#[test]
fn certificates_of_rsa_endorsement_keys_count_and_ended_ones_do_not() {
    let hub = Hub::start(&["limits.enrolment_failures_per_source_per_min=1000"]);
    let maker = TpmMaker::new(&hub, "maker");
    let _ = hub.succeed(&["enrolment", "group", "add", "gateways", "--tpm-ca", &maker.ca(), "--names", "gw-{key}"]);
    let gateway = Gateway::new(&hub, "gateway");
    gateway.keep(RSA_INDEX, &maker.certify(&gateway.endorsement("rsa"), "7", "20"));
    let (status, said) = gateway.enrol("first", &[]);
    assert_eq!(status, Some(0), "{said}\n{}", hub.log());

    let ended = Gateway::new(&hub, "ended");
    ended.keep(ECC_INDEX, &maker.certify(&ended.endorsement("ecc"), "8", "-1"));
    assert_eq!(ended.enrol("first", &[]).0, Some(4));
    // The certificate of somebody else's TPM, which everybody may read there.
    let poser = Gateway::new(&hub, "poser");
    poser.keep(ECC_INDEX, &maker.certify(&gateway.endorsement("ecc"), "9", "20"));
    let (status, said) = poser.enrol("first", &[]);
    assert_eq!(status, Some(4), "{said}");
    assert_eq!(hub.json(&["device", "list"]).as_array().unwrap().len(), 1, "{said}");
}

/// A TPM without certificate, and an operator who consents.
#[test]
fn a_signed_list_names_a_tpm() {
    let hub = Hub::start(&["limits.enrolment_failures_per_source_per_min=1000"]);
    let (gateway, other, signer) =
        (Gateway::new(&hub, "gateway"), Gateway::new(&hub, "other"), Signer::new(&hub, "signer"));
    let public = signer.shown("signer.pub");
    let add = ["enrolment", "group", "add", "gateways", "--list-signer", &public, "--tpm", "--names", "gw-{serial}"];
    let _ = hub.succeed(&[&add[..], &["--approval"]].concat());
    // The gateway tells its line itself, or somebody has the endorsement key in a file.
    let line = hub.succeed(&["enrolment", "list", "entry", "7", "--tpm", "--tcti", &gateway.tcti()]);
    let entry = |key: &str, of: &[&str]| hub.run(&[&["enrolment", "list", "entry", "7", "--key", key], of].concat());
    assert_eq!(hub.succeed(&["enrolment", "list", "entry", "7", "--tpm", "--key", &gateway.endorsement("ecc")]), line);
    let rsa = gateway.endorsement("rsa");
    assert!(entry(&rsa, &["--tpm"]).status.success());
    assert!(!entry(&rsa, &[]).status.success(), "a device's own key of 2048 bits");
    let _ = hub.succeed(&["enrolment", "group", "allow", "gateways", &signer.sign(1, &line)]);

    assert_eq!(other.enrol("first", &["--serial", "7"]).0, Some(4), "the serial number with another TPM");
    assert_eq!(gateway.enrol("wrong", &["--serial", "8"]).0, Some(4), "another serial number");
    assert_eq!(gateway.enrol("first", &["--serial", "7"]).0, Some(3), "an operator has to consent");
    let waiting = hub.json(&["approval", "list"]);
    let number = waiting[0]["number"].as_u64().unwrap().to_string();
    let _ = hub.succeed(&["approval", "grant", &number]);
    let (status, said) = gateway.enrol("first", &["--serial", "7"]);
    assert_eq!(status, Some(0), "{said}\n{}", hub.log());
    assert!(gateway.publishes("first", "gw-7"));
}

/// Somebody else's programs do the device's part: the bytes are those that are published.
#[test]
fn tpm2_tools_and_curl_enrol() {
    let hub = Hub::start(&["limits.enrolment_failures_per_source_per_min=1000"]);
    let (machine, maker, gateway) = (Machine::new(&hub), TpmMaker::new(&hub, "maker"), Gateway::new(&hub, "gateway"));
    let _ = hub.succeed(&["enrolment", "group", "add", "gateways", "--tpm-ca", &maker.ca(), "--names", "gw-{serial}"]);
    for (kind, serial) in [("ecc", "1"), ("rsa", "2")] {
        let certificate = maker.certify(&gateway.endorsement(kind), serial, "20");
        let attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign";
        gateway.tool("createprimary", &["-C", "o", "-G", "ecc", "-c", "parent.ctx"]);
        gateway
            .tool("create", &["-C", "parent.ctx", "-G", "ecc256", "-a", attributes, "-u", "key.pub", "-r", "key.priv"]);
        gateway.tool("load", &["-C", "parent.ctx", "-u", "key.pub", "-r", "key.priv", "-c", "key.ctx"]);
        // Of `TPM2B_PUBLIC` the content.
        let area = fs::read(gateway.folder.join("key.pub")).unwrap()[2..].to_vec();
        let question = format!(
            r#"{{"endorsement_certificate":"{}","key":"{}"}}"#,
            base64(&gateway, &fs::read(certificate).unwrap()),
            base64(&gateway, &area)
        );
        let answer = ask(&machine, &question);
        assert_eq!(answer.status, 200, "{}", hub.log());
        let answer = String::from_utf8(answer.body).unwrap();
        let field = |name: &str| answer.split('"').skip_while(|word| *word != name).nth(2).unwrap().to_owned();
        // The file of tpm2_activatecredential: a magic number, a version, and both parts with their lengths.
        let (credential, secret) =
            (unbase64(&gateway, &field("credential")), unbase64(&gateway, &field("encrypted_secret")));
        let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
        let blob = [&[0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1][..], &sized(&credential), &sized(&secret)].concat();
        fs::write(gateway.folder.join("blob"), blob).unwrap();
        gateway.tool("startauthsession", &["--policy-session", "-S", "session.ctx"]);
        gateway.tool("policysecret", &["-S", "session.ctx", "-c", "e"]);
        gateway.tool(
            "activatecredential",
            &["-c", "key.ctx", "-C", "ek.ctx", "-i", "blob", "-o", "secret", "-P", "session:session.ctx"],
        );
        gateway.tool("flushcontext", &["session.ctx"]);
        let secret = base64(&gateway, &fs::read(gateway.folder.join("secret")).unwrap());
        let secret = secret.replace('+', "-").replace('/', "_").replace('=', "");
        let token = format!("Authorization: Bearer {}.{secret}", field("activation"));

        // A request by another key, then by the one in the TPM, which openssl signs with.
        let soft = machine.request("soft", &EMPTY_SUBJECT);
        assert_eq!(machine.post("simpleenroll", &soft, &["--header", &token]).status, NOT_ENTITLED);
        let request = gateway.request();
        for bad in [
            token.replace("Bearer ", "Bearer A"),
            token[..token.len() - 5].to_owned(),
            "Authorization: Bearer .".into(),
        ] {
            assert_eq!(machine.post("simpleenroll", &request, &["--header", &bad]).status, NOT_ENTITLED, "{bad}");
        }
        let enrolled = machine.post("simpleenroll", &request, &["--header", &token]);
        assert_eq!(enrolled.status, 200, "{}", hub.log());
        assert_eq!(state(&hub, &format!("gw-0{serial}")), "active");
    }
}

#[test]
fn what_is_no_question_is_refused_and_a_flood_waits() {
    let hub = Hub::start(&["limits.enrolment_failures_per_source_per_min=30"]);
    let machine = Machine::new(&hub);
    assert_eq!(machine.curl(&[], PATH).status, 405);
    let (area, key) = ("A".repeat(120), "A".repeat(40));
    for (what, question) in [
        ("nothing", String::new()),
        ("no JSON", "{".into()),
        ("further fields", format!(r#"{{"endorsement_certificate":"{key}","key":"{area}","x":1}}"#)),
        ("no base64", r#"{"endorsement_certificate":"!","key":"!"}"#.into()),
        ("no public area", format!(r#"{{"endorsement_certificate":"{key}","key":"{area}"}}"#)),
        ("too long", format!(r#"{{"endorsement_certificate":"{}","key":"{area}"}}"#, "A".repeat(100_000))),
        ("nested", "[".repeat(10_000)),
    ] {
        assert_eq!(ask(&machine, &question).status, REFUSED, "{what}");
    }
    let replies: Vec<u16> = (0..40).map(|_| ask(&machine, "{}").status).collect();
    assert_eq!((replies.first(), replies.last()), (Some(&REFUSED), Some(&503)));
}

fn ask(machine: &Machine<'_>, question: &str) -> Reply {
    let file = machine.path("question.json");
    fs::write(&file, question).unwrap();
    let data = format!("@{}", file.display());
    machine.curl(&["--header", "Content-Type: application/json", "--data-binary", &data], PATH)
}

impl Gateway<'_> {
    /// A request that openssl's TPM provider signs with the loaded key, in base64.
    fn request(&self) -> PathBuf {
        let relay = format!("cmd:python3 {} {}", self.shown("relay.py"), self.tpm.socket().display());
        self.tool("evictcontrol", &["-C", "o", "-c", "key.ctx", "0x81010010"]);
        let mut command = openssl(&["req", "-new", "-provider", "tpm2", "-provider", "default"]);
        command.args(["-propquery", "?provider=tpm2", "-key", "handle:0x81010010", "-subj", "/", "-outform", "DER"]);
        done(command.arg("-out").arg(self.folder.join("csr.der")).env("TPM2OPENSSL_TCTI", relay));
        self.tool("evictcontrol", &["-C", "o", "-c", "0x81010010"]);
        let request = self.folder.join("csr");
        fs::write(&request, base64(self, &fs::read(self.folder.join("csr.der")).unwrap())).unwrap();
        request
    }
}

fn base64(gateway: &Gateway<'_>, bytes: &[u8]) -> String {
    let file = gateway.folder.join("plain");
    fs::write(&file, bytes).unwrap();
    String::from_utf8(done(openssl(&["base64", "-A", "-in"]).arg(file)).stdout).unwrap()
}

fn unbase64(gateway: &Gateway<'_>, text: &str) -> Vec<u8> {
    let file = gateway.folder.join("encoded");
    fs::write(&file, text).unwrap();
    done(openssl(&["base64", "-A", "-d", "-in"]).arg(file)).stdout
}

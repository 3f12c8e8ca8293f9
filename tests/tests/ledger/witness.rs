//! Witnesses over real HTTPS: what they saw once, no ledger takes back.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use portreeve_ledger::{Checkpoint, Hash, Note, SignatureKind, VerifierKey, witness::AddCheckpoint};
use portreeve_tests::{
    Hub,
    hub::{client_config, dial_address, program},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::{copy, ledger, sealed, text, told};

/// A witness as a process; it ends with this.
struct Witness {
    child: Child,
    address: SocketAddr,
    key: VerifierKey,
    folder: PathBuf,
}

impl Witness {
    /// Starts one with its state in this folder, as often as wanted.
    fn start(folder: &Path, logs: &[String]) -> Self {
        if !folder.join("ca.pem").exists() {
            certify(folder);
        }
        let mut command = Command::new(program());
        command.args(["ledger", "witness", "--listen", "127.0.0.1:0", "--name", "witness.example"]);
        for (option, file) in [("--state", "state"), ("--cert", "cert.pem"), ("--key", "key.pem")] {
            command.arg(option).arg(folder.join(file));
        }
        command.args(logs.iter().flat_map(|log| ["--log", log]));
        let log = fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap_or_default());
        let mut word = |before: &str| {
            let line = lines.next().unwrap_or_else(|| panic!("{}", fs::read_to_string(folder.join("log")).unwrap()));
            line.strip_prefix(before).unwrap().split(' ').next().unwrap().to_owned()
        };
        let (key, address) = (word("The witness ").parse().unwrap(), word("listens on ").parse().unwrap());
        Self { child, address, key, folder: folder.to_owned() }
    }

    /// The status and body of a request with this body.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        ask(self.address, &self.folder.join("ca.pem"), method, path, body)
    }

    fn add(&self, body: &str) -> (u16, String) {
        self.ask("POST", "/add-checkpoint", body)
    }

    /// What a hub is configured with.
    fn settings(&self) -> [String; 4] {
        [
            format!("ledger.witnesses={{ \"https://localhost:{}\" = \"{}\" }}", self.address.port(), self.key),
            format!("ledger.witness_ca={}", self.folder.join("ca.pem").display()),
            "ledger.witness_every_s=1".into(),
            "ledger.witness_late_s=10".into(),
        ]
    }
}

/// The status and body of a request, from somebody without a certificate.
fn ask(address: SocketAddr, ca: &Path, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = dial_address(address, client_config(&fs::read(ca).unwrap(), None)).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = Vec::new();
    // A refused body is not read to its end.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0), body.to_owned())
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn certify(folder: &Path) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    fs::write(folder.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &issuer).unwrap();
    fs::write(folder.join("cert.pem"), leaf.pem()).unwrap();
    fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
}

/// A ledger of which a test writes the heads.
struct Log {
    pair: Ed25519KeyPair,
    key: VerifierKey,
}

impl Log {
    fn new(seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public = pair.public_key().as_ref().try_into().unwrap();
        Self { pair, key: VerifierKey::new("log.example", SignatureKind::Ed25519, public).unwrap() }
    }

    /// A request for one entry, or two of which this is the first.
    fn request(&self, old: u64, entries: &[&str], proof: Vec<Hash>) -> String {
        let leaves: Vec<_> = entries.iter().map(|entry| Hash::of_leaf(entry.as_bytes())).collect();
        let root = match leaves[..] {
            [only] => only,
            [left, right] => Hash::of_children(left, right),
            _ => panic!("one or two"),
        };
        let size = leaves.len() as u64;
        let text = Checkpoint { origin: "log.example".into(), size, root, extensions: Vec::new() }.to_string();
        let signature = self.pair.sign(&self.key.message(&text, 0));
        let line = self.key.line(0, signature.as_ref().try_into().unwrap());
        AddCheckpoint { old, proof, checkpoint: &format!("{text}\n{line}") }.to_body()
    }
}

/// The answers are those of C2SP tlog-witness.
#[test]
fn a_witness_answers_as_specified() {
    let (work, log) = (tempfile::tempdir().unwrap(), Log::new(7));
    let logs = [log.key.to_string()];
    let witness = Witness::start(work.path(), &logs);
    let b = || vec![Hash::of_leaf(b"b")];
    let first = log.request(0, &["a"], Vec::new());
    let (status, line) = witness.add(&first);
    assert_eq!(status, 200, "{line}");
    let note = format!("{}{line}", first.split_once("\n\n").unwrap().1);
    let (_, seconds) = Note::parse(note.as_bytes()).unwrap().signed_by(&witness.key).unwrap();
    assert!(seconds > 1_700_000_000);
    assert_eq!(witness.add(&log.request(0, &["a", "b"], b())), (409, "1\n".into()));
    assert_eq!(witness.add(&log.request(1, &["a", "b"], b())).0, 200);
    assert_eq!(witness.add(&log.request(2, &["a", "b"], Vec::new())).0, 200, "the same once more");
    drop(witness);
    // It knows after a restart, and refuses each way back.
    let witness = Witness::start(work.path(), &logs);
    assert_eq!(witness.add(&log.request(0, &["a"], Vec::new())), (409, "2\n".into()), "a roll-back");
    assert_eq!(witness.add(&log.request(2, &["a", "x"], Vec::new())), (409, "2\n".into()), "a fork");
    assert!(fs::read_to_string(work.path().join("log")).unwrap().contains("FORK"));
    assert_eq!(fs::read_dir(work.path().join("state/forks")).unwrap().count(), 1, "kept as evidence");
    assert_eq!(witness.add(&log.request(3, &["a", "b"], Vec::new())).0, 400);
    assert_eq!(witness.add(&log.request(2, &["a", "b"], b())).0, 422);
    assert_eq!(witness.add(&Log::new(8).request(2, &["a", "b"], Vec::new())).0, 403);
    let unknown = log.request(2, &["a", "b"], Vec::new()).replace("log.example\n", "other.example\n");
    assert_eq!(witness.add(&unknown).0, 404);
    assert_eq!(witness.add("nonsense").0, 400);
    assert_eq!(witness.add(&"a".repeat(100_000)).0, 413);
    assert_eq!(witness.ask("GET", "/add-checkpoint", "").0, 405);
    assert_eq!(witness.ask("GET", "/", "").0, 404);
    let flood = (0..40).map(|_| witness.ask("GET", "/", "").0).filter(|status| *status == 429).count();
    assert!(flood > 5, "{flood}");
}

#[test]
fn two_witnesses_do_not_share_a_memory() {
    let (work, log) = (tempfile::tempdir().unwrap(), Log::new(7).key.to_string());
    let _witness = Witness::start(work.path(), std::slice::from_ref(&log));
    let mut second = Command::new(program());
    second.args(["ledger", "witness", "--listen", "127.0.0.1:0", "--name", "w", "--log", &log]);
    for (option, file) in [("--state", "state"), ("--cert", "cert.pem"), ("--key", "key.pem")] {
        second.arg(option).arg(work.path().join(file));
    }
    let mut second = second.spawn().unwrap();
    until("it ends", || second.try_wait().unwrap().is_some());
    assert_eq!(second.wait().unwrap().code(), Some(2));
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The hub's ledger is cosigned; put back to where it was yesterday, it finds nobody who signs it, and everybody hears of it.
#[test]
fn a_ledger_that_is_rolled_back_is_found_out() {
    let (first, work) = (Hub::start(&[]), tempfile::tempdir().unwrap());
    let log = first.succeed(&["ledger", "key"]).trim().to_owned();
    let witness = Witness::start(work.path(), std::slice::from_ref(&log));
    let settings = witness.settings();
    // The hub of this ledger, with this witness.
    let mut hub = first;
    hub.kill();
    let toml: Vec<_> =
        settings.iter().map(|setting| setting.trim_start_matches("ledger.").replacen('=', " = ", 1)).collect();
    let quoted = format!("witness_ca = \"{}\"", witness.folder.join("ca.pem").display());
    hub.configure(&format!("[ledger]\n{}\n{quoted}\n{}\n{}\n", toml[0], toml[2], toml[3]));
    hub.launch();
    let witness_key = witness.key.to_string();
    let verify = |hub: &Hub| hub.run(&["ledger", "verify", "--witness", &witness_key, "--output", "json"]);
    until("it is cosigned", || verify(&hub).status.success());
    let _ = hub.succeed(&["device", "add", "lamp-1"]);
    sealed(&hub);
    let yesterday = work.path().join("yesterday");
    hub.kill();
    copy(&hub.data(), &yesterday);
    hub.launch();
    let _ = hub.succeed(&["device", "add", "lamp-2"]);
    sealed(&hub);
    let size = |hub: &Hub| hub.json(&["ledger", "verify", "--witness", &witness_key])["witnesses"][0]["size"].as_u64();
    let now = hub.status()["ledger"]["sealed"].as_u64();
    until("the newest is cosigned", || size(&hub) >= now);

    hub.kill();
    let rolled_back = hub.data();
    fs::remove_dir_all(&rolled_back).unwrap();
    copy(&yesterday, &rolled_back);
    for folder in [rolled_back.clone(), rolled_back.join("pki"), rolled_back.join("ledger")] {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    }
    hub.launch();
    until("the hub says that it is another history", || hub.log().contains("witness_refused"));
    until("so does the ledger", || {
        hub.json(&["ledger", "show", "--kind", "witness_refused"])[0]["severity"] == "error"
    });
}

/// A signature is only what the witness's own key has made, of this history.
#[test]
fn what_no_witness_signed_is_not_believed() {
    let hub = Hub::start(&[]);
    sealed(&hub);
    let work = tempfile::tempdir().unwrap();
    let witness = Witness::start(work.path(), &[hub.succeed(&["ledger", "key"]).trim().to_owned()]);
    let (status, said) = told(&hub.run(&["ledger", "verify", "--witness", &witness.key.to_string()]));
    assert!(status == 1 && said.contains("has not cosigned"), "{said}");
    let folder = hub.data().join("ledger/witnessed");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{:08x}", u32::from_be_bytes(witness.key.id())));
    fs::copy(hub.data().join("ledger/checkpoint"), &file).unwrap();
    assert_eq!(told(&hub.run(&["ledger", "verify", "--witness", &witness.key.to_string()])).0, 1, "{}", text(&file));
    assert_eq!(told(&hub.run(&["ledger", "verify"])).0, 0);
    fs::write(&file, "nonsense").unwrap();
    assert_eq!(told(&hub.run(&["ledger", "verify"])).0, 1);
}

/// Two hubs: one is a witness of the other, on its ordinary door for devices.
#[test]
fn a_hub_is_a_witness_of_another() {
    let mut hub = Hub::start(&[]);
    let log = hub.succeed(&["ledger", "key"]).trim().to_owned();
    let witness = Hub::start_configured(&format!("[ledger]\nwatches = [\"{log}\"]\n"));
    let key = witness.succeed(&["ledger", "key", "--witness"]).trim().to_owned();
    assert!(key.contains("/witness+"), "{key}");
    let (status, said) = told(&hub.run(&["ledger", "key", "--witness"]));
    assert!(status == 4 && said.contains("ledger.watches"), "{said}");
    let ca = witness.data().join("pki/root.pem");
    let at = format!("https://localhost:{}/witness", witness.address("device_https").port());
    hub.kill();
    let lines = format!("witness_ca = \"{}\"\nwitness_every_s = 1", ca.display());
    hub.configure(&format!("[ledger]\nwitnesses = {{ \"{at}\" = \"{key}\" }}\n{lines}\n"));
    hub.launch();
    until("it is cosigned", || hub.run(&["ledger", "verify", "--witness", &key]).status.success());
    // Offline too, by who has only a copy and the two keys.
    let copied = tempfile::tempdir().unwrap();
    copy(&hub.data().join("ledger"), copied.path());
    let (status, said) = told(&ledger(&["verify", text(copied.path()), "--key", &log, "--witness", &key]));
    assert_eq!(status, 0, "{said}");
}

/// Who has no certificate may post heads, and gets no further with what its ledger did not sign; a fork is told of.
#[test]
fn a_hub_tells_of_a_fork_that_it_witnesses() {
    let log = Log::new(7);
    let hub = Hub::start_configured(&format!("[ledger]\nwatches = [\"{}\"]\n", log.key));
    let ca = hub.data().join("pki/root.pem");
    let post = |path: &str, body: &str| ask(hub.address("device_https"), &ca, "POST", path, body).0;
    const PATH: &str = "/witness/add-checkpoint";
    assert_eq!(post(PATH, &log.request(0, &["a"], Vec::new())), 200);
    assert_eq!(post(PATH, &Log::new(8).request(1, &["x"], Vec::new())), 403, "not signed by the ledger");
    assert_eq!(post("/witness/other", ""), 401, "nothing else is for strangers");
    assert!(hub.json(&["ledger", "show", "--kind", "witnessed_fork"]).as_array().unwrap().is_empty());
    assert_eq!(post(PATH, &log.request(1, &["x"], Vec::new())), 409);
    until("it is an entry", || {
        let shown = hub.json(&["ledger", "show", "--kind", "witnessed_fork"]);
        shown[0]["detail"].as_str().is_some_and(|detail| detail.contains("log.example"))
    });
    let alerts = || hub.json(&["alert", "list"]).to_string();
    until("and an alert", || alerts().contains("witnessed_fork"));
    // A hub that watches nobody has no such door.
    let other = Hub::start(&[]);
    let ca = other.data().join("pki/root.pem");
    assert_eq!(ask(other.address("device_https"), &ca, "POST", PATH, &log.request(0, &["a"], Vec::new())).0, 404);
}

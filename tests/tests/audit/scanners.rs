//! Our own scan beside others' of the same servers: testssl.sh of Debian, sslyze of PyPI.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use portreeve_assurance::evidence::suites::SUITES;
use portreeve_tests::Hub;
use serde_json::Value;

use crate::deployment::{Deployment, free_port};

/// Versions, as testssl.sh calls them in `cipher-tls1_2_xc02b`.
const VERSIONS: [(&str, &str, &str); 6] = [
    ("ssl-2", "sslv2", "ssl_2_0_cipher_suites"),
    ("ssl-3", "sslv3", "ssl_3_0_cipher_suites"),
    ("tls-1.0", "tls1", "tls_1_0_cipher_suites"),
    ("tls-1.1", "tls1_1", "tls_1_1_cipher_suites"),
    ("tls-1.2", "tls1_2", "tls_1_2_cipher_suites"),
    ("tls-1.3", "tls1_3", "tls_1_3_cipher_suites"),
];

/// What sslyze 6.3 does not know, and so does not find: anonymous Diffie-Hellman with Camellia and SHA-256 (RFC 5932).
const UNKNOWN_TO_SSLYZE: [(&str, u16); 2] = [("tls1_2", 0x00bf), ("tls1_2", 0x00c5)];

/// How often testssl.sh is asked at most.
const TESTSSL_RUNS_MAX: usize = 4;

/// The suites of each version that is accepted.
type Found = BTreeMap<&'static str, BTreeSet<u16>>;

/// A scanner that runs, and the file that it writes.
struct Scan(Child, PathBuf);

impl Scan {
    fn start(plant: &Deployment, program: &str, file: &str, arguments: &[&str]) -> Self {
        // testssl.sh would write behind what it said before.
        let _ = fs::remove_file(plant.path(file));
        let mut command = Command::new(program);
        command.args(arguments).current_dir(plant.path(""));
        // What testssl.sh would ask of others is not asked.
        command.env("OPENSSL_TIMEOUT", "10").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; ./test installs it"));
        Self(child, plant.path(file).into())
    }

    fn testssl(plant: &Deployment, port: u16, what: &[&str]) -> Self {
        let (file, target) = (format!("testssl-{port}.json"), format!("localhost:{port}"));
        let fixed = ["--quiet", "--warnings", "off", "--color", "0", "--nodns", "none", "--ip", "127.0.0.1"];
        Self::start(plant, "testssl", &file, &[&fixed[..], &["--jsonfile", &file], what, &[&target]].concat())
    }

    fn sslyze(plant: &Deployment, port: u16) -> Self {
        // Where ./test puts it.
        let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/sslyze");
        let program = if own.exists() { own.display().to_string() } else { "sslyze".to_owned() };
        let (file, target) = (format!("sslyze-{port}.json"), format!("localhost:{port}"));
        let versions = ["--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3"];
        Self::start(plant, &program, &file, &[&["--json_out", &file], &versions[..], &[&target]].concat())
    }

    fn result(mut self) -> Value {
        self.0.wait().unwrap();
        let text = fs::read(&self.1).unwrap_or_else(|error| panic!("{}: {error}", self.1.display()));
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", self.1.display()))
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn code(name: &str) -> u16 {
    SUITES.iter().find(|(_, known)| *known == name).unwrap_or_else(|| panic!("{name} has no number")).0
}

/// What our own report found.
fn ours(plant: &Deployment, port: u16) -> Found {
    let folder = format!("audit-{port}");
    plant.portreeve(&["audit", "endpoint", &format!("tls://localhost:{port}"), "--out", &folder, "--quiet"]);
    let evidence = fs::read_dir(plant.path(&format!("{folder}/evidence"))).unwrap();
    let scan = evidence
        .map(|entry| serde_json::from_slice::<Value>(&fs::read(entry.unwrap().path()).unwrap()).unwrap())
        .find(|envelope| envelope["kind"] == "tls-scan/1")
        .unwrap();
    let mut found = Found::new();
    for version in scan["data"]["versions"].as_array().unwrap() {
        assert!(version["accepted"]["known"].is_boolean() && version["suites"]["gap"].is_null(), "{version}");
        if version["accepted"]["known"] == true {
            let name = VERSIONS.iter().find(|(own, ..)| version["version"] == *own).unwrap().1;
            let suites = version["suites"]["found"].as_array().unwrap();
            found
                .insert(name, suites.iter().map(|suite| suite["code"].as_u64().unwrap().try_into().unwrap()).collect());
        }
    }
    found
}

/// What testssl.sh found; without suites, if it was asked for versions alone.
fn of_testssl(result: &Value) -> Found {
    let mut found = Found::new();
    for finding in result.as_array().unwrap() {
        let (id, said) = (finding["id"].as_str().unwrap(), finding["finding"].as_str().unwrap());
        for (_, name, _) in VERSIONS {
            if id.to_lowercase() == name && said.starts_with("offered") {
                found.entry(name).or_default();
            }
            let suite =
                id.strip_prefix("cipher-").and_then(|id| id.strip_prefix(name)).and_then(|id| id.strip_prefix("_x"));
            if let Some(suite) = suite {
                found.entry(name).or_default().insert(u16::from_str_radix(suite, 16).unwrap());
            }
        }
    }
    found
}

/// What it finds in one run or another. Its own hellos offer no extended master secret (RFC 7627), which a hub demands; those of the system's
/// OpenSSL do, which it asks when it sees a need. What it finds is there.
fn told_by_testssl(plant: &Deployment, port: u16, what: &[&str], sought: &Found) -> Found {
    let mut told = Found::new();
    for _ in 0..TESTSSL_RUNS_MAX {
        for (version, suites) in of_testssl(&Scan::testssl(plant, port, what).result()) {
            told.entry(version).or_default().extend(suites);
        }
        if told == *sought {
            break;
        }
    }
    told
}

fn of_sslyze(result: &Value) -> Found {
    let scan = &result["server_scan_results"][0]["scan_result"];
    let mut found = Found::new();
    for (_, name, key) in VERSIONS {
        assert_eq!(scan[key]["status"], "COMPLETED", "{key}: {}", scan[key]);
        let suites = scan[key]["result"]["accepted_cipher_suites"].as_array().unwrap();
        if !suites.is_empty() {
            found.insert(
                name,
                suites.iter().map(|suite| code(suite["cipher_suite"]["name"].as_str().unwrap())).collect(),
            );
        }
    }
    found
}

/// ISVS-4.1.1, ISVS-4.1.2: versions and suites are those that testssl.sh and sslyze find, on servers of each sort.
#[test]
fn versions_and_suites_are_those_that_others_find() {
    let (plant, hub) = (Deployment::new(), Hub::start(&[]));
    let (ec, rsa) = (plant.server("ec", |_| {}), plant.self_signed("rsa", "-newkey rsa:2048"));
    let mosquitto = free_port();
    let settings = format!("certfile {}\nkeyfile {}\nallow_anonymous true\n", ec.0, ec.1);
    plant.mosquitto(([127, 0, 0, 1], mosquitto).into(), &settings);
    let everything = plant.openssl(&rsa, "-cipher ALL:eNULL:@SECLEVEL=0");
    let (suites, versions) = (&["-p", "-E"][..], &["-p"][..]);
    // testssl.sh takes its time: not all suites of all.
    let servers = [
        (plant.openssl(&ec, "-tls1_2"), versions),
        (plant.openssl(&ec, "-tls1_3"), versions),
        (mosquitto, suites),
        (hub.mqtt().port(), versions),
        (everything, versions),
    ];
    for (port, what) in servers {
        let mut ours = ours(&plant, port);
        assert!(ours.values().all(|suites| !suites.is_empty()), "{ours:?}");
        let sought =
            if what == suites { ours.clone() } else { ours.keys().map(|name| (*name, BTreeSet::new())).collect() };
        assert_eq!(told_by_testssl(&plant, port, what, &sought), sought, "testssl.sh at {port}");
        if port == hub.mqtt().port() {
            // The OpenSSL inside sslyze offers no extended master secret.
            assert!(ours.remove("tls1_2").is_some_and(|suites| suites.len() == 2), "{ours:?}");
        }
        if port == everything {
            assert!(ours.values().map(BTreeSet::len).sum::<usize>() > 90, "{ours:?}");
            for (version, suite) in UNKNOWN_TO_SSLYZE {
                assert!(ours.get_mut(version).unwrap().remove(&suite), "{version} {suite:04x}");
            }
        }
        assert_eq!(of_sslyze(&Scan::sslyze(&plant, port).result()), ours, "sslyze at {port}");
    }
}

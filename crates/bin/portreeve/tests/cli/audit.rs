use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use portreeve_assurance::{Catalogue, CheckResult, Envelope, Report, Store, bundle, conclude};
use serde_json::Value;

use crate::support::{Done, Place};

/// `openssl s_server` on a port of loopback; it ends with this value.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// With a self-signed RSA certificate, and these options.
    fn start(place: &Place, options: &str) -> Self {
        if !place.path("cert.pem").exists() {
            place.openssl(
                "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 3650 -subj /CN=old.example",
            );
        }
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-key", "key.pem", "-cert", "cert.pem"])
            .args(options.split_whitespace())
            .current_dir(place.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It says where it listens: "ACCEPT 127.0.0.1:40001".
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = lines.find_map(|line| line.unwrap().strip_prefix("ACCEPT ").map(str::to_owned)).unwrap();
        // Nobody else reads what it says of its connections.
        thread::spawn(move || lines.for_each(drop));
        let port = said.rsplit(':').next().unwrap().parse().unwrap();
        Self { child, port }
    }

    fn url(&self) -> String {
        format!("tls://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn report(place: &Place, folder: &str) -> Value {
    serde_json::from_slice(&fs::read(place.path(folder).join("report.json")).unwrap()).unwrap()
}

fn verdict<'a>(report: &'a Value, check: &str) -> &'a str {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|found| found["id"] == check).unwrap()["verdict"].as_str().unwrap()
}

/// A server that is weak in one thing fails there, and not elsewhere. (ISVS-4.1.1, ISVS-4.1.2)
#[test]
fn a_weak_endpoint_fails_where_it_is_weak_and_the_report_verifies() {
    let place = Place::new();
    let server = Server::start(&place, "-tls1_2 -cipher AES128-SHA:@SECLEVEL=0");
    let done = place.run(&["audit", "endpoint", &server.url(), "--out", "audit", "--level", "1"]);
    assert_eq!(done.status, 1, "{done:?}");
    assert!(done.err.contains("what TLS accepts") && done.err.contains("2 checks failed"), "{done:?}");
    let report = report(&place, "audit");
    assert_eq!(
        ["tls.versions", "tls.suites", "tls.cert"].map(|check| verdict(&report, check)),
        ["pass", "fail", "fail"]
    );
    let key = place.path("config/portreeve/auditor.pub.pem");
    let told = place.ok(&["report", "verify", "audit", "--key", key.to_str().unwrap()]);
    assert!(told.contains("verified") && !told.contains("no scope"), "{told}");
    // Nobody reports twice to one folder.
    let done = place.run(&["audit", "endpoint", &server.url(), "--out", "audit"]);
    assert!(done.status == 2 && done.err.contains("holds a report already"), "{done:?}");
}

#[test]
fn a_run_without_a_folder_says_everything_and_writes_nothing() {
    let place = Place::new();
    let server = Server::start(&place, "-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384 -groups P-256");
    let done = place.run(&["audit", "endpoint", &server.url(), "--quiet", "--output", "json"]);
    assert_eq!(done.status, 1, "{done:?}");
    let report: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(
        ["tls.versions", "tls.suites", "tls.cert"].map(|check| verdict(&report, check)),
        ["pass", "pass", "fail"]
    );
    assert!(!done.err.contains("what TLS accepts") && !place.path("config").exists());
}

/// Several audits that are the first of their user make one key, and no folder holds half of one.
#[test]
fn audits_that_begin_together_sign_with_one_key() {
    let place = Place::new();
    let folders = ["audit-1", "audit-2", "audit-3", "audit-4"];
    let audits = folders.map(|folder| {
        let mut audit = place.command(&["audit", "endpoint", "tls://127.0.0.1:1", "--out", folder, "--quiet"]);
        audit.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    });
    for mut audit in audits {
        assert!(audit.wait().unwrap().success());
    }
    for folder in folders {
        place.ok(&["report", "verify", folder, "--key", "config/portreeve/auditor.pub.pem"]);
    }
    assert_eq!(fs::read_dir(place.path("config/portreeve")).unwrap().count(), 2);
}

/// Whatever is not there, hangs, or speaks something else, decides nothing.
#[test]
fn what_does_not_answer_is_inconclusive() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|mut stream| stream.write_all(b"220 smtp.example ESMTP\r\n"));
        }
    });
    let url = format!("tls://127.0.0.1:{port}");
    let done = place.run(&["audit", "endpoint", &url, "--output", "json", "--framework", "isvs"]);
    assert_eq!(done.status, 0, "{done:?}");
    let report: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(["tls.versions", "tls.suites"].map(|check| verdict(&report, check)), ["inconclusive"; 2]);
    let done = place.run(&["audit", "endpoint", "tls://nowhere.invalid:443", "--output", "json"]);
    let report: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((done.status, verdict(&report, "tls.versions")), (0, "inconclusive"));
}

#[test]
fn what_makes_no_sense_is_told_with_its_place() {
    let place = Place::new();
    for (args, says) in [
        (&["audit", "endpoint", "ftp://a"][..], "an endpoint begins with mqtt://"),
        (&["audit", "endpoint", "tls://a"], "has to be given"),
        (&["audit", "endpoint", "mqtts://a", "--identity", "none"], "cannot read none/cert.pem"),
        (&["audit", "endpoint", "mqtts://a", "--allow", "intrusive"], "[authorisation]"),
        (&["audit", "endpoint", "mqtts://a", "--level", "7"], "levels are 1 to 3"),
        (&["audit", "endpoint", "tls://127.0.0.1:1", "--out", "a", "--key", "none"], "openssl genpkey"),
    ] {
        let done = place.run(args);
        assert!(done.status == 2 && done.err.contains(says), "{args:?}: {done:?}");
    }
    place.write("bad.toml", "[deployment]\nname = \"a\"\nowner = \"b\"\n[[endpoint]]\nurl = \"mqtts://\"\n");
    let done = place.run(&["audit", "run", "bad.toml"]);
    assert!(done.status == 2 && done.err.contains("bad.toml, line 5, column 7: a host is a name"), "{done:?}");
}

#[test]
fn the_example_scope_is_planned_without_being_looked_at() {
    let place = Place::new();
    place.write("scope.toml", &place.ok(&["audit", "scope"]));
    let told = place.ok(&["audit", "run", "scope.toml", "--plan"]);
    assert!(told.contains("mqtts://hub.example.org:8883") && told.contains("mqtt.acl.matrix"), "{told}");
    let planned = place.json(&["audit", "run", "scope.toml", "--plan"]);
    assert!(
        planned
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["check"] == "tls.versions" && row["not_made_because"].is_null())
    );
}

/// An interrupted run goes on: what was seen is not looked at again, and the report is the same.
#[test]
fn an_interrupted_run_goes_on_where_it_was() {
    static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);
    let place = Place::new();
    let server = Server::start(&place, "-tls1_2");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap().port();
    let scope = |other: u16| {
        format!(
            "[deployment]\nname = \"two\"\nowner = \"Ada\"\n[checks]\nonly = [\"tls.*\"]\n[bounds]\ntargets_at_once = 1\n\
             connection_ms = 60000\n[[endpoint]]\nurl = \"{}\"\n[[endpoint]]\nurl = \"tls://localhost:{other}\"\n",
            server.url()
        )
    };
    place.write("scope.toml", &scope(silent));
    // The first target is done, the second takes connections and says nothing: then the run is killed.
    let accepted = thread::spawn(move || {
        let taken = listener.accept();
        CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        (listener, taken)
    });
    let mut run =
        place.command(&["audit", "run", "scope.toml", "--out", "audit"]).stderr(Stdio::null()).spawn().unwrap();
    let (listener, taken) = accepted.join().unwrap();
    run.kill().unwrap();
    run.wait().unwrap();
    drop((taken, listener));
    assert_eq!(CONNECTIONS.load(Ordering::Relaxed), 1);
    assert!(place.path("audit/.run").exists() && !place.path("audit/report.json").exists());
    let evidence = || fs::read_dir(place.path("audit/evidence")).unwrap().count();
    let before = evidence();
    assert!(before > 0);

    // Another scope does not go on here.
    place.write("other.toml", &scope(1));
    let done = place.run(&["audit", "run", "other.toml", "--out", "audit"]);
    assert!(done.status == 2 && done.err.contains("another scope"), "{done:?}");

    // Nobody listens there any more: the second target ends at once, the first is remembered though its server is gone.
    let url = server.url();
    drop(server);
    let done = place.run(&["audit", "run", "scope.toml", "--out", "audit"]);
    assert_eq!(done.status, 1, "{done:?}");
    assert!(done.err.contains(&format!("{url}: what TLS accepts (done before)")), "{done:?}");
    let report = report(&place, "audit");
    let of = |target: &str| {
        let checks = report["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["id"] == "tls.versions" && check["target"] == target);
        found.unwrap()["verdict"].clone()
    };
    assert_eq!((of(&url), of(&format!("tls://localhost:{silent}"))), ("pass".into(), "inconclusive".into()));
    place.ok(&["report", "verify", "audit"]);
    assert!(!place.path("audit/.run").exists());
}

/// The report in `audit` without some evidence and results, concluded and signed anew, as its auditor could: what `verify` says of it.
fn forged(place: &Place, keeps: impl Fn(&Envelope) -> bool, keeps_check: impl Fn(&CheckResult) -> bool) -> Done {
    let evidence =
        fs::read_dir(place.path("audit/evidence")).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    let mut store = Store::default();
    for bytes in evidence.filter(|bytes| keeps(&Envelope::from_bytes(bytes).unwrap())) {
        store.add_bytes(bytes).unwrap();
    }
    let bytes = fs::read(place.path("audit/report.json")).unwrap();
    let mut report = Report::from_json(&bytes).unwrap();
    let catalogue = Catalogue::embedded();
    report.checks.retain(keeps_check);
    let rows = catalogue.select(&report.selection);
    report.requirements = conclude(catalogue, &rows, &report.checks, &store, report.started);
    let pair = aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let key: [u8; 32] = aws_lc_rs::signature::KeyPair::public_key(&pair).as_ref().try_into().unwrap();
    let sign = |bytes: &[u8]| <[u8; 64]>::try_from(pair.sign(bytes).as_ref());
    let files = bundle(&report, catalogue, &store, key, sign).unwrap();
    let _ = fs::remove_dir_all(place.path("forged"));
    fs::create_dir_all(place.path("forged/evidence")).unwrap();
    files.iter().for_each(|(name, bytes)| fs::write(place.path("forged").join(name), bytes).unwrap());
    place.run(&["report", "verify", "forged"])
}

/// What the scope asks for cannot be left out of a report, even by whoever signs it.
#[test]
fn a_report_that_leaves_something_out_does_not_verify() {
    let place = Place::new();
    let server = Server::start(&place, "-tls1_2");
    place.run(&["audit", "endpoint", &server.url(), "--out", "audit"]);
    let done = forged(&place, |_| true, |check| check.id.as_str() != "tls.cert");
    assert!(done.status == 1 && done.err.contains("tls.cert") && done.err.contains("does not have it"), "{done:?}");
}

/// Nor can what a declared file says: not all of it, and not a part.
#[test]
fn a_report_that_leaves_a_file_out_does_not_verify() {
    let place = Place::new();
    place.write("mosquitto.conf", "listener 1883\nallow_anonymous false\nacl_file acl\n");
    place.write("acl", "topic readwrite #\n");
    place.write("sshd_config", "PasswordAuthentication yes\n");
    fs::create_dir(place.path("firmware")).unwrap();
    fs::write(place.path("firmware/app.conf"), "colour = blue\n").unwrap();
    place.run(&["audit", "config", "mosquitto.conf", "acl", "sshd_config", "firmware", "--out", "audit"]);
    let honest = forged(&place, |_| true, |_| true);
    assert_eq!(honest.status, 0, "{honest:?}");

    let of_ssh = |envelope: &Envelope| {
        envelope.target.as_deref() == Some("sshd_config") || envelope.data["path"] == "sshd_config"
    };
    let done = forged(&place, |envelope| !of_ssh(envelope), |check| check.target != "sshd_config");
    assert_eq!(done.status, 1, "{done:?}");
    assert!(done.err.contains("the scope declares the file sshd_config, and the evidence does not say"), "{done:?}");
    // Its evidence alone, and with the folder its verdict alone.
    let done = forged(
        &place,
        |envelope| envelope.target.as_deref() != Some("sshd_config"),
        |check| !["sshd_config", "firmware"].contains(&check.target.as_str()),
    );
    assert_eq!(done.status, 1, "{done:?}");
    assert!(done.err.contains("read from sshd_config, is not among what cfg.ssh judged at sshd_config"), "{done:?}");
    assert!(done.err.contains("read from firmware, is not among what cfg.secrets judged at firmware"), "{done:?}");
    assert!(!done.err.contains("acl"), "{done:?}");
    // A file that cannot be read has nothing to say: there is no report.
    fs::remove_file(place.path("acl")).unwrap();
    let done = place.run(&["audit", "config", "mosquitto.conf", "acl", "--out", "other"]);
    assert!(done.status == 2 && done.err.contains("cannot read acl") && !place.path("other").exists(), "{done:?}");
}

/// `python3` with the logins of the prober's own tests; it ends with this value.
fn logins(mode: &[&str]) -> (Child, u16) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../edge/probe/tests/data/logins.py");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new("python3").args([script, &port.to_string()]).args(mode).spawn().unwrap();
    let patience = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < patience, "nobody listens");
        thread::sleep(Duration::from_millis(20));
    }
    (child, port)
}

/// Logins that take their time are tried to the end of the list, though that takes longer than another look may; their own bound holds.
#[test]
fn slow_logins_have_time_of_their_own() {
    let place = Place::new();
    let (mut child, port) = logins(&["locking", "0.06"]);
    let done = [60, 1].map(|seconds| {
        place.write(
            "scope.toml",
            &format!(
                "[deployment]\nname = \"a\"\nowner = \"b\"\n[checks]\nclass = \"intrusive\"\nonly = [\"auth.defaults\"]\n\
                 [authorisation]\nby = \"c\"\nreference = \"d\"\nuntil = 2100-01-01\n[bounds]\nvisit_s = 1\nlogin_visit_s = {seconds}\n\
                 [[endpoint]]\nurl = \"http://127.0.0.1:{port}\"\n[[endpoint.account]]\nlogin = \"http-json\"\nuser = \"operator\"\n\
                 path = \"/login\"\nform = {{ user = \"user\", secret = \"secret\" }}\n"
            ),
        );
        let folder = format!("audit-{seconds}");
        place.run(&["audit", "run", "scope.toml", "--out", &folder]);
        report(&place, &folder)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(done.each_ref().map(|report| verdict(report, "auth.defaults")), ["pass", "inconclusive"], "{done:#?}");
    let cut = done[1]["checks"].as_array().unwrap().iter().find(|check| check["id"] == "auth.defaults").unwrap();
    assert!(cut["observed"].as_str().unwrap().contains("the 1 s that one target gets are over"), "{cut}");
}

/// By default nothing but the connections' own bound cuts off attempts at one login, however slow it is, with a page before each.
#[test]
fn the_default_bounds_hold_every_attempt_at_a_login() {
    let bounds = portreeve_assurance::Bounds::default();
    let guesses = portreeve_probe::login::GUESSES + 3;
    let list = u32::try_from(portreeve_probe::login::FACTORY.len()).unwrap() + 2;
    let connections = 2 * guesses.max(list);
    assert!(connections * bounds.connection_ms <= bounds.login_visit_s * 1000, "{bounds:?}");
    assert!(connections <= bounds.connections_max && bounds.login_visit_s < bounds.run_s, "{bounds:?}");
}

/// A scope declares a login with a token against forgery, and sessions of a console: no secret of them is in the report. (IIITA-DI7)
#[test]
fn logins_and_sessions_are_declared_with_their_secrets_in_files() {
    let place = Place::new();
    let (mut child, port) = logins(&["guarded"]);
    place.write("secret", "the-right-secret\n");
    place.write("session", "session=of-the-operator\n");
    let scope = format!(
        "[deployment]\nname = \"a\"\nowner = \"b\"\n[checks]\nclass = \"intrusive\"\nonly = [\"auth.*\", \"console.auth\"]\n\
         [authorisation]\nby = \"c\"\nreference = \"d\"\nuntil = 2100-01-01\n[[endpoint]]\nurl = \"http://127.0.0.1:{port}\"\n\
         [[endpoint.console.session]]\nrole = \"operator\"\nvalue_file = \"session\"\nown = [\"/home\"]\nforeign = [\"/admin\"]\n\
         [[endpoint.account]]\nlogin = \"http-form\"\nuser = \"operator\"\nsecret_file = \"secret\"\npath = \"/login\"\n\
         form = {{ user = \"user\", secret = \"secret\", page = \"/login\" }}\n"
    );
    place.write("scope.toml", &scope.replace("console.session", "console"));
    let done = place.run(&["audit", "run", "scope.toml"]);
    assert!(done.status == 2 && done.err.contains("line 13, column 1"), "{done:?}");
    place.write("scope.toml", &scope);
    let done = place.run(&["audit", "run", "scope.toml", "--out", "audit"]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(done.status, 1, "{done:?}");
    let report = report(&place, "audit");
    let verdicts = ["auth.bruteforce", "auth.defaults"].map(|check| verdict(&report, check).to_owned());
    assert_eq!(verdicts, ["fail", "pass"], "{report:#}");
    place.ok(&["report", "verify", "audit"]);
    let mut has_session = false;
    for entry in fs::read_dir(place.path("audit/evidence")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("the-right-secret") && !text.contains("of-the-operator"), "{text}");
        has_session |= text.contains("console-scan/1") && text.contains("\"role\": \"operator\"");
    }
    assert!(has_session);
    // Two lines are no header.
    place.write("session", "session=a\nSet-Cookie: b\n");
    let done = place.run(&["audit", "run", "scope.toml"]);
    assert!(done.status == 2 && done.err.contains("not one line for a header"), "{done:?}");
}

/// What stands in files is judged where it stands, and a file that is no file of its kind is told with its place.
#[test]
fn configurations_fail_where_they_are_weak() {
    let place = Place::new();
    place.write("mosquitto.conf", "listener 1883\nallow_anonymous true\n");
    fs::create_dir(place.path("firmware")).unwrap();
    fs::write(place.path("firmware/app.conf"), "api_password = \"correct-horse-battery\"\n").unwrap();
    let done = place.run(&["audit", "config", "mosquitto.conf", "firmware", "--out", "audit"]);
    assert_eq!(done.status, 1, "{done:?}");
    let report = report(&place, "audit");
    assert_eq!(["cfg.broker", "cfg.secrets"].map(|check| verdict(&report, check)), ["fail", "fail"]);
    place.ok(&["report", "verify", "audit"]);
    // No evidence holds the secret itself.
    for entry in fs::read_dir(place.path("audit/evidence")).unwrap() {
        assert!(!fs::read_to_string(entry.unwrap().path()).unwrap().contains("correct-horse"));
    }
    place.write("rules.json", "{\"nftables\": [\n  {\"table\": 7]}");
    let done = place.run(&["audit", "config", "rules.json", "--as", "nftables"]);
    assert!(done.status == 2 && done.err.contains("rules.json:2:"), "{done:?}");
    let done = place.run(&["audit", "config", "cert.unknown"]);
    assert!(done.status == 2 && done.err.contains("cannot read cert.unknown"), "{done:?}");
}

/// Another scanner's word of a place stands beside ours: where both differ, the worse counts, and both are told. (ISVS-4.1.1)
#[test]
fn another_scanner_is_heard_beside_our_own() {
    let place = Place::new();
    let server = Server::start(&place, "-tls1_2");
    let finding = |id: &str, finding: &str| {
        format!(
            "{{\"id\": \"{id}\", \"ip\": \"localhost/127.0.0.1\", \"port\": \"{}\", \"severity\": \"OK\", \"finding\": \"{finding}\"}}",
            server.port
        )
    };
    let said = ["SSLv2", "SSLv3", "TLS1", "TLS1_1"]
        .map(|id| finding(id, if id == "TLS1" { "offered (deprecated)" } else { "not offered" }));
    let said = [&said[..], &[finding("TLS1_2", "offered"), finding("TLS1_3", "not offered")]].concat();
    place.write("testssl.json", &format!("[{}]", said.join(",")));
    place.write(
        "scope.toml",
        &format!(
            "[deployment]\nname = \"a\"\nowner = \"b\"\n[[endpoint]]\nurl = \"{url}\"\n[[file]]\npath = \"testssl.json\"\nformat = \"testssl\"\nof = \"{url}\"\n",
            url = server.url()
        ),
    );
    let done = place.run(&["audit", "run", "scope.toml", "--out", "audit"]);
    assert_eq!(done.status, 1, "{done:?}");
    let report = report(&place, "audit");
    let checks = report["checks"].as_array().unwrap();
    let versions = checks.iter().find(|check| check["id"] == "tls.versions").unwrap();
    assert_eq!(versions["verdict"], "fail", "{versions}");
    assert!(versions["observed"].as_str().unwrap().contains("testssl"), "{versions}");
    place.ok(&["report", "verify", "audit"]);
}

/// A client that looks at nothing fails, one that looks at its server's certificate does not. (ISVS-4.1.3, ISVS-4.1.6, IIITA-DI3)
#[test]
fn a_device_shows_which_bad_servers_it_accepts() {
    for (options, verdicts) in [("-k", ["fail", "fail"]), ("--cacert ca/cert.pem --tlsv1.2", ["partial", "fail"])] {
        let place = Place::new();
        fs::create_dir(place.path("ca")).unwrap();
        place.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca/key.pem -out ca/cert.pem -days 30 -subj /CN=ca",
        );
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("https://localhost:{port}");
        let args = [
            "audit",
            "device",
            "127.0.0.1",
            "--listen",
            &url,
            "--trusted-ca",
            "ca",
            "--face-time",
            "5s",
            "--out",
            "audit",
        ];
        let mut audit = place.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(120);
        while audit.try_wait().unwrap().is_none() {
            assert!(std::time::Instant::now() < until, "it goes on");
            let mut curl = Command::new("curl");
            curl.current_dir(place.path("")).args(["-4", "-s", "-m", "5", "--noproxy", "*"]).args(options.split(' '));
            curl.arg(&url).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        }
        let report = report(&place, "audit");
        let found = ["tls.client.validate", "tls.client.pin"].map(|check| verdict(&report, check));
        assert_eq!(found, verdicts, "{options}: {report:#}");
    }
}

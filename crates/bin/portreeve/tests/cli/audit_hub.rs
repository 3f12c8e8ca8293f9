use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::support::{Place, Running, eventually};

/// Ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A device of which everything is known.
fn add(place: &Place, name: &str) {
    place.ok(&[
        "device",
        "add",
        name,
        "--owner",
        "Ada",
        "--location",
        "hall 4",
        "--model",
        "L1",
        "--firmware",
        "1.2",
        "--out",
        name,
    ]);
}

/// A client that stays connected.
fn connected(place: &Place, hub: &Running<'_>, name: &str) -> Ended {
    let port = hub.port();
    let topic = format!("devices/{name}/#");
    let mut command = place.command(&["client", "sub", "--bundle", name, "--port", &port, "-t", &topic]);
    let client = Ended(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    eventually("a connection", || place.json(&["status"])["clients_connected"].as_u64().is_some_and(|count| count > 0));
    client
}

/// What was found of each check, by target.
fn verdicts(place: &Place, folder: &str) -> BTreeMap<(String, String), (String, String)> {
    let report: Value = serde_json::from_slice(&fs::read(place.path(folder).join("report.json")).unwrap()).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |check: &Value| {
        ((text(&check["id"]), text(&check["target"])), (text(&check["verdict"]), text(&check["observed"])))
    };
    report["checks"].as_array().unwrap().iter().map(of).collect()
}

fn verdict(place: &Place, folder: &str, check: &str) -> (String, String) {
    let all = verdicts(place, folder);
    all.into_iter().find(|((id, _), _)| id == check).unwrap_or_else(|| panic!("no {check}")).1
}

/// ISVS-4.2.3, IIITA-N8, CSA-SCN-09, CSA-TSP-03: a hub with one well-known device passes where it claims to, its doors are as it says, and
/// it fails exactly where its defaults are convenient instead of strict.
#[test]
fn a_hub_passes_where_it_claims_to() {
    let place = Place::new();
    let hub = place.serve(&["--set", "inventory.name_pattern=[a-z]+-[0-9]+"]);
    add(&place, "lamp-1");
    let _client = connected(&place, &hub, "lamp-1");
    place.write(
        "demands.toml",
        "load = { messages_per_hour = 60, message_bytes = 300, sessions_away = 100 }\n\
         [objectives]\navailability_ppht_min = 99900\ndropped_ppm_max = 10\ndelivery_us_max = 100000\nused_percent_max = 80\n",
    );
    let done = place.run(&["audit", "hub", "--identity", "lamp-1", "--expect", "demands.toml", "--out", "audit"]);
    assert_eq!(done.status, 1, "{done:?}");
    let found = verdicts(&place, "audit");
    let with = |verdict: &str| -> Vec<&str> {
        found.iter().filter(|(_, (found, _))| found == verdict).map(|((id, _), _)| id.as_str()).collect()
    };
    assert_eq!(with("fail"), ["hub.canary", "hub.pki", "hub.rbac"], "{found:#?}");
    let mqtt = format!("mqtts://localhost:{}", hub.port());
    for check in [
        "tls.versions",
        "tls.suites",
        "tls.cert",
        "tls.pqc",
        "tls.vulns",
        "mqtt.anon",
        "mqtt.password",
        "mqtt.identity",
    ] {
        assert_eq!(found[&(check.to_owned(), mqtt.clone())].0, "pass", "{check}: {found:#?}");
    }
    let https = format!("https://localhost:{}", hub.address("device_https").port());
    for check in ["tls.versions", "tls.suites", "tls.cert"] {
        assert_eq!(found[&(check.to_owned(), https.clone())].0, "pass", "{check}: {found:#?}");
    }
    // What nobody was given to try is missing, and nothing else.
    for target in [mqtt, https] {
        let (verdict, observed) = &found[&("tls.mutual".to_owned(), target)];
        assert!(
            verdict == "partial"
                && observed.contains("another CA")
                && !observed.contains("not tried: a certificate of another CA"),
            "{observed}"
        );
    }
    for check in ["hub.registry", "hub.sessions", "hub.ledger", "hub.queue", "cfg.exception"] {
        assert_eq!(verdict(&place, "audit", check).0, "pass", "{check}: {found:#?}");
    }
    assert_eq!(["hub.policy", "hub.metrics"].map(|check| verdict(&place, "audit", check).0), ["partial", "partial"]);
    let told = place.ok(&["report", "verify", "audit", "--key", "config/portreeve/auditor.pub.pem"]);
    assert!(told.contains("verified"), "{told}");
    // Evidence of a hub holds no key.
    for entry in fs::read_dir(place.path("audit/evidence")).unwrap() {
        assert!(!fs::read_to_string(entry.unwrap().path()).unwrap().contains("PRIVATE KEY"));
    }
}

/// What a hub says of its listeners is compared with what answers there: here somebody else does.
#[test]
fn a_door_that_is_not_as_the_hub_says_fails() {
    let place = Place::new();
    let hub = place.serve(&[]);
    place.openssl("req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 30 -subj /CN=other");
    let (port, at) = (hub.port(), format!("127.0.0.2:{}", hub.port()));
    let mut other = Command::new("openssl");
    other
        .current_dir(place.path(""))
        .args(["s_server", "-accept", &at, "-key", "key.pem", "-cert", "cert.pem", "-tls1_3"]);
    let _other = Ended(other.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    eventually("a server", || std::net::TcpStream::connect(&at).is_ok());
    let scope = |of_hub: bool| {
        format!(
            "[deployment]\nname = \"a\"\nowner = \"b\"\n[checks]\nonly = [\"tls.versions\"]\n[hub]\n\
             [[endpoint]]\nurl = \"mqtts://127.0.0.2:{port}\"\nof_hub = {of_hub}\n"
        )
    };
    place.write("scope.toml", &scope(true));
    place.run(&["audit", "run", "scope.toml", "--out", "audit"]);
    let (found, observed) = verdict(&place, "audit", "tls.versions");
    assert_eq!(found, "fail");
    assert!(observed.contains("the hub says TLS 1.2 accepted, seen: refused"), "{observed}");
    place.ok(&["report", "verify", "audit"]);
    // By itself it is as good as the policy demands.
    place.write("scope.toml", &scope(false));
    place.run(&["audit", "run", "scope.toml", "--out", "audit-2"]);
    assert_eq!(verdict(&place, "audit-2", "tls.versions").0, "pass");

    drop(hub);
    place.write("scope.toml", &scope(true));
    let done = place.run(&["audit", "run", "scope.toml"]);
    assert!(done.status == 3 && done.err.contains("no hub is running"), "{done:?}");
}

/// ISVS-4.2.2: what a solver has shown to be beyond the ceiling fails, and what it has shown to be within does not.
#[test]
fn a_policy_is_proven_to_stay_within_its_ceiling() {
    let place = Place::new();
    let _hub = place.serve(&[]);
    add(&place, "lamp-1");
    place.write("all.cedar", "@id(\"all\") permit (principal, action, resource);\n");
    place.write("none.cedar", "@id(\"never\") forbid (principal, action, resource);\n");
    let audit = |ceiling: &str, folder: &str| {
        place.run(&["audit", "hub", "--framework", "isvs", "--ceiling", ceiling, "--out", folder, "--quiet"]);
        verdict(&place, folder, "hub.policy")
    };
    let (found, observed) = audit("all.cedar", "within");
    assert!(found == "partial" && observed.contains("publish: within the ceiling, proven by cvc5"), "{observed}");
    let (found, observed) = audit("none.cedar", "beyond");
    assert!(found == "fail" && observed.contains("beyond the ceiling, such as"), "{observed}");
    place.ok(&["report", "verify", "beyond"]);
}

/// IIITA-N4, CSA-MSU-01, CSA-SNT-06: a quarantine is measured by the hub, and seen by the device's own client.
#[test]
fn a_quarantine_is_rehearsed_with_leave() {
    let place = Place::new();
    let _hub = place.serve(&[]);
    add(&place, "lamp-9");
    let args = ["audit", "hub", "--framework", "iiita", "--identity", "lamp-9", "--test-device", "lamp-9", "--quiet"];
    place.run(&[&args[..], &["--out", "safe"]].concat());
    assert_eq!(verdict(&place, "safe", "hub.quarantine").0, "not-tested");
    let intrusive = ["--allow", "intrusive", "--authorised-by", "Ada", "--reference", "Change 1", "--out", "audit"];
    place.run(&[&args[..], &intrusive].concat());
    let (found, observed) = verdict(&place, "audit", "hub.quarantine");
    assert_eq!(found, "partial", "{observed}");
    assert!(observed.contains("session:") && observed.contains("its client: DISCONNECT"), "{observed}");
    assert_eq!(place.json(&["device", "show", "lamp-9"])["state"], "active");
}

/// CSA-SCN-09, CSA-CLS-13: the auditor reads the ledger himself. A changed entry, or another's key, and it fails.
#[test]
fn a_hub_that_does_not_run_is_judged_by_its_data() {
    let place = Place::new();
    let hub = place.serve(&[]);
    add(&place, "lamp-1");
    hub.stop();
    let audit = |folder: &str, more: &[&str]| {
        let done = place.run(&[&["audit", "hub", "--out", folder], more].concat());
        assert!(done.status == 1 && done.err.contains("No hub is running"), "{done:?}");
        verdict(&place, folder, "hub.ledger")
    };
    let (found, observed) = audit("good", &[]);
    assert_eq!(found, "pass", "{observed}");
    assert!(verdicts(&place, "good").keys().all(|(_, target)| target == "hub" || target == "scope"));
    assert_eq!(verdict(&place, "good", "hub.sessions"), ("inconclusive".into(), "the hub does not run".into()));
    let key = place.ok(&["ledger", "key"]);
    assert_eq!(audit("keyed", &["--ledger-key", key.trim()]).0, "pass");

    let other = Place::new();
    other.serve(&[]).stop();
    let (found, observed) = audit("other", &["--ledger-key", other.ok(&["ledger", "key"]).trim()]);
    assert!(found == "fail" && observed.contains("the auditor finds it damaged"), "{observed}");
}

#[test]
fn what_makes_no_sense_of_a_hub_is_told() {
    let place = Place::new();
    let done = place.run(&["audit", "hub"]);
    assert!(done.status == 3 && done.err.contains("no hub is running"), "{done:?}");
    place.serve(&[]).stop();
    place.write("demands.toml", "queue_hours_min = 24\ncolour = \"red\"\n");
    for (args, says) in [
        (&["audit", "hub", "--expect", "demands.toml"][..], "line 2, column 1"),
        (&["audit", "hub", "--expect", "none.toml"], "cannot read none.toml"),
        (&["audit", "hub", "--ceiling", "none.cedar"], "cannot read none.cedar"),
        (&["audit", "hub", "--ledger-key", "none"], "hub.ledger_key"),
        (&["audit", "hub", "--test-device", "a", "--allow", "intrusive"], "[authorisation]"),
    ] {
        let done = place.run(args);
        assert!(done.status == 2 && done.err.contains(says), "{args:?}: {done:?}");
    }
    place.write(
        "scope.toml",
        "[deployment]\nname = \"a\"\nowner = \"b\"\n[[endpoint]]\nurl = \"mqtts://a\"\nof_hub = true\n",
    );
    let done = place.run(&["audit", "run", "scope.toml"]);
    assert!(
        done.status == 2 && done.err.contains("line 6, column") && done.err.contains("there is no [hub]"),
        "{done:?}"
    );
}

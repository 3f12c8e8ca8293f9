//! From a rule to an export that shows what was changed, with the commands that an operator types.
//! (IIITA-N6, CSA-SNT-03, CSA-IMT-02, CSA-MSU-03)

// What goes wrong in a helper is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    time::{Duration, Instant},
};

use portreeve_tests::{Hub, Login, V5, hub::PATIENCE};
use serde_json::Value;

const RULES: &str = r#"
[[rule]]
findings = ["policy_denials"]
action = "quarantine"
mode = "act"

[[rule]]
severity = "high"
action = "disconnect"
"#;

/// What a command says, once it says something.
fn wait_for(mut look: impl FnMut() -> Option<Value>) -> Value {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "nothing comes");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The exit status and what was said of a command that fails.
fn fail(hub: &Hub, arguments: &[&str]) -> (Option<i32>, String) {
    let output = hub.run(arguments);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn from_a_rule_to_an_export() {
    let hub = Hub::start(&[]);
    let lamp = hub.add("lamp-1", "device");
    let file = |name: &str, text: &str| {
        let path = hub.directory().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (status, told) = fail(
        &hub,
        &["response", "apply", &file("wrong.toml", "\n[[rule]]\nfindings = [\"flod\"]\naction = \"alert\"\n")],
    );
    assert!(status == Some(2) && told.contains("wrong.toml:3:13: `flod`"), "{told}");
    let rules = file("rules.toml", RULES);
    assert!(hub.succeed(&["response", "apply", &rules, "--dry-run"]).contains("2 rules would be in force"));
    assert_eq!(hub.status()["responses"]["rules"], 0);
    assert!(hub.succeed(&["response", "apply", &rules]).contains("2 rules are in force, 1 of them only say"));
    assert!(hub.succeed(&["status"]).contains("2 rules, 1 of them in dry run"));

    let mut client = Login::new(V5, "lamp-1").open_as(&hub, &lamp);
    for _ in 0..20 {
        assert_eq!(client.try_publish("somebody/else", b"x", 1, false, ""), 0x87);
    }
    let first = |value: Value| value.as_array().unwrap().first().cloned();
    let case = wait_for(|| first(hub.json(&["case", "list"])));
    assert_eq!((&case["kind"], &case["state"]), (&"policy_denials".into(), &"open".into()));
    let measure = wait_for(|| first(hub.json(&["response", "list"])));
    assert_eq!((&measure["action"], &measure["whom"]), (&"quarantine".into(), &"lamp-1".into()));
    client.cut(0x98);
    assert_eq!(hub.json(&["device", "show", "lamp-1"])["state"], "quarantined");

    let number = case["case"].to_string();
    let _ = hub.succeed(&["case", "ack", &number]);
    let _ = hub.succeed(&["case", "note", &number, "asked the manufacturer"]);
    let shown = hub.succeed(&["case", "show", &number]);
    assert!(shown.contains("asked the manufacturer") && shown.contains("acknowledged"), "{shown}");
    let _ = wait_for(|| {
        let ledger = &hub.status()["ledger"];
        (ledger["sealed"] == ledger["entries"]).then_some(Value::Null)
    });
    let out = hub.directory().join("case");
    let path = out.display().to_string();
    let _ = hub.succeed(&["case", "export", &number, "--out", &path, "--reason", "for the insurer"]);
    let (status, _) = fail(&hub, &["case", "export", &number, "--out", &path]);
    assert_eq!(status, Some(2), "nothing is written over");
    let entries = fs::read_to_string(out.join("ledger/entries.txt")).unwrap();
    assert!(entries.contains("finding_opened") && entries.contains("response_taken"), "{entries}");
    // Each entry has a proof that needs nothing but the key.
    let first = entries.split(' ').next().unwrap();
    let (proof, key) = (format!("{path}/ledger/{first}.tlog-proof"), format!("{path}/ledger/verifier.key"));
    let _ = hub.succeed(&["ledger", "verify", &proof, "--key", &key]);
    let verified = hub.json(&["case", "verify", &path]);
    assert_eq!(verified["case"], case["case"]);
    let _ = hub.succeed(&["case", "handover", &number, "--to", "insurer", "--export", &path]);

    let mut bytes = entries.into_bytes();
    bytes[10] ^= 1;
    fs::write(out.join("ledger/entries.txt"), bytes).unwrap();
    let (status, told) = fail(&hub, &["case", "verify", &path]);
    assert!(status == Some(1) && told.contains("ledger/entries.txt was changed"), "{told}");

    let id = measure["measure"].to_string();
    let _ = hub.succeed(&["response", "lift", &id, "--reason", "firmware was mended"]);
    assert_eq!(hub.json(&["device", "show", "lamp-1"])["state"], "active");
    assert_eq!(fail(&hub, &["response", "lift", &id, "--reason", "again"]).0, Some(4));
    let _ = hub.succeed(&["case", "close", &number, "--reason", "firmware was mended"]);
    assert_eq!(hub.json(&["case", "list"]), Value::Array(Vec::new()));
    assert_eq!(hub.json(&["case", "list", "--all"])[0]["state"], "closed");
    let _ = hub.succeed(&["case", "reopen", &number]);
    assert_eq!(fail(&hub, &["case", "show", "99"]).0, Some(4));
}

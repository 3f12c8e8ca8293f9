//! Every command that reads, on a hub that runs, on one that was killed, and on copies.

use std::{fs, thread};

use serde_json::Value;

use crate::{copy, ledger, sealed, text, told, with_entries};

/// CSA-IMT-01: an auditor verifies what happened with nothing but files and key.
#[test]
fn what_happened_is_shown_proved_and_exported() {
    let hub = with_entries(3);
    let key = hub.succeed(&["ledger", "key"]).trim().to_owned();
    let work = tempfile::tempdir().unwrap();
    let verified = hub.json(&["ledger", "verify"]);
    assert_eq!((&verified["verified"], &verified["key_from"]), (&Value::Bool(true), &"beside the files".into()));
    assert_eq!(verified["checked"], verified["size"]);
    let given = hub.json(&["ledger", "verify", "--key", &key]);
    assert_eq!(given["key_from"], "given");

    let shown = hub.json(&["ledger", "show", "--kind", "admin_requested", "--identity", "lamp-1"]);
    let [asked] = &shown.as_array().unwrap()[..] else { panic!("{shown}") };
    assert_eq!((&asked["receiver"]["name"], &asked["data"]["request"]), (&Value::Null, &"device-add".into()));
    let who = asked["initiator"]["name"].as_str().unwrap().to_owned();
    assert!(!who.is_empty() && who != "(erased)");
    let seq = asked["seq"].to_string();

    let proof = work.path().join("entry.tlog-proof");
    let _ = hub.succeed(&["ledger", "prove", &seq, "--out", text(&proof)]);
    let (status, said) = told(&ledger(&["verify", text(&proof), "--key", &key]));
    assert!(status == 0 && said.contains("device-add") && !said.contains(&format!("\"{who}\"")), "{said}");
    assert_eq!(told(&ledger(&["verify", text(&proof)])).0, 2, "a proof is nothing without a key from elsewhere");
    assert_eq!(hub.run(&["ledger", "prove", "4711"]).status.code(), Some(4));

    let (with, without) = (work.path().join("with"), work.path().join("without"));
    let _ = hub.succeed(&["ledger", "export", "--from", "1", "--to", &seq, "--out", text(&with)]);
    let _ = hub.succeed(&["ledger", "export", "--since", "1h", "--without-personal", "--out", text(&without)]);
    for folder in [&with, &without] {
        let (status, said) = told(&ledger(&["verify", text(folder), "--key", &key]));
        assert_eq!(status, 0, "{said}");
    }
    assert!(fs::read_to_string(with.join("personal.jsonl")).unwrap().contains(&who));
    assert!(!without.join("personal.jsonl").exists());
    assert_eq!(hub.run(&["ledger", "export", "--out", text(&with)]).status.code(), Some(2), "nothing is overwritten");
    assert_eq!(hub.run(&["ledger", "export", "--from", "4711", "--out", "/nonexistent/x"]).status.code(), Some(2));

    // That it was read is an entry.
    sealed(&hub);
    let reads = hub.json(&["ledger", "show", "--kind", "ledger_read"]);
    assert!(reads.as_array().unwrap().iter().any(|read| read["initiator"]["name"] == who.as_str()), "{reads}");

    // Deletion elsewhere breaks no proof.
    let count = hub.json(&["ledger", "erase", "--value", &who, "--dry-run"])["values"].as_u64().unwrap();
    assert!(count > 5);
    let _ = hub.succeed(&["ledger", "erase", "--value", &who]);
    let shown = hub.json(&["ledger", "show", "--kind", "admin_requested", "--identity", "lamp-1"]);
    assert_eq!(shown[0]["initiator"]["name"], "(erased)");
    assert!(hub.json(&["ledger", "verify"])["verified"] == true);
    assert_eq!(told(&ledger(&["verify", text(&proof), "--key", &key])).0, 0);
    let erased = hub.json(&["ledger", "show", "--kind", "personal_data_erased"]);
    assert!(!erased.to_string().contains(&format!("value={who}")), "{erased}");
}

/// Heads are replaced and partial files go while somebody reads.
#[test]
fn it_is_verified_while_it_is_written() {
    let hub = with_entries(1);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..25 {
                let _ = hub.succeed(&["device", "add", &format!("pump-{number}")]);
            }
        });
        while !writer.is_finished() {
            assert_eq!(hub.json(&["ledger", "verify"])["verified"], true);
            let _ = hub.succeed(&["ledger", "show", "--last", "5"]);
        }
    });
    sealed(&hub);
    let pumps = hub.json(&["ledger", "show", "--kind", "identity_changed"]);
    assert_eq!(pumps.as_array().unwrap().len(), 20, "the last ones");
    assert_eq!(
        hub.json(&["ledger", "show", "--kind", "identity_changed", "--last", "100"]).as_array().unwrap().len(),
        26
    );
}

/// A hub that was killed has lost nothing that an operator was told; its files verify, and it goes on.
#[test]
fn a_killed_hub_is_read_without_it() {
    let mut hub = with_entries(2);
    let _ = hub.succeed(&["device", "add", "last"]);
    hub.kill();
    let before = hub.json(&["ledger", "verify"])["size"].as_u64().unwrap();
    assert!(hub.json(&["ledger", "show", "--identity", "lamp-1"]).as_array().unwrap().len() >= 2);
    let _ = hub.succeed(&["ledger", "prove", "0"]);
    assert_eq!(hub.run(&["ledger", "verify", "/nonexistent"]).status.code(), Some(2));
    hub.launch();
    sealed(&hub);
    let after = hub.json(&["ledger", "verify"])["size"].as_u64().unwrap();
    assert!(after > before);
    let last = hub.json(&["ledger", "show", "--identity", "last", "--kind", "admin_requested"]);
    assert_eq!(last.as_array().unwrap().len(), 1, "what was acknowledged before the kill");
}

#[test]
fn a_copy_needs_the_key_and_nothing_else() {
    let mut hub = with_entries(2);
    let key = hub.succeed(&["ledger", "key"]).trim().to_owned();
    hub.kill();
    let work = tempfile::tempdir().unwrap();
    copy(&hub.data().join("ledger"), work.path());
    fs::remove_file(work.path().join("verifier.key")).unwrap();
    fs::remove_dir_all(work.path().join("tail")).unwrap();
    assert_eq!(told(&ledger(&["verify", text(work.path())])).0, 2);
    let (status, said) = told(&ledger(&["verify", text(work.path()), "--key", &key]));
    assert_eq!(status, 0, "{said}");
    let file = work.path().join("key");
    fs::write(&file, format!("{key}\n")).unwrap();
    assert_eq!(told(&ledger(&["verify", text(work.path()), "--key", text(&file)])).0, 0);
    let other = with_entries(0).succeed(&["ledger", "key"]);
    let (status, said) = told(&ledger(&["verify", text(work.path()), "--key", other.trim()]));
    assert!(status == 1 && said.contains("not to be believed"), "{said}");
    assert_eq!(told(&ledger(&["verify", text(work.path()), "--key", "nonsense"])).0, 2);
    assert_eq!(told(&ledger(&["verify", "--data", "/nonexistent"])).0, 3);
}

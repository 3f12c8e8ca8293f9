//! A disk without room: what needs it is refused and said, what does not goes on.

use std::{
    fs,
    io::Write as _,
    process::Command,
    time::{Duration, Instant},
};

use portreeve_tests::{Client, Hub, Login, V4, V5, say};

/// Mounting a small file system of one's own takes root.
fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

fn fill(hub: &Hub) {
    let mut filler = fs::File::create(hub.beside_data("filler")).unwrap();
    let chunk = vec![0x55; 64 * 1024];
    while filler.write_all(&chunk).is_ok() {}
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(15), "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether this test has to be left out, and says so.
fn is_left_out(test: &str) -> bool {
    if is_root() {
        return false;
    }
    // Past the test harness, which shows what passing tests print to nobody.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: only root can mount a small file system");
    true
}

/// What would go unrecorded is not done; what devices do is counted and goes on (CSA-IMT-01, CSA-CLS-13).
#[test]
fn a_full_disk_stops_operators_and_counts_the_rest() {
    if is_left_out("a_full_disk_stops_operators_and_counts_the_rest") {
        return;
    }
    let hub = Hub::start_on_small_disk(64, &["limits.disk_reserve_bytes=4194304"]).with_app();
    let device = hub.add("lamp-1", "device");
    let mut lamp = Login::new(V5, "lamp-1").open_as(&hub, &device);
    let mut reader = Client::connect(&hub, V5, "reader");
    reader.subscribe("devices/lamp-1/telemetry/#", 0);

    fill(&hub);
    wait_until("the hub does not notice the full disk", || hub.status()["ready"] == false);
    // The last page of the ledger's file takes an entry or two before there is no room for the next.
    wait_until("it is not refused for want of an entry", || {
        let refused = hub.run(&["device", "revoke", "lamp-1"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(4), "{said}");
        said.contains("what is not recorded is not done")
    });
    assert_eq!(hub.json(&["device", "show", "lamp-1"])["state"], "active", "it was refused, so it was not done");
    // Nobody who works is cut off for it, and what cannot be recorded is counted.
    for number in 0..20 {
        assert_eq!(lamp.try_publish(&format!("not/mine/{number}"), b"", 1, false, ""), 0x87);
    }
    lamp.publish("devices/lamp-1/telemetry/t", "20", 0);
    assert_eq!(reader.take().text(), "20");
    wait_until("what has no entry is not counted", || hub.status()["ledger"]["unrecorded"].as_u64() > Some(0));
    assert!(hub.status()["ledger"]["trouble"].is_string(), "{}", hub.status());

    fs::remove_file(hub.beside_data("filler")).unwrap();
    wait_until("the ledger does not recover", || hub.status()["ledger"]["trouble"].is_null());
    let kinds = |kind: &str| hub.json(&["ledger", "show", "--from", "0", "--kind", kind]).as_array().unwrap().clone();
    wait_until("how much has no entry is no entry", || {
        kinds("ledger_recovered").iter().any(|row| row["data"]["unrecorded"].as_str() > Some("0"))
    });
    assert_eq!(hub.run(&["ledger", "verify"]).status.code(), Some(0));
    hub.device("revoke", "lamp-1");
    assert!(!kinds("admin_done").is_empty());
}

#[test]
fn a_full_disk_refuses_promises_and_recovers() {
    if is_left_out("a_full_disk_refuses_promises_and_recovers") {
        return;
    }
    let hub = Hub::start_on_small_disk(64, &["limits.disk_reserve_bytes=4194304"]).with_app();
    let mut kept = Login::new(V5, "kept").expiry(300).open(&hub);
    kept.subscribe("stored/x", 1);
    kept.disconnect();
    let mut sender = Client::connect(&hub, V5, "sender");
    let mut reader = Client::connect(&hub, V5, "reader");
    reader.subscribe("live/x", 1);
    for number in 0..10 {
        sender.publish("stored/x", &number.to_string(), 1);
    }
    sender.retain("stored/kept", "before", 1);

    fill(&hub);
    // It looks by itself, below limits.disk_reserve_bytes, so that no promise is begun that could not be kept.
    wait_until("the hub does not notice the full disk", || hub.status()["ready"] == false);
    assert_eq!(sender.try_publish("stored/x", b"no room", 1, false, ""), 0x97, "PUBACK");
    let refused = refusals(&hub, &mut sender);
    work_that_needs_no_disk(&mut sender, &mut reader);
    let status = hub.status();
    assert_eq!(status["ready"], false, "{status}");
    let health = status["store"]["health"].as_str().unwrap_or_default().to_lowercase();
    assert!(health.contains("full"), "{health}");

    fs::remove_file(hub.beside_data("filler")).unwrap();
    wait_until("the hub does not recover", || hub.status()["ready"] == true);
    sender.publish("stored/x", "after", 1);
    sender.retain("stored/kept", "after", 1);
    let mut kept = Login::new(V5, "kept").expiry(300).resume().open(&hub);
    assert!(kept.present);
    let texts = kept.take_texts(10);
    assert_eq!(texts, (0..10).map(|number| number.to_string()).collect::<Vec<_>>(), "nothing acknowledged is lost");
    assert_eq!(kept.take().text(), "after", "what was refused is not delivered");
    kept.subscribe("stored/kept", 1);
    assert_eq!(kept.take().text(), "after");
    // 3.1.1 knows "server unavailable".
    let expected = [("PUBREC", 0x97), ("retained", 0x97), ("session", 0x97), ("session of 3.1.1", 3)];
    assert_eq!(refused, expected, "what was refused while the disk was full, and how");
}

/// Each kind of promise, and the code that refuses it.
fn refusals(hub: &Hub, sender: &mut Client) -> [(&'static str, u8); 4] {
    // A 3.1.1 publisher cannot be told; it is not lied to.
    let mut old = Client::connect(hub, V4, "old");
    say!(old, "32 | s'stored/x' 0001 'no room'");
    old.closed();
    [
        ("PUBREC", sender.try_publish("stored/x", b"no room", 2, false, "")),
        ("retained", sender.try_publish("stored/kept", b"no room", 1, true, "")),
        ("session", Login::new(V5, "new").expiry(300).refused_as(hub, hub.app())),
        ("session of 3.1.1", Login::new(V4, "new").resume().refused_as(hub, hub.app())),
    ]
}

fn work_that_needs_no_disk(sender: &mut Client, reader: &mut Client) {
    for qos in 0..3 {
        sender.publish("live/x", "goes on", qos);
        assert_eq!(reader.take().text(), "goes on");
    }
    reader.subscribe("live/y", 0);
    sender.alive();
}

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

#[test]
fn a_full_disk_refuses_promises_and_recovers() {
    if !is_root() {
        // Past the test harness, which shows what passing tests print to nobody.
        let why = "SKIPPED a_full_disk_refuses_promises_and_recovers: only root can mount a small file system";
        let _ = writeln!(std::io::stderr(), "{why}");
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

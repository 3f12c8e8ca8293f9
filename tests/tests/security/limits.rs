//! Each bound's overflow has an outcome (docs/CONFIGURATION.md); the hub of these tests has small ones.

use std::time::Duration;

use portreeve_tests::{Client, Hub, Login, V4, V5, say, unique};

use crate::hub;

#[test]
fn a_flood_ends_with_its_reason() {
    // limits.device_messages_per_s: 0x96 "message rate too high".
    for version in [V4, V5] {
        let device = hub().add(&unique("flooder"), "device");
        let mut client = Login::new(version, &device.name).open_as(hub(), &device);
        let block = if version == V5 { "( )" } else { "" };
        let flood = format!("30 | s'devices/{}/telemetry/x' {block} 'x' ; ", device.name).repeat(1000);
        client.say(flood.trim_end_matches([' ', ';']));
        client.cut_off(0x96);
    }
    // Others are not concerned.
    Client::connect(hub(), V5, &unique("bystander")).alive();
}

#[test]
fn a_device_within_its_rate_is_left_alone() {
    let device = hub().add(&unique("steady"), "device");
    let mut client = Login::new(V5, &device.name).open_as(hub(), &device);
    for _ in 0..80 {
        client.publish(&format!("devices/{}/telemetry/x", device.name), "x", 0);
    }
    client.alive();
}

#[test]
fn a_device_has_as_many_sessions_as_it_may() {
    // limits.sessions_per_device: 0x97; 3.1.1 knows "server unavailable".
    let device = hub().add(&unique("many"), "device");
    let id = |part: &str| format!("{}:{part}", device.name);
    let mut first = Login::new(V5, &id("1")).open_as(hub(), &device);
    let mut second = Login::new(V5, &id("2")).expiry(300).open_as(hub(), &device);
    assert_eq!(Login::new(V5, &id("3")).refused_as(hub(), &device), 0x97);
    assert_eq!(Login::new(V4, &id("3")).refused_as(hub(), &device), 3);
    first.alive();
    second.alive();
    // One that is kept counts as well as one that is connected; a take-over needs no room.
    second.disconnect();
    assert_eq!(Login::new(V5, &id("3")).refused_as(hub(), &device), 0x97);
    Login::new(V5, &id("2")).resume().open_as(hub(), &device).disconnect();
    Login::new(V5, &id("3")).open_as(hub(), &device).alive();
}

#[test]
fn a_session_has_as_many_subscriptions_as_it_may() {
    // limits.subscriptions_per_session: 0x97; 3.1.1 knows 0x80.
    let t = unique("subs");
    for (version, code) in [(V5, 0x97), (V4, 0x80)] {
        let mut client = Client::connect(hub(), version, &unique("subscriber"));
        for number in 0..3 {
            client.subscribe(&format!("{t}/{number}"), 0);
        }
        assert_eq!(client.try_subscribe(&format!("{t}/3"), 0), code);
        // Replacing one takes no room, and removing one makes some.
        client.subscribe(&format!("{t}/0"), 1);
        client.unsubscribe(&format!("{t}/0"));
        client.subscribe(&format!("{t}/3"), 0);
    }
}

#[test]
fn a_full_queue_drops_its_oldest() {
    // limits.queue_messages_per_session with mqtt.queue_overflow = drop-oldest, the default.
    for version in [V4, V5] {
        let (topic, id) = (unique("queue"), unique("queue"));
        let mut client = Login::new(version, &id).expiry(300).open(hub());
        client.subscribe(&topic, 1);
        client.disconnect();
        let mut sender = Client::connect(hub(), V5, &unique("sender"));
        for number in 0..8 {
            sender.publish(&topic, &number.to_string(), 1);
        }
        let mut client = Login::new(version, &id).resume().expiry(300).open(hub());
        assert_eq!(client.take_texts(5), ["3", "4", "5", "6", "7"]);
        client.alive();
    }
}

#[test]
fn a_full_queue_rejects_where_that_is_configured() {
    // mqtt.queue_overflow = reject: 0x97 to the publisher, whatever the QoS, before anything was promised.
    let hub = Hub::open(&["mqtt.queue_overflow=reject", "limits.queue_messages_per_session=5"]);
    let (topic, id) = (unique("queue"), unique("queue"));
    let mut client = Login::new(V5, &id).expiry(300).open(&hub);
    client.subscribe(&topic, 2);
    client.disconnect();
    let mut sender = Client::connect(&hub, V5, &unique("sender"));
    for number in 0..5 {
        sender.publish(&topic, &number.to_string(), 1);
    }
    assert_eq!(sender.try_publish(&topic, b"too much", 1, false, ""), 0x97, "PUBACK");
    assert_eq!(sender.try_publish(&topic, b"too much", 2, false, ""), 0x97, "PUBREC");
    sender.publish(&topic, "too much", 0);
    let mut old = Client::connect(&hub, V4, &unique("sender"));
    say!(old, "32 | s'{topic}' 0001 'too much'");
    old.closed();
    let mut client = Login::new(V5, &id).resume().expiry(300).open(&hub);
    assert_eq!(client.take_texts(5), ["0", "1", "2", "3", "4"]);
    client.alive();
    sender.publish(&topic, "room again", 2);
    assert_eq!(client.take().text(), "room again");
}

#[test]
fn too_large_a_retained_message_is_refused() {
    // limits.retained_message_bytes: 0x97; it is neither kept nor half done.
    let topic = unique("retained");
    let mut client = Client::connect(hub(), V5, &unique("keeper"));
    client.retain(&topic, "small", 1);
    assert_eq!(client.try_publish(&topic, &[b'x'; 3000], 1, true, ""), 0x97);
    assert_eq!(client.try_publish(&topic, &[b'x'; 3000], 2, true, ""), 0x97);
    client.subscribe(&topic, 1);
    assert_eq!(client.take().text(), "small");
    client.retain(&topic, "", 1);
}

#[test]
fn too_many_user_properties_end_the_connection() {
    // limits.user_properties: 0x97.
    let mut client = Client::connect(hub(), V5, &unique("wordy"));
    client.publish_with("a", b"x", 1, false, &"26 s'k' s'v' ".repeat(8));
    say!(client, "30 | s'a' ( {} ) 'x'", "26 s'k' s'v' ".repeat(9));
    client.cut(0x97);
}

#[test]
fn a_client_that_does_not_read_is_cut_off_and_disturbs_nobody() {
    // mqtt.write_stall_s: its socket is full, its queue is bounded.
    let hub = Hub::open(&["mqtt.write_stall_s=2", "limits.queue_bytes_per_session=1048576"]);
    let topic = unique("stall");
    let mut stalled = Client::connect(&hub, V5, &unique("stalled"));
    stalled.subscribe(&topic, 0);
    let mut reader = Client::connect(&hub, V5, &unique("reader"));
    reader.subscribe(&topic, 0);
    let mut sender = Client::connect(&hub, V5, &unique("sender"));
    let payload = "x".repeat(200_000);
    for _ in 0..100 {
        sender.publish(&topic, &payload, 0);
        assert_eq!(reader.take().payload.len(), payload.len());
    }
    let started = std::time::Instant::now();
    while hub.status()["clients_connected"] != 2 {
        assert!(started.elapsed() < Duration::from_secs(8), "it is still there");
        std::thread::sleep(Duration::from_millis(200));
    }
    stalled.stream();
}

#[test]
fn limits_are_reported_with_what_is_used() {
    let metric = |name: &str| hub().metric(&format!("portreeve_{name}"));
    assert_eq!(metric("subscriptions_per_session_limit"), Some(3.0));
    let mut client = Client::connect(hub(), V5, &unique("counted"));
    client.subscribe(&unique("counted"), 0);
    assert!(metric("subscriptions_per_session_used").is_some_and(|used| (1.0..=3.0).contains(&used)));
    let status = hub().status();
    let rows = status["limits"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["name"] == "subscriptions_per_session" && row["limit"] == 3), "{rows:?}");
}

//! What time does: wills, sessions, messages, certificates. Thirty days run in milliseconds.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the test functions")]

mod common;

use std::time::Duration;

use common::{Bench, Got, SubscriptionOptions, Will, connect, payloads, publish, resume};
use portreeve_hub::{Claim, DeviceIdentity, EnrolRequest};
use portreeve_mqtt::{Connect, MessageProperties, Packet, Reason, Version};
use portreeve_types::{Kind, LifecycleState, Qos, UnixMillis};

const HOUR: Duration = Duration::from_secs(3600);

fn will(delay_s: u32) -> Option<Will<'static>> {
    Some(Will {
        qos: Qos::AtLeastOnce,
        retain: false,
        topic: "gone",
        payload: b"gone",
        delay_s,
        properties: Default::default(),
    })
}

#[test]
fn a_will_waits_for_its_delay_and_no_longer() {
    let mut bench = Bench::new();
    let app = bench.application("app");
    let mut watcher = bench.connect(&app, connect("watcher"));
    watcher.subscribed(&bench, "gone", Qos::AtMostOnce);
    bench.connect(&app, Connect { will: will(10), ..resume("a") }).lose(&bench);
    bench.advance(Duration::from_secs(9));
    assert!(watcher.recv(&bench).is_empty(), "[MQTT-3.1.3-9] never early");
    bench.advance(Duration::from_secs(1));
    assert_eq!(payloads(&watcher.recv(&bench)), ["gone"]);
    bench.advance(HOUR);
    assert!(watcher.recv(&bench).is_empty(), "published once");
}

/// [MQTT-3.1.3-9]
#[test]
fn a_return_before_the_delay_makes_the_will_void() {
    let mut bench = Bench::new();
    let app = bench.application("app");
    let mut watcher = bench.connect(&app, connect("watcher"));
    watcher.subscribed(&bench, "gone", Qos::AtMostOnce);
    bench.connect(&app, Connect { will: will(10), ..resume("a") }).lose(&bench);
    bench.advance(Duration::from_secs(5));
    let _back = bench.connect(&app, resume("a"));
    bench.advance(Duration::from_secs(60));
    assert!(watcher.recv(&bench).is_empty());
}

/// [MQTT-3.1.2-8]: the delay or the session's end, whichever is first.
#[test]
fn the_end_of_the_session_brings_the_will_forward() {
    let mut bench = Bench::new();
    let app = bench.application("app");
    let mut watcher = bench.connect(&app, connect("watcher"));
    watcher.subscribed(&bench, "gone", Qos::AtMostOnce);
    bench.connect(&app, Connect { will: will(10), session_expiry_s: Some(2), ..connect("a") }).lose(&bench);
    bench.advance(Duration::from_secs(2));
    assert_eq!(payloads(&watcher.recv(&bench)), ["gone"]);
    bench.connect(&app, Connect { will: will(10), ..connect("b") }).lose(&bench);
    assert_eq!(payloads(&watcher.recv(&bench)), ["gone"], "a session that ends with its connection");
    bench.connect(&app, Connect { will: will(10), ..connect("c") }).disconnect(&bench);
    bench.advance(HOUR);
    assert!(watcher.recv(&bench).is_empty(), "[MQTT-3.14.4-3]");
}

#[test]
fn a_session_outlives_its_connection_as_long_as_it_asked_to() {
    let mut bench = Bench::with(|config| config.mqtt.session_expiry_max_s = 60 * 86_400);
    let app = bench.application("app");
    let days_30 = Connect { session_expiry_s: Some(30 * 86_400), ..resume("a") };
    bench.connect(&app, days_30.clone()).lose(&bench);
    bench.advance(HOUR * 24 * 30 - Duration::from_secs(1));
    let (client, got) = bench.try_connect(&app, days_30.clone());
    assert_eq!(got[0], Got::ConnAck { present: true, reason: Reason::SUCCESS });
    client.lose(&bench);
    bench.advance(HOUR * 24 * 30 + Duration::from_secs(1));
    let (_client, got) = bench.try_connect(&app, days_30);
    assert_eq!(got[0], Got::ConnAck { present: false, reason: Reason::SUCCESS });
}

/// CSA-OPA-10: the default keeps a 3.1.1 session for offline clients at least 24 hours.
#[test]
fn a_persistent_3_1_1_session_lives_a_day() {
    let mut bench = Bench::new();
    let app = bench.application("app");
    let persistent = Connect { version: Version::V311, session_expiry_s: None, ..resume("a") };
    let mut sleeper = bench.connect(&app, persistent.clone());
    sleeper.subscribed(&bench, "t", Qos::AtLeastOnce);
    sleeper.lose(&bench);
    let mut sender = bench.connect(&app, connect("b"));
    sender.publish(&bench, "t", b"kept", Qos::AtLeastOnce);
    bench.advance(HOUR * 24 - Duration::from_secs(1));
    let (_client, got) = bench.try_connect(&app, persistent);
    assert_eq!(payloads(&got), ["kept"]);
}

/// [MQTT-3.1.2-22]
#[test]
fn silence_ends_a_connection_after_one_and_a_half_keep_alives() {
    let mut bench = Bench::new();
    let app = bench.application("app");
    let mut client = bench.connect(&app, Connect { keep_alive_s: 10, ..connect("a") });
    bench.advance(Duration::from_millis(14_999));
    assert!(client.recv(&bench).is_empty());
    client.send(&bench, &Packet::PingReq);
    bench.advance(Duration::from_millis(14_999));
    assert_eq!(client.recv(&bench), [Got::Other]);
    bench.advance(Duration::from_millis(2));
    assert_eq!(client.recv(&bench), [Got::Disconnect(Reason::KEEP_ALIVE_TIMEOUT)]);
    assert!(client.is_over());
}

/// [MQTT-3.3.2-5] [MQTT-3.3.2-6]
#[test]
fn a_message_expires_in_the_queue_and_tells_what_is_left() {
    let mut bench = Bench::new();
    let app = bench.application("app");
    let mut sleeper = bench.connect(&app, resume("sleeper"));
    sleeper.subscribed(&bench, "t", Qos::AtLeastOnce);
    sleeper.lose(&bench);
    let mut sender = bench.connect(&app, connect("sender"));
    for (payload, expiry_s, id) in [(&b"short"[..], 10, 1), (b"long", 100, 2)] {
        let properties = MessageProperties { expiry_s: Some(expiry_s), ..Default::default() };
        sender.send(
            &bench,
            &Packet::Publish(portreeve_mqtt::Publish { properties, ..publish("t", payload, Qos::AtLeastOnce, id) }),
        );
    }
    sender.recv(&bench);
    bench.advance(Duration::from_secs(30));
    let (_client, got) = bench.try_connect(&app, resume("sleeper"));
    assert_eq!(payloads(&got), ["long"]);
    assert!(matches!(got[1], Got::Publish { expiry_s: Some(70), .. }), "{got:?}");
}

#[test]
fn a_retained_message_expires() {
    let mut bench = Bench::new();
    let app = bench.application("app");
    let mut sender = bench.connect(&app, connect("sender"));
    let properties = MessageProperties { expiry_s: Some(10), ..Default::default() };
    let message = portreeve_mqtt::Publish { retain: true, properties, ..publish("t", b"x", Qos::AtLeastOnce, 1) };
    sender.send(&bench, &Packet::Publish(message));
    sender.recv(&bench);
    bench.advance(Duration::from_secs(11));
    let got = sender.subscribe(&bench, "#", SubscriptionOptions::default(), None);
    assert_eq!(payloads(&got), Vec::<String>::new());
    let row = bench.hub.limits_table().into_iter().find(|row| row.name == "retained_messages").unwrap();
    assert_eq!(row.used, 0, "the sweep frees what has expired");
}

/// A session ends with the certificate it was opened with.
#[test]
fn a_connection_ends_with_its_certificate() {
    let mut bench = Bench::new();
    let device = bench.device("lamp-1");
    let mut client = bench.connect(&device, connect("lamp-1"));
    bench.advance(HOUR * 24 * 29);
    assert!(client.recv(&bench).is_empty());
    bench.advance(HOUR * 24);
    assert_eq!(client.recv(&bench), [Got::Disconnect(Reason::MAXIMUM_CONNECT_TIME)], "connection age, 30 days");
    let bench = {
        let mut bench = Bench::with(|config| config.limits.connection_age_max_s = 31_536_000);
        let leaf = bench.add("lamp-2", Kind::Device);
        let device = bench.identity(&leaf);
        let mut client = bench.connect(&device, connect("lamp-2"));
        bench.advance(HOUR * 24 * 364);
        assert!(client.recv(&bench).is_empty());
        bench.advance(HOUR * 24);
        assert_eq!(client.recv(&bench), [Got::Disconnect(Reason::MAXIMUM_CONNECT_TIME)]);
        bench
    };
    drop(bench);
}

#[test]
fn a_connection_without_connect_ends_in_time_and_silence() {
    let mut bench = Bench::new();
    let device = bench.device("lamp-1");
    let mut silent = bench.open(&device);
    bench.advance(Duration::from_secs(9));
    assert!(silent.recv(&bench).is_empty() && !silent.is_over());
    bench.advance(Duration::from_secs(1));
    assert!(silent.recv(&bench).is_empty() && silent.is_over());
}

/// IIITA-N8: an operator is warned of whoever is not used for long, then it is switched off. Whoever is connected is in use.
#[test]
fn an_unused_identity_is_disabled_after_a_warning() {
    const DAY: Duration = Duration::from_secs(86_400);
    let mut bench = Bench::new();
    let (gone, here) = (bench.application("gone"), bench.application("here"));
    bench.connect(&gone, connect("a")).lose(&bench);
    let _connected = bench.connect(&here, connect("b"));
    let warnings = |bench: &Bench| bench.hub.events().count(portreeve_events::Kind::IdentityUnused);
    let state = |bench: &Bench, name: &str| bench.hub.registry().find(&name.parse().unwrap()).unwrap().state;
    bench.advance(DAY * 75);
    assert_eq!(warnings(&bench), 0);
    bench.advance(DAY + HOUR);
    assert_eq!(warnings(&bench), 1);
    bench.advance(DAY * 13);
    assert_eq!((warnings(&bench), state(&bench, "gone")), (1, LifecycleState::Active), "told once, and not too early");
    bench.advance(DAY);
    assert_eq!((state(&bench, "gone"), state(&bench, "here")), (LifecycleState::Disabled, LifecycleState::Active));
}

/// The next certificate of a device, which shows the present one.
fn renew(bench: &Bench, identity: &DeviceIdentity, leaf: &[u8]) -> Vec<u8> {
    let key = portreeve_pki::generate_key().unwrap();
    let csr = portreeve_pki::make_csr(&key.pkcs8_pem, None).map(|(csr, _)| csr).unwrap();
    let claim = Claim::Certificate { identity: identity.clone(), leaf: leaf.to_vec().into() };
    let request = EnrolRequest { claim, csr: Ok(csr), source: [127, 0, 0, 1].into() };
    bench.hub.enrol(&request, bench.now).map(|enrolled| enrolled.leaf.to_vec()).unwrap()
}

/// CSA-CRD-10: a renewal leaves a device the time to move its connections, and no more; and it is the use of the newer
/// certificate that counts, for the answer that brings it may be lost.
#[test]
fn connections_of_a_certificate_that_was_renewed_end() {
    let mut bench = Bench::with(|config| {
        config.enrolment.renew_after_percent = 0;
        config.lifecycle.superseded_session_s = 600;
    });
    let old_leaf = bench.add("lamp", Kind::Device);
    let old = bench.identity(&old_leaf);
    let mut first = bench.connect(&old, connect("lamp:first"));
    let mut bystander = bench.connect(&bench.device("other"), connect("other"));
    let new_leaf = renew(&bench, &old, &old_leaf);
    bench.advance(HOUR);
    let _ = first.recv(&bench);
    assert!(!first.is_over(), "nobody has come with the newer one yet");

    let new = bench.identity(&new_leaf);
    let mut second = bench.connect(&new, connect("lamp:second"));
    let refused = bench.hub.authenticate(&old_leaf).unwrap_err();
    assert!(refused.to_string().contains("superseded"), "{refused}");
    // Its handshake was before, its CONNECT is not.
    let (_, got) = bench.try_connect(&old, connect("lamp:third"));
    assert!(matches!(got[..], [Got::ConnAck { reason: Reason::NOT_AUTHORIZED, .. }]), "{got:?}");
    bench.advance(Duration::from_secs(2));
    bench.advance(Duration::from_secs(599));
    let _ = first.recv(&bench);
    assert!(!first.is_over());
    bench.advance(Duration::from_secs(2));
    assert_eq!(first.recv(&bench), [Got::Disconnect(Reason::MAXIMUM_CONNECT_TIME)]);
    assert!(first.is_over());
    for client in [&mut second, &mut bystander] {
        let _ = client.recv(&bench);
        assert!(!client.is_over());
    }
    // Whoever moves the session itself is not cut off with the connection that had it.
    let newest_leaf = renew(&bench, &new, &new_leaf);
    let mut moved = bench.connect(&bench.identity(&newest_leaf), connect("lamp:second"));
    bench.advance(Duration::from_secs(2));
    bench.advance(Duration::from_secs(601));
    bench.advance(Duration::from_secs(2));
    let _ = moved.recv(&bench);
    assert!(!moved.is_over());
}

/// Entries and expiry go by the wall clock: that somebody set it is an entry itself.
#[test]
fn a_clock_that_is_set_is_told_of() {
    let mut bench = Bench::new();
    bench.advance(Duration::from_secs(1));
    bench.advance(Duration::from_secs(3600));
    assert_eq!(bench.count(portreeve_events::Kind::ClockJumped), 0, "time passed");
    for (set_ms, told) in [(-59_000_i64, 0), (-3_600_000, 1), (3_600_000, 2)] {
        let wall = UnixMillis(bench.now.wall.0.checked_add_signed(set_ms).unwrap());
        bench.now.wall = wall;
        bench.advance(Duration::from_millis(100));
        assert_eq!(bench.count(portreeve_events::Kind::ClockJumped), told);
    }
}

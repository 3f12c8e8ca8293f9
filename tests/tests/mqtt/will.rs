//! §3.1.2.5 the will, §3.1.3.2 its properties.

use std::time::{Duration, Instant};

use portreeve_tests::{Client, Login, V4, V5, say, unique};

use crate::hub;

/// Who waits for a will.
fn witness(topic: &str) -> Client {
    let mut witness = Client::connect(hub(), V5, &unique("witness"));
    witness.subscribe(topic, 2);
    witness
}

#[test]
fn a_connection_that_breaks_publishes_its_will() {
    // [MQTT-3.1.2-7] [MQTT-3.1.2-8] [MQTT-3.1.2-14]
    for version in [V4, V5] {
        for qos in 0..3 {
            let topic = unique("will");
            let mut witness = witness(&topic);
            Login::new(version, &unique("dying")).will(qos, false, &topic, "gone", "").open(hub()).vanish();
            let message = witness.take();
            assert_eq!((message.text(), message.qos, message.retain), ("gone", qos, false));
            witness.alive();
        }
    }
}

#[test]
fn a_goodbye_deletes_the_will() {
    // [MQTT-3.1.2-10] [MQTT-3.14.4-3]
    for version in [V4, V5] {
        let topic = unique("will");
        let mut witness = witness(&topic);
        Login::new(version, &unique("leaving")).will(1, true, &topic, "gone", "").open(hub()).disconnect();
        witness.silent();
    }
}

#[test]
fn any_other_goodbye_publishes_it() {
    // §3.14.2.1: 0x04, and all codes that tell of an error.
    for code in [0x04, 0x80, 0x82, 0x98] {
        let topic = unique("will");
        let mut witness = witness(&topic);
        let client = Login::new(V5, &unique("leaving")).will(1, false, &topic, "gone", "").open(hub());
        client.disconnect_with(code, "");
        assert_eq!(witness.take().text(), "gone", "{code:02x}");
    }
}

#[test]
fn errors_and_silence_publish_it_too() {
    // [MQTT-3.1.2-8]: whatever ends the connection.
    for version in [V4, V5] {
        let topic = unique("will");
        let mut witness = witness(&topic);
        let mut client = Login::new(version, &unique("rude")).will(1, false, &topic, "gone", "").open(hub());
        client.say("20 | 00 00");
        assert_eq!(witness.take().text(), "gone");
        let mut client =
            Login::new(version, &unique("mute")).keep_alive(1).will(1, false, &topic, "mute", "").open(hub());
        assert_eq!(witness.take().text(), "mute");
        client.cut_off(0x8d);
    }
}

#[test]
fn a_will_may_be_retained_or_empty() {
    // [MQTT-3.1.2-15]; §3.1.3.3: zero bytes are a payload.
    for version in [V4, V5] {
        let topic = unique("will");
        Login::new(version, &unique("dying")).will(1, true, &topic, "gone", "").open(hub()).vanish();
        let mut witness = witness(&topic);
        let kept = witness.take();
        assert_eq!(kept.text(), "gone");
        Login::new(version, &unique("dying")).will(1, false, &topic, "", "").open(hub()).vanish();
        let empty = loop {
            let message = witness.take();
            if message.payload.is_empty() {
                break message;
            }
        };
        assert!(!empty.retain);
        witness.retain(&topic, "", 0);
    }
}

#[test]
fn a_will_carries_its_properties() {
    // §3.1.3.2 [MQTT-3.1.3-10]
    let topic = unique("will");
    let mut witness = witness(&topic);
    let block = "26 s'b' s'2' 01 01 03 s'text/plain' 26 s'a' s'1' 08 s'answer/here' 09 s'334'";
    Login::new(V5, &unique("dying")).will(0, false, &topic, "gone", block).open(hub()).vanish();
    let expected = portreeve_tests::wire::bytes(&format!("30 | s'{topic}' ( {block} ) 'gone'"));
    assert_eq!(witness.packet(), expected);
}

#[test]
fn a_delayed_will_waits() {
    // §3.1.3.2.2: after the delay, and not before.
    let topic = unique("will");
    let mut witness = witness(&topic);
    let login = Login::new(V5, &unique("late")).expiry(60).will(1, false, &topic, "gone", "18 00000002");
    let started = Instant::now();
    login.open(hub()).vanish();
    assert_eq!(witness.take().text(), "gone");
    let waited = started.elapsed();
    assert!(waited >= Duration::from_millis(1900) && waited < Duration::from_secs(4), "{waited:?}");
}

#[test]
fn a_reconnection_stops_a_delayed_will() {
    // [MQTT-3.1.3-9]
    let (topic, id) = (unique("will"), unique("back"));
    let mut witness = witness(&topic);
    let login = Login::new(V5, &id).expiry(60).will(1, false, &topic, "gone", "18 00000001");
    login.open(hub()).vanish();
    let mut client = Login::new(V5, &id).resume().expiry(60).open(hub());
    witness.silent_for(Duration::from_millis(1800));
    client.alive();
}

#[test]
fn a_will_comes_at_the_latest_with_the_end_of_its_session() {
    // §3.1.3.2.2: whichever is first.
    for (expiry, delay, most) in [("11 00000001", "18 0000003c", 3000), ("", "18 0000003c", 1500)] {
        let topic = unique("will");
        let mut witness = witness(&topic);
        let login = Login::new(V5, &unique("brief")).properties(expiry).will(1, false, &topic, "gone", delay);
        let started = Instant::now();
        login.open(hub()).vanish();
        assert_eq!(witness.take().text(), "gone");
        assert!(started.elapsed() < Duration::from_millis(most), "{expiry}: {:?}", started.elapsed());
    }
}

#[test]
fn a_clean_start_ends_the_session_and_so_publishes_the_will() {
    // [MQTT-3.1.2-4], §3.1.3.2.2: "or the session ends".
    let (topic, id) = (unique("will"), unique("fresh"));
    let mut witness = witness(&topic);
    let login = Login::new(V5, &id).expiry(60).will(1, false, &topic, "gone", "18 0000003c");
    login.open(hub()).vanish();
    let mut client = Login::new(V5, &id).open(hub());
    assert_eq!(witness.take().text(), "gone");
    client.alive();
}

#[test]
fn a_take_over_publishes_the_will_of_the_old_connection() {
    // §3.1.4 [MQTT-3.1.4-3]: it ended without DISCONNECT from the client.
    for version in [V4, V5] {
        let (topic, id) = (unique("will"), unique("twin"));
        let mut witness = witness(&topic);
        let mut old = Login::new(version, &id).will(1, false, &topic, "gone", "").open(hub());
        let mut new = Client::connect(hub(), version, &id);
        assert_eq!(witness.take().text(), "gone");
        old.cut_off(0x8e);
        new.alive();
    }
}

#[test]
fn a_will_is_published_once() {
    // [MQTT-3.1.2-10]
    let (topic, id) = (unique("will"), unique("once"));
    let mut witness = witness(&topic);
    Login::new(V5, &id).expiry(60).will(1, false, &topic, "gone", "").open(hub()).vanish();
    assert_eq!(witness.take().text(), "gone");
    Login::new(V5, &id).resume().open(hub()).vanish();
    witness.silent_for(Duration::from_millis(600));
}

#[test]
fn a_wills_topic_must_be_one() {
    // [MQTT-3.1.3-11] [MQTT-4.7.1-1]; 3.1.1 has no words for it.
    for topic in ["a/+", "#", "a/#/b"] {
        let login = Login::new(V5, &unique("bad")).will(0, false, topic, "x", "");
        assert_eq!(login.refused_as(hub(), hub().app()), 0x90, "{topic}");
        let mut client = Client::new(hub().dial(hub().app()), V4);
        say!(client, "10 | s'MQTT' 04 06 003c s'{}' s'{topic}' s'x'", unique("bad"));
        client.closed();
    }
}

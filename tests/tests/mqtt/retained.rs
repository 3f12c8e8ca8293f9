//! §3.3.1.3 RETAIN, §3.8.3.1 retain handling and retain as published.

use portreeve_tests::{Client, V4, V5, unique};

use crate::hub;

#[test]
fn the_last_retained_message_meets_the_subscriber() {
    // [MQTT-3.3.1-5] [MQTT-3.3.1-9], [MQTT-3.3.1-6] [MQTT-3.3.1-8] of 3.1.1
    for version in [V4, V5] {
        for qos in 0..3 {
            let topic = unique("kept");
            let mut client = Client::connect(hub(), version, &unique("kept"));
            client.retain(&topic, "old", qos);
            client.retain(&topic, "new", qos);
            client.publish(&topic, "not retained", qos);
            client.subscribe(&topic, 2);
            let message = client.take();
            assert_eq!((message.text(), message.qos, message.retain), ("new", qos, true));
            client.alive();
            client.retain(&topic, "", 0);
        }
    }
}

#[test]
fn an_empty_payload_forgets() {
    // [MQTT-3.3.1-6] [MQTT-3.3.1-7], [MQTT-3.3.1-10] [MQTT-3.3.1-11] of 3.1.1
    for version in [V4, V5] {
        let topic = unique("forget");
        let mut client = Client::connect(hub(), version, &unique("forget"));
        client.retain(&topic, "kept", 1);
        client.subscribe(&topic, 0);
        assert!(client.take().retain);
        client.retain(&topic, "", 1);
        let live = client.take();
        assert!(live.payload.is_empty() && !live.retain, "{live:?}");
        client.unsubscribe(&topic);
        client.subscribe(&topic, 0);
        client.alive();
    }
}

#[test]
fn a_message_for_an_established_subscription_is_not_marked() {
    // [MQTT-3.3.1-12], [MQTT-3.3.1-9] of 3.1.1
    for version in [V4, V5] {
        let topic = unique("live");
        let mut client = Client::connect(hub(), version, &unique("live"));
        client.subscribe(&topic, 0);
        client.retain(&topic, "x", 0);
        assert!(!client.take().retain);
        client.retain(&topic, "", 0);
    }
}

#[test]
fn retain_as_published_keeps_the_mark() {
    // [MQTT-3.3.1-13]
    let topic = unique("rap");
    let mut client = Client::connect(hub(), V5, &unique("rap"));
    assert_eq!(client.try_subscribe(&topic, 0x08), 0);
    client.retain(&topic, "x", 0);
    assert!(client.take().retain);
    client.publish(&topic, "y", 0);
    assert!(!client.take().retain);
    client.retain(&topic, "", 0);
    assert!(client.take().retain);
}

#[test]
fn retain_handling_says_when_they_are_sent() {
    // [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]
    let t = unique("handling");
    let mut keeper = Client::connect(hub(), V5, &unique("keeper"));
    for number in 0..3 {
        keeper.retain(&format!("{t}/{number}"), "x", 1);
    }
    for (options, first, second) in [(0x01, 3, 3), (0x11, 3, 0), (0x21, 0, 0)] {
        let mut client = Client::connect(hub(), V5, &unique("handling"));
        for count in [first, second] {
            assert_eq!(client.try_subscribe(&format!("{t}/#"), options), 1);
            client.take_texts(count);
            client.alive();
        }
    }
    for number in 0..3 {
        keeper.retain(&format!("{t}/{number}"), "", 0);
    }
}

#[test]
fn a_repeated_subscribe_sends_them_again() {
    // [MQTT-3.8.4-3] of 3.1.1; [MQTT-3.8.4-4]
    for version in [V4, V5] {
        let topic = unique("repeat");
        let mut client = Client::connect(hub(), version, &unique("repeat"));
        client.retain(&topic, "x", 1);
        for _ in 0..2 {
            client.subscribe(&topic, 1);
            assert!(client.take().retain);
            client.alive();
        }
        client.retain(&topic, "", 0);
    }
}

#[test]
fn wildcards_find_them_all_and_no_others() {
    let t = unique("tree");
    let mut client = Client::connect(hub(), V4, &unique("tree"));
    let topics = ["a", "a/b", "a/b/c", "a/c", "d"];
    for topic in topics {
        client.retain(&format!("{t}/{topic}"), topic, 1);
    }
    for (filter, found) in
        [("#", vec!["a", "a/b", "a/b/c", "a/c", "d"]), ("+", vec!["a", "d"]), ("a/+", vec!["a/b", "a/c"])]
    {
        client.subscribe(&format!("{t}/{filter}"), 1);
        let mut texts = client.take_texts(found.len());
        texts.sort();
        assert_eq!(texts, found, "{filter}");
        client.unsubscribe(&format!("{t}/{filter}"));
    }
    client.alive();
    for topic in topics {
        client.retain(&format!("{t}/{topic}"), "", 0);
    }
}

#[test]
fn many_retained_messages_arrive_complete() {
    let t = unique("mass");
    let mut client = Client::connect(hub(), V5, &unique("mass"));
    for number in 0..600 {
        client.retain(&format!("{t}/{number:03}"), &format!("{number:03}"), 0);
    }
    client.subscribe(&format!("{t}/+"), 1);
    let mut texts = client.take_texts(600);
    texts.sort();
    let expected: Vec<_> = (0..600).map(|number| format!("{number:03}")).collect();
    assert_eq!(texts, expected);
    for number in 0..600 {
        client.publish_with(&format!("{t}/{number:03}"), b"", 0, true, "");
    }
}

#[test]
fn a_retained_message_keeps_its_properties_and_gets_the_identifier() {
    // [MQTT-3.3.2-18] [MQTT-3.3.4-3]
    let topic = unique("props");
    let mut client = Client::connect(hub(), V5, &unique("props"));
    client.publish_with(&topic, b"x", 1, true, "26 s'a' s'2' 26 s'c' s'3' 03 s'text'");
    client.subscribe_with("0b 2a", &topic, 1);
    let message = client.take();
    assert_eq!(message.user, [("a".into(), "2".into()), ("c".into(), "3".into())]);
    assert_eq!(message.content_type.as_deref(), Some("text"));
    assert_eq!(message.subscription_ids, [42]);
    client.retain(&topic, "", 0);
}

#[test]
fn the_least_qos_counts_for_retained_messages() {
    // [MQTT-3.8.4-8]
    let topic = unique("least");
    let mut client = Client::connect(hub(), V4, &unique("least"));
    client.retain(&topic, "x", 2);
    for qos in [1, 0, 2] {
        client.subscribe(&topic, qos);
        assert_eq!(client.take().qos, qos);
    }
    client.retain(&topic, "", 0);
}

#[test]
fn a_retained_message_outlives_its_publisher() {
    let topic = unique("orphan");
    let mut sender = Client::connect(hub(), V5, &unique("sender"));
    sender.retain(&topic, "x", 0);
    // QoS 0 has no answer; the next one's tells that it was taken.
    sender.alive();
    sender.disconnect();
    let mut client = Client::connect(hub(), V5, &unique("late"));
    client.subscribe(&topic, 0);
    assert_eq!(client.take().text(), "x");
    client.retain(&topic, "", 0);
}

#[test]
fn a_session_that_comes_back_gets_no_retained_messages_by_that() {
    // They are sent when a subscription is made [MQTT-3.3.1-9], not when it is found again.
    let (topic, id) = (unique("back"), unique("back"));
    let mut client = portreeve_tests::Login::new(V5, &id).expiry(60).open(hub());
    client.retain(&topic, "x", 1);
    client.subscribe(&topic, 1);
    client.take();
    client.disconnect();
    let mut client = portreeve_tests::Login::new(V5, &id).resume().open(hub());
    client.silent();
    client.retain(&topic, "", 0);
}

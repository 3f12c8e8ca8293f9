//! §3.8 SUBSCRIBE, §3.9 SUBACK, §3.10 UNSUBSCRIBE, §3.11 UNSUBACK.

use portreeve_tests::{Client, V4, V5, hear, say, unique};

use crate::hub;

#[test]
fn suback_answers_each_filter_in_order() {
    // [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.9.3-1] [MQTT-3.9.3-2]
    let t = unique("order");
    let mut v4 = Client::connect(hub(), V4, &unique("order"));
    say!(v4, "82 | 1234 s'{t}/a' 00 s'{t}/b/#' 01 s'test/nosubscribe' 02 s'{t}/+/c' 02");
    v4.hear("90 | 1234 00 01 80 02");
    let mut v5 = Client::connect(hub(), V5, &unique("order"));
    say!(v5, "82 | 1234 ( ) s'{t}/a' 00 s'{t}/b/#' 01 s'test/nosubscribe' 02 s'$SYS/#' 00 s'{t}/+/c' 02");
    v5.hear("90 | 1234 ( ) 00 01 80 87 02");
}

#[test]
fn unsuback_answers_each_filter_in_order() {
    // [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.3-1] [MQTT-3.11.3-2]
    let t = unique("order");
    let mut v5 = Client::connect(hub(), V5, &unique("order"));
    v5.subscribe(&format!("{t}/a"), 0);
    say!(v5, "a2 | 4321 ( ) s'{t}/none' s'{t}/a' s'{t}/+'");
    v5.hear("b0 | 4321 ( ) 11 00 11");
    let mut v4 = Client::connect(hub(), V4, &unique("order"));
    say!(v4, "a2 | 4321 s'{t}/none' s'{t}/a'");
    v4.hear("b0 | 4321");
}

#[test]
fn a_filter_must_be_named_exactly_to_be_removed() {
    // [MQTT-3.10.4-1] [MQTT-3.10.4-2]
    for version in [V4, V5] {
        let t = unique("exact");
        let mut client = Client::connect(hub(), version, &unique("exact"));
        client.subscribe(&format!("{t}/+"), 1);
        client.unsubscribe(&format!("{t}/a"));
        client.unsubscribe(&format!("{t}/#"));
        client.publish(&format!("{t}/a"), "still", 1);
        assert_eq!(client.take().text(), "still");
        assert_eq!(client.unsubscribe(&format!("{t}/+")), 0);
        client.publish(&format!("{t}/a"), "gone", 1);
        client.alive();
    }
}

#[test]
fn deliveries_under_way_are_completed_after_unsubscribe() {
    // [MQTT-3.10.4-3]
    for version in [V4, V5] {
        let topic = unique("way");
        let mut client = Client::connect(hub(), version, &unique("way"));
        client.subscribe(&topic, 2);
        Client::connect(hub(), version, &unique("sender")).publish(&topic, "x", 2);
        let message = client.message();
        assert_eq!(client.unsubscribe(&topic), 0);
        client.acknowledge(&message);
        client.alive();
    }
}

#[test]
fn a_subscription_replaces_the_one_with_the_same_filter() {
    // [MQTT-3.8.4-3], and of 3.1.1: one copy, and the new QoS.
    for version in [V4, V5] {
        let topic = unique("replace");
        let mut client = Client::connect(hub(), version, &unique("replace"));
        client.subscribe(&topic, 2);
        client.subscribe(&topic, 0);
        client.publish(&topic, "x", 2);
        assert_eq!(client.take().qos, 0);
        client.alive();
    }
}

#[test]
fn the_least_qos_of_publisher_and_subscription_counts() {
    // [MQTT-3.8.4-8]
    let topic = unique("least");
    let mut client = Client::connect(hub(), V5, &unique("least"));
    client.subscribe(&topic, 1);
    for qos in 0..3 {
        client.publish(&topic, "x", qos);
        assert_eq!(client.take().qos, qos.min(1));
    }
}

#[test]
fn the_identifier_of_the_subscription_comes_with_its_messages() {
    // [MQTT-3.3.4-3] [MQTT-3.3.4-4]
    let t = unique("ids");
    let mut client = Client::connect(hub(), V5, &unique("ids"));
    for (properties, filter, id) in [
        ("0b 01", "least", vec![1]),
        ("0b ffffff7f", "most", vec![268_435_455]),
        ("0b c0f01b", "some", vec![456_768]),
        ("", "none", vec![]),
    ] {
        client.subscribe_with(properties, &format!("{t}/{filter}"), 0);
        client.publish(&format!("{t}/{filter}"), "x", 0);
        assert_eq!(client.take().subscription_ids, id, "{filter}");
    }
    // A new subscription replaces the identifier too.
    client.subscribe_with("", &format!("{t}/least"), 0);
    client.publish(&format!("{t}/least"), "x", 0);
    assert_eq!(client.take().subscription_ids, [0_u32; 0]);
}

#[test]
fn overlapping_wildcards_give_one_copy_each() {
    // [MQTT-3.3.4-2] [MQTT-3.3.4-5]: the way that suits clients which dispatch by identifier.
    let t = unique("overlap");
    let mut client = Client::connect(hub(), V5, &unique("overlap"));
    client.subscribe_with("0b 0a", &format!("{t}/+"), 0);
    client.subscribe_with("0b 14", &format!("{t}/#"), 1);
    client.publish(&format!("{t}/x"), "x", 1);
    let mut copies = [client.take(), client.take()].map(|m| (m.subscription_ids, m.qos));
    copies.sort();
    assert_eq!(copies, [(vec![10], 0), (vec![20], 1)]);
    client.alive();
}

#[test]
fn an_exact_filter_gathers_the_overlap_in_one_copy() {
    // [MQTT-3.3.4-2] [MQTT-3.3.4-4]: all identifiers, the highest QoS.
    let t = unique("overlap");
    let mut client = Client::connect(hub(), V5, &unique("overlap"));
    client.subscribe_with("0b 02", &t, 0);
    client.subscribe_with("0b 03", &format!("{t}/#"), 2);
    client.publish(&t, "x", 2);
    let message = client.take();
    let mut ids = message.subscription_ids;
    ids.sort_unstable();
    assert_eq!((ids, message.qos), (vec![2, 3], 2));
    client.alive();
}

#[test]
fn overlap_in_3_1_1_gives_the_highest_qos() {
    // [MQTT-3.3.5-1] of 3.1.1
    let t = unique("overlap");
    let mut client = Client::connect(hub(), V4, &unique("overlap"));
    client.subscribe(&format!("{t}/#"), 2);
    client.subscribe(&format!("{t}/+"), 1);
    client.publish(&format!("{t}/c"), "x", 2);
    assert_eq!(client.take().qos, 2);
    client.alive();
}

#[test]
fn a_message_may_come_before_the_suback() {
    // §3.8.4 allows it; whatever the order, both come and nothing else.
    let topic = unique("early");
    let mut keeper = Client::connect(hub(), V5, &unique("keeper"));
    keeper.retain(&topic, "kept", 0);
    let mut client = Client::connect(hub(), V5, &unique("early"));
    say!(client, "82 | 0001 ( ) s'{topic}' 00");
    let kinds = [client.packet()[0], client.packet()[0]];
    assert!(kinds == [0x90, 0x31] || kinds == [0x31, 0x90], "{kinds:02x?}");
    keeper.retain(&topic, "", 0);
}

#[test]
fn filters_that_are_none_are_refused() {
    // [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1]
    for version in [V4, V5] {
        for filter in ["sport/tennis/#/ranking", "sport/tennis#", "#/x", "sport+", "+sport/x", "a/b+c/d", ""] {
            let mut client = Client::connect(hub(), version, &unique("bad"));
            let block = if version == V5 { "( )" } else { "" };
            say!(client, "82 | 0001 {block} s'{filter}' 00");
            client.cut_off(0x81);
            let mut client = Client::connect(hub(), version, &unique("bad"));
            say!(client, "a2 | 0001 {block} s'{filter}'");
            client.cut_off(0x81);
        }
    }
}

#[test]
fn as_many_filters_as_the_limit_allows() {
    // [limits.filters_per_packet]
    let t = unique("many");
    let filters = |count: usize| (0..count).map(|n| format!("s'{t}/{n}' 00 ")).collect::<String>();
    let mut client = Client::connect(hub(), V5, &unique("many"));
    say!(client, "82 | 0001 ( ) {}", filters(256));
    hear!(client, "90 | 0001 ( ) 256*00");
    say!(client, "82 | 0002 ( ) {}", filters(257));
    client.cut(0x97);
}

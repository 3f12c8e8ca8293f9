//! §3.3.2.3.4 topic aliases.

use portreeve_tests::{Client, Login, V5, say, unique};

use crate::hub;

#[test]
fn a_client_may_replace_its_topic_by_an_alias() {
    // [MQTT-3.3.2-12]: 1 to 10 are announced.
    let topic = unique("alias");
    let mut client = Client::connect(hub(), V5, &unique("alias"));
    client.subscribe(&topic, 0);
    for alias in [1, 5, 10] {
        client.publish_with(&topic, b"named", 0, false, &format!("23 {alias:04x}"));
        client.publish_with("", b"by alias", 1, false, &format!("23 {alias:04x}"));
        for text in ["named", "by alias"] {
            let message = client.take();
            assert_eq!((message.topic.as_str(), message.text(), message.alias), (topic.as_str(), text, None));
        }
    }
}

#[test]
fn an_alias_may_be_given_to_another_topic() {
    let (first, second) = (unique("alias"), unique("alias"));
    let mut client = Client::connect(hub(), V5, &unique("alias"));
    client.subscribe(&first, 0);
    client.subscribe(&second, 0);
    client.publish_with(&first, b"1", 0, false, "23 0001");
    client.publish_with(&second, b"2", 0, false, "23 0001");
    client.publish_with("", b"3", 0, false, "23 0001");
    let topics = [client.take().topic, client.take().topic, client.take().topic];
    assert_eq!(topics, [first, second.clone(), second]);
}

#[test]
fn aliases_that_are_none_end_the_connection() {
    // [MQTT-3.3.2-8] [MQTT-3.3.2-9] [MQTT-3.1.2-26]
    for (topic, alias, code) in
        [("a", "0000", 0x94), ("a", "000b", 0x94), ("a", "ffff", 0x94), ("", "000b", 0x94), ("", "0003", 0x82)]
    {
        for qos in ["30", "32"] {
            let mut client = Client::connect(hub(), V5, &unique("alias"));
            let id = if qos == "32" { "0001" } else { "" };
            say!(client, "{qos} | s'{topic}' {id} ( 23 {alias} ) 'x'");
            client.cut(code);
        }
    }
}

#[test]
fn an_alias_ends_with_its_connection() {
    // [MQTT-3.3.2-7]
    let (topic, id) = (unique("alias"), unique("alias"));
    let mut client = Login::new(V5, &id).expiry(60).open(hub());
    client.publish_with(&topic, b"x", 1, false, "23 0001");
    client.disconnect();
    let mut client = Login::new(V5, &id).resume().open(hub());
    assert!(client.present);
    client.say("30 | s'' ( 23 0001 ) 'x'");
    client.cut(0x82);
}

#[test]
fn the_hub_sets_aliases_for_those_who_allow_them() {
    // [MQTT-3.1.2-26] [MQTT-3.3.2-10]: at the first delivery, and from then on without the name.
    let topic = unique("out");
    let mut client = Login::new(V5, &unique("out")).properties("22 0001").open(hub());
    client.subscribe(&format!("{topic}/#"), 1);
    for expected in [topic.as_str(), "", ""] {
        client.publish(&topic, "x", 1);
        let message = client.take();
        assert_eq!((message.topic.as_str(), message.alias), (expected, Some(1)));
    }
    // There is one only: another topic comes by its name, or takes the alias over.
    client.publish(&format!("{topic}/other"), "x", 0);
    assert_eq!(client.take().topic, format!("{topic}/other"));
}

#[test]
fn the_hub_sets_none_for_those_who_do_not() {
    // [MQTT-3.1.2-27]
    for properties in ["", "22 0000"] {
        let topic = unique("none");
        let mut client = Login::new(V5, &unique("none")).properties(properties).open(hub());
        client.subscribe(&topic, 0);
        for _ in 0..3 {
            client.publish_with(&topic, b"x", 0, false, "23 0001");
            let message = client.take();
            assert_eq!((message.topic.as_str(), message.alias), (topic.as_str(), None));
        }
    }
}

#[test]
fn the_hubs_aliases_begin_anew_with_each_connection() {
    // [MQTT-3.3.2-7]
    let (topic, id) = (unique("anew"), unique("anew"));
    let login = Login::new(V5, &id).expiry(60).properties("22 000a");
    let mut client = login.open(hub());
    client.subscribe(&topic, 1);
    client.publish(&topic, "x", 1);
    client.take();
    client.disconnect();
    let mut client = login.resume().open(hub());
    client.publish(&topic, "y", 1);
    assert_eq!(client.take().topic, topic);
}

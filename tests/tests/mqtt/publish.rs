//! §3.3 PUBLISH.

use portreeve_tests::{Client, Login, Message, V4, V5, client::publish_bytes, hear, say, unique};

use crate::hub;

#[test]
fn messages_come_as_they_were_sent_at_every_qos() {
    // [MQTT-3.3.4-1] [MQTT-4.3.1-1] [MQTT-4.3.2-1] [MQTT-4.3.3-1]
    for version in [V4, V5] {
        let mut client = Client::connect(hub(), version, &unique("all"));
        for subscribed in 0..3 {
            for published in 0..3_u8 {
                let topic = unique("all");
                client.subscribe(&topic, subscribed);
                client.publish_with(&topic, b"\x00payload\xff", published, false, "");
                let message = client.take();
                // §3.8.4: the lesser of the two.
                let id = message.id;
                let expected = Message {
                    topic,
                    payload: b"\x00payload\xff".into(),
                    qos: subscribed.min(published),
                    id,
                    ..Message::default()
                };
                assert_eq!(message, expected);
            }
        }
        client.alive();
    }
}

#[test]
fn a_payload_may_be_empty_or_as_large_as_announced() {
    for version in [V4, V5] {
        let topic = unique("size");
        let mut client = Client::connect(hub(), version, &unique("size"));
        client.subscribe(&topic, 1);
        let overhead = 5 + topic.len() + 4 + usize::from(version == V5);
        for length in [0, 1, 127, 128, 16_383, 16_384, 100_000, 262_144 - overhead] {
            client.publish_with(&topic, &vec![0x5a; length], 1, false, "");
            assert_eq!(client.take().payload, vec![0x5a; length]);
        }
    }
}

#[test]
fn one_byte_more_than_announced_is_too_large() {
    // CSA-COM-06; [MQTT-3.2.2-15], 0x95
    for version in [V4, V5] {
        let topic = unique("large");
        let mut client = Client::connect(hub(), version, &unique("large"));
        let mut packet = publish_bytes(version, &topic, &vec![0; 262_144], 1, false, 1, "");
        // The header alone must do: the hub does not wait for what it will not take.
        packet.truncate(1000);
        client.send(&packet);
        client.cut_off(0x95);
    }
}

#[test]
fn properties_reach_the_receiver_unaltered_and_in_order() {
    // [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]
    let topic = unique("properties");
    let mut receiver = Client::connect(hub(), V5, &unique("properties"));
    let mut old = Client::connect(hub(), V4, &unique("properties"));
    receiver.subscribe(&topic, 2);
    old.subscribe(&topic, 2);
    let block = "26 s'b' s'2' 01 01 03 s'text/plain' 26 s'a' s'1' 08 s'answer/here' 09 s'334' 26 s'b' s'3'";
    for qos in 0..3 {
        let mut sender = Client::connect(hub(), V5, &unique("properties"));
        sender.publish_with(&topic, b"hello", qos, false, block);
        let id = if qos > 0 { format!("{:04x}", qos) } else { String::new() };
        hear!(receiver, "{:02x} | s'{topic}' {id} ( {block} ) 'hello'", 0x30 | qos << 1);
        match qos {
            1 => receiver.say("40 | 0001"),
            2 => {
                receiver.say("50 | 0002");
                receiver.hear("62 | 0002");
                receiver.say("70 | 0002");
            }
            _ => {}
        }
        let message = old.take();
        assert_eq!((message.text(), message.qos), ("hello", qos));
    }
}

#[test]
fn empty_properties_are_properties() {
    let topic = unique("empty");
    let mut client = Client::connect(hub(), V5, &unique("empty"));
    client.subscribe(&topic, 0);
    client.publish_with(&topic, b"", 0, false, "01 00 03 s'' 09 s'' 26 s'' s''");
    let message = client.take();
    assert_eq!(message.utf8, Some(false));
    assert_eq!(message.content_type.as_deref(), Some(""));
    assert_eq!(message.correlation.as_deref(), Some(&[][..]));
    assert_eq!(message.user, [(String::new(), String::new())]);
}

#[test]
fn dup_is_not_passed_on() {
    // [MQTT-3.3.1-3]
    let topic = unique("dup");
    let mut client = Client::connect(hub(), V5, &unique("dup"));
    client.subscribe(&topic, 2);
    say!(client, "3a | s'{topic}' 0007 ( ) 'again'");
    let (first, second) = (client.packet(), client.packet());
    let delivered = if first[0] == 0x40 { second } else { first };
    assert_eq!(delivered[0], 0x32, "{delivered:02x?}");
    client.say("40 | 0001");
    say!(client, "3c | s'{topic}' 0008 ( ) 'again'");
    client.hear("50 | 0008");
    client.say("62 | 0008");
    let (first, second) = (client.packet(), client.packet());
    let delivered = if first[0] == 0x70 { second } else { first };
    assert_eq!(delivered[0], 0x34, "{delivered:02x?}");
}

#[test]
fn nobody_there_is_said_at_qos_1_of_5_0() {
    // §3.4.2.1 [MQTT-3.4.2-2] [MQTT-3.4.2-3]: 0x10, and neither text nor property. QoS 2 and 3.1.1 do not say it.
    let topic = unique("lonely");
    let mut v5 = Client::connect(hub(), V5, &unique("lonely"));
    say!(v5, "32 | s'{topic}' 0001 ( ) 'x'");
    v5.hear("40 | 0001 10");
    say!(v5, "34 | s'{topic}' 0002 ( ) 'x'");
    v5.hear("50 | 0002");
    v5.say("62 | 0002");
    v5.hear("70 | 0002");
    let mut v4 = Client::connect(hub(), V4, &unique("lonely"));
    say!(v4, "32 | s'{topic}' 0001 'x' ; 34 | s'{topic}' 0002 'x'");
    v4.hear("40 | 0001 ; 50 | 0002");
    v4.say("62 | 0002");
    v4.hear("70 | 0002");
}

#[test]
fn somebody_there_is_said_by_saying_nothing() {
    let topic = unique("heard");
    let mut receiver = Client::connect(hub(), V5, &unique("heard"));
    receiver.subscribe(&topic, 0);
    let mut sender = Client::connect(hub(), V5, &unique("heard"));
    say!(sender, "32 | s'{topic}' 0001 ( ) 'x'");
    sender.hear("40 | 0001");
    assert_eq!(receiver.take().text(), "x");
}

#[test]
fn delivery_does_not_wait_for_other_receivers() {
    // §4.3: each receiver has a handshake of its own.
    let topic = unique("each");
    let mut stuck = Client::connect(hub(), V5, &unique("stuck"));
    stuck.subscribe(&topic, 2);
    let mut quick = Client::connect(hub(), V5, &unique("quick"));
    quick.subscribe(&topic, 2);
    let mut sender = Client::connect(hub(), V5, &unique("sender"));
    for number in 0..10 {
        sender.publish(&topic, &number.to_string(), 2);
        assert_eq!(quick.take().text(), number.to_string());
    }
    stuck.stream();
}

#[test]
fn a_client_hears_its_own_messages_unless_it_asks_not_to() {
    // [MQTT-3.8.3-3]
    for (options, hears) in [(0x00, true), (0x04, false)] {
        let topic = unique("own");
        let mut client = Client::connect(hub(), V5, &unique("own"));
        assert_eq!(client.try_subscribe(&topic, options), 0);
        client.publish(&topic, "mine", 0);
        if hears {
            assert_eq!(client.take().text(), "mine");
        }
        client.alive();
        let mut other = Client::connect(hub(), V5, &unique("other"));
        other.publish(&topic, "another's", 0);
        assert_eq!(client.take().text(), "another's");
    }
}

#[test]
fn a_client_that_was_told_a_maximum_is_never_sent_more() {
    // [MQTT-3.1.2-24] [MQTT-3.1.2-25]: as if it had been delivered, and others get it.
    for qos in 0..3 {
        let topic = unique("max");
        let mut small = Login::new(V5, &unique("small")).properties("27 00000040").open(hub());
        let mut other = Client::connect(hub(), V5, &unique("other"));
        small.subscribe(&topic, qos);
        other.subscribe(&topic, qos);
        let mut sender = Client::connect(hub(), V5, &unique("sender"));
        sender.publish(&topic, &"x".repeat(64), qos);
        sender.publish(&topic, "short", qos);
        assert_eq!(small.take().text(), "short");
        assert_eq!(other.take_texts(2), ["x".repeat(64), "short".into()]);
        small.alive();
    }
}

#[test]
fn order_is_kept_per_topic_and_publisher() {
    // [MQTT-4.6.0-5] [MQTT-4.6.0-6]
    for version in [V4, V5] {
        for qos in 0..3 {
            let topic = unique("order");
            let mut receiver = Client::connect(hub(), version, &unique("order"));
            receiver.subscribe(&topic, qos);
            let mut sender = Client::connect(hub(), version, &unique("order"));
            for number in 0..50 {
                sender.publish(&topic, &number.to_string(), qos);
            }
            let expected: Vec<_> = (0..50).map(|number: u32| number.to_string()).collect();
            assert_eq!(receiver.take_texts(50), expected);
        }
    }
}

#[test]
fn acknowledgements_come_in_the_order_of_what_they_acknowledge() {
    // [MQTT-4.6.0-2] [MQTT-4.6.0-3] [MQTT-4.6.0-4] of the receiver's side, §4.6
    let topic = unique("acks");
    let mut client = Client::connect(hub(), V4, &unique("acks"));
    let publishes: Vec<_> = (1..=20).map(|id| format!("32 | s'{topic}' {id:04x} 'x'")).collect();
    client.say(&publishes.join(" ; "));
    for id in 1..=20 {
        hear!(client, "40 | {id:04x}");
    }
    let publishes: Vec<_> = (1..=15).map(|id| format!("34 | s'{topic}' {id:04x} 'x'")).collect();
    client.say(&publishes.join(" ; "));
    for id in 1..=15 {
        hear!(client, "50 | {id:04x}");
    }
    for id in 1..=15 {
        say!(client, "62 | {id:04x}");
        hear!(client, "70 | {id:04x}");
    }
}

#[test]
fn qos_1_and_2_handshakes_may_interleave() {
    let topic = unique("mixed");
    let mut client = Client::connect(hub(), V4, &unique("mixed"));
    say!(client, "34 | s'{topic}' 0001 'x'");
    client.hear("50 | 0001");
    say!(client, "32 | s'{topic}' 0002 'x'");
    client.hear("40 | 0002");
    say!(client, "34 | s'{topic}' 0003 'x'");
    client.hear("50 | 0003");
    client.say("62 | 0001");
    client.hear("70 | 0001");
    client.say("62 | 0003");
    client.hear("70 | 0003");
}

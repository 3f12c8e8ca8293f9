//! §4.3 the handshakes, §4.4 delivery retry; §3.4–3.7 their packets.

use std::time::Duration;

use portreeve_tests::{Client, Login, V4, V5, hear, say, unique};

use crate::hub;

#[test]
fn qos_0_has_no_answer_and_no_identifier() {
    // [MQTT-2.2.1-2] [MQTT-4.3.1-1]
    let mut client = Client::connect(hub(), V5, &unique("zero"));
    client.publish(&unique("zero"), "x", 0);
    client.alive();
}

#[test]
fn qos_2_is_delivered_once_and_only_after_pubrel() {
    // [MQTT-4.3.3-8] [MQTT-4.3.3-9] [MQTT-4.3.3-10] [MQTT-4.3.3-11] [MQTT-4.3.3-12]
    for version in [V4, V5] {
        let (topic, block) = (unique("once"), if version == V5 { "( )" } else { "" });
        let mut receiver = Client::connect(hub(), version, &unique("once"));
        receiver.subscribe(&topic, 2);
        let mut sender = Client::connect(hub(), version, &unique("once"));
        say!(sender, "34 | s'{topic}' 0009 {block} 'x'");
        sender.hear("50 | 0009");
        receiver.silent();
        // Again, before and after PUBREL.
        say!(sender, "3c | s'{topic}' 0009 {block} 'x'");
        sender.hear("50 | 0009");
        sender.say("62 | 0009");
        sender.hear("70 | 0009");
        sender.say("62 | 0009");
        sender.hear("70 | 0009");
        assert_eq!(receiver.take().text(), "x");
        receiver.alive();
        // The identifier is free again: this is another message.
        say!(sender, "34 | s'{topic}' 0009 {block} 'y'");
        sender.hear("50 | 0009");
        sender.say("62 | 0009");
        sender.hear("70 | 0009");
        assert_eq!(receiver.take().text(), "y");
        receiver.alive();
    }
}

#[test]
fn a_third_time_the_same_is_a_protocol_error() {
    // §4.4: a live connection is no reason to send again. Once is forgiven.
    for version in [V4, V5] {
        let (topic, block) = (unique("thrice"), if version == V5 { "( )" } else { "" });
        let mut client = Client::connect(hub(), version, &unique("thrice"));
        for _ in 0..2 {
            say!(client, "34 | s'{topic}' 0001 {block} 'x'");
            client.hear("50 | 0001");
        }
        say!(client, "34 | s'{topic}' 0001 {block} 'x'");
        client.cut_off(0x82);
    }
}

#[test]
fn other_content_under_the_same_identifier_replaces_what_was_held() {
    let topic = unique("replaced");
    let mut receiver = Client::connect(hub(), V4, &unique("replaced"));
    receiver.subscribe(&topic, 2);
    let mut client = Client::connect(hub(), V4, &unique("replaced"));
    for text in ["one", "two", "one"] {
        say!(client, "34 | s'{topic}' 0001 '{text}'");
        client.hear("50 | 0001");
    }
    client.say("62 | 0001");
    client.hear("70 | 0001");
    assert_eq!(receiver.take().text(), "one");
    receiver.alive();
}

#[test]
fn acknowledgements_that_nobody_waits_for() {
    // §4.3: PUBREL without a message is completed, PUBREC without one released; the rest is ignored.
    for version in [V4, V5] {
        let mut client = Client::connect(hub(), version, &unique("stray"));
        client.say("40 | 0011");
        client.alive();
        client.say("62 | 0012");
        client.hear("70 | 0012");
        client.say("50 | 0013");
        client.hear("62 | 0013");
        client.say("70 | 0013");
        client.alive();
    }
    let mut client = Client::connect(hub(), V5, &unique("stray"));
    for (said, heard) in [
        ("40 | 0001 10", ""),
        ("40 | 0001 87 ( )", ""),
        ("50 | 0001 00", "62 | 0001"),
        ("50 | 0001 10", "62 | 0001"),
        ("50 | 0001 80", ""),
        ("50 | 0001 97 ( 1f s'no' )", ""),
        ("62 | 0001 00", "70 | 0001"),
        ("62 | 0001 92", "70 | 0001"),
        ("70 | 0001 00", ""),
        ("70 | 0001 92", ""),
    ] {
        client.say(said);
        client.hear(heard);
        client.alive();
    }
}

#[test]
fn an_acknowledgement_of_the_wrong_kind_ends_the_connection() {
    // [MQTT-4.3.2-4] [MQTT-4.3.3-3]; §4.13: 0x82.
    for version in [V4, V5] {
        for (qos, replies) in [(1, ["50 | 0001", "70 | 0001"]), (2, ["40 | 0001", "70 | 0001"])] {
            for reply in replies {
                let topic = unique("wrong");
                let mut client = Client::connect(hub(), version, &unique("wrong"));
                client.subscribe(&topic, qos);
                Client::connect(hub(), version, &unique("sender")).publish(&topic, "x", qos);
                assert_eq!(client.message().id, 1, "identifiers start at 1");
                client.say(reply);
                client.cut_off(0x82);
            }
        }
        let topic = unique("wrong");
        let mut client = Client::connect(hub(), version, &unique("wrong"));
        client.subscribe(&topic, 2);
        Client::connect(hub(), version, &unique("sender")).publish(&topic, "x", 2);
        client.message();
        client.say("50 | 0001");
        client.hear("62 | 0001");
        client.say("40 | 0001");
        client.cut_off(0x82);
    }
}

#[test]
fn a_repeated_pubrec_is_answered_again() {
    // [MQTT-4.3.3-4]
    for version in [V4, V5] {
        let topic = unique("rec");
        let mut client = Client::connect(hub(), version, &unique("rec"));
        client.subscribe(&topic, 2);
        Client::connect(hub(), version, &unique("sender")).publish(&topic, "x", 2);
        client.message();
        for _ in 0..3 {
            client.say("50 | 0001");
            client.hear("62 | 0001");
        }
        client.say("70 | 0001");
        client.alive();
    }
}

#[test]
fn nothing_is_sent_again_on_a_live_connection() {
    // [MQTT-4.4.0-1]
    let topic = unique("retry");
    let mut client = Client::connect(hub(), V5, &unique("retry"));
    client.subscribe(&topic, 2);
    let mut sender = Client::connect(hub(), V5, &unique("sender"));
    sender.publish(&topic, "one", 1);
    sender.publish(&topic, "two", 2);
    assert_eq!((client.message().id, client.message().id), (1, 2));
    client.silent_for(Duration::from_millis(1500));
    client.say("50 | 0002");
    client.hear("62 | 0002");
    client.silent_for(Duration::from_millis(1500));
}

#[test]
fn a_receivers_error_code_ends_the_handshake() {
    // [MQTT-4.3.3-4] [MQTT-4.4.0-2]: no PUBREL after PUBREC ≥ 0x80; the identifier is free, and nothing comes again.
    let topic = unique("nack");
    let mut client = Login::new(V5, &unique("nack")).properties("21 0001").open(hub());
    client.subscribe(&topic, 2);
    let mut sender = Client::connect(hub(), V5, &unique("sender"));
    for (text, qos) in [("one", 1), ("two", 2), ("three", 1), ("four", 2)] {
        sender.publish(&topic, text, qos);
    }
    for (text, reply) in [("one", "40"), ("two", "50"), ("three", "40"), ("four", "50")] {
        let message = client.message();
        assert_eq!(message.text(), text);
        say!(client, "{reply} | {:04x} 83", message.id);
    }
    client.silent();
}

#[test]
fn what_was_not_acknowledged_comes_again_with_the_session() {
    // [MQTT-4.4.0-1] [MQTT-3.3.1-1]
    for version in [V4, V5] {
        let (topic, id) = (unique("again"), unique("again"));
        let mut client = Login::new(version, &id).expiry(300).open(hub());
        client.subscribe(&topic, 2);
        let mut sender = Client::connect(hub(), version, &unique("sender"));
        for (text, qos) in [("one", 1), ("two", 2), ("three", 1)] {
            sender.publish(&topic, text, qos);
        }
        let first = [client.message(), client.message(), client.message()];
        assert_eq!(first.each_ref().map(|m| (m.id, m.dup)), [(1, false), (2, false), (3, false)]);
        client.vanish();
        let mut client = Login::new(version, &id).resume().expiry(300).open(hub());
        assert!(client.present, "[MQTT-3.2.2-3]");
        // [MQTT-4.6.0-1]: in the order of the first time.
        let again = [client.take(), client.take(), client.take()];
        assert_eq!(again.each_ref().map(|m| (m.id, m.dup)), [(1, true), (2, true), (3, true)]);
        assert_eq!(again.each_ref().map(|m| m.text()), ["one", "two", "three"]);
        client.alive();
    }
}

#[test]
fn a_released_delivery_comes_again_as_pubrel_only() {
    // [MQTT-4.4.0-1]
    for version in [V4, V5] {
        let (topic, id) = (unique("release"), unique("release"));
        let mut client = Login::new(version, &id).expiry(300).open(hub());
        client.subscribe(&topic, 2);
        Client::connect(hub(), version, &unique("sender")).publish(&topic, "x", 2);
        client.message();
        client.say("50 | 0001");
        client.hear("62 | 0001");
        client.vanish();
        let mut client = Login::new(version, &id).resume().expiry(300).open(hub());
        client.hear("62 | 0001");
        client.say("70 | 0001");
        client.alive();
        client.vanish();
        Login::new(version, &id).resume().expiry(300).open(hub()).alive();
    }
}

#[test]
fn a_publishers_half_finished_message_survives_its_connection() {
    // [MQTT-4.3.3-10] [MQTT-3.1.2-5]: the receiver's half of the state.
    for version in [V4, V5] {
        let (topic, id) = (unique("half"), unique("half"));
        let block = if version == V5 { "( )" } else { "" };
        let mut receiver = Client::connect(hub(), version, &unique("receiver"));
        receiver.subscribe(&topic, 2);
        let mut sender = Login::new(version, &id).expiry(300).open(hub());
        say!(sender, "34 | s'{topic}' 0005 {block} 'x'");
        sender.hear("50 | 0005");
        sender.vanish();
        let mut sender = Login::new(version, &id).resume().expiry(300).open(hub());
        say!(sender, "3c | s'{topic}' 0005 {block} 'x'");
        sender.hear("50 | 0005");
        sender.say("62 | 0005");
        sender.hear("70 | 0005");
        assert_eq!(receiver.take().text(), "x");
        receiver.alive();
    }
}

#[test]
fn a_clean_start_forgets_a_half_finished_message() {
    // [MQTT-3.1.2-4]
    let (topic, id) = (unique("forgot"), unique("forgot"));
    let mut receiver = Client::connect(hub(), V5, &unique("receiver"));
    receiver.subscribe(&topic, 2);
    let mut sender = Login::new(V5, &id).expiry(300).open(hub());
    say!(sender, "34 | s'{topic}' 0005 ( ) 'x'");
    sender.hear("50 | 0005");
    sender.vanish();
    let mut sender = Login::new(V5, &id).open(hub());
    sender.say("62 | 0005");
    sender.hear("70 | 0005");
    receiver.silent();
}

#[test]
fn identifiers_of_the_two_directions_are_apart() {
    // [MQTT-2.2.1-4] and §2.2.1: client and server assign independently.
    let topic = unique("both");
    let mut client = Client::connect(hub(), V4, &unique("both"));
    client.subscribe(&topic, 1);
    Client::connect(hub(), V4, &unique("sender")).publish(&topic, "in", 1);
    assert_eq!(client.message().id, 1);
    say!(client, "32 | s'{}' 0001 'out'", unique("elsewhere"));
    client.hear("40 | 0001");
    client.say("40 | 0001");
    client.alive();
}

#[test]
fn identifiers_in_use_are_passed_over() {
    // [MQTT-2.2.1-3]: the first stays unacknowledged while the others come and go.
    let topic = unique("reuse");
    let mut client = Client::connect(hub(), V4, &unique("reuse"));
    client.subscribe(&topic, 1);
    let mut sender = Client::connect(hub(), V4, &unique("sender"));
    sender.publish(&topic, "kept", 1);
    let kept = client.message().id;
    for number in 0..40 {
        sender.publish(&topic, &number.to_string(), 1);
        let message = client.take();
        assert_ne!(message.id, kept);
    }
    hear!(client, "");
}

//! One promise at a time: made, the hub killed, and kept.

use std::{io::Read as _, thread::sleep, time::Duration};

use portreeve_mqtt::Version;
use portreeve_tests::{Client, Hub, Login, V4, V5, hear, say};

/// Kills the hub and starts it again.
fn power_cut(hub: &mut Hub) {
    hub.kill();
    hub.launch();
}

fn login(version: Version, id: &str) -> Login {
    Login::new(version, id).expiry(300)
}

#[test]
fn an_unacknowledged_delivery_comes_again_as_it_was() {
    // [MQTT-4.4.0-1] [MQTT-3.3.1-1]: the original identifier, DUP set; and in order [MQTT-4.6.0-1].
    let mut hub = Hub::open(&[]);
    for version in [V4, V5] {
        let (id, topic) = (format!("again-{version:?}"), format!("again/{version:?}"));
        let mut client = login(version, &id).open(&hub);
        client.subscribe(&topic, 2);
        let mut sender = Client::connect(&hub, version, "sender");
        for (text, qos) in [("one", 1), ("two", 2), ("three", 1)] {
            sender.publish(&topic, text, qos);
        }
        let before = [client.message(), client.message(), client.message()];
        assert_eq!(before.each_ref().map(|m| m.id), [1, 2, 3]);
        power_cut(&mut hub);
        let mut client = login(version, &id).resume().open(&hub);
        assert!(client.present);
        let after = [client.take(), client.take(), client.take()];
        assert_eq!(after.each_ref().map(|m| m.text()), ["one", "two", "three"]);
        assert_eq!(after.each_ref().map(|m| (m.id, m.dup)), [(1, true), (2, true), (3, true)]);
        client.alive();
    }
}

#[test]
fn a_released_delivery_stays_released() {
    // [MQTT-4.3.3-6]: once PUBREL was sent the PUBLISH is not sent again.
    let mut hub = Hub::open(&[]);
    let mut client = login(V5, "released").open(&hub);
    client.subscribe("released", 2);
    Client::connect(&hub, V5, "sender").publish("released", "x", 2);
    client.message();
    client.say("50 | 0001");
    client.hear("62 | 0001");
    power_cut(&mut hub);
    let mut client = login(V5, "released").resume().open(&hub);
    client.hear("62 | 0001");
    client.say("70 | 0001");
    client.alive();
}

#[test]
fn a_message_that_was_received_is_released_once() {
    // [MQTT-4.3.3-8] [MQTT-4.3.3-10] [MQTT-4.3.3-11]: PUBREC promised that the hub has it.
    let mut hub = Hub::open(&[]);
    let mut receiver = login(V5, "receiver").open(&hub);
    receiver.subscribe("half", 2);
    let mut sender = login(V5, "half").open(&hub);
    say!(sender, "34 | s'half' 0005 ( ) 'x'");
    sender.hear("50 | 0005");
    power_cut(&mut hub);
    let mut sender = login(V5, "half").resume().open(&hub);
    say!(sender, "3c | s'half' 0005 ( ) 'x'");
    sender.hear("50 | 0005");
    sender.say("62 | 0005");
    sender.hear("70 | 0005");
    power_cut(&mut hub);
    let mut sender = login(V5, "half").resume().open(&hub);
    sender.say("62 | 0005");
    sender.hear("70 | 0005");
    let mut receiver = login(V5, "receiver").resume().open(&hub);
    assert_eq!(receiver.take().text(), "x");
    receiver.alive();
}

#[test]
fn messages_keep_their_properties_and_subscriptions_their_options() {
    let mut hub = Hub::open(&[]);
    let block = "26 s'b' s'2' 01 01 03 s'text/plain' 26 s'a' s'1' 08 s'answer' 09 s'334'";
    let mut client = login(V5, "options").open(&hub);
    // No Local, Retain As Published, QoS 1, an identifier; and a member of a group.
    client.subscribe_with("0b 2a", "options/x", 0x0d);
    client.subscribe_with("0b 07", "$share/group/shared/x", 1);
    client.disconnect();
    let mut sender = Client::connect(&hub, V5, "sender");
    sender.publish_with("options/x", b"queued", 1, true, block);
    power_cut(&mut hub);
    let mut client = login(V5, "options").resume().open(&hub);
    hear!(client, "33 | s'options/x' 0001 ( 0b 2a {block} ) 'queued'");
    client.say("40 | 0001");
    let mut sender = Client::connect(&hub, V5, "sender");
    sender.publish("options/x", "live", 2);
    let live = client.take();
    assert_eq!((live.qos, live.retain, live.subscription_ids), (1, false, vec![42]));
    client.publish("options/x", "own", 1);
    client.alive();
    sender.publish("shared/x", "shared", 1);
    assert_eq!(client.take().subscription_ids, [7]);
    // The retained one is still there, with everything.
    client.subscribe_with("", "options/+", 1);
    let retained = client.take();
    assert!(retained.retain);
    assert_eq!((retained.text(), retained.content_type.as_deref()), ("queued", Some("text/plain")));
    assert_eq!(retained.user, [("b".into(), "2".into()), ("a".into(), "1".into())]);
}

#[test]
fn time_goes_on_while_the_hub_is_down() {
    // [MQTT-3.3.2-5] [MQTT-3.3.2-6] [MQTT-4.1.0-2]
    let mut hub = Hub::open(&[]);
    let mut client = login(V5, "expiry").open(&hub);
    client.subscribe("expiry/+", 1);
    client.disconnect();
    let mut sender = Client::connect(&hub, V5, "sender");
    sender.publish_with("expiry/queue", b"short", 1, false, "02 00000002");
    sender.publish_with("expiry/queue", b"long", 1, false, "02 0000003c");
    sender.publish_with("expiry/kept", b"short", 1, true, "02 00000002");
    hub.kill();
    sleep(Duration::from_millis(2300));
    hub.launch();
    let mut client = login(V5, "expiry").resume().open(&hub);
    let message = client.take();
    assert_eq!(message.text(), "long");
    assert!(message.expiry_s.is_some_and(|left| (50..=58).contains(&left)), "{:?}", message.expiry_s);
    client.subscribe("expiry/kept", 1);
    client.alive();
}

#[test]
fn what_was_deleted_stays_deleted() {
    let mut hub = Hub::open(&[]);
    let mut client = login(V5, "deleted").open(&hub);
    client.subscribe("deleted/a", 1);
    client.subscribe("deleted/b", 1);
    assert_eq!(client.unsubscribe("deleted/a"), 0);
    let mut sender = Client::connect(&hub, V5, "sender");
    sender.retain("deleted/kept", "x", 1);
    sender.retain("deleted/kept", "", 1);
    sender.publish("deleted/b", "acknowledged", 1);
    client.take();
    client.alive();
    // A session that was ended by its client.
    login(V5, "ended").open(&hub).disconnect_with(0, "11 00000000");
    // PUBACK has no answer that would tell when it is on disk; a later promise is behind it.
    client.subscribe("deleted/c", 1);
    power_cut(&mut hub);
    let mut client = login(V5, "deleted").resume().open(&hub);
    client.alive();
    let mut sender = Client::connect(&hub, V5, "sender");
    sender.publish("deleted/a", "no longer", 1);
    sender.publish("deleted/b", "still", 1);
    assert_eq!(client.take().text(), "still");
    client.subscribe("deleted/kept", 1);
    client.alive();
    assert!(!login(V5, "ended").resume().open(&hub).present);
}

#[test]
fn administration_is_a_promise_too() {
    // A command that said "done" is done after a power cut (IIITA-N4).
    let mut hub = Hub::open(&[]);
    let kept = hub.add("kept", "device");
    let revoked = hub.add("revoked", "device");
    hub.device("revoke", "revoked");
    power_cut(&mut hub);
    Login::new(V5, "kept").open_as(&hub, &kept).alive();
    let answered = hub.try_dial(revoked.tls()).and_then(|mut stream| stream.read(&mut [0]));
    assert!(answered.is_err(), "{answered:?}");
    hub.apply_policy(r#"forbid (principal == Identity::"kept", action == Action::"connect", resource);"#);
    power_cut(&mut hub);
    assert_eq!(Login::new(V5, "kept").refused_as(&hub, &kept), 0x87);
}

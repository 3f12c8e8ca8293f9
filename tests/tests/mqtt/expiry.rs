//! §3.3.2.3.3 message expiry.

use std::{thread::sleep, time::Duration};

use portreeve_tests::{Client, Login, V4, V5, hear, say, unique};

use crate::hub;

#[test]
fn the_time_left_counts_down_while_a_message_waits() {
    // [MQTT-3.3.2-6]
    let (topic, id) = (unique("left"), unique("left"));
    let mut client = Login::new(V5, &id).expiry(60).open(hub());
    client.subscribe(&topic, 2);
    client.disconnect();
    let mut sender = Client::connect(hub(), V5, &unique("sender"));
    sender.publish_with(&topic, b"waits", 1, false, "02 0000001e");
    sleep(Duration::from_millis(2200));
    let left = Login::new(V5, &id).resume().open(hub()).take().expiry_s;
    assert!(matches!(left, Some(26..=28)), "{left:?}");
}

#[test]
fn an_expired_message_is_not_delivered() {
    // [MQTT-3.3.2-5]
    for version in [V4, V5] {
        let (topic, id) = (unique("gone"), unique("gone"));
        let mut client = Login::new(version, &id).expiry(60).open(hub());
        client.subscribe(&topic, 2);
        client.disconnect();
        let mut sender = Client::connect(hub(), V5, &unique("sender"));
        for (text, seconds) in [("short", 1), ("long", 60)] {
            sender.publish_with(&topic, text.as_bytes(), 1, false, &format!("02 {seconds:08x}"));
        }
        sender.publish(&topic, "for ever", 2);
        sleep(Duration::from_millis(1600));
        let mut client = Login::new(version, &id).resume().open(hub());
        assert_eq!(client.take_texts(2), ["long", "for ever"]);
        client.alive();
    }
}

#[test]
fn a_message_delivered_at_once_keeps_its_interval() {
    let topic = unique("now");
    let mut client = Client::connect(hub(), V5, &unique("now"));
    client.subscribe(&topic, 0);
    client.publish_with(&topic, b"x", 0, false, "02 0000000a");
    assert!(matches!(client.take().expiry_s, Some(9 | 10)));
    client.publish_with(&topic, b"x", 0, false, "02 00000001");
    assert_eq!(client.take().expiry_s, Some(1));
}

#[test]
fn a_handshake_that_has_begun_goes_on() {
    // [MQTT-4.3.3-7]: expiry ends no exchange.
    let topic = unique("begun");
    let mut client = Client::connect(hub(), V5, &unique("begun"));
    client.subscribe(&topic, 2);
    client.publish_with(&topic, b"x", 2, false, "02 00000001");
    let id = client.message().id;
    sleep(Duration::from_millis(1500));
    say!(client, "50 | {id:04x}");
    hear!(client, "62 | {id:04x}");
    say!(client, "70 | {id:04x}");
    client.alive();
}

#[test]
fn a_message_that_waits_in_the_window_expires_too() {
    // [MQTT-3.3.2-5]: delivery has not begun.
    let topic = unique("window");
    let mut client = Login::new(V5, &unique("window")).properties("21 0001").open(hub());
    client.subscribe(&topic, 1);
    client.publish(&topic, "first", 1);
    client.publish_with(&topic, b"short", 1, false, "02 00000001");
    client.publish(&topic, "last", 1);
    let first = client.message();
    sleep(Duration::from_millis(1500));
    client.acknowledge(&first);
    assert_eq!(client.take().text(), "last");
    client.alive();
}

#[test]
fn a_retained_message_expires() {
    let topic = unique("kept");
    let mut client = Client::connect(hub(), V5, &unique("kept"));
    client.publish_with(&topic, b"x", 1, true, "02 00000002");
    client.subscribe(&topic, 0);
    assert_eq!(client.take().text(), "x");
    client.unsubscribe(&topic);
    sleep(Duration::from_millis(2600));
    client.subscribe(&topic, 0);
    client.alive();
}

#[test]
fn a_wills_expiry_begins_when_it_is_published() {
    // §3.1.3.2.4
    let (topic, id) = (unique("will"), unique("kept"));
    let mut client = Login::new(V5, &id).expiry(60).open(hub());
    client.subscribe(&topic, 1);
    client.disconnect();
    let login = Login::new(V5, &unique("dying")).will(1, false, &topic, "gone", "02 00000014");
    let dying = login.open(hub());
    sleep(Duration::from_millis(1200));
    dying.vanish();
    sleep(Duration::from_millis(1200));
    let left = Login::new(V5, &id).resume().open(hub()).take().expiry_s;
    assert!(matches!(left, Some(18 | 19)), "{left:?}");
}

//! §4.1 session state, §3.1.2.4 clean start, §3.1.2.11.2 session expiry.

use std::{thread::sleep, time::Duration};

use portreeve_tests::{Client, Login, V4, V5, unique};

use crate::hub;

fn seconds(count: f64) {
    sleep(Duration::from_secs_f64(count));
}

#[test]
fn a_first_connection_finds_no_session() {
    // [MQTT-3.2.2-3] [MQTT-3.1.2-6]
    for version in [V4, V5] {
        assert!(!Login::new(version, &unique("new")).resume().open(hub()).present);
    }
}

#[test]
fn a_session_is_resumed_with_subscriptions_and_queue() {
    // [MQTT-3.1.2-5] [MQTT-3.1.2-23] [MQTT-4.1.0-1] [MQTT-4.5.0-1] [MQTT-3.1.3-2], [MQTT-3.1.2-4] of 3.1.1
    for version in [V4, V5] {
        for cleanly in [true, false] {
            let (topic, id) = (unique("kept"), unique("kept"));
            let mut client = Login::new(version, &id).expiry(300).open(hub());
            client.subscribe(&topic, 2);
            if cleanly {
                client.disconnect()
            } else {
                client.vanish()
            }
            let mut sender = Client::connect(hub(), version, &unique("sender"));
            sender.publish(&topic, "one", 1);
            sender.publish(&topic, "two", 2);
            let mut client = Login::new(version, &id).resume().expiry(300).open(hub());
            assert!(client.present);
            assert_eq!(client.take_texts(2), ["one", "two"]);
            sender.publish(&topic, "three", 1);
            assert_eq!(client.take().text(), "three");
            client.alive();
        }
    }
}

#[test]
fn a_clean_start_discards_the_session() {
    // [MQTT-3.1.2-4] [MQTT-3.1.4-4], [MQTT-3.1.2-6] of 3.1.1
    for version in [V4, V5] {
        let (topic, id) = (unique("clean"), unique("clean"));
        let mut client = Login::new(version, &id).expiry(300).open(hub());
        client.subscribe(&topic, 1);
        client.disconnect();
        let mut sender = Client::connect(hub(), version, &unique("sender"));
        sender.publish(&topic, "for nobody", 1);
        let mut client = Login::new(version, &id).open(hub());
        assert!(!client.present, "[MQTT-3.2.2-2]");
        client.silent();
        sender.publish(&topic, "for nobody", 1);
        client.alive();
        client.disconnect();
        assert!(!Login::new(version, &id).resume().open(hub()).present);
    }
}

#[test]
fn a_session_without_expiry_ends_with_its_connection() {
    // §3.1.2.11.2: absent is 0.
    for properties in ["", "11 00000000"] {
        let id = unique("brief");
        Login::new(V5, &id).properties(properties).open(hub()).vanish();
        seconds(0.3);
        assert!(!Login::new(V5, &id).resume().open(hub()).present);
    }
    let id = unique("brief");
    Login::new(V4, &id).open(hub()).disconnect();
    assert!(!Login::new(V4, &id).resume().open(hub()).present);
}

#[test]
fn a_session_expires_when_its_time_is_over_and_not_before() {
    // [MQTT-4.1.0-2]
    let id = unique("timed");
    Login::new(V5, &id).expiry(2).open(hub()).disconnect();
    seconds(1.0);
    let client = Login::new(V5, &id).resume().expiry(2).open(hub());
    assert!(client.present);
    client.disconnect();
    seconds(2.5);
    assert!(!Login::new(V5, &id).resume().open(hub()).present);
}

#[test]
fn a_connected_session_does_not_expire() {
    let id = unique("connected");
    let client = Login::new(V5, &id).expiry(1).open(hub());
    seconds(1.5);
    client.disconnect();
    assert!(Login::new(V5, &id).resume().open(hub()).present);
}

#[test]
fn disconnect_may_change_the_expiry() {
    // §3.14.2.2.2
    let id = unique("changed");
    Login::new(V5, &id).expiry(1).open(hub()).disconnect_with(0, "11 0000003c");
    seconds(1.6);
    let client = Login::new(V5, &id).resume().expiry(60).open(hub());
    assert!(client.present);
    client.disconnect_with(0, "11 00000000");
    assert!(!Login::new(V5, &id).resume().open(hub()).present);
}

#[test]
fn the_expiry_of_the_latest_connection_counts() {
    let id = unique("latest");
    Login::new(V5, &id).expiry(99_999).open(hub()).disconnect();
    let client = Login::new(V5, &id).resume().open(hub());
    assert!(client.present);
    client.disconnect();
    assert!(!Login::new(V5, &id).resume().open(hub()).present);
}

#[test]
fn an_expiry_beyond_the_maximum_is_cut_and_said() {
    // §3.2.2.3.2: seven days by default (mqtt.session_expiry_max_s).
    for asked in [604_801, u32::MAX] {
        let client = Login::new(V5, &unique("forever")).expiry(asked).open(hub());
        let said = client.connack.windows(5).any(|window| window == [0x11, 0x00, 0x09, 0x3a, 0x80]);
        assert!(said, "{:02x?}", client.connack);
    }
    let client = Login::new(V5, &unique("week")).expiry(604_800).open(hub());
    assert_eq!(client.connack.len(), 2 + 3 + 3 + 5 + 3, "{:02x?}", client.connack);
}

#[test]
fn a_session_goes_from_one_version_to_the_other() {
    // §4.1: one session, whatever speaks for it.
    let (topic, id) = (unique("mixed"), unique("mixed"));
    let mut client = Login::new(V4, &id).resume().open(hub());
    client.subscribe(&topic, 1);
    client.disconnect();
    Client::connect(hub(), V5, &unique("sender")).publish_with(&topic, b"x", 1, false, "26 s'k' s'v'");
    let mut client = Login::new(V5, &id).resume().expiry(300).open(hub());
    assert!(client.present);
    assert_eq!(client.take().user, [("k".to_owned(), "v".to_owned())]);
    client.disconnect();
    let mut client = Login::new(V4, &id).resume().open(hub());
    assert!(client.present);
    Client::connect(hub(), V5, &unique("sender")).publish_with(&topic, b"y", 1, false, "26 s'k' s'v'");
    assert_eq!(client.take().text(), "y");
}

#[test]
fn qos_0_is_not_kept_for_those_who_are_away() {
    // §4.1 leaves the choice; mqtt.queue_qos0_offline is off by default.
    let (topic, id) = (unique("away"), unique("away"));
    let mut client = Login::new(V5, &id).expiry(300).open(hub());
    client.subscribe(&topic, 2);
    client.disconnect();
    let mut sender = Client::connect(hub(), V5, &unique("sender"));
    sender.publish(&topic, "zero", 0);
    sender.publish(&topic, "one", 1);
    let mut client = Login::new(V5, &id).resume().expiry(300).open(hub());
    assert_eq!(client.take().text(), "one");
    client.alive();
}

#[test]
fn sessions_of_the_same_client_id_belong_to_their_identities() {
    // A session's key is (identity, client id): nobody takes over a stranger's.
    let stranger = hub().add("stranger", "application");
    let id = unique("shared-name");
    let mut own = Login::new(V5, &id).expiry(300).open(hub());
    let other = Login::new(V5, &id).resume().expiry(300).open_as(hub(), &stranger);
    assert!(!other.present);
    own.alive();
    other.disconnect();
    own.alive();
}

//! §3.14 DISCONNECT; §4.13 errors.

use portreeve_tests::{Client, Login, V4, V5, say, unique};

use crate::hub;

#[test]
fn the_hub_closes_after_disconnect_whatever_the_reason() {
    // [MQTT-3.14.4-1] [MQTT-3.14.4-2]
    for version in [V4, V5] {
        Client::connect(hub(), version, &unique("bye")).disconnect();
    }
    for code in [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99] {
        Client::connect(hub(), V5, &unique("bye")).disconnect_with(code, "");
    }
    Client::connect(hub(), V5, &unique("bye")).disconnect_with(0x00, "11 00000000 1f s'bye' 26 s'k' s'v'");
}

#[test]
fn nothing_is_processed_after_disconnect() {
    // [MQTT-3.14.4-2]
    let topic = unique("after");
    let mut witness = Client::connect(hub(), V5, &unique("witness"));
    witness.subscribe(&topic, 0);
    let mut client = Client::connect(hub(), V5, &unique("bye"));
    say!(client, "e0 | ; 30 | s'{topic}' ( ) 'x' ; c0 |");
    client.closed();
    witness.silent();
}

#[test]
fn an_expiry_above_zero_cannot_follow_one_of_zero() {
    // [MQTT-3.14.2-2], and the will is published, for this is no clean goodbye.
    let topic = unique("gone");
    let mut witness = Client::connect(hub(), V5, &unique("witness"));
    witness.subscribe(&topic, 0);
    for first in ["", "11 00000000"] {
        let login = Login::new(V5, &unique("bye")).properties(first).will(0, false, &topic, "will", "");
        let mut client = login.open(hub());
        client.say("e0 | 00 ( 11 0000003c )");
        client.cut(0x82);
        assert_eq!(witness.take().text(), "will");
    }
}

#[test]
fn an_error_ends_the_connection_that_made_it_and_no_other() {
    // [MQTT-4.13.1-1] [MQTT-4.13.2-1]
    let topic = unique("other");
    let mut other = Client::connect(hub(), V5, &unique("bystander"));
    other.subscribe(&topic, 1);
    let mut client = Client::connect(hub(), V5, &unique("bad"));
    client.say("82 | 0001 ( ) s'a/#/b' 00");
    assert!(matches!(client.packet()[..], [0xe0, 1, 0x81 | 0x8f] | [0x90, .., 0x8f]));
    other.publish(&topic, "still here", 1);
    assert_eq!(other.take().text(), "still here");
}
